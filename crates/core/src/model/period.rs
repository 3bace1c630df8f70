//! Periods and dates of expiry, as the command line and `.secrets.toml` spell them: `90d`,
//! `2027-01-31`, `never`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Invalid, Timestamp};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// The units of a period, in seconds, the longest first. A month has 30 days and a year has 365.
const UNITS: [(char, u64); 5] =
    [('y', 365 * DAY), ('m', 30 * DAY), ('w', 7 * DAY), ('d', DAY), ('h', HOUR)];

/// The longest period in seconds: 100 years.
const LONGEST: u64 = 100 * 365 * DAY;

/// A length of time: 1 hour to 100 years, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u64);

impl Period {
    /// Returns the period of this many days, at most 36,500.
    pub const fn of_days(days: u16) -> Self {
        let days = if days as u64 > LONGEST / DAY { LONGEST / DAY } else { days as u64 };
        Self(days * DAY)
    }

    /// Parses a number and a unit: `12h`, `90d`, `2w`, `6m` (30 days each) or `1y` (365 days).
    /// Zero, other units and more than 100 years are errors.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: &str = "expected a period such as `12h`, `90d`, `2w`, `6m` or `1y`";
        parse_period(text, EXPECTED)
    }

    /// Returns the length of the period.
    pub fn as_duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// Returns the time that is this period after `time`.
    pub fn after(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add(self.0 * 1000))
    }

    /// Returns the time that is this period before `time`, but not before 1970.
    pub fn before(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_sub(self.0 * 1000))
    }
}

fn parse_period(text: &str, expected: &'static str) -> Result<Period, Invalid> {
    let wrong = || Invalid::new(expected);
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let (_, seconds) = UNITS.into_iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;

    // `u64` would also parse `+90`.
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }

    let total = number.parse().ok().and_then(|number: u64| number.checked_mul(seconds));
    match total {
        Some(0) => Err(Invalid::new(format!("a period cannot be zero; {expected}"))),
        Some(total) if total <= LONGEST => Ok(Period(total)),
        _ => Err(Invalid::new(format!("the longest period is 100 years; {expected}"))),
    }
}

impl FromStr for Period {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// Formats the period in the largest unit that divides it, as in `90d`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Months would hide that 90 days were asked for.
        let exact =
            UNITS.iter().find(|(unit, seconds)| *unit != 'm' && self.0.is_multiple_of(*seconds));
        let (unit, seconds) = exact.unwrap_or(&('h', HOUR));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

/// The time of expiry that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It does not expire
    Never,
    /// It expires this long from now
    After(Period),
    /// It expires when this day begins
    On(Date),
}

impl Expiry {
    /// Parses `never`, a date such as `2027-01-31`, or a period as [`Period::parse`] does.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: &str = "expected a period such as `12h`, `90d`, `2w`, `6m` or `1y`, a date \
                                such as `2027-01-31`, or `never`";

        if text == "never" {
            return Ok(Self::Never);
        }

        // A date needs ten characters, because jiff would also read `20270131` and times.
        if text.contains('-') {
            let is_date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            let date = text.parse().ok().filter(|_| is_date);
            return date.map(Self::On).ok_or_else(|| Invalid::new(EXPECTED));
        }

        parse_period(text, EXPECTED).map(Self::After)
    }

    /// Returns the time of expiry, or `None` for never. A date begins in the time zone `zone`. A
    /// date that has already begun at the time `now` is an error.
    pub fn time(self, now: Timestamp, zone: &TimeZone) -> Result<Option<Timestamp>, Invalid> {
        let date = match self {
            Self::Never => return Ok(None),
            Self::After(period) => return Ok(Some(period.after(now))),
            Self::On(date) => date,
        };

        // A zone can have no midnight on a day. Then the day begins later.
        let begins = date.to_zoned(zone.clone()).ok();
        let begins = begins.and_then(|time| u64::try_from(time.timestamp().as_millisecond()).ok());
        match begins {
            Some(begins) if begins > now.0 => Ok(Some(Timestamp(begins))),
            _ => Err(Invalid::new("the date is not in the future")),
        }
    }
}

