//! Judges the head of a request and puts values into it.
//!
//! A placeholder in a header, a cookie, the path or the query is replaced where a rule names that
//! place, and refused everywhere else. A placeholder in a body that no rule names stays as it is:
//! programs send their own environment and conversations around, and must not be stopped by that.

use std::collections::BTreeMap;

use hyper::Uri;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue,
};
use hyper::http::request::Parts;
use secrets_core::model::{Methods, Origin, Place, RequestPath, SecretBytes};

use secrets_mask::encode;

use crate::placeholders::Found;
use crate::policy::{Policy, Rule, SessionSecret};
use crate::refusal::Refusal;
use crate::rewrite::{header, json, pairs, path, raw};
use crate::sigv4::Claim;

/// A request that may be sent.
#[derive(Debug, Default)]
pub struct Judged {
    /// The canonical path, as the log shows it: without values
    pub path: String,
    /// The rules whose values are in the head
    pub rules: Vec<usize>,
    /// The number of times that the value of each secret is in the head
    pub times: BTreeMap<usize, u32>,
    /// The rules that may put a value into the body
    pub body: Vec<usize>,
    /// The kind of body that those rules are for
    pub body_kind: Option<BodyKind>,
    /// The rules for frames of a WebSocket
    pub frames: Vec<usize>,
    /// The rule that signs the request, and the signature of the client
    pub signer: Option<(usize, Claim)>,
}

/// A kind of body in which a rule can name a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json` and types like it
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
}

/// Judges a request to an origin, and puts values into its head.
pub fn judge(policy: &Policy, origin: &Origin, parts: &mut Parts) -> Result<Judged, Refusal> {
    let method = parts.method.as_str().to_owned();
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        // Some servers read `post` as POST.
        return Err(Refusal::bad_request("a method with lower-case letters is refused"));
    }

    if matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK") {
        return Err(Refusal::new(405, format!("{method} requests are refused")));
    }

    let has_dots = parts.uri.path().split('/').any(is_dots);
    let path = RequestPath::parse(parts.uri.path())
        .map_err(|why| Refusal::bad_request(format!("the request cannot be judged: {why}")))?;
    let mut judge =
        Judge { policy, origin, method: &method, path: &path, judged: Judged::default() };
    judge.path_and_query(parts)?;
    judge.sign(parts, has_dots)?;
    judge.headers(parts)?;
    judge.bodies(parts);
    judge.overrides(parts)?;
    Ok(Judged { path: path.as_str().to_owned(), ..judge.judged })
}

/// Returns true for a segment that means the present or the parent directory, also if it is escaped.
fn is_dots(segment: &str) -> bool {
    matches!(encode::unpercent(segment.as_bytes()).expose(), b"." | b"..")
}

struct Judge<'a> {
    policy: &'a Policy,
    origin: &'a Origin,
    method: &'a str,
    path: &'a RequestPath,
    judged: Judged,
}

impl<'a> Judge<'a> {
    /// Returns the rules that apply to this request, with their numbers.
    fn applicable(&self) -> Vec<(usize, &'a Rule)> {
        let permits = |rule: &Rule| rule.applies(self.method, self.origin, self.path);
        self.policy.rules.iter().enumerate().filter(|(_, rule)| permits(rule)).collect()
    }

    /// Finds the rule that lets a secret stand in a place, and counts its use.
    fn permit(&mut self, secret: usize, place: &Place) -> Result<(), Refusal> {
        let Some(known) = self.policy.secrets.get(secret) else {
            return Err(Refusal::forbidden("the placeholder is not one of this session"));
        };

        let mut rules = self.applicable();
        rules.retain(|(_, rule)| rule.secret == secret && place.is_within(&rule.destination.place));
        if !known.is_granted(self.method, self.origin, self.path, place) {
            return Err(self.not_granted(known, place));
        }

        let of_secret = self.policy.rules.iter().filter(|rule| rule.secret == secret);
        let mut of_origin = of_secret.filter(|rule| rule.destination.origin.contains(self.origin));
        if let Some(rule) = of_origin.find(|rule| self.is_excepted(rule)) {
            return Err(excepted(known, rule, place));
        }

        if rules.is_empty() {
            return Err(Refusal::without_rule(&known.tag, self.origin, place, self.method));
        }

        let times = self.judged.times.entry(secret).or_default();
        *times += 1;
        let most = rules.iter().map(|(_, rule)| rule.times).max().unwrap_or(1);
        if *times > most {
            let message =
                format!("`{}` stands more than {} in the request", known.tag, often(most));
            let hint = "raise `times` of its rule in `.secrets.toml`";
            return Err(Refusal::forbidden(message).hint(hint).about(&known.tag, place));
        }

        // Each of them may have a rate of its own.
        for (number, _) in rules {
            if !self.judged.rules.contains(&number) {
                self.judged.rules.push(number);
            }
        }

        Ok(())
    }

