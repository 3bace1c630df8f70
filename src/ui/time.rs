//! Formats timestamps for people, in the time zone of TZ or of the system. JSON uses UTC.

use std::fs;
use std::sync::LazyLock;

use jiff::tz::TimeZone;

use crate::config;
use crate::model::Timestamp;

static ZONE: LazyLock<TimeZone> = LazyLock::new(|| system().unwrap_or_else(TimeZone::system));

/// Returns the system's time zone, unless TZ names another one. jiff would also look up the name of
/// the zone in a list of all zones, which takes longer than the rest of `get`.
fn system() -> Option<TimeZone> {
    if config::has_time_zone() {
        return None;
    }

    TimeZone::tzif("", &fs::read("/etc/localtime").ok()?).ok()
}

/// Formats date, time and zone, as in `2026-11-21 10:30:00 CET`.
pub(super) fn local(moment: Timestamp) -> String {
    in_zone(moment, ZONE.clone(), "%Y-%m-%d %H:%M:%S %Z")
}

/// Formats the date, as in `2026-11-21`.
pub(super) fn local_date(moment: Timestamp) -> String {
    in_zone(moment, ZONE.clone(), "%Y-%m-%d")
}

fn in_zone(moment: Timestamp, zone: TimeZone, format: &str) -> String {
    moment.moment().to_zoned(zone).strftime(format).to_string()
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
