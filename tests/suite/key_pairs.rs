//! `--key-pair` stores the private half and prints the public half. The real programs read both.

use std::process::Command;

use crate::support::Sandbox;
use crate::support::faults::skipped;
use crate::support::programs::has;

/// Writes the value of a secret to a private file and returns what a program prints about it.
fn shown_by(sandbox: &Sandbox, tag: &str, command: &[&str]) -> String {
    let template = format!("{{{{ secrets.{tag} }}}}");
    sandbox.run(["render", "-e", &template, "-o", "private", "-q"]).succeeds();
    let output =
        Command::new(command[0]).args(&command[1..]).arg(sandbox.path("private")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(sandbox.path("private")).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn created(sandbox: &Sandbox, kind: &str) -> String {
    let run = sandbox.run(["create", kind, "--key-pair", kind]).succeeds();
    let run = run.stderr_has(&format!("created `{kind}` in project `default`"));
    String::from_utf8(run.bytes()).unwrap()
}

#[test]
fn ssh_reads_both_halves() {
    let sandbox = Sandbox::new().unlocked();
    for (kind, begin) in [("ed25519", "ssh-ed25519 AAAA"), ("rsa", "ssh-rsa AAAA")] {
        let public = created(&sandbox, kind);
        assert!(public.starts_with(begin) && public.ends_with(&format!(" {kind}\n")), "{public}");
        let get = sandbox.run(["get", kind, "--json"]).succeeds().json();
        assert_eq!(get["description"], public.trim_end());
        if has("ssh-keygen") {
            assert_eq!(shown_by(&sandbox, kind, &["ssh-keygen", "-y", "-f"]), public);
        } else {
            skipped("ssh-keygen is not installed");
        }
    }

    if has("ssh-keygen") {
        assert!(shown_by(&sandbox, "rsa", &["ssh-keygen", "-l", "-f"]).starts_with("3072 "));
    }
}

#[test]
fn age_reads_both_halves() {
    let sandbox = Sandbox::new().unlocked();
    let public = created(&sandbox, "age");
    assert!(public.starts_with("age1") && public.trim_end().len() == 62, "{public}");
    if has("age-keygen") {
        assert_eq!(shown_by(&sandbox, "age", &["age-keygen", "-y"]), public);
    } else {
        skipped("age-keygen is not installed");
    }

    // What `export` encrypts to the public half is opened with the private half.
    let export = ["export", "--encrypted", "all.age", "-r", public.trim_end(), "-q"];
    sandbox.run(export).succeeds();
    sandbox.run(["render", "-e", "{{ secrets.age }}", "-o", "key", "-q"]).succeeds();
    let import = sandbox.run(["-p", "copy", "import", "all.age", "-i", "key"]);
    import.succeeds().stderr_has("imported into project `copy`: 1 created");
}

#[test]
fn a_new_pair_replaces_the_old_one() {
    let sandbox = Sandbox::new().unlocked();
    let first = created(&sandbox, "ed25519");
    let json =
        sandbox.run(["update", "ed25519", "--key-pair", "ed25519", "--json"]).succeeds().json();
    let second = json["publicKey"].as_str().unwrap();
    assert!(second.starts_with("ssh-ed25519 ") && second != first.trim_end());
    assert_eq!(json["description"], second);

    // A description of the user's own stays.
    sandbox.run(["update", "ed25519", "--description", "deploys", "-q"]).succeeds().bytes();
    let json = sandbox.run(["update", "ed25519", "--key-pair", "age", "--json"]).succeeds().json();
    assert_eq!(json["description"], "deploys");
    for other in [&["--generate"][..], &["--words", "6"], &["--value-file", "x"], &["--uuid"]] {
        let arguments = [&["create", "x", "--key-pair", "age"], other].concat();
        sandbox.run(arguments).fails_with(2).stderr_has("--key-pair").bytes();
    }
}