    /// Returns the refusal of a secret that the vault does not let be sent here.
    fn not_granted(&self, secret: &SessionSecret, place: &Place) -> Refusal {
        let mut near = secret.grants.iter().filter(|grant| {
            place.is_within(&grant.place)
                && *place != Place::Path
                && grant.origin.contains(self.origin)
        });
        let path = near.next().map(|_| self.path.as_str());
        Refusal::not_allowed(&secret.tag, self.origin, place, self.method, path)
    }

    /// Refuses headers that make some servers take another method or path than those that were judged,
    /// if a rule with a value is limited to some.
    fn overrides(&self, parts: &Parts) -> Result<(), Refusal> {
        const OVERRIDES: [&str; 9] = [
            "x-envoy-original-path",
            "x-forwarded-prefix",
            "x-forwarded-uri",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-original-url",
            "x-rewrite-url",
            "x-waws-unencoded-url",
        ];

        let is_limited = |number: &usize| {
            self.policy.rules.get(*number).is_some_and(|rule| {
                let grants = self.policy.secrets.get(rule.secret).map(|secret| &secret.grants);
                let destinations = grants.into_iter().flatten().chain([&rule.destination]);
                let mut destinations = destinations.filter(|one| one.origin.contains(self.origin));
                !rule.except.is_empty()
                    || !rule.paths.is_empty()
                    || destinations.any(|one| one.methods != Methods::Any || !one.path.is_any())
            })
        };
        let rules = self.judged.rules.iter().chain(&self.judged.body).chain(&self.judged.frames);
        // Some servers take `_` for `-`.
        let names: Vec<String> =
            parts.headers.keys().map(|name| name.as_str().replace('_', "-")).collect();
        let name = OVERRIDES.into_iter().find(|name| names.iter().any(|other| other == name));
        match name {
            Some(name) if rules.clone().any(is_limited) => Err(Refusal::forbidden(format!(
                "the header `{name}` could change the method or the path"
            ))
            .hint("leave it out")),
            _ => Ok(()),
        }
    }

    fn is_excepted(&self, rule: &Rule) -> bool {
        rule.except.iter().any(|one| one.covers(self.method, self.path))
    }

    fn permit_all(&mut self, found: &[Found], place: &Place) -> Result<(), Refusal> {
        found.iter().try_for_each(|one| self.permit(one.secret, place))
    }

    /// Replaces the target by its canonical form, with values in it.
    fn path_and_query(&mut self, parts: &mut Parts) -> Result<(), Refusal> {
        let policy = self.policy;
        let values = |secret| policy.value(secret);
        let canonical = self.path.as_str();
        let found = policy.placeholders.find(canonical.as_bytes());
        self.permit_all(&found, &Place::Path)?;
        let Some(mut target) = path::substituted(canonical, &found, &values) else {
            let message = "a value cannot be a segment `.` or `..` of the path";
            return Err(Refusal::forbidden(message));
        };

        if let Some(query) = parts.uri.query() {
            let with_placeholders =
                pairs::with_placeholders(query.as_bytes(), &policy.placeholders);
            for pair in &with_placeholders {
                let place = Place::Query(pair.name.clone());
                if let Some(secret) = pair.in_name {
                    return Err(self.not_named(secret, "the name of a parameter"));
                }

                self.permit_all(&pair.found, &place)?;
            }

            target.push(b'?');
            target
                .extend(pairs::substituted(query.as_bytes(), &with_placeholders, &values).expose());
        }

        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        let target = std::str::from_utf8(target.expose()).ok().and_then(|text| text.parse().ok());
        let target = target.ok_or_else(|| Refusal::bad_request("the target is not a valid URI"))?;
        uri.path_and_query = Some(target);
        parts.uri = Uri::from_parts(uri)
            .map_err(|_| Refusal::bad_request("the target is not a valid URI"))?;
        Ok(())
    }

