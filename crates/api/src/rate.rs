//! How often a token may ask. A bucket holds a number of requests, and fills up again over time.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use secrets_core::crypto::ids::TokenId;

/// A number of requests in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    count: u32,
    period: Duration,
}

impl FromStr for RateLimit {
    type Err = String;

    /// Parses a number and a unit, such as `600/m`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it is not a number of requests per second, minute or hour, such as `600/m`";
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let period = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            _ => return Err(wrong().into()),
        };

        let count: u32 = count.parse().map_err(|_| wrong())?;
        if count == 0 || !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(wrong().into());
        }

        Ok(Self { count, period: Duration::from_secs(period) })
    }
}

/// The requests that are left to one caller.
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn full(limit: RateLimit, now: Instant) -> Self {
        Self { left: f64::from(limit.count), filled: now }
    }

    /// Takes one request. Returns the time until there is one if none is left.
    fn take(&mut self, limit: RateLimit, now: Instant) -> Result<(), Duration> {
        let most = f64::from(limit.count);
        let per_second = most / limit.period.as_secs_f64();
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * per_second).min(most);
        self.filled = now;
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / per_second));
        }

        self.left -= 1.0;
        Ok(())
    }
}

/// The buckets of all tokens that the vault has a grant for, and one for all others.
pub(crate) struct Rates {
    limit: RateLimit,
    known: HashMap<TokenId, Bucket>,
    unknown: Bucket,
}

impl Rates {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, known: HashMap::new(), unknown: Bucket::full(limit, Instant::now()) }
    }

    /// Takes a request of a token with a grant, or one of those that all other tokens share. Returns the
    /// time to wait if none is left.
    pub(crate) fn take(&mut self, granted: Option<TokenId>) -> Result<(), Duration> {
        let (limit, now) = (self.limit, Instant::now());
        let bucket = match granted {
            Some(id) => self.known.entry(id).or_insert_with(|| Bucket::full(limit, now)),
            None => &mut self.unknown,
        };
        bucket.take(limit, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_and_a_unit() {
        let limit = |count, seconds| RateLimit { count, period: Duration::from_secs(seconds) };
        assert_eq!("600/m".parse(), Ok(limit(600, 60)));
        assert_eq!("1/s".parse(), Ok(limit(1, 1)));
        assert_eq!("5/h".parse(), Ok(limit(5, 3600)));
        for wrong in ["", "600", "0/m", "-1/m", "+1/m", "1/d", "1/", "/m", "4294967296/s", "1.5/s"]
        {
            assert!(wrong.parse::<RateLimit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bucket_fills_up_over_time() {
        let (limit, start) = ("60/m".parse().unwrap(), Instant::now());
        let mut bucket = Bucket::full(limit, start);
        for _ in 0..60 {
            assert_eq!(bucket.take(limit, start), Ok(()));
        }

        let wait = bucket.take(limit, start).unwrap_err();
        assert!(
            wait > Duration::from_millis(999) && wait < Duration::from_millis(1001),
            "{wait:?}"
        );
        assert_eq!(bucket.take(limit, start + Duration::from_secs(1)), Ok(()));
        assert!(bucket.take(limit, start + Duration::from_secs(1)).is_err());
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| bucket.take(limit, later).is_ok()).count(), 60);
    }

    #[test]
    fn tokens_that_open_nothing_share_one_bucket() {
        let mut rates = Rates::new("2/h".parse().unwrap());
        for _ in 0..2 {
            assert!(rates.take(None).is_ok());
        }

        assert!(rates.take(None).is_err());
        for id in [[1; 16], [2; 16]] {
            assert!(rates.take(Some(id)).is_ok());
            assert!(rates.take(Some(id)).is_ok());
            assert!(rates.take(Some(id)).is_err());
        }
    }
}
