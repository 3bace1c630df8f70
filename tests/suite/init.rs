//! `secrets init` creates a vault once, with parameters inside the format's bounds.

use std::os::unix::fs::PermissionsExt;

use terminal_secrets::crypto::kdf::KdfParams;
use terminal_secrets::vault::Locked;

use crate::support::{Sandbox, wrapped_in};

/// The cheapest parameters that the format allows.
const LEAST: [&str; 7] =
    ["init", "--kdf-memory", "19", "--kdf-iterations", "1", "--kdf-parallelism", "1"];
const CHEAP: &str =
    "warning: these key derivation parameters make guessing cheaper than the defaults\n";

fn made(path: &str, option: &str) -> String {
    format!(
        "created the vault `{path}`\na forgotten passphrase cannot be reset; print a recovery code \
         with `secrets {option}recovery create` and keep it safe\nnext: store a secret with \
         `secrets create TAG`\n`secrets {option}unlock` asks once and keeps the vault unlocked for \
         15m, or 5m without use\n"
    )
}

#[test]
fn init_creates_a_vault_that_opens() {
    let sandbox = Sandbox::empty();
    let run = sandbox.run(["init"]).succeeds().stdout("");
    let run = stderr!(run, @"
    guessing this passphrase takes about a million years or more on one graphics card (1 TB/s)
    created the vault `[dir]/vault.db`
    a forgotten passphrase cannot be reset; print a recovery code with `secrets recovery create` and keep it safe
    next: store a secret with `secrets create TAG`
    `secrets unlock` asks once and keeps the vault unlocked for 15m, or 5m without use
    ");

    run.stderr_has(&made(sandbox.vault_path().to_str().unwrap(), ""));

    // The default is 256 MiB, unless the machine has less than four times as much. This is the only
    // test that pays for it.
    let params = Locked::open(&sandbox.vault_path()).unwrap().kdf_params().unwrap();
    assert!([KdfParams::DEFAULT, KdfParams::SMALL].contains(&params));
    sandbox.run(["list", "-q"]).succeeds().stdout("");
    let mode = sandbox.vault_path().metadata().unwrap().permissions().mode();

    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn init_creates_a_private_directory() {
    let sandbox = Sandbox::empty();
    let directory = sandbox.path("data");
    let run =
        sandbox.command(LEAST).without_env("SECRETS_VAULT").env("XDG_DATA_HOME", &directory).run();
    let vault = directory.join("secrets/vault.db");

    run.succeeds().stderr_has(&(CHEAP.to_owned() + &made(vault.to_str().unwrap(), "")));
    let mode = vault.parent().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn init_never_replaces_a_vault() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let before = sandbox.read("vault.db");
    sandbox.run(["init"]).fails_with(4).stdout("").stderr(&format!(
        "error: `{}` already exists\nhint: choose another path with `--vault PATH`\n",
        sandbox.vault_path().display()
    ));

    assert_eq!(sandbox.read("vault.db"), before);
}

#[test]
fn init_never_replaces_another_file() {
    let sandbox = Sandbox::empty();
    sandbox.write("vault.db", "somebody's notes");
    stderr!(sandbox.run(["init"]).fails_with(4), @"
    error: `[dir]/vault.db` already exists
    hint: choose another path with `--vault PATH`
    ");

    assert_eq!(sandbox.read("vault.db"), b"somebody's notes");
}

#[test]
fn init_asks_for_no_passphrase_if_a_vault_exists() {
    // There is no passphrase and no terminal, so a question would end with 5.
    stderr!(Sandbox::new().command(["init"]).without_env("SECRETS_PASSPHRASE").run().fails_with(4), @"
    error: `[dir]/vault.db` already exists
    hint: choose another path with `--vault PATH`
    ");
}

#[test]
fn init_limits_its_parameters() {
    let sandbox = Sandbox::empty();
    for (option, too_small, too_large, why) in [
        ("--kdf-memory", "18", "2049", "memory is outside 19 MiB to 2 GiB"),
        ("--kdf-iterations", "0", "65", "iterations are outside 1 to 64"),
        ("--kdf-parallelism", "0", "17", "parallelism is outside 1 to 16"),
    ] {
        for value in [too_small, too_large, "4294967295"] {
            let expected =
                format!("error: the key derivation's {why}\nhint: remove the `--kdf` options\n");
            sandbox.run(["init", option, value]).fails_with(2).stdout("").stderr(&expected);
        }
        sandbox.run(["init", option, "many"]).fails_with(2).stderr_has("is not a number\n");
    }

    assert!(!sandbox.vault_path().exists());
}

#[test]
fn init_warns_of_cheap_parameters_only() {
    let sandbox = Sandbox::empty();
    let expected = CHEAP.to_owned() + &made(sandbox.vault_path().to_str().unwrap(), "");
    sandbox.run(LEAST).succeeds().stderr_has(&expected);

    // More iterations compensate for less memory.
    let traded =
        ["init", "--vault", "traded.db", "--kdf-memory", "19", "--kdf-iterations", "41", "-q"];
    sandbox.run(traded).succeeds().stderr("");
}

#[test]
fn init_warns_of_a_weak_passphrase_with_an_estimate() {
    for weak in ["hunter2", "abababababababababab", "123456789012", "password1234", "qwertyuiopas"]
    {
        let sandbox = Sandbox::empty();
        let run =
            sandbox.command(LEAST).env("SECRETS_PASSPHRASE", weak).run().succeeds().without(weak);
        let run = stderr!(run, @"
        warning: this passphrase is weak: guessing it takes less than a second on one graphics card (1 TB/s); use six random words instead
        warning: these key derivation parameters make guessing cheaper than the defaults
        created the vault `[dir]/vault.db`
        a forgotten passphrase cannot be reset; print a recovery code with `secrets recovery create` and keep it safe
        next: store a secret with `secrets create TAG`
        `secrets unlock` asks once and keeps the vault unlocked for 15m, or 5m without use
        ");

        let run = run.without("about less");
        stderr!(run, @"
        warning: this passphrase is weak: guessing it takes less than a second on one graphics card (1 TB/s); use six random words instead
        warning: these key derivation parameters make guessing cheaper than the defaults
        created the vault `[dir]/vault.db`
        a forgotten passphrase cannot be reset; print a recovery code with `secrets recovery create` and keep it safe
        next: store a secret with `secrets create TAG`
        `secrets unlock` asks once and keeps the vault unlocked for 15m, or 5m without use
        ")
            .without("guessing this passphrase");
    }
}

#[test]
fn init_suggests_nothing_if_a_passphrase_is_given() {
    let sandbox = Sandbox::empty();
    stderr!(sandbox.run(["init", "--suggest"]).fails_with(2), @"
    error: `--suggest` cannot be used with a given passphrase
    hint: remove `--passphrase-file`, SECRETS_PASSPHRASE_FILE and SECRETS_PASSPHRASE to choose one here
    ");

    let run = sandbox.command(["init", "--suggest"]).without_env("SECRETS_PASSPHRASE").run();
    stderr!(run.fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    ");

    assert!(!sandbox.vault_path().exists());
}

#[test]
fn init_reports_how_much_memory_is_needed() {
    let sandbox = Sandbox::empty();
    let init = sandbox.command(["init", "--kdf-memory", "400", "--json"]);
    let output = wrapped_in(&["prlimit", "--as=300000000:300000000"], &init).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();

    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("not enough memory: the key derivation needs 400 MiB"), "{stderr}");
    assert!(!sandbox.vault_path().exists());
}

#[test]
fn init_refuses_an_empty_passphrase() {
    let sandbox = Sandbox::empty();
    for empty in ["", "\n", "\r\n"] {
        sandbox.write("passphrase", empty);
        let run = sandbox.run(["init", "--passphrase-file", "passphrase"]);
        stderr!(run.fails_with(5), @"
        warning: other users can read the passphrase file `passphrase`
        error: invalid passphrase: it is empty
        ");
    }

    assert!(!sandbox.vault_path().exists());
}

#[test]
fn init_refuses_a_passphrase_that_is_too_long_or_not_text() {
    let sandbox = Sandbox::empty();
    sandbox
        .command(LEAST)
        .env("SECRETS_PASSPHRASE", "x1y2z".repeat(204) + "1234")
        .run()
        .succeeds()
        .stderr_has("created");

    for bad in [vec![b'x'; 1025], vec![b'x'; 100_000], b"caf\xe9".to_vec()] {
        sandbox.write("passphrase", bad);
        let run = sandbox.run(["init", "--vault", "other.db", "--passphrase-file", "passphrase"]);
        run.fails_with(5).stderr_has("error: invalid passphrase: it is ");
    }

    assert!(!sandbox.path("other.db").exists());
}

#[test]
fn init_without_a_passphrase_or_a_terminal_leaves_nothing_behind() {
    let sandbox = Sandbox::empty();
    stderr!(sandbox.command(["init"]).without_env("SECRETS_PASSPHRASE").run().fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    ");

    assert_eq!(sandbox.path("").read_dir().unwrap().count(), 0);
}

#[test]
fn init_with_quiet_prints_only_warnings() {
    let sandbox = Sandbox::empty();
    sandbox.run(LEAST.iter().chain(&["--quiet"])).succeeds().stdout("").stderr(CHEAP);
}
