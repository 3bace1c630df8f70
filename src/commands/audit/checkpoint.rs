//! `secrets audit checkpoint`: prints the ends of verified logs.

use secrets_core::vault::ChangeLog;

use super::super::shared::uses::{check_uses, read_uses};
use super::logs::Selected;
use crate::context::Context;
use crate::error::Error;
use crate::output::AuditCheckpoints;

pub(super) fn run(all_projects: bool, cx: &Context) -> Result<(), Error> {
    let selected = Selected::open(all_projects, cx)?;
    let logs = selected.change_logs(&mut |_| false)?;
    logs.iter().try_for_each(ChangeLog::check)?;
    if logs.is_empty() {
        cx.vault()?.require_project(cx.target.project()?)?;
    }

    let uses = read_uses(selected.vault(), cx, |_, _, _| {})?;
    check_uses(&uses)?;
    cx.ui.print(&AuditCheckpoints::of(&logs, &uses))
}
