//! Formats timestamps and durations for people, and parses durations. Timestamps are shown in the
//! time zone of TZ or of the system. JSON uses UTC.

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZone;
use secrets_core::model::Timestamp;

use crate::config;

static ZONE: LazyLock<TimeZone> = LazyLock::new(|| system().unwrap_or_else(TimeZone::system));

/// Returns the system's time zone, unless TZ names another one. jiff would also look up the name of
/// the zone in a list of all zones, which takes longer than the rest of `get`.
fn system() -> Option<TimeZone> {
    if config::has_time_zone() {
        return None;
    }

    TimeZone::tzif("", &fs::read("/etc/localtime").ok()?).ok()
}

/// Returns the time zone in which times are shown.
pub(crate) fn zone() -> TimeZone {
    ZONE.clone()
}

/// Formats date, time and zone, as in `2026-11-21 10:30:00 CET`.
pub(crate) fn local(moment: Timestamp) -> String {
    in_zone(moment, ZONE.clone(), "%Y-%m-%d %H:%M:%S %Z")
}

/// Formats the date, as in `2026-11-21`.
pub(crate) fn local_date(moment: Timestamp) -> String {
    in_zone(moment, ZONE.clone(), "%Y-%m-%d")
}

/// Formats date, hour and minute, as in `2026-11-21 10:30`.
pub(crate) fn local_minute(moment: Timestamp) -> String {
    in_zone(moment, ZONE.clone(), "%Y-%m-%d %H:%M")
}

fn in_zone(moment: Timestamp, zone: TimeZone, format: &str) -> String {
    moment.to_jiff().to_zoned(zone).strftime(format).to_string()
}

/// The maximum duration that [`parse_duration`] accepts.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Parses a duration of 1 second to 30 days: `90s`, `15m`, `8h`, `1d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number and a unit, such as 90s, 15m or 8h".to_owned();

    // A day is 24 hours here, but the library treats it as a calendar day.
    let parsed = match text.strip_suffix('d') {
        Some(days) => {
            days.parse().ok().and_then(|days: u32| Duration::from_secs(86_400).checked_mul(days))
        }
        None => {
            text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok())
        }
    };

    match parsed.ok_or_else(wrong)? {
        time if time < Duration::from_secs(1) => Err("the shortest time is 1s".to_owned()),
        time if time > MAX_DURATION => Err("the longest time is 30d".to_owned()),
        time => Ok(time),
    }
}

/// Formats how long a vault stays unlocked, as in `15m, or 5m without use`.
pub(crate) fn spans(ttl: Duration, idle: Duration) -> String {
    if idle < ttl { format!("{}, or {} without use", span(ttl), span(idle)) } else { span(ttl) }
}

/// Formats how long ago a moment was, as in `2h 5m ago`.
pub(crate) fn ago(moment: Timestamp) -> String {
    let age = Duration::from_millis(Timestamp::now().0.saturating_sub(moment.0));
    if age < Duration::from_secs(60) {
        "less than a minute ago".into()
    } else {
        format!("{} ago", span(Duration::from_secs(age.as_secs() / 60 * 60)))
    }
}

/// Formats a duration in its two largest units, as in `15m` or `1h 30m`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];

    let shown: Vec<String> = parts
        .iter()
        .skip_while(|(n, _)| *n == 0)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();

    if shown.is_empty() { "0s".into() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_the_date_of_its_zone() {
        let moment = Timestamp::parse("2026-11-21T23:30:00Z").unwrap();
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(
            in_zone(moment, TimeZone::UTC, "%Y-%m-%d %H:%M:%S %Z"),
            "2026-11-21 23:30:00 UTC"
        );

        assert_eq!(
            in_zone(moment, east.clone(), "%Y-%m-%d %H:%M:%S %Z"),
            "2026-11-22 01:30:00 +02"
        );

        assert_eq!(in_zone(Timestamp(u64::MAX), east, "%Y"), "9999");
    }
}