impl FromStr for Expiry {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        let days = |text| Period::parse(text).unwrap().0 / DAY;
        for (text, expected) in
            [("24h", 1), ("90d", 90), ("090d", 90), ("2w", 14), ("6m", 180), ("1y", 365)]
        {
            assert_eq!(days(text), expected, "{text}");
        }

        assert_eq!(Period::parse("12h").unwrap().0, 12 * HOUR);
        assert_eq!(days("100y"), 36_500);
        assert_eq!(Period::parse("14d"), Ok(Period::of_days(14)));
        assert_eq!(Period::of_days(u16::MAX), Period::parse("100y").unwrap());
    }

    #[test]
    fn another_form_is_answered_with_the_accepted_ones() {
        let forms = "expected a period such as `12h`, `90d`, `2w`, `6m` or `1y`";
        for bad in
            ["", "d", "90", "-1d", "+1d", "1.5d", "1 d", "1D", "1s", "1d1h", "９d", "1ä", "never"]
        {
            assert_eq!(Period::parse(bad).unwrap_err().0, forms, "{bad}");
        }

        let whole = "expected a period such as `12h`, `90d`, `2w`, `6m` or `1y`, a date such as \
                     `2027-01-31`, or `never`";
        for bad in ["", "Never", "soon", "2027-1-31", "2027-02-30", "20270131", "2027-01-31T10:00"]
        {
            assert_eq!(Expiry::parse(bad).unwrap_err().0, whole, "{bad}");
        }
    }

    #[test]
    fn zero_and_more_than_100_years_are_refused() {
        for zero in ["0d", "00h"] {
            assert!(Period::parse(zero).unwrap_err().0.starts_with("a period cannot be zero; "));
        }

        for long in ["101y", "36501d", "18446744073709551615y", "99999999999999999999999d"] {
            let error = Expiry::parse(long).unwrap_err().0;
            assert!(error.starts_with("the longest period is 100 years; "), "{long}: {error}");
        }
    }

    #[test]
    fn a_period_is_shown_in_its_largest_unit() {
        for (text, shown) in [("90d", "90d"), ("48h", "2d"), ("13h", "13h"), ("6m", "180d")] {
            assert_eq!(Period::parse(text).unwrap().to_string(), shown);
        }

        assert_eq!(Period::parse("14d").unwrap().to_string(), "2w");
        assert_eq!(Period::parse("730d").unwrap().to_string(), "2y");
    }

    #[test]
    fn an_expiry_is_a_time() {
        let now = Timestamp::parse("2026-11-26T21:00:00Z").unwrap();
        let time = |text: &str, zone: &TimeZone| Expiry::parse(text).unwrap().time(now, zone);
        let shown = |text, zone: &TimeZone| time(text, zone).unwrap().unwrap().rfc3339();
        let east = TimeZone::fixed(jiff::tz::offset(2));

        assert_eq!(time("never", &TimeZone::UTC), Ok(None));
        assert_eq!(shown("90d", &east), "2027-02-24T21:00:00.000Z");
        assert_eq!(shown("2027-01-31", &TimeZone::UTC), "2027-01-31T00:00:00.000Z");
        assert_eq!(shown("2027-01-31", &east), "2027-01-30T22:00:00.000Z");
        assert_eq!(shown("9999-12-30", &TimeZone::UTC), "9999-12-30T00:00:00.000Z");

        for past in ["2026-11-26", "1969-12-31", "0001-01-01"] {
            let error = time(past, &TimeZone::UTC).unwrap_err();
            assert_eq!(error.0, "the date is not in the future", "{past}");
        }
    }

    #[test]
    fn a_time_near_the_end_does_not_overflow() {
        let period = Period::of_days(90);
        assert_eq!(period.after(Timestamp(u64::MAX)), Timestamp(u64::MAX));
        assert_eq!(period.before(Timestamp(1)), Timestamp(0));
    }
}
