//! The outputs of hosted services' programs: HashiCorp Vault and OpenBao, AWS Secrets Manager, Doppler
//! and Infisical. Each has names and values, wrapped in its own metadata.

use super::collector::Collector;
use super::tree::{Content, MAX_NAMES, Named, Node, decode_base64, json};
use super::{Format, ImportError, Items, Why, pairs};

/// Returns the format whose shape these values have.
pub(super) fn format_of(nodes: &[Node]) -> Option<Format> {
    let [node] = nodes else { return None };
    if vault_data(node).is_some() {
        Some(Format::Vault)
    } else if is_aws(node) || node.get("SecretValues").and_then(Node::list).is_some() {
        Some(Format::Aws)
    } else if is_all(node.map().map(|all| all.iter().map(|(_, it)| it)), is_doppler) {
        Some(Format::Doppler)
    } else if is_all(node.list().map(<[Node]>::iter), |it| infisical_names(it).is_some()) {
        Some(Format::Infisical)
    } else {
        None
    }
}

/// Reads the names and values of a service's output.
pub(super) fn read(
    format: Format,
    mut nodes: Vec<Node>,
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    let wrong = ImportError::without_position(Why::NotFrom(format.name()));
    let (Some(node), true) = (nodes.pop(), nodes.is_empty()) else { return Err(wrong) };
    let named = match format {
        Format::Vault => {
            if node.get("auth").is_some_and(|auth| auth.map().is_some()) {
                found.skip("auth", Some(node.at), "it is a token of the service itself");
            }

            vault(node).transpose()?
        }
        Format::Aws => aws(node, &mut found)?,
        Format::Doppler => doppler(node, &mut found),
        Format::Infisical => infisical(node),
        _ => None,
    };

    pairs::named(named.ok_or(wrong)?, found)
}

fn is_all<'n>(
    nodes: Option<impl ExactSizeIterator<Item = &'n Node>>,
    test: impl Fn(&'n Node) -> bool,
) -> bool {
    nodes.is_some_and(|mut nodes| nodes.len() > 0 && nodes.all(test))
}

/// Returns the members of a secret in the answer of `vault kv get -format=json`. Version 2 of the
/// engine puts them into an inner `data` next to `metadata`, and a deleted version has no `data`.
fn vault_data(answer: &Node) -> Option<&Node> {
    answer.get("request_id")?;
    let data = answer.get("data")?;
    data.map()?;
    Some(match (data.get("data"), data.get("metadata")) {
        (Some(inner), Some(metadata)) if metadata.map().is_some() => inner,
        _ => data,
    })
}

/// Reads the answer of Vault. A version that was deleted has no values.
fn vault(answer: Node) -> Option<Result<Vec<Named>, ImportError>> {
    let is_inner = !std::ptr::eq(vault_data(&answer)?, answer.get("data")?);
    let data = take(answer, "data")?;
    let data = if is_inner { take(data, "data")? } else { data };
    Some(if data.map().is_some() { data.flattened("") } else { Ok(Vec::new()) })
}

fn is_aws(secret: &Node) -> bool {
    secret.get("ARN").is_some()
        && (secret.get("SecretString").is_some() || secret.get("SecretBinary").is_some())
}

/// Reads the answer of `get-secret-value` or of `batch-get-secret-value`. A secret whose text is a
/// JSON object, as the console writes it, has a value for each member. The names of several secrets
/// begin with the name of their secret.
fn aws(answer: Node, found: &mut Collector<'_>) -> Result<Option<Vec<Named>>, ImportError> {
    if is_aws(&answer) {
        return aws_secret(&answer, false);
    }

    for error in answer.get("Errors").and_then(Node::list).unwrap_or_default() {
        let name = error.label("SecretId").unwrap_or_default();
        found.skip(&name, Some(error.at), "the service returned an error for it");
    }

    let Some(Content::List(secrets)) = take(answer, "SecretValues").map(|node| node.content) else {
        return Ok(None);
    };

    let (mut all, mut bytes, several) = (Vec::new(), 0, secrets.len() > 1);
    for secret in secrets {
        match aws_secret(&secret, several)? {
            Some(named) => {
                // Each secret is limited by itself, so their sum is limited here.
                bytes += named.iter().map(|one| one.name.len()).sum::<usize>();
                if bytes > MAX_NAMES {
                    return Err(ImportError::at(secret.at, Why::TooMany));
                }

                all.extend(named);
            }
            None => return Ok(None),
        }
    }

    Ok(Some(all))
}

