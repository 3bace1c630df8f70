//! 1Password: items as `op item get --format json` prints them, and the content of a `.1pux` file.
//!
//! A `.1pux` file is a ZIP archive with the document `export.data`
//! (<https://support.1password.com/1pux-format/>).

use std::io::{Cursor, Read};

use secrets_core::model::SecretBytes;
use zip::ZipArchive;

use super::super::collector::Collector;
use super::super::entry::{Entry, EntryField};
use super::super::tree::{Content, Node, json};
use super::super::{ImportError, Items, Why, fault};

/// The maximum size in bytes of `export.data`.
const MAX_DATA: u64 = 64 * 1024 * 1024;
const FILE: &str = "attached files cannot be imported";
const PASSKEY: &str = "passkeys cannot be imported";
const NO_TEXT: &str = "it is an object or a list";

/// Returns true for a ZIP archive that has `export.data`.
pub(in super::super) fn is_1pux(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") && memchr::memmem::find(bytes, b"export.data").is_some()
}

/// Returns true for items that `op` printed, or for fields of one item: one, a list, or one after the
/// other.
pub(in super::super) fn is_from_op(nodes: &[Node]) -> bool {
    let is_item = |it: &Node| has(it, &["id", "vault", "fields"]) || is_field(it);
    !nodes.is_empty()
        && nodes.iter().all(|node| match node.list() {
            Some(list) => !list.is_empty() && list.iter().all(is_item),
            None => is_item(node),
        })
}

/// Reads items that `op` printed.
pub(in super::super) fn read_op(
    nodes: Vec<Node>,
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    if !is_from_op(&nodes) {
        return Err(ImportError::without_position(Why::NotFrom("1password")));
    }

    for node in nodes {
        match node.content {
            Content::List(items) => {
                for item in items {
                    add_of_op(&item, &mut found)?;
                }
            }
            content => add_of_op(&Node { content, ..node }, &mut found)?,
        }
    }

    Ok(found.finish())
}

/// Returns true for what `op item get --fields` prints.
fn is_field(node: &Node) -> bool {
    let known = [
        "id",
        "type",
        "purpose",
        "label",
        "value",
        "reference",
        "section",
        "entropy",
        "password_details",
        "totp",
    ];
    has(node, &["id", "type", "label", "reference"])
        && node.map().is_some_and(|all| all.iter().all(|(name, _)| known.contains(&name.as_str())))
}

fn has(node: &Node, names: &[&str]) -> bool {
    names.iter().all(|name| node.get(name).is_some())
}

fn add_of_op(item: &Node, found: &mut Collector<'_>) -> Result<(), ImportError> {
    if is_field(item) {
        let label = item.label("label").unwrap_or_default();
        if item.get("value").is_some_and(|value| value.value().is_none()) {
            found.skip(&label, Some(item.at), NO_TEXT);
            return Ok(());
        }

        let value = item.copy("value").unwrap_or_else(|| SecretBytes::with_capacity(0));
        return found.pair(&label, value, Some(item.at));
    }

    found.entry(of_op(item))
}

fn of_op(item: &Node) -> Entry {
    let mut entry = Entry { at: Some(item.at), ..Entry::default() };
    entry.title = item.label("title").unwrap_or_default();
    entry.urls.extend(elements(item, "urls").iter().filter_map(|url| url.label("href")));
    if !elements(item, "files").is_empty() {
        entry.dropped.push(("files".into(), FILE));
    }

    for field in elements(item, "fields") {
        let Some(value) = field.copy("value") else {
            if field.get("value").is_some() {
                entry.dropped.push((field.label("label").unwrap_or_default(), NO_TEXT));
            }

            continue;
        };
        let purpose = field.label("purpose").unwrap_or_default();
        let kind = field.label("type").unwrap_or_default();
        match (purpose.as_str(), kind.as_str()) {
            ("USERNAME", _) => entry.users.push(text(&value)),
            ("PASSWORD", _) => entry.set(EntryField::Password, value),
            ("NOTES", _) => entry.set(EntryField::Notes, value),
            (_, "OTP") => entry.set(EntryField::Totp, value),
            _ => {
                let section = field.get("section").and_then(|section| section.label("label"));
                let name = field.label("label").unwrap_or_default();
                entry.fields.push((joined(section.as_deref(), &name), value));
            }
        }
    }

    entry
}

