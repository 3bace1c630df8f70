//! An agent notices a vault that was rolled back, forked or replaced since it last served it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use terminal_secrets::agent::{AgentFault, Answer, Client, Request};
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::crypto::root_key::row_and_slots;
use terminal_secrets::crypto::rows::{Slot, VaultRow};
use terminal_secrets::model::SecretBytes;
use terminal_secrets::vault::{
    KeyServiceError, Locked, RootKeyHandle, RootTables, SecretChanges, Vault, VaultError,
};

use crate::support::specimen::Specimen;
use crate::support::{Sandbox, project, secret, specimen, value};

use super::{HOUR, Home, ask, decoded, program, rest, send_request, tables};

/// An agent that holds the fixture's key.
struct Watched {
    home: Home,
    specimen: Specimen,
}

impl Watched {
    fn new(specimen: Specimen) -> Self {
        let watched = Self::unseen(specimen);
        watched.look().unwrap();
        watched
    }

    /// Creates an agent that has not seen the vault yet.
    fn unseen(specimen: Specimen) -> Self {
        let vault = specimen.path().canonicalize().unwrap();
        let watched = Self { home: Home { sandbox: Sandbox::empty(), vault }, specimen };
        watched.client().start(program(), [9; 16], &specimen::root(), (HOUR, HOUR)).unwrap();
        watched
    }

    fn client(&self) -> Client {
        self.home.client()
    }

    /// Does what the command `unlock` does.
    fn unlock(&self) -> Result<bool, VaultError> {
        let locked = Locked::open(&self.specimen.path()).unwrap();
        self.client().unlock(program(), &locked, &specimen::root(), (HOUR, HOUR))
    }

    fn vault(&self) -> Vault {
        Locked::open(&self.specimen.path()).unwrap().unlocked(self.client())
    }

    /// Does what the command `list` does.
    fn look(&self) -> Result<usize, VaultError> {
        self.vault().list(None, |_| true).map(|all| all.len())
    }

    #[track_caller]
    fn notices_a_rollback(&self, name: Option<&str>) {
        match self.look() {
            Err(VaultError::KeyService(KeyServiceError::RolledBack(found))) => {
                assert_eq!(found, name.map(project));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_rollback_of_the_vault_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let now = watched.specimen.bytes();
    watched.specimen.overwrite(&Specimen::earlier().bytes());
    watched.notices_a_rollback(Some("alpha"));

    // The second attempt is refused as well, and so is a write.
    let refused = watched.vault().create(&project("alpha"), secret("x", b"x"));
    assert!(matches!(refused, Err(VaultError::KeyService(KeyServiceError::RolledBack(_)))));
    watched.notices_a_rollback(Some("alpha"));
    watched.specimen.overwrite(&now);
    assert_eq!(watched.look().unwrap(), 3);
}

#[test]
fn a_fork_of_a_vault_is_noticed() {
    let watched = Watched::new(Specimen::new());
    watched.specimen.overwrite(&Specimen::fork().bytes());
    watched.notices_a_rollback(Some("alpha"));
}

#[test]
fn a_rollback_to_before_a_project_existed_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let before = watched.specimen.bytes();
    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.specimen.overwrite(&before);
    watched.notices_a_rollback(None);
}

/// A writer shows the agent its new state, so rolling that back is noticed too.
#[test]
fn a_rollback_of_the_last_write_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let before = watched.specimen.bytes();
    let changes = SecretChanges { value: Some(value(b"newer")), ..SecretChanges::default() };
    watched.vault().update(&project("beta"), &"three".parse().unwrap(), None, changes).unwrap();
    watched.specimen.overwrite(&before);
    watched.notices_a_rollback(Some("beta"));
}

#[test]
fn a_rollback_of_one_project_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let earlier = Specimen::earlier();
    watched.specimen.sql(&format!(
        "ATTACH '{}' AS old; BEGIN; {} COMMIT;",
        earlier.path().display(),
        "DELETE FROM vals; INSERT INTO vals SELECT * FROM old.vals;
         DELETE FROM records; INSERT INTO records SELECT * FROM old.records;
         DELETE FROM buckets; INSERT INTO buckets SELECT * FROM old.buckets;
         DELETE FROM projects; INSERT INTO projects SELECT * FROM old.projects;"
    ));

    watched.notices_a_rollback(Some("alpha"));
}

