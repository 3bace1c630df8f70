//! Takes over values that were changed while a session runs. The vault is opened again without a
//! question: with the token of the command, or through an unlocked agent.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrets_core::model::{ProjectName, SecretValue, Tag};
use secrets_project::setup::manifest::MANIFEST;
use secrets_proxy::policy::{Policy, SessionSecret};
use secrets_proxy::session::Source;

use crate::config::Environment;
use crate::context::{Context, Options};
use crate::ui::warn_from_thread;

/// The state of a file, which every change changes.
type FileState = Option<(u64, i64, i64, u64)>;

/// A source of values that are read again after each change of the vault.
pub(crate) struct Reload {
    vault: PathBuf,
    project: ProjectName,
    token_file: Option<PathBuf>,
    /// The manifest, whose rules hold until the session ends
    manifest: Option<PathBuf>,
    seen: Mutex<Seen>,
}

/// The pause after a vault that could not be read. It doubles up to the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The vault's file when it was read, and the values that were replaced.
struct Seen {
    /// The state of the file when it was read
    state: FileState,
    /// When the vault may be read again after it could not be
    next: Option<Instant>,
    /// The pause after the next failure
    pause: Duration,
    former: Vec<(Tag, SecretValue)>,
    /// The state of the manifest, until a change of it was reported
    manifest: Option<FileState>,
}

impl Reload {
    /// Creates a source for the vault and the token of a command.
    pub(crate) fn new(cx: &Context, project: &ProjectName) -> Self {
        let vault = cx.target.vault_path().unwrap_or_default();
        let token_file = cx.credentials.token_file().map(PathBuf::from);
        let state = state_of(&vault);
        let found = Environment::manifest_place();
        let manifest = found.map(|directory| directory.join(MANIFEST));
        let unchanged = manifest.as_deref().map(state_of);
        let seen =
            Seen { state, next: None, pause: PAUSE, former: Vec::new(), manifest: unchanged };
        Self { vault, project: project.clone(), token_file, manifest, seen: Mutex::new(seen) }
    }

    /// Warns once if the manifest has changed. Its author may be the program that sends the requests, so
    /// new rules need a new session, for which somebody has to trust them.
    fn watch(&self, seen: &mut Seen) {
        let Some(path) = &self.manifest else { return };
        if seen.manifest.is_some_and(|before| state_of(path) != before) {
            seen.manifest = None;
            warn_from_thread(
                "`.secrets.toml` has changed; this session keeps the rules that it began with",
            );
        }
    }

    /// Reads the secrets of a policy again.
    fn read(&self, present: &Policy) -> Option<Vec<secrets_core::vault::Sendable>> {
        let cx = Context::silent(Options {
            vault: Some(self.vault.clone()),
            project: Some(self.project.clone()),
            token_file: self.token_file.clone(),
            ..Options::default()
        });
        let vault = cx.vault_for_reload()?;
        let tags: Vec<Tag> = present.secrets.iter().map(|secret| secret.tag.clone()).collect();
        vault.scope(&self.project).sendable_of(&tags).ok()
    }
}

fn state_of(path: &std::path::Path) -> FileState {
    use std::os::unix::fs::MetadataExt;

    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

impl Source for Reload {
    fn refreshed(&self, present: &Policy) -> Option<Policy> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.watch(&mut seen);
        let state = state_of(&self.vault);
        if state == seen.state || seen.next.is_some_and(|next| Instant::now() < next) {
            return None;
        }

        let Some(found) = self.read(present) else {
            if seen.pause == PAUSE {
                warn_from_thread(
                    "the vault has changed and cannot be read; requests use the former values",
                );
            }

            seen.next = Some(Instant::now() + seen.pause);
            seen.pause = (seen.pause * 2).min(LONGEST_PAUSE);
            return None;
        };

        // The file may have changed again while it was read. Then the next request reads it again.
        (seen.state, seen.next, seen.pause) = (state, None, PAUSE);
        let mut secrets = Vec::with_capacity(present.secrets.len());
        for known in &present.secrets {
            let now = found.iter().find(|one| one.secret.metadata.tag.key() == known.tag.key());
            let changed = now.filter(|now| now.value.expose() != known.value.expose());
            if changed.is_some() {
                seen.former.push((known.tag.clone(), known.value.duplicate()));
            }

            // A secret that was deleted, or may not be sent any more, keeps its number without grants.
            secrets.push(SessionSecret {
                tag: known.tag.clone(),
                value: now.map_or_else(|| known.value.duplicate(), |now| now.value.duplicate()),
                placeholder: known.placeholder.clone(),
                shown: known.shown.clone(),
                grants: now.map(|now| now.secret.metadata.destinations.clone()).unwrap_or_default(),
            });
        }

        let former = seen.former.iter().map(|(tag, value)| (tag, value));
        let mut policy = Policy::new(secrets, present.rules.clone(), former).ok()?;
        policy.others = present.others;
        policy.private.clone_from(&present.private);
        Some(policy)
    }
}
