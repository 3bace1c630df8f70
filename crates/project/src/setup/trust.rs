//! Describes what a user trusts a manifest with: which project, which outputs with which secrets,
//! and which variables. It makes no decision. It describes what the manifest asks for, compares two
//! descriptions, and stores one as a record.
//!
//! The description contains the tags that templates name, but not the templates' text
//! (docs/design/trust.md).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use secrets_core::crypto::ids::Hash;
use secrets_core::crypto::output_digest::hex;
use secrets_core::model::{Tag, Timestamp};
use secrets_core::vault::TrustMacs;
use secrets_files::Records;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, ManifestEnvironment, ProxySettings, RenderEntry, Variable};
use super::relative;
use crate::template::grammar::Grammar;
use crate::template::{Plan, Template};

/// The maximum size of a record in bytes. A manifest has up to 1 MiB, and JSON escapes a byte with
/// up to six.
const MAX_SIZE: u64 = 32 * 1024 * 1024;
/// The version of the records that we write.
const VERSION: u32 = 1;
/// The maximum number of vaults that one record is bound to.
const MAX_VAULTS: usize = 16;
/// The number of characters of a variable's text that a shortened description shows.
pub const LONG: usize = 140;

/// What a manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// The canonical path of the manifest's directory
    directory: PathBytes,
    /// The project that the manifest names
    pub project: Option<String>,
    /// SHA-256 of `.secrets.toml` in hexadecimal
    pub manifest: String,
    /// The outputs, in the manifest's order
    pub outputs: Vec<CoveredOutput>,
    /// The tags that the manifest declares, in its order
    pub secrets: Vec<String>,
    /// The variables of `[run.env]` and their templates, in the manifest's order
    pub variables: Vec<(String, String)>,
    /// The rules of the proxy, and its other settings, in the manifest's order
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    /// The environments, in the manifest's order
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<CoveredEnvironment>,
}

/// An environment of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoveredEnvironment {
    pub name: String,
    pub project: String,
    /// The outputs with another path: the path in `[[render]]`, and that of the environment
    pub outputs: Vec<(String, String)>,
    /// The variables that are added or replaced, and their templates
    pub variables: Vec<(String, String)>,
}

/// An output of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoveredOutput {
    pub output: String,
    /// The permission bits; `None` stands for 600, or for those of the existing file
    pub mode: Option<u32>,
    pub template: String,
    /// The keys of the tags that the template names, in ascending order; `None` if the template
    /// cannot be read
    pub tags: Option<Vec<String>>,
}

/// A path: a string, or bytes if it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum PathBytes {
    Text(String),
    Other(Vec<u8>),
}

impl PathBytes {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Other(path.as_os_str().as_bytes().to_vec()),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Text(text) => text.into(),
            Self::Other(bytes) => std::ffi::OsStr::from_bytes(bytes).into(),
        }
    }
}

impl Coverage {
    /// Describes what a manifest asks for, in all environments. This reads its templates.
    pub fn of(manifest: &Manifest) -> io::Result<Self> {
        let manifest = manifest.base();
        let directory = manifest.canonical_directory()?;
        let outputs = manifest
            .render
            .iter()
            .map(|rendering| CoveredOutput::of(manifest, rendering, &directory));

        let environments =
            manifest.environments.iter().map(|one| CoveredEnvironment::of(manifest, one));

        Ok(Self {
            outputs: outputs.collect(),
            directory: PathBytes::of(&directory),
            project: manifest.project.as_ref().map(ToString::to_string),
            manifest: manifest.sha256(),
            secrets: manifest
                .secrets
                .iter()
                .map(|declaration| declaration.tag.to_string())
                .collect(),
            variables: covered_variables(manifest.run.iter().flatten()),
            requests: manifest.proxy.as_ref().map(requests).unwrap_or_default(),
            environments: environments.collect(),
        })
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path()
    }

    /// Returns a fingerprint of everything except the directory, which differs between machines:
    /// SHA-256 in hexadecimal over the manifest's own SHA-256 and the tags of each output.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(b"secrets trust 1\0");
        digest.update(self.manifest.as_bytes());

        for output in &self.outputs {
            field(&mut digest, output.output.as_bytes());
            let tags = output.tags.as_deref().unwrap_or_default();

            // A template that cannot be read differs from one that names no tags.
            let count = output.tags.as_ref().map_or(u64::MAX, |tags| tags.len() as u64);
            digest.update(count.to_be_bytes());
            for tag in tags {
                field(&mut digest, tag.as_bytes());
            }
        }

