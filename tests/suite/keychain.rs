//! A vault with the key of a keychain opens with it, and asks for the passphrase where there is no
//! keychain. `tests/desktop.sh` uses a real one.

use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::keychain::KeychainKey;
use terminal_secrets::vault::{Locked, VaultError};

use crate::support::Sandbox;

fn opens(sandbox: &Sandbox, key: &KeychainKey) -> bool {
    match Locked::open(&sandbox.vault_path()).unwrap().root_key(key) {
        Ok(_) => true,
        Err(VaultError::Crypto(CryptoError::WrongKeychainKey)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_machine_has_its_own_key() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    let vault = sandbox.vault();
    let (here, there) = (vault.add_keychain().unwrap(), vault.add_keychain().unwrap());
    assert!(opens(&sandbox, &here) && opens(&sandbox, &there));
    assert_eq!(vault.remove_keychains(Some(&here)).unwrap(), 1);
    assert_eq!(vault.remove_keychains(Some(&here)).unwrap(), 0);
    assert!(!opens(&sandbox, &here) && opens(&sandbox, &there));
    assert_eq!(vault.remove_keychains(None).unwrap(), 1);
    assert!(!opens(&sandbox, &there));
    sandbox.run(["get", "a"]).succeeds().bytes();
}

#[test]
fn new_keys_end_those_of_keychains() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    let key = sandbox.vault().add_keychain().unwrap();
    let verify = sandbox.run(["verify", "-q"]).succeeds();
    verify.stdout_has("keychain of one machine").bytes();
    let rekey = sandbox.run(["rekey", "-y"]).succeeds();
    rekey.stderr_has("the vault no longer opens with a keychain").bytes();
    assert!(!opens(&sandbox, &key));
    let again = sandbox.run(["rekey", "-y"]).succeeds();
    again.stderr_lacks("keychain").bytes();
}

#[test]
fn a_new_passphrase_and_a_key_file_keep_the_key() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    let key = sandbox.vault().add_keychain().unwrap();
    sandbox
        .run(["key-file", "create", "-q", "vault.key"])
        .succeeds()
        .stderr_has("recovery")
        .bytes();
    assert!(opens(&sandbox, &key));
}

#[test]
fn a_vault_has_a_limited_number_of_keys() {
    let sandbox = Sandbox::with_secrets(&[]);
    let vault = sandbox.vault();
    for _ in 1..16 {
        vault.add_keychain().unwrap();
    }

    assert!(matches!(vault.add_keychain(), Err(VaultError::Crypto(CryptoError::TooManySlots))));
    let verify = sandbox.run(["verify", "-q"]).succeeds();
    verify.stdout_has("keychains of 15 machines").bytes();
    assert_eq!(vault.remove_keychains(None).unwrap(), 15);
}

#[test]
fn the_passphrase_is_asked_for_where_there_is_no_keychain() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    let before = sandbox.read("vault.db");
    stderr!(sandbox.run(["keychain", "add"]).fails_with(1), @"
    error: there is no keychain in this session
    hint: run it on a desktop with GNOME Keyring, KWallet or KeePassXC; elsewhere, `secrets unlock` asks for the passphrase once
    ");
    stderr!(sandbox.run(["keychain", "remove"]).fails_with(1), @"
    error: there is no keychain in this session
    hint: run it on a desktop with GNOME Keyring, KWallet or KeePassXC; elsewhere, `secrets unlock` asks for the passphrase once
    ");
    assert_eq!(sandbox.read("vault.db"), before);

    sandbox.vault().add_keychain().unwrap();
    let command = sandbox.command(["list"]).without_env("SECRETS_PASSPHRASE");
    stderr!(command.run().fails_with(5), @"
    warning: there is no keychain in this session
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    // A given passphrase needs no keychain, and says nothing about it.
    sandbox.run(["list"]).succeeds().stdout_has("a");
    stderr!(sandbox.run(["keychain", "remove", "--all"]).succeeds(), @"removed 1 keychain key from the vault");
    stderr!(sandbox.run(["keychain", "remove", "--all"]).succeeds(), @"the vault had no key of a keychain");
}
