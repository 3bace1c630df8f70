//! A checkpoint that was kept elsewhere shows that a log was cut or replaced.

use serde_json::{Value, json};
use terminal_secrets::model::Timestamp;
use terminal_secrets::vault::LogScope;

use crate::support::{Sandbox, project};

use super::changed;

fn checkpoint(sandbox: &Sandbox, options: &[&str]) -> Value {
    let run = sandbox.run([&["audit", "checkpoint"][..], options].concat()).succeeds();
    let run = run.without("one").without("m4rker");
    let text = String::from_utf8(run.bytes()).unwrap();
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(&text).unwrap()
}

fn verify(sandbox: &Sandbox, checkpoint: &Value) -> crate::support::Run {
    sandbox.write("checkpoint.json", checkpoint.to_string());
    sandbox.run(["audit", "verify", "--checkpoint", "checkpoint.json"])
}

#[test]
fn a_log_that_goes_on_verifies_and_one_that_was_cut_does_not() {
    let sandbox = changed();
    let before = sandbox.read("vault.db");
    let old = checkpoint(&sandbox, &[]);
    assert_eq!(old["checkpoints"][0]["seq"], 5);
    sandbox.command(["update", "one", "-q"]).stdin("m4rker-seen").run().succeeds();
    verify(&sandbox, &old)
        .succeeds()
        .stderr("verified 6 entries in 1 audit log, and 0 uses and refusals on this machine\n");
    let new = checkpoint(&sandbox, &[]);
    verify(&sandbox, &new).succeeds().stderr_has("verified 6");

    // Another machine has the earlier file, and then a file that diverged.
    let other = Sandbox::new();
    std::fs::write(other.vault_path(), before).unwrap();
    let message = "the audit log of project `default` ends at entry 5, before the checkpoint at \
                   entry 6";
    verify(&other, &new).fails_with(6).stderr_has(message);
    other.command(["update", "two", "-q"]).stdin("m4rker-other").run().succeeds();
    let message = "entry 6 of the audit log of project `default` is not the checkpoint's";
    verify(&other, &new).fails_with(6).stderr_has(message);
    verify(&other, &old).succeeds().stderr_has("verified 6");

    // A project of the same name is another project.
    other.run(["project", "delete", "default", "-y", "-q"]).succeeds();
    verify(&other, &old).fails_with(6).stderr_has("the vault does not have the audit log");
    verify(&Sandbox::new(), &old).fails_with(6).stderr_has("another vault");
}

#[test]
fn all_logs_have_a_checkpoint() {
    let sandbox = changed();
    let all = checkpoint(&sandbox, &["--all-projects"]);
    assert_eq!(all["checkpoints"].as_array().unwrap().len(), 2);
    assert_eq!(all["checkpoints"][0]["project"], Value::Null);
    verify(&sandbox, &all).succeeds().stderr_has("in 2 audit logs");
    sandbox.run(["project", "rename", "default", "web", "-q"]).succeeds();
    verify(&sandbox, &all).succeeds().stderr_has("in 2 audit logs");
}

#[test]
fn a_checkpoint_is_hostile_input() {
    let sandbox = changed();
    let good = checkpoint(&sandbox, &[])["checkpoints"][0].clone();
    let with = |member: &str, value: Value| {
        let mut changed = good.clone();
        changed[member] = value;
        json!({ "checkpoints": [changed] })
    };

    for wrong in [
        json!({ "checkpoints": [] }),
        json!([good]),
        with("seq", json!(0)),
        with("seq", json!(-1)),
        with("pid", json!("00")),
        with("pid", json!("+0000000000000000000000000000001")),
        with("vault", json!("zz".repeat(16))),
        with("more", json!(1)),
    ] {
        verify(&sandbox, &wrong).fails_with(2).stderr_has("is not a checkpoint of an audit log");
    }

    for (member, value) in [
        ("hash", json!("x")),
        ("signature", json!("00")),
        ("time", json!("2026")),
        ("seq", json!(4)),
    ] {
        let run = verify(&sandbox, &with(member, value));
        run.fails_with(6).stderr_has("is not the checkpoint's");
    }

    let hostile = with("project", json!("\u{1b}[2J\u{202e}".repeat(1000)));
    let run = verify(&sandbox, &{
        let mut hostile = hostile;
        hostile["checkpoints"][0]["seq"] = json!(99);
        hostile
    });
    run.fails_with(6).without("\u{1b}").without("\u{202e}").stderr_has("ends at entry 5");

    sandbox.write("checkpoint.json", vec![b' '; 9 << 20]);
    let line = ["audit", "verify", "--checkpoint", "checkpoint.json"];
    sandbox.run(line).fails_with(2).stderr_has("is not a checkpoint");
    let line = ["audit", "verify", "--checkpoint", "nothing.json"];
    sandbox.run(line).fails_with(1).stderr_has("cannot read the checkpoint");
}

#[test]
fn a_checkpoint_of_a_pruned_entry_cannot_be_verified() {
    let sandbox = changed();
    let fifth = checkpoint(&sandbox, &[]);
    let before = Timestamp(Timestamp::now().0 + 1);
    sandbox.vault().prune_logs(LogScope::Project(&project("default")), before).unwrap();
    verify(&sandbox, &fifth).succeeds().stderr_has("verified 1 entry in 1 audit log");

    sandbox.command(["update", "one", "-q"]).stdin("m4rker-new").run().succeeds();
    let before = Timestamp(Timestamp::now().0 + 1);
    sandbox.vault().prune_logs(LogScope::Project(&project("default")), before).unwrap();
    let message = "entry 5 of the audit log of project `default` was pruned; the log begins at \
                   entry 8";
    verify(&sandbox, &fifth).fails_with(3).stderr_has(message);
}
