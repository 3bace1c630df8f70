//! Reads git's objects, loose and packed. It never fetches, so an object that a partial clone lacks
//! is reported as missing.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use secrets_files::open::{self, is_absent};

use super::GitError;
use super::files::read;
use super::object::{ExactReader, Hash, Id, Inflate, Kind, MAX_SIZE, Object, invalid};
use super::pack::Pack;

/// A repository's objects.
pub(super) struct Objects {
    directories: Vec<PathBuf>,
    packs: Vec<Pack>,
    hash: Hash,
}

/// The maximum number of object directories that are read, including those that `info/alternates`
/// names.
const DIRECTORIES: usize = 64;

impl Objects {
    /// Opens the objects of some directories, and of the directories that they borrow from.
    pub(super) fn open(directories: &[PathBuf], hash: Hash) -> Result<Self, GitError> {
        let mut all: Vec<PathBuf> = Vec::new();
        let mut pending: Vec<PathBuf> = directories.iter().rev().cloned().collect();

        while let Some(directory) = pending.pop() {
            if all.contains(&directory) || all.len() == DIRECTORIES {
                continue;
            }

            let borrowed =
                read(&directory.join("info/alternates"), 1024 * 1024)?.unwrap_or_default();
            let lines = borrowed
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty() && line[0] != b'#');

            pending
                .extend(lines.rev().map(|line| directory.join(std::ffi::OsStr::from_bytes(line))));
            all.push(directory);
        }

        let mut packs = Vec::new();
        for directory in &all {
            packs.extend(packs_of(&directory.join("pack"), hash)?);
        }

        Ok(Self { directories: all, packs, hash })
    }

    pub(super) fn get(&self, id: &Id) -> Result<Object<'_>, GitError> {
        let name = id.to_string();
        for directory in &self.directories {
            let path = directory.join(&name[..2]).join(&name[2..]);
            match open::regular(&path) {
                Ok(file) => return loose(file).map_err(|source| GitError::io(&path, source)),
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(GitError::io(&path, source)),
            }
        }

        for pack in &self.packs {
            if let Some(offset) = pack.find(id)? {
                return pack.get(offset, &|id| self.base(id));
            }
        }

        Err(GitError::Missing(*id))
    }

    /// Returns the kind and content of the base object of a packed delta.
    fn base(&self, id: &Id) -> Result<(Kind, Vec<u8>), GitError> {
        // Git stores a delta only against an object of the same pack, and the pack was searched
        // before. So only loose objects are searched here.
        let name = id.to_string();
        for directory in &self.directories {
            let path = directory.join(&name[..2]).join(&name[2..]);
            if let Ok(file) = open::regular(&path) {
                let failed = |source| GitError::io(&path, source);
                let object = loose(file).map_err(failed)?;
                let mut content = Vec::new();
                object.content.take(MAX_SIZE + 1).read_to_end(&mut content).map_err(failed)?;

                return Ok((object.kind, content));
            }
        }

        Err(GitError::Missing(*id))
    }

    /// Returns the content of an object, which must be of this kind and have at most `most` bytes.
    pub(super) fn whole(&self, id: &Id, kind: Kind, most: u64) -> Result<Vec<u8>, GitError> {
        let object = self.get(id)?;
        let failed = |why: String| GitError::Object { id: *id, why };
        if object.kind != kind {
            return Err(failed(
                format!("is a {:?}, expected a {kind:?}", object.kind).to_lowercase(),
            ));
        }

        let mut content = Vec::new();
        object
            .content
            .take(most + 1)
            .read_to_end(&mut content)
            .map_err(|error| failed(format!("is damaged: {error}")))?;

        if content.len() as u64 > most {
            return Err(failed("is too large".into()));
        }

        Ok(content)
    }

    /// Returns the hash function of the ids.
    pub(super) fn hash(&self) -> Hash {
        self.hash
    }
}

/// The maximum number of packs that are read.
const PACKS: usize = 10_000;

fn packs_of(directory: &Path, hash: Hash) -> Result<Vec<Pack>, GitError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(GitError::io(directory, source)),
    };

    let mut packs = Vec::new();
    for entry in entries.take(PACKS) {
        let path = entry.map_err(|source| GitError::io(directory, source))?.path();
        if path.extension().is_some_and(|extension| extension == "idx")
            && path.with_extension("pack").exists()
        {
            packs.push(Pack::new(path, hash));
        }
    }

    Ok(packs)
}

/// Opens a loose object. It consists of the kind and the size as text, a zero byte, and the
/// content, all compressed together.
fn loose(file: File) -> io::Result<Object<'static>> {
    let mut content = Inflate::new(BufReader::new(file));
    let mut header = Vec::new();
    loop {
        let mut byte = [0];
        content.read_exact(&mut byte)?;
        if byte == [0] {
            break;
        }

        header.push(byte[0]);
        if header.len() > 32 {
            return Err(invalid("the object's header is too long"));
        }
    }

    let mut words = header.split(|byte| *byte == b' ');
    let kind = match words.next() {
        Some(b"commit") => Kind::Commit,
        Some(b"tree") => Kind::Tree,
        Some(b"blob") => Kind::Blob,
        Some(b"tag") => Kind::Tag,
        _ => return Err(invalid("the object has an unknown kind")),
    };

    let size = words.next().and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
    let size = size.ok_or_else(|| invalid("the object has an invalid size"))?;
    Ok(Object { kind, content: Box::new(ExactReader { from: content, left: size }) })
}
