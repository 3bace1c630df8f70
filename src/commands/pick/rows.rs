//! The secrets as they are listed.

use secrets_core::model::{Class, Description, Name, Period, Secret, Timestamp};
use secrets_core::vault::Vault;
use secrets_picker::{Row, Tab};

use super::super::shared::uses::RecentUses;
use crate::context::Context;
use crate::error::Error;
use crate::ui::escape::visible;
use crate::ui::time;

/// A secret expires soon if it does so within this many days.
const SOON: u16 = 30;

/// The secrets in their order, and what is known about their use.
pub(super) struct Listed {
    secrets: Vec<Secret>,
    /// `None` if the log of uses cannot be read, as with a token
    used: Option<RecentUses>,
}

/// Lists the secrets of the current project, or of all.
pub(super) fn list(cx: &Context, vault: &Vault, all: bool) -> Result<Listed, Error> {
    let project = if all { None } else { Some(cx.target.project()?) };
    Ok(Listed { secrets: vault.list(project, |_| true)?, used: RecentUses::read(cx, vault).ok() })
}

impl Listed {
    pub(super) fn get(&self, at: usize) -> Option<&Secret> {
        self.secrets.get(at)
    }

    pub(super) fn pick(&self, at: &[usize]) -> Vec<&Secret> {
        at.iter().filter_map(|at| self.secrets.get(*at)).collect()
    }

    /// Returns the rows. Text from the vault is escaped.
    pub(super) fn rows(&self) -> Vec<Row> {
        let soon = Period::of_days(SOON).after(Timestamp::now());
        self.secrets.iter().map(|secret| self.row(secret, soon)).collect()
    }

    fn row(&self, secret: &Secret, soon: Timestamp) -> Row {
        let metadata = &secret.metadata;
        let mut tabs = vec![match metadata.class {
            Class::Team => Tab::Team,
            Class::Restricted => Tab::Restricted,
        }];
        if metadata.expires.is_some_and(|expires| expires <= soon) {
            tabs.push(Tab::Expiring);
        }

        let tag = &metadata.tag;
        if self.used.as_ref().is_some_and(|used| !used.includes(&secret.project, tag)) {
            tabs.push(Tab::Unused);
        }

        let text = |text: Option<&str>| text.map(visible).unwrap_or_default();
        Row {
            project: secret.project.to_string(),
            tag: tag.to_string(),
            name: text(metadata.name.as_ref().map(Name::as_str)),
            description: text(metadata.description.as_ref().map(Description::as_str)),
            hint: match metadata.class {
                Class::Team => visible(metadata.hint.as_str()),
                Class::Restricted => metadata.class.as_str().to_owned(),
            },
            updated: time::local_date(metadata.updated),
            expires: metadata.expires.map(time::local_date).unwrap_or_default(),
            tabs,
        }
    }
}
