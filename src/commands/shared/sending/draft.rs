//! A request before it is sent: its templates, the secrets in them, and the request with placeholders.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use secrets_core::model::{
    BasicPart, Origin, Place, SecretBytes, SecretValue, Tag, TagKey, is_framing_header,
};
use secrets_core::vault::Sendable;
use secrets_mask::encode;
use secrets_project::template::filter::Filter;
use secrets_project::template::grammar::Grammar;
use secrets_project::template::{Event, Plan, Template, each_event};
use secrets_proxy::client::Outgoing;
use secrets_proxy::placeholder;
use secrets_proxy::policy::SessionSecret;
use secrets_proxy::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::context::Context;
use crate::error::{Error, Kind, malformed};
use crate::ui::input;

/// The greatest body that is sent.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A secret in a template, with its filters.
type Reference = (TagKey, Vec<Filter>);

/// A part of a text.
enum Piece {
    Literal(Vec<u8>),
    /// The number of a reference
    Reference(usize),
}

/// A text with references.
struct Text(Vec<Piece>);

impl Text {
    /// Puts placeholders in place of the references, and passes the pieces through `escape`.
    fn with(&self, placeholders: &[String], escape: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend(escape(bytes)),
                Piece::Reference(number) => {
                    out.extend(placeholders.get(*number).map_or(&b""[..], |text| text.as_bytes()));
                }
            }
        }

        out
    }

    fn references(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Reference(number) => Some(*number),
            Piece::Literal(_) => None,
        })
    }
}

/// The body of a request.
enum Body {
    None,
    Data(Text),
    Form(Vec<(String, Text)>),
}

/// A request as a command line describes it.
#[derive(Default)]
pub(crate) struct DraftOptions<'a> {
    /// A URL, or a method and a URL
    pub(crate) target: &'a [String],
    pub(crate) headers: &'a [String],
    /// The body: a template, `@FILE` or `-`
    pub(crate) data: Option<&'a str>,
    pub(crate) forms: &'a [String],
    pub(crate) user: Option<&'a str>,
    pub(crate) bearer: Option<&'a Tag>,
}

/// A request before it is sent.
pub(crate) struct Draft {
    method: Method,
    origin: Origin,
    target: Text,
    headers: Vec<(HeaderName, Text)>,
    /// The user and the password of Basic credentials
    credentials: Option<(Text, Text)>,
    bearer: Option<usize>,
    body: Body,
    /// The references, each with the tag as first spelled
    references: Vec<(Reference, Tag)>,
    numbers: HashMap<Reference, usize>,
}

impl Draft {
    pub(crate) fn new(args: &DraftOptions<'_>, cx: &Context) -> Result<Self, Error> {
        let (method, url) = match args.target {
            [url] => (None, url),
            [method, url] => (Some(method), url),
            _ => return Err(Error::usage("`request` takes a method and a URL")),
        };

        let has_body = args.data.is_some() || !args.forms.is_empty();
        let method = match method {
            Some(method) => {
                Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| {
                    Error::usage("the method is not valid; use a word such as GET or POST")
                })?
            }
            None if has_body => Method::POST,
            None => Method::GET,
        };

