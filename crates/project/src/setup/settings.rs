//! Judges by name and value whether a variable of a dotenv file holds a secret or a plain setting.
//!
//! A wrong "secret" costs a line in the vault. A wrong "setting" leaves a credential in a committed
//! file. So a variable is a setting only if both its name and its value belong to a well-known kind
//! of setting.

/// What a variable most likely holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// A secret, or anything that is not known to be a setting
    Secret,
    /// A setting. The text describes its kind, as in "it is a port"
    Setting(&'static str),
}

/// Parts of names that suggest credentials. A variable with one of them is never a setting.
const CREDENTIALS: [&str; 34] = [
    "ACCESS",
    "APIKEY",
    "AUTH",
    "BEARER",
    "CERT",
    "CODE",
    "COOKIE",
    "CRED",
    "CREDENTIAL",
    "CREDENTIALS",
    "CRYPT",
    "DSN",
    "HASH",
    "HMAC",
    "JWT",
    "KEY",
    "KEYS",
    "LICENSE",
    "NONCE",
    "OTP",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PIN",
    "PRIVATE",
    "PWD",
    "SALT",
    "SECRET",
    "SECRETS",
    "SEED",
    "SIGNING",
    "TOKEN",
];

/// Longer words that suggest credentials anywhere in a name, as in `MYPASSWORD`.
const CREDENTIALS_INSIDE: [&str; 8] =
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY", "PRIVATE", "WEBHOOK"];

const BOOLEANS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "enabled", "disabled"];

const ENVIRONMENTS: [&str; 15] = [
    "ci",
    "demo",
    "dev",
    "develop",
    "development",
    "local",
    "preview",
    "prod",
    "production",
    "qa",
    "sandbox",
    "stage",
    "staging",
    "test",
    "testing",
];

const LEVELS: [&str; 17] = [
    "alert",
    "all",
    "critical",
    "debug",
    "emergency",
    "error",
    "fatal",
    "info",
    "none",
    "notice",
    "off",
    "silent",
    "trace",
    "verbose",
    "warn",
    "warning",
    "http",
];

const LOOPBACK: [&str; 5] = ["localhost", "127.0.0.1", "0.0.0.0", "::1", "[::1]"];

/// The last words of names that hold small numbers.
const QUANTITIES: [&str; 20] = [
    "ATTEMPTS",
    "CONCURRENCY",
    "COUNT",
    "DAYS",
    "HOURS",
    "INTERVAL",
    "LIMIT",
    "MAX",
    "MIN",
    "MINUTES",
    "MS",
    "RETRIES",
    "SECONDS",
    "SIZE",
    "THREADS",
    "TIMEOUT",
    "TTL",
    "WORKERS",
    "REPLICAS",
    "PERCENT",
];

/// Judges a variable. The result depends only on the name and the value.
pub fn guess(name: &str, value: &[u8]) -> Guess {
    let name = name.to_ascii_uppercase();
    let Ok(value) = std::str::from_utf8(value) else { return Guess::Secret };
    if names_a_credential(&name) {
        return Guess::Secret;
    }

    let lower = value.to_ascii_lowercase();
    let words: Vec<&str> = words(&name).collect();
    let last = words.last().copied().unwrap_or_default();
    let is_number = |digits: usize| {
        (1..=digits).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
    };

    let kinds = [
        (BOOLEANS.contains(&&*lower), "it is a boolean"),
        (
            matches!(last, "ENV" | "ENVIRONMENT" | "STAGE" | "MODE")
                && ENVIRONMENTS.contains(&&*lower),
            "it is an environment",
        ),
        (last == "PORT" && is_number(5), "it is a port"),
        (is_log_level(&words) && LEVELS.contains(&&*lower), "it is a log level"),
        (
            matches!(last, "HOST" | "HOSTNAME" | "ADDR" | "ADDRESS" | "BIND")
                && is_loopback(&lower),
            "it is an address of this machine",
        ),
        (
            matches!(last, "URL" | "URI" | "ORIGIN" | "ENDPOINT") && is_loopback_url(&lower),
            "it is an address of this machine",
        ),
        (
            matches!(&*name, "TZ" | "TIMEZONE" | "TIME_ZONE") && is_time_zone(value),
            "it is a time zone",
        ),
        (
            matches!(last, "LANG" | "LANGUAGE" | "LOCALE" | "LC_ALL") && is_language(value),
            "it is a language",
        ),
        (
            (QUANTITIES.contains(&last) && is_number(7)) || matches!(value, "0" | "1"),
            "it is a number",
        ),
    ];

    kinds.iter().find(|(is_it, _)| *is_it).map_or(Guess::Secret, |(_, kind)| Guess::Setting(kind))
}

