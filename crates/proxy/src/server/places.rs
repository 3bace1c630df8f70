//! The places for connections. While all are taken, a connection that has not sent a request yet gives way
//! to a new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// The most connections at once. Each takes about 75 KiB and two descriptors.
const CONNECTIONS: usize = 2048;

/// All places.
pub(super) struct Places {
    free: Arc<Semaphore>,
    silent: Mutex<Silent>,
}

/// The tasks of the connections that have sent no request, the oldest first.
#[derive(Default)]
struct Silent {
    tasks: BTreeMap<u64, Vec<AbortHandle>>,
    next: u64,
}

/// One of the places. Its connection has it until the end, also as a tunnel.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        Arc::new(Self { free, silent: Mutex::default() })
    }

    /// Returns a place for a new connection. Returns `None` if all are taken by connections with requests.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let free = || Arc::clone(&self.free);
        let permit = match free().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.close_oldest() => free().acquire_owned().await.ok()?,
            Err(_) => return None,
        };

        let mut silent = self.silent();
        let number = silent.next;
        silent.next += 1;
        silent.tasks.insert(number, Vec::new());
        Some(Arc::new(Place { places: Arc::clone(self), number, _permit: permit }))
    }

    /// Closes the connection that has been silent for longest. Returns false if there is none.
    pub(super) fn close_oldest(&self) -> bool {
        let oldest = self.silent().tasks.pop_first();
        oldest.map(|(_, tasks)| tasks.iter().for_each(AbortHandle::abort)).is_some()
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Names a task that serves the connection. It may be ended as long as the connection is silent.
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        if let Some(tasks) = self.places.silent().tasks.get_mut(&self.number) {
            tasks.push(task);
        }
    }

    /// Keeps the place until the connection ends, because a request has arrived.
    pub(super) fn keep(&self) {
        self.places.silent().tasks.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.keep();
    }
}