        let (origin, rest) = split_url(url)?;
        let mut draft = Self {
            method,
            origin,
            target: Text(Vec::new()),
            headers: Vec::new(),
            credentials: None,
            bearer: None,
            body: Body::None,
            references: Vec::new(),
            numbers: HashMap::new(),
        };
        draft.target = draft.text("the URL", rest.as_bytes())?;
        for header in args.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Error::usage(
                    "a header (not shown, in case it is a secret) has no `:` after its name",
                )
            })?;
            let name = HeaderName::from_bytes(name.trim().as_bytes())
                .map_err(|_| Error::usage("the name of a header is not valid"))?;
            if is_set_by_us(&name) {
                return Err(Error::usage(format!(
                    "the header `{name}` is set by `secrets` itself"
                )));
            }

            let value = draft.text(&format!("header `{name}`"), value.trim().as_bytes())?;
            draft.headers.push((name, value));
        }

        if let Some(user) = args.user {
            let (user, password) = split_user(user).ok_or_else(|| {
                Error::usage("`--user` needs `USER:TEMPLATE`")
                    .hint("leave the password empty with `USER:`")
            })?;
            let user = draft.text("--user", user.as_bytes())?;
            draft.credentials = Some((user, draft.text("--user", password.as_bytes())?));
        }

        draft.bearer = args.bearer.map(|tag| draft.reference(tag, Vec::new()));
        draft.body = draft.body(args, cx)?;
        Ok(draft)
    }

    fn body(&mut self, args: &DraftOptions<'_>, cx: &Context) -> Result<Body, Error> {
        if !args.forms.is_empty() {
            let mut fields = Vec::new();
            for field in args.forms {
                let (name, value) = field
                    .split_once('=')
                    .ok_or_else(|| Error::usage("`--form` needs `NAME=TEMPLATE`"))?;
                fields.push((
                    name.to_owned(),
                    self.text(&format!("form field `{name}`"), value.as_bytes())?,
                ));
            }

            return Ok(Body::Form(fields));
        }

        let Some(data) = args.data else { return Ok(Body::None) };
        let (name, bytes) = if data == "-" {
            cx.credentials.keep_stdin()?;
            let mut bytes = Vec::new();
            std::io::stdin().lock().take(MAX_BODY as u64 + 1).read_to_end(&mut bytes).map_err(
                |error| Error::new(Kind::Failure, format!("cannot read stdin: {error}")),
            )?;
            ("stdin".to_owned(), bytes)
        } else if let Some(path) = data.strip_prefix('@') {
            let failed =
                |error| Error::new(Kind::Failure, format!("cannot read `{path}`: {error}"));
            let (text, _) = input::file(Path::new(path), MAX_BODY + 1).map_err(failed)?;
            (path.to_owned(), text.expose().to_vec())
        } else {
            ("--data".to_owned(), data.as_bytes().to_vec())
        };

        if bytes.len() > MAX_BODY {
            return Err(Error::usage("the body is larger than 64 MiB").hint(
                "send it with another program, with `secrets run --proxy -- curl -T FILE URL`",
            ));
        }

        Ok(Body::Data(self.text(&name, &bytes)?))
    }

    /// Parses a template.
    fn text(&mut self, name: &str, bytes: &[u8]) -> Result<Text, Error> {
        let grammar = Grammar::default();
        let plan = Plan::new(Template::from_text(name, bytes.to_vec()), grammar.clone())?;
        if let Some(mut findings) = plan.malformed()? {
            findings.listed.iter_mut().for_each(|finding| finding.excerpt = None);
            return Err(malformed(&[(name, &findings)])
                .hint("write placeholders as `{{ secrets.TAG | FILTER }}`"));
        }

        let mut pieces = Vec::new();
        each_event(bytes, &grammar, |event| match event {
            Event::Literal(bytes) => pieces.push(Piece::Literal(bytes.to_vec())),
            Event::Placeholder(found, ..) => {
                let number = self.reference(&found.tag, found.filters.clone());
                pieces.push(Piece::Reference(number));
            }
            _ => {}
        });
        Ok(Text(pieces))
    }

    fn reference(&mut self, tag: &Tag, filters: Vec<Filter>) -> usize {
        let reference = (tag.key(), filters);
        let next = self.references.len();
        let number = *self.numbers.entry(reference.clone()).or_insert(next);
        if number == next {
            self.references.push((reference, tag.clone()));
        }

        number
    }

    pub(crate) fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the tags in all templates, each once.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        let mut tags: Vec<Tag> = Vec::new();
        for (_, tag) in &self.references {
            if !tags.iter().any(|known| known.key() == tag.key()) {
                tags.push(tag.clone());
            }
        }

        tags
    }

    /// Returns a tag whose secret is not among those that were opened.
    pub(crate) fn missing(&self, sendable: &[Sendable]) -> Option<Tag> {
        let is_there =
            |tag: &Tag| sendable.iter().any(|one| one.secret.metadata.tag.key() == tag.key());
        self.tags().into_iter().find(|tag| !is_there(tag))
    }

    /// Returns the places in which a secret stands, as far as they are known before it is opened.
    ///
    /// # Errors
    /// Fails if a value cannot stand in one of them.
    pub(crate) fn places(&self, tag: &Tag) -> Result<Vec<Place>, Error> {
        let parsed = |place: String| {
            Place::parse(&place)
                .map_err(|why| Error::usage(format!("`{tag}` cannot be sent in `{place}`: {why}")))
        };
        let is_it = |number: usize| self.references[number].1.key() == tag.key();
        let has = |text: &Text| text.references().any(is_it);
        let mut places: Vec<Place> = Vec::new();
        for (name, text) in &self.headers {
            if has(text) && *name != "cookie" {
                places.push(parsed(format!("header:{name}"))?);
            }
        }

        if self.bearer.is_some_and(is_it) {
            places.push(Place::authorization());
        }

        if let Some((user, password)) = &self.credentials {
            let parts = [(user, BasicPart::User), (password, BasicPart::Password)];
            let parts = parts.into_iter().filter(|(text, _)| has(text));
            places.extend(parts.map(|(_, part)| Place::Basic(part)));
        }

        if let Body::Form(fields) = &self.body {
            for (name, _) in fields.iter().filter(|(_, text)| has(text)) {
                places.push(parsed(format!("form:{name}"))?);
            }
        }

        if matches!(&self.body, Body::Data(text) if has(text)) {
            places.push(Place::Body);
        }

        if has(&self.target) {
            // The name of a parameter is known when the URL is complete.
            return Ok(Vec::new());
        }

        places.dedup();
        Ok(places)
    }

    /// Draws a placeholder for each reference. That of a filtered one stands for the filtered value.
    pub(crate) fn session_secrets(
        &self,
        sendable: &[Sendable],
    ) -> Result<Vec<SessionSecret>, Error> {
        let mut secrets = Vec::with_capacity(self.references.len());
        for ((key, filters), tag) in &self.references {
            let found = sendable.iter().find(|one| one.secret.metadata.tag.key() == *key);
            let found = found.ok_or_else(|| Error::internal("a secret was not opened"))?;
            let mut value = found.value.duplicate();
            for filter in filters {
                let filtered = filter.apply(value.expose(), Grammar::default().readers);
                let filtered = filtered.map_err(|why| {
                    Error::usage(format!(
                        "the filter `{}` cannot be applied to `{tag}`: {why}",
                        filter.name()
                    ))
                })?;
                value = SecretValue::new(SecretBytes::copy_of(filtered.expose()), true).map_err(
                    |why| {
                        Error::usage(format!("the filtered value of `{tag}` is too large: {why}"))
                    },
                )?;
            }

            let failed = |_| Error::new(Kind::Failure, "the system's random generator failed");
            let metadata = &found.secret.metadata;
            secrets.push(SessionSecret {
                tag: metadata.tag.clone(),
                placeholder: placeholder::draw(b"", Some("secrets-")).map_err(failed)?,
                shown: Some(format!("\u{2039}{}\u{203a}", metadata.tag)),
                value,
                grants: metadata.destinations.clone(),
            });
        }

        Ok(secrets)
    }

    /// Returns the tag of each reference.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Tag> {
        self.references.iter().map(|(_, tag)| tag)
    }

    /// Returns the request with these placeholders, one for each reference.
    pub(crate) fn outgoing(self, placeholders: &[String]) -> Result<(Origin, Outgoing), Error> {
        let same = |bytes: &[u8]| bytes.to_vec();
        let target = String::from_utf8(self.target.with(placeholders, url_bytes));
        let target = target.map_err(|_| Error::usage("the URL is not valid"))?;

        let mut headers = HeaderMap::new();
        let field = |bytes: Vec<u8>| {
            HeaderValue::from_bytes(&bytes).map_err(|_| {
                Error::usage("a header contains a line break or another control character")
            })
        };
        if let Some((user, password)) = &self.credentials {
            let parts = [user.with(placeholders, same), password.with(placeholders, same)];
            let encoded = Base64::encode_string(&parts.join(&b':'));
            headers.insert("authorization", field(format!("Basic {encoded}").into_bytes())?);
        }

        if let Some(number) = self.bearer {
            let placeholder = placeholders.get(number).cloned().unwrap_or_default();
            headers.insert("authorization", field(format!("Bearer {placeholder}").into_bytes())?);
        }

        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Data(text) => {
                let bytes = text.with(placeholders, same);
                let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
                let kind =
                    if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
                headers.insert("content-type", HeaderValue::from_static(kind));
                bytes
            }
            Body::Form(fields) => {
                let pair = |(name, text): &(String, Text)| {
                    [
                        form_bytes(name.as_bytes()),
                        b"=".to_vec(),
                        text.with(placeholders, form_bytes),
                    ]
                    .concat()
                };
                headers.insert(
                    "content-type",
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                );
                fields.iter().map(pair).collect::<Vec<_>>().join(&b'&')
            }
        };

        // A header that is given replaces ours, and several of one name are all sent.
        for (name, _) in &self.headers {
            headers.remove(name);
        }

        for (name, text) in &self.headers {
            headers.append(name.clone(), field(text.with(placeholders, same))?);
        }

        if !headers.contains_key("accept") {
            headers.insert("accept", HeaderValue::from_static("*/*"));
        }

        let body = Bytes::from(body);
        Ok((self.origin, Outgoing { method: self.method, target, headers, body }))
    }
}

