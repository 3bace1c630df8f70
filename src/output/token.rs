//! Tokens and what they may do. A token's string is printed once, from a buffer that is wiped.

use std::path::Path;

use secrets_core::crypto::output_digest::hex;
use secrets_core::model::{Level, Period, SecretBytes, Tag, Timestamp};
use secrets_core::vault::{Revoked, TokenInfo, TokenView};
use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::time::{local_date, local_minute};
use crate::ui::{Ui, UiError, counted, raw};

/// How long before its end the time of day is shown.
const SOON: Period = Period::of_days(2);

/// Says when a token ends, as the rest of a sentence.
pub(crate) fn end(expires: Option<Timestamp>) -> String {
    match expires {
        Some(time) if time <= Timestamp::now() => format!("expired on {}", local_date(time)),
        Some(time) if SOON.after(Timestamp::now()) > time => {
            format!("expires at {}", local_minute(time))
        }
        Some(time) => format!("expires on {}", local_date(time)),
        None => "never expires".into(),
    }
}

/// One token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRow {
    id: String,
    name: String,
    level: &'static str,
    project: String,
    /// Its secrets; null for all of the project's
    secrets: Option<Vec<String>>,
    restricted: bool,
    strict: bool,
    created_at: String,
    /// Null for a token that does not expire
    expires_at: Option<String>,
    /// True for the old string of a rotated token
    replaced: bool,
    #[serde(skip)]
    expires: Option<Timestamp>,
}

impl TokenRow {
    pub(crate) fn new(token: &TokenInfo) -> Self {
        let secrets = token.secrets.as_ref();
        Self {
            id: hex(&token.id),
            name: token.name.to_string(),
            level: token.level.as_str(),
            project: token.project.to_string(),
            secrets: secrets.map(|tags| tags.iter().map(Tag::to_string).collect()),
            restricted: token.is_restricted_allowed,
            strict: token.is_strict,
            created_at: token.created.rfc3339(),
            expires_at: token.expires.map(Timestamp::rfc3339),
            replaced: token.is_replaced,
            expires: token.expires,
        }
    }

    fn date(&self) -> String {
        match self.expires {
            Some(time) if time <= Timestamp::now() => format!("{} (past)", local_date(time)),
            Some(time) => local_date(time),
            None => "never".into(),
        }
    }

    fn scope(&self) -> String {
        self.secrets.as_ref().map_or_else(|| "all".into(), |secrets| secrets.len().to_string())
    }
}

/// The tokens of a project or of the vault.
#[derive(Serialize)]
pub(crate) struct TokenList {
    tokens: Vec<TokenRow>,
    #[serde(skip)]
    with_project: bool,
}

impl TokenList {
    pub(crate) fn new(tokens: &[TokenInfo], with_project: bool) -> Self {
        Self { tokens: tokens.iter().map(TokenRow::new).collect(), with_project }
    }
}

impl Outcome for TokenList {
    fn text(&self, out: &mut Text) {
        let name = |token: &TokenRow| {
            let mark = if token.replaced { " (old)" } else { "" };
            format!("{}{mark}", token.name)
        };

        if self.with_project {
            let row = |token: &TokenRow| {
                let (level, project) = (token.level.to_owned(), token.project.clone());
                [project, name(token), level, token.scope(), token.date()]
            };
            let rows: Vec<_> = self.tokens.iter().map(row).collect();
            return out.rows(["PROJECT", "NAME", "LEVEL", "SECRETS", "EXPIRES"], &rows);
        }

        let row =
            |token: &TokenRow| [name(token), token.level.to_owned(), token.scope(), token.date()];
        let rows: Vec<_> = self.tokens.iter().map(row).collect();
        out.rows(["NAME", "LEVEL", "SECRETS", "EXPIRES"], &rows);
    }
}

/// One token, and what enforces each of its rules.
#[derive(Serialize)]
pub(crate) struct TokenDetails {
    #[serde(flatten)]
    token: TokenRow,
    rules: Vec<Rule>,
}

/// A rule, and what enforces it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    rule: String,
    enforced_by: &'static str,
}

const KEYS: &str = "keys";
const CLIENT: &str = "an honest client";

impl TokenDetails {
    pub(crate) fn new(token: &TokenInfo) -> Self {
        let mut rules = Vec::new();
        let mut add = |rule: &str, enforced_by| {
            rules.push(Rule { rule: rule.to_owned(), enforced_by });
        };

        add("cannot open other projects", KEYS);
        if token.secrets.is_some() {
            add("cannot open other secrets or see their tags", KEYS);
        }

        match token.level {
            Level::Read => add("cannot open values", KEYS),
            Level::Use | Level::Manage if token.is_restricted_allowed => {}
            Level::Use | Level::Manage => add("cannot open values of restricted secrets", KEYS),
        }

        match token.level {
            Level::Manage => add("every change is signed with its own key", KEYS),
            Level::Read | Level::Use => add("cannot change secrets without being noticed", KEYS),
        }

        if token.expires.is_some() {
            add("stops working when it expires", CLIENT);
        }

        if token.is_strict {
            add("stops working when a use cannot be recorded", CLIENT);
        }

        Self { token: TokenRow::new(token), rules }
    }
}

