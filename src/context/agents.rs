//! The agents of this user: their runtime directories, and clients for them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use secrets_core::model::SecretBytes;
use secrets_core::vault::KeyServiceError;
use secrets_files::Records;
use secrets_link::Handover;
use secrets_runtime::agent::{Client, MAX_RUNTIME_DIR, RuntimeDir};
use secrets_runtime::helper::{self, Helper};

use super::Target;
use crate::config::Environment;
use crate::error::Error;

/// The maximum time to wait for the agent.
pub(crate) const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The agents of this user.
pub(crate) struct Agents {
    target: Rc<Target>,
    environment: Rc<Environment>,
}

impl Agents {
    pub(super) fn new(target: Rc<Target>, environment: Rc<Environment>) -> Self {
        Self { target, environment }
    }

    /// Returns the runtime directory of this login's agents, if it exists.
    fn directory(&self) -> Result<Option<RuntimeDir>, Error> {
        let place = RuntimeDir::existing(self.environment.agent_directory()?)?;
        Ok(place.map(RuntimeDir::with_room_for_sockets).transpose()?)
    }

    /// Returns the runtime directories of all agents. Other logins of this user may use other
    /// directories. A directory in which `unlock` would refuse to start an agent contains none.
    fn directories(&self) -> Result<Vec<RuntimeDir>, Error> {
        let mut places: Vec<RuntimeDir> = self.directory()?.into_iter().collect();
        let known = self.environment.other_agent_directories().iter().cloned();
        let remembered =
            self.records().map(|records| RuntimeDir::remembered(&records)).unwrap_or_default();

        for directory in known.chain(remembered) {
            if !places.iter().any(|place| place.directory() == directory)
                && let Ok(Some(place)) = RuntimeDir::existing(&directory)
            {
                places.push(place);
            }
        }

        Ok(places)
    }

    /// Records where an agent was started, so that `lock --all` of another login finds it.
    pub(crate) fn remember(&self, place: &RuntimeDir) {
        // If this fails, for example with a read-only home, the other login has to know the
        // directory itself.
        if let Some(records) = self.records() {
            let _ = place.remember(&records);
        }
    }

    fn records(&self) -> Option<Records> {
        self.environment
            .state("agents")
            .map(|directory| Records::new(&directory, MAX_RUNTIME_DIR as u64))
    }

    /// Returns the socket of the process that keeps the connection to the vault's server, if there is a
    /// runtime directory.
    pub(crate) fn link_socket(&self) -> Option<PathBuf> {
        let place = self.directory().ok().flatten()?;
        let vault = self.target.canonical_vault_path().ok()?;
        Some(place.link_socket(vault.as_os_str().as_bytes()))
    }

    /// Starts the process that keeps the connection to the vault's server, in place of an earlier one.
    /// Without it, each command connects by itself.
    pub(crate) fn start_link(&self, address: &SecretBytes, lifetime: Duration) {
        let (Ok(Some(place)), Some(socket)) = (self.directory(), self.link_socket()) else {
            return;
        };
        let handover = Handover {
            socket: socket.as_os_str().as_bytes().to_vec(),
            address: address.expose().to_vec(),
            seconds: lifetime.as_secs(),
        };

        secrets_link::end(&socket);
        if let Some(frame) = handover.encode() {
            let helper = Helper::Link { directory: place.directory() };
            let executable = Environment::executable();
            let _ = helper::start(&helper, &executable, frame.expose(), AGENT_TIMEOUT);
        }
    }

    /// Ends the processes that keep connections: that of this vault, or all.
    pub(crate) fn end_links(&self, all: bool) {
        for place in self.directories().unwrap_or_default() {
            let vault = self.target.canonical_vault_path().ok().filter(|_| !all);
            let sockets = match vault {
                Some(vault) => vec![place.link_socket(vault.as_os_str().as_bytes())],
                None => place.link_sockets(),
            };
            for socket in &sockets {
                secrets_link::end(socket);
            }
        }
    }

    /// Makes every agent of this vault forget its key. Returns false if none held it.
    pub(crate) fn lock_vault(&self) -> Result<bool, Error> {
        self.end_links(false);
        let path = self.target.canonical_vault_path()?;
        lock_in_all(&self.directories()?, |place| Client::new(place, &path, AGENT_TIMEOUT).lock())
    }

    /// Makes every agent forget its key. Returns false if there was none. Needs no vault.
    pub(crate) fn lock_all(&self) -> Result<bool, Error> {
        self.end_links(true);
        lock_in_all(&self.directories()?, |place| Client::lock_all(place, AGENT_TIMEOUT))
    }

    /// Returns a client for the agent, if there is a runtime directory.
    pub(crate) fn client(&self, patience: Duration) -> Result<Option<Client>, Error> {
        let Some(place) = self.directory()? else { return Ok(None) };
        Ok(Some(Client::new(&place, &self.target.canonical_vault_path()?, patience)))
    }

    /// Makes an agent forget the vault, because its key or its checkpoint is no longer valid.
    pub(crate) fn forget_vault(&self) {
        let _ = self.lock_vault();
    }

    /// Returns the runtime directory for a new agent.
    pub(crate) fn new_directory(&self) -> Result<RuntimeDir, Error> {
        Ok(self.private_directory()?.with_room_for_sockets()?)
    }

    /// Returns a directory that only we can access, for files that live as long as a process.
    pub(crate) fn private_directory(&self) -> Result<RuntimeDir, Error> {
        Ok(RuntimeDir::open_or_create(self.environment.agent_directory()?)?)
    }

    /// Returns such a directory for values, in memory if the system has a file system there. What is
    /// written to a disk can be found on it after it was removed.
    pub(crate) fn memory_directory(&self) -> Result<RuntimeDir, Error> {
        let place = self.private_directory()?;
        if is_in_memory(place.directory()) {
            return Ok(place);
        }

        let other = Path::new(SHARED_MEMORY)
            .join(format!("secrets-{}", rustix::process::geteuid().as_raw()));
        match RuntimeDir::open_or_create(&other) {
            Ok(other) if is_in_memory(other.directory()) => Ok(other),
            _ => Ok(place),
        }
    }
}

/// The directory of files in memory that Linux gives to every user.
const SHARED_MEMORY: &str = "/dev/shm";

/// Returns true if a directory is in memory.
#[cfg(target_os = "linux")]
fn is_in_memory(directory: &Path) -> bool {
    const KINDS: [u64; 2] = [0x0102_1994, 0x8584_58f6]; // tmpfs, ramfs
    let found = rustix::fs::statfs(directory).map(|found| found.f_type.cast_unsigned());
    found.is_ok_and(|kind| KINDS.contains(&kind))
}

/// Returns false, because other systems have no such directory.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &Path) -> bool {
    false
}

/// Locks in every directory, even after one failed. Returns true if an agent held a key.
fn lock_in_all(
    places: &[RuntimeDir],
    lock: impl Fn(&RuntimeDir) -> Result<bool, KeyServiceError>,
) -> Result<bool, Error> {
    let outcomes: Vec<_> = places.iter().map(lock).collect();
    let mut held = false;
    for outcome in outcomes {
        held |= outcome?;
    }

    Ok(held)
}
