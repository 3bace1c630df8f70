//! `secrets allow`: where a secret may be sent.

use clap_complete::ArgValueCompleter;
use secrets_core::model::{
    Destination, Level, Methods, OriginPattern, PathPattern, Place, Secret, SecretRef,
};
use secrets_core::vault::ChangedDestinations;
use secrets_project::setup::manifest::MANIFEST;

use super::shared::destinations::{check_fits, check_width};
use crate::completion;
use crate::context::{Context, Right};
use crate::error::{Error, Kind, hint};
use crate::output::{DestinationList, described};

const EXAMPLES: &str = "\
Examples:
  secrets allow stripe-key --to https://api.stripe.com
  secrets allow stripe-key --to 'https://api.stripe.com/v1/**' \\
      --method GET
  secrets allow anthropic --to https://api.anthropic.com \\
      --in header:x-api-key
  secrets allow maps-key --to https://maps.example.com --in query:key
  secrets allow --list                list all destinations of the project
  secrets allow stripe-key            list those of one secret
  secrets allow stripe-key --to https://api.stripe.com --remove
  secrets allow stripe-key --remove   remove all of them

Places for --in:
  header:NAME        a header; `header:authorization` is the default
  basic:password     the password of Basic credentials, or `basic:user`
  cookie:NAME        a cookie
  query:NAME         a parameter of the URL's query
  path               the URL's path
  form:NAME          a field of a form in the body
  json:/POINTER      a string in a JSON body, by its JSON Pointer
  body               anywhere in the body; only `request` uses it
  ws:/POINTER        a string in the JSON text frames of a WebSocket
  sigv4              not sent: signs requests to AWS

A path is matched exactly. `*` stands for any characters of one segment,
and `**` for any number of segments. Without a path, all paths match. A
host may begin with `*.`, which stands for exactly one label.";

/// Allow a secret to be sent to a service, or list where it may be sent
///
/// `request`, `proxy` and `run --proxy` send a secret only to its destinations. Destinations are
/// stored with the secret, encrypted and signed. A .secrets.toml can narrow them but never widen
/// them. Repeat --in to allow several parts of a request. To trust a directory's .secrets.toml, use
/// `secrets trust`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AllowArgs {
    /// Allow this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: Option<SecretRef>,
    /// Allow this origin, and this path if there is one
    #[arg(long, value_name = "ORIGIN[/PATH]", requires = "secret", value_parser = address)]
    to: Option<(OriginPattern, PathPattern)>,
    /// Allow only these methods [default: all]
    #[arg(long, value_name = "METHOD,...", requires = "to", value_parser = methods)]
    method: Option<Methods>,
    /// Allow this part of a request [default: header:authorization; with --remove: all parts]
    #[arg(long = "in", value_name = "PLACE", requires = "to", value_parser = place)]
    places: Vec<Place>,
    /// List destinations
    #[arg(long, conflicts_with_all = ["to", "remove"])]
    list: bool,
    /// Remove the destinations with exactly this --to, or all destinations of the secret
    #[arg(long, requires = "secret")]
    remove: bool,
}

impl AllowArgs {
    /// Returns what the command needs if it is run with a token.
    pub(crate) fn right(&self) -> (Right, &'static str) {
        let is_change = self.to.is_some() || self.remove;
        (Right::Level(if is_change { Level::Manage } else { Level::Read }), "allow")
    }
}

fn address(text: &str) -> Result<(OriginPattern, PathPattern), String> {
    Destination::parse_address(text).map_err(|why| why.0)
}

fn methods(text: &str) -> Result<Methods, String> {
    Methods::parse(text).map_err(|why| why.0)
}

fn place(text: &str) -> Result<Place, String> {
    Place::parse(text).map_err(|why| why.0)
}

pub(crate) fn run(args: &AllowArgs, cx: &Context) -> Result<(), Error> {
    match (&args.secret, &args.to) {
        (None, _) if !args.list => Err(Error::usage("`allow` needs a secret").hint(format!(
            "to trust this directory's `{MANIFEST}`, use `secrets trust`; to let a secret be sent to \
             a service, use `secrets allow TAG --to https://HOST`"
        ))),
        (Some(secret), to) if args.remove => remove(args, secret, to.as_ref(), cx),
        (Some(secret), Some(to)) => add(args, secret, to, cx),
        (secret, _) => list(secret.as_ref(), cx),
    }
}

