//! How often a change is made again after another writer came first.

use std::thread;
use std::time::{Duration, Instant};

use super::VaultError;
use crate::crypto::random;
use crate::store::StoreError;

/// The first pause is at most this long, and each is at most twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The time after which a change is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The tries of one change.
pub(super) struct Retries {
    begun: Instant,
    longest: Duration,
}

impl Retries {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), longest: FIRST_PAUSE }
    }

    /// Waits for a random time before the next try, so that two writers do not meet again. Fails if
    /// the time for this change is over.
    pub(super) fn wait(&mut self) -> Result<(), VaultError> {
        if self.begun.elapsed() > PATIENCE {
            return Err(StoreError::Busy.into());
        }

        let [share]: [u8; 1] = random::array()?;
        thread::sleep(self.longest.mul_f64(f64::from(share) / 255.0));
        self.longest = (self.longest * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
