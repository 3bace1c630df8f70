//! Reads YAML 1.2 with the events of its parser. Scalars keep the text that the file has for them,
//! so `no` stays `no` and `0123` stays `0123`. Aliases and merge keys (`<<`) are followed.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use secrets_core::model::SecretBytes;

use super::super::{ImportError, Why};
use super::{Content, MAX_DEPTH, MAX_NODES, MAX_REPEATED, Node, decode_base64};
use crate::position::Position;

/// A list or map whose end has not been read.
struct Open {
    node: Node,
    anchor: usize,
    /// The name of the member whose value comes next
    name: Option<String>,
    /// The members that a merge key adds, those that count first
    merged: Vec<(String, Node)>,
    /// True if the next value belongs to a merge key
    is_merge: bool,
}

struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    repeated: usize,
}

/// Reads a file with one document.
pub(in super::super) fn read(text: &str) -> Result<Node, ImportError> {
    let mut reader =
        Reader { open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, repeated: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| ImportError::at(position(*error.marker()), Why::Yaml))?;
        reader.event(event, position(span.start))?;
    }

    reader.root.ok_or(ImportError::without_position(Why::NoMap("YAML")))
}

/// Converts a position of the parser, whose columns count characters from 0.
fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1) as u64, column: marker.col() as u64 + 1 }
}

impl Reader {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), ImportError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                if is_plain && text == "<<" && self.expects_name() {
                    self.open.last_mut().expect("a map is open").is_merge = true;
                    return Ok(());
                }

                let value = scalar(&text, is_plain, tag.as_deref(), at)?;
                let is_tagged = is_foreign(tag.as_deref());
                self.add(Node { at, is_tagged, content: Content::Value(value) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(at, Content::List(Vec::new()), anchor, is_foreign(tag.as_deref()))
            }
            Event::MappingStart(anchor, tag) => {
                self.start(at, Content::Map(Vec::new()), anchor, is_foreign(tag.as_deref()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { mut node, anchor, merged, .. }) = self.open.pop() else {
                    return Err(ImportError::at(at, Why::Yaml));
                };

                if let Content::Map(members) = &mut node.content
                    && !merged.is_empty()
                {
                    let mut names: HashSet<String> =
                        members.iter().map(|(name, _)| name.clone()).collect();
                    members
                        .extend(merged.into_iter().filter(|(name, _)| names.insert(name.clone())));
                }

                self.add(node, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.remove(&anchor) else {
                    return Err(ImportError::at(at, Why::Yaml));
                };

                let copy = self.repeat(&node, self.open.len());
                self.anchors.insert(anchor, node);
                self.add(copy.map_err(|why| ImportError::at(at, why))?, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(ImportError::at(at, Why::Documents))
            }
            _ => Ok(()),
        }
    }

    /// Returns true if the next scalar is the name of a member.
    fn expects_name(&self) -> bool {
        self.open.last().is_some_and(|open| {
            matches!(open.node.content, Content::Map(_)) && open.name.is_none() && !open.is_merge
        })
    }

    fn start(
        &mut self,
        at: Position,
        content: Content,
        anchor: usize,
        is_tagged: bool,
    ) -> Result<(), ImportError> {
        if self.expects_name() {
            return Err(ImportError::at(at, Why::KeyNotText));
        }

        if self.open.len() >= MAX_DEPTH {
            return Err(ImportError::at(at, Why::TooDeep));
        }

        let node = Node { at, is_tagged, content };
        self.open.push(Open { node, anchor, name: None, merged: Vec::new(), is_merge: false });
        Ok(())
    }

    /// Adds a complete node to the list or map that is open.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), ImportError> {
        let at = node.at;
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ImportError::at(at, Why::TooMany));
        }

        if anchor != 0 {
            let copy = self.repeat(&node, self.open.len());
            let copy = copy.map_err(|why| ImportError::at(at, why))?;
            self.anchors.insert(anchor, copy);
        }

        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };

        match &mut open.node.content {
            Content::List(elements) => elements.push(node),
            Content::Map(members) => match open.name.take() {
                Some(name) => members.push((name, node)),
                None if open.is_merge => {
                    open.is_merge = false;
                    let maps = match node.content {
                        Content::List(maps) => maps,
                        _ => vec![node],
                    };

                    for map in maps {
                        let Content::Map(members) = map.content else {
                            return Err(ImportError::at(at, Why::Merge));
                        };

                        open.merged.extend(members);
                    }
                }
                None => match &node.content {
                    Content::Value(name) => {
                        open.name = Some(String::from_utf8_lossy(name.expose()).into_owned());
                    }
                    _ => return Err(ImportError::at(at, Why::KeyNotText)),
                },
            },
            Content::Value(_) => return Err(ImportError::at(at, Why::Yaml)),
        }

        Ok(())
    }

    /// Copies a node to a place inside `depth` lists and maps. Fails if aliases repeat too much, or
    /// nest too deeply.
    fn repeat(&mut self, node: &Node, depth: usize) -> Result<Node, Why> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Why::TooMany);
        }

        let content = match &node.content {
            Content::Value(value) => {
                self.count_repeated(value.len())?;
                Content::Value(SecretBytes::copy_of(value.expose()))
            }
            _ if depth >= MAX_DEPTH => return Err(Why::TooDeep),
            Content::List(elements) => {
                let copies = elements.iter().map(|it| self.repeat(it, depth + 1));
                Content::List(copies.collect::<Result<_, _>>()?)
            }
            Content::Map(members) => {
                let copies = members.iter().map(|(name, node)| {
                    self.count_repeated(name.len())?;
                    Ok((name.clone(), self.repeat(node, depth + 1)?))
                });
                Content::Map(copies.collect::<Result<_, _>>()?)
            }
        };

        Ok(Node { at: node.at, is_tagged: node.is_tagged, content })
    }

    /// Counts bytes of a name or a value that an alias repeats.
    fn count_repeated(&mut self, bytes: usize) -> Result<(), Why> {
        self.repeated += bytes;
        if self.repeated > MAX_REPEATED { Err(Why::TooMany) } else { Ok(()) }
    }
}

