//! Records of outputs: variables that people add are kept, and files that we wrote are replaced
//! without a question.

use std::fs;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

use crate::support::PASSPHRASE;
use crate::support::repository::{MANIFEST, MARKER, Project, simple};

/// Every command that writes outputs. None may lose a variable.
const WRITERS: [&[&str]; 6] = [
    &["render", "--stale"],
    &["render", "--all"],
    &["render", "--all", "--yes"],
    &["setup"],
    &["setup", "--yes"],
    &["render", ".env.tmpl", "-o", ".env"],
];

fn update(project: &Project, value: &str) {
    project.command(&["update", "key", "-q"]).stdin(value).run().succeeds();
}

/// Returns a project whose `.env` we wrote. Its secret has another value now.
fn stale() -> Project {
    let project = simple();
    project.run(&["setup", "-q"]).succeeds();
    update(&project, "another-value");
    project
}

#[test]
fn a_file_that_we_wrote_is_replaced_without_a_question() {
    let project = stale();
    stderr!(project.run(&["render", "--stale"]).succeeds(), @"wrote `.env`");
    update(&project, "third");
    stderr!(project.run(&["setup"]).succeeds(), @"
    wrote `.env`
    project `web` is set up: 1 secret, 1 output
    ");

    update(&project, "fourth");
    project.run(&["render", ".env.tmpl", "-o", ".env", "-q"]).succeeds();
    update(&project, "fifth");
    project.run(&["render", "--all", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=fifth\n");

    // The template no longer gives this variable, which was ours, so it is removed.
    project.write(".env.tmpl", "OTHER={{ secrets.key }}\n");
    project.run(&["render", "--stale", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "OTHER=fifth\n");
}

#[test]
fn variables_that_people_add_are_kept_and_named() {
    let project = stale();
    project.write(".env", format!("KEY={MARKER}\n# mine\nexport EXTRA='{MARKER}'\nMORE=\n"));
    for line in WRITERS {
        stderr!(project.changes_nothing(line).fails_with(7).stdout(""), @"
        error: `.env` has variables that its template does not give: `EXTRA`, `MORE`
        hint: add them to the template with `secrets adopt .env`, or remove them from the file; nothing was written
        ");
    }

    stderr!(project.changes_nothing(&["check"]).fails_with(8).stdout("stale\t.env\trendered from .env.tmpl\nadded\t.env\tby hand: EXTRA, MORE\n"), @"
    error: `.env` has variables that its template does not give
    hint: add them to the template with `secrets adopt .env`
    ");

    let json = stderr!(project.changes_nothing(&["check", "--json"]).fails_with(8), @r#"{"type":"CONFLICT","message":"`.env` has variables that its template does not give","details":{"hints":["add them to the template with `secrets adopt .env`"]}}"#)
        .json();
    let output = &json["outputs"][0];
    assert_eq!(
        (output["added"].to_string(), &output["origin"]),
        (r#"["EXTRA","MORE"]"#.into(), &"changed".into())
    );

    let error = project.run(&["render", "--all", "--json"]).fails_with(7).json_error();
    assert_eq!(error["details"]["outputs"][0]["added"].to_string(), r#"["EXTRA","MORE"]"#);

    // Without the added variables, the file is what we wrote.
    project.write(".env", format!("KEY={MARKER}\n"));
    let json = stderr!(project.changes_nothing(&["check", "--json"]).fails_with(8), @r#"{"type":"CONFLICT","message":"an output is out of date","details":{"hints":["render outdated outputs with `secrets render --stale`"]}}"#)
        .json();
    assert_eq!(json["outputs"][0]["origin"], "written");
    project.run(&["render", "--stale", "-q"]).succeeds();
}

#[test]
fn an_added_variable_is_kept_regardless_of_other_content() {
    let project = stale();
    for (text, what, way_on) in [
        (
            format!("KEY={MARKER}\nNEW_KEY={MARKER}\nnot an assignment\n"),
            "variables that its template does not give: `NEW_KEY`",
            "make line 3 a variable or a comment, then add them to the template with `secrets \
             adopt .env`",
        ),
        (
            format!("KEY={MARKER}\nexport OTHER\nNEW_KEY='{MARKER}\n"),
            "variables and lines that its template does not give: `NEW_KEY`, line 2",
            "make line 2 a variable or a comment, then add them to the template with `secrets \
             adopt .env`",
        ),
        (
            format!("KEY={MARKER}\nmy key = {MARKER}\n"),
            "lines that its template does not give and that may be variables: line 2",
            "make line 2 a variable or a comment, then add them to the template with `secrets \
             adopt .env`",
        ),
    ] {
        project.write(".env", &text);
        for line in WRITERS {
            project.changes_nothing(line).fails_with(7).stdout("").stderr(&format!(
                "error: `.env` has {what}\nhint: {way_on}, or remove them from the file; nothing was written\n"
            ));
        }
        let what = what.split(':').next().unwrap();
        project
            .changes_nothing(&["check"])
            .fails_with(8)
            .stdout_has("added\t.env\tby hand: ")
            .stderr(&format!("error: `.env` has {what}\nhint: {way_on}\n"));
    }

    project.write(".env", format!("KEY={MARKER}\nexport OTHER\nNEW_KEY=\"{MARKER}\n"));
    let json = stderr!(project.changes_nothing(&["check", "--json"]).fails_with(8), @r#"{"type":"CONFLICT","message":"`.env` has variables and lines that its template does not give","details":{"hints":["make line 2 a variable or a comment, then add them to the template with `secrets adopt .env`"]}}"#)
        .json();
    let output = &json["outputs"][0];

    assert_eq!(
        (output["added"].to_string(), output["lines"].to_string()),
        (r#"["NEW_KEY"]"#.into(), "[2]".into())
    );

    let error = project.run(&["setup", "--yes", "--json"]).fails_with(7).json_error();
    assert_eq!(error["details"]["outputs"][0]["lines"].to_string(), "[2]");

    // Text that cannot be a variable is replaced after a yes, as in any other file.
    project.write(".env", "KEY=by hand\nnot an assignment\n");
    stderr!(project.changes_nothing(&["render", "--all"]).fails_with(7), @"
    error: `.env` was changed after it was rendered
    hint: use `--yes` to replace it; nothing was written
    ");

    project.run(&["render", "--all", "--yes", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=another-value\n");

    // The name of this file is not a dotenv file's, so it is replaced as before.
    project.write("app.conf", format!("listen=80\nNEW_KEY={MARKER}\n"));
    stderr!(project.run(&["render", ".env.tmpl", "-o", "app.conf", "-q"]).succeeds(), @"warning: git does not ignore `app.conf`: add it to .gitignore before the next commit");
    assert_eq!(project.read("app.conf"), "KEY=another-value\n");
}

#[test]
fn an_added_variable_is_kept_even_if_the_template_gives_no_dotenv_file() {
    let project = simple();
    let pem = "-----BEGIN KEY-----\nMIIB+/x\nabcd==\n-----END KEY-----";
    update(&project, pem);
    project.write(".env.tmpl", "PEM={{ secrets.key }}\n");

    let writers = [&["render", ".env.tmpl", "-o", ".env", "-q"][..], &["setup", "--yes", "-q"]];
    for writer in writers {
        project.run(writer).succeeds().stderr_has("read a different value for `PEM`");
        let text = project.read(".env") + &format!("NEW_KEY={MARKER}\n");
        project.write(".env", &text);

        for line in WRITERS {
            project.changes_nothing(line).fails_with(7).stderr_has(
                "error: `.env` has variables that its template does not give: `NEW_KEY`\n\
                 hint: add them to the template, or remove them from the file; nothing was written\n",
            );
        }

        // No part of a value is taken for a name.
        let json = project
            .changes_nothing(&["check", "--json"])
            .fails_with(8)
            .stderr_has("CONFLICT")
            .json();

        assert_eq!(json["outputs"][0]["added"].to_string(), r#"["NEW_KEY"]"#);
        for record in fs::read_dir(project.0.state().join("secrets/outputs")).unwrap() {
            assert!(!fs::read_to_string(record.unwrap().path()).unwrap().contains("abcd"));
        }

        project.write(".env", text.replace(&format!("NEW_KEY={MARKER}\n"), ""));
        project.run(&["render", "--stale", "-q"]).succeeds();
    }

    // A file that we wrote is replaced without a question, as everywhere.
    update(&project, "another-value");
    project.run(&["render", "--stale", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "PEM=another-value\n");
}

#[test]
fn a_secret_of_whole_lines_may_give_any_variable() {
    let project =
        Project::new(&[(".secrets.toml", MANIFEST), (".env.tmpl", "{{ secrets.key }}\nB=1\n")]);
    project.write(".env", "A=1\nB=1\n");

    // The variables that the secret gives are unknown until it has a value.
    let json = stderr!(project.changes_nothing(&["check", "--json"]).fails_with(3), @r#"{"type":"NOT_FOUND","message":"a secret is missing","details":{"hints":["enter missing secrets with `secrets setup`"]}}"#)
        .json();
    assert_eq!(json["outputs"][0]["added"], serde_json::Value::Null);
    project.0.write("given", "KEY='A=1'\n");
    project.run(&["setup", "--from", "../given", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "A=1\nB=1\n");
    update(&project, "C=1");
    project.write(".env", "A=2\nB=1\nD=1\n");
    stderr!(project.changes_nothing(&["setup", "--yes"]).fails_with(7), @"
    error: `.env` has variables that its template does not give: `D`
    hint: add them to the template with `secrets adopt .env`, or remove them from the file; nothing was written
    ");
}

#[test]
fn a_file_that_cannot_be_searched_for_variables_is_not_replaced() {
    let project = stale();
    project.write(".env", "#".repeat(16 * 1024 * 1024 + 1));
    stderr!(project.changes_nothing(&["setup", "--yes"]).fails_with(7).stdout(""), @"
    error: `.env` is too large to search and may have variables that its template does not give
    hint: move the file away; nothing was written
    ");
}

#[test]
fn a_value_changed_by_hand_is_replaced_only_with_yes() {
    let project = stale();
    project.write(".env", "KEY=by hand\n");
    for line in [["render", "--stale"], ["render", "--all"]] {
        let run = project.changes_nothing(&line).fails_with(7);
        stderr!(run, @"
        error: `.env` was changed after it was rendered
        hint: use `--yes` to replace it; nothing was written
        ");
    }

    stderr!(project.changes_nothing(&["setup"]).fails_with(7), @"
    error: replacing `.env` requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    let json = stderr!(project.changes_nothing(&["check", "--json"]).fails_with(8), @r#"{"type":"CONFLICT","message":"an output is out of date","details":{"hints":["render outdated outputs with `secrets setup`, which asks before it replaces a file that `secrets` did not write"]}}"#)
        .json();
    assert_eq!(json["outputs"][0]["origin"], "changed");
    project.run(&["render", "--stale", "--yes", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=another-value\n");
    stderr!(project.run(&["render", "--yes"]).fails_with(2), @"
    error: `--yes` requires `--all` or `--stale`
    hint: remove `--yes`; `-o OUT` replaces its file without asking
    ");
}

#[test]
fn without_a_record_a_file_is_ours_if_it_matches_the_template() {
    let project = stale();
    fs::remove_dir_all(project.0.state().join("secrets/outputs")).unwrap();
    let refused = "error: `.env` was not rendered by `secrets`\nhint: use `--yes` to replace it; \
                   nothing was written\n";

    project.changes_nothing(&["render", "--stale"]).fails_with(7).stderr(refused);

    // With the old value, the file equals what the template gives. It is recorded from now on.
    update(&project, MARKER);
    stderr!(project.changes_nothing(&["render", "--stale"]).succeeds(), @"every output is up to date");
    update(&project, "another-value");
    project.run(&["render", "--stale", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=another-value\n");

    // A damaged record counts as missing.
    for record in fs::read_dir(project.0.state().join("secrets/outputs")).unwrap() {
        fs::write(record.unwrap().path(), "{}").unwrap();
    }

    update(&project, "third");
    project.changes_nothing(&["render", "--stale"]).fails_with(7).stderr(refused);
    project.run(&["setup", "--yes", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=third\n");
}

#[test]
fn outputs_are_remembered_across_rekey() {
    let project = stale();
    for (rekey, value) in
        [(&["rekey", "-y", "-q"][..], "third"), (&["rekey", "-p", "web", "-y", "-q"], "fourth")]
    {
        project.run(rekey).succeeds();
        project.run(&["render", "--stale", "-q"]).succeeds();
        update(&project, value);
    }

    // A file that was changed by hand is not ours afterwards, and a record keeps the names.
    project.write(".env", "KEY=by hand\nEXTRA=1\n");
    project.run(&["rekey", "-y", "-q"]).succeeds();
    stderr!(project.changes_nothing(&["render", "--stale", "--yes"]).fails_with(7), @"
    error: `.env` has variables that its template does not give: `EXTRA`
    hint: add them to the template with `secrets adopt .env`, or remove them from the file; nothing was written
    ");

    project.write(".env", "KEY=by hand\n");
    for line in [&["render", "--stale"][..], &["render", "--all"]] {
        stderr!(project.changes_nothing(line).fails_with(7), @"
        error: `.env` was rendered under another key, so it cannot be verified whether it was changed
        hint: use `--yes` to replace it; nothing was written
        ");
    }

    project.run(&["render", "--all", "--yes", "-q"]).succeeds();
    update(&project, "fifth");
    project.run(&["render", "--all", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=fifth\n");
}

#[test]
fn a_directory_that_was_moved_or_copied_keeps_its_outputs() {
    let project = stale();
    fs::rename(project.path(""), project.0.path("moved")).unwrap();
    let run = project
        .0
        .command(["render", "--stale"])
        .current_dir(project.0.path("moved"))
        .env("PATH", "/usr/bin:/bin");

    stderr!(run.run().succeeds(), @"wrote `.env`");
    assert_eq!(project.0.read("moved/.env"), b"KEY=another-value\n");
}

#[test]
fn records_are_private_and_not_an_oracle() {
    let project = simple();
    project.run(&["setup", "-q"]).succeeds();
    let content = project.read(".env");
    let digest: [u8; 32] = Sha256::digest(&content).into();
    let digest = format!("{:032x}", u128::from_be_bytes(digest[..16].try_into().unwrap()));
    let mut records = 0;

    for kind in ["outputs", "directories"] {
        let directory = project.0.state().join("secrets").join(kind);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        for record in fs::read_dir(directory).unwrap() {
            let path = record.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                !text.contains(MARKER) && !text.contains(&digest) && !text.contains(PASSPHRASE),
                "{text}"
            );

            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            records += 1;
        }
    }

    assert_eq!(records, 2);

    // An output without a secret needs neither a key nor a vault.
    fs::remove_file(project.0.vault_path()).unwrap();
    project.write("plain.tmpl", "A=1\n");
    project.run(&["render", "plain.tmpl", "-o", "plain.env", "-q"]).succeeds();
    project.write("plain.tmpl", "A=2\n");
    project.run(&["render", "plain.tmpl", "-o", "plain.env", "-q"]).succeeds();
    project.write("plain.env", "A=2\nB=1\n");
    project.write("plain.tmpl", "A=3\n");
    stderr!(project.run(&["render", "plain.tmpl", "-o", "plain.env"]).fails_with(7), @"
    error: `plain.env` has variables that its template does not give: `B`
    hint: add them to the template, or remove them from the file; nothing was written
    ");

    // Records of removed files do not accumulate.
    fs::remove_file(project.path("plain.env")).unwrap();
    project.run(&["render", "plain.tmpl", "-o", "other.env", "-q"]).succeeds();
    assert_eq!(fs::read_dir(project.0.state().join("secrets/outputs")).unwrap().count(), 2);
}

#[test]
fn commands_work_without_a_place_for_records() {
    let project = simple();
    fs::create_dir_all(project.0.state().join("secrets")).unwrap();
    for kind in ["outputs", "directories"] {
        fs::write(project.0.state().join("secrets").join(kind), "no directory").unwrap();
    }

    project.run(&["setup", "-q"]).succeeds();
    project.changes_nothing(&["render", "--stale", "-q"]).succeeds();
    update(&project, "another-value");
    let run = project.changes_nothing(&["render", "--stale"]).fails_with(7);

    stderr!(run, @"
    error: `.env` was not rendered by `secrets`
    hint: use `--yes` to replace it; nothing was written
    ");

    project.run(&["render", "--stale", "--yes", "-q"]).succeeds();
}
