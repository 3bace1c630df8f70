//! Values that are none: what another tool encrypted, a reference that another tool resolves, a placeholder of ours.
//! Stored as it is, such a text would reach a program in place of the secret.

use memchr::memmem;

use crate::template::grammar::{Grammar, Match};

/// How a text of another tool begins, and why it is left out.
const BEGINNINGS: [(&str, &str); 13] = [
    ("encrypted:", "dotenvx encrypted it; `dotenvx get | secrets import -` stores what is in it"),
    ("ENC[AES256_GCM,", "sops encrypted it; import what `sops decrypt` prints"),
    ("ENC[", "another tool encrypted it; import what that tool decrypts"),
    ("$ANSIBLE_VAULT;", "Ansible encrypted it; import what `ansible-vault view` prints"),
    ("op://", "1Password resolves this reference; import what `op inject` prints"),
    ("bws://", "Bitwarden resolves this reference; import the secret itself"),
    ("ref+", "vals resolves this reference; import the secret itself"),
    ("pass://", "Proton Pass resolves this reference; import the secret itself"),
    ("keeper://", "Keeper resolves this reference; import the secret itself"),
    ("dl://", "Dashlane resolves this reference; import the secret itself"),
    ("vault:", "Vault resolves this reference; import the secret itself"),
    ("doppler://", "Doppler resolves this reference; import the secret itself"),
    ("infisical://", "Infisical resolves this reference; import the secret itself"),
];

const PLACEHOLDER: &str = "it has a placeholder in it, which only names a secret";

/// Why a value is no secret itself, as half a sentence; `None` for one that may be stored.
pub(super) fn why(value: &[u8]) -> Option<&'static str> {
    let beginning = BEGINNINGS.iter().find(|(beginning, _)| {
        let Some(rest) = value.strip_prefix(beginning.as_bytes()) else { return false };
        match *beginning {
            // These are words as well: only what has the rest of the form is meant.
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

/// Which tools encrypted values of a file: they keep something about the file beside them, which is no secret either.
pub(super) struct ToolMetadata {
    sops: bool,
    dotenvx: bool,
}

impl ToolMetadata {
    pub(super) fn of<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        values.fold(Self { sops: false, dotenvx: false }, |found, value| Self {
            sops: found.sops || value.starts_with(b"ENC[AES256_GCM,"),
            dotenvx: found.dotenvx || value.starts_with(b"encrypted:"),
        })
    }

    /// Why the value of a name is left out.
    pub(super) fn why(&self, name: &str) -> Option<&'static str> {
        if self.sops && (name == "sops" || name.starts_with("sops_")) {
            return Some("sops keeps it about the file");
        }

        (self.dotenvx && name.starts_with("DOTENV_PUBLIC_KEY"))
            .then_some("dotenvx keeps it about the file")
    }
}

/// True for a text in which a template would have a placeholder, well formed or not. It is not read by `template::scan`, whose
/// buffer is not wiped.
fn has_placeholder(value: &[u8]) -> bool {
    let grammar = Grammar::default();
    memmem::find_iter(value, grammar.open()).any(|at| {
        let before = &value[..at];
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();

        // `${{` is GitHub's, and behind an odd number of backslashes stands the text of a placeholder.
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