impl Outcome for TokenDetails {
    fn text(&self, out: &mut Text) {
        let token = &self.token;
        let secrets = match &token.secrets {
            Some(tags) if tags.is_empty() => "none".into(),
            Some(tags) => tags.join(", "),
            None => "all of the project".into(),
        };
        let word = |is: bool| if is { "yes" } else { "no" }.to_owned();

        out.labelled(&[
            ("name", token.name.clone()),
            ("level", token.level.to_owned()),
            ("project", token.project.clone()),
            ("secrets", secrets),
            ("restricted", word(token.restricted)),
            ("strict", word(token.strict)),
            ("expires", token.date()),
            ("id", token.id.clone()),
        ]);
        out.line("");

        // People read the rules by what enforces them, programs in columns.
        if out.is_terminal() {
            for enforced_by in [KEYS, CLIENT] {
                let mut rules = self.rules.iter().filter(|it| it.enforced_by == enforced_by);
                if let Some(first) = rules.next() {
                    out.line(&format!("enforced by {enforced_by}:"));
                    for rule in std::iter::once(first).chain(rules) {
                        out.line(&format!("  {}", rule.rule));
                    }
                }
            }

            return;
        }

        let rows: Vec<[String; 2]> = self
            .rules
            .iter()
            .map(|rule| [rule.rule.clone(), rule.enforced_by.to_owned()])
            .collect();
        out.rows(["RULE", "ENFORCED BY"], &rows);
    }
}

/// The token that a command was given.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GivenToken {
    id: String,
    name: String,
    level: &'static str,
    project: String,
    /// The number of its secrets; null for all of the project's
    secrets: Option<usize>,
    expires_at: Option<String>,
    /// True for the old string of a rotated token
    replaced: bool,
    #[serde(skip)]
    end: String,
}

impl GivenToken {
    pub(crate) fn new(view: &TokenView) -> Self {
        Self {
            id: hex(&view.id),
            name: view.name.to_string(),
            level: view.level.as_str(),
            project: view.project.to_string(),
            secrets: view.secrets,
            expires_at: view.expires.map(Timestamp::rfc3339),
            replaced: view.is_replaced,
            end: view.expires.map_or_else(|| "never".into(), local_date),
        }
    }
}

impl Outcome for GivenToken {
    fn text(&self, out: &mut Text) {
        let secrets = match self.secrets {
            Some(count) => counted(count as u64, "secret"),
            None => "all of the project".into(),
        };

        out.labelled(&[
            ("name", self.name.clone()),
            ("level", self.level.to_owned()),
            ("project", self.project.clone()),
            ("secrets", secrets),
            ("expires", self.end.clone()),
        ]);
    }
}

/// A bundle that was written.
#[derive(Serialize)]
pub(crate) struct Bundle {
    bundle: String,
    secrets: u64,
}

impl Bundle {
    pub(crate) fn new(path: &Path, secrets: u64) -> Self {
        Self { bundle: path.display().to_string(), secrets }
    }
}

/// A changed token, and what was taken from it.
#[derive(Serialize)]
pub(crate) struct ChangedToken {
    #[serde(flatten)]
    token: TokenRow,
    #[serde(flatten)]
    taken: Option<Taken>,
}

impl ChangedToken {
    /// Describes a token from which something may have been taken.
    pub(crate) fn new(token: &TokenInfo, revoked: Option<&Revoked>) -> Self {
        Self { token: TokenRow::new(token), taken: revoked.map(Taken::new) }
    }
}

/// Tokens that were revoked, and the secrets whose values must be replaced.
#[derive(Serialize)]
pub(crate) struct RevokedTokens {
    tokens: Vec<TokenRow>,
    #[serde(flatten)]
    taken: Taken,
}

/// The secrets whose values a holder may have kept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    exposed: Vec<ExposedSecret>,
    /// True if the project got new keys
    new_keys: bool,
}

#[derive(Serialize)]
struct ExposedSecret {
    tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl Taken {
    fn new(revoked: &Revoked) -> Self {
        let exposed = revoked.exposed.iter().map(|secret| ExposedSecret {
            tag: secret.metadata.tag.to_string(),
            source: secret.metadata.source.as_ref().map(|source| source.as_str().to_owned()),
        });
        Self { exposed: exposed.collect(), new_keys: revoked.renewed.is_some() }
    }
}

impl RevokedTokens {
    pub(crate) fn new(revoked: &Revoked) -> Self {
        let tokens = revoked.tokens.iter().map(TokenRow::new).collect();
        Self { tokens, taken: Taken::new(revoked) }
    }
}

impl Ui {
    /// Prints a token in one line. As JSON, its string comes first. No buffer keeps a part of it.
    pub(crate) fn print_token(
        &self,
        token: &SecretBytes,
        info: &ChangedToken,
    ) -> Result<(), UiError> {
        let members = serde_json::to_string(info).unwrap_or_default();
        let mut line = SecretBytes::with_capacity(128 + members.len());
        if self.is_json() {
            line.extend(b"{\"token\":\"");
            line.extend(token.expose());
            line.extend(b"\",");
            line.extend(members.trim_start_matches('{').as_bytes());
        } else {
            line.extend(token.expose());
        }

        line.push(b'\n');
        raw::print(line.expose())
    }
}
