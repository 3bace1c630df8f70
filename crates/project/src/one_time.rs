//! Time-based one-time passwords (TOTP, RFC 6238).
//!
//! A key is stored as services show it: as an address `otpauth://totp/…`, which is what their QR code
//! holds, or as base32.

use secrets_core::model::SecretBytes;
use secrets_mask::encode;
use totp_rs::{Algorithm, Builder, Secret, Totp};

const SCHEME: &str = "otpauth://";

/// The fewest bytes of a key. RFC 4226, section 4, wants 16; large services give 10.
const KEY_MIN: usize = 10;
/// The longest time that a code is valid, in seconds.
const PERIOD_MAX: u64 = 3600;

/// A key for one-time passwords.
pub struct OneTimeKey {
    parts: Parts,
    /// The service, if the address names it
    pub issuer: Option<String>,
    /// The account, if the address names it
    pub account: Option<String>,
}

/// The parts of a key that make its codes.
struct Parts {
    totp: Totp,
    /// The key in base32, without padding
    key: SecretBytes,
    algorithm: &'static str,
    digits: u8,
    period: u64,
}

/// Why a value is no key for one-time passwords. It repeats nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OneTimeError {
    #[error("it is neither an address that begins with `otpauth://` nor a key in base32")]
    NotAKey,
    #[error("it is for codes that are counted (HOTP), not for codes that follow the time (TOTP)")]
    Counted,
    #[error("its key is not base32")]
    NotBase32,
    #[error("its key has fewer than {KEY_MIN} bytes")]
    Short,
    #[error("its `{0}` is not one that one-time passwords have")]
    Parameter(&'static str),
}

impl OneTimeKey {
    /// Parses an address or a key in base32. White space and `-` in a key are ignored.
    ///
    /// # Errors
    /// Fails for anything else, for keys below 10 bytes, and for other numbers of digits than 6 to 8.
    pub fn parse(value: &[u8]) -> Result<Self, OneTimeError> {
        let text = std::str::from_utf8(value).map_err(|_| OneTimeError::NotAKey)?.trim();
        let is_address = text.get(..SCHEME.len()).is_some_and(|it| it.eq_ignore_ascii_case(SCHEME));
        if is_address {
            return Self::of_address(&text[SCHEME.len()..]);
        }

        // A short word is more likely a password than a key.
        let parts = parts(text, None, None, None).map_err(|_| OneTimeError::NotAKey)?;
        Ok(Self { parts, issuer: None, account: None })
    }

    fn of_address(address: &str) -> Result<Self, OneTimeError> {
        let (kind, rest) = address.split_once('/').ok_or(OneTimeError::NotAKey)?;
        if kind.eq_ignore_ascii_case("hotp") {
            return Err(OneTimeError::Counted);
        } else if !kind.eq_ignore_ascii_case("totp") {
            return Err(OneTimeError::NotAKey);
        }

        let (label, query) = rest.split_once('?').ok_or(OneTimeError::NotAKey)?;
        let decoded = |text: &str| {
            let bytes = encode::unpercent(text.as_bytes());
            String::from_utf8_lossy(bytes.expose()).trim().to_owned()
        };
        let (mut key, mut issuer) = (None, None);
        let (mut algorithm, mut digits, mut period) = (None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name.to_ascii_lowercase().as_str() {
                "secret" => key = Some(SecretBytes::from_vec(decoded(value).into_bytes())),
                "issuer" => issuer = Some(decoded(&value.replace('+', " "))),
                "algorithm" => algorithm = Some(decoded(value)),
                "digits" => digits = Some(decoded(value)),
                "period" => period = Some(decoded(value)),
                _ => {}
            }
        }

        let key = key.ok_or(OneTimeError::NotBase32)?;
        let key = std::str::from_utf8(key.expose()).map_err(|_| OneTimeError::NotBase32)?;
        let parts = parts(key, algorithm.as_deref(), digits.as_deref(), period.as_deref())?;

        // The label is `ISSUER:ACCOUNT`, or the account.
        let label = decoded(label);
        let (of_label, account) = match label.split_once(':') {
            Some((issuer, account)) => (Some(issuer.trim().to_owned()), account.trim().to_owned()),
            None => (None, label),
        };
        let named = |text: &String| !text.is_empty();
        let issuer = issuer.filter(named).or(of_label).filter(named);
        Ok(Self { parts, issuer, account: Some(account).filter(named) })
    }

