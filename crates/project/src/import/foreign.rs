//! Values that are not secrets themselves: ciphertexts and references of other tools, and our own
//! placeholders. If such a text were stored unchanged, a program would receive it in place of the
//! secret.

use std::collections::HashSet;

use memchr::memmem;

use crate::template::grammar::{Grammar, Match};

/// The prefixes of values that other tools encrypt or resolve, and why such a value is skipped.
const BEGINNINGS: [(&str, &str); 13] = [
    (
        "encrypted:",
        "dotenvx encrypted it, and neither `.env.keys` nor DOTENV_PRIVATE_KEY has its key",
    ),
    ("ENC[AES256_GCM,", "sops encrypted it; import the file with `--from sops`"),
    ("ENC[", "another tool encrypted it; import the decrypted value"),
    ("$ANSIBLE_VAULT;", "Ansible encrypted it; import the output of `ansible-vault view`"),
    ("op://", "1Password resolves this reference; import the output of `op inject`"),
    ("bws://", "Bitwarden resolves this reference; import the secret itself"),
    ("ref+", "vals resolves this reference; import the secret itself"),
    ("pass://", "Proton Pass resolves this reference; import the secret itself"),
    ("keeper://", "Keeper resolves this reference; import the secret itself"),
    ("dl://", "Dashlane resolves this reference; import the secret itself"),
    ("vault:", "Vault resolves this reference; import the secret itself"),
    ("doppler://", "Doppler resolves this reference; import the secret itself"),
    ("infisical://", "Infisical resolves this reference; import the secret itself"),
];

const DOPPLER: [&str; 3] = ["DOPPLER_PROJECT", "DOPPLER_ENVIRONMENT", "DOPPLER_CONFIG"];

const PLACEHOLDER: &str = "it contains a placeholder, which only names a secret";

/// Returns the reason why a value is not a secret itself, as a phrase. Returns `None` if the
/// value can be stored.
pub(super) fn why(value: &[u8]) -> Option<&'static str> {
    let beginning = BEGINNINGS.iter().find(|(beginning, _)| {
        let Some(rest) = value.strip_prefix(beginning.as_bytes()) else { return false };
        match *beginning {
            // Ordinary values can start with these prefixes too, so the rest must match as well.
            "encrypted:" => rest.len() >= 16 && rest.iter().all(|byte| is_base64(*byte)),
            "ENC[" | "ENC[AES256_GCM," => rest.trim_ascii_end().ends_with(b"]"),
            "ref+" => memmem::find(rest, b"://")
                .is_some_and(|at| rest[..at].iter().all(u8::is_ascii_alphanumeric)),
            "vault:" => rest.contains(&b'/') && rest.contains(&b'#'),
            _ => true,
        }
    });

    beginning.map(|(_, why)| *why).or_else(|| has_placeholder(value).then_some(PLACEHOLDER))
}

/// The tools that encrypted values in a file. They store metadata next to the values, which is not
/// secret.
pub(super) struct ToolMetadata {
    sops: bool,
    dotenvx: bool,
    doppler: bool,
}

impl ToolMetadata {
    pub(super) fn of<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let none = Self { sops: false, dotenvx: false, doppler: false };
        values.fold(none, |found, value| Self {
            sops: found.sops || value.starts_with(b"ENC[AES256_GCM,"),
            dotenvx: found.dotenvx || value.starts_with(b"encrypted:"),
            ..found
        })
    }

    /// Adds what the names show. Doppler adds three variables to each download, which say where the
    /// values come from.
    pub(super) fn with_names<'n>(self, names: impl Iterator<Item = &'n str>) -> Self {
        let found = names.filter(|name| DOPPLER.contains(name)).collect::<HashSet<_>>();
        Self { doppler: found.len() == DOPPLER.len(), ..self }
    }

    /// Returns the reason why the value with this name is skipped.
    pub(super) fn why(&self, name: &str) -> Option<&'static str> {
        if self.sops && (name == "sops" || name.starts_with("sops_") || name.starts_with("sops.")) {
            return Some("it is metadata of sops");
        }

        if self.doppler && DOPPLER.contains(&name) {
            return Some("it is metadata of Doppler");
        }

        (self.dotenvx && name.starts_with("DOTENV_PUBLIC_KEY"))
            .then_some("it is metadata of dotenvx")
    }
}

/// Returns true for a public key of dotenvx, and for a name of Doppler's: nothing is lost with them.
pub(super) fn is_public(name: &str, value: &[u8]) -> bool {
    let is_key = || value.len() == 66 && value.iter().all(u8::is_ascii_hexdigit);
    DOPPLER.contains(&name) || name.starts_with("DOTENV_PUBLIC_KEY") && is_key()
}

/// Returns true if a template would have a placeholder in this text, valid or not. `template::scan`
/// is not used, because its buffer is not wiped.
fn has_placeholder(value: &[u8]) -> bool {
    let grammar = Grammar::default();
    memmem::find_iter(value, grammar.open()).any(|at| {
        let before = &value[..at];
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();

        // `${{` belongs to GitHub Actions. After an odd number of backslashes, a placeholder is
        // literal text.
        let is_literal = before.ends_with(b"$") || backslashes % 2 == 1;
        !is_literal
            && matches!(
                grammar.at(&value[at..], true),
                Match::Placeholder { .. } | Match::Malformed(_)
            )
    })
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn what_other_tools_write_is_told_from_a_value() {
        for value in [
            "encrypted:BExampleCiphertextOfMyOwn000000000000",
            "ENC[AES256_GCM,data:p8g=,iv:aaaa,tag:bbbb,type:str]",
            "ENC[PKCS7,MIIBiQYJKoZIhvcNAQcDoIIBejCCAXYCAQAxggEh]\n",
            "$ANSIBLE_VAULT;1.1;AES256\n6638",
            "op://app-prod/db/password",
            "ref+vault://secret/data/x#/y",
            "ref+awsssm://x",
            "bws://1234",
            "vault:secret/data/db#password",
            "{{ secrets.db-password }}",
            "postgres://app:{{ secrets.pw | urlencode }}@db/x",
            "{{MY_API_TOKEN}}",
            r"CORP\\{{ secrets.user }}",
        ] {
            assert!(why(value.as_bytes()).is_some(), "{value}");
        }

        for value in [
            "encrypted: yes",
            "encrypted:short",
            "ENC[odd",
            "ref+one",
            "reference",
            "vault:latest",
            "${{ github.token }}",
            "${{ secrets.CI_TOKEN }}",
            r"\{{ secrets.literal }}",
            "{{ .Values.password }}",
            "{{ lower }}",
            "https://op.example/op://x",
        ] {
            assert_eq!(why(value.as_bytes()), None, "{value}");
        }
    }
}
