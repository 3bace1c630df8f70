//! `[proxy]` and `[[proxy.rule]]`: which secrets programs may use through the proxy, and how. A rule
//! narrows what the vault grants and never widens it.

use std::fmt;
use std::str::FromStr;

use secrets_core::model::{
    Destination, HostPattern, Invalid, Methods, OriginPattern, PathPattern, Place, Tag,
};
use serde::Deserialize;
use toml::Spanned;

use super::ManifestError;
use super::tables::{StrictTable, Text};
use crate::position::{Lines, Position};
use crate::variables::{is_dangerous, is_name, is_setting, name_of};

/// The settings of the proxy.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    /// True if hosts without a rule pass through a blind tunnel
    pub tunnels_others: bool,
    /// True if a proxy of a company, which the environment names, is not used
    pub ignores_company: bool,
    /// The hosts that may have addresses of this machine or its network
    pub private: Vec<HostPattern>,
    /// The rules, in the file's order
    pub rules: Vec<ProxyRule>,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct ProxyRule {
    /// The secret
    pub secret: Tag,
    /// The position of its tag
    pub secret_at: Position,
    /// The origin
    pub origin: OriginPattern,
    /// The paths; empty for every path
    pub paths: Vec<PathPattern>,
    /// The methods
    pub methods: Methods,
    /// Requests that it leaves out: methods and paths
    pub except: Vec<(Methods, Vec<PathPattern>)>,
    /// The part of a request
    pub place: Place,
    /// How often the value may stand in a request
    pub times: u32,
    /// The number of requests, and the period in seconds
    pub rate: Option<(u32, u32)>,
    /// The variable with the placeholder
    pub variable: String,
    /// How the placeholder begins
    pub shape: Option<String>,
    /// The secret with the id of the key, if the rule signs
    pub key_id: Option<Tag>,
    /// The position of its tag
    pub key_id_at: Option<Position>,
    /// The position of the rule
    pub position: Position,
}

/// The rule as `trust` shows it.
impl fmt::Display for ProxyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, origin, methods, place, variable, .. } = self;
        write!(f, "{secret} as {variable} to {origin} in {place}, methods {methods}")?;
        for path in &self.paths {
            write!(f, ", {path}")?;
        }

        for (methods, paths) in &self.except {
            let paths: Vec<&str> = paths.iter().map(PathPattern::as_str).collect();
            write!(f, ", except {methods} {}", paths.join(" "))?;
        }

        if self.times != 1 {
            write!(f, ", {} times in a request", self.times)?;
        }

        if let Some((requests, seconds)) = self.rate {
            write!(f, ", {requests} requests in {seconds} s")?;
        }

        if let Some(shape) = &self.shape {
            write!(f, ", placeholder like {shape}")?;
        }

        match &self.key_id {
            Some(id) => write!(f, ", with the id {id}"),
            None => Ok(()),
        }
    }
}

/// How programs use secrets through `secrets proxy` and `secrets run --proxy`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "proxy"))]
pub(super) struct ProxyTable {
    /// What happens to hosts that no rule names: they are refused, or pass through a blind tunnel
    #[serde(default)]
    others: OthersWord,
    /// Whether the proxy of a company is used that the environment names
    #[serde(default)]
    upstream: UpstreamWord,
    /// The hosts that may have addresses of this machine or its network
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    private: Vec<Text<HostText>>,
    /// The secrets that programs may use. Without rules, those with destinations in the vault
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<RuleTable>"))]
    rule: Vec<Spanned<StrictTable<RuleTable>>>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "others"))]
enum OthersWord {
    /// Requests to other hosts are refused
    #[default]
    Refuse,
    /// Requests to other hosts pass, never with a value
    Tunnel,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "upstream"))]
enum UpstreamWord {
    /// The proxy that HTTPS_PROXY names
    #[default]
    Env,
    /// No proxy
    None,
}

/// How one secret may be used. It narrows what `secrets allow` has granted, and never widens it
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "rule"))]
struct RuleTable {
    /// The tag of the secret
    #[cfg_attr(test, schemars(with = "String"))]
    secret: Spanned<Text<Tag>>,
    /// The origin, with a path if only one is meant
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^https://")))]
    to: Text<Address>,
    /// The methods; all by default
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    methods: Option<Vec<Text<OneMethod>>>,
    /// Patterns of paths, in which `*` stands for characters of a segment and `**` for segments
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    paths: Vec<Text<PathText>>,
    /// What the rule leaves out
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<ExceptTable>"))]
    except: Vec<StrictTable<ExceptTable>>,
    /// The part of a request; "header:authorization" by default
    #[serde(default, rename = "in")]
    #[cfg_attr(test, schemars(with = "String"))]
    place: Option<Text<PlaceText>>,
    /// How often the value may stand in one request
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "u32", range(min = 1, max = 100)))]
    times: Option<u32>,
    /// The variable that gets the placeholder; the tag in upper case by default
    #[serde(default)]
    env: Option<String>,
    /// How the placeholder begins; by default as keys of the same service do
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[A-Za-z0-9_.-]{0,32}$")))]
    shape: Option<Text<Shape>>,
    /// How many requests may use the secret, such as "120/m"
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[0-9]+/[smh]$")))]
    rate: Option<Text<RateText>>,
    /// Sign requests instead of sending the value
    #[serde(default)]
    sign: Option<SignWord>,
    /// The tag of the secret with the id of the key, for `sign`
    #[serde(default, rename = "key-id")]
    #[cfg_attr(test, schemars(with = "String"))]
    key_id: Option<Spanned<Text<Tag>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "sign"))]
enum SignWord {
    /// AWS Signature Version 4
    Sigv4,
}

