//! Generated values: characters, words, PINs, UUIDs and patterns.

use std::str::FromStr;

use secrets_core::crypto::CryptoError;
use secrets_core::crypto::random::{self, Alphabet, generate};
use secrets_core::model::SecretBytes;

/// The EFF's long word list (assets/README.md).
const WORDS: &str = include_str!("../assets/words.txt");
/// The number of words in it: one for each outcome of five dice.
const WORD_COUNT: u16 = 7776;

/// The maximum number of characters of a pattern.
const PATTERN_MAX: usize = 1024;
/// A pattern draws at least this many characters.
const DRAWN_MIN: usize = 4;

/// A way to generate a value. Every value that it can generate is equally likely.
#[derive(Debug, Clone)]
pub(crate) enum Generator {
    /// This many characters of an alphabet
    Characters(usize, Alphabet),
    /// This many words with `-` between them
    Words(usize),
    /// A UUID of version 4 (RFC 9562, section 5.4)
    Uuid,
    Pattern(Pattern),
}

impl Generator {
    /// Generates a value.
    pub(crate) fn generate(&self) -> Result<SecretBytes, CryptoError> {
        match self {
            Self::Characters(length, alphabet) => generate(*length, *alphabet),
            Self::Words(count) => words(*count, b'-'),
            Self::Uuid => uuid(),
            Self::Pattern(pattern) => pattern.generate(),
        }
    }
}

/// Draws `count` words, each with the same probability, with a separator between them. Six words have
/// 77 bits of entropy.
pub(crate) fn words(count: usize, separator: u8) -> Result<SecretBytes, CryptoError> {
    let words: Vec<&str> = WORDS.lines().collect();
    let mut phrase = SecretBytes::with_capacity(count * 12);
    let mut drawn = 0;

    while drawn < count {
        let number = u16::from_be_bytes(random::array()?);

        // Numbers beyond the last multiple of the list's length would favour the first words.
        if number >= u16::MAX - u16::MAX % WORD_COUNT {
            continue;
        }

        if drawn > 0 {
            phrase.push(separator);
        }

        phrase.extend(words.get(usize::from(number % WORD_COUNT)).unwrap_or(&"").as_bytes());
        drawn += 1;
    }

    Ok(phrase)
}

/// Draws 122 bits; the other six say that they are random.
fn uuid() -> Result<SecretBytes, CryptoError> {
    let mut digits = generate(32, Alphabet::Hex)?;
    let text = digits.expose_mut();
    text[12] = b'4';

    // Of the digit with the variant, the two upper bits are 10.
    text[16] = match text[16] {
        b'0' | b'4' | b'8' | b'c' => b'8',
        b'1' | b'5' | b'9' | b'd' => b'9',
        b'2' | b'6' | b'a' | b'e' => b'a',
        _ => b'b',
    };

    let mut uuid = SecretBytes::with_capacity(36);
    for (at, digit) in digits.expose().iter().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            uuid.push(b'-');
        }

        uuid.push(*digit);
    }

    Ok(uuid)
}

/// A text in which some characters are drawn: `A` and `a` stand for letters, `9` for digits, `#` for
/// hexadecimal digits and `*` for letters and digits. A character behind `\` and every other one stands
/// for itself.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, Copy)]
enum Part {
    Drawn(Alphabet),
    Literal(u8),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut characters = text.bytes();
        while let Some(character) = characters.next() {
            parts.push(match character {
                b'A' => Part::Drawn(Alphabet::Upper),
                b'a' => Part::Drawn(Alphabet::Lower),
                b'9' => Part::Drawn(Alphabet::Digits),
                b'#' => Part::Drawn(Alphabet::Hex),
                b'*' => Part::Drawn(Alphabet::Alnum),
                b'\\' => Part::Literal(characters.next().ok_or("a pattern cannot end with `\\`")?),
                other => Part::Literal(other),
            });
        }

        let is_visible =
            |part: &Part| !matches!(part, Part::Literal(c) if !(b' '..=b'~').contains(c));
        let drawn = parts.iter().filter(|part| matches!(part, Part::Drawn(_))).count();
        if !parts.iter().all(is_visible) {
            Err("a pattern has visible ASCII characters only".to_owned())
        } else if drawn < DRAWN_MIN {
            Err(format!("a pattern draws at least {DRAWN_MIN} characters: A, a, 9, # or *"))
        } else if parts.len() > PATTERN_MAX {
            Err(format!("a pattern has at most {PATTERN_MAX} characters"))
        } else {
            Ok(Self(parts))
        }
    }
}

impl Pattern {
    fn generate(&self) -> Result<SecretBytes, CryptoError> {
        let mut value = SecretBytes::with_capacity(self.0.len());
        for part in &self.0 {
            match part {
                Part::Drawn(alphabet) => value.extend(generate(1, *alphabet)?.expose()),
                Part::Literal(character) => value.push(*character),
            }
        }

        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn text(generator: &Generator) -> String {
        String::from_utf8(generator.generate().unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn words_are_drawn_from_the_whole_list() {
        let list: Vec<&str> = WORDS.lines().collect();
        assert_eq!(list.len(), usize::from(WORD_COUNT));
        assert_eq!(list.iter().collect::<HashSet<_>>().len(), list.len());
        assert!(list.iter().all(|word| (3..=9).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));

        let drawn = words(3000, b' ').unwrap();
        let drawn: HashSet<&str> =
            std::str::from_utf8(drawn.expose()).unwrap().split(' ').collect();
        assert!(drawn.len() > 2000 && drawn.iter().all(|word| list.contains(word)));

        // Words were drawn from every tenth of the list.
        assert!(list.chunks(778).all(|part| part.iter().any(|word| drawn.contains(word))));
        assert!(!text(&Generator::Words(6)).contains(' '));
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let mut variants = HashSet::new();
        for _ in 0..200 {
            let uuid = text(&Generator::Uuid);
            let groups: Vec<&str> = uuid.split('-').collect();
            assert_eq!(
                groups.iter().map(|group| group.len()).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12]
            );
            assert!(
                uuid.bytes().all(|c| c == b'-' || c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
            );
            assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']));
            variants.insert(groups[3].chars().next());
        }

        assert_eq!(variants.len(), 4);
    }

    #[test]
    fn a_pattern_draws_what_it_says() {
        let generated = |pattern: &str| text(&Generator::Pattern(pattern.parse().unwrap()));
        let (first, second) =
            (generated("AAAA-aaaa-9999-####-****"), generated("AAAA-aaaa-9999-####-****"));
        assert_ne!(first, second);
        let groups: Vec<&[u8]> = first.as_bytes().split(|c| *c == b'-').collect();
        let fits: [fn(&u8) -> bool; 5] = [
            u8::is_ascii_uppercase,
            u8::is_ascii_lowercase,
            u8::is_ascii_digit,
            |c| c.is_ascii_digit() || (b'a'..=b'f').contains(c),
            u8::is_ascii_alphanumeric,
        ];
        for (group, fits) in groups.iter().zip(fits) {
            assert!(group.len() == 4 && group.iter().all(fits), "{first}");
        }

        let literal = generated(r"sk_\a\9\\ 9999");
        assert!(literal.starts_with(r"sk_a9\ ") && literal.len() == 11, "{literal}");
        for wrong in ["", "999", "abc", r"9999\", "9999é", "9999\n", &"9".repeat(1025)] {
            assert!(Pattern::from_str(wrong).is_err(), "{wrong:?}");
        }
    }
}