/// Returns true for a tag that is not one of YAML's own, such as `!secret` or `!Sub`. `!` alone only says that
/// a scalar is text.
fn is_foreign(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| {
        let is_text = tag.handle.is_empty() && tag.suffix == "!";
        !tag.is_yaml_core_schema() && !is_text
    })
}

/// Returns the bytes of a scalar: nothing for `null`, and the content of `!!binary`.
fn scalar(
    text: &str,
    is_plain: bool,
    tag: Option<&Tag>,
    at: Position,
) -> Result<SecretBytes, ImportError> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if core == Some("binary") {
        let mut encoded = SecretBytes::with_capacity(text.len());
        text.bytes().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| encoded.push(byte));
        return decode_base64(encoded.expose()).ok_or(ImportError::at(at, Why::Base64));
    }

    let is_null =
        (is_plain && core.is_none() && matches!(text, "" | "~" | "null" | "Null" | "NULL"))
            || core == Some("null");
    Ok(if is_null { SecretBytes::with_capacity(0) } else { SecretBytes::copy_of(text.as_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<(String, String)>, String> {
        let root = read(text).map_err(|error| error.to_string())?;
        let pair = |it: super::super::Named| {
            (it.name, String::from_utf8(it.value.expose().to_vec()).unwrap())
        };

        Ok(root.flattened("").unwrap().into_iter().map(pair).collect())
    }

    #[test]
    fn values_keep_their_text() {
        let text = "db:\n  password: hunter2\n  port: 0o17\n  on: no\n  empty: ~\nkeys:\n  - a\n  - |\n    two\n    lines\nraw: !!binary aGk=\nquoted: 'null'\n";
        let expected = [
            ("db.password", "hunter2"),
            ("db.port", "0o17"),
            ("db.on", "no"),
            ("db.empty", ""),
            ("keys.0", "a"),
            ("keys.1", "two\nlines\n"),
            ("raw", "hi"),
            ("quoted", "null"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(names(text).unwrap(), expected);
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let text = "base: &base {user: app, password: x}\nlive:\n  <<: *base\n  password: y\ncopy: *base\n";
        let all = names(text).unwrap();
        let get = |name: &str| &all.iter().find(|(other, _)| other == name).unwrap().1;
        assert_eq!((get("live.password").as_str(), get("live.user").as_str()), ("y", "app"));
        assert_eq!(get("copy.password"), "x");
    }

    #[test]
    fn what_no_file_of_secrets_is_gets_an_error() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{},", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }

        let deep = "[".repeat(70) + &"]".repeat(70);
        let deepest = "[".repeat(100_000);
        for (text, expected) in [
            (bomb.as_str(), Why::TooMany),
            (&deep, Why::TooDeep),
            (&deepest, Why::Yaml),
            ("a: 1\n---\nb: 2\n", Why::Documents),
            ("? [a]\n: b\n", Why::KeyNotText),
            ("a: *nowhere\n", Why::Yaml),
            ("a: 'open\n", Why::Yaml),
            ("<<: 7\n", Why::Merge),
            ("a: !!binary '*'\n", Why::Base64),
        ] {
            assert_eq!(read(text).err().unwrap().why, expected, "{}", &text[..20.min(text.len())]);
        }
    }
}
