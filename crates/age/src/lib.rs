//! age files (<https://age-encryption.org/v1>), which `export` writes and `import` reads, by the
//! `age` crate. The vault's own format does not use them.
//!
//! A file is hostile until it is opened. Its header is bounded before it is parsed, and the cost of
//! its passphrase is bounded before memory is allocated. Errors never contain the library's text.

use std::io::{self, BufReader, Chain, Cursor, Read, Write};
use std::iter;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::{ExposeSecret, SecretString};
use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};
use secrets_core::model::SecretBytes;
use sha2::{Digest as _, Sha256};

/// scrypt's work factor for new files, the same as in `age` itself: 2^18, which takes 256 MiB and
/// about a second.
const WORK: u8 = 18;
/// The number of bytes that one guess at the passphrase moves through memory. scrypt writes 1 KiB
/// for each unit of work and reads it again.
pub const BYTES_PER_GUESS: u64 = (2 * 1024) << WORK;
/// The highest work factor that a file may ask for: 2^20, which takes 1 GiB.
pub const MAX_WORK: u8 = 20;
/// The largest size of a header in bytes.
const MAX_HEADER: usize = 64 * 1024;
/// The maximum number of recipients of a file, chosen so that its header fits into that size.
pub const MAX_RECIPIENTS: usize = 256;
/// The maximum number of stanzas in a header: recipients, and some that other software adds.
const MAX_STANZAS: usize = 2 * MAX_RECIPIENTS;

const MAGIC: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The reason why an age file could not be written or opened.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    #[error("wrong passphrase")]
    WrongPassphrase,
    #[error("none of the identities can decrypt it")]
    WrongIdentity,
    /// The file is encrypted to a passphrase, but an identity was given
    #[error("it is encrypted with a passphrase, not to a key")]
    NeedsPassphrase,
    /// The file is encrypted to keys, but a passphrase was given
    #[error("it is encrypted to a key, not with a passphrase")]
    NeedsIdentity,
    /// The file is cut short, was changed, or never was an age file
    #[error("it is damaged, cut short or was tampered with")]
    Damaged,
    #[error("its version of the age format is not supported")]
    Version,
    #[error("its passphrase needs more than 2^{MAX_WORK} rounds of scrypt (1 GiB of memory)")]
    TooMuchWork,
    #[error("not enough memory: its key derivation needs {0} MiB")]
    Memory(u64),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A recipient of a file: an X25519 key, `age1…`. It is not secret.
pub struct Recipient(x25519::Recipient);

impl Recipient {
    /// Parses `age1…`. Other kinds of recipients, such as SSH keys and plugins, give `None`.
    pub fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }
}

/// Draws a key pair: an identity `AGE-SECRET-KEY-1…`, and its recipient `age1…`.
pub fn key_pair() -> (SecretBytes, String) {
    let identity = x25519::Identity::generate();
    let private = SecretBytes::copy_of(identity.to_string().expose_secret().as_bytes());
    (private, identity.to_public().to_string())
}

/// An identity that opens files: `AGE-SECRET-KEY-1…`.
pub struct Identity(x25519::Identity);

impl Identity {
    /// Parses the lines of an identity file as `age-keygen` writes it. Returns the number of the
    /// first invalid line as an error.
    pub fn parse_all(text: &SecretBytes) -> Result<Vec<Self>, usize> {
        let lines = text.expose().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
        let meant = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with(b"#"));
        let one = |(line, number): (&[u8], usize)| {
            std::str::from_utf8(line)
                .ok()
                .and_then(|line| line.parse().ok())
                .map(Self)
                .ok_or(number)
        };

        meant.map(one).collect()
    }
}

/// A passphrase or keys to encrypt a new file to.
pub enum To<'a> {
    Passphrase(&'a SecretBytes),
    /// One or more keys; any one of them opens the file
    Recipients(&'a [Recipient]),
}

/// A passphrase or identities to open a file with.
pub enum DecryptWith<'a> {
    Passphrase(&'a SecretBytes),
    /// Any of these identities
    Identities(&'a [Identity]),
}

/// Returns the file without white space before its armor.
pub fn trimmed(file: &[u8]) -> &[u8] {
    if file.starts_with(MAGIC) { file } else { file.trim_ascii_start() }
}

/// Returns true if `head` is the beginning of an age file of any version, binary or armored.
pub fn is_age(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.trim_ascii_start().starts_with(ARMOR)
}

/// An age file that is being written. The caller must call [`Self::finish`].
pub struct AgeWriter<W: Write>(StreamWriter<ArmoredWriter<W>>);

impl<W: Write> AgeWriter<W> {
    /// Writes the header.
    pub fn begin(to: &To<'_>, armor: bool, out: W) -> Result<Self, AgeError> {
        let encryptor = match to {
            To::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(text_of(passphrase)?);
                reserve(WORK)?;
                recipient.set_work_factor(WORK);
                Encryptor::with_recipients(iter::once(&recipient as _))
            }
            To::Recipients(recipients) => {
                Encryptor::with_recipients(recipients.iter().map(|to| &to.0 as _))
            }
        };

        let format = if armor { Format::AsciiArmor } else { Format::Binary };
        let encryptor =
            encryptor.map_err(|_| io::Error::other("the recipients cannot be combined"))?;
        Ok(Self(encryptor.wrap_output(ArmoredWriter::wrap_output(out, format)?)?))
    }

    /// Writes the end. Without it, the file is cut short.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()?.finish()
    }
}

