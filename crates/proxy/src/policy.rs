//! The policy of a session: secrets with their placeholders, and rules. A rule narrows what the vault
//! grants and never widens it, because a request needs both.

use std::sync::Arc;

use secrets_core::model::{
    Destination, Destinations, Host, HostPattern, Methods, Origin, PathPattern, Place, RequestPath,
    SecretValue, Tag,
};
use secrets_mask::Needles;

use crate::placeholders::Placeholders;

/// A secret of a session.
pub struct SessionSecret {
    /// Its tag
    pub tag: Tag,
    /// Its present value
    pub value: SecretValue,
    /// The text that programs get in place of the value
    pub placeholder: String,
    /// The text that stands for the value in answers, if not the placeholder
    pub shown: Option<String>,
    /// Where the vault lets it be sent
    pub grants: Destinations,
}

impl SessionSecret {
    /// Returns true if the vault grants to send the value in this place.
    pub fn is_granted(
        &self,
        method: &str,
        origin: &Origin,
        path: &RequestPath,
        place: &Place,
    ) -> bool {
        self.grants
            .iter()
            .any(|grant| place.is_within(&grant.place) && grant.permits(method, origin, path))
    }
}

/// Paths and methods that a rule leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The methods
    pub methods: Methods,
    /// The paths
    pub paths: Vec<PathPattern>,
}

impl Exception {
    /// Returns true if a request may be one of these on any server.
    pub fn covers(&self, method: &str, path: &RequestPath) -> bool {
        self.methods.contains(method) && self.paths.iter().any(|one| path.may_be_within(one))
    }
}

/// The greatest number of requests in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The number of requests
    pub requests: u32,
    /// The period in seconds
    pub seconds: u32,
}

/// A rule of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The number of its secret
    pub secret: usize,
    /// The requests, and the place in them
    pub destination: Destination,
    /// The paths, if not all of the destination's
    pub paths: Vec<PathPattern>,
    /// Requests that it leaves out
    pub except: Vec<Exception>,
    /// How often the value may stand in one request
    pub times: u32,
    /// How many requests it may be used for
    pub rate: Option<Rate>,
    /// The number of the secret with the id of a key. The rule signs then and sends no value
    pub key_id: Option<usize>,
}

impl Rule {
    /// Returns the rule for a destination without any limits of its own.
    pub fn new(secret: usize, destination: Destination) -> Self {
        let (paths, except, rate, key_id) = (Vec::new(), Vec::new(), None, None);
        Self { secret, destination, paths, except, times: 1, rate, key_id }
    }

    /// Returns true if the rule is for this request.
    pub fn applies(&self, method: &str, origin: &Origin, path: &RequestPath) -> bool {
        self.destination.permits(method, origin, path)
            && (self.paths.is_empty() || self.paths.iter().any(|one| path.is_within(one)))
    }
}

/// How requests for hosts without a rule are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Others {
    /// They are refused
    #[default]
    Refuse,
    /// They pass through a blind tunnel, never with a value
    Tunnel,
}

/// Returns true for a value with the form of the id of one of Amazon's keys.
pub fn is_key_id(value: &[u8]) -> bool {
    let is_upper = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    matches!(value.get(..4), Some(b"AKIA" | b"ASIA"))
        && value.len() <= 128
        && value.iter().all(is_upper)
}

/// The secrets and the rules of a session.
pub struct Policy {
    /// The secrets
    pub secrets: Vec<SessionSecret>,
    /// The rules
    pub rules: Vec<Rule>,
    /// How requests for other hosts are treated
    pub others: Others,
    /// Hosts that may resolve to addresses of this machine or its network
    pub private: Vec<HostPattern>,
    /// Finds the placeholders
    pub placeholders: Placeholders,
    /// Finds the values in answers, those that were replaced since the session began too
    pub needles: Arc<Needles>,
}

impl Policy {
    /// Creates a policy. `former` are values that were replaced since the session began.
    ///
    /// # Errors
    /// Fails if there are more placeholders than an automaton has room for.
    pub fn new<'v>(
        secrets: Vec<SessionSecret>,
        rules: Vec<Rule>,
        former: impl IntoIterator<Item = (&'v Tag, &'v SecretValue)>,
    ) -> Result<Self, aho_corasick::BuildError> {
        let placeholders = Placeholders::new(secrets.iter().map(|one| one.placeholder.as_str()))?;
        let present = secrets.iter().map(|one| (&one.tag, one.value.expose()));
        let former = former.into_iter().map(|(tag, value)| (tag, value.expose()));
        let needles = Arc::new(Needles::new(present.chain(former)));
        let (others, private) = (Others::default(), Vec::new());
        Ok(Self { secrets, rules, others, private, placeholders, needles })
    }

    /// Returns the rules for all destinations that the vault grants. A signature takes two secrets: the
    /// id of a key has the form of Amazon's. Of several with the same destination, the one belongs to a key
    /// whose tag begins most like the key's.
    pub fn rules_of(secrets: &[SessionSecret]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (number, secret) in secrets.iter().enumerate() {
            for grant in &secret.grants {
                let mut rule = Rule::new(number, grant.clone());
                if grant.place == Place::Signature {
                    if is_key_id(secret.value.expose()) {
                        continue;
                    }

                    let is_candidate = |(_, other): &(usize, &SessionSecret)| {
                        is_key_id(other.value.expose())
                            && other.grants.iter().any(|one| one == grant)
                    };
                    let alike = |(_, other): &(usize, &SessionSecret)| {
                        let (one, two) = (other.tag.key(), secret.tag.key());
                        let pairs = one.as_str().bytes().zip(two.as_str().bytes());
                        pairs.take_while(|(one, two)| one == two).count()
                    };
                    let candidates = secrets.iter().enumerate().filter(is_candidate);
                    rule.key_id = candidates.max_by_key(alike).map(|(number, _)| number);
                }

                rules.push(rule);
            }
        }

        rules
    }

    /// Returns true if a rule names this origin.
    pub fn has_rule_for(&self, origin: &Origin) -> bool {
        self.rules.iter().any(|rule| rule.destination.origin.contains(origin))
    }

    /// Returns true if a host may have an address of this machine or its network.
    pub fn may_be_private(&self, host: &Host) -> bool {
        self.private.iter().any(|pattern| pattern.contains(host))
    }

    /// Returns the value of a secret by its number.
    pub fn value(&self, secret: usize) -> &[u8] {
        self.secrets.get(secret).map_or(&[], |secret| secret.value.expose())
    }

    /// Returns the tag of a secret by its number.
    pub fn tag(&self, secret: usize) -> Option<&Tag> {
        self.secrets.get(secret).map(|secret| &secret.tag)
    }
}
