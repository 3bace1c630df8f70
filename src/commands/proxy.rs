//! `secrets proxy`: a proxy that puts values into requests, for programs that are started elsewhere.

use std::path::PathBuf;

use clap_complete::ArgValueCompleter;
use rustix::event::{PollFd, PollFlags, poll};
use secrets_core::model::Tag;
use secrets_files::DeferSignals;

use super::shared::sending::{
    ProxyAddress, ProxyService, Reload, SendingPlan, Shown, Teller, company_proxy,
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
  secrets run --proxy -- ./agent        start a program with a proxy of its own

Programs get placeholders in their environment. The proxy puts values into
requests to the destinations of `secrets allow`, in the allowed part of a
request, and takes them out of the answers. Other hosts are refused unless
.secrets.toml says `others = \"tunnel\"` in [proxy].";

/// Run a proxy that puts secrets into requests
///
/// Prints the variables that make programs use it and their placeholders on stdout, then serves in
/// the foreground and prints a line for each request on stderr. It ends with Ctrl-C. The placeholders
/// and the certificate are new each time. Only processes of the same user can connect.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProxyArgs {
    /// Listen on this port of 127.0.0.1, or on a socket with unix:PATH
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
    listen: ProxyAddress,
    /// Print the variables for this shell, or as JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    print_env: EnvironmentFormat,
    /// Use only these secrets
    #[arg(long, value_name = "TAG,...", value_delimiter = ',', add = ArgValueCompleter::new(completion::tags_with_commas))]
    only: Vec<Tag>,
}

fn address(text: &str) -> Result<ProxyAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err("the path is missing".into())
        } else {
            Ok(ProxyAddress::Unix(PathBuf::from(path)))
        };
    }

    let port = ["127.0.0.1:", "localhost:"].iter().find_map(|host| text.strip_prefix(host));
    match port.map(str::parse) {
        Some(Ok(port)) => Ok(ProxyAddress::Tcp(port)),
        _ => {
            Err("it is not `127.0.0.1:PORT` or `unix:PATH`; the proxy serves this machine only"
                .into())
        }
    }
}

pub(crate) fn run(args: &ProxyArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let manifest = cx.target.manifest()?.filter(|manifest| manifest.proxy.is_some());
    if let Some(manifest) = manifest {
        cx.require_trust(manifest)?;
    }

    let settings = manifest.and_then(|manifest| manifest.proxy.as_ref());
    let project = cx.trusted_project()?;
    let vault = cx.unlock()?;
    let SendingPlan { policy, variables } =
        SendingPlan::open(cx, &vault, project, settings, &args.only)?;
    if policy.rules.is_empty() {
        let message = format!("no secret of project `{project}` may be sent anywhere");
        return Err(Error::new(Kind::Refused, message)
            .hint(Hint::in_project("allow one with `secrets allow TAG --to https://HOST`")));
    }

    let placeholders: Vec<(String, String)> = variables
        .into_iter()
        .map(|(name, number)| (name, policy.secrets[number].placeholder.clone()))
        .collect();
    let recorder = cx.use_recorder(&vault, project)?;
    let company = match settings {
        Some(settings) if settings.ignores_company => None,
        _ => company_proxy()?,
    };

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
    while !signals.is_due() {
        let mut waiting = [PollFd::new(signals.wakeup(), PollFlags::IN)];
        let _ = poll(&mut waiting, None);
    }

    drop(service);
    drop(signals);
    Ok(())
}
