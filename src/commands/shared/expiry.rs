//! Dates of expiry: the options of `create` and `update`, and the periods of `.secrets.toml`.

use jiff::tz::TimeZone;
use secrets_core::model::{Expiry, Period, ProjectName, Source, Tag, Timestamp};

use super::label::label;
use crate::context::Context;
use crate::error::Error;
use crate::ui::time;

/// The options of `create` and `update` about the next value.
#[derive(clap::Args)]
pub(crate) struct ExpiryArgs {
    /// Set when the value expires: a period such as `90d`, a date or `never` [default: what
    /// `expires-after` in .secrets.toml says]
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expiry>,
    /// Set the web page where a new value can be had; '' clears it
    #[arg(long, value_name = "URL")]
    source: Option<String>,
}

impl ExpiryArgs {
    /// Returns true if one of the options was given.
    pub(crate) fn is_given(&self) -> bool {
        self.expires.is_some() || self.source.is_some()
    }

    /// Returns the time of expiry, or `None` without the option. `Some(None)` is never.
    #[allow(clippy::option_option)] // not given, or never
    pub(crate) fn expires(&self) -> Result<Option<Option<Timestamp>>, Error> {
        self.expires.map(time_of).transpose()
    }

    /// Returns the source, or `None` without the option. `Some(None)` clears it.
    #[allow(clippy::option_option)] // not given, or cleared
    pub(crate) fn source(&self) -> Result<Option<Option<Source>>, Error> {
        let text = self.source.as_deref();
        text.map(|text| label("source", Some(text), Source::parse)).transpose()
    }
}

/// Returns the time that a user asks for, or `None` for never. A date begins in the time zone in
/// which dates are shown.
pub(crate) fn time_of(expiry: Expiry) -> Result<Option<Timestamp>, Error> {
    let zone: TimeZone = time::zone();
    expiry
        .time(Timestamp::now(), &zone)
        .map_err(|why| Error::usage(format!("invalid `--expires`: {why}")))
}

/// Returns the time at which a new value expires by `expires-after` in the project's manifest. The
/// vault has to be open.
pub(crate) fn declared(
    cx: &Context,
    project: &ProjectName,
    tag: &Tag,
) -> Result<Option<Timestamp>, Error> {
    Ok(declared_all(cx, [(project, tag)].into_iter())?.pop().flatten())
}

/// Returns the same for many new values, in their order. The manifest counts only if it is trusted
/// already: nobody is asked, because the project may have been chosen without it.
pub(crate) fn declared_all<'t>(
    cx: &Context,
    secrets: impl Iterator<Item = (&'t ProjectName, &'t Tag)>,
) -> Result<Vec<Option<Timestamp>>, Error> {
    // A manifest that cannot be read declares nothing.
    let own = cx.target.tree_project().ok().flatten();
    let manifest = cx.target.manifest().ok().flatten();
    let period = |(project, tag): (&ProjectName, &Tag)| {
        let declaration = manifest?.declaration(&tag.key()).filter(|_| own == Some(project));
        declaration?.expires_after
    };

    let periods: Vec<Option<Period>> = secrets.map(period).collect();
    let is_used = periods.iter().any(Option::is_some) && cx.is_trusted_already()?;
    let now = Timestamp::now();
    let time = |period: Option<Period>| period.filter(|_| is_used).map(|period| period.after(now));

    Ok(periods.into_iter().map(time).collect())
}
