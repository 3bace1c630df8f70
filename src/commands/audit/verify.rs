//! `secrets audit verify`: verifies the logs, alone or against a checkpoint that was kept elsewhere.

use std::path::Path;

use secrets_core::crypto::ids::{DIRECTORY, ProjectId};
use secrets_core::crypto::output_digest::hex;
use secrets_core::vault::{ChangeLog, LogScope, LoggedChange, ReadUses};

use super::super::shared::uses::{check_uses, read_uses};
use super::logs::Selected;
use crate::context::{Context, Opened};
use crate::error::{Error, Kind};
use crate::output::{AuditCheckpoint, AuditCheckpoints, AuditVerified, UsesCheckpoint};
use crate::ui::counted;
use crate::ui::escape::clipped;
use crate::ui::input;

/// The largest size of a file with checkpoints, in bytes: one for each project of a full vault.
const MAX_SIZE: usize = 8 * 1024 * 1024;

pub(super) fn all(all_projects: bool, cx: &Context) -> Result<(), Error> {
    let selected = Selected::open(all_projects, cx)?;
    let logs = selected.change_logs(&mut |_| false)?;
    logs.iter().try_for_each(ChangeLog::check)?;
    let uses = read_uses(selected.vault(), cx, |_, _, _| {})?;
    check_uses(&uses)?;
    report(&logs, &uses, cx)
}

fn report(logs: &[ChangeLog], uses: &ReadUses, cx: &Context) -> Result<(), Error> {
    let verified = AuditVerified::of(logs, uses);
    let entries = match verified.entries() {
        1 => "1 entry".to_owned(),
        number => format!("{number} entries"),
    };
    let uses = match verified.uses() {
        1 => "1 use or refusal".to_owned(),
        number => format!("{number} uses and refusals"),
    };
    let logs = counted(logs.len() as u64, "audit log");
    cx.ui.status(&format!("verified {entries} in {logs}, and {uses} on this machine"));
    cx.ui.document(|| Ok(verified))
}

/// Verifies the logs that a checkpoint names.
pub(super) fn against(file: &Path, cx: &Context) -> Result<(), Error> {
    let (expected, last_use) = read(file)?;
    let pids: Vec<ProjectId> = expected.iter().map(|expected| expected.pid).collect();
    // An agent gives out no key of the vault's own log.
    let vault =
        if pids.contains(&DIRECTORY) { cx.with_root_key()? } else { Opened::Kept(cx.vault()?) };

    let mut differing: Option<Error> = None;
    let logs = vault.change_logs(LogScope::Ids(&pids), &mut |entry| {
        let same_place = expected.iter().filter(|it| it.pid == entry.pid && it.seq == entry.seq);
        for expected in same_place.filter(|expected| !expected.is_of(entry)) {
            differing.get_or_insert_with(|| expected.differs());
        }

        false
    })?;

    logs.iter().try_for_each(ChangeLog::check)?;
    differing.map_or(Ok(()), Err)?;
    let vault_id = vault.id()?;
    for expected in &expected {
        if expected.vault_id != vault_id {
            let message = "the checkpoint is one of another vault";
            return Err(Error::new(Kind::Damaged, message)
                .hint("name the vault of the checkpoint with `--vault PATH`"));
        }

        let log = logs.iter().find(|log| log.pid == expected.pid);
        expected.check_range(log)?;
    }

    let mut is_there = last_use.is_none();
    let uses = read_uses(&vault, cx, |seq, hash, _| {
        is_there |= last_use.as_ref().is_some_and(|it| it.seq == seq && it.hash == hex(hash));
    })?;
    check_uses(&uses)?;
    if let Some(expected) = last_use.filter(|_| !is_there) {
        let message = if uses.last < expected.seq {
            format!(
                "the log of uses on this machine ends at entry {}, before the checkpoint at entry {}",
                uses.last, expected.seq
            )
        } else {
            format!("entry {} of the log of uses is not the checkpoint's", expected.seq)
        };

        return Err(Error::new(Kind::Damaged, message)
            .hint("a checkpoint counts only on the machine on which it was created"));
    }

    report(&logs, &uses, cx)
}

/// A checkpoint that was read from a file.
struct Expected {
    vault_id: [u8; 16],
    pid: ProjectId,
    seq: u64,
    printed: AuditCheckpoint,
}

impl Expected {
    fn decode(printed: AuditCheckpoint) -> Option<Self> {
        let (vault_id, pid, seq) = (id(&printed.vault)?, id(&printed.pid)?, printed.seq);
        (seq > 0).then_some(Self { vault_id, pid, seq, printed })
    }

    fn is_of(&self, entry: &LoggedChange) -> bool {
        self.printed.hash == hex(&entry.hash)
            && self.printed.signature == hex(&entry.signature)
            && self.printed.time == entry.time.rfc3339()
    }

    fn log(&self) -> String {
        match &self.printed.project {
            Some(name) => format!("the audit log of project `{}`", clipped(name, 60)),
            None => "the audit log of the vault".into(),
        }
    }

    fn differs(&self) -> Error {
        self.error(format!("entry {} of {} is not the checkpoint's", self.seq, self.log()))
    }

    fn error(&self, message: String) -> Error {
        let details = serde_json::json!({ "project": self.printed.project, "seq": self.seq });
        Error::new(Kind::Damaged, message).with_details(details).hint(
            "the log was rolled back or replaced; restore a backup with `secrets restore PATH`",
        )
    }

    /// Fails if the log does not reach to the checkpoint, or no longer has its entry.
    fn check_range(&self, log: Option<&ChangeLog>) -> Result<(), Error> {
        let Some(log) = log else {
            return Err(self.error(format!("the vault does not have {}", self.log())));
        };

        let last = log.last.as_ref().map_or(log.begins - 1, |last| last.seq);
        if last < self.seq {
            return Err(self.error(format!(
                "{} ends at entry {last}, before the checkpoint at entry {}",
                self.log(),
                self.seq
            )));
        }

        let was_pruned = self.seq < log.begins;
        if was_pruned && self.seq + 1 == log.begins {
            let is_same = log.pruned_hash.is_some_and(|hash| hex(&hash) == self.printed.hash);
            return if is_same { Ok(()) } else { Err(self.differs()) };
        }

        if was_pruned {
            let message = format!(
                "entry {} of {} was pruned; the log begins at entry {}",
                self.seq,
                self.log(),
                log.begins
            );
            return Err(Error::new(Kind::NotFound, message)
                .hint("create a newer checkpoint with `secrets audit checkpoint`"));
        }

        Ok(())
    }
}

fn read(file: &Path) -> Result<(Vec<Expected>, Option<UsesCheckpoint>), Error> {
    let shown = file.display();
    let (bytes, _) = input::file(file, MAX_SIZE).map_err(|source| {
        Error::new(Kind::Failure, format!("cannot read the checkpoint `{shown}`: {source}"))
    })?;

    let decode = || {
        let bytes = Some(bytes.expose()).filter(|bytes| bytes.len() <= MAX_SIZE)?;
        let read: AuditCheckpoints = serde_json::from_slice(bytes).ok()?;
        let expected = read.checkpoints.into_iter().map(Expected::decode);
        let expected = expected.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
        Some((expected, read.uses))
    };

    decode().ok_or_else(|| {
        Error::usage(format!("`{shown}` is not a checkpoint of an audit log"))
            .hint("create one with `secrets audit checkpoint`")
    })
}

/// Decodes an id of 16 bytes in hexadecimal.
fn id(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok()?;
    is_hex.then(|| number.to_be_bytes())
}
