//! A secret's value and its hint.
//!
//! A value can be used but never printed. A hint shows at most a quarter of it.

use super::{Invalid, SecretBytes};

/// A secret's value: 1 byte to 1 MiB of any bytes, or no bytes if the caller allows that.
pub struct SecretValue(SecretBytes);

impl SecretValue {
    /// The largest size of a value: 1 MiB.
    pub const MAX: usize = 1024 * 1024;

    /// Takes the bytes of a value. Fails for more than [`Self::MAX`] bytes, and for no bytes unless
    /// `allow_empty` is set.
    pub fn new(bytes: SecretBytes, allow_empty: bool) -> Result<Self, Invalid> {
        if bytes.len() > Self::MAX {
            return Err(Invalid("the value is larger than 1 MiB".into()));
        }

        if bytes.is_empty() && !allow_empty {
            return Err(Invalid("the value is empty".into()));
        }

        Ok(Self(bytes))
    }

    /// Returns the bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Returns a copy, which is wiped on drop as well.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(SecretBytes::copy_of(self.expose()))
    }

    /// Returns the hint of this value.
    pub fn hint(&self) -> Hint {
        Hint::of(self.expose())
    }
}

/// The part of a value that may be shown: at most its first four and last four characters, never
/// more than a quarter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(String);

impl Hint {
    const HIDDEN: &str = "••••";
    const SHORTEST: usize = 16;

    /// Returns the hint of a restricted secret, which is empty.
    pub fn none() -> Self {
        Self(String::new())
    }

    /// Computes the hint. It is `••••` for fewer than 16 characters and for a value that is not
    /// UTF-8.
    pub fn of(value: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(value) else {
            return Self(Self::HIDDEN.into());
        };

        let length = text.chars().count();
        if length < Self::SHORTEST {
            return Self(Self::HIDDEN.into());
        }

        let shown = 4.min(length / 8);
        let visible = |c: char| if c.is_control() { '·' } else { c };
        let start = text.chars().take(shown).map(visible);
        let end = text.chars().skip(length - shown).map(visible);

        Self(start.chain(['…']).chain(end).collect())
    }

    /// Accepts a hint that was computed when the value was stored.
    pub fn stored(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > 9 {
            return Err(Invalid("the hint is too long".into()));
        }

        Ok(Self(text.to_owned()))
    }

    /// Returns the hint's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_show_the_documented_characters() {
        let cases = [
            ("", "••••"),
            ("hunter2", "••••"),
            ("123456789012345", "••••"),
            ("1234567890123456", "12…56"),
            ("123456789012345678901234", "123…234"),
            ("abcdefghijklmnopqrstuvwxyz012345", "abcd…2345"),
            ("abcdefghijklmnopqrstuvwxyz0123456789abcdef", "abcd…cdef"),
            ("-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n", "----…---·"),
            ("ééééééééaaaaaaaa", "éé…aa"),
        ];

        for (value, hint) in cases {
            assert_eq!(Hint::of(value.as_bytes()).as_str(), hint, "{value}");
        }

        assert_eq!(Hint::of(&[0xff; 40]).as_str(), "••••");
    }

    #[test]
    fn a_hint_gives_away_a_quarter_at_most() {
        for length in 0..100 {
            let hint = Hint::of("x".repeat(length).as_bytes());
            let given = hint.as_str().chars().filter(|c| *c == 'x').count();
            assert!(given * 4 <= length, "{length}");
        }
    }

    #[test]
    fn values_have_bounds() {
        let of = |n, empty| SecretValue::new(SecretBytes::zeroed(n), empty).is_ok();
        assert!(of(1, false) && of(SecretValue::MAX, false) && of(0, true));
        assert!(!of(0, false) && !of(SecretValue::MAX + 1, true));
    }
}
