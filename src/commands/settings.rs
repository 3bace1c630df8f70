//! Which variables of a dotenv file are obviously plain settings.

use crate::dotenv;

/// Names that hold no secret in any project, and endings of such names.
const NAMES: [&str; 14] = [
    "NODE_ENV",
    "RAILS_ENV",
    "RACK_ENV",
    "APP_ENV",
    "FLASK_ENV",
    "ENVIRONMENT",
    "PORT",
    "HOST",
    "LOG_LEVEL",
    "LOGLEVEL",
    "DEBUG",
    "TZ",
    "LANG",
    "PYTHONUNBUFFERED",
];
const ENDINGS: [&str; 3] = ["_PORT", "_LOG_LEVEL", "_ENV"];
/// Values that are settings under every name.
const VALUES: [&str; 12] =
    ["true", "false", "yes", "no", "on", "off", "trace", "debug", "info", "warn", "warning", "error"];

/// Returns the names of a file's obvious settings; none if it is no dotenv file.
pub(super) fn obvious(text: &[u8]) -> Vec<String> {
    let is_setting = |entry: &dotenv::Entry| {
        let name = entry.name.to_ascii_uppercase();
        let value = String::from_utf8_lossy(entry.value.expose()).to_ascii_lowercase();
        let is_short = entry.value.len() <= 32;
        is_short && (NAMES.contains(&&*name) || ENDINGS.iter().any(|end| name.ends_with(end)))
            || VALUES.contains(&&*value)
    };
    let entries = dotenv::parse(text).unwrap_or_default();
    entries.iter().filter(|entry| is_setting(entry)).map(|entry| entry.name.clone()).collect()
}
