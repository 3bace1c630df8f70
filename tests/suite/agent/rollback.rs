//! An agent notices a vault that was rolled back, forked or replaced since it last served it.

use std::fs;
use std::process::Stdio;

use terminal_secrets::agent::{AgentFault, Answer, ChangeKind, Request};
use terminal_secrets::store::RowSet;
use terminal_secrets::vault::{KeyServiceError, Locked, SecretChanges, VaultError};

use crate::support::specimen::{self, Specimen, VAULT_ID};
use crate::support::{project, secret, value};

use super::watched::Watched;
use super::{HOUR, Home, ask, decoded, program};

impl Watched {
    /// Does what the command `unlock` does.
    fn unlock(&self) -> Result<bool, VaultError> {
        let locked = Locked::open(&self.specimen.path()).unwrap();
        self.client().unlock(program(), &locked, &specimen::root(), (HOUR, HOUR))
    }

    #[track_caller]
    fn notices_a_rollback_of(&self, name: &str) {
        match self.look() {
            Err(VaultError::KeyService(KeyServiceError::RolledBack(found))) => {
                assert_eq!(found, Some(project(name)));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Gives a secret of the fixture a new value, through the agent.
    fn update(&self, name: &str, tag: &str, text: &str) -> Result<(), VaultError> {
        let value = Some(value(text.as_bytes()));
        let changes = SecretChanges { value, ..SecretChanges::default() };
        self.vault().update(&project(name), &tag.parse().unwrap(), None, changes).map(drop)
    }
}

/// Adds projects with the root key itself, so that no agent sees it.
fn add_unseen(specimen: &Specimen, names: impl Iterator<Item = String>) {
    let vault = specimen.vault().unwrap();
    for name in names {
        vault.create(&project(&name), secret("x", b"x")).unwrap();
    }
}

#[test]
fn a_rollback_of_the_list_of_projects_is_noticed() {
    let watched = Watched::unseen(Specimen::new());
    let before = watched.specimen.bytes();
    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.look().unwrap();
    let now = watched.specimen.bytes();
    watched.specimen.overwrite(&before);
    watched.notices_a_rollback();

    // The second attempt is refused as well, and so is a write.
    let refused = watched.vault().create(&project("alpha"), secret("x", b"x"));
    assert!(matches!(refused, Err(VaultError::KeyService(KeyServiceError::RolledBack(None)))));
    watched.notices_a_rollback();
    watched.specimen.overwrite(&now);
    assert_eq!(watched.look().unwrap(), 4);
}

#[test]
fn a_fork_of_the_list_of_projects_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let before = watched.specimen.bytes();
    add_unseen(&watched.specimen, ["gamma".to_owned()].into_iter());
    watched.look().unwrap();

    watched.specimen.overwrite(&before);
    add_unseen(&watched.specimen, ["delta".to_owned()].into_iter());
    watched.notices_a_rollback();

    // A fork that has gone on is one as well.
    add_unseen(&watched.specimen, ["epsilon".to_owned(), "zeta".to_owned()].into_iter());
    watched.notices_a_rollback();
}

/// A state names the 32 before it. What is further ahead does not prove that it follows.
#[test]
fn a_list_of_projects_that_is_more_than_32_changes_ahead_is_refused() {
    let watched = Watched::new(Specimen::new());
    add_unseen(&watched.specimen, (0..32).map(|n| format!("p{n}")));
    let near = watched.specimen.bytes();
    add_unseen(&watched.specimen, ["one-more".to_owned()].into_iter());
    watched.notices_a_rollback();
    watched.specimen.overwrite(&near);
    assert_eq!(watched.look().unwrap(), 3 + 32);
}

#[test]
fn a_rollback_of_one_project_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let now = watched.specimen.bytes();
    watched.specimen.overwrite(&Specimen::earlier().bytes());
    watched.notices_a_rollback_of("alpha");

    // The second attempt is refused as well, and so is a write.
    let refused = watched.update("alpha", "two", "other");
    assert!(matches!(refused, Err(VaultError::KeyService(KeyServiceError::RolledBack(Some(_))))));
    watched.notices_a_rollback_of("alpha");

    // Another project is not concerned.
    watched.update("beta", "three", "newer").unwrap();
    watched.specimen.overwrite(&now);
    assert_eq!(watched.look().unwrap(), 3);
}

/// A writer shows the agent the state that it changes, and a reader the one after it.
#[test]
fn a_rollback_of_the_last_changes_is_noticed() {
    let watched = Watched::unseen(Specimen::new());
    let before = watched.specimen.bytes();
    watched.update("beta", "three", "newer").unwrap();
    watched.update("beta", "three", "newest").unwrap();
    let between = watched.specimen.bytes();
    watched.specimen.overwrite(&before);
    watched.notices_a_rollback_of("beta");

    watched.specimen.overwrite(&between);
    watched.look().unwrap();
    watched.update("beta", "three", "the last").unwrap();
    watched.look().unwrap();
    watched.specimen.overwrite(&between);
    watched.notices_a_rollback_of("beta");
}

#[test]
fn a_fork_of_one_project_is_noticed() {
    let watched = Watched::new(Specimen::new());
    watched.specimen.overwrite(&Specimen::fork().bytes());
    watched.notices_a_rollback_of("alpha");
    assert!(watched.update("alpha", "two", "other").is_err());
}

/// A client must not show the agent an old state and have it change that one.
#[test]
fn a_change_of_an_old_list_of_projects_is_refused() {
    let watched = Watched::unseen(Specimen::new());
    let (stream, old) = (watched.home.dial(), watched.rows(&["new", "alpha", "gamma"]));
    let names: [(ChangeKind, &[&str]); 3] = [
        (ChangeKind::Add, &["new"]),
        (ChangeKind::Rename, &["alpha", "new"]),
        (ChangeKind::Delete, &["alpha"]),
    ];

    for (kind, names) in names {
        let answer = watched.ask_change_of(&stream, kind, names, &old);
        assert!(matches!(decoded(&answer), Answer::Changed { .. }));
    }

    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.look().unwrap();
    for (kind, names) in names {
        let answer = watched.ask_change_of(&stream, kind, names, &old);
        assert!(decoded(&answer) == Answer::Failed(AgentFault::RolledBack));
    }

    let (rows, index) = (old.as_slice(), super::watched::index("alpha"));
    let (path, vault_id) = (watched.path(), VAULT_ID);
    let answer = ask(&stream, &Request::Open { path, vault_id, rows, indexes: &index });
    assert!(decoded(&answer) == Answer::Failed(AgentFault::RolledBack));
}

#[test]
fn a_list_of_projects_under_other_keys_is_not_taken_for_a_rollback() {
    let (watched, home) = (Watched::new(Specimen::new()), Home::with_agent());
    let (rows, path) = (watched.rows(&[]), b"/steady".as_slice());
    let ask_of = |vault_id, rows: &[u8]| {
        let answer = ask(&home.dial(), &Request::Directory { path, vault_id, rows });
        match decoded(&answer) {
            Answer::Failed(fault) => fault,
            _ => panic!("{answer:02x?}"),
        }
    };

    assert_eq!(ask_of([1; 16], &rows), AgentFault::WrongKey);
    assert_eq!(ask_of(VAULT_ID, &rows), AgentFault::Replaced);

    // Under other slots, the keys may be others as well. Under the same slots, this is damage.
    let (path, vault_id, empty) = (watched.path(), VAULT_ID, RowSet::default().encode());
    let damaged = [&rows[..32], &empty[32..]].concat();
    for (rows, fault) in [(&empty, AgentFault::WrongKey), (&damaged, AgentFault::Directory)] {
        let answer = ask(&watched.home.dial(), &Request::Directory { path, vault_id, rows });
        assert!(decoded(&answer) == Answer::Failed(fault));
    }
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
    let before = watched.specimen.bytes();
    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.unlock().unwrap();
    assert_ne!(watched.home.pid(), pid);
    watched.specimen.overwrite(&before);
    let outcome = watched.unlock();
    assert!(matches!(outcome, Err(VaultError::KeyService(KeyServiceError::RolledBack(_)))));
    watched.notices_a_rollback();

    // `lock` does reset it. That is how a user accepts an older copy.
    assert!(watched.client().lock().unwrap());
    watched.unlock().unwrap();
    assert_eq!(watched.look().unwrap(), 3);
}

#[test]
fn readers_and_writers_through_an_agent_see_no_false_alarm() {
    let watched = Watched::new(Specimen::new());
    let (path, home) = (watched.specimen.path(), &watched.home);
    let command = |arguments: &[&str]| {
        let mut command = home
            .command(arguments)
            .without_env("SECRETS_PASSPHRASE")
            .env("SECRETS_VAULT", &path)
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
