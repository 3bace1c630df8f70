//! The secrets and the rules of a session: those of the vault, or those of the manifest as far as the
//! vault grants them.

use secrets_core::model::{
    Destination, HostPattern, Methods, Origin, PathPattern, Place, ProjectName, SecretRef, Tag,
};
use secrets_core::vault::{Sendable, Vault, VaultError};
use secrets_project::setup::{ProxyRule, ProxySettings};
use secrets_project::variables::{is_dangerous, is_name, is_setting, name_of};
use secrets_proxy::placeholder;
use secrets_proxy::policy::{Exception, Others, Policy, Rate, Rule, SessionSecret, is_key_id};

use super::warn_of_short;
use crate::context::Context;
use crate::error::{Error, Hint, Kind, hint};

/// A session before it has begun.
pub(crate) struct SendingPlan {
    /// The secrets and the rules
    pub(crate) policy: Policy,
    /// The variables with placeholders: name, number of the secret
    pub(crate) variables: Vec<(String, usize)>,
}

impl SendingPlan {
    /// Opens the secrets that programs may use: those of the rules in `settings`, or all that have
    /// destinations. `only` limits them.
    pub(crate) fn open(
        cx: &Context,
        vault: &Vault,
        project: &ProjectName,
        settings: Option<&ProxySettings>,
        only: &[Tag],
    ) -> Result<Self, Error> {
        cx.check_witness(vault)?;
        let rules = settings.map_or(&[][..], |settings| &settings.rules);
        let scope = vault.scope(project);
        let mut sendable = if rules.is_empty() {
            scope.sendable()?
        } else {
            let mut tags: Vec<Tag> = Vec::new();
            for tag in
                rules.iter().flat_map(|rule| [Some(&rule.secret), rule.key_id.as_ref()]).flatten()
            {
                if !tags.iter().any(|known| known.key() == tag.key()) {
                    tags.push(tag.clone());
                }
            }

            let found = scope.sendable_of(&tags)?;
            if let Some(missing) = tags.iter().find(|tag| position(&found, tag).is_none()) {
                return Err(missing_secret(missing, project));
            }

            found
        };

        for tag in only {
            if position(&sendable, tag).is_none() {
                return Err(not_sendable(vault, project, tag, rules.is_empty()));
            }
        }

        if !only.is_empty() {
            // A key that signs needs the secret with its id.
            let is_id_of_a_rule = |tag: &Tag| {
                let mut rules = rules.iter().filter(|rule| is_listed(&rule.secret, only));
                rules.any(|rule| rule.key_id.as_ref().is_some_and(|id| id.key() == tag.key()))
            };
            sendable.retain(|one| {
                let metadata = &one.secret.metadata;
                let mut places = metadata.destinations.iter().map(|to| &to.place);
                is_listed(&metadata.tag, only)
                    || is_id_of_a_rule(&metadata.tag)
                    || rules.is_empty()
                        && is_key_id(one.value.expose())
                        && places.any(|place| *place == Place::Signature)
            });
        }

        let secrets = session_secrets(sendable, rules)?;
        let rules_of_session: Vec<Rule> = if rules.is_empty() {
            let granted = Policy::rules_of(&secrets).into_iter();
            granted.filter(|rule| is_listed(&secrets[rule.secret].tag, only)).collect()
        } else {
            rules
                .iter()
                .filter(|rule| is_listed(&rule.secret, only))
                .map(|rule| session_rule(rule, &secrets))
                .collect::<Result<_, _>>()?
        };
        warn_of_short(
            secrets.iter().map(|secret| (&secret.tag, &secret.value)),
            "masked in responses",
            cx,
        );

        let variables = variables(cx, &secrets, rules, &rules_of_session);
        let mut policy = Policy::new(secrets, rules_of_session, [])
            .map_err(|error| Error::new(Kind::Failure, format!("too many secrets: {error}")))?;
        let mut private: Vec<HostPattern> =
            settings.map(|settings| settings.private.clone()).unwrap_or_default();
        private.extend(
            policy.secrets.iter().flat_map(|secret| secret.grants.iter()).filter_map(local_of),
        );
        policy.private = private;
        if settings.is_some_and(|settings| settings.tunnels_others) {
            policy.others = Others::Tunnel;
        }

        Ok(Self { policy, variables })
    }

