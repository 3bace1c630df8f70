//! AWS Signature Version 4 in the header `authorization`: signs a request again that a client has
//! signed with placeholders.
//!
//! The client's date, its list of signed headers and its hash of the body are kept, so a body with a
//! hash of its own streams.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use secrets_core::crypto::output_digest::hex;
use secrets_core::model::SecretBytes;
use secrets_mask::encode;
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const CONTENT: &str = "x-amz-content-sha256";
/// Characters of a path that are not escaped, besides letters and digits.
const KEPT: &[u8] = b"-._~/";
/// Parameters of a query that is signed itself.
const PRESIGNED: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// The signature of a client: the parts of the field `authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The id of the key
    pub key_id: String,
    /// The day, the region and the service
    pub scope: [String; 3],
    /// The names of the signed headers, sorted
    pub headers: Vec<String>,
}

impl Claim {
    /// Parses a field `authorization`. Returns `None` for another scheme.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(field).ok()?.strip_prefix(ALGORITHM)?;
        let text = text.strip_prefix(' ')?;
        let part = |name: &str| {
            let mut parts = text.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };

        let mut scope = part("Credential")?.rsplitn(5, '/');
        if scope.next()? != "aws4_request" {
            return None;
        }

        let (service, region, day) = (scope.next()?, scope.next()?, scope.next()?);
        let headers = part("SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect();
        let scope_parts = [day, region, service].map(str::to_owned);
        Some(Self { key_id: scope.next()?.to_owned(), scope: scope_parts, headers })
    }
}

/// How the body of a request is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The client gives this hash or this word, and the body streams
    Given(String),
    /// The hash is computed over the whole body
    Whole,
}

/// Returns how the body of a request is signed.
///
/// # Errors
/// Refuses bodies whose chunks carry signatures of their own: they would have to be signed again one
/// by one.
pub fn payload(headers: &HeaderMap) -> Result<Payload, Refusal> {
    let Some(given) = headers.get(CONTENT).and_then(|value| value.to_str().ok()) else {
        return Ok(Payload::Whole);
    };

    let is_hash = given.len() == 64 && given.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash || matches!(given, "UNSIGNED-PAYLOAD" | "STREAMING-UNSIGNED-PAYLOAD-TRAILER") {
        return Ok(Payload::Given(given.to_owned()));
    }

    Err(Refusal::forbidden(
        "each chunk of the body is signed with the placeholder, which the proxy does not sign again",
    )
    .hint("configure the client to send unsigned chunks or a whole hash, for example by using https"))
}

/// Replaces the hash of a body that the client has given.
pub fn set_payload(headers: &mut HeaderMap, hash: &str) {
    if let Ok(value) = HeaderValue::from_str(hash) {
        headers.insert(CONTENT, value);
    }
}

/// Fails for a date that is further from our clock than AWS accepts, so that nobody can collect
/// signatures for later.
pub fn check_date(headers: &HeaderMap) -> Result<(), Refusal> {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parsed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok();
    let moment = parsed.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let distance = moment
        .map(|date| (date.timestamp().as_second() - jiff::Timestamp::now().as_second()).abs());
    match distance {
        Some(0..=900) => Ok(()),
        Some(_) => Err(Refusal::bad_request(
            "the date of the signature differs from our clock by more than 15 minutes",
        )
        .hint("set the clock")),
        None => Err(Refusal::bad_request("the request is signed without a valid `x-amz-date`")),
    }
}

/// The parts of a request that are signed besides its headers.
pub struct Signed<'a> {
    /// The method
    pub method: &'a str,
    /// The path as it is sent
    pub path: &'a str,
    /// The query as it is sent
    pub query: Option<&'a str>,
    /// The hash of the body in hex, or a word in its place
    pub payload: &'a str,
    /// The authority of the origin, for the header `host`
    pub host: &'a str,
}