fn aws_secret(secret: &Node, is_named: bool) -> Result<Option<Vec<Named>>, ImportError> {
    let Some(name) = secret.label("Name").filter(|_| is_aws(secret)) else { return Ok(None) };
    let at = secret.at;
    // An empty or null text next to a binary value is no value.
    let has_binary = secret.get("SecretBinary").is_some();
    let text = secret.copy("SecretString").filter(|text| !(text.is_empty() && has_binary));
    if let Some(text) = text {
        // The inner text has other positions than the file.
        let inner = std::str::from_utf8(text.expose()).ok().map(json::read);
        return Ok(Some(match inner {
            Some(Ok(mut nodes)) if nodes.len() == 1 && nodes[0].map().is_some() => {
                let prefix = if is_named { name.as_str() } else { "" };
                let place = |named| Named { at, ..named };
                let named = nodes.remove(0).flattened(prefix);
                let named = named.map_err(|error| ImportError::at(at, error.why))?;
                named.into_iter().map(place).collect()
            }
            _ => vec![Named { name, value: text, at, is_tagged: false }],
        }));
    }

    let value = secret.copy("SecretBinary").and_then(|text| decode_base64(text.expose()));
    let value = value.ok_or_else(|| ImportError::at(at, Why::Base64))?;
    Ok(Some(vec![Named { name, value, at, is_tagged: false }]))
}

/// Returns true for a value of `doppler secrets --json`.
fn is_doppler(value: &Node) -> bool {
    value.get("computed").is_some()
        && (value.get("raw").is_some() || value.get("computedVisibility").is_some())
}

/// Reads `doppler secrets --json`. The computed value is the one in which references to other
/// secrets are resolved.
fn doppler(all: Node, found: &mut Collector<'_>) -> Option<Vec<Named>> {
    let Content::Map(members) = all.content else { return None };
    let mut named = Vec::with_capacity(members.len());
    for (name, node) in members {
        let value = node.copy("computed")?;
        if node.label("computedVisibility").as_deref() == Some("restricted") && value.is_empty() {
            found.skip(&name, Some(node.at), "it is restricted, so Doppler does not show it");
        } else {
            named.push(Named { name, value, at: node.at, is_tagged: false });
        }
    }

    Some(named)
}

/// Returns the members that hold the name and the value.
fn infisical_names(secret: &Node) -> Option<(&'static str, &'static str)> {
    [("key", "value"), ("secretKey", "secretValue")]
        .into_iter()
        .find(|(name, value)| secret.get(name).is_some() && secret.get(value).is_some())
}

/// Reads `infisical export --format json`, a list of names and values.
fn infisical(all: Node) -> Option<Vec<Named>> {
    let Content::List(secrets) = all.content else { return None };
    let named = |secret: Node| {
        let (name, value) = infisical_names(&secret)?;
        Some(Named {
            name: secret.label(name)?,
            value: secret.copy(value)?,
            at: secret.at,
            is_tagged: false,
        })
    };

    secrets.into_iter().map(named).collect()
}

/// Takes a member out of a map, the last one if the name occurs twice.
fn take(node: Node, name: &str) -> Option<Node> {
    let Content::Map(members) = node.content else { return None };
    members.into_iter().rev().find(|(other, _)| other == name).map(|(_, node)| node)
}
