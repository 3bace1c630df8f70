//! A record of trust that was modified, or that others could have written, does not count.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::files::set_mode;

use super::{HINT, keyless, record, records, trusted, usual};

#[test]
fn a_record_is_bound_to_the_vault_and_a_modified_one_does_not_count() {
    let project = usual();

    // Without a key, the next command that has one binds the record.
    keyless(&project, &["trust", "-q"])
        .succeeds()
        .stdout_has("project      `web`, number of secrets unknown while");
    assert_eq!(record(&project)["bindings"], serde_json::json!([]));
    project.run(&["render", "--all", "-q"]).succeeds();

    let bound = record(&project)["bindings"].clone();
    assert_eq!(bound.as_array().unwrap().len(), 1);
    project.run(&["trust", "-q"]).succeeds().stdout_has("`web`, 2 secrets\n");
    assert_eq!(record(&project)["bindings"], bound);

    // Somebody adds to what the record covers.
    let [file] = &records(&project)[..] else { panic!("one record") };
    let whole = fs::read_to_string(file).unwrap();
    project.write("t.tmpl", "{{ secrets.other }}");
    fs::write(file, whole.replace(r#""tags":["key"]"#, r#""tags":["other"]"#)).unwrap();

    let run = project.run(&["render", "--all"]).fails_with(7).stdout("");
    run.stderr(&format!(
        "error: `.secrets.toml` is not trusted: its record of trust does not match this vault's \
         keys\n{HINT}"
    ));

    stderr!(project.run(&["run", "--", "true"]).fails_with(125), @"
    error: `.secrets.toml` is not trusted: its record of trust does not match this vault's keys
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");

    project.run(&["trust", "-q"]).succeeds().stdout_has("other");
    project.run(&["render", "--all", "-q"]).succeeds();

    // New keys do not remove consent. The record is bound to them.
    let before = record(&project)["bindings"].clone();
    project.run(&["rekey", "--yes", "-q"]).succeeds();
    project.run(&["render", "--all", "-q"]).succeeds();
    let after = record(&project)["bindings"].clone();

    assert!(before[0][0] == after[0][0] && before[0][1] != after[0][1], "{before} {after}");

    // An agent can use and bind records as well.
    project.run(&["unlock", "-q"]).succeeds();
    keyless(&project, &["render", "--all", "-q"]).succeeds();
    keyless(&project, &["trust", "--show"]).succeeds().stdout_has("`web`, 2 secrets\n");
    keyless(&project, &["trust", "-q"]).succeeds().stdout_has("sha256");
    assert_eq!(record(&project)["bindings"], after);
    project.run(&["lock", "-q"]).succeeds();
}

#[test]
fn a_record_that_somebody_else_could_have_written_does_not_count() {
    let project = trusted();
    let [file] = &records(&project)[..] else { panic!("one record") };
    let aside = project.0.path("aside");
    let text = |why: &str| {
        let run = keyless(&project, &["render", "--all"]).fails_with(7);
        run.stderr_has(&format!("is not trusted: its record of trust is invalid: {why}"));
    };

    set_mode(file, 0o622);
    text("other users can write to it\n");
    set_mode(file, 0o600);
    fs::rename(file, &aside).unwrap();
    symlink(&aside, file).unwrap();
    text("");
    fs::remove_file(file).unwrap();
    fs::write(file, "{\"version\":1}").unwrap();
    text("it is invalid\n");

    // A record of another directory does not count.
    let other = fs::read_to_string(&aside).unwrap().replace("/repo\"", "/other\"");
    fs::write(file, other).unwrap();
    text("it is invalid\n");
    fs::rename(&aside, file).unwrap();
    project.run(&["render", "--all", "-q"]).succeeds();
}
