//! The rules of the code base: imports point down, no file is an orphan, every file says what it
//! does, and only a few files use `unsafe`.
//!
//! The compiler refuses an upward import between crates. These tests check the rooms inside a
//! crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each crate from top to bottom. A file may name the rooms of its own row and those
/// below. Crates that are not listed have one room.
const ROOMS: [(&str, &[&[&str]]); 10] = [
    (
        "",
        &[
            &["cli"],
            &["commands"],
            &["context", "completion"],
            &["output", "error"],
            &["ui", "config", "strength", "generator", "key_pair"],
        ],
    ),
    ("core", &[&["vault"], &["store"], &["crypto"], &["model", "codec", "machine"]]),
    (
        "project",
        &[
            &["setup"],
            &["import"],
            &["export", "scan", "template"],
            &["dotenv", "git", "variables", "position", "one_time", "shell"],
        ],
    ),
    (
        "proxy",
        &[
            &["server", "client"],
            &["exchange"],
            &["session"],
            &["judge", "origin", "idle"],
            &["answer", "rewrite", "sigv4", "net", "local"],
            &["policy", "refusal", "ca", "address", "caller"],
            &["placeholders", "placeholder"],
        ],
    ),
    ("api", &[&["server"], &["worker"], &["routes"], &["body", "guard"], &["reply", "rate"]]),
    ("mcp", &[&["server"], &["protocol"], &["message", "frame", "tool"]]),
    ("picker", &[&["screen"], &["draw"], &["picker"], &["keys"]]),
    (
        "runtime",
        &[
            &["captured", "clipboard", "source"],
            &["agent", "run", "editor", "keychain"],
            &["process", "helper"],
        ],
    ),
    ("link", &[&["client", "serve"], &["frame"]]),
    (
        "store-postgres",
        &[
            &["server"],
            &["connection"],
            &["questions", "update", "facts"],
            &["rows", "failure"],
            &["schema", "statement", "connect"],
            &["address"],
        ],
    ),
];

/// The crates of the workspace from top to bottom, without the root package.
const CRATES: [&str; 12] = [
    "link",
    "store-postgres",
    "runtime",
    "project",
    "proxy",
    "api",
    "mcp",
    "picker",
    "age",
    "mask",
    "core",
    "files",
];

/// A source file, its crate (empty for the root package) and its text.
struct Source {
    path: PathBuf,
    owner: &'static str,
    text: String,
}

impl Source {
    /// Returns the file's room: its first folder in the crate, or its own name.
    fn room(&self) -> String {
        let inside = self.path.strip_prefix(folder(self.owner)).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Returns true for a file in this room of the root package.
    fn is_in(&self, room: &str) -> bool {
        self.owner.is_empty() && self.room() == room
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folder with the sources of a crate.
fn folder(owner: &str) -> PathBuf {
    if owner.is_empty() {
        root().join("src")
    } else {
        root().join("crates").join(owner).join("src")
    }
}

fn sources() -> Vec<Source> {
    let found: Vec<Source> =
        [""].into_iter().chain(CRATES).flat_map(|owner| files(folder(owner), owner)).collect();
    assert!(found.len() > 150);
    found
}

/// Returns the files of this suite.
fn suite() -> Vec<Source> {
    files(root().join("tests/suite"), "")
}

fn files(directory: PathBuf, owner: &'static str) -> Vec<Source> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(path, owner));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path, owner, text });
        }
    }

    found
}

/// Returns the row of a room in its crate.
fn row(owner: &str, room: &str) -> Option<usize> {
    let (_, rows) = ROOMS.iter().find(|(name, _)| *name == owner)?;
    rows.iter().position(|rooms| rooms.contains(&room))
}

/// Returns the code without its unit tests, comments and string contents.
fn code(text: &str) -> String {
    let tested = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    tested.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Returns the modules that a text names with `crate::module`, also inside braces: `use
/// crate::{model, vault::Vault}`.
fn named_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        let names = match part.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![part],
        };

        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            rooms.insert(name[..end].to_owned());
        }
    }

    rooms
}

#[test]
fn imports_point_down() {
    let mut checked = 0;
    for source in sources() {
        let (path, room) = (source.path.display(), source.room());
        if ROOMS.iter().all(|(owner, _)| *owner != source.owner)
            || ["lib", "main"].contains(&&*room)
        {
            continue;
        }

        let own = row(source.owner, &room).unwrap_or_else(|| panic!("{path} belongs to no row"));
        for named in named_rooms(&code(&source.text)) {
            let there = row(source.owner, &named);
            let there = there.unwrap_or_else(|| panic!("{path}: `{named}` is in no row"));
            assert!(there >= own, "{path} imports `{named}`, which is above it");
            checked += 1;
        }
    }

    assert!(checked > 200, "only {checked} imports were found");
}

