//! The state that the proxy and the client share: the policy, the authority for certificates, the
//! connector, and the observer of requests.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use secrets_core::model::{Origin, Tag};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ca::{CaError, SessionCa};
use crate::judge::Judged;
use crate::net::{CompanyProxy, Connector, Roots};
use crate::policy::{Policy, Rate};
use crate::refusal::Refusal;

/// A request that uses secrets, before it is sent, or a refusal.
pub struct Use<'a> {
    /// The tags of the secrets
    pub tags: Vec<&'a Tag>,
    /// Where it goes
    pub origin: &'a Origin,
    /// Its method
    pub method: &'a str,
    /// Its canonical path, without values and without its query
    pub path: &'a str,
    /// The reason if it is refused
    pub refusal: Option<&'a Refusal>,
}

/// A finished request, for the log that a person reads.
pub struct Finished<'a> {
    /// Where it went
    pub origin: &'a Origin,
    /// Its method
    pub method: &'a str,
    /// Its canonical path, without values and without its query
    pub path: &'a str,
    /// The status of the answer
    pub status: u16,
    /// The tags of the secrets that it used
    pub tags: Vec<&'a Tag>,
    /// The reason if it was refused or failed
    pub problem: Option<String>,
    /// How long the answer took to begin
    pub millis: u128,
}

/// Observes requests.
pub trait Observer: Send + Sync {
    /// Records a use or a refusal. If a use cannot be recorded, it is refused with the reason that this
    /// returns.
    fn record(&self, used: &Use<'_>) -> Result<(), String>;

    /// Shows a finished request.
    fn finished(&self, finished: &Finished<'_>);
}

/// Where the values of a session come from.
pub trait Source: Send + Sync {
    /// Returns a policy with the present values if they have changed. It is called before each request,
    /// so it must be cheap if nothing has changed.
    fn refreshed(&self, present: &Policy) -> Option<Policy>;
}

/// A source whose values never change.
pub struct Fixed;

impl Source for Fixed {
    fn refreshed(&self, _: &Policy) -> Option<Policy> {
        None
    }
}

/// The state that the proxy and the client share.
pub struct Session {
    policy: RwLock<Arc<Policy>>,
    source: Box<dyn Source>,
    /// Connects to origins
    pub connector: Connector,
    /// Observes requests
    pub observer: Box<dyn Observer>,
    /// The authority that signs for the origins of rules
    pub ca: SessionCa,
    /// The requests of each rule that were counted last
    buckets: Mutex<Vec<Option<Bucket>>>,
    /// The refusals that were recorded last
    refusals: Mutex<Bucket>,
    /// The room for bodies that are read as a whole, in KiB
    room: Semaphore,
}

/// The most refusals that are recorded. A program could otherwise fill the log and the disk.
const REFUSALS: Rate = Rate { requests: 100, seconds: 60 };
/// The room for bodies that are read as a whole, in KiB.
const ROOM: usize = 64 * 1024;

impl Session {
    /// Creates a session.
    ///
    /// # Errors
    /// Fails if a certificate cannot be made.
    pub fn new(
        policy: Policy,
        source: Box<dyn Source>,
        observer: Box<dyn Observer>,
        roots: Roots,
        company: Option<CompanyProxy>,
    ) -> Result<Self, CaError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let hosts = policy.rules.iter().map(|rule| &rule.destination.origin.host);
        let ca = SessionCa::new(hosts, Arc::clone(&provider))?;
        let connector = Connector::new(provider, roots, company);
        let (policy, buckets) = (RwLock::new(Arc::new(policy)), Mutex::default());
        let (refusals, room) = (Mutex::new(Bucket::full(REFUSALS)), Semaphore::new(ROOM));
        Ok(Self { policy, source, connector, observer, ca, buckets, refusals, room })
    }

    /// Returns the present policy, with values that were changed in the meantime.
    pub fn policy(&self) -> Arc<Policy> {
        let present = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        match self.source.refreshed(&present) {
            Some(refreshed) => {
                let refreshed = Arc::new(refreshed);
                *self.policy.write().unwrap_or_else(PoisonError::into_inner) =
                    Arc::clone(&refreshed);
                refreshed
            }
            None => present,
        }
    }

    /// Records a refusal, unless there were too many in the last minute.
    pub fn record_refusal(&self, origin: &Origin, method: &str, path: &str, refusal: &Refusal) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = refusals.take(REFUSALS, Instant::now()).is_ok();
        drop(refusals);
        if has_room {
            let tags = refusal.tag.iter().collect();
            // The request is refused anyway.
            let _ =
                self.observer.record(&Use { tags, origin, method, path, refusal: Some(refusal) });
        }
    }

    /// Waits until there is room for a body of this many bytes.
    pub async fn room_for(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let needed = u32::try_from((bytes >> 10).clamp(1, ROOM)).unwrap_or(1);
        self.room.acquire_many(needed).await.ok()
    }

    /// Counts a request for its rules. Fails if one of them has had too many.
    pub fn count(&self, policy: &Policy, judged: &Judged) -> Result<(), Refusal> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for &number in &judged.rules {
            let Some(rule) = policy.rules.get(number) else { continue };
            let Some(rate) = rule.rate else { continue };
            if buckets.len() <= number {
                buckets.resize_with(number + 1, || None);
            }

            let bucket = buckets[number].get_or_insert_with(|| Bucket::full(rate));
            if let Err(seconds) = bucket.take(rate, Instant::now()) {
                let tag = policy.tag(rule.secret).map(ToString::to_string).unwrap_or_default();
                let message = format!(
                    "too many requests with `{tag}`; the next one is possible in {seconds} s"
                );
                return Err(Refusal::new(429, message));
            }
        }

        Ok(())
    }
}

/// A bucket of tokens: it fills at the rate, and each request takes one.
struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { tokens: f64::from(rate.requests), since: Instant::now() }
    }

    /// Takes a token, or returns the seconds until there is one.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), u64> {
        let per_second = f64::from(rate.requests) / f64::from(rate.seconds.max(1));
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(f64::from(rate.requests));
        self.since = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }

        let missing = ((1.0 - self.tokens) / per_second).ceil().clamp(1.0, 86_400.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 1 to 86,400
        Err(missing as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_allows_a_burst_and_then_fills_up() {
        let rate = Rate { requests: 3, seconds: 60 };
        let mut bucket = Bucket::full(rate);
        let now = bucket.since;
        assert!((0..3).all(|_| bucket.take(rate, now).is_ok()));
        assert_eq!(bucket.take(rate, now), Err(20));
        assert_eq!(bucket.take(rate, now + Duration::from_secs(19)), Err(1));
        assert_eq!(bucket.take(rate, now + Duration::from_secs(20)), Ok(()));
        assert_eq!(bucket.take(rate, now + Duration::from_secs(20)), Err(20));
        let later = now + Duration::from_secs(3600);
        assert!((0..3).all(|_| bucket.take(rate, later).is_ok()));
        assert!(bucket.take(rate, later).is_err());
    }
}