/// Signs a request, and replaces its field `authorization`.
///
/// # Errors
/// Fails if the request has no date, or one that does not fit the claim.
pub fn sign(
    claim: &Claim,
    key_id: &[u8],
    secret: &[u8],
    request: &Signed<'_>,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    let [day, region, service] = &claim.scope;
    let date =
        headers.get(DATE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if date.len() != 16 || !date.starts_with(day.as_str()) || day.len() != 8 {
        return Err(Refusal::bad_request("the request is signed without a valid `x-amz-date`"));
    }

    if !claim.headers.iter().any(|name| name == HOST.as_str()) {
        return Err(Refusal::bad_request("the signature does not cover the header `host`")
            .hint("add `host` to the signed headers"));
    }

    // The signature would be valid in a URL too, for as long as that says.
    let query = request.query.unwrap_or_default().split('&');
    let names =
        query.map(|pair| encode::unpercent(pair.split('=').next().unwrap_or_default().as_bytes()));
    let is_presigned = |name: &SecretBytes| {
        PRESIGNED.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(name.expose()))
    };
    if names.into_iter().any(|name| is_presigned(&name)) {
        return Err(Refusal::bad_request("the request is signed in a header and in its query"));
    }

    let Ok(key_id) = std::str::from_utf8(key_id) else {
        return Err(Refusal::forbidden("the id of the key is not valid"));
    };

    let (canonical_headers, names) = canonical_headers(claim, request, headers);
    let canonical = [
        request.method,
        &canonical_path(request.path, service),
        &canonical_query(request.query.unwrap_or_default()),
        &canonical_headers,
        &names,
        request.payload,
    ]
    .join("\n");

    let scope = format!("{day}/{region}/{service}/aws4_request");
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let text = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
    let signature = hex(&mac(signing_key(secret, &claim.scope).expose(), text.as_bytes()));
    let field = format!(
        "{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    let mut field = HeaderValue::from_str(&field)
        .map_err(|_| Refusal::forbidden("the id of the key cannot stand in a header"))?;
    field.set_sensitive(true);
    headers.insert(AUTHORIZATION, field);
    Ok(())
}

/// Returns the hash of a whole body, as it is signed.
pub fn hash_of(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn signing_key(secret: &[u8], scope: &[String; 3]) -> SecretBytes {
    let mut key = SecretBytes::with_capacity(4 + secret.len());
    key.extend(b"AWS4");
    key.extend(secret);
    for part in scope.iter().map(String::as_str).chain(["aws4_request"]) {
        key = SecretBytes::copy_of(&mac(key.expose(), part.as_bytes()));
    }

    key
}

/// Returns the signed headers, one in a line, and their names.
fn canonical_headers(claim: &Claim, request: &Signed<'_>, headers: &HeaderMap) -> (String, String) {
    let (mut lines, mut names) = (String::new(), Vec::new());
    for name in &claim.headers {
        let values: Vec<String> = if *name == HOST.as_str() {
            vec![request.host.to_owned()]
        } else {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.get_all(name.as_str()).iter().map(text).collect()
        };

        // A header that concerns one connection only is not sent on.
        if values.is_empty() {
            continue;
        }

        let trimmed = |value: &String| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let _ =
            writeln!(lines, "{name}:{}", values.iter().map(trimmed).collect::<Vec<_>>().join(","));
        names.push(name.as_str());
    }

    (lines, names.join(";"))
}

/// Returns the path as it is signed. S3 takes it as it is sent, other services encode it once more,
/// without empty segments.
fn canonical_path(path: &str, service: &str) -> String {
    if matches!(service, "s3" | "s3-outposts" | "s3express" | "s3-object-lambda") {
        return encoded(encode::unpercent(path.as_bytes()).expose(), KEPT);
    }

    let mut merged = path.to_owned();
    while merged.contains("//") {
        merged = merged.replace("//", "/");
    }

    encoded(merged.as_bytes(), KEPT)
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (canonical(name), canonical(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encodes a text in one way, whichever escapes it had.
fn canonical(text: &str) -> String {
    encoded(encode::unpercent(text.as_bytes()).expose(), encode::UNRESERVED)
}

fn encoded(bytes: &[u8], kept: &[u8]) -> String {
    // Only ASCII is left.
    String::from_utf8_lossy(encode::percent(bytes, kept).expose()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(
        (method, path, query): (&str, &str, Option<&str>),
        scope: &str,
        fields: &[(&'static str, &str)],
        secret: &[u8],
    ) -> String {
        let mut headers = HeaderMap::new();
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| *name).chain(["host"]).collect();
        names.sort_unstable();
        names.dedup();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }

        let field = format!(
            "{ALGORITHM} Credential=PLACEHOLDER/{scope}/aws4_request,SignedHeaders={}, Signature=00",
            names.join(";")
        );
        let claim = Claim::parse(field.as_bytes()).unwrap();
        assert_eq!(claim.key_id, "PLACEHOLDER");
        let host = if scope.ends_with("s3") {
            "examplebucket.s3.amazonaws.com"
        } else {
            "example.amazonaws.com"
        };
        let request = Signed { method, path, query, payload: EMPTY, host };
        sign(&claim, b"AKIDEXAMPLE", secret, &request, &mut headers).unwrap();
        let field = headers[AUTHORIZATION].to_str().unwrap().to_owned();
        assert!(field.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/2"), "{field}");
        field.rsplit('=').next().unwrap().to_owned()
    }

    /// Cases of Amazon's own suite of tests (`aws-sig-v4-test-suite`) and of the documentation of S3.
    #[test]
    fn signatures_are_those_of_amazon() {
        const SCOPE: &str = "20150830/us-east-1/service";
        let date = [("x-amz-date", "20150830T123600Z")];
        let get = |path, query| signature(("GET", path, query), SCOPE, &date, SECRET);
        assert_eq!(
            get("/", None),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            get("/", Some("Param2=value2&Param1=value1")),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
        let post = signature(("POST", "/", None), SCOPE, &date, SECRET);
        assert_eq!(post, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");

        let fields = [
            ("x-amz-date", "20130524T000000Z"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
        ];
        let secret = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let s3 = signature(("GET", "/test.txt", None), "20130524/us-east-1/s3", &fields, secret);
        assert_eq!(s3, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let fields = [("x-amz-date", "20130524T000000Z"), ("x-amz-content-sha256", EMPTY)];
        let list = ("GET", "/", Some("max-keys=2&prefix=J"));
        let s3 = signature(list, "20130524/us-east-1/s3", &fields, secret);
        assert_eq!(s3, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    #[test]
    fn paths_and_queries_are_encoded_as_the_service_expects() {
        assert_eq!(canonical_path("/a%20b/c+d", "s3"), "/a%20b/c%2Bd");
        assert_eq!(canonical_path("/a%20b//c", "s3"), "/a%20b//c");
        assert_eq!(canonical_path("/a%20b//c", "dynamodb"), "/a%2520b/c");
        assert_eq!(canonical_query("b=2&a=%7e&a=&c"), "a=&a=~&b=2&c=");
    }

    #[test]
    fn bodies_with_signed_chunks_are_refused() {
        let payload = |word: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT, word.parse().unwrap());
            payload(&headers)
        };

        assert_eq!(payload("UNSIGNED-PAYLOAD"), Ok(Payload::Given("UNSIGNED-PAYLOAD".into())));
        assert_eq!(payload(EMPTY), Ok(Payload::Given(EMPTY.into())));
        assert!(payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER").is_ok());
        assert!(payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD").is_err());
        assert!(payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER").is_err());
        assert_eq!(super::payload(&HeaderMap::new()), Ok(Payload::Whole));
    }

    #[test]
    fn other_schemes_are_no_claims() {
        for other in [
            "Bearer x",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=1",
            "AWS4-ECDSA-P256-SHA256 Credential=a/20150830/s/aws4_request, SignedHeaders=host, Signature=1",
        ] {
            assert_eq!(Claim::parse(other.as_bytes()), None, "{other}");
        }
    }
}
