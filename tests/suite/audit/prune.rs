//! A pruned log has a signed mark, with which the rest verifies.

use terminal_secrets::model::Timestamp;
use terminal_secrets::vault::{LogScope, VaultError};

use crate::support::{Sandbox, project};

use super::{changed, holds, sealed, sql};

/// Prunes everything up to now.
fn prune(sandbox: &Sandbox, scope: LogScope<'_>) -> u64 {
    let before = Timestamp(Timestamp::now().0 + 1);
    let pruned = sandbox.vault().prune_logs(scope, before).unwrap();
    pruned.iter().map(|log| log.removed).sum()
}

#[test]
fn the_rest_of_a_pruned_log_verifies() {
    let sandbox = changed();
    let old = sealed(&sandbox);
    assert_eq!(prune(&sandbox, LogScope::Project(&project("default"))), 5);
    let file = sandbox.read("vault.db");
    assert!(old.iter().all(|sealed| !holds(&file, sealed)), "the old entries are in the file");

    let run = sandbox.run(["audit", "verify", "--json"]).succeeds();
    let logs = run.json()["logs"].clone();
    assert_eq!((&logs[0]["first"], &logs[0]["last"]), (&6.into(), &6.into()));
    let shown = sandbox.run(["audit", "--kind", "change", "--json"]).succeeds().json();
    assert_eq!(shown["entries"][0]["action"], "prune");
    assert_eq!(
        (&shown["entries"][0]["count"], &shown["entries"][0]["seq"]),
        (&5.into(), &6.into())
    );

    // Everything that reads or copies a log goes on.
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      42");
    sandbox.command(["update", "one", "-q"]).stdin("m4rker-new").run().succeeds();
    sandbox.run(["rekey", "-p", "default", "-y", "-q"]).succeeds();
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    sandbox.run(["audit", "verify", "--all-projects", "-q"]).succeeds();
    sandbox.run(["backup", "copy.db", "-q"]).succeeds();
    sandbox.run(["--vault", "copy.db", "audit", "verify", "-q"]).succeeds();

    // The mark of the last prune counts, and all logs can be pruned.
    assert!(prune(&sandbox, LogScope::All) > 6);
    sandbox.run(["audit", "verify", "--all-projects", "-q"]).succeeds();
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      42");
}

#[test]
fn a_mark_stands_for_exactly_the_pruned_entries() {
    let sandbox = changed();
    let before = sandbox.read("vault.db");
    prune(&sandbox, LogScope::Project(&project("default")));
    sandbox.command(["update", "one", "-q"]).stdin("m4rker-new").run().succeeds();
    let pruned = sandbox.read("vault.db");

    let old = Sandbox::new();
    std::fs::write(old.vault_path(), before).unwrap();
    let attach = format!("ATTACH '{}' AS old; ", old.vault_path().display());
    let put_back = "INSERT INTO audit SELECT * FROM old.audit WHERE pid <> zeroblob(16)";
    for (attack, seq) in [
        (format!("{attach}{put_back} AND seq = 5"), 6),
        (format!("{attach}{put_back}"), 6),
        ("DELETE FROM audit WHERE pid <> zeroblob(16) AND seq = 6".into(), 1),
        ("DELETE FROM audit WHERE pid <> zeroblob(16) AND seq = 7".into(), 7),
    ] {
        std::fs::write(sandbox.vault_path(), &pruned).unwrap();
        sql(&sandbox, &attack);
        let message = format!("entry {seq} of the audit log of project `default` is missing");
        sandbox.run(["audit", "verify"]).fails_with(6).stderr_has(&message);
    }
}

#[test]
fn a_damaged_log_is_not_pruned() {
    let sandbox = changed();
    sql(&sandbox, "DELETE FROM audit WHERE pid <> zeroblob(16) AND seq = 3");
    let before = Timestamp(Timestamp::now().0 + 1);
    let outcome = sandbox.vault().prune_logs(LogScope::Project(&project("default")), before);
    assert!(matches!(outcome, Err(VaultError::AuditLog { seq: 3, .. })));
}

#[test]
fn young_entries_stay_and_pruning_is_confirmed() {
    let sandbox = changed();
    let file = sandbox.read("vault.db");
    let line = ["audit", "prune", "--before", "365d"];
    sandbox.run(line).fails_with(7).stderr_has("pruning an audit log requires `--yes`");
    sandbox.run([&line[..], &["-y"]].concat()).succeeds().stderr_has("no entries before");
    let run = sandbox.run([&line[..], &["-y", "--all-projects", "--json"]].concat());
    run.succeeds().stdout("{\"pruned\":[]}\n");
    assert_eq!(sandbox.read("vault.db"), file);
    sandbox.run(["audit", "prune", "--before", "0d", "-y"]).fails_with(2).stderr_has("zero");
    sandbox.run(["audit", "prune", "-y"]).fails_with(2).stderr_has("--before");
}
