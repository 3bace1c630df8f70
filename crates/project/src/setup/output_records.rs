//! Remembers what was last written: for each output a digest and the names of its variables, and
//! for each project the directories that use it.
//!
//! A record is a small private file that holds no value. A missing record leads to one more
//! question, but never to the loss of a file. docs/design/outputs.md explains what is remembered
//! and why.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::output_digest::{OutputDigest, OutputKey, hex};
use secrets_core::model::{ProjectName, Tag, TagKey};
use secrets_core::store::absolute;
use secrets_files::Records;
use secrets_files::open;
use serde::{Deserialize, Serialize};

use super::manifest::{MANIFEST, MAX_SIZE, Manifest};
use super::relative;
use crate::dotenv;

/// The maximum size of a record in bytes.
const RECORD: u64 = 4 * 1024 * 1024;

/// The records of outputs, with the digest key of one project.
pub struct OutputRecords {
    records: Option<Records>,
    key: Option<OutputKey>,
    /// The keys of other projects that may have written the same outputs
    others: Vec<OutputKey>,
    /// True if the records of removed outputs were already cleaned up
    tidied: Cell<bool>,
}

/// An output as it was last written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    version: u32,
    /// Its path, whose directory is canonical
    #[serde(with = "path_json")]
    pub path: PathBuf,
    /// The id of the project whose secrets it contains; empty if it contains none
    project: String,
    /// The id of the digest's key; empty for a digest without a key
    key: String,
    digest: String,
    /// The names of its variables, if it is a dotenv file
    pub names: Vec<String>,
    /// The secrets that its template refers to
    pub tags: Vec<String>,
}

/// Who wrote the content of an existing output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// We wrote exactly this content
    Ours,
    /// We wrote the file, and it was changed afterwards
    Changed,
    /// We wrote the file under a key that we do not have, so changes cannot be detected
    OtherKey,
    /// The file has no record
    Unknown,
}

impl OutputRecords {
    /// Opens the records in `directory`. Either argument is `None` if there is no such directory or
    /// no such project.
    pub fn new(directory: Option<&Path>, key: Option<OutputKey>) -> Self {
        Self {
            records: directory.map(|directory| Records::new(directory, RECORD)),
            key,
            others: Vec::new(),
            tidied: Cell::new(false),
        }
    }

    /// Takes outputs that were written under one of these keys for ours, too. An environment may write
    /// to the same paths as another.
    #[must_use]
    pub fn with_others(self, others: Vec<OutputKey>) -> Self {
        Self { others, ..self }
    }

    /// Starts the digest of an output. Returns `None` if the output has secrets and there is no
    /// key.
    pub fn digest(&self, has_secrets: bool) -> Option<OutputDigest> {
        if has_secrets {
            self.key.as_ref().map(OutputKey::digest)
        } else {
            Some(OutputDigest::plain())
        }
    }

    /// Returns the record of an output, whatever key it was written under.
    pub fn of(&self, path: &Path) -> Option<Remembered> {
        let (records, path) = (self.records.as_ref()?, absolute(path).ok()?);
        read(records, &name_of(&path)).filter(|found| found.path == path)
    }

    /// Returns every readable record of the project whose output still exists, whatever key the
    /// output was written under.
    fn all(&self) -> Vec<Remembered> {
        let (Some(records), Some(key)) = (&self.records, &self.key) else { return Vec::new() };
        let (names, project) = (records.names().unwrap_or_default(), key.project());
        let found = names
            .iter()
            .filter_map(|name| read(records, name))
            .filter(|found| found.project == project);

        found.filter(|found| found.path.symlink_metadata().is_ok()).collect()
    }