/// Returns true for a header that follows from the request itself.
fn is_set_by_us(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "accept-encoding" || is_framing_header(name)
}

/// Splits credentials at the first colon that is not part of a placeholder.
fn split_user(text: &str) -> Option<(&str, &str)> {
    let is_outside =
        |at: &usize| text[..*at].matches("{{").count() == text[..*at].matches("}}").count();
    let at = text.match_indices(':').map(|(at, _)| at).find(is_outside)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Splits a URL into its origin and the rest, which may have templates.
fn split_url(url: &str) -> Result<(Origin, String), Error> {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
    let (origin, rest) = url.split_at(end);
    if origin.contains("{{") {
        return Err(Error::usage(
            "a URL cannot have a placeholder in its host, because the host decides \
                                 which secrets may be sent",
        ));
    }

    let origin = Origin::parse(origin).map_err(|why| {
        Error::usage(format!("the URL is not valid: {why}")).hint("write it as `https://HOST/PATH`")
    })?;
    let rest = rest.split('#').next().unwrap_or_default();
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Ok((origin, rest))
}

/// Escapes what cannot stand in a URL, and leaves everything else.
fn url_bytes(bytes: &[u8]) -> Vec<u8> {
    const KEPT: &[u8] = b"!#$%&'()*+,-./:;=?@[]_~";
    encode::percent(bytes, KEPT).expose().to_vec()
}

/// Escapes a text for a form.
fn form_bytes(bytes: &[u8]) -> Vec<u8> {
    encode::percent(bytes, encode::UNRESERVED).expose().to_vec()
}

/// Returns the target of a redirect if it stays at the same scheme, host and port (RFC 3986, section
/// 5.2).
pub(crate) fn same_origin(origin: &Origin, target: &str, to: &str) -> Option<String> {
    if to.contains("://") {
        let (other, rest) = split_url(to).ok()?;
        return (other == *origin).then_some(rest);
    }

    if to.starts_with("//") {
        let (other, rest) = split_url(&format!("https:{to}")).ok()?;
        return (other == *origin).then_some(rest);
    }

    let to = to.split('#').next().unwrap_or_default();
    if to.starts_with('/') {
        return Some(to.to_owned());
    }

    let path = target.split('?').next().unwrap_or("/");
    if to.starts_with('?') || to.is_empty() {
        return Some(format!("{path}{to}"));
    }

    // A scheme other than https.
    let is_scheme = to.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
    let parent = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    (!is_scheme).then(|| format!("{parent}{to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_at_their_origin() {
        let origin = Origin::parse("https://a.example:8443").unwrap();
        let next = |to| same_origin(&origin, "/v1/items?x=1", to);
        assert_eq!(next("https://a.example:8443/b?c#d").as_deref(), Some("/b?c"));
        assert_eq!(next("//a.example:8443").as_deref(), Some("/"));
        assert_eq!(next("/b").as_deref(), Some("/b"));
        assert_eq!(next("b").as_deref(), Some("/v1/b"));
        assert_eq!(next("?y=2").as_deref(), Some("/v1/items?y=2"));
        for other in [
            "https://a.example/b",
            "https://b.example:8443/",
            "http://a.example:8443/",
            "//b.example",
            "javascript:alert(1)",
            "https://a.example:8443@b.example/",
        ] {
            assert_eq!(next(other), None, "{other}");
        }
    }
}