    /// Fails if no secret may be sent anywhere.
    pub(crate) fn require_rules(&self, project: &ProjectName) -> Result<(), Error> {
        if !self.policy.rules.is_empty() {
            return Ok(());
        }

        let message = format!("no secret of project `{project}` may be sent anywhere");
        Err(Error::new(Kind::Refused, message).hint(Hint::in_project(
            "allow one with `secrets allow TAG --to https://HOST`, and list them with `secrets allow --list`",
        )))
    }
}

/// Returns the settings of a trusted manifest.
pub(crate) fn trusted_settings(cx: &Context) -> Result<Option<&ProxySettings>, Error> {
    let manifest = cx.target.manifest()?.filter(|manifest| manifest.proxy.is_some());
    if let Some(manifest) = manifest {
        cx.require_trust(manifest)?;
    }

    Ok(manifest.and_then(|manifest| manifest.proxy.as_ref()))
}

/// Returns the host of an origin that names this machine or an address itself. No name has to be
/// resolved for it, so its author means it.
pub(crate) fn local(origin: &Origin) -> Option<HostPattern> {
    let is_meant = match origin.host.name() {
        Some(name) => name == "localhost" || name.ends_with(".localhost"),
        None => true,
    };

    is_meant.then(|| HostPattern::Exact(origin.host.clone()))
}

/// Returns the same for the origin of a destination.
pub(crate) fn local_of(destination: &Destination) -> Option<HostPattern> {
    match &destination.origin.host {
        HostPattern::Exact(host) => {
            local(&Origin { host: host.clone(), port: destination.origin.port })
        }
        HostPattern::Below(_) => None,
    }
}

/// Returns true for a tag that `--only` names, and for each one without `--only`.
fn is_listed(tag: &Tag, only: &[Tag]) -> bool {
    only.is_empty() || only.iter().any(|listed| listed.key() == tag.key())
}

fn position(sendable: &[Sendable], tag: &Tag) -> Option<usize> {
    sendable.iter().position(|one| one.secret.metadata.tag.key() == tag.key())
}

fn missing_secret(tag: &Tag, project: &ProjectName) -> Error {
    let wanted = SecretRef::Tag(tag.clone());
    VaultError::NoSecret { wanted, project: project.clone(), nearest: None }.into()
}

/// Returns the error for a secret that `--only` names and that may not be sent.
fn not_sendable(vault: &Vault, project: &ProjectName, tag: &Tag, is_by_grants: bool) -> Error {
    let wanted = SecretRef::Tag(tag.clone());
    if let Err(error) = vault.get(project, &wanted) {
        return error.into();
    }

    if !is_by_grants {
        let message = format!("no rule of `.secrets.toml` names `{tag}`");
        return Error::new(Kind::Refused, message)
            .hint(hint!("add a `[[proxy.rule]]` with `secret = \"{}\"`", tag));
    }

    let error = Error::new(Kind::Refused, format!("`{tag}` may not be sent anywhere"));
    error.hint(allow_hint(tag))
}

/// Returns the hint that allows a secret to be sent somewhere.
pub(crate) fn allow_hint(tag: &Tag) -> Hint {
    Hint::in_project(hint!("allow it with `secrets allow {} --to https://HOST`", tag))
}

/// Draws a placeholder for each secret.
fn session_secrets(
    sendable: Vec<Sendable>,
    rules: &[ProxyRule],
) -> Result<Vec<SessionSecret>, Error> {
    let failed = |_| Error::new(Kind::Failure, "the system's random generator failed");
    let draw = |one: Sendable| {
        let metadata = one.secret.metadata;
        let shape = rules
            .iter()
            .filter(|rule| rule.secret.key() == metadata.tag.key())
            .find_map(|rule| rule.shape.as_deref());
        let placeholder = placeholder::draw(one.value.expose(), shape).map_err(failed)?;
        Ok(SessionSecret {
            tag: metadata.tag,
            value: one.value,
            placeholder,
            shown: None,
            grants: metadata.destinations,
        })
    };

    sendable.into_iter().map(draw).collect()
}

