//! Everything runs on one thread: requests wait for networks, not for processors, and one thread
//! needs no locks.

use hyper::rt::Executor;
use tokio::task::spawn_local;

/// Starts the tasks of hyper on the present thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
