//! `secrets request`: sends one HTTP request whose templates are expanded at the moment of sending.
//!
//! The templates become placeholders first. Then the request goes the way that the requests of
//! programs go through the proxy: judged by destinations, with each value escaped for its place, and
//! with the answer masked.

mod answer;
mod save;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use secrets_core::model::{Destination, Methods, Origin, Place, ProjectName, SecretRef, Tag};
use secrets_core::vault::Vault;
use secrets_proxy::client::{Client, Outgoing, Sender, check};
use secrets_proxy::net::Roots;
use secrets_proxy::policy::Policy;
use secrets_proxy::session::{Fixed, Session};

use super::shared::destinations::{check_fits, check_width};
use super::shared::look_for::warn_of_short;
use super::shared::sending::{
    Draft, DraftOptions, Shown, Teller, company_proxy, local, local_of, planned, refused,
    same_origin,
};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::described;
use crate::ui::prompt;
use answer::Printed;
use save::Saved;

const EXAMPLES: &str = "\
Examples:
  secrets request https://api.stripe.com/v1/balance --bearer stripe-key
  secrets request https://api.anthropic.com/v1/models \\
      -H 'x-api-key: {{ secrets.anthropic }}' \\
      -H 'anthropic-version: 2023-06-01'
  secrets request https://git.example.com/api/v4/user \\
      -u 'me:{{ secrets.git }}'
  secrets request https://api.example.com/login \\
      --form 'key={{ secrets.api-key }}'
  secrets request https://api.example.com/items --bearer api-key \\
      -d '{\"name\": \"x\"}'
  secrets request https://api.example.com/token -d @login.json.tmpl \\
      --save session-token=/access_token
  secrets request https://api.example.com/v1 --bearer api-key --dry-run

Templates are those of `render`. Each value is escaped for its place: in a
URL, in a JSON string, in a form. A value is sent only where `secrets
allow` lets it. The response is printed masked, as \u{2039}api-key\u{203a}.";

/// Send an HTTP request with secrets in it
///
/// Prints the body of the response on stdout, with values masked. Redirects are shown and not followed. On a
/// terminal it asks before it sends a secret that has no destination, and stores the destination if
/// you agree. It does not ask about a secret in the URL. It uses the proxy that HTTPS_PROXY names.
/// Exit code 0 means that there was a response, whatever its status; 1 that there was none; 7 that the
/// request was refused, for example because a secret may not be sent there; and 9, with --fail, that
/// the status is 400 or more.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "secrets request [OPTIONS] [METHOD] URL")]
pub(crate) struct RequestArgs {
    /// Send this request: a method and a URL, or a URL; GET is the default, or POST with a body
    #[arg(required = true, num_args = 1..=2, value_name = "METHOD|URL", value_hint = clap::ValueHint::Url)]
    target: Vec<String>,
    /// Add a header
    #[arg(short = 'H', long = "header", value_name = "NAME: TEMPLATE")]
    headers: Vec<String>,
    /// Send this body: a template, @FILE for a template in a file, or - for stdin
    #[arg(short = 'd', long, value_name = "TEMPLATE|@FILE|-", conflicts_with = "forms")]
    data: Option<String>,
    /// Add a field to a form, and send the form as the body
    #[arg(long = "form", value_name = "NAME=TEMPLATE")]
    forms: Vec<String>,
    /// Send Basic credentials
    #[arg(short = 'u', long, value_name = "USER:TEMPLATE", conflicts_with = "bearer")]
    user: Option<String>,
    /// Send a secret as a bearer token
    #[arg(long, value_name = "TAG", add = clap_complete::ArgValueCompleter::new(crate::completion::tags))]
    bearer: Option<Tag>,
    /// Print the status and the headers of the response as well
    #[arg(short, long)]
    include: bool,
    /// Write the body to a file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Exit with 9 and print no body if the status is 400 or more
    #[arg(short, long)]
    fail: bool,
    /// Follow redirects to the same scheme, host and port
    #[arg(long, value_name = "WHERE", value_enum)]
    follow: Option<Follow>,
    /// Give up after this many seconds in total
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86400))]
    max_time: u64,
    /// Retry up to this many times after a failed connection or a status 429, 502, 503 or 504; POST
    /// and PATCH are never sent again
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    retry: u32,
    /// Store a string of the JSON response as a secret, without showing it
    #[arg(long, value_name = "TAG=/POINTER")]
    save: Vec<String>,
    /// Let --save replace the value of an existing secret
    #[arg(long, requires = "save")]
    replace: bool,
    /// Print the request without sending it
    #[arg(long)]
    dry_run: bool,
    /// Print which destinations allow the request, without sending it
    #[arg(long)]
    explain: bool,
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Follow {
    /// Those to the same scheme, host and port
    SameOrigin,
}

