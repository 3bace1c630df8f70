//! The rights of the owner and of tokens to the secrets of a project.

use secrets_core::model::{Class, Level, ProjectName, Secret};
use secrets_core::vault::TokenInfo;
use serde::{Serialize, Serializer};

use super::{Outcome, Text};
use crate::ui::escape::visible;

/// The secrets of a project, or one of them, and who may do what with each.
pub(crate) struct AccessReport<'a> {
    project: &'a ProjectName,
    secrets: &'a [Secret],
    tokens: Vec<TokenAccess>,
}

/// A token that has a right to some of the secrets.
pub(crate) struct TokenAccess {
    /// Its name
    pub(crate) name: String,
    /// True for the old string of a rotated token
    pub(crate) is_replaced: bool,
    /// Its level
    pub(crate) level: Level,
    /// True if it covers only some secrets of the project
    pub(crate) is_limited: bool,
    /// True if it may use restricted secrets
    pub(crate) may_use_restricted: bool,
    /// Its rights to each secret of the report, in the order of the secrets
    pub(crate) rights: Vec<Rights>,
}

/// The rights to one secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    /// See its tag, name, description and hint
    pub(crate) may_read: bool,
    /// Put its value to work
    pub(crate) may_use: bool,
    /// Change and delete it
    pub(crate) may_manage: bool,
}

impl Rights {
    /// Returns the rights that a level gives to a secret of this class.
    pub(crate) fn of(level: Level, class: Class, may_use_restricted: bool) -> Self {
        let is_allowed = class == Class::Team || may_use_restricted;
        Self {
            may_read: true,
            may_use: level >= Level::Use && is_allowed,
            may_manage: level >= Level::Manage,
        }
    }

    /// Returns the right that implies the others. Managing implies using only if the value may be
    /// used.
    fn shown(self) -> &'static str {
        match self {
            Self { may_manage: true, may_use: true, .. } => "manage",
            Self { may_manage: true, .. } => "manage, not use",
            Self { may_use: true, .. } => "use",
            _ => "read",
        }
    }

    fn words(self) -> impl Iterator<Item = &'static str> {
        let Self { may_read, may_use, may_manage } = self;
        [(may_read, Level::Read), (may_use, Level::Use), (may_manage, Level::Manage)]
            .into_iter()
            .filter_map(|(may, level)| may.then_some(level.as_str()))
    }
}

impl TokenAccess {
    /// Returns the rights of a token to the secrets of a report.
    pub(crate) fn of(token: &TokenInfo, secrets: &[Secret]) -> Self {
        let rights = |secret: &Secret| {
            if token.includes(secret) {
                Rights::of(token.level, secret.metadata.class, token.is_restricted_allowed)
            } else {
                Rights::default()
            }
        };

        Self {
            name: token.name.to_string(),
            is_replaced: token.is_replaced,
            level: token.level,
            is_limited: token.secrets.is_some(),
            may_use_restricted: token.is_restricted_allowed,
            rights: secrets.iter().map(rights).collect(),
        }
    }
}

impl<'a> AccessReport<'a> {
    /// Creates a report about secrets of one project. `tokens` are those with a right to one of
    /// them.
    pub(crate) fn new(
        project: &'a ProjectName,
        secrets: &'a [Secret],
        tokens: Vec<TokenAccess>,
    ) -> Self {
        Self { project, secrets, tokens }
    }

    /// Returns who may do what with the secret at a position: the owner, and tokens by name.
    fn holders(&self, at: usize) -> impl Iterator<Item = (Option<&TokenAccess>, Rights)> {
        let owner = Rights::of(Level::Manage, self.secrets[at].metadata.class, true);
        let tokens = self
            .tokens
            .iter()
            .map(move |token| (Some(token), token.rights.get(at).copied().unwrap_or_default()));

        std::iter::once((None, owner))
            .chain(tokens)
            .filter(|(_, rights)| *rights != Rights::default())
    }
}

/// The members of the JSON form.
#[derive(Serialize)]
struct Members<'a> {
    project: &'a str,
    secrets: Vec<SecretMembers<'a>>,
    tokens: Vec<TokenMembers<'a>>,
}

#[derive(Serialize)]
struct SecretMembers<'a> {
    id: String,
    tag: &'a str,
    access: &'static str,
    holders: Vec<HolderMembers<'a>>,
}

#[derive(Serialize)]
struct HolderMembers<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// True for the old string of a rotated token
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replaced: bool,
    may: Vec<&'static str>,
}

#[derive(Serialize)]
struct TokenMembers<'a> {
    name: &'a str,
    level: &'static str,
    restricted: bool,
    limited: bool,
    replaced: bool,
}

impl<'a> TokenMembers<'a> {
    fn of(token: &'a TokenAccess) -> Self {
        Self {
            name: &token.name,
            level: token.level.as_str(),
            restricted: token.may_use_restricted,
            limited: token.is_limited,
            replaced: token.is_replaced,
        }
    }
}

