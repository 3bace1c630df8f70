//! `secrets rekey` keeps the secrets and replaces all keys.

use rusqlite::Connection;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::kdf::SlotKeys;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::crypto::slot::Credential;
use terminal_secrets::vault::{Locked, VaultError};

use crate::support::files::{is_left, passphrase_file};
use crate::support::specimen::slot;
use crate::support::terminal::Terminal;
use crate::support::values::{NEW_PASSPHRASE, recovery_code, store_forty};
use crate::support::{PASSPHRASE, Sandbox, passphrase, project, secret};

const SECRETS: [(&str, &str); 3] =
    [("one", "value of one"), ("two", "value of two"), ("three", "value of three")];

/// Returns a vault with three secrets in `default` and forty in `web`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&SECRETS);
    store_forty(&sandbox);
    sandbox
}

/// Returns everything in the vault except its keys.
fn everything(sandbox: &Sandbox) -> Vec<String> {
    let vault = sandbox.vault();
    let secrets = vault.list(None, |_| true).unwrap();
    assert!(vault.verify(&|_| {}).unwrap().damage.is_empty());
    let values = ["default", "web"].map(|name| {
        let name = project(name);
        let all = vault.scope(&name).reveal_all().unwrap();
        all.iter().map(|(tag, value)| format!("{tag}={:?}", value.expose())).collect::<Vec<_>>()
    });

    secrets.iter().map(|secret| format!("{secret:?}")).chain(values.concat()).collect()
}

