//! The certificate authority of one session. Its key is only in this process, and its certificate
//! names the hosts that it may sign for (RFC 5280, section 4.2.1.10), so a client that trusts it
//! trusts it for nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64ct::{Base64, Encoder, LineEnding};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrets_core::model::{Host, HostPattern};

/// The certificate authority of a session.
pub struct SessionCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// The key of all leaf certificates
    leaf: KeyPair,
    provider: Arc<CryptoProvider>,
    configs: Mutex<HashMap<(Host, Protocols), Arc<ServerConfig>>>,
}

/// The protocols that a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocols {
    /// HTTP/1.1
    Http1,
    /// HTTP/2, and HTTP/1.1 for clients without it
    Http2,
}

/// The reason why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A certificate cannot be made
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot use it
    #[error("cannot use a certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// It does not fit into a text
    #[error("cannot write a certificate: {0}")]
    Text(#[from] base64ct::Error),
}

impl SessionCa {
    /// The days for which certificates are valid. They end with the session in any case.
    const DAYS: i64 = 30;

    /// Creates an authority for some hosts.
    pub fn new<'h>(
        hosts: impl IntoIterator<Item = &'h HostPattern>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, CaError> {
        let mut permitted: Vec<GeneralSubtree> = Vec::new();
        let (mut has_names, mut has_addresses) = (false, false);
        for host in hosts {
            let subtree = match host {
                HostPattern::Exact(Host::Name(name)) | HostPattern::Below(name) => {
                    has_names = true;
                    GeneralSubtree::DnsName(name.clone())
                }
                HostPattern::Exact(Host::Address(address)) => {
                    has_addresses = true;
                    GeneralSubtree::IpAddress(match address {
                        std::net::IpAddr::V4(address) => {
                            CidrSubnet::from_v4_prefix(address.octets(), 32)
                        }
                        std::net::IpAddr::V6(address) => {
                            CidrSubnet::from_v6_prefix(address.octets(), 128)
                        }
                    })
                }
            };

            if !permitted.contains(&subtree) {
                permitted.push(subtree);
            }
        }

        // A kind of name without a constraint would not be constrained at all.
        if !has_names {
            permitted.push(GeneralSubtree::DnsName("invalid".into()));
        }

        let mut excluded = Vec::new();
        if !has_addresses {
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)));
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)));
        }

        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "secrets proxy, one session");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        Self::set_validity(&mut params);

        let (key, leaf) = (KeyPair::generate()?, KeyPair::generate()?);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            pem: pem_of(certificate.der())?,
            issuer: Issuer::new(params, key),
            leaf,
            provider,
            configs: Mutex::default(),
        })
    }

    /// Sets a validity around the present time. Some clients refuse a certificate that is valid for
    /// years, and clocks of virtual machines differ.
    fn set_validity(params: &mut CertificateParams) {
        let now = jiff::Timestamp::now().as_second();
        let day = |days: i64| {
            let date = jiff::Timestamp::from_second(now + days * 24 * 60 * 60)
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let date = date.to_zoned(jiff::tz::TimeZone::UTC).date();
            let byte = |number: i8| u8::try_from(number).unwrap_or(1);
            rcgen::date_time_ymd(date.year().into(), byte(date.month()), byte(date.day()))
        };

        (params.not_before, params.not_after) = (day(-1), day(Self::DAYS));
    }

    /// Returns the certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the configuration of a server for a host.
    pub fn config(&self, host: &Host, protocols: Protocols) -> Result<Arc<ServerConfig>, CaError> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.clone(), protocols);
        if let Some(config) = configs.get(&key) {
            return Ok(Arc::clone(config));
        }

        let name = match host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        };

        let mut params = CertificateParams::new(vec![name])?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Self::set_validity(&mut params);
        let certificate = params.signed_by(&self.leaf, &self.issuer)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key_der = PrivateKeyDer::Pkcs8(self.leaf.serialize_der().into());

        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key_der)?;
        config.alpn_protocols = match protocols {
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
            Protocols::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };

        let config = Arc::new(config);
        configs.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

/// Returns a certificate as text (RFC 7468, section 5).
fn pem_of(certificate: &[u8]) -> Result<String, base64ct::Error> {
    // The text is a third longer than the bytes, with a line break after each 64 characters.
    let mut buffer = vec![0; certificate.len() * 3 / 2 + 64];
    let mut encoder = Encoder::<Base64>::new_wrapped(&mut buffer, 64, LineEnding::LF)?;
    encoder.encode(certificate)?;
    let body = encoder.finish()?;
    Ok(format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"))
}