    /// Finds out who wrote a file's content. Content that we wrote to any path counts as ours,
    /// because directories are moved and copied.
    pub fn origin(&self, path: &Path, file: &mut File) -> io::Result<Origin> {
        let Some(records) = &self.records else { return Ok(Origin::Unknown) };
        let own = self.of(path);
        let found = digests_of(self.key.iter().chain(&self.others), file)?;
        let is_same = |record: &Remembered| {
            found.iter().any(|(key, digest)| (key, digest) == (&record.key, &record.digest))
        };

        if own.as_ref().is_some_and(is_same) {
            return Ok(Origin::Ours);
        }

        let names = records.names().unwrap_or_default();
        let mut others = names.iter().filter_map(|name| read(records, name));
        if others.any(|record| is_same(&record)) {
            return Ok(Origin::Ours);
        }

        Ok(match own {
            None => Origin::Unknown,
            Some(own) if own.key.is_empty() || found.iter().any(|(key, _)| *key == own.key) => {
                Origin::Changed
            }
            Some(_) => Origin::OtherKey,
        })
    }

    /// Records an output that was just written, or that already has the content to write. A failure
    /// to write the record is ignored, because it only makes the next command ask.
    pub fn note(&self, path: &Path, digest: OutputDigest, names: Vec<String>, tags: &[Tag]) {
        let (Some(records), Ok(path)) = (&self.records, absolute(path)) else { return };
        let has_key = !matches!(digest, OutputDigest::Plain(_));
        let (project, key) = match self.key.as_ref().filter(|_| has_key) {
            Some(key) => (key.project(), key.id()),
            None => (String::new(), String::new()),
        };

        let mut tags: Vec<String> = tags.iter().map(Tag::to_string).collect();
        tags.sort();
        let mut now =
            Remembered { version: 1, path, project, key, digest: digest.finish(), names, tags };

        let name = name_of(&now.path);
        let before = read(records, &name);
        if before.as_ref() == Some(&now) {
            return;
        }

        let mut bytes = serde_json::to_vec(&now).unwrap_or_default();
        if bytes.len() as u64 > RECORD {
            (now.names, now.tags) = (Vec::new(), Vec::new());
            bytes = serde_json::to_vec(&now).unwrap_or_default();
        }

        // The clean-up runs once per command, because it reads every record.
        if records.write(&name, &bytes).is_ok() && before.is_none() && !self.tidied.replace(true) {
            forget_removed(records);
        }
    }

    /// Returns the recorded outputs whose templates refer to a tag.
    pub fn users_of(&self, tag: &TagKey) -> Vec<PathBuf> {
        let refers = |found: &Remembered| {
            found.tags.iter().any(|other| Tag::parse(other).is_ok_and(|t| t.key() == *tag))
        };

        self.all().into_iter().filter(refers).map(|found| found.path).collect()
    }
}

fn read(records: &Records, name: &str) -> Option<Remembered> {
    let found: Remembered = serde_json::from_slice(&records.read(name).ok()??).ok()?;
    (found.version == 1).then_some(found)
}

/// Returns a file's digest without a key and its digests under keys, each with the id of its key.
fn digests_of<'k>(
    keys: impl IntoIterator<Item = &'k OutputKey>,
    file: &mut File,
) -> io::Result<Vec<(String, String)>> {
    let mut digests = vec![(String::new(), OutputDigest::plain())];
    digests.extend(keys.into_iter().map(|key| (key.id(), key.digest())));

    let mut piece = secrets_core::model::SecretBytes::zeroed(64 * 1024);
    loop {
        let length = file.read(piece.expose_mut())?;
        if length == 0 {
            break;
        }

        for (_, digest) in &mut digests {
            digest.write_all(&piece.expose()[..length])?;
        }
    }

    Ok(digests.into_iter().map(|(key, digest)| (key, digest.finish())).collect())
}

/// Outputs that are unchanged since they were written, and that can be recorded under other keys.
pub struct IntactOutputs {
    records: Records,
    /// Each record with its name and the file's digest without a key, which stays in memory
    outputs: Vec<(String, Remembered, String)>,
}

impl IntactOutputs {
    /// Finds the outputs that are unchanged since they were written under one of these keys.
    /// Unreadable ones are left out.
    pub fn find(directory: &Path, keys: &[OutputKey]) -> Self {
        let records = Records::new(directory, RECORD);
        let by_id: HashMap<String, &OutputKey> = keys.iter().map(|key| (key.id(), key)).collect();
        let mut outputs = Vec::new();

        for name in records.names().unwrap_or_default() {
            let Some(record) = read(&records, &name) else { continue };
            let Some(key) = by_id.get(&record.key) else { continue };
            let Some([plain, keyed]) = both_digests(key, &record.path) else { continue };

            if keyed == record.digest {
                outputs.push((name, record, plain));
            }
        }

        Self { records, outputs }
    }