    /// Returns the refusal of a placeholder in a place that no rule can name.
    fn not_named(&self, secret: usize, place: &str) -> Refusal {
        let tag = self.policy.tag(secret);
        let tag = tag.map_or_else(String::new, |tag| format!(" of `{tag}`"));
        Refusal::forbidden(format!("the placeholder{tag} cannot stand in {place}"))
    }

    /// Finds the rule for a request that the client has signed with placeholders.
    fn sign(&mut self, parts: &mut Parts, has_dots: bool) -> Result<(), Refusal> {
        let Some(field) = parts.headers.get(AUTHORIZATION) else { return Ok(()) };
        let Some(claim) = Claim::parse(field.as_bytes()) else { return Ok(()) };
        let found = self.policy.placeholders.find(claim.key_id.as_bytes());
        let [Found { secret: key_id, .. }] = found[..] else { return Ok(()) };
        if has_dots {
            // In a key of S3 they are characters, but the canonical path has none.
            let why = "a signed request with `.` or `..` in its path would be for another object";
            return Err(Refusal::bad_request(why));
        }

        let mut rules = self.applicable();
        rules.retain(|(_, rule)| rule.key_id == Some(key_id));
        let Some((number, rule)) = rules.first().copied() else {
            let (known, place) = (&self.policy.secrets[key_id], Place::Signature);
            if known.is_granted(self.method, self.origin, self.path, &place) {
                return Err(Refusal::without_rule(&known.tag, self.origin, &place, self.method));
            }

            return Err(self.not_granted(known, &place));
        };

        for needed in [key_id, rule.secret] {
            let (known, place) = (&self.policy.secrets[needed], Place::Signature);
            if !known.is_granted(self.method, self.origin, self.path, &place) {
                return Err(self.not_granted(known, &place));
            }

            if let Some((_, rule)) = rules.iter().find(|(_, rule)| self.is_excepted(rule)) {
                return Err(excepted(known, rule, &place));
            }
        }

        self.judged.signer = Some((number, claim));
        self.judged.rules.extend(rules.iter().map(|(number, _)| *number));
        Ok(())
    }

    fn headers(&mut self, parts: &mut Parts) -> Result<(), Refusal> {
        let names: Vec<HeaderName> = parts.headers.keys().cloned().collect();
        for name in names {
            if name == AUTHORIZATION && self.judged.signer.is_some() {
                continue;
            }

            if self.policy.placeholders.are_in(name.as_str().as_bytes()) {
                return Err(Refusal::forbidden(
                    "a placeholder cannot stand in the name of a header",
                ));
            }

            let hyper::header::Entry::Occupied(mut fields) = parts.headers.entry(&name) else {
                continue;
            };
            for field in fields.iter_mut() {
                if let Some(changed) = self.field(&name, field.as_bytes())? {
                    *field = changed;
                }
            }
        }

        Ok(())
    }

