//! The certificates and the key of an address, in PEM format.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrets_core::model::SecretBytes;

use super::{AddressError, ClientCertificate, FileContent, Files, MAX_PEM, Readers, Roots};

/// Where the certificates are.
pub(super) struct Paths {
    /// A path, or `system`
    pub(super) roots: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// The directory above `.postgresql`
    pub(super) home: Option<PathBuf>,
}

impl Paths {
    fn default_of(&self, name: &str) -> Option<PathBuf> {
        self.home.as_deref().map(|home| home.join(".postgresql").join(name))
    }
}

/// Reads the authorities: those of the named file, else those of `~/.postgresql/root.crt` if it
/// exists, else the system's.
pub(super) fn load_roots(paths: &Paths, files: &dyn Files) -> Result<Roots, AddressError> {
    let (path, file) = match paths.roots.as_deref() {
        Some("system") => return Ok(Roots::System),
        Some(path) => (PathBuf::from(path), read_existing(Path::new(path), files)?),
        None => match read_default(paths.default_of("root.crt"), files)? {
            Some(found) => found,
            None => return Ok(Roots::System),
        },
    };

    let pem = file.bytes.expose();
    let certificates = parse_certificates(pem).unwrap_or_default();
    match RootCertStore::empty().add_parsable_certificates(certificates) {
        (0, _) => Err(AddressError::NoCertificate(path)),
        _ => Ok(Roots::Pem(pem.to_vec())),
    }
}

/// Reads our certificate and its key: the named files, else those in `~/.postgresql` if both exist.
pub(super) fn load_client(
    paths: &Paths,
    files: &dyn Files,
) -> Result<Option<ClientCertificate>, AddressError> {
    let default_certificate = paths.default_of("postgresql.crt");
    let default_key = paths.default_of("postgresql.key");

    if paths.certificate.is_none() && paths.key.is_none() {
        let certificate = read_default(default_certificate, files)?;
        let key = read_default(default_key, files)?;
        return match (certificate, key) {
            (Some(certificate), Some(key)) => pair(certificate, key).map(Some),
            _ => Ok(None),
        };
    }

    let read = |named: Option<&PathBuf>, default: Option<PathBuf>, name| {
        let path = named.cloned().or(default).ok_or(AddressError::Missing(PathBuf::from(name)))?;
        let file = read_existing(&path, files)?;
        Ok((path, file))
    };
    let certificate =
        read(paths.certificate.as_ref(), default_certificate, "~/.postgresql/postgresql.crt")?;
    let key = read(paths.key.as_ref(), default_key, "~/.postgresql/postgresql.key")?;
    pair(certificate, key).map(Some)
}

/// Checks that a certificate and a key belong together, and that nobody else can read the key.
fn pair(
    (certificate_path, certificate): (PathBuf, FileContent),
    (key_path, key): (PathBuf, FileContent),
) -> Result<ClientCertificate, AddressError> {
    if key.readers == Readers::Others {
        return Err(AddressError::NotPrivate(key_path));
    }

    let chain = certificate.bytes.expose().to_vec();
    let Some(certificates) = parse_certificates(&chain) else {
        return Err(AddressError::NoCertificate(certificate_path));
    };

    let Some(parsed) = parse_key(&key.bytes) else {
        let is_encrypted = key.bytes.expose().windows(9).any(|bytes| bytes == b"ENCRYPTED");
        let error = if is_encrypted { AddressError::EncryptedKey } else { AddressError::NoKey };
        return Err(error(key_path));
    };

    match CertifiedKey::from_der(certificates, parsed, &ring::default_provider()) {
        Ok(_) => Ok(ClientCertificate { chain, key: key.bytes }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(AddressError::KeyMismatch { key: key_path, certificate: certificate_path })
        }
        Err(rustls::Error::InvalidCertificate(_)) => {
            Err(AddressError::NoCertificate(certificate_path))
        }
        Err(_) => Err(AddressError::NoKey(key_path)),
    }
}

fn read_existing(path: &Path, files: &dyn Files) -> Result<FileContent, AddressError> {
    let content = files.read(path, MAX_PEM).map_err(|error| AddressError::read(path, &error))?;
    content.ok_or_else(|| AddressError::Missing(path.to_owned()))
}

fn read_default(
    path: Option<PathBuf>,
    files: &dyn Files,
) -> Result<Option<(PathBuf, FileContent)>, AddressError> {
    let Some(path) = path else { return Ok(None) };

    let content = files.read(&path, MAX_PEM).map_err(|error| AddressError::read(&path, &error))?;
    Ok(content.map(|content| (path, content)))
}

/// Returns the certificates of a PEM. Returns `None` if it has no certificate or a
/// damaged one.
pub(crate) fn parse_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// Returns the first private key of a PEM, if it is not encrypted.
pub(crate) fn parse_key(pem: &SecretBytes) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.expose()).ok()
}