    /// Records the outputs under the new keys of their projects, unless they were changed in the
    /// meantime. A record that cannot be written only leads to a question later.
    pub fn renew(self, keys: &[OutputKey]) {
        let by_project: HashMap<String, &OutputKey> =
            keys.iter().map(|key| (key.project(), key)).collect();
        for (name, mut record, before) in self.outputs {
            let Some(key) = by_project.get(&record.project) else { continue };
            let Some([plain, keyed]) = both_digests(key, &record.path) else { continue };

            if plain == before {
                (record.key, record.digest) = (key.id(), keyed);
                let _ = self.records.write(&name, &serde_json::to_vec(&record).unwrap_or_default());
            }
        }
    }
}

/// Returns the digest of a regular file without a key, and its digest under a key.
fn both_digests(key: &OutputKey, path: &Path) -> Option<[String; 2]> {
    // We never write an output as a link or a FIFO.
    let mut file = open::without_following(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }

    let digests: Vec<String> =
        digests_of(Some(key), &mut file).ok()?.into_iter().map(|(_, digest)| digest).collect();
    digests.try_into().ok()
}

fn name_of(path: &Path) -> String {
    Records::name_of(&[path.as_os_str().as_encoded_bytes()])
}

/// Removes the records of outputs that no longer exist, because scripts render to temporary names.
fn forget_removed(records: &Records) {
    for name in records.names().unwrap_or_default() {
        let Ok(Some(bytes)) = records.read(&name) else { continue };
        let Ok(found) = serde_json::from_slice::<Remembered>(&bytes) else { continue };

        if found.path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            let _ = records.remove(&name);
        }
    }
}

/// Returns the names of a dotenv file's variables, each once. Returns `None` if the file is not a
/// valid dotenv file.
pub fn names_in(text: &[u8]) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in dotenv::parse(text).ok()? {
        if !names.contains(&entry.name) {
            names.push(entry.name);
        }
    }

    Some(names)
}

/// A directory that uses a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Use {
    version: u32,
    /// The vault's id in hexadecimal
    vault: String,
    project: String,
    #[serde(with = "path_json")]
    directory: PathBuf,
}

/// The directories that use the projects of one vault.
pub struct Directories {
    records: Records,
    vault: String,
}

impl Directories {
    /// Opens the records in `directory` about the vault with this id.
    pub fn new(directory: &Path, vault: &VaultId) -> Self {
        Self { records: Records::new(directory, RECORD), vault: hex(vault) }
    }

    fn name_of(&self, project: &ProjectName, directory: &Path) -> String {
        let directory = directory.as_os_str().as_encoded_bytes();
        Records::name_of(&[
            self.vault.as_bytes(),
            b"\0",
            project.as_str().as_bytes(),
            b"\0",
            directory,
        ])
    }

    /// Records that a directory uses a project. A failure to write the record is ignored.
    pub fn note(&self, project: &ProjectName, directory: &Path) {
        let Ok(directory) = relative(directory).canonicalize() else { return };
        let name = self.name_of(project, &directory);
        let now =
            Use { version: 1, vault: self.vault.clone(), project: project.to_string(), directory };

        if self.read(&name).as_ref() != Some(&now) {
            let _ = self.records.write(&name, &serde_json::to_vec(&now).unwrap_or_default());
        }
    }

    fn read(&self, name: &str) -> Option<Use> {
        let found: Use = serde_json::from_slice(&self.records.read(name).ok()??).ok()?;
        (found.version == 1).then_some(found)
    }

    /// Returns true if a directory is recorded as a user of a project.
    pub fn knows(&self, project: &ProjectName, directory: &Path) -> bool {
        let directory = relative(directory).canonicalize();
        directory.is_ok_and(|directory| self.read(&self.name_of(project, &directory)).is_some())
    }