        hex(&digest.finalize())
    }

    /// Returns the digest of the whole description, which a vault's MAC covers.
    pub fn digest(&self) -> Hash {
        // A struct of strings and lists has exactly one JSON form.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }

    /// Describes how this differs from an earlier description, one line per difference.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.project != before.project {
            let name = |project: &Option<String>| {
                project.as_ref().map_or("none".into(), |name| format!("`{name}`"))
            };

            changes.push(format!(
                "project {}, previously {}",
                name(&self.project),
                name(&before.project)
            ));
        }

        changes.extend(self.changed_outputs(before));
        changes.extend(changed_variables(&self.variables, &before.variables));
        changes.extend(self.changed_environments(before));
        for (what, now, then) in [("new", self, before), ("removed", before, self)] {
            let differs = |one: &&String| !then.requests.contains(one);
            let differing = now.requests.iter().filter(differs);
            changes.extend(differing.map(|one| format!("{what} setting of the proxy: {one}")));
        }

        let tags = |secrets: &[String]| secrets.iter().cloned().collect::<BTreeSet<_>>();
        let (now, then) = (tags(&self.secrets), tags(&before.secrets));
        let listed = |some: Vec<&String>| {
            some.iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(", ")
        };

        for (what, some) in [
            ("declares", now.difference(&then).collect()),
            ("no longer declares", then.difference(&now).collect()),
        ] {
            let some: Vec<&String> = some;
            changes.extend((!some.is_empty()).then(|| format!("{what} {}", listed(some))));
        }

        if changes.is_empty() && self.manifest != before.manifest {
            changes.push("comments, descriptions or other settings".into());
        }

        changes
    }

    fn changed_outputs(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for output in &self.outputs {
            match before.outputs.iter().find(|other| other.output == output.output) {
                None => changes.push(format!("new output {output}")),
                Some(other) => changes.extend(output.changes_since(other)),
            }
        }

        let is_removed =
            |old: &&CoveredOutput| self.outputs.iter().all(|output| output.output != old.output);
        let removed = before.outputs.iter().filter(is_removed);
        changes.extend(removed.map(|old| format!("removed output `{}`", old.output)));

        changes
    }

    fn changed_environments(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for environment in &self.environments {
            match before.environments.iter().find(|other| other.name == environment.name) {
                None => changes.push(format!(
                    "new environment `{}` with project `{}`",
                    environment.name, environment.project
                )),
                Some(other) => changes.extend(environment.changes_since(other)),
            }
        }

        let is_removed = |old: &&CoveredEnvironment| {
            self.environments.iter().all(|environment| environment.name != old.name)
        };
        let removed = before.environments.iter().filter(is_removed);
        changes.extend(removed.map(|old| format!("removed environment `{}`", old.name)));

        changes
    }

    /// Returns a copy with other tags, one set per output.
    #[must_use]
    pub fn with_tags(&self, tags: Vec<BTreeSet<String>>) -> Self {
        let mut now = self.clone();
        for (output, tags) in now.outputs.iter_mut().zip(tags) {
            output.tags = Some(tags.into_iter().collect());
        }

        now
    }

    /// Returns the number of secrets that outputs and variables use.
    pub fn number_of_secrets(&self) -> usize {
        let outputs = self.outputs.iter().flat_map(|output| output.tags.iter().flatten().cloned());
        let environments = self.environments.iter().flat_map(|environment| &environment.variables);
        let variables = self.variables.iter().chain(environments);
        let variables = variables.flat_map(|(_, text)| tags_in(text));
        outputs.chain(variables).collect::<BTreeSet<_>>().len()
    }
}

impl CoveredEnvironment {
    fn of(manifest: &Manifest, environment: &ManifestEnvironment) -> Self {
        let shown = |path: &PathBuf| path.display().to_string();
        Self {
            name: environment.name.to_string(),
            project: environment.project.to_string(),
            outputs: environment
                .outputs(manifest)
                .map(|(from, to)| (shown(from), shown(to)))
                .collect(),
            variables: covered_variables(&environment.variables),
        }
    }

    fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.project != before.project {
            changes.push(format!("project `{}`, previously `{}`", self.project, before.project));
        }

        for (from, to) in &self.outputs {
            if !before.outputs.iter().any(|other| other == &(from.clone(), to.clone())) {
                changes.push(format!("output `{to}` instead of `{from}`"));
            }
        }

        for (from, _) in &before.outputs {
            if self.outputs.iter().all(|(other, _)| other != from) {
                changes.push(format!("output `{from}` again"));
            }
        }

        changes.extend(changed_variables(&self.variables, &before.variables));
        changes.iter().map(|change| format!("environment `{}`: {change}", self.name)).collect()
    }
}