pub(crate) fn run(args: &RequestArgs, cx: &Context) -> Result<(), Error> {
    let options = DraftOptions {
        target: &args.target,
        headers: &args.headers,
        data: args.data.as_deref(),
        forms: &args.forms,
        user: args.user.as_deref(),
        bearer: args.bearer.as_ref(),
    };
    let draft = Draft::new(&options, cx)?;
    let saves = save::parse(&args.save)?;
    let (policy, vault) = if draft.has_references() || !saves.is_empty() {
        cx.require_vault()?;
        let project = cx.trusted_project()?;
        let vault = cx.unlock()?;
        save::check(&saves, args.replace, &vault, project)?;
        let policy = policy(args, &draft, &vault, project, cx)?;
        (policy, Some(vault))
    } else {
        (empty_policy()?, None)
    };

    // An address of this machine that somebody has typed is meant.
    let mut policy = policy;
    policy.private.extend(local(draft.origin()));
    let policy = Arc::new(policy);
    let placeholders: Vec<String> =
        policy.secrets.iter().map(|secret| secret.placeholder.clone()).collect();
    let (origin, outgoing) = draft.outgoing(&placeholders)?;
    if args.dry_run || args.explain {
        let checked =
            check(&policy, &origin, &outgoing, Sender::Request).map_err(|why| refused(&why))?;
        return cx.ui.print(&planned(&policy, &origin, &outgoing, checked, args.explain));
    }

    send(args, policy, vault.as_ref(), &origin, outgoing, &saves, cx)
}

fn empty_policy() -> Result<Policy, Error> {
    Policy::new(Vec::new(), Vec::new(), []).map_err(|_| Error::internal("no secrets are too many"))
}

/// Opens the secrets of a draft. A secret without a destination for this request is asked for on a
/// terminal.
fn policy(
    args: &RequestArgs,
    draft: &Draft,
    vault: &Vault,
    project: &ProjectName,
    cx: &Context,
) -> Result<Policy, Error> {
    let tags = draft.tags();
    let mut sendable = vault.scope(project).sendable_of(&tags)?;
    if let Some(missing) = draft.missing(&sendable) {
        // The vault names the nearest tag.
        vault.get(project, &SecretRef::Tag(missing))?;
        return Err(Error::internal("a secret was not opened"));
    }

    let origin = draft.origin();
    let is_sent_there = |destination: &Destination| destination.origin.contains(origin);
    let mut has_changed = false;
    for one in &sendable {
        let metadata = &one.secret.metadata;
        if metadata.destinations.iter().any(is_sent_there) || args.dry_run || args.explain {
            continue;
        }

        let places = draft.places(&metadata.tag)?;
        if !prompt::is_possible()
            || metadata.destinations.iter().next().is_some()
            || places.is_empty()
        {
            continue;
        }

        let tag = &metadata.tag;
        let shown: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
        let question = format!(
            "Allow `{tag}` to be sent to {origin} in {}, for all methods and paths, now and later?",
            shown.join(" and ")
        );
        if !prompt::confirm(&question, false)? {
            let message = format!("`{tag}` may not be sent to {origin}; nothing was sent");
            return Err(Error::new(Kind::Refused, message).into_answer());
        }

        allow(vault, project, tag, origin, &places, cx)?;
        has_changed = true;
    }

    if has_changed {
        sendable = vault.scope(project).sendable_of(&tags)?;
    }

    let secrets = draft.session_secrets(&sendable)?;
    let rules = Policy::rules_of(&secrets);
    let private: Vec<_> =
        secrets.iter().flat_map(|secret| secret.grants.iter()).filter_map(local_of).collect();
    let values = secrets.iter().map(|secret| (&secret.tag, &secret.value));
    warn_of_short(values, "masked in the response", cx);
    // A template may have sent a value through filters. An answer may have it as it is stored, too.
    let stored = sendable.iter().map(|one| (&one.secret.metadata.tag, &one.value));
    let mut policy = Policy::new(secrets, rules, stored)
        .map_err(|error| Error::new(Kind::Failure, format!("too many placeholders: {error}")))?;
    policy.private = private;
    if let Some(proxy) = cx.target.manifest()?.and_then(|manifest| manifest.proxy.as_ref())
        && cx.is_trusted_already()?
    {
        policy.private.extend(proxy.private.iter().cloned());
    }

    // The value may stand wherever the command line says, as often as it says so.
    policy.rules.iter_mut().for_each(|rule| rule.times = u32::MAX);
    Ok(policy)
}

/// Stores a destination that somebody has agreed to.
fn allow(
    vault: &Vault,
    project: &ProjectName,
    tag: &Tag,
    origin: &Origin,
    places: &[Place],
    cx: &Context,
) -> Result<(), Error> {
    let wanted = SecretRef::Tag(tag.clone());
    let (pattern, path) = Destination::parse_address(&origin.to_string())
        .map_err(|_| Error::internal("the origin is not valid"))?;
    let destinations: Vec<Destination> = places
        .iter()
        .map(|place| Destination {
            methods: Methods::Any,
            origin: pattern.clone(),
            path: path.clone(),
            place: place.clone(),
        })
        .collect();
    destinations.iter().try_for_each(check_width)?;
    let changed = vault.change_destinations(project, &wanted, |all, value| {
        for destination in &destinations {
            check_fits(tag, value, &destination.place)?;
            all.add(destination.clone()).map_err(|why| Error::usage(why.0))?;
        }

        Ok::<_, Error>(())
    })?;
    cx.written(vault, changed);
    for destination in &destinations {
        cx.ui.status(&format!("`{tag}` may now be sent to {}", described(destination)));
    }

    Ok(())
}

