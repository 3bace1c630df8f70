//! Several machines that use one vault, each with what it has seen in its cache.

use terminal_secrets::model::SecretRef;
use terminal_secrets::vault::{SecretChanges, VaultError};

use crate::support::server::VaultServer;
use crate::support::{project, secret, value};

fn changes() -> SecretChanges {
    SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() }
}

/// A change assumes first that its machine has seen the last state. If it fails, this may be because
/// of a later state.
#[test]
fn a_change_fails_only_in_the_last_state() {
    let Some(server) = VaultServer::new() else { return };
    let (one, other) = (server.vault("one"), server.vault("other"));
    let (alpha, old, new): (_, SecretRef, SecretRef) =
        (project("alpha"), "old".parse().unwrap(), "new".parse().unwrap());
    one.create(&alpha, secret("old", b"v")).unwrap();
    assert_eq!(other.list(Some(&alpha), |_| true).unwrap().len(), 1);

    // The other machine has not seen that a secret was added.
    one.create(&alpha, secret("new", b"v")).unwrap();
    other.update(&alpha, &new, None, changes()).unwrap();

    // This machine has not seen the other's change, and the other machine does not see this one's.
    one.delete(&alpha, std::slice::from_ref(&old)).unwrap();
    other.create(&alpha, secret("old", b"again")).unwrap();
    one.rename_project(&alpha, &project("beta")).unwrap();
    let missing = other.update(&alpha, &new, None, changes());
    assert!(matches!(missing, Err(VaultError::NoSecret { .. })), "{missing:?}");
    other.update(&project("beta"), &new, None, changes()).unwrap();
}