fn covered_variables<'a>(
    variables: impl IntoIterator<Item = &'a Variable>,
) -> Vec<(String, String)> {
    let pair = |variable: &Variable| (variable.name.clone(), variable.text.clone());
    variables.into_iter().map(pair).collect()
}

fn changed_variables(now: &[(String, String)], before: &[(String, String)]) -> Vec<String> {
    let mut changes = Vec::new();
    for (name, text) in now {
        let described = || CoveredVariable(name, text).described(LONG);
        match before.iter().find(|(other, _)| other == name) {
            None => changes.push(format!("new variable {}", described())),
            Some((_, other)) if other != text => {
                let before = CoveredVariable(name, other).described(LONG);
                changes.push(format!(
                    "variable {}, previously {}",
                    described(),
                    &before[name.len() + 1..]
                ));
            }
            Some(_) => {}
        }
    }

    let is_removed = |(old, _): &&(String, String)| now.iter().all(|(name, _)| name != old);
    let removed = before.iter().filter(is_removed);
    changes.extend(removed.map(|(old, _)| format!("removed variable {old}")));

    changes
}

/// Describes the rules and the other settings of the proxy.
fn requests(proxy: &ProxySettings) -> Vec<String> {
    let mut requests: Vec<String> = proxy.rules.iter().map(ToString::to_string).collect();
    requests.extend(proxy.private.iter().map(|host| format!("{host} may be in this network")));
    if proxy.tunnels_others {
        requests.push("other hosts pass without a value".into());
    }

    if proxy.ignores_company {
        requests.push("HTTPS_PROXY of the environment is not used".into());
    }

    requests
}

/// A variable of `[run.env]`: its name and its template.
pub struct CoveredVariable<'c>(pub &'c str, pub &'c str);

impl CoveredVariable<'_> {
    /// Describes the variable as `NAME=TEXT`. If the text has more than `most` characters, it is
    /// cut, and the tags that it names are listed after it.
    pub fn described(&self, most: usize) -> String {
        let Self(name, text) = self;
        match text.char_indices().nth(most) {
            None => format!("{name}={text}"),
            Some((end, _)) => {
                let tags: Vec<String> = tags_in(text).into_iter().collect();
                format!("{name}={}… (with {})", &text[..end], listed(&tags))
            }
        }
    }
}

/// Returns the keys of the tags that a text names, in ascending order.
fn tags_in(text: &str) -> BTreeSet<String> {
    let template = Template::from_text("[run.env]", text.as_bytes().to_vec());
    let plan = Plan::new(template, Grammar::default());
    plan.map(|plan| keys(&plan.tags())).unwrap_or_default()
}

/// Returns the keys of tags, in ascending order.
pub(super) fn keys(tags: &[Tag]) -> BTreeSet<String> {
    tags.iter().map(|tag| tag.key().as_str().to_owned()).collect()
}

/// Joins tags into one line.
fn listed(tags: &[String]) -> String {
    if tags.is_empty() { "no secret".to_owned() } else { tags.join(", ") }
}

impl CoveredOutput {
    fn of(manifest: &Manifest, rendering: &RenderEntry, root: &Path) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let tags = tags_of(&manifest.at(&rendering.template), rendering, root);
        Self {
            output: text(&rendering.output),
            mode: rendering.mode,
            template: text(&rendering.template),
            tags: tags.map(|tags| tags.into_iter().collect()),
        }
    }

    /// Describes how this differs from an earlier description of the same output.
    fn changes_since(&self, before: &Self) -> Vec<String> {
        let (Some(now), Some(then)) = (&self.tags, &before.tags) else {
            return if self == before {
                Vec::new()
            } else {
                vec![format!("output {self}, previously {}", before.details())]
            };
        };

        if (self.mode, &self.template) != (before.mode, &before.template) {
            return vec![format!("output {self}, previously {}", before.details())];
        }

        let only = |some: &[String], other: &[String]| -> Vec<String> {
            some.iter().filter(|tag| !other.contains(tag)).cloned().collect()
        };

        let (added, removed) = (only(now, then), only(then, now));
        let change = |what, tags: Vec<String>| {
            (!tags.is_empty()).then(|| {
                format!(
                    "output `{}` from `{}` {what}: {}",
                    self.output,
                    self.template,
                    tags.join(", ")
                )
            })
        };

        change("also uses", added).into_iter().chain(change("no longer uses", removed)).collect()
    }

    /// Describes everything except the output's name.
    fn details(&self) -> String {
        let tags = match self.tags.as_deref() {
            Some(tags) => format!(": {}", listed(tags)),
            None => ", which cannot be read".to_owned(),
        };

        format!("(mode {:o}) from `{}`{tags}", self.mode.unwrap_or(0o600), self.template)
    }
}