/// Reads a `.1pux` file.
pub(in super::super) fn read_1pux(
    bytes: &[u8],
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    let broken = || ImportError::without_position(Why::Archive);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| broken())?;
    let file = archive.by_name("export.data").map_err(|_| broken())?;

    // The archive states the size, but it is not believed.
    let mut data = Vec::new();
    let read = file.take(MAX_DATA + 1).read_to_end(&mut data);
    let data = SecretBytes::from_vec(data);
    if read.is_err() || data.len() as u64 > MAX_DATA {
        return Err(broken());
    }

    let is_attached = |name: &str| name.starts_with("files/") && name.len() > "files/".len();
    let attached = archive.file_names().filter(|name| is_attached(name)).count();
    if attached > 0 {
        found.skip("files", None, FILE);
    }

    let nodes = fault::utf8(data.expose()).and_then(json::read);

    // The archive's document has other positions than the file.
    let nodes = nodes.map_err(|error| ImportError::without_position(error.why))?;
    for account in nodes.iter().flat_map(|node| elements(node, "accounts")) {
        for vault in elements(account, "vaults") {
            for item in elements(vault, "items") {
                let item = item.get("item").unwrap_or(item);
                let is_deleted = item.label("trashed").as_deref() == Some("true")
                    || item.label("state").as_deref() == Some("trashed");
                let entry = of_1pux(item);
                if is_deleted {
                    found.skip(&entry.title, None, "it is in the trash");
                } else {
                    found.entry(entry)?;
                }
            }
        }
    }

    Ok(found.finish())
}

fn of_1pux(item: &Node) -> Entry {
    let mut entry = Entry::default();
    if let Some(overview) = item.get("overview") {
        entry.title = overview.label("title").unwrap_or_default();
        let all = elements(overview, "urls").iter().filter_map(|url| url.label("url"));
        entry.urls.extend(all);
        if entry.urls.is_empty() {
            entry.urls.extend(overview.label("url"));
        }
    }

    let Some(details) = item.get("details") else { return entry };
    for field in elements(details, "loginFields") {
        let Some(value) = field.copy("value") else {
            if field.get("value").is_some() {
                entry.dropped.push((field.label("name").unwrap_or_default(), NO_TEXT));
            }

            continue;
        };
        let name = field.label("name").filter(|name| !name.is_empty());
        match field.label("designation").as_deref() {
            Some("username") => entry.users.push(text(&value)),
            Some("password") => entry.set(EntryField::Password, value),
            _ if is_control(field) => {
                let name = name.unwrap_or_else(|| "field".into());
                entry.dropped.push((name, "it is a button or a checkbox"));
            }
            _ => {
                let name = name.or_else(|| field.label("id")).unwrap_or_default();
                entry.fields.push((name, value));
            }
        }
    }

    if let Some(password) = details.copy("password") {
        entry.set(EntryField::Password, password);
    }

    for section in elements(details, "sections") {
        let title = section.label("title");
        for field in elements(section, "fields") {
            let name = joined(title.as_deref(), &field.label("title").unwrap_or_default());
            for (kind, value) in field.get("value").and_then(Node::map).unwrap_or_default() {
                section_field(&mut entry, &name, kind, value);
            }
        }
    }

    if let Some(notes) = details.copy("notesPlain") {
        entry.set(EntryField::Notes, notes);
    }

    let known = [
        "loginFields",
        "password",
        "sections",
        "notesPlain",
        "documentAttributes",
        "passkey",
        "passwordHistory",
    ];
    for (name, node) in details.map().unwrap_or_default() {
        match node.value() {
            _ if known.contains(&name.as_str()) => {}
            Some(value) => {
                entry.fields.push((name.clone(), SecretBytes::copy_of(value.expose())));
            }
            None => entry.dropped.push((name.clone(), NO_TEXT)),
        }
    }

    if details.get("documentAttributes").is_some_and(|it| it.map().is_some()) {
        entry.dropped.push(("document".into(), FILE));
    }

    if details.get("passkey").is_some_and(|it| it.map().is_some()) {
        entry.dropped.push(("passkey".into(), PASSKEY));
    }

    entry
}

/// Returns true for a field of a form that is a button or a checkbox.
fn is_control(field: &Node) -> bool {
    matches!(field.label("fieldType").as_deref(), Some("B" | "C"))
}

/// Adds a field of a section. `kind` says what its value is.
fn section_field(entry: &mut Entry, name: &str, kind: &str, value: &Node) {
    let inner = match kind {
        "email" => value.copy("email_address"),
        "sshKey" => value.copy("privateKey"),
        _ => None,
    };

    match (kind, inner.or_else(|| value.value().map(|it| SecretBytes::copy_of(it.expose())))) {
        ("totp", Some(value)) => entry.set(EntryField::Totp, value),
        (_, Some(value)) => entry.fields.push((name.to_owned(), value)),
        ("file", None) => entry.dropped.push((name.to_owned(), FILE)),
        (_, None) => entry.dropped.push((name.to_owned(), NO_TEXT)),
    }
}

fn elements<'n>(node: &'n Node, name: &str) -> &'n [Node] {
    node.get(name).and_then(Node::list).unwrap_or_default()
}

fn joined(section: Option<&str>, name: &str) -> String {
    match section.filter(|section| !section.is_empty()) {
        Some(section) if !name.is_empty() => format!("{section} {name}"),
        Some(section) => section.to_owned(),
        None => name.to_owned(),
    }
}

fn text(value: &SecretBytes) -> String {
    String::from_utf8_lossy(value.expose()).into_owned()
}