impl Serialize for AccessReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut secrets = Vec::with_capacity(self.secrets.len());
        for (at, secret) in self.secrets.iter().enumerate() {
            let mut holders = Vec::new();
            for (token, rights) in self.holders(at) {
                holders.push(HolderMembers {
                    kind: if token.is_some() { "token" } else { "owner" },
                    name: token.map(|token| token.name.as_str()),
                    replaced: token.is_some_and(|token| token.is_replaced),
                    may: rights.words().collect(),
                });
            }

            secrets.push(SecretMembers {
                id: secret.id.to_string(),
                tag: secret.metadata.tag.as_str(),
                access: secret.metadata.class.as_str(),
                holders,
            });
        }

        let tokens = self.tokens.iter().map(TokenMembers::of).collect();
        Members { project: self.project.as_str(), secrets, tokens }.serialize(serializer)
    }
}

impl Outcome for AccessReport<'_> {
    fn text(&self, out: &mut Text) {
        let mut rows = Vec::new();
        for (at, secret) in self.secrets.iter().enumerate() {
            for (token, rights) in self.holders(at) {
                let who = match token {
                    Some(token) if token.is_replaced => {
                        format!("token {} (old)", visible(&token.name))
                    }
                    Some(token) => format!("token {}", visible(&token.name)),
                    None => "owner".to_owned(),
                };
                rows.push([
                    secret.metadata.tag.to_string(),
                    who,
                    rights.shown().to_owned(),
                    secret.metadata.class.as_str().to_owned(),
                ]);
            }
        }

        // On a narrow terminal the class of the secret is left out first.
        out.ranked(["TAG", "WHO", "MAY", "ACCESS"], [0, 2, 1, 5], &rows);
    }
}

#[cfg(test)]
mod tests {
    use secrets_core::model::{Metadata, SecretBytes, SecretId, SecretValue, Tag, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::ui::{ColorWhen, Ui};

    fn secret(tag: &str, class: Class) -> Secret {
        let value = SecretValue::new(SecretBytes::copy_of(b"a value"), false).unwrap();
        let metadata = Metadata::new(Tag::parse(tag).unwrap(), &value, Timestamp(0));
        Secret {
            id: SecretId([1; 8]),
            project: ProjectName::parse("web").unwrap(),
            metadata: Metadata { class, ..metadata },
            version: 1,
        }
    }

    fn token(
        name: &str,
        level: Level,
        may_use_restricted: bool,
        secrets: &[Secret],
    ) -> TokenAccess {
        let rights = secrets
            .iter()
            .map(|secret| Rights::of(level, secret.metadata.class, may_use_restricted))
            .collect();
        let name = name.to_owned();
        let (is_replaced, is_limited) = (false, false);
        TokenAccess { name, is_replaced, level, is_limited, may_use_restricted, rights }
    }

    #[test]
    fn a_right_to_restricted_secrets_is_separate() {
        let of = |level, class, restricted| Rights::of(level, class, restricted).shown();
        for (level, team, restricted) in [
            (Level::Read, "read", "read"),
            (Level::Use, "use", "read"),
            (Level::Manage, "manage", "manage, not use"),
        ] {
            assert_eq!(of(level, Class::Team, false), team);
            assert_eq!(of(level, Class::Restricted, false), restricted);
            assert_eq!(of(level, Class::Restricted, true), team);
        }
    }

    #[test]
    fn a_token_is_listed_with_the_secrets_to_which_it_has_a_right() {
        let secrets = [secret("api-key", Class::Team), secret("key", Class::Restricted)];
        let mut limited = token("ci", Level::Use, true, &secrets);
        limited.is_limited = true;
        limited.rights[0] = Rights::default();
        let tokens = vec![limited, token("ops\u{1b}", Level::Manage, false, &secrets)];
        let project = ProjectName::parse("web").unwrap();
        let report = AccessReport::new(&project, &secrets, tokens);

        let mut text = Text::new(&Ui::new(false, true, ColorWhen::Never));
        report.text(&mut text);
        let rows = [
            "api-key\towner\tmanage\tteam",
            "api-key\ttoken ops\\u{1b}\tmanage\tteam",
            "key\towner\tmanage\trestricted",
            "key\ttoken ci\tuse\trestricted",
            "key\ttoken ops\\u{1b}\tmanage, not use\trestricted",
        ];
        assert_eq!(text.as_str(), rows.map(|row| format!("{row}\n")).concat());

        let document = serde_json::to_value(&report).unwrap();
        let all = json!(["read", "use", "manage"]);
        assert_eq!(document["secrets"][0]["holders"][0], json!({ "kind": "owner", "may": all }));
        assert_eq!(
            document["secrets"][1]["holders"][1],
            json!({ "kind": "token", "name": "ci", "may": ["read", "use"] })
        );
        assert_eq!(
            document["tokens"][0],
            json!({
                "name": "ci", "level": "use", "restricted": true, "limited": true, "replaced": false
            })
        );
    }
}
