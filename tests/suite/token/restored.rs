//! `restore` of an earlier state is a change that follows on the present one, so nobody who remembers
//! the vault is locked out, and no key comes back (attacks A13 and B9).

use super::Tokens;

const VALUE: &str = "{{ secrets.api-key }}";

/// A vault with a backup, changed since: `boss` was revoked, `ci` narrowed, `late` created, two
/// projects changed, one deleted and one added.
fn changed() -> (Tokens, String) {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use"]);
    let boss = tokens.create("boss", &["--level", "manage"]);
    tokens.with("boss", &["create", "by-boss", "-q"]).stdin("by boss").run().succeeds();
    let owner = |arguments: &[&str], input: &str| {
        tokens.0.command(arguments).stdin(input).run().succeeds();
    };

    owner(&["-p", "gone", "create", "old", "-q"], "value-of-old");
    owner(&["backup", "backup.db", "-q"], "");
    owner(&["-p", "gone", "update", "old", "-q"], "later");
    owner(&["-p", "gone", "update", "old", "-q"], "still later");
    owner(&["token", "revoke", "boss", "-y", "-q"], "");
    owner(&["token", "update", "ci", "--only", "-db-password", "-q"], "");
    tokens.create("late", &["--level", "use", "--only", "other"]);
    owner(&["-p", "web", "update", "api-key", "-q"], "changed");
    owner(&["-p", "web", "create", "since", "-q"], "since");
    owner(&["project", "delete", "gone", "-y", "-q"], "");
    owner(&["-p", "added", "create", "new", "-q"], "new");

    // Both machines remember the present state.
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("changed");
    owner(&["audit", "verify", "--all-projects", "-q"], "");
    (tokens, boss)
}

#[test]
fn tokens_and_readers_with_memory_go_on() {
    let (tokens, _) = changed();
    stderr!(tokens.0.run(["restore", "backup.db", "-y"]).succeeds(), @"
    + gone/old
    - added/new
    - web/since
    ~ web/api-key
    1 added, 2 removed, 1 changed
    left out tokens of the backup that the current vault does not have: `boss`
    restored `[dir]/vault.db`
    ");
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("projects     3");
    tokens
        .0
        .run(["-p", "gone", "render", "-e", "{{ secrets.old }}"])
        .succeeds()
        .stdout("value-of-old");
    tokens.0.run(["-p", "added", "list"]).fails_with(3).stderr_has("no project `added`");
    tokens.0.run(["-p", "web", "get", "since"]).fails_with(3).stderr_has("no secret `since`");

    // Each has the rights that it has now.
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    tokens
        .with("ci", &["get", "db-password"])
        .run()
        .fails_with(3)
        .stderr_has("no secret `db-password`");
    tokens.with("ci", &["get", "by-boss"]).run().succeeds().stdout_has("by-boss");
    tokens
        .with("late", &["render", "-e", "{{ secrets.other }}"])
        .run()
        .succeeds()
        .stdout("value-of-other");
    tokens.with("boss", &["list"]).run().fails_with(5).stderr_has("it was revoked");
}

#[test]
fn the_audit_log_keeps_what_happened_since() {
    let (tokens, _) = changed();
    tokens.0.run(["restore", "backup.db", "-y", "-q"]).succeeds();
    let log = tokens.0.run(["audit", "-p", "web", "--kind", "change"]).succeeds();
    let log = log.stdout_has("boss\tcreate\tby-boss").stdout_has("owner\tcreate\tsince");
    log.stdout_has("owner\trestore\t");
    let verify = tokens.0.run(["audit", "verify", "--all-projects"]).succeeds();
    verify.stderr_has("4 audit logs");
}

#[test]
fn a_returning_token_is_asked_for_and_its_old_keys_open_nothing() {
    let (tokens, _) = changed();
    let copy = tokens.0.path("before.db");
    std::fs::copy(tokens.0.path("backup.db"), &copy).unwrap();
    tokens.0.run(["restore", "backup.db", "-y", "--with-tokens", "-q"]).succeeds();
    tokens.with("boss", &["create", "again", "-q"]).stdin("again").run().succeeds();
    tokens.0.run(["audit", "verify", "-p", "web", "-q"]).succeeds();
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("projects     3");

    // A second restore, and one of a state that has diverged since.
    tokens.0.run(["restore", "before.db", "-y", "-q"]).succeeds().stderr("");
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    tokens.0.run(["audit", "verify", "--all-projects", "-q"]).succeeds();
}

#[test]
fn the_passphrase_of_the_backup_opens_the_restored_vault() {
    let (tokens, _) = changed();
    tokens.0.write("next", "another passphrase\n");
    let passwd = tokens.0.run(["passwd", "--new-passphrase-file", "next", "-q"]).succeeds();
    passwd.stderr_has("other users can read the passphrase file");
    let restore = tokens.0.run(["restore", "backup.db", "-y", "-q"]).succeeds();
    restore.stderr_has("the old ones will work again");
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("projects     3");
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
}

#[test]
fn a_later_state_is_taken_over_as_it_is() {
    let (tokens, _) = changed();
    tokens.0.run(["backup", "later.db", "-q"]).succeeds();
    let other = |arguments: &[&str]| {
        tokens.0.run(["--vault", "other.db"].iter().chain(arguments)).succeeds()
    };
    other(&["restore", "backup.db", "-y", "-q"]);
    other(&["restore", "later.db", "-y", "-q", "--with-tokens"]).stderr("");
    let log = other(&["audit", "-p", "web", "--kind", "change"]);
    log.stdout_has("owner\tcreate\tsince").without("restore");
    tokens.with("late", &["--vault", "other.db", "list"]).run().succeeds().stdout_has("other");
}

#[test]
fn a_restore_over_a_rolled_back_file_revokes_every_token() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use"]);
    std::fs::copy(tokens.0.path("vault.db"), tokens.0.path("old.db")).unwrap();
    tokens.0.command(["-p", "web", "create", "since", "-q"]).stdin("since").run().succeeds();
    tokens.0.run(["backup", "backup.db", "-q"]).succeeds();
    tokens.0.run(["token", "revoke", "ci", "-y", "-q"]).succeeds();
    std::fs::copy(tokens.0.path("old.db"), tokens.0.path("vault.db")).unwrap();
    tokens.0.run(["list"]).fails_with(6).stderr_has("rolled back");
    let restore = tokens.0.run(["restore", "backup.db", "-y"]).succeeds();
    restore.stderr_has("left out tokens of the backup that the current vault does not have: `ci`");
    tokens.with("ci", &["list"]).run().fails_with(5).stderr_has("it was revoked");
}

