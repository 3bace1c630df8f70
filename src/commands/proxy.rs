//! `secrets proxy`: a proxy that puts values into requests, for programs that are started elsewhere.

use std::sync::Arc;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{SecretRef, Tag};
use secrets_files::DeferSignals;

use secrets_proxy::client::{Sender, check};
use secrets_proxy::policy::Others;

use super::shared::listening::ListenAddress;
use super::shared::sending::{
    Draft, DraftOptions, ProxyService, Reload, SendingPlan, Shown, Teller, allow_hint,
    company_proxy_for, planned, refused, trusted_settings,
};
use crate::completion;
use crate::context::Context;
use crate::error::{Error, Hint, Kind};
use crate::output::{EnvironmentFormat, ProxyEnvironment};

const EXAMPLES: &str = "\
Examples:
  secrets proxy                         print variables, then serve
  secrets proxy --print-env fish > proxy.fish
  secrets proxy --only stripe-key --listen 127.0.0.1:7719
  secrets proxy check POST https://api.example.com/items
  secrets run --proxy -- ./agent   start a program with its own proxy

Programs get placeholders in their environment. The proxy puts values into
requests to the destinations of `secrets allow`, in the allowed part of a
request, and takes them out of the responses. Other hosts are refused,
unless .secrets.toml says `others = \"tunnel\"` in [proxy].";

/// Run a proxy that puts secrets into requests
///
/// Prints environment variables on stdout: the proxy's address and certificate, and a placeholder for
/// each secret. Then it serves in the foreground until Ctrl-C and prints a line for each request on
/// stderr. The placeholders
/// and the certificate are new each time. Only processes of the same user can connect.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct ProxyArgs {
    #[command(subcommand)]
    command: Option<ProxyCommand>,
    /// Listen on this port of 127.0.0.1, or on a socket with unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = ListenAddress::parse)]
    listen: ListenAddress,
    /// Print the variables for this shell, or as JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    print_env: EnvironmentFormat,
    /// Use only these secrets
    #[arg(long, value_name = "TAG,...", value_delimiter = ',', add = ArgValueCompleter::new(completion::tags_with_commas))]
    only: Vec<Tag>,
}

#[derive(clap::Subcommand)]
enum ProxyCommand {
    Check(CheckArgs),
}

const CHECK_EXAMPLES: &str = "\
Examples:
  secrets proxy check GET https://api.stripe.com/v1/charges \\
      -H 'Authorization: Bearer {{ secrets.stripe-key }}'";

/// Check whether the proxy would send a request, without sending it
///
/// Prints the request with tags in place of values, and the destinations that allow it. Exit code 7
/// means that the proxy would refuse it.
#[derive(clap::Args)]
#[command(after_help = CHECK_EXAMPLES, override_usage = "secrets proxy check [OPTIONS] [METHOD] URL")]
struct CheckArgs {
    /// Check this request: a method and a URL, or a URL
    #[arg(required = true, num_args = 1..=2, value_name = "METHOD|URL", value_hint = clap::ValueHint::Url)]
    target: Vec<String>,
    /// Add a header
    #[arg(short = 'H', long = "header", value_name = "NAME: TEMPLATE")]
    headers: Vec<String>,
    /// Add a body: a template, @FILE for a template in a file, or - for stdin
    #[arg(short = 'd', long, value_name = "TEMPLATE|@FILE|-")]
    data: Option<String>,
}

pub(crate) fn run(args: &ProxyArgs, cx: &Context) -> Result<(), Error> {
    match &args.command {
        Some(ProxyCommand::Check(args)) => check_request(args, cx),
        None => serve(args, cx),
    }
}

fn check_request(args: &CheckArgs, cx: &Context) -> Result<(), Error> {
    let CheckArgs { target, headers, data } = args;
    let options =
        DraftOptions { target, headers, data: data.as_deref(), ..DraftOptions::default() };
    let draft = Draft::new(&options, cx)?;
    cx.require_vault()?;
    let (settings, project) = (trusted_settings(cx)?, cx.trusted_project()?);
    let vault = cx.unlock()?;
    let SendingPlan { mut policy, .. } = SendingPlan::open(cx, &vault, project, settings, &[])?;
    for secret in &mut policy.secrets {
        secret.shown = Some(format!("\u{2039}{}\u{203a}", secret.tag));
    }

    let mut placeholders = Vec::new();
    for tag in draft.references() {
        let known = policy.secrets.iter().find(|secret| secret.tag.key() == tag.key());
        match known {
            Some(secret) => placeholders.push(secret.placeholder.clone()),
            None => {
                let secret = vault.get(project, &SecretRef::Tag(tag.clone()))?;
                let tag = secret.metadata.tag;
                let message =
                    format!("`{tag}` has no placeholder: no rule or destination is for it");
                return Err(Error::new(Kind::Refused, message).hint(allow_hint(&tag)));
            }
        }
    }

    let policy = Arc::new(policy);
    let (origin, outgoing) = draft.outgoing(&placeholders)?;
    if !policy.has_rule_for(&origin) {
        let message = format!("no secret may be sent to {origin}");
        let what = match policy.others {
            Others::Tunnel => {
                return {
                    cx.ui.status(&format!("{message}, so it passes without a value"));
                    Ok(())
                };
            }
            Others::Refuse => Error::new(Kind::Refused, message),
        };
        return Err(what.hint(Hint::in_project(
            "allow a secret to be sent there with `secrets allow TAG --to URL`",
        )));
    }

    let checked =
        check(&policy, &origin, &outgoing, Sender::Program).map_err(|why| refused(&why))?;
    let planned = planned(&policy, &origin, &outgoing, checked, false);
    let reasons: Vec<String> = planned.reasons.clone();
    cx.ui.print(&planned)?;
    for reason in &reasons {
        cx.ui.status(reason);
    }

    Ok(())
}

fn serve(args: &ProxyArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let settings = trusted_settings(cx)?;
    let project = cx.trusted_project()?;
    let vault = cx.unlock()?;
    let plan = SendingPlan::open(cx, &vault, project, settings, &args.only)?;
    plan.require_rules(project)?;
    let SendingPlan { policy, variables } = plan;

    let placeholders: Vec<(String, String)> = variables
        .into_iter()
        .map(|(name, number)| (name, policy.secrets[number].placeholder.clone()))
        .collect();
    let recorder = cx.use_recorder(&vault, project)?;
    let company = company_proxy_for(settings)?;

    drop(vault);
    cx.credentials.forget_passphrase();
    let shown = if cx.ui.is_quiet() { Shown::Nothing } else { Shown::All };
    let signals = DeferSignals::new()
        .map_err(|error| Error::new(Kind::Failure, format!("cannot handle signals: {error}")))?;
    let service = ProxyService::start(
        cx,
        policy,
        Box::new(Reload::new(cx, project)),
        Box::new(Teller::new(recorder, shown)),
        company,
        &args.listen,
    )?;

    let mut environment: Vec<(String, String)> = Vec::new();
    for (name, value) in service.variables()? {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        environment.push((text(name), text(value)));
    }

    environment.extend(placeholders);
    cx.ui.print(&ProxyEnvironment::new(&service.url, environment, args.print_env))?;
    cx.ui.status(&format!("listening on {}; end it with Ctrl-C", service.url));
    cx.ui.finish();

    // The result was printed, so errors from here on would come too late. Only a signal ends it.
    signals.wait();

    drop(service);
    drop(signals);
    Ok(())
}