    /// Returns a header field with values in it, or `None` if it has no placeholders.
    fn field(&mut self, name: &HeaderName, field: &[u8]) -> Result<Option<HeaderValue>, Refusal> {
        let policy = self.policy;
        let values = |secret| policy.value(secret);
        // A value may be Basic credentials as a whole, so its placeholder is looked for first.
        let is_plain = name != AUTHORIZATION || policy.placeholders.are_in(field);
        let basic = if is_plain { None } else { header::basic(field) };
        let (found, changed) = match &basic {
            Some(credentials) => {
                let found = policy.placeholders.find(credentials.expose());
                for one in &found {
                    let part = header::basic_part(credentials.expose(), one.start);
                    self.permit(one.secret, &Place::Basic(part))?;
                }

                let changed = header::with_basic(credentials.expose(), &found, &values);
                (found, changed)
            }
            None => {
                let found = policy.placeholders.find(field);
                for one in &found {
                    let place = match name {
                        &COOKIE => match header::cookie_name(field, one.start) {
                            Some(cookie) => Place::Cookie(cookie.to_owned()),
                            None => {
                                return Err(self.not_named(one.secret, "a cookie without a name"));
                            }
                        },
                        name => Place::Header(name.as_str().to_owned()),
                    };

                    self.permit(one.secret, &place)?;
                }

                let changed = header::substituted(field, &found, &values);
                (found, changed)
            }
        };

        let Some(first) = found.first() else { return Ok(None) };
        if name == COOKIE && field.contains(&b'"') {
            return Err(self.not_named(first.secret, "a `Cookie` header with quotes"));
        }

        changed.map(Some).ok_or_else(|| {
            let tag = policy.tag(first.secret).map(ToString::to_string).unwrap_or_default();
            Refusal::forbidden(format!(
                "the value of `{tag}` cannot stand in a header: it contains a line break or another \
                 control character"
            ))
        })
    }

    /// Finds the rules that may put a value into the body, or into frames of a WebSocket.
    fn bodies(&mut self, parts: &Parts) {
        let kind = kind_of(&parts.headers);
        let is_plain = parts.headers.get(CONTENT_ENCODING).is_none();
        let (mut body, mut frames) = (Vec::new(), Vec::new());
        for (number, rule) in self.applicable() {
            match (&rule.destination.place, kind) {
                (Place::Json(_), Some(BodyKind::Json)) | (Place::Form(_), Some(BodyKind::Form))
                    if is_plain =>
                {
                    body.push(number);
                }
                (place @ Place::WebSocket(_), _) => {
                    let secret = self.policy.secrets.get(rule.secret);
                    let is_granted = secret.is_some_and(|secret| {
                        secret.is_granted(self.method, self.origin, self.path, place)
                    });
                    if is_granted && !self.is_excepted(rule) {
                        frames.push(number);
                    }
                }
                _ => {}
            }
        }

        self.judged.body_kind = kind.filter(|_| !body.is_empty());
        (self.judged.body, self.judged.frames) = (body, frames);
    }
}

/// Returns the refusal of a request that a rule leaves out.
fn excepted(secret: &SessionSecret, rule: &Rule, place: &Place) -> Refusal {
    let message = format!("a rule for `{}` leaves out this method and path", secret.tag);
    let hint = format!("see `except` of the rule for {}", rule.destination.origin);
    Refusal::forbidden(message).hint(hint).about(&secret.tag, place)
}

fn often(times: u32) -> String {
    if times == 1 { "once".into() } else { format!("{times} times") }
}

/// Puts values into a whole body. Returns `None` if nothing changes.
pub fn rewrite_body(
    policy: &Policy,
    origin: &Origin,
    method: &str,
    judged: &mut Judged,
    body: &[u8],
) -> Result<Option<SecretBytes>, Refusal> {
    let mut changed: Option<SecretBytes> = None;
    let path = RequestPath::parse(&judged.path)
        .map_err(|why| Refusal::bad_request(format!("the request cannot be judged: {why}")))?;
    for number in judged.body.clone() {
        let Some(rule) = policy.rules.get(number) else { continue };
        let (secret, place) = (rule.secret, &rule.destination.place);
        let bytes = changed.as_ref().map_or(body, SecretBytes::expose);
        let values = |secret| policy.value(secret);
        let mut found = 0;
        let rewritten = match place {
            Place::Json(pointer) => {
                let texts = json::at_pointer(bytes, pointer, &policy.placeholders);
                let mut texts = texts.unwrap_or_default();
                for text in &mut texts {
                    text.found.retain(|one| one.secret == secret);
                }

                texts.retain(|text| !text.found.is_empty());
                found = texts.iter().map(|text| text.found.len()).sum();
                json::substituted(bytes, &texts, &values)
            }
            Place::Form(name) => {
                let mut pairs = pairs::with_placeholders(bytes, &policy.placeholders);
                for pair in &mut pairs {
                    pair.found.retain(|one| one.secret == secret);
                }

                pairs.retain(|pair| pair.name == *name && !pair.found.is_empty());
                found = pairs.iter().map(|pair| pair.found.len()).sum();
                Some(pairs::substituted(bytes, &pairs, &values))
            }
            _ => None,
        };

        if found == 0 {
            continue;
        }

        let mut judge =
            Judge { policy, origin, method, path: &path, judged: std::mem::take(judged) };
        let permitted = (0..found).try_for_each(|_| judge.permit(secret, place));
        *judged = judge.judged;
        permitted?;
        let tag = policy.tag(secret).map(ToString::to_string).unwrap_or_default();
        let message = format!("the value of `{tag}` cannot stand in JSON: it is not UTF-8");
        changed = Some(rewritten.ok_or_else(|| Refusal::forbidden(message))?);
    }

    Ok(changed)
}