    /// Returns the other directories that use a project. A directory does not count if it was moved
    /// or removed, if its manifest now names another project, if it has the same manifest as
    /// `here`, or if it is in another worktree of the same repository.
    pub fn others(&self, project: &ProjectName, here: &Path) -> Vec<PathBuf> {
        let Ok(here) = relative(here).canonicalize() else { return Vec::new() };
        let own = manifest_in(&here);
        let names = self.records.names().unwrap_or_default();
        let uses = names.iter().filter_map(|name| self.read(name));
        let mut others: Vec<PathBuf> = uses
            .filter(|found| {
                found.vault == self.vault
                    && found.project == project.as_str()
                    && found.directory != here
            })
            .map(|found| found.directory)
            .filter(|other| {
                manifest_in(other)
                    .is_some_and(|text| is_for(&text, project) && Some(&text) != own.as_ref())
            })
            .filter(|other| {
                repository(other).is_none_or(|theirs| Some(theirs) != repository(&here))
            })
            .collect();

        others.sort();
        others
    }
}

/// Returns true if two outputs are the same one. They are if they have the same path, or the same
/// path within two worktrees of a repository or within two directories with the same manifest. Both
/// paths are absolute.
pub fn is_same_output(one: &Path, other: &Path) -> bool {
    let root = |path: &Path| {
        let root =
            path.ancestors().skip(1).find(|above| above.join(MANIFEST).is_file())?.to_owned();
        path.strip_prefix(&root).ok().map(|inside| (inside.to_owned(), root.clone()))
    };

    if one == other {
        return true;
    }

    let (Some((inside, here)), Some((other_inside, other_root))) = (root(one), root(other)) else {
        return false;
    };

    let repositories = (repository(&here), repository(&other_root));
    inside == other_inside
        && (manifest_in(&here) == manifest_in(&other_root)
            || repositories.0.is_some() && repositories.0 == repositories.1)
}

/// Reads a directory's manifest.
fn manifest_in(directory: &Path) -> Option<Vec<u8>> {
    let path = directory.join(MANIFEST);
    let mut text = Vec::new();
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    File::open(path).ok()?.take(MAX_SIZE + 1).read_to_end(&mut text).ok()?;

    Some(text)
}

/// Reads another directory's manifest, if it is one for this project.
pub(super) fn manifest_of(directory: &Path, project: &ProjectName) -> Option<Manifest> {
    let text = String::from_utf8(manifest_in(directory)?).ok()?;
    Manifest::parse(directory, &text)
        .ok()
        .filter(|found| found.project.as_ref().is_none_or(|named| named == project))
}

/// Returns false if a manifest cannot be parsed or names another project. Text that is not UTF-8 is
/// not checked.
fn is_for(text: &[u8], project: &ProjectName) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return true };
    Manifest::parse(Path::new(""), text)
        .is_ok_and(|manifest| manifest.project.is_none_or(|named| named == *project))
}

/// Returns the directory's git repository, which all its worktrees share, and the directory's path
/// inside it.
fn repository(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    for above in directory.ancestors() {
        let git = above.join(".git");
        let Ok(found) = git.symlink_metadata() else { continue };
        let inside = directory.strip_prefix(above).ok()?.to_owned();

        if found.is_dir() {
            return Some((git.canonicalize().ok()?, inside));
        }

        // In a linked worktree, `.git` is a file that names the worktree's own git directory. The
        // file `commondir` in there names the shared one.
        let part = above.join(line_of(&git)?.strip_prefix("gitdir: ")?);
        let common = part.join(line_of(&part.join("commondir"))?);
        return Some((common.canonicalize().ok()?, inside));
    }

    None
}

/// Reads the only line of a short file.
fn line_of(path: &Path) -> Option<String> {
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    File::open(path).ok()?.take(8192).read_to_string(&mut text).ok()?;
    Some(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Stores paths in JSON as a string, or as a list of bytes if they are not UTF-8.
mod path_json {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum PathForm {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match path.to_str() {
            Some(text) => PathForm::Text(text.to_owned()),
            None => PathForm::Bytes(path.as_os_str().as_bytes().to_vec()),
        };

        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PathBuf, D::Error> {
        Ok(match PathForm::deserialize(deserializer)? {
            PathForm::Text(text) => text.into(),
            PathForm::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}