impl<W: Write> Write for AgeWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

type Whole<R> = BufReader<Chain<Cursor<Vec<u8>>, ArmoredReader<BufReader<R>>>>;

/// An age file whose header was read.
pub struct AgeHeader<R: Read> {
    decryptor: Decryptor<Whole<R>>,
    work: Option<u8>,
    recipients: usize,
}

impl<R: Read> AgeHeader<R> {
    pub fn read(file: R) -> Result<Self, AgeError> {
        let mut file = ArmoredReader::new(file);
        let mut head = Vec::new();
        file.by_ref()
            .take(MAX_HEADER as u64)
            .read_to_end(&mut head)
            .map_err(|error| unreadable(&error))?;

        if !head.starts_with(MAGIC) {
            return Err(AgeError::Damaged);
        }

        // This finds the last line of the header. If it is missing, the library would search the
        // whole file for it.
        let Some(end) = memchr::memmem::find(&head, b"\n--- ") else {
            let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Err(if first == b"age-encryption.org/v1" {
                AgeError::Damaged
            } else {
                AgeError::Version
            });
        };

        let stanzas =
            || head[..end].split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"-> "));

        // The library parses the header again for each stanza.
        if stanzas().count() > MAX_STANZAS {
            return Err(AgeError::Damaged);
        }

        let work = stanzas().find_map(|line| line.strip_prefix(b"-> scrypt ")).map(work_of);

        // Only X25519 stanzas are counted: the library sometimes adds a stanza of random bytes, so
        // that nobody relies on its absence.
        let recipients = stanzas().filter(|line| line.starts_with(b"-> X25519 ")).count();
        let whole = BufReader::new(Cursor::new(head).chain(file));
        Ok(Self { decryptor: Decryptor::new_buffered(whole).map_err(failed)?, work, recipients })
    }

    /// Returns true if a passphrase opens the file, and false if a key does.
    pub fn needs_passphrase(&self) -> bool {
        self.decryptor.is_scrypt()
    }

    /// Returns the number of X25519 keys that the file is encrypted to.
    pub fn recipients(&self) -> usize {
        self.recipients
    }

    /// Opens the file. What the reader returns is authentic up to that point, and complete only
    /// when the end was reached.
    pub fn open(self, by: &DecryptWith<'_>) -> Result<AgeReader<R>, AgeError> {
        match (by, self.needs_passphrase()) {
            (DecryptWith::Passphrase(passphrase), true) => {
                let work =
                    self.work.filter(|work| *work <= MAX_WORK).ok_or(AgeError::TooMuchWork)?;
                reserve(work)?;
                let mut identity = scrypt::Identity::new(text_of(passphrase)?);
                identity.set_max_work_factor(MAX_WORK);

                let opened = self.decryptor.decrypt(iter::once(&identity as _));
                opened.map(AgeReader).map_err(|error| match error {
                    DecryptError::DecryptionFailed
                    | DecryptError::KeyDecryptionFailed
                    | DecryptError::NoMatchingKeys => AgeError::WrongPassphrase,
                    error => failed(error),
                })
            }
            (DecryptWith::Identities(identities), false) => {
                let opened = self.decryptor.decrypt(identities.iter().map(|one| &one.0 as _));
                opened.map(AgeReader).map_err(|error| match error {
                    DecryptError::NoMatchingKeys => AgeError::WrongIdentity,
                    error => failed(error),
                })
            }
            (DecryptWith::Passphrase(_), false) => Err(AgeError::NeedsIdentity),
            (DecryptWith::Identities(_), true) => Err(AgeError::NeedsPassphrase),
        }
    }
}

/// An open age file.
pub struct AgeReader<R: Read>(StreamReader<Whole<R>>);