/// Puts values into a whole body of our own, in which every placeholder must be allowed.
pub fn rewrite_whole(
    policy: &Policy,
    origin: &Origin,
    method: &str,
    judged: &mut Judged,
    kind: Option<BodyKind>,
    body: &[u8],
) -> Result<Option<SecretBytes>, Refusal> {
    let found = policy.placeholders.find(body);
    if found.is_empty() {
        return Ok(None);
    }

    let path = RequestPath::parse(&judged.path)
        .map_err(|why| Refusal::bad_request(format!("the request cannot be judged: {why}")))?;
    let mut judge = Judge { policy, origin, method, path: &path, judged: std::mem::take(judged) };
    let rewritten = judge.whole(kind, body, &found);
    *judged = judge.judged;
    rewritten.map(Some)
}

impl Judge<'_> {
    fn whole(
        &mut self,
        kind: Option<BodyKind>,
        body: &[u8],
        found: &[Found],
    ) -> Result<SecretBytes, Refusal> {
        let policy = self.policy;
        let values = |secret| policy.value(secret);
        let texts = match kind {
            Some(BodyKind::Json) => json::all(body, &policy.placeholders),
            _ => None,
        };

        if let Some(texts) = texts {
            let named: usize = texts.iter().map(|(_, text)| text.found.len()).sum();
            if named < found.len() {
                return Err(self.not_named(found[0].secret, "the name of a member"));
            }

            for (pointer, text) in &texts {
                self.permit_all(&text.found, &Place::Json(pointer.clone()))?;
            }

            let texts: Vec<json::Text> = texts.into_iter().map(|(_, text)| text).collect();
            let message = "a value that is not UTF-8 cannot stand in JSON";
            return json::substituted(body, &texts, &values)
                .ok_or_else(|| Refusal::forbidden(message));
        }

        if kind == Some(BodyKind::Form) {
            let pairs = pairs::with_placeholders(body, &policy.placeholders);
            for pair in &pairs {
                if let Some(secret) = pair.in_name {
                    return Err(self.not_named(secret, "the name of a field"));
                }

                self.permit_all(&pair.found, &Place::Form(pair.name.clone()))?;
            }

            return Ok(pairs::substituted(body, &pairs, &values));
        }

        self.permit_all(found, &Place::Body)?;
        Ok(raw(body, found, &values))
    }
}

/// Returns the kind of a body by its header `content-type`.
pub fn kind_of(headers: &HeaderMap) -> Option<BodyKind> {
    // Servers differ in which of two they read.
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?;
    body_kind(field.as_bytes())
}

/// Returns the kind of a body by the field `content-type`.
fn body_kind(field: &[u8]) -> Option<BodyKind> {
    let text = std::str::from_utf8(field).ok()?;
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"/+-._".contains(&b);
    if !kind.bytes().all(is_name) {
        return None;
    }

    match kind.as_str() {
        "application/json" => Some(BodyKind::Json),
        "application/x-www-form-urlencoded" => Some(BodyKind::Form),
        kind if kind.starts_with("application/") && kind.ends_with("+json") => Some(BodyKind::Json),
        _ => None,
    }
}
