//! Key pairs: the private half becomes a value, the public half is printed.

use secrets_core::crypto::random;
use secrets_core::model::SecretBytes;
use ssh_key::private::{Ed25519Keypair, KeypairData, RsaKeypair};
use ssh_key::{LineEnding, PrivateKey};

/// The size of an RSA key in bits, as `ssh-keygen` draws it: about as hard to break as AES-128 (NIST SP 800-57,
/// part 1, table 2).
const RSA_BITS: usize = 3072;

/// The kind of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeyPairKind {
    /// Ed25519, in OpenSSH's format
    Ed25519,
    /// RSA with 3072 bits, in OpenSSH's format
    Rsa,
    /// X25519, in age's format
    Age,
}

/// Both halves of a key pair.
pub(crate) struct KeyPair {
    pub(crate) private: SecretBytes,
    /// A line without its end
    pub(crate) public: String,
}

/// The reason why a key pair could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the key pair could not be drawn")]
pub(crate) struct KeyPairError;

/// Draws a key pair with the system's random generator. `comment` stands at the end of OpenSSH's public line.
pub(crate) fn draw(kind: KeyPairKind, comment: &str) -> Result<KeyPair, KeyPairError> {
    // The generator of the libraries stops the program if the system has no random bytes, so they are asked for
    // here first.
    let _: [u8; 32] = random::array().map_err(|_| KeyPairError)?;
    let rng = &mut getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    let key = match kind {
        KeyPairKind::Age => {
            let (private, public) = secrets_age::key_pair();
            return Ok(KeyPair { private, public });
        }
        KeyPairKind::Ed25519 => KeypairData::from(Ed25519Keypair::random(rng)),
        KeyPairKind::Rsa => {
            KeypairData::from(RsaKeypair::random(rng, RSA_BITS).map_err(|_| KeyPairError)?)
        }
    };

    let key = PrivateKey::new(key, comment).map_err(|_| KeyPairError)?;
    let private = key.to_openssh(LineEnding::LF).map_err(|_| KeyPairError)?;
    let public = key.public_key().to_openssh().map_err(|_| KeyPairError)?;
    Ok(KeyPair { private: SecretBytes::copy_of(private.as_bytes()), public })
}
