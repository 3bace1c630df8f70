//! The document inside an export matches its page.

use serde_json::{Value, json};
use terminal_secrets::model::{Name, ProjectName, Source, Tag, Timestamp};
use terminal_secrets::vault::NewSecret;

use crate::support::files::root;
use crate::support::{Sandbox, project, secret};

use super::{key, listed, opened, sealed};

#[test]
fn the_document_matches_its_page() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    let name = Name::parse("A \"name\"").unwrap();
    let new = NewSecret {
        name,
        expires: Some(Timestamp(1_800_000_000_125)),
        source: Source::parse("https://example.com/\"a").unwrap(),
        ..secret("Api-Key", b"a\nb")
    };

    vault.create(&project("web"), new).unwrap();
    vault.create(&project("web"), secret("raw", &[0xff, 0])).unwrap();
    let to = key(&sandbox, "key");
    sandbox.run(["export", "--encrypted", "f", "-p", "web", "-r", &to, "-q"]).succeeds();

    let text = opened(&sandbox, "f", "key");
    let document: Value = serde_json::from_slice(&text).unwrap();
    let times = |at: usize, name: &str| document["projects"][0]["secrets"][at][name].clone();
    let expected = json!({ "format": "secrets-export", "version": 1, "projects": [{ "name": "web", "secrets": [
        { "tag": "Api-Key", "name": "A \"name\"", "value": "a\nb",
          "createdAt": times(0, "createdAt"), "updatedAt": times(0, "updatedAt"),
          "expiresAt": "2027-01-15T08:00:00.125Z", "source": "https://example.com/\"a" },
        { "tag": "raw", "valueBase64": "/wA=",
          "createdAt": times(1, "createdAt"), "updatedAt": times(1, "updatedAt") },
    ] }] });

    assert_eq!(document, expected);
    assert_eq!(listed(&sandbox)[0]["createdAt"], times(0, "createdAt"));

    // Each secret is on its own line.
    assert_eq!(text.split(|byte| *byte == b'\n').count(), 7);

    // The example on the page can be imported.
    let page = std::fs::read_to_string(root().join("docs/export.md")).unwrap();
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    sandbox.write("example", sealed(&to, example.as_bytes()));
    stderr!(sandbox.run(["import", "example", "-i", "key"]).succeeds(), @"imported into project `web`: 2 created");
}

#[test]
fn names_never_need_escapes() {
    // The export writes names of projects and tags without escapes, because no valid name needs
    // one.
    for odd in ["a\"b", "a\\b", "a\nb"] {
        assert!(ProjectName::parse(odd).is_err() && Tag::parse(odd).is_err());
    }
}