/// Returns true if the variable must not stay in a committed file: its name is that of a
/// credential, or its value looks like one.
pub fn looks_like_a_credential(name: &str, value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return true };
    let has = |kind: fn(&char) -> bool| text.chars().any(|c| kind(&c));
    let is_mixed = has(char::is_ascii_digit)
        && (has(char::is_ascii_uppercase) || has(char::is_ascii_lowercase));

    names_a_credential(&name.to_ascii_uppercase())
        || text.len() >= 12 && is_mixed
        || text.contains("-----BEGIN")
        || text
            .split_once("://")
            .is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'))
}

fn names_a_credential(name: &str) -> bool {
    words(name).any(|word| CREDENTIALS.contains(&word))
        || CREDENTIALS_INSIDE.iter().any(|word| name.contains(word))
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['_', '-', '.']).filter(|word| !word.is_empty())
}

fn is_log_level(words: &[&str]) -> bool {
    matches!(
        words,
        [.., "LOG" | "LOGGING" | "LOGGER" | "DEBUG", "LEVEL"]
            | [.., "LOGLEVEL" | "VERBOSITY"]
            | ["LEVEL"]
    ) || matches!(words, ["RUST" | "APP" | "NODE", "LOG"] | ["LOG"])
}

fn is_loopback(value: &str) -> bool {
    LOOPBACK.contains(&value)
}

/// Returns true for an address of this machine without a user or a query, and with a path too
/// simple to hold a secret.
fn is_loopback_url(value: &str) -> bool {
    let Some(rest) = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"))
    else {
        return false;
    };

    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    };

    is_loopback(host)
        && port.len() <= 5
        && path.len() <= 32
        && path.bytes().all(|b| b.is_ascii_lowercase() || b == b'/')
}

fn is_time_zone(value: &str) -> bool {
    let is_word = |part: &str| {
        !part.is_empty()
            && part.len() <= 20
            && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
    };

    value.split('/').count() <= 3 && value.split('/').all(is_word)
}

fn is_language(value: &str) -> bool {
    let (language, encoding) = value.split_once('.').unwrap_or((value, "UTF-8"));
    let is_short = (1..=5).contains(&language.len());
    is_short
        && language.bytes().all(|b| b.is_ascii_alphabetic() || b"_-".contains(&b))
        && encoding.len() <= 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_known_settings_are_settings() {
        for (name, value, kind) in [
            ("NODE_ENV", "production", "it is an environment"),
            ("APP_ENV", "local", "it is an environment"),
            ("PORT", "3000", "it is a port"),
            ("DB_PORT", "5432", "it is a port"),
            ("DEBUG", "False", "it is a boolean"),
            ("FEATURE_X", "0", "it is a number"),
            ("LOG_LEVEL", "debug", "it is a log level"),
            ("RUST_LOG", "info", "it is a log level"),
            ("DB_HOST", "localhost", "it is an address of this machine"),
            ("APP_URL", "http://localhost:8000", "it is an address of this machine"),
            ("API_URL", "http://127.0.0.1:8000/api/", "it is an address of this machine"),
            ("TZ", "Europe/Berlin", "it is a time zone"),
            ("APP_LOCALE", "en_US.UTF-8", "it is a language"),
            ("REQUEST_TIMEOUT", "30000", "it is a number"),
        ] {
            assert_eq!(guess(name, value.as_bytes()), Guess::Setting(kind), "{name}={value}");
        }

        for (name, value) in [
            ("API_KEY", "true"),
            ("PIN", "0"),
            ("USER_PIN_SIZE", "4815"),
            ("DB_PASSWORD", "localhost"),
            ("MYPASSWORD", "true"),
            ("NODE_ENV", "s3cr3t"),
            ("PORT", "481516"),
            ("PORT", "tcp"),
            ("DATABASE_URL", "postgres://localhost/x"),
            ("APP_URL", "http://u:p@localhost"),
            ("APP_URL", "http://localhost/?token=x"),
            ("APP_URL", "http://localhost/hooks/T0123"),
            ("APP_URL", "http://localhost:80@evil.example"),
            ("DB_HOST", "db.example.org"),
            ("LOG", "stack"),
            ("LEVEL", "9000"),
            ("X", "48151623"),
            ("TZ", "hunter2"),
            ("LANG", "correct-horse"),
            ("X", "\u{fffd}"),
        ] {
            assert_eq!(guess(name, value.as_bytes()), Guess::Secret, "{name}={value}");
        }

        assert_eq!(guess("DEBUG", b"\xff"), Guess::Secret);
    }

    #[test]
    fn a_credential_is_known_by_its_name_or_its_value() {
        for (name, value) in [
            ("API_KEY", "x"),
            ("X", "sk_live_0123456789abcdef"),
            ("URL", "redis://:pass@h/0"),
            ("X", "-----BEGIN KEY"),
        ] {
            assert!(looks_like_a_credential(name, value.as_bytes()), "{name}={value}");
        }

        for (name, value) in
            [("LOG", "stack"), ("APP_NAME", "My shop"), ("MAIL_FROM", "x@example.org")]
        {
            assert!(!looks_like_a_credential(name, value.as_bytes()), "{name}={value}");
        }
    }
}