    /// Returns the key as an address, whatever it was parsed from. The key itself is neither at its beginning
    /// nor at its end, where a hint would show it.
    pub fn address(&self) -> SecretBytes {
        let mut address = SecretBytes::with_capacity(256);
        address.extend(format!("{SCHEME}totp/").as_bytes());
        if let Some(account) = &self.account {
            address.extend(encode::percent(account.as_bytes(), b"").expose());
        }

        address.extend(b"?secret=");
        address.extend(self.parts.key.expose());
        if let Some(issuer) = &self.issuer {
            address.extend(b"&issuer=");
            address.extend(encode::percent(issuer.as_bytes(), b"").expose());
        }

        let Parts { algorithm, digits, period, .. } = self.parts;
        address
            .extend(format!("&algorithm={algorithm}&digits={digits}&period={period}").as_bytes());
        address
    }

    /// Returns the code that is valid at a time, in seconds since 1970.
    pub fn code(&self, time: u64) -> SecretBytes {
        SecretBytes::from_vec(self.parts.totp.generate(time).to_string().into_bytes())
    }

    /// Returns how many seconds the code of a time is still valid, at least 1.
    pub fn seconds_left(&self, time: u64) -> u64 {
        self.parts.totp.next_step(time) - time
    }
}

fn parts(
    key: &str,
    algorithm: Option<&str>,
    digits: Option<&str>,
    period: Option<&str>,
) -> Result<Parts, OneTimeError> {
    let mut plain = SecretBytes::with_capacity(key.len());
    for byte in key.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'-') {
        plain.push(byte.to_ascii_uppercase());
    }

    while plain.expose().ends_with(b"=") {
        plain.truncate(plain.len() - 1);
    }

    let text = std::str::from_utf8(plain.expose()).map_err(|_| OneTimeError::NotBase32)?;
    let secret = Secret::try_from_base32(text).map_err(|_| OneTimeError::NotBase32)?;
    if secret.as_bytes().len() < KEY_MIN {
        return Err(OneTimeError::Short);
    }

    let (algorithm, name) = match algorithm.map(str::to_ascii_uppercase).as_deref() {
        None | Some("SHA1" | "SHA-1") => (Algorithm::SHA1, "SHA1"),
        Some("SHA256" | "SHA-256") => (Algorithm::SHA256, "SHA256"),
        Some("SHA512" | "SHA-512") => (Algorithm::SHA512, "SHA512"),
        Some(_) => return Err(OneTimeError::Parameter("algorithm")),
    };
    let digits = match digits {
        None => 6,
        Some(digits) => match digits.parse() {
            Ok(digits @ 6..=8) => digits,
            _ => return Err(OneTimeError::Parameter("digits")),
        },
    };
    let period = match period {
        None => 30,
        Some(period) => match period.parse() {
            Ok(period @ 1..=PERIOD_MAX) => period,
            _ => return Err(OneTimeError::Parameter("period")),
        },
    };

    // The library's own check refuses keys below 16 bytes, which are in use.
    let builder = Builder::new().with_secret(secret).with_algorithm(algorithm);
    let totp = builder.with_digits(digits).with_step_duration(period).build_noncompliant();
    Ok(Parts { totp, key: plain, algorithm: name, digits, period })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 6238, appendix B, in base32.
    const SHA1: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const SHA256: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
    const SHA512: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA";

    fn code(value: &str, time: u64) -> Result<String, OneTimeError> {
        let key = OneTimeKey::parse(value.as_bytes())?;
        Ok(String::from_utf8(key.code(time).expose().to_vec()).unwrap())
    }

    #[test]
    fn the_stored_form_has_the_same_codes() {
        for text in [
            SHA1.to_owned(),
            format!("otpauth://totp/Git%20Hub:me%26you?secret={SHA1}&issuer=Git%20Hub&digits=8"),
            format!("otpauth://totp/x?period=60&algorithm=SHA256&secret={SHA256}===="),
        ] {
            let key = OneTimeKey::parse(text.as_bytes()).unwrap();
            let address = key.address();
            let again = OneTimeKey::parse(address.expose()).unwrap();
            assert_eq!(key.code(59).expose(), again.code(59).expose(), "{text}");
            assert_eq!((&key.issuer, &key.account), (&again.issuer, &again.account), "{text}");
            let stored = std::str::from_utf8(address.expose()).unwrap();
            assert!(stored.starts_with("otpauth://totp/") && stored.ends_with('0'), "{stored}");
        }
    }

    #[test]
    fn the_codes_of_rfc_6238_are_generated() {
        let known = [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ];
        let keys = [("SHA1", SHA1), ("SHA256", SHA256), ("SHA512", SHA512)];
        for (time, codes) in known {
            for ((algorithm, key), expected) in keys.into_iter().zip(codes) {
                let address =
                    format!("otpauth://totp/a?secret={key}&algorithm={algorithm}&digits=8");
                assert_eq!(code(&address, time).as_deref(), Ok(expected), "{algorithm} {time}");
            }
        }
    }

    #[test]
    fn keys_are_read_as_services_show_them() {
        let expected = code(SHA1, 59).unwrap();
        assert_eq!(expected, "287082");
        for value in [
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n",
            "GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ",
            "otpauth://totp/Example:me%40example.com?secret=gezdgnbvgy3tqojqgezdgnbvgy3tqojq&issuer=Example",
            "OTPAUTH://TOTP/x?Secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ%3D%3D&image=x&period=30",
        ] {
            assert_eq!(code(value, 59).as_ref(), Ok(&expected), "{value}");
        }

        let address = "otpauth://totp/My%20Site:me%40example.com?secret=GEZDGNBVGY3TQOJQ&period=60";
        let key = OneTimeKey::parse(address.as_bytes()).unwrap();
        assert_eq!(key.issuer.as_deref(), Some("My Site"));
        assert_eq!(key.account.as_deref(), Some("me@example.com"));
        assert_eq!((key.seconds_left(0), key.seconds_left(59), key.seconds_left(60)), (60, 1, 60));
    }

    #[test]
    fn anything_else_is_refused() {
        let address = |query: &str| format!("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ&{query}");
        for (value, why) in [
            ("", OneTimeError::NotAKey),
            ("hunter2", OneTimeError::NotAKey),
            ("sk_live_1234567890abcdef", OneTimeError::NotAKey),
            ("otpauth://totp", OneTimeError::NotAKey),
            ("otpauth://totp/a", OneTimeError::NotAKey),
            ("otpauth://yotp/a?secret=GEZDGNBVGY3TQOJQ", OneTimeError::NotAKey),
            ("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQ&counter=1", OneTimeError::Counted),
            ("otpauth://totp/a?issuer=x", OneTimeError::NotBase32),
            ("otpauth://totp/a?secret=1890", OneTimeError::NotBase32),
            ("otpauth://totp/a?secret=GEZDGNBV", OneTimeError::Short),
            (&address("algorithm=MD5"), OneTimeError::Parameter("algorithm")),
            (&address("digits=5"), OneTimeError::Parameter("digits")),
            (&address("digits=99999999999"), OneTimeError::Parameter("digits")),
            (&address("period=0"), OneTimeError::Parameter("period")),
            (&address("period=-1"), OneTimeError::Parameter("period")),
        ] {
            assert_eq!(code(value, 59), Err(why), "{value}");
        }

        assert!(OneTimeKey::parse(b"\xff").is_err());
    }
}
