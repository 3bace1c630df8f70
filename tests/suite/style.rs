//! Guards against relapses into words and constructions that STYLE.md rules out.
//!
//! It does not replace reading: text without any of these can still be hard to read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::files::root;

/// Words and phrases that our text does not use, each with what to write instead. They are matched
/// as whole words, in any case.
const PHRASES: &[(&str, &str)] = &[
    ("anew", "again, or the action itself: re-encrypt, rebuild"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("beside", "next to"),
    ("meanwhile", "in the meantime"),
    ("perhaps", "may"),
    ("all the same", "anyway"),
    ("unseen", "hidden"),
    ("whoever", "name the subject"),
    ("whosoever", "name the subject"),
    ("thereby", "and so"),
    ("of which", "start a second sentence"),
    ("out of which", "start a second sentence"),
    ("to whom", "start a second sentence"),
    ("that is there", "existing"),
    ("what is there", "existing"),
    ("what lies there", "the existing file"),
    ("is none", "is not a valid …"),
    ("that is none", "is not a valid …"),
    ("are none", "are not valid"),
    ("well formed", "valid"),
    ("is gone", "was removed, no longer exists"),
    ("are gone", "were removed"),
    ("gone on with", "resumed"),
    ("broken off", "interrupted"),
    ("of before", "old, previous"),
    ("told apart", "distinguished"),
    ("tell apart", "distinguish"),
    ("tells apart", "distinguishes"),
    ("is told", "is reported"),
    ("are told", "are reported"),
    ("was told", "was reported"),
    ("is said", "is reported"),
    ("went another way", "diverged"),
    ("goes another way", "diverges"),
    ("put back to", "rolled back"),
    ("way in", "key slot"),
    ("ways in", "key slots"),
    ("vouches", "cannot be verified"),
    ("nothing of it", "none of it"),
    ("in the making", "being written, being created"),
    ("half a sentence", "a phrase"),
    ("could not be had", "is not available"),
    ("brought in", "added"),
    ("bring in", "add"),
    ("brings in", "adds"),
    ("sealed anew", "re-encrypted"),
    ("as it lies", "as it is"),
    ("has it that", "says that"),
    ("for all that", "anyway"),
    ("no such", "does not exist, none"),
    ("so many", "the number"),
    ("where there is none", "if there is none"),
    ("where there is one", "if there is one"),
    ("where nothing", "if nothing"),
    ("where nobody", "if nobody"),
    ("behind it", "after it"),
    ("is to be", "must be, will be"),
    ("are to be", "must be, will be"),
    ("was to be", "had to be"),
    ("are to have", "get"),
    ("is to have", "gets"),
];

/// Beginnings of a text that hide its subject: "What a command works with."
const OPENINGS: &[&str] = &["what", "whose", "whom", "who", "of the", "so that", "so as"];

/// The largest share of odd blocks: one in this number.
const GOAL: usize = 100;

/// A comment, a paragraph or a message, with its position.
struct Block {
    place: String,
    text: String,
}

/// Returns all files below `folder` with one of these extensions.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];

    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().map(|it| it.to_string_lossy().into_owned());
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if extension.is_some_and(|it| extensions.contains(&it.as_str())) {
                found.push(path);
            }
        }
    }

    found.sort();
    found
}

/// Joins consecutive lines for which `text_of` returns text. A list item or a table row is a block.
fn blocks(path: &Path, text_of: impl Fn(&str) -> Option<String>) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;

    for (number, line) in text.lines().enumerate() {
        match text_of(line).filter(|text| !text.trim().is_empty()) {
            Some(text) if is_open && !starts_item(text.trim()) => {
                let block = found.last_mut().unwrap();
                block.text.push(' ');
                block.text.push_str(text.trim());
            }
            Some(text) => {
                let place =
                    format!("{}:{}", path.strip_prefix(root()).unwrap().display(), number + 1);
                found.push(Block { place, text: text.trim().to_owned() });
                is_open = true;
            }
            None => is_open = false,
        }
    }

    found
}

/// Returns true for the first line of a list item, and for a row of a table.
fn starts_item(text: &str) -> bool {
    ["- ", "* ", "|"].iter().any(|mark| text.starts_with(mark))
}

/// Returns a line of a document, unless it is a heading, which may be a phrase.
fn paragraph(line: &str) -> Option<String> {
    (!line.starts_with('#')).then(|| line.to_owned())
}

/// Returns a line's comment, without its marker.
fn comment(line: &str) -> Option<String> {
    let line = line.trim_start();
    let rest = ["//!", "///", "//"].iter().find_map(|marker| line.strip_prefix(marker))?;
    Some(rest.to_owned())
}

/// Returns what is odd about a text, or `None`.
fn oddity(text: &str) -> Option<String> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();

    let spaced = format!(" {} ", words.join(" "));
    let phrase = PHRASES.iter().find(|(phrase, _)| spaced.contains(&format!(" {phrase} ")));
    if let Some((phrase, instead)) = phrase {
        return Some(format!("`{phrase}`: {instead}"));
    }

    let is_question = text.contains('?');
    let opening = OPENINGS.iter().find(|it| spaced.starts_with(&format!(" {it} ")));
    opening.filter(|_| !is_question).map(|it| format!("begins with `{it}`: name the subject"))
}

/// Fails if more than one in [`GOAL`] blocks is odd.
#[track_caller]
fn check(what: &str, blocks: &[Block]) {
    let odd: Vec<String> = blocks
        .iter()
        .filter_map(|block| {
            Some(format!("{}: {}\n    {}", block.place, oddity(&block.text)?, block.text))
        })
        .collect();

    assert!(!blocks.is_empty(), "no {what} were found");
    assert!(
        odd.len() * GOAL <= blocks.len(),
        "{} of {} {what} are odd:\n{}",
        odd.len(),
        blocks.len(),
        odd.join("\n")
    );
}

/// Returns the string literals of a source file that read as sentences.
fn messages(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = Vec::new();

    for (number, line) in code.lines().enumerate() {
        if comment(line).is_some() {
            continue;
        }

        for literal in line.split('"').skip(1).step_by(2).filter(|it| it.contains(' ')) {
            let place = format!("{}:{}", path.strip_prefix(root()).unwrap().display(), number + 1);
            found.push(Block { place, text: literal.to_owned() });
        }
    }

    found
}

#[test]
fn comments_are_plain() {
    let sources =
        ["src", "crates", "tests", "fuzz", "benches"].iter().flat_map(|it| files(it, &["rs"]));
    let own = Path::new("suite/style.rs");
    let found: Vec<Block> = sources
        .filter(|path| !path.ends_with(own))
        .flat_map(|path| blocks(&path, comment))
        .collect();

    check("comment blocks", &found);
}

#[test]
fn documents_are_plain() {
    let pages = files("docs", &["md"]).into_iter();
    let pages = pages.filter(|path| !path.ends_with("format.md"));
    let own = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"]
        .map(|it| root().join(it));
    let found: Vec<Block> = pages.chain(own).flat_map(|path| blocks(&path, paragraph)).collect();
    check("paragraphs", &found);
}

#[test]
fn man_pages_are_plain() {
    let text_of = |line: &str| (!line.starts_with('.')).then(|| line.replace('\\', ""));
    let found: Vec<Block> =
        files("man", &["1"]).iter().flat_map(|path| blocks(path, text_of)).collect();
    check("paragraphs of man pages", &found);
}

#[test]
fn messages_are_plain() {
    let sources = ["src", "crates"].iter().flat_map(|it| files(it, &["rs"]));
    let found: Vec<Block> = sources.flat_map(|path| messages(&path)).collect();
    check("messages", &found);
}