#[test]
fn returning_tokens_are_complete_and_accepted_by_who_used_them_since() {
    let tokens = Tokens::new();
    let owner = |arguments: &[&str]| tokens.0.run(arguments).succeeds();
    for name in ["one", "two", "three"] {
        tokens.create(name, &["--level", "use"]);
        let new = format!("{name}.new");
        owner(&["token", "rotate", name, "--grace", "5d", "-q", "-o", &new]);
    }

    tokens.0.command(["-p", "gone", "create", "x", "-q"]).stdin("x").run().succeeds();
    owner(&["token", "create", "far", "--level", "read", "-p", "gone", "-q", "-o", "far"]);
    owner(&["backup", "backup.db", "-q"]);
    for level in ["read", "use", "read", "use"] {
        owner(&["token", "update", "one", "--level", level, "-q"]);
    }

    tokens.with("one.new", &["list"]).run().succeeds().stdout_has("api-key");
    owner(&["token", "revoke", "--all", "-y", "-q"]);
    owner(&["project", "delete", "gone", "-y", "-q"]);
    owner(&["restore", "backup.db", "-y", "-q", "--with-tokens"]).stderr("");
    for name in ["one.new", "two.new", "three.new"] {
        tokens.with(name, &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    }

    let old = tokens.with("two", &["list"]).run().succeeds().stdout_has("api-key");
    old.stderr_has("was replaced");
    tokens.with("far", &["list"]).run().succeeds().stdout_has("x");
}

#[test]
fn tokens_of_removed_projects_and_secrets_that_are_restricted_no_more_are_named() {
    let tokens = Tokens::new();
    tokens.0.run(["backup", "backup.db", "-q"]).succeeds();
    tokens.0.command(["-p", "new", "create", "x", "-q"]).stdin("x").run().succeeds();
    tokens
        .0
        .run(["token", "create", "far", "--level", "read", "-p", "new", "-q", "-o", "far"])
        .succeeds();
    tokens.0.run(["-p", "web", "access", "api-key", "--restricted", "-q"]).succeeds();
    let restore = tokens.0.run(["restore", "backup.db", "-y"]).succeeds();
    let restore =
        restore.stderr_has("removed tokens of projects that the backup does not have: `far`");
    restore.stderr_has("will be team secrets: `web/api-key`");
}
