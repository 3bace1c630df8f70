//! `run --proxy`: the program gets placeholders, and the proxy runs next to it in this process.

use std::ffi::OsString;

use secrets_core::model::{SecretBytes, SecretValue, Tag};
use secrets_core::vault::{RevealedValues, Vault};
use secrets_proxy::policy::Policy;
use secrets_runtime::run::Outcome;

use super::super::shared::listening::ListenAddress;
use super::super::shared::sending::{
    ProxyService, Reload, SendingPlan, Shown, Teller, allow_hint, company_proxy_for,
    trusted_settings,
};
use super::super::shared::variables::VariableRequests;
use super::{RunArgs, start};
use crate::context::{AGENT_TIMEOUT, Context};
use crate::error::{Error, Kind, hint};
use crate::output::PlannedVariables;
use crate::ui::listed;

/// Runs a program that never has a value.
pub(super) fn run_proxied(
    args: &RunArgs,
    requests: &VariableRequests<'_>,
    cx: &Context,
) -> Result<Outcome, Error> {
    let project = requests.project();
    let settings = trusted_settings(cx)?;
    let vault = cx.unlock()?;
    let plan = SendingPlan::open(cx, &vault, project, settings, &args.only)?;
    plan.require_rules(project)?;
    let SendingPlan { policy, variables: numbered } = plan;
    let placeholders = placeholders(requests, &policy)?;
    refuse_others(requests, &placeholders, &vault)?;
    let named: Vec<(String, Tag)> = numbered
        .into_iter()
        .map(|(name, number)| (name, policy.secrets[number].tag.clone()))
        .collect();
    let mut variables = requests.variables(&placeholders, &named, cx)?;
    let files = requests.files(&placeholders, &mut variables, args.dry_run, cx)?;
    if args.dry_run {
        cx.ui.print(&PlannedVariables::of(&variables, args.stdin.as_ref()))?;
        return Ok(Outcome::Code(0));
    }

    let stdin = args.stdin.as_ref().map(|tag| placeholders.value(tag)).transpose()?;
    let stdin = stdin.map(|(_, value)| value.duplicate());
    let masked = policy.secrets.iter().map(|one| (one.tag.clone(), one.value.duplicate()));
    let masked = (!args.no_mask).then(|| masked.collect());
    let recorder = cx.use_recorder(&vault, project)?;
    let company = company_proxy_for(settings)?;

    // The vault is closed before the program starts. It is opened again only to read changed values.
    drop(vault);
    cx.credentials.forget_passphrase();
    let service = ProxyService::start(
        cx,
        policy,
        Box::new(Reload::new(cx, project)),
        Box::new(Teller::new(recorder, Shown::Nothing)),
        company,
        &ListenAddress::Tcp(0),
    )?;

    lock_or_warn(args, cx)?;
    if !named.is_empty() {
        let (are, placeholders) =
            if named.len() == 1 { ("is", "a placeholder") } else { ("are", "placeholders") };
        cx.ui.status(&format!(
            "{} {are} {placeholders}",
            listed(named.iter().map(|(name, _)| name))
        ));
    }

    let ours = service.variables()?;
    let is_ours = |name: &OsString| ours.iter().any(|(other, _)| other == name);
    let mut environment = variables.into_pairs();
    environment.retain(|(name, _)| !is_ours(name));
    environment.extend(ours);
    let outcome = start(args, environment, stdin, masked, cx);
    drop((service, files));
    outcome
}

/// Returns the placeholders in place of values.
fn placeholders(requests: &VariableRequests<'_>, policy: &Policy) -> Result<RevealedValues, Error> {
    let mut values = Vec::with_capacity(policy.secrets.len());
    for secret in &policy.secrets {
        let bytes = SecretBytes::copy_of(secret.placeholder.as_bytes());
        let value = SecretValue::new(bytes, false)
            .map_err(|_| Error::internal("a placeholder is not valid"))?;
        values.push((secret.tag.clone(), value));
    }

    Ok(RevealedValues::of(requests.project(), values))
}

/// Refuses to pass the value of a secret that has no placeholder.
fn refuse_others(
    requests: &VariableRequests<'_>,
    placeholders: &RevealedValues,
    vault: &Vault,
) -> Result<(), Error> {
    let Some(tag) = requests.wanted().into_iter().find(|tag| !placeholders.has(tag)) else {
        return Ok(());
    };

    let found = vault.find(requests.project(), &tag)?;
    let Some(found) = found else {
        return Ok(placeholders.value(&tag).map(drop)?);
    };

    let tag = found.metadata.tag;
    let message = format!(
        "the program would get the value of `{tag}`, which has no placeholder in this session"
    );
    let error = Error::new(Kind::Refused, message);
    if found.metadata.destinations.is_empty() {
        return Err(error.hint(allow_hint(&tag)));
    }

    Err(error.hint(hint!(
        "add `{}` to `--only`, and to the rules of .secrets.toml if there are any",
        tag
    )))
}

/// Locks the vault, or warns that the program could ask its agent.
fn lock_or_warn(args: &RunArgs, cx: &Context) -> Result<(), Error> {
    if args.lock {
        cx.agents.lock_vault()?;
        return Ok(());
    }

    let client = cx.agents.client(AGENT_TIMEOUT).ok().flatten();
    let status = client.and_then(|client| client.status(None).ok());
    if status.is_some_and(|status| status.left.is_some()) {
        cx.ui.warn(
            "the vault is unlocked, so the program can ask its agent for values; lock it first with \
             `--lock`",
        );
    }

    Ok(())
}