impl std::fmt::Display for CoveredOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {}", self.output, self.details())
    }
}

/// Returns the keys of the tags that a template names. Only a regular file is read, and a link that
/// leads out of the directory is not followed.
fn tags_of(path: &Path, rendering: &RenderEntry, root: &Path) -> Option<BTreeSet<String>> {
    let real = fs::canonicalize(relative(path)).ok()?;
    if !real.starts_with(root) || !fs::metadata(&real).ok()?.is_file() {
        return None;
    }

    let template = Template::from_file(&real).ok()?;
    let plan = Plan::new(template, rendering.grammar.clone()).ok()?;
    Some(keys(&plan.tags()))
}

fn field(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

/// A user's recorded consent to a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRecord {
    version: u32,
    /// The time of the consent
    pub since: String,
    pub coverage: Coverage,
    /// Vault ids and the MACs under their keys, in hexadecimal
    bindings: Vec<(String, String)>,
}

/// How a record relates to a vault's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The record is bound with the present keys
    Current,
    /// The record is bound with earlier keys of the vault, or not yet bound to this vault
    Due,
    /// The MAC does not match: the record was changed, or another vault with the same id bound it
    Broken,
}

impl TrustRecord {
    /// Records consent given now.
    pub fn new(coverage: Coverage) -> Self {
        Self { version: VERSION, since: Timestamp::now().rfc3339(), coverage, bindings: Vec::new() }
    }

    /// Compares the record's MAC with those that a vault's keys produce.
    pub fn binding(&self, macs: &TrustMacs) -> Binding {
        let id = hex(&macs.vault_id);
        let Some((_, mac)) = self.bindings.iter().find(|(vault, _)| *vault == id) else {
            return Binding::Due;
        };

        if *mac == hex(&macs.current) {
            Binding::Current
        } else if macs.earlier.iter().any(|earlier| *mac == hex(earlier)) {
            Binding::Due
        } else {
            Binding::Broken
        }
    }

    /// Binds the record to a vault.
    pub fn bind(&mut self, macs: &TrustMacs) {
        let id = hex(&macs.vault_id);
        self.bindings.retain(|(vault, _)| *vault != id);
        self.bindings.push((id, hex(&macs.current)));
        let over = self.bindings.len().saturating_sub(MAX_VAULTS);

        self.bindings.drain(..over);
    }
}

/// The trust records, one per directory.
pub struct TrustStore(Records);

impl TrustStore {
    /// Opens the records in a directory. Writing creates the directory.
    pub fn new(directory: &Path) -> Self {
        Self(Records::new(directory, MAX_SIZE))
    }

    fn name(directory: &Path) -> String {
        Records::name_of(&[directory.as_os_str().as_bytes()])
    }

    /// Reads the record of a directory, given its canonical path. Returns `None` if there is no
    /// record, and an error if the record is invalid.
    pub fn read(&self, directory: &Path) -> io::Result<Option<TrustRecord>> {
        let record = self.parsed(&Self::name(directory))?;
        match record {
            // The record belongs to another directory and was stored under this one's name.
            Some(record) if record.coverage.directory() != directory => {
                Err(io::Error::other("it is invalid"))
            }
            record => Ok(record),
        }
    }

    fn parsed(&self, name: &str) -> io::Result<Option<TrustRecord>> {
        let Some(bytes) = self.0.read(name)? else { return Ok(None) };
        let record: TrustRecord =
            serde_json::from_slice(&bytes).map_err(|_| io::Error::other("it is invalid"))?;
        if record.version != VERSION {
            return Err(io::Error::other("it was written by another version of `secrets`"));
        }

        Ok(Some(record))
    }

    /// Writes the record of the directory that it describes.
    pub fn write(&self, record: &TrustRecord) -> io::Result<()> {
        let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
        self.0.write(&Self::name(&record.coverage.directory()), &bytes)
    }

    /// Removes the record of a directory. Returns false if there is none.
    pub fn remove(&self, directory: &Path) -> io::Result<bool> {
        self.0.remove(&Self::name(directory))
    }

    /// Returns all readable records, sorted by directory.
    pub fn all(&self) -> io::Result<Vec<TrustRecord>> {
        let mut records = Vec::new();
        for name in self.0.names()? {
            records.extend(self.parsed(&name).ok().flatten());
        }

        records.sort_by_key(|record| record.coverage.directory());
        Ok(records)
    }
}