/// Returns a rule of the manifest. The vault must grant all of it.
fn session_rule(rule: &ProxyRule, secrets: &[SessionSecret]) -> Result<Rule, Error> {
    let number = |tag: &Tag| secrets.iter().position(|secret| secret.tag.key() == tag.key());
    let lost = || Error::internal("the secret of a rule was not opened");
    let secret = number(&rule.secret).ok_or_else(lost)?;
    let key_id = rule.key_id.as_ref().map(|tag| number(tag).ok_or_else(lost)).transpose()?;
    let any = PathPattern::any();
    let paths = if rule.paths.is_empty() { std::slice::from_ref(&any) } else { &rule.paths };

    for needed in [Some(secret), key_id].into_iter().flatten() {
        let secret = &secrets[needed];
        let is_granted = |path: &PathPattern| {
            secret.grants.iter().any(|grant| {
                rule.origin.is_within(&grant.origin)
                    && rule.methods.are_within(&grant.methods)
                    && rule.place.is_within(&grant.place)
                    && path.is_within(&grant.path)
            })
        };

        if let Some(path) = paths.iter().find(|path| !is_granted(path)) {
            return Err(wider(rule, &secret.tag, path));
        }
    }

    let destination = Destination {
        methods: rule.methods.clone(),
        origin: rule.origin.clone(),
        path: any.clone(),
        place: rule.place.clone(),
    };
    let except = rule
        .except
        .iter()
        .map(|(methods, paths)| Exception { methods: methods.clone(), paths: paths.clone() });
    Ok(Rule {
        paths: rule.paths.clone(),
        except: except.collect(),
        times: rule.times,
        rate: rule.rate.map(|(requests, seconds)| Rate { requests, seconds }),
        key_id,
        ..Rule::new(secret, destination)
    })
}

/// The error for a rule that goes beyond what the vault grants.
fn wider(rule: &ProxyRule, tag: &Tag, path: &PathPattern) -> Error {
    let path = if path.is_any() { "" } else { path.as_str() };
    let line = rule.position.line;
    let to = format!("{}{path}", rule.origin);
    let methods = match &rule.methods {
        Methods::Any => String::new(),
        methods @ Methods::Only(_) => format!(" with {methods}"),
    };
    let message = format!(
        "the rule in line {line} of `.secrets.toml` sends `{tag}` to {to}{methods} in `{}`, which the vault \
         does not allow",
        rule.place
    );
    let error = Error::new(Kind::Refused, message);
    let place = rule.place.to_string();
    error.hint(Hint::in_project(if rule.place == Place::authorization() {
        hint!("if you want that, allow it with `secrets allow {} --to {}`", tag, to)
    } else {
        hint!("if you want that, allow it with `secrets allow {} --to {} --in {}`", tag, to, place)
    }))
}

/// Returns the variables with placeholders. A secret without a usable name is left out with a warning.
fn variables(
    cx: &Context,
    secrets: &[SessionSecret],
    rules: &[ProxyRule],
    of_session: &[Rule],
) -> Vec<(String, usize)> {
    let mut variables: Vec<(String, usize)> = Vec::new();
    let is_used = |number: usize| {
        of_session.iter().any(|rule| rule.secret == number || rule.key_id == Some(number))
    };
    for (number, secret) in secrets.iter().enumerate().filter(|(number, _)| is_used(*number)) {
        let own = rules.iter().filter(|rule| rule.secret.key() == secret.tag.key());
        let mut names: Vec<String> = own.map(|rule| rule.variable.clone()).collect();
        if names.is_empty() {
            names.push(name_of(&secret.tag));
        }

        names.sort();
        names.dedup();
        for name in names {
            if is_name(&name) && !is_dangerous(&name) && !is_setting(&name) {
                variables.push((name, number));
            } else {
                let tag = &secret.tag;
                cx.ui.warn(&format!(
                    "`{tag}` gets no variable, because `{name}` cannot be one; name one with `env` in a \
                     `[[proxy.rule]]`"
                ));
            }
        }
    }

    variables
}
