//! Why an address or its password cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use super::{MAX_ENCODED, MAX_HOSTS, MAX_PASSWORD, MAX_PEM, MAX_URL};

/// The parameters that a URL may have.
const KNOWN: &str = "`host`, `port`, `user`, `dbname`, `sslmode`, `sslrootcert`, `sslcert`, \
                     `sslkey`, `connect_timeout`, `target_session_attrs` and `channel_binding`";

/// An address that cannot be used. No message repeats a part of the URL, other than names of
/// parameters and paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The URL has another scheme, or none.
    #[error("the URL does not begin with `postgres://` or `postgresql://`")]
    Scheme,

    /// The URL or a variable is too long.
    #[error("the URL or a variable is longer than {MAX_URL} bytes")]
    TooLong,

    /// A `%` is not followed by two hexadecimal digits.
    #[error(
        "the URL has a `%` that is not followed by two hexadecimal digits; write `%25` for `%`"
    )]
    Percent,

    /// Decoded bytes are not UTF-8.
    #[error("the URL has encoded bytes that are not UTF-8")]
    NotUtf8,

    /// A control character in the URL, encoded or not, or in the named variable.
    #[error("{} contains a control character", source_of(*.0))]
    Control(Option<&'static str>),

    /// The URL has a password.
    #[error(
        "the URL contains a password, which the shell's history would keep; leave it out, and set \
         `PGPASSFILE` or `PGPASSWORD` or enter it at the hidden prompt"
    )]
    Password,

    /// An `@` follows the first `/`, so a part of a password may have been taken for a host.
    #[error("the URL has an `@` after its host; write `%40` for `@`")]
    At,

    /// Neither the URL nor `PGHOST` names a host.
    #[error("the URL has no host; name one, or a socket's directory with `?host=/run/postgresql`")]
    NoHost,

    /// Two commas follow each other, or the list begins or ends with one.
    #[error("the list of hosts has an empty entry")]
    EmptyHost,

    /// A host is neither a name nor an IP address nor an absolute path.
    #[error("a host is not a valid name, IP address or absolute path")]
    Host,

    /// Something is wrong with the brackets around an IPv6 address.
    #[error("an IPv6 address is not valid; write it as in `[::1]` or `[::1]:5432`")]
    Bracket,

    /// Too many hosts.
    #[error("more than {MAX_HOSTS} hosts")]
    TooManyHosts,

    /// A port is 0, too large or not a number.
    #[error("a port is not a number from 1 to 65535")]
    Port,

    /// The lists of hosts and of ports differ in length.
    #[error("{ports} ports for {hosts} hosts; give one port, or one for each host")]
    Ports {
        /// The number of ports
        ports: usize,
        /// The number of hosts
        hosts: usize,
    },

    /// Nothing says who logs in.
    #[error(
        "the URL has no user; write one in front of the host, as in `postgres://user@host/database`"
    )]
    NoUser,

    /// A parameter has no value, or two.
    #[error("a parameter of the URL is not written as `name=value`")]
    Pair,

    /// An unknown parameter. Its name is given if libpq knows it.
    #[error("{}; the known parameters are {KNOWN}", parameter(*.0))]
    Parameter(Option<&'static str>),

    /// A parameter has a value that is not valid.
    #[error("`{name}` is not {expected}")]
    Value {
        /// The parameter
        name: &'static str,
        /// The values that it accepts
        expected: &'static str,
    },

    /// A value of `sslmode` that does not verify the server.
    #[error("`sslmode={mode}` {why}; use `verify-full`, which is the default")]
    SslMode {
        /// The value
        mode: &'static str,
        /// Why it is refused
        why: &'static str,
    },

    /// `target_session_attrs` is something else than `read-write`.
    #[error("`target_session_attrs` can only be `read-write`, because a replica may be behind")]
    SessionAttributes,

    /// `channel_binding` is something else than `require` or `prefer`.
    #[error(
        "`channel_binding` can only be `require` or `prefer`, because a password is always bound \
         to the TLS connection"
    )]
    ChannelBinding,

    /// `channel_binding=require` without TLS.
    #[error("`channel_binding=require` needs TLS, which this connection does not use")]
    BindingWithoutTls,

    /// A file exists, but cannot be read.
    #[error("cannot read `{}`: {why}", .path.display())]
    Read {
        /// The file
        path: PathBuf,
        /// The system's reason
        why: io::ErrorKind,
    },

    /// A file that was named does not exist.
    #[error("`{}` does not exist or is not a regular file", .0.display())]
    Missing(PathBuf),

    /// A file with certificates or with a key is too large.
    #[error("`{}` is larger than {} KiB", .0.display(), MAX_PEM / 1024)]
    TooLarge(PathBuf),

    /// A file has no certificate, or a damaged one.
    #[error("`{}` contains no valid certificate in PEM format", .0.display())]
    NoCertificate(PathBuf),

    /// A file has no private key, or a damaged one.
    #[error("`{}` contains no valid private key in PEM format", .0.display())]
    NoKey(PathBuf),

    /// A private key is encrypted.
    #[error(
        "the key in `{}` is encrypted with a passphrase, which is not supported; make a decrypted \
         copy with `openssl pkey`",
        .0.display()
    )]
    EncryptedKey(PathBuf),

    /// The certificate and the key are not a pair.
    #[error(
        "the key in `{}` does not belong to the certificate in `{}`",
        .key.display(), .certificate.display()
    )]
    KeyMismatch {
        /// The file with the key
        key: PathBuf,
        /// The file with the certificate
        certificate: PathBuf,
    },

    /// Other users can read a private key or the password file.
    #[error("other users can read `{}`; make it private with `chmod 600`", .0.display())]
    NotPrivate(PathBuf),

    /// The certificates and the key together are too large.
    #[error("the certificates and the key are larger than {} KiB in total", MAX_ENCODED / 1024)]
    Size,

    /// The password file has different passwords for the hosts of the URL.
    #[error("`{}` has different passwords for the hosts of the URL", .0.display())]
    DifferentPasswords(PathBuf),

    /// A password is empty, too long, or contains a zero byte.
    #[error("a password has 1 to {MAX_PASSWORD} bytes, none of which is zero")]
    UnusablePassword,
}

impl AddressError {
    /// Translates a failed read.
    pub(super) fn read(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::TooLarge(path.to_owned()),
            why => Self::Read { path: path.to_owned(), why },
        }
    }
}

fn source_of(variable: Option<&'static str>) -> String {
    variable.map_or("the URL".to_owned(), |name| format!("the variable `{name}`"))
}

fn parameter(name: Option<&'static str>) -> String {
    match name {
        Some(name) => format!("the URL has the parameter `{name}`, which is not supported"),
        None => "the URL has an unknown parameter (not shown, in case it is a secret)".to_owned(),
    }
}