impl<R: Read> AgeReader<R> {
    /// Passes the whole content to `take`, piece by piece, and wipes each piece afterwards. The
    /// file was complete if this succeeds.
    pub fn each(mut self, mut take: impl FnMut(&[u8])) -> Result<(), AgeError> {
        let mut piece = SecretBytes::zeroed(64 * 1024);
        loop {
            match self.0.read(piece.expose_mut()) {
                Ok(0) => return Ok(()),
                Ok(length) => take(&piece.expose()[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
    }
}

/// A hash that compares two readings of the same content. It is never shown.
#[derive(PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// A writer that also hashes what it writes.
pub struct HashingWriter<W> {
    out: W,
    hash: Sha256,
}

impl<W> HashingWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, hash: Sha256::new() }
    }

    /// Adds bytes to the hash without writing them.
    pub fn take(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// Returns the inner writer and the hash.
    pub fn finish(self) -> (W, Digest) {
        (self.out, Digest(self.hash.finalize().into()))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(bytes)?;
        self.hash.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Copies a passphrase into the library's text type, which wipes it. The copy has no spare
/// capacity, so it is never reallocated.
fn text_of(passphrase: &SecretBytes) -> Result<SecretString, AgeError> {
    let text = std::str::from_utf8(passphrase.expose()).map_err(|_| AgeError::WrongPassphrase)?;
    Ok(SecretString::from(text.to_owned()))
}

/// Returns the work factor of `SALT WORK`. Anything but a small number counts as larger than
/// allowed.
fn work_of(arguments: &[u8]) -> u8 {
    let number = arguments.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or(u8::MAX)
}

/// Tries to allocate scrypt's memory before the library does. If the library fails to allocate, the
/// process aborts.
fn reserve(work: u8) -> Result<(), AgeError> {
    let bytes = 1_u64 << (10 + work.min(MAX_WORK));
    let is_available =
        usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if is_available { Ok(()) } else { Err(AgeError::Memory(bytes >> 20)) }
}

fn failed(error: DecryptError) -> AgeError {
    match error {
        DecryptError::ExcessiveWork { .. } => AgeError::TooMuchWork,
        DecryptError::UnknownFormat => AgeError::Version,
        DecryptError::Io(error) => unreadable(&error),
        _ => AgeError::Damaged,
    }
}

/// The library reports damage as I/O errors. Only errors with an OS error number are real ones.
fn unreadable(error: &io::Error) -> AgeError {
    match error.raw_os_error() {
        Some(number) => AgeError::Io(io::Error::from_raw_os_error(number)),
        None => AgeError::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(armor: bool) -> (Vec<u8>, Vec<Identity>) {
        let identity = x25519::Identity::generate();
        let to = [Recipient(identity.to_public())];
        let mut sealing = AgeWriter::begin(&To::Recipients(&to), armor, Vec::new()).unwrap();
        sealing.write_all(&vec![7; 100_000]).unwrap();

        (sealing.finish().unwrap(), vec![Identity(identity)])
    }

    fn opened(file: &[u8], by: &[Identity]) -> Result<SecretBytes, AgeError> {
        let mut all = SecretBytes::with_capacity(0);
        AgeHeader::read(file)?
            .open(&DecryptWith::Identities(by))?
            .each(|piece| all.extend(piece))?;

        Ok(all)
    }

    #[test]
    fn sealed_files_open_again() {
        for armor in [false, true] {
            let (file, by) = sealed(armor);
            assert!(is_age(&file));
            assert!(opened(&file, &by).unwrap().expose() == vec![7; 100_000]);
            assert!(matches!(opened(&file, &sealed(false).1), Err(AgeError::WrongIdentity)));
        }
    }

    #[test]
    fn every_bit_and_every_length_counts() {
        let (file, by) = sealed(false);
        for at in (0..400).chain(file.len() - 100..file.len()).chain([65_700, 65_900]) {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert!(opened(&bad, &by).is_err(), "byte {at}");
            assert!(opened(&file[..at], &by).is_err(), "cut at {at}");
        }

        assert!(opened(&[&file[..], b"x"].concat(), &by).is_err());
    }

    #[test]
    fn a_hostile_header_costs_nothing() {
        let passphrase = SecretBytes::copy_of(b"x");
        let body = format!("{}\n--- {}\n{}", "A".repeat(43), "A".repeat(43), "x".repeat(100));
        for (work, expected) in
            [("21", true), ("63", true), ("255", true), ("99999", true), ("-1", true), ("1", false)]
        {
            let file =
                format!("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA {work}\n{body}");
            let outcome = AgeHeader::read(file.as_bytes())
                .and_then(|file| file.open(&DecryptWith::Passphrase(&passphrase)));
            assert_eq!(matches!(outcome, Err(AgeError::TooMuchWork)), expected, "{work}");
        }

        let many = format!("age-encryption.org/v1\n{}", "-> X25519 a\n\n".repeat(1_000_000));
        assert!(matches!(AgeHeader::read(many.as_bytes()), Err(AgeError::Damaged)));
        let parts = "-> a\n\n".repeat(5000);
        let many =
            format!("age-encryption.org/v1\n{parts}--- {}\n{}", "A".repeat(43), "x".repeat(100));
        assert!(matches!(AgeHeader::read(many.as_bytes()), Err(AgeError::Damaged)));
        assert!(matches!(
            AgeHeader::read(&b"age-encryption.org/v9\nanything that is long enough to be one"[..]),
            Err(AgeError::Version)
        ));
    }
}