/// Requests that a rule leaves out
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "except"))]
struct ExceptTable {
    /// The methods; all by default
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    methods: Option<Vec<Text<OneMethod>>>,
    /// Patterns of paths; all by default
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    paths: Vec<Text<PathText>>,
}

/// A type that is parsed by a function of the model.
macro_rules! parsed {
    ($name:ident, $inner:ty, $parse:expr) => {
        struct $name($inner);

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let parse: fn(&str) -> Result<$inner, Invalid> = $parse;
                parse(text).map(Self)
            }
        }
    };
}

parsed!(HostText, HostPattern, |text| {
    OriginPattern::parse(&format!("https://{text}")).map(|origin| origin.host)
});
parsed!(Address, (OriginPattern, PathPattern), Destination::parse_address);
parsed!(OneMethod, Methods, |text| {
    if text.contains([',', '*']) {
        Err(Invalid("a method is a word such as GET".into()))
    } else {
        Methods::parse(text)
    }
});
parsed!(PathText, PathPattern, PathPattern::parse);
parsed!(PlaceText, Place, Place::parse);
parsed!(Shape, String, |text| {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if text.len() > 32 || !text.bytes().all(is_plain) {
        return Err(Invalid("a shape has at most 32 letters, digits, `_`, `.` and `-`".into()));
    }

    Ok(text.to_owned())
});
parsed!(RateText, (u32, u32), |text| {
    let rate = text.split_once('/').and_then(|(number, unit)| {
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some((number.parse().ok().filter(|number| *number > 0)?, seconds))
    });
    rate.ok_or_else(|| {
        Invalid("expected a rate such as `120/m`: a number, `/` and s, m or h".into())
    })
});

fn methods(list: Option<Vec<Text<OneMethod>>>) -> Methods {
    let Some(list) = list else { return Methods::Any };
    let mut all = Vec::new();
    for Text(OneMethod(methods)) in list {
        if let Methods::Only(methods) = methods {
            all.extend(methods);
        }
    }

    all.sort();
    all.dedup();
    Methods::Only(all)
}

fn paths(list: Vec<Text<PathText>>) -> Vec<PathPattern> {
    list.into_iter().map(|Text(PathText(path))| path).collect()
}

pub(super) fn settings(lines: &Lines, table: ProxyTable) -> Result<ProxySettings, ManifestError> {
    let mut settings = ProxySettings {
        tunnels_others: table.others == OthersWord::Tunnel,
        ignores_company: table.upstream == UpstreamWord::None,
        private: table.private.into_iter().map(|Text(HostText(host))| host).collect(),
        rules: Vec::new(),
    };
    for rule in table.rule {
        let position = lines.position(rule.span().start);
        let refused = |message| ManifestError { at: Some(position), message };
        settings.rules.push(self::rule(lines, rule.into_inner().0, position).map_err(refused)?);
    }

    let is_taken = |at: usize| {
        let rule: &ProxyRule = &settings.rules[at];
        let others = settings.rules[..at].iter();
        others
            .clone()
            .any(|other| other.variable == rule.variable && other.secret.key() != rule.secret.key())
    };
    if let Some(at) = (0..settings.rules.len()).find(|at| is_taken(*at)) {
        let ProxyRule { variable, position, .. } = &settings.rules[at];
        let message = format!("two rules set `{variable}` to different secrets");
        return Err(ManifestError { at: Some(*position), message });
    }

    Ok(settings)
}

fn rule(lines: &Lines, table: RuleTable, position: Position) -> Result<ProxyRule, String> {
    let secret_at = lines.position(table.secret.span().start);
    let Text(secret) = table.secret.into_inner();
    let variable = table.env.unwrap_or_else(|| name_of(&secret));
    if !is_name(&variable) {
        return Err(format!(
            "`{secret}` has no valid variable name; set one with `env`: letters, digits and `_`"
        ));
    } else if is_setting(&variable) {
        return Err(format!(
            "`{variable}` is a setting of `secrets`, which a manifest cannot change"
        ));
    } else if is_dangerous(&variable) {
        return Err(format!("`{variable}` can change what programs run"));
    }

    let Text(Address((origin, path))) = table.to;
    let mut paths = paths(table.paths);
    if !path.is_any() {
        if !paths.is_empty() {
            return Err("the rule has a path in `to` and in `paths`; keep one of them".into());
        }

        paths.push(path);
    }

    let place = table.place.map(|Text(PlaceText(place))| place);
    let place = match (table.sign, &table.key_id, place) {
        (None, None, place) => place.unwrap_or_else(Place::authorization),
        (Some(SignWord::Sigv4), Some(_), None | Some(Place::Signature)) => Place::Signature,
        _ => return Err("`sign` and `key-id` belong together, without `in`".into()),
    };

    let times = table.times.unwrap_or(1);
    if !(1..=100).contains(&times) {
        return Err("`times` must be from 1 to 100".into());
    }

    let except = table.except.into_iter().map(|StrictTable(except)| {
        let paths = self::paths(except.paths);
        let paths = if paths.is_empty() { vec![PathPattern::any()] } else { paths };
        (methods(except.methods), paths)
    });
    Ok(ProxyRule {
        origin,
        paths,
        methods: methods(table.methods),
        except: except.collect(),
        place,
        times,
        rate: table.rate.map(|Text(RateText(rate))| rate),
        variable,
        shape: table.shape.map(|Text(Shape(shape))| shape),
        key_id_at: table.key_id.as_ref().map(|tag| lines.position(tag.span().start)),
        key_id: table.key_id.map(|tag| tag.into_inner().0),
        secret,
        secret_at,
        position,
    })
}
