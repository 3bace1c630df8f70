//! Detects words that look like an API key, before a command line argument is stored or shown as a
//! tag.

/// How the keys of well-known services begin. Prefixes that also begin good tags (`npm_`, `hf_`)
/// are left to the other rule.
const PREFIXES: [&str; 22] = [
    "sk_",
    "sk-",
    "rk_live_",
    "rk_test_",
    "pk_live_",
    "pk_test_",
    "whsec_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "ASIA",
    "AIza",
    "xox",
    "eyJ",
    "ya29",
    "shpat_",
    "dop_v1_",
];
/// From this length on, a word that mixes digits with both cases was probably not written by a
/// person.
const LONG: usize = 20;

/// Returns true if a word begins like a key of a well-known service, or if it has 20 or more
/// characters and mixes digits with letters of both cases.
pub fn looks_like_api_key(word: &str) -> bool {
    let has = |class: fn(&char) -> bool| word.chars().any(|c| class(&c));
    let is_mixed =
        has(char::is_ascii_digit) && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);

    PREFIXES.iter().any(|prefix| word.starts_with(prefix))
        || is_mixed && word.chars().count() >= LONG
}

/// Returns true if a word has the shape of a secret key of a well-known service. Identifiers with many
/// digits and letters have not, such as those of Stripe's objects, and public keys have not.
pub fn is_known_api_key(word: &str) -> bool {
    let is_public = word.starts_with("pk_");
    let is_token = !word.starts_with("eyJ") || word.matches('.').count() == 2;
    let is_known = PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    is_known && is_token && has_digit && !is_public && word.len() >= LONG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinguished_from_tags() {
        for key in [
            "sk_live_51Hx0aBcDeFg",
            "sk-proj-abc",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE",
            "xoxb-1234",
            "eyJhbGciOiJIUzI1NiJ9",
            "glpat-abcdef",
            "npm_a1B2c3D4e5F6g7H8i9J0",
            "wJalrXUtnFEMI7K7MDENG",
        ] {
            assert!(looks_like_api_key(key), "{key}");
        }

        for tag in [
            "api-key",
            "STRIPE_KEY",
            "npm_token",
            "hf_token",
            "AWS_SECRET_ACCESS_KEY_2",
            "Stripe_Key_2",
            "oauth2-client-secret-production-2026",
            "OAuth2ClientSecret",
        ] {
            assert!(!looks_like_api_key(tag), "{tag}");
        }
    }

    #[test]
    fn known_keys_are_distinguished_from_identifiers() {
        for key in [
            "sk_live_51Hx0aBcDeFgHiJkLmNo",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        ] {
            assert!(is_known_api_key(key), "{key}");
        }

        for identifier in [
            "pi_3MtwBwLkdIwHu7ix28a3tqPa",
            "pk_test_51Hx0aBcDeFgHiJkLmNo",
            "sk-learn-notebooks-and-more",
            "sk_test",
            "eyJjdXJzb3IiOjEwMDAwMH0aBcD",
            "dQw4w9WgXcQdQw4w9WgXcQ",
        ] {
            assert!(!is_known_api_key(identifier), "{identifier}");
        }
    }
}