#[test]
fn another_vault_at_the_path_is_noticed() {
    let home = Home::unlocked();
    let other = Home::new();
    fs::copy(other.vault_path(), home.vault_path()).unwrap();

    for command in ["list", "status"] {
        stderr!(home.free([command]).run().fails_with(6), @"
        error: the vault at this path is not the one that was unlocked
        hint: if you replaced it, run `secrets unlock` to use this one
        ");
    }

    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
}

/// Extending the time does not reset what the agent has seen.
#[test]
fn unlocking_again_keeps_the_checkpoint() {
    let watched = Watched::new(Specimen::new());
    let pid = watched.home.pid();
    watched.unlock().unwrap();
    assert_ne!(watched.home.pid(), pid);
    watched.specimen.overwrite(&Specimen::earlier().bytes());
    let outcome = watched.unlock();
    assert!(matches!(outcome, Err(VaultError::KeyService(KeyServiceError::RolledBack(_)))));
    watched.notices_a_rollback(Some("alpha"));

    // `lock` does reset it. That is how a user accepts an older copy.
    assert!(watched.client().lock().unwrap());
    watched.unlock().unwrap();
    assert_eq!(watched.look().unwrap(), 3);
}

#[test]
fn slots_are_signed_only_after_they_were_verified() {
    let watched = Watched::unseen(Specimen::new());
    let (mut vault, slots, projects) = tables(&watched.specimen);
    let client = watched.client();
    let mac = |vault: &VaultRow, slots: &[Slot]| {
        RootKeyHandle::mac(&client, &RootTables { vault, slots, projects: &projects, grants: &[] })
    };

    let refused =
        |outcome| matches!(outcome, Err(VaultError::KeyService(KeyServiceError::UnverifiedSlots)));
    vault.root_seq += 1;
    assert!(refused(mac(&vault, &slots)), "the agent has seen no state yet");
    watched.look().unwrap();
    assert_eq!(mac(&vault, &slots).unwrap(), specimen::root().mac(&vault, &slots, &projects, &[]));

    let other = Passphrase::new(&SecretBytes::copy_of(b"another passphrase")).unwrap();
    let added = Slot::create(&other, KdfParams::LEAST, &vault.vault_id, &specimen::root()).unwrap();
    let mut changed = slots[0].clone();
    changed.wrap[0] ^= 1;

    for slots in [vec![], vec![added.clone()], vec![slots[0].clone(), added], vec![changed]] {
        assert!(refused(mac(&vault, &slots)));

        // A failed attempt to open these tables does not make them acceptable.
        let look = client.open(&RootTables {
            vault: &vault,
            slots: &slots,
            projects: &projects,
            grants: &[],
        });

        assert!(matches!(look, Err(VaultError::KeyService(KeyServiceError::WrongKey))));
        assert!(refused(mac(&vault, &slots)));
    }

    // The first piece must hold the slots as a whole, so slot bytes cannot pass as project rows.
    let bytes = row_and_slots(&vault, &slots);
    let stream = watched.home.dial();
    let path = watched.specimen.path().canonicalize().unwrap();

    for cut in 0..bytes.len() {
        let path = path.as_os_str().as_encoded_bytes();
        send_request(&stream, &Request::BeginMac { path, row_and_slots: &bytes[..cut] });
        let _ = (&stream)
            .write_all(Request::MoreMac { bytes: &bytes[cut..] }.encode().unwrap().expose());
        let answer = if cut < 40 { rest(&stream) } else { Some(ask(&stream, &Request::Sign)) };

        match answer.as_deref() {
            Some([]) => return assert!(cut < 40, "closed at {cut}"),
            Some(answer) => {
                assert!(decoded(answer) == Answer::Failed(AgentFault::UnverifiedSlots), "{cut}");
            }
            None => panic!("no answer at {cut}"),
        }
    }
}

#[test]
fn readers_and_writers_through_an_agent_see_no_false_alarm() {
    let watched = Watched::new(Specimen::new());
    let (path, bytes) = (watched.home.path("runtime"), watched.specimen.path());
    drop(path);
    let home = &watched.home;
    let command = |arguments: &[&str]| {
        let mut command = home
            .command(arguments)
            .without_env("SECRETS_PASSPHRASE")
            .env("SECRETS_VAULT", &bytes)
            .command;

        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };

    for round in 0..4 {
        let mut children = Vec::new();
        for n in 0..4 {
            let (tag, name) = (format!("t{round}-{n}"), format!("p{n}"));
            children.push(command(&["create", "-p", &name, "--tag", &tag, "--generate", "-q"]));
            children.push(command(&["list", "--all-projects", "-q"]));
        }

        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    assert_eq!(watched.look().unwrap(), 3 + 16);
}
