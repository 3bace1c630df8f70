//! The certificates of a cluster.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::installation::Installation;

const CA: &str = "ca.pem";
const OTHER_CA: &str = "other-ca.pem";
const CLIENT_CERT: &str = "client.pem";
const CLIENT_KEY: &str = "client-key.pem";
pub(crate) const SERVER_CERT: &str = "server.pem";
pub(crate) const SERVER_KEY: &str = "server-key.pem";

/// A directory with a CA, certificates of a server and a client, and a CA that has signed nothing.
pub(crate) struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Creates all certificates in a directory.
    pub(crate) fn create(installation: &Installation, directory: &Path) -> Self {
        let created = Self { directory: directory.to_owned() };
        let (issuer, ca) = authority("test CA");
        let (_, other_ca) = authority("other test CA");
        created.write(CA, &ca);
        created.write(OTHER_CA, &other_ca);

        let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        created.issue(&issuer, "localhost", names, SERVER_CERT, SERVER_KEY);
        created.issue(&issuer, "device", Vec::new(), CLIENT_CERT, CLIENT_KEY);

        created.give_to_server(installation);
        created
    }

    /// Copies all certificates to the directory of another cluster.
    pub(crate) fn copy_to(&self, installation: &Installation, directory: &Path) -> Self {
        let copy = Self { directory: directory.to_owned() };
        for name in [CA, OTHER_CA, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY] {
            fs::copy(self.directory.join(name), directory.join(name)).unwrap();
        }

        copy.give_to_server(installation);
        copy
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join(CA)
    }

    pub(crate) fn other_ca(&self) -> PathBuf {
        self.directory.join(OTHER_CA)
    }

    pub(crate) fn client_cert(&self) -> PathBuf {
        self.directory.join(CLIENT_CERT)
    }

    pub(crate) fn client_key(&self) -> PathBuf {
        self.directory.join(CLIENT_KEY)
    }

    fn issue(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        common_name: &str,
        names: Vec<String>,
        cert_file: &str,
        key_file: &str,
    ) {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;

        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        self.write(cert_file, &certificate.pem());
        self.write(key_file, &key.serialize_pem());
    }

    /// Writes a file that only we can read. Clients and the server refuse a key that others can
    /// read.
    fn write(&self, name: &str, pem: &str) {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(self.directory.join(name)).unwrap();
        file.write_all(pem.as_bytes()).unwrap();
    }

    /// Lets the server read its own files. The client's key stays ours.
    fn give_to_server(&self, installation: &Installation) {
        for name in [CA, SERVER_CERT, SERVER_KEY] {
            installation.give(&self.directory.join(name));
        }
    }
}

/// Returns a new authority and its certificate in PEM.
fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);

    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}