/// Sends the request and prints the answer.
fn send(
    args: &RequestArgs,
    policy: Arc<Policy>,
    vault: Option<&Vault>,
    origin: &Origin,
    outgoing: Outgoing,
    saves: &[Saved],
    cx: &Context,
) -> Result<(), Error> {
    let failed = |what: &str, source: &dyn std::fmt::Display| {
        Error::new(Kind::Failure, format!("cannot {what}: {source}"))
    };
    let project = cx.target.project()?;
    let observer: Box<dyn secrets_proxy::session::Observer> = match vault {
        Some(vault) => Box::new(Teller::new(cx.use_recorder(vault, project)?, Shown::Nothing)),
        None => Box::new(Unrecorded),
    };
    let policy = Arc::try_unwrap(policy).map_err(|_| Error::internal("the policy is shared"))?;
    let session = Session::new(policy, Box::new(Fixed), observer, Roots::System, company_proxy()?)
        .map_err(|error| failed("send the request", &error))?;
    let session = Arc::new(session);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error: io::Error| failed("send the request", &error))?;

    let limit = Duration::from_secs(args.max_time);
    let printed = Rc::new(Printed::new(args, cx)?);
    let exchange = exchange(args, session, origin.clone(), outgoing, saves, Rc::clone(&printed));
    let set = tokio::task::LocalSet::new();
    let outcome = set.block_on(&runtime, async { tokio::time::timeout(limit, exchange).await });
    let answered = match outcome {
        Ok(answered) => answered?,
        Err(_) => {
            let message = format!("no complete response within {} s", args.max_time);
            return Err(Error::new(Kind::Failure, message).hint("wait longer with `--max-time`"));
        }
    };

    if let Some(vault) = vault {
        save::store(answered.values, args.replace, vault, project, cx)?;
    }

    if args.fail && answered.status >= 400 {
        return Err(Error::new(Kind::FailedAnswer, format!("the response is {}", answered.line))
            .hint("to see its body, leave out `--fail`"));
    }

    Ok(())
}

/// Requests without secrets are not recorded.
struct Unrecorded;

impl secrets_proxy::session::Observer for Unrecorded {
    fn record(&self, _: &secrets_proxy::session::Use<'_>) -> Result<(), String> {
        Ok(())
    }

    fn finished(&self, _: &secrets_proxy::session::Finished<'_>) {}
}

/// An answer that was printed, and the values to store from it.
struct Answered {
    status: u16,
    /// The status with its reason, such as `404 Not Found`
    line: String,
    values: Vec<save::Value>,
}

async fn exchange(
    args: &RequestArgs,
    session: Arc<Session>,
    origin: Origin,
    mut outgoing: Outgoing,
    saves: &[Saved],
    printed: Rc<Printed<'_>>,
) -> Result<Answered, Error> {
    const REDIRECTS: u32 = 10;
    let mut tries = 0;
    let mut followed = 0;
    loop {
        let sent = match Client::connect(Arc::clone(&session), origin.clone(), &outgoing).await {
            Ok(client) => client.send(&outgoing).await,
            Err(refusal) => Err(refusal),
        };
        let is_repeatable = outgoing.method.is_idempotent();
        let pause = Duration::from_secs(1 << tries.min(5));
        let response = match sent {
            Err(refusal) if refusal.status == 502 && tries < args.retry && is_repeatable => {
                tries += 1;
                tokio::time::sleep(pause).await;
                continue;
            }
            Err(refusal) => return Err(refused(&refusal)),
            Ok(response) => response,
        };

        let status = response.status();
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) && tries < args.retry && is_repeatable {
            tries += 1;
            tokio::time::sleep(answer::wait(&response).unwrap_or(pause)).await;
            continue;
        }

        if status.is_redirection()
            && let Some(to) = response.location()
        {
            let next = args.follow.and_then(|_| same_origin(&origin, &outgoing.target, &to.target));
            match next {
                Some(target) if followed < REDIRECTS => {
                    followed += 1;
                    answer::follow(&mut outgoing, status.as_u16(), target);
                    continue;
                }
                Some(_) => {
                    let message = format!("more than {REDIRECTS} redirects");
                    return Err(Error::new(Kind::Failure, message));
                }
                None => printed.redirect(status.as_u16(), &to.shown, args.follow.is_some()),
            }
        }

        let values = printed.print(response, saves).await?;
        let line = match status.canonical_reason() {
            Some(reason) => format!("{} {reason}", status.as_u16()),
            None => status.as_u16().to_string(),
        };
        return Ok(Answered { status: status.as_u16(), line, values });
    }
}