fn column(sandbox: &Sandbox, sql: &str) -> Vec<Vec<u8>> {
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const SEALED: [&str; 6] = [
    "SELECT ct FROM audit",
    "SELECT head FROM projects",
    "SELECT meta FROM records",
    "SELECT tag_ix FROM records",
    "SELECT val FROM vals",
    "SELECT wrap FROM slots",
];

#[test]
fn rekey_keeps_everything_and_encrypts_it_again() {
    let sandbox = sandbox();
    let before = everything(&sandbox);
    let sealed: Vec<Vec<u8>> = SEALED.iter().flat_map(|sql| column(&sandbox, sql)).collect();
    let root = Locked::open(&sandbox.vault_path()).unwrap().root_key(&passphrase()).unwrap();
    let old = RootKey::from_bytes(root.expose()).unwrap();

    stderr!(sandbox.run(["rekey", "-y"]).succeeds().stdout(""), @"
    re-encrypted 43 secrets of 2 projects
    old copies still open with the old keys; create a new backup, and change the secrets that they contain
    the passphrase is unchanged; if somebody else may know it, run `secrets passwd`
    ");

    assert_eq!(everything(&sandbox), before);

    // Nothing that the old keys open is left, neither as a row nor as dead bytes.
    for bytes in &sealed {
        assert!(!is_left(&sandbox, bytes));
    }

    assert!(Locked::open(&sandbox.vault_path()).unwrap().check_root_key(&old).is_err());
    let run = sandbox.run(["rekey", "-y", "--json"]).succeeds();
    assert_eq!(run.json(), serde_json::json!({ "projects": 2, "secrets": 43, "tokens": [] }));
    assert_eq!(everything(&sandbox), before);
}

#[test]
fn rekey_of_one_project_leaves_the_others_alone() {
    let sandbox = sandbox();
    let before = everything(&sandbox);
    let of = |name: &str| {
        let rows = "SELECT meta FROM records WHERE (SELECT count(*) FROM records r WHERE r.pid = records.pid AND r.pid <> zeroblob(16))";
        column(&sandbox, &format!("{rows} = {}", if name == "web" { 40 } else { 3 }))
    };

    let (web, others, slots) = (of("web"), of("default"), slot(&sandbox));
    stderr!(sandbox.run(["rekey", "--project", "web", "-y"]).succeeds(), @"re-encrypted 40 secrets of 1 project");
    assert_eq!(everything(&sandbox), before);
    assert_eq!((of("default"), slot(&sandbox)), (others, slots));
    assert!(of("web").iter().all(|meta| !web.contains(meta)));
    stderr!(sandbox.run(["-p", "no-such", "rekey", "-y"]).fails_with(3), @"
    error: no project `no-such`
    hint: `secrets project list` shows every project
    ");

    let run = sandbox.run(["-p", "web", "rekey", "-y", "--recovery-file", "code"]).fails_with(2);
    stderr!(run, @"
    error: `--recovery-file` and `--new-passphrase-file` cannot be used with `--project`
    hint: remove these options; the keys of a project do not depend on how the vault is unlocked
    ");
}

#[test]
fn rekey_takes_the_passphrase_even_if_the_vault_is_unlocked() {
    let sandbox = sandbox();
    let before = everything(&sandbox);
    sandbox.run(["unlock", "-q"]).succeeds();
    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();

    // Whatever makes keys takes the passphrase.
    for line in [&["rekey", "-y"][..], &["-p", "web", "rekey", "-y"]] {
        stderr!(bare(line).fails_with(5), @"
        error: no passphrase was given and there is no terminal to ask on
        hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
        ");
    }

    sandbox.run(["-p", "web", "rekey", "-y", "-q"]).succeeds();
    bare(&["-p", "web", "list", "--json"]).succeeds().stdout_has("key-39");

    assert_eq!(everything(&sandbox), before);

    // After that, the agent's key opens nothing and is forgotten.
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    stderr!(bare(&["status", "-q"]).fails_with(5).stdout(""), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    bare(&["lock", "--all", "-q"]).succeeds();
}

#[test]
fn the_recovery_code_is_kept_or_replaced() {
    let sandbox = sandbox();
    let code = recovery_code(&sandbox, &[]);
    let list =
        |code: &str| sandbox.command(["list", "--recovery"]).env("SECRETS_PASSPHRASE", code).run();
    sandbox.run(["rekey", "-y", "-q", "--recovery-file", "code"]).succeeds().stdout("");
    list(&code).succeeds().stdout_has("one");

    // Another vault's code is refused, and nothing is changed.
    let other = Sandbox::new();
    let before = sandbox.read("vault.db");
    passphrase_file(&sandbox, "other", &recovery_code(&other, &[]));
    stderr!(sandbox.run(["rekey", "-y", "--recovery-file", "other"]).fails_with(5), @"
    error: wrong recovery code
    hint: enter the code that `secrets recovery create` or `secrets rekey` last printed for this vault
    ");

    assert_eq!(sandbox.read("vault.db"), before);

    // Without the old code, a new one is printed.
    let found = sandbox.run(["rekey", "-y", "--json"]).succeeds().json();
    assert_eq!((found["projects"].as_u64(), found["secrets"].as_u64()), (Some(2), Some(43)));
    let given = found["recoveryCode"].as_str().unwrap().to_owned();
    list(&given).succeeds().stdout_has("one");

    let run = sandbox.run(["rekey", "-y", "-q"]).succeeds();
    let new = String::from_utf8(run.bytes()).unwrap();
    stderr!(list(&given).fails_with(5), @"
    error: wrong recovery code
    hint: enter the code that `secrets recovery create` or `secrets rekey` last printed for this vault
    ");

    stderr!(list(&code).fails_with(5), @"
    error: wrong recovery code
    hint: enter the code that `secrets recovery create` or `secrets rekey` last printed for this vault
    ");

    list(new.trim_end()).succeeds().stdout_has("one");
    sandbox.run(["recovery", "delete", "-y", "-q"]).succeeds();
    stderr!(sandbox.run(["rekey", "-y", "--recovery-file", "code"]).fails_with(5), @"
    error: the vault has no recovery code
    hint: enter the passphrase; `secrets recovery create` then creates a recovery code
    ");

    let output = sandbox.run(["rekey", "-y", "--recovery"]).fails_with(2);
    stderr!(output, @"
    error: `--recovery` cannot be used here, because the passphrase is needed
    hint: set a new passphrase with `secrets passwd --recovery`
    ");
}

#[test]
fn rekey_can_change_the_passphrase() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "old.db"]).succeeds();
    passphrase_file(&sandbox, "new", NEW_PASSPHRASE);
    let line = ["rekey", "-y", "--new-passphrase-file", "new"];

    stderr!(sandbox.run(line).succeeds(), @"
    guessing this passphrase takes about a million years or more on one graphics card (1 TB/s)
    re-encrypted 43 secrets of 2 projects
    old copies still open with the old keys; create a new backup, and change the secrets that they contain
    ")
    .without("the passphrase is the same");

    stderr!(sandbox.run(["list"]).fails_with(5), @"
    error: wrong passphrase
    hint: enter the one last set with `secrets init` or `secrets passwd`, or use a recovery code with `--recovery`
    ");

    sandbox.run(["list", "--passphrase-file", "new"]).succeeds().stdout_has("one");
    let text = "warning: this vault was used at another path with different keys; this copy may be older\n";
    sandbox.run(["--vault", "old.db", "list"]).succeeds().stdout_has("one").stderr(text);
    let run =
        sandbox.run(["-p", "web", "rekey", "-y", "--new-passphrase-file", "new"]).fails_with(2);
    stderr!(run, @"
    error: `--recovery-file` and `--new-passphrase-file` cannot be used with `--project`
    hint: remove these options; the keys of a project do not depend on how the vault is unlocked
    ");
}

#[test]
fn rekey_asks_for_confirmation() {
    let sandbox = sandbox();
    let code = recovery_code(&sandbox, &[]);
    let before = sandbox.read("vault.db");
    stderr!(sandbox.run(["rekey"]).fails_with(7), @"
    error: rekeying requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" rekey");
    terminal.waits_for("Passphrase for ").types(&format!("{PASSPHRASE}\n"));
    terminal.waits_for("Re-encrypt the whole vault under new keys? [y/N] ").types("\n");
    terminal.ends_with(7);
    assert_eq!(sandbox.read("vault.db"), before);

    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" rekey");
    terminal
        .waits_for("Passphrase for ")
        .types(&format!("{PASSPHRASE}\n"))
        .waits_for("[y/N] ")
        .types("y\n");

    terminal
        .waits_for("Recovery code, to keep it (leave empty to replace it with a new one): ")
        .types("what\n");
    terminal.waits_for("invalid recovery code: it has 4 characters").waits_for("Recovery code");
    terminal.types(&format!("{code}\n")).waits_for("re-encrypted 43 secrets of 2 projects");
    assert!(!terminal.ends_with(0).contains(&code));
    sandbox
        .command(["list", "--recovery"])
        .env("SECRETS_PASSPHRASE", &code)
        .run()
        .succeeds()
        .stdout_has("one");
}

#[test]
fn a_damaged_vault_is_not_re_encrypted() {
    let sandbox = sandbox();
    for (name, damage) in [
        (
            "a value",
            "UPDATE vals SET val = zeroblob(length(val)) WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
        ),
        (
            "a record",
            "UPDATE records SET meta = zeroblob(length(meta)) WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
        ),
        (
            "a record gone",
            "DELETE FROM records WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
        ),
        (
            "a bucket",
            "UPDATE buckets SET h = randomblob(32) WHERE b = (SELECT max(b) FROM buckets)",
        ),
        ("a slot", "UPDATE slots SET salt = randomblob(16)"),
    ] {
        let whole = sandbox.read("vault.db");
        Connection::open(sandbox.vault_path()).unwrap().execute_batch(damage).unwrap();
        let before = sandbox.read("vault.db");
        let run = sandbox.run(["rekey", "-y"]);
        let run = if name == "a slot" { run.fails_with(5) } else { run.fails_with(6) };
        run.stdout("").stderr_has("error: ");
        assert_eq!(sandbox.read("vault.db"), before, "{name}");
        sandbox.write("vault.db", whole);
    }
}

/// A slow passphrase: the vault gets new keys while it is derived.
struct Slow<'a> {
    sandbox: &'a Sandbox,
    rekeys: std::cell::Cell<u32>,
}

impl Credential for Slow<'_> {
    fn opens(&self, kind: u32) -> bool {
        passphrase().opens(kind)
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &[u8; 16]) -> Result<SlotKeys, CryptoError> {
        if self.rekeys.get() > 0 {
            self.rekeys.set(self.rekeys.get() - 1);
            self.sandbox.vault().rekey(&passphrase(), None, &|_| {}).unwrap();
        }

        passphrase().slot_keys(slot, vault_id)
    }

    fn wrong(&self) -> CryptoError {
        passphrase().wrong()
    }
}

#[test]
fn rekey_during_an_unlock_is_not_reported_as_damage() {
    let sandbox = sandbox();
    let unlock = |rekeys| {
        let slow = Slow { sandbox: &sandbox, rekeys: std::cell::Cell::new(rekeys) };
        Locked::open(&sandbox.vault_path()).unwrap().unlock(&slow)
    };

    assert!(unlock(1).unwrap().projects().is_ok());
    assert!(matches!(unlock(9), Err(VaultError::SlotsChanged)));
}

#[test]
fn rekey_after_an_unlock_is_not_reported_as_damage() {
    let sandbox = sandbox();
    let before = sandbox.vault();
    assert!(before.projects().is_ok());
    sandbox.vault().rekey(&passphrase(), None, &|_| {}).unwrap();
    assert!(matches!(before.projects(), Err(VaultError::SlotsChanged)));
    assert!(matches!(before.verify(&|_| {}), Err(VaultError::SlotsChanged)));

    let name = project("default");
    assert!(matches!(
        before.create(&name, secret("late", b"value")),
        Err(VaultError::SlotsChanged)
    ));

    assert!(matches!(before.rekey_project(&name, &|_| {}), Err(VaultError::SlotsChanged)));

    // Slots that do not match the signed ones are damage.
    let after = sandbox.vault();
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    connection.execute_batch("UPDATE vault SET past = zeroblob(136)").unwrap();
    assert!(matches!(after.projects(), Err(VaultError::Crypto(CryptoError::Damaged(_)))));
}

#[test]
fn an_old_key_in_an_agent_is_reported_as_such() {
    let sandbox = sandbox();
    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();

    // The agent has seen the vault before, or it has not.
    for looks in [true, false] {
        sandbox.run(["unlock", "-q"]).succeeds();
        if looks {
            bare(&["list"]).succeeds().stdout_has("one");
        }

        sandbox.vault().rekey(&passphrase(), None, &|_| {}).unwrap();
        for line in [&["list"][..], &["verify"], &["create", "--tag", "x", "--generate"]] {
            let run = bare(line).fails_with(5);
            stderr!(run, @"
            error: the unlocked key does not open the vault
            hint: the keys were changed elsewhere, or the vault is damaged; run `secrets unlock` to enter the passphrase again
            ");
        }

        sandbox.run(["unlock", "-q"]).succeeds();
        bare(&["list"]).succeeds().stdout_has("one");
        bare(&["lock", "-q"]).succeeds();
    }
}
