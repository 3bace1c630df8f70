//! Estimates how long a passphrase resists guessing.
//!
//! zxcvbn estimates the number of guesses. It knows common passwords, words, names, keyboard rows,
//! dates and repetitions. The time is what one graphics card needs. Argon2id and scrypt are bound
//! by memory, so the card's memory bandwidth limits how fast it guesses.

use secrets_core::crypto::kdf::Passphrase;
use secrets_core::crypto::with_freed_memory_wiped;
use secrets_core::model::{STACK_DEPTH, overwrite_stack};

/// The memory bandwidth of one fast graphics card, in bytes per second.
const CARD: f64 = 1e12;
/// The attacker that messages assume.
pub(crate) const ASSUMPTION: &str = "one graphics card (1 TB/s)";

const YEAR: f64 = 365.25 * 86_400.0;
/// A passphrase that one card guesses in less time, in seconds, is weak. An attacker may have a
/// hundred cards.
const WEAK: f64 = 100.0 * YEAR;

/// Values with fewer guesses than this, as a power of ten, are easy to guess: a service that does not lock
/// an account takes that many attempts within days.
const EASY: f64 = 8.0;
/// The longest value in bytes whose guesses are estimated. A longer one is easy if it repeats a few characters.
const ESTIMATED: usize = 24;

/// Returns true for a value that an attacker can guess.
pub(crate) fn is_easy_to_guess(value: &[u8]) -> bool {
    let mut kinds = [false; 256];
    for byte in value {
        kinds[usize::from(*byte)] = true;
    }

    if kinds.iter().filter(|is_there| **is_there).count() < 4 {
        return true;
    }

    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= ESTIMATED);
    let guesses =
        text.map(|text| with_freed_memory_wiped(|| zxcvbn::zxcvbn(text, &[]).guesses_log10()));
    overwrite_stack::<STACK_DEPTH>();
    guesses.is_some_and(|guesses| guesses < EASY)
}

/// The time that guessing a passphrase takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strength {
    seconds: f64,
}

impl Strength {
    /// Estimates the strength of a passphrase. One guess moves `moved` bytes through memory.
    pub(crate) fn of(passphrase: &Passphrase, moved: u64) -> Self {
        let text = std::str::from_utf8(passphrase.expose()).unwrap_or_default();

        // zxcvbn copies parts of the text and quotes them in its feedback, so only the number
        // leaves this function.
        let guesses =
            with_freed_memory_wiped(|| zxcvbn::zxcvbn(text, &["secrets", "vault"]).guesses_log10());
        overwrite_stack::<STACK_DEPTH>();
        #[allow(clippy::cast_precision_loss)] // an estimate
        let seconds = 10_f64.powf(guesses) / (CARD / moved.max(1) as f64);
        Self { seconds }
    }

    /// Returns true if an attacker can afford to guess the passphrase.
    pub(crate) fn is_weak(self) -> bool {
        self.seconds < WEAK
    }

    /// Returns the time as text: "less than a second", "about 3 hours", "about a million years or
    /// more".
    pub(crate) fn time(self) -> String {
        let units = [
            ("second", 1.0),
            ("minute", 60.0),
            ("hour", 3_600.0),
            ("day", 86_400.0),
            ("month", YEAR / 12.0),
            ("year", YEAR),
        ];

        let unit = units.into_iter().rev().find(|(_, seconds)| self.seconds >= *seconds);
        match unit {
            None => "less than a second".into(),
            Some(("year", _)) if self.seconds >= 1e6 * YEAR => {
                "about a million years or more".into()
            }
            Some((name, seconds)) => {
                let number = format!("{:.0}", (self.seconds / seconds).floor());
                format!("about {number} {name}{}", if number == "1" { "" } else { "s" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use secrets_core::crypto::kdf::KdfParams;
    use secrets_core::model::SecretBytes;

    use super::*;
    use crate::generator::words;

    fn judged(text: &str, params: KdfParams) -> Strength {
        Strength::of(
            &Passphrase::new(&SecretBytes::copy_of(text.as_bytes())).unwrap(),
            params.bytes_per_guess(),
        )
    }

    #[test]
    fn common_passphrases_are_weak_and_good_ones_are_not() {
        for text in [
            "123456789012",
            "password1234",
            "qwertyuiopas",
            "hunter2",
            "abababababababababab",
            "iloveyou2024!",
        ] {
            assert!(judged(text, KdfParams::DEFAULT).is_weak(), "{text}");
        }

        let drawn = words(6, b' ').unwrap();
        let drawn = std::str::from_utf8(drawn.expose()).unwrap();
        for text in ["correct horse battery staple", "m7#Kq9!vTz2LpX4w", drawn] {
            assert!(!judged(text, KdfParams::LEAST).is_weak(), "{text}");
        }
    }

    #[test]
    fn a_costlier_guess_takes_longer() {
        let (least, default) = (
            judged("a quite short one", KdfParams::LEAST),
            judged("a quite short one", KdfParams::DEFAULT),
        );

        let times = KdfParams::DEFAULT.cost() as f64 / KdfParams::LEAST.cost() as f64;
        assert!((default.seconds / least.seconds - times).abs() < 0.001);
    }

    #[test]
    fn values_that_are_easy_to_guess() {
        for easy in [
            "",
            "hunter2",
            "password",
            "1234567890",
            "changeme",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(is_easy_to_guess(easy.as_bytes()), "{easy}");
        }

        for hard in [
            "sk_live_4eC39HqLyjWDarjtT1zdp3c7",
            "8f14e45fceea167a",
            "x7Kq-Zw3p",
            "-----BEGIN KEY-----\nabc\n",
        ] {
            assert!(!is_easy_to_guess(hard.as_bytes()), "{hard}");
        }
    }

    #[test]
    fn times_are_easy_to_read() {
        for (seconds, text) in [
            (0.2, "less than a second"),
            (1.0, "about 1 second"),
            (119.0, "about 1 minute"),
            (7_300.0, "about 2 hours"),
            (3.0 * 86_400.0, "about 3 days"),
            (YEAR / 2.0, "about 6 months"),
            (450.0 * YEAR, "about 450 years"),
            (1e30, "about a million years or more"),
        ] {
            assert_eq!(Strength { seconds }.time(), text);
        }
    }
}
