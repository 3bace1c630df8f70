//! Private records: small files in one directory, which are checked when they are read and replaced
//! atomically.
//!
//! Writing does not flush to the disk. After a power cut a record may be older, empty or missing,
//! so callers must work without it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::identity::KeptFile;
use super::open::is_absent;
use super::{directory, leftovers, open};

/// A directory of records. Each has a name of 32 hexadecimal digits.
#[derive(Debug, Clone)]
pub struct Records {
    directory: PathBuf,
    largest: u64,
}

/// The lock of a directory of records. It ends when this is dropped.
#[derive(Debug)]
pub struct RecordsLock(fs::File);

impl Drop for RecordsLock {
    fn drop(&mut self) {
        // Closing the file may fail. This process would then wait for its own lock the next time.
        let _ = self.0.unlock();
    }
}

impl Records {
    /// Opens the records in `directory`, each of at most `largest` bytes. The first write creates
    /// the directory.
    pub fn new(directory: &Path, largest: u64) -> Self {
        Self { directory: directory.to_owned(), largest }
    }

    /// Returns the name of the record about `subject`: the first 16 bytes of its SHA-256.
    pub fn name_of(subject: &[&[u8]]) -> String {
        let mut digest = Sha256::new();
        for part in subject {
            digest.update(part);
        }

        let digest: [u8; 32] = digest.finalize().into();

        let (name, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        format!("{:032x}", u128::from_be_bytes(*name))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Reads a record. Returns `None` if nothing was written, if it did not reach the disk, or if
    /// something other than a file has its name. Links, files of other users, files that others can
    /// write to and files that are too large are errors.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match open::without_following(&self.path(name)) {
            Err(error) if is_absent(&error) => return Ok(None),
            opened => opened?,
        };

        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        } else if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        } else if metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("other users can write to it"));
        } else if metadata.len() > self.largest {
            return Err(io::Error::other("it is too large"));
        }

        let mut bytes = Vec::new();
        file.take(self.largest).read_to_end(&mut bytes)?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Replaces a record atomically. The file has mode 0600.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        directory::create_private(&self.directory)?;
        let mut file = tempfile::Builder::new()
            .prefix(&leftovers::own_prefix())
            .tempfile_in(&self.directory)?;
        file.write_all(bytes)?;

        // A file cannot replace a directory. We create no directories here, so it is not ours.
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir(&path)?;
        }

        file.persist(path)?;

        let _ = leftovers::remove_all(&self.directory);
        Ok(())
    }

    /// Waits until no other process holds the lock of this directory.
    pub fn lock(&self) -> io::Result<RecordsLock> {
        self.lock_again(&mut None)
    }

    /// Does as [`Records::lock`], and keeps the file of the lock open for the next time. Two locks of
    /// one kept file do not exclude each other.
    pub fn lock_again(&self, kept: &mut Option<KeptFile>) -> io::Result<RecordsLock> {
        if kept.is_none() {
            directory::create_private(&self.directory)?;
        }

        let path = self.directory.join("lock");
        let file = KeptFile::reopen(kept, path, true)?;
        file.lock()?;
        Ok(RecordsLock(file))
    }

    /// Creates a record whose existence is its only information. A process that is killed leaves
    /// either the record or an empty file, which counts as absent. So no temporary file is needed.
    pub fn mark(&self, name: &str) -> io::Result<()> {
        directory::create_private(&self.directory)?;
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);

        options.open(self.path(name))?.write_all(b"settled")
    }

    /// Removes a record. Returns false if it does not exist.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let path = self.path(name);
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        match if is_directory { fs::remove_dir(&path) } else { fs::remove_file(&path) } {
            Err(error) if is_absent(&error) => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// Returns the names of all records in ascending order.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            entries => entries?,
        };

        let is_name =
            |name: &String| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok().filter(is_name));
        }

        names.sort_unstable();
        Ok(names)
    }

    /// Fails if the directory exists and no record can be written there.
    pub fn check_writable(&self) -> io::Result<()> {
        if !self.directory.is_dir() {
            return Ok(());
        }

        let written = tempfile::Builder::new()
            .prefix(&leftovers::own_prefix())
            .tempfile_in(&self.directory)
            .map(drop);

        // This keeps the system's message, but drops the temporary file's name.
        written.map_err(|error| error.kind().into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_private() {
        let home = tempfile::tempdir().unwrap();
        let records = Records::new(&home.path().join("a/b"), 8);
        let name = Records::name_of(&[b"subject"]);
        assert_eq!(name.len(), 32);
        assert_eq!(records.read(&name).unwrap(), None);
        assert_eq!(records.names().unwrap(), [""; 0]);
        assert!(!records.remove(&name).unwrap());

        records.write(&name, b"one").unwrap();
        records.write(&name, b"another").unwrap();
        assert_eq!(records.read(&name).unwrap().unwrap(), b"another");
        assert_eq!(records.names().unwrap(), [name.as_str()]);

        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&records.path(&name)), mode(records.directory())), (0o600, 0o700));

        assert!(records.remove(&name).unwrap());
        assert_eq!(records.read(&name).unwrap(), None);
    }

    #[test]
    fn a_mark_exists_or_not() {
        let home = tempfile::tempdir().unwrap();
        let records = Records::new(&home.path().join("a"), 64);
        let name = Records::name_of(&[b"subject"]);
        fs::create_dir(records.directory()).unwrap();
        fs::write(records.path(&name), "").unwrap();
        assert_eq!(records.read(&name).unwrap(), None);

        for _ in 0..2 {
            records.mark(&name).unwrap();
            assert!(records.read(&name).unwrap().is_some());
            assert_eq!(fs::read_dir(records.directory()).unwrap().count(), 1);
        }

        fs::remove_file(records.path(&name)).unwrap();
        symlink(home.path().join("other"), records.path(&name)).unwrap();
        assert!(records.mark(&name).is_err());
    }

    #[test]
    fn records_that_others_may_have_written_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let records = Records::new(home.path(), 8);
        let path = records.path("name");
        let refused = || records.read("name").unwrap_err().to_string();

        records.write("name", b"nine byte").unwrap();
        assert_eq!(refused(), "it is too large");
        records.write("name", b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(refused(), "other users can write to it");

        fs::rename(&path, home.path().join("other")).unwrap();
        symlink("other", &path).unwrap();
        assert!(records.read("name").is_err());
        records.write("name", b"two").unwrap();
        assert_eq!(records.read("name").unwrap().unwrap(), b"two");
        assert_eq!(fs::read(home.path().join("other")).unwrap(), b"one");
    }

    #[test]
    fn anything_but_a_file_counts_as_absent() {
        let home = tempfile::tempdir().unwrap();
        let records = Records::new(home.path(), 8);
        fs::create_dir(records.path("name")).unwrap();
        assert_eq!(records.read("name").unwrap(), None);
        records.write("name", b"one").unwrap();
        records.remove("name").unwrap();

        let mode = 0o600.into();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            records.path("name"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();

        assert_eq!(records.read("name").unwrap(), None);
        assert!(records.remove("name").unwrap());
    }
}