#[test]
fn no_command_imports_another_command() {
    let mut checked = 0;
    for source in sources() {
        let Source { path, text, .. } = &source;
        if !source.is_in("commands") || path.ends_with("commands/mod.rs") {
            continue;
        }

        // In a command, `super` is `commands`. In the folder of one, it is the command itself.
        let inside: Vec<_> =
            path.components().skip_while(|it| it.as_os_str() != "commands").collect();
        let is_part = inside.len() > 2 && !path.ends_with("mod.rs");
        let outside = if is_part { "super::super::" } else { "super::" };
        let is_shared = inside[1].as_os_str() == "shared";

        // A part of `shared` may name another one, but nothing above.
        assert!(!is_shared || !code(text).contains("super::super::"), "{}", path.display());
        for named in code(text).split(outside).skip(1).filter(|_| !is_shared) {
            assert!(named.starts_with("shared::"), "{} imports a command", path.display());
            checked += 1;
        }

        assert!(!code(text).contains("crate::commands"), "{} imports a command", path.display());
    }

    assert!(checked > 30, "only {checked} imports were found");
}

/// The renderer asks whether results are printed as JSON. Elsewhere the answer changes what is
/// done: `list` pages its results, `run` passes the option on, `env` needs no shell, `request` reads the whole answer,
/// trust is not asked for, and errors and help have a form of their own.
#[test]
fn only_the_renderer_asks_for_json() {
    let others = [
        "ui/mod.rs",
        "cli/mod.rs",
        "commands/env.rs",
        "commands/list.rs",
        "commands/run",
        "context/trust.rs",
        "commands/request/answer.rs",
    ];
    for source in sources() {
        let (shown, text) = (source.path.to_string_lossy(), &source.text);
        let is_allowed = source.is_in("output") || others.iter().any(|it| shown.contains(it));
        assert!(is_allowed || !code(text).contains("is_json()"), "{shown} asks for JSON");
        assert!(
            source.is_in("output") || !code(text).contains("ui.json("),
            "{shown} prints a result by itself"
        );
    }
}

#[test]
fn crates_depend_only_on_lower_ones() {
    let names: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, CRATES.map(str::to_owned).into(), "CRATES lists every crate");

    for (at, name) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(folder(name).with_file_name("Cargo.toml")).unwrap();
        for other in manifest.lines().filter_map(|line| line.strip_prefix("secrets-")) {
            let other = other.split('.').next().unwrap();
            if ["test-origin", "test-postgres"].contains(&other) {
                continue; // the servers of the tests
            }

            let below = CRATES.iter().position(|known| *known == other).unwrap();
            assert!(below > at, "{name} depends on {other}, which is not below it");
        }
    }
}

#[test]
fn the_crates_know_no_terminal() {
    let is_checked = |source: &&Source| !source.owner.is_empty() || source.is_in("strength");
    for source in sources().iter().filter(is_checked) {
        for word in [
            "clap",
            "std::env",
            "rpassword",
            "anstyle",
            "terminal_size",
            "process::exit",
            "stdout()",
            "stderr()",
        ] {
            assert!(!code(&source.text).contains(word), "{} uses {word}", source.path.display());
        }
    }
}

#[test]
fn only_one_file_knows_each_of_these() {
    for (word, owner) in [
        ("rusqlite", "core/src/store/sqlite/"),
        (
            "allow(unsafe_code)",
            "core/src/crypto/memory.rs files/src/signals.rs runtime/src/process.rs \
             runtime/src/run/child.rs",
        ),
        // What dotenvx encrypted is read, never written.
        ("aes_gcm", "core/src/crypto/aead.rs project/src/import/dotenvx.rs"),
        ("argon2::", "core/src/crypto/"),
        ("use age::", "crates/age/ src/error/mod.rs"),
        ("env::var", "src/config.rs"),
        ("rpassword", "src/ui/prompt.rs"),
        ("comfy_table", "src/output/table.rs"),
    ] {
        for Source { path, text, .. } in sources() {
            let allowed = owner.split(' ').any(|owner| path.to_string_lossy().contains(owner));
            assert!(allowed || !code(&text).contains(word), "{} names {word}", path.display());
        }
    }
}

/// Asserts that every file is declared as a module by the file above it.
#[track_caller]
fn assert_no_orphan(all: &[Source]) {
    for Source { path, .. } in all {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = path.parent().unwrap();
        let (module, parent) = match stem.as_str() {
            "lib" | "main" => continue,
            "mod" => (
                folder.file_name().unwrap().to_string_lossy().into_owned(),
                folder.parent().unwrap(),
            ),
            _ => (stem, folder),
        };

        let declared = all.iter().any(|Source { path: other, text, .. }| {
            let declares = other.parent() == Some(parent)
                && ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| other.ends_with(name));
            declares
                && code(text)
                    .lines()
                    .any(|line| line.trim_end().ends_with(&format!("mod {module};")))
        });

        assert!(declared, "{} is not part of any module", path.display());
    }
}

#[test]
fn no_file_is_an_orphan() {
    assert_no_orphan(&sources());
}

#[test]
fn every_file_of_this_suite_runs() {
    assert_no_orphan(&suite());
}

#[test]
fn every_file_has_a_description() {
    for Source { path, text, .. } in sources() {
        assert!(text.starts_with("//! "), "{} does not begin with a description", path.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for (sources, limit) in [(sources(), 450), (suite(), 450)] {
        for Source { path, text, .. } in sources {
            let lines = code(&text).lines().filter(|line| !line.trim().is_empty()).count();
            assert!(lines <= limit, "{} has {lines} lines of code: split it", path.display());
        }
    }
}