/// Returns a destination for each place.
fn requested(args: &AllowArgs, (origin, path): &(OriginPattern, PathPattern)) -> Vec<Destination> {
    let default = [Place::authorization()];
    let places = if args.places.is_empty() { &default[..] } else { &args.places };
    let destination = |place: &Place| Destination {
        methods: args.method.clone().unwrap_or(Methods::Any),
        origin: origin.clone(),
        path: path.clone(),
        place: place.clone(),
    };

    places.iter().map(destination).collect()
}

fn add(
    args: &AllowArgs,
    secret: &SecretRef,
    to: &(OriginPattern, PathPattern),
    cx: &Context,
) -> Result<(), Error> {
    let requested = requested(args, to);
    requested.iter().try_for_each(check_width)?;
    cx.require_vault()?;
    let (vault, project) = (cx.vault()?, cx.trusted_project()?);
    let tag = vault.get(project, secret)?.metadata.tag;
    let changed = vault.change_destinations(project, secret, |destinations, value| {
        for destination in requested.clone() {
            check_fits(&tag, value, &destination.place)?;
            destinations
                .add(destination)
                .map_err(|why| Error::usage(format!("cannot add the destination: {why}")))?;
        }

        Ok::<_, Error>(())
    })?;

    let (secret, when) = match changed {
        ChangedDestinations::Changed(secret, ()) => (cx.written(vault, secret), "may now"),
        ChangedDestinations::Same(secret, ()) => (secret, "may already"),
    };

    for destination in &requested {
        let tag = &secret.metadata.tag;
        cx.ui.status(&format!("`{tag}` {when} be sent to {}", described(destination)));
    }

    document(&secret, cx)
}

fn remove(
    args: &AllowArgs,
    secret: &SecretRef,
    to: Option<&(OriginPattern, PathPattern)>,
    cx: &Context,
) -> Result<(), Error> {
    cx.require_vault()?;
    let (vault, project) = (cx.vault()?, cx.trusted_project()?);
    let is_meant = |destination: &Destination| {
        let is_place = args.places.is_empty() || args.places.contains(&destination.place);
        let is_method = args.method.as_ref().is_none_or(|methods| *methods == destination.methods);
        is_place
            && is_method
            && to.is_none_or(|(origin, path)| {
                *origin == destination.origin && *path == destination.path
            })
    };

    let changed = vault.change_destinations(project, secret, |destinations, _| {
        Ok::<_, Error>(destinations.remove(is_meant))
    })?;

    let (secret, number) = match changed {
        ChangedDestinations::Changed(secret, number) => (cx.written(vault, secret), number),
        ChangedDestinations::Same(secret, number) => (secret, number),
    };

    let tag = &secret.metadata.tag;
    if number == 0 && to.is_some() {
        let message = format!("`{tag}` has no such destination");
        return Err(Error::new(Kind::NotFound, message)
            .hint(hint!("list its destinations with `secrets allow {}`", tag)));
    }

    let what = match number {
        0 => "had no destinations".to_owned(),
        1 => "lost 1 destination".to_owned(),
        number => format!("lost {number} destinations"),
    };
    let left =
        if secret.metadata.destinations.is_empty() { "; it cannot be sent anywhere" } else { "" };
    cx.ui.status(&format!("`{tag}` {what}{left}"));
    document(&secret, cx)
}

fn document(secret: &Secret, cx: &Context) -> Result<(), Error> {
    cx.ui.document(|| Ok(DestinationList::new(std::slice::from_ref(secret))))
}

fn list(secret: Option<&SecretRef>, cx: &Context) -> Result<(), Error> {
    let project = cx.target.project()?;
    let vault = cx.vault()?;
    let mut secrets = match secret {
        Some(secret) => vec![vault.get(project, secret)?],
        None => vault.list(Some(project), |_| true)?,
    };

    if secret.is_none() {
        secrets.retain(|secret| !secret.metadata.destinations.is_empty());
    }

    if secrets.iter().all(|secret| secret.metadata.destinations.is_empty()) {
        cx.require_named_project()?;
        let whom = match secrets.first() {
            Some(secret) => format!("`{}` may not be sent anywhere", secret.metadata.tag),
            None => format!("no secret of project `{project}` may be sent anywhere"),
        };

        cx.ui.status(&format!(
            "{whom}; {}",
            cx.target.hint_text("allow it with `secrets allow TAG --to https://HOST`")
        ));
    }

    cx.ui.print(&DestinationList::new(&secrets))
}
