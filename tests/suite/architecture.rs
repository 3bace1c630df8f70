//! The rules of the code base: imports point down, no file is an orphan, every file says what it
//! does, and only a few files use `unsafe`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from top to bottom. A file may name modules below its own, and its own row.
const ROWS: [&[&str]; 11] = [
    &["cli"],
    &["commands"],
    &["context", "completion"],
    &["output", "error"],
    &["ui", "config"],
    &["template", "dotenv", "agent", "export", "git", "import", "run", "scan", "setup", "strength"],
    &["mask"],
    &["vault"],
    &["store"],
    &["crypto"],
    &["model", "process", "signals", "machine"],
];

/// From this module down there is no argument parser, no environment, no terminal and no exit.
const CORE: &str = "template";

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }

    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30);
    found
}

/// Returns the module of a file: its first folder, or its own name.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

/// Returns the code without its unit tests, comments and string contents.
fn code(text: &str) -> String {
    let tested = text.split("#[cfg(test)]\nmod tests").next().unwrap();
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
    for (path, text) in sources() {
        let Some(own) = row(&room(&path)) else {
            assert!(
                ["lib", "main"].contains(&room(&path).as_str()),
                "{} belongs to no row",
                path.display()
            );

            continue;
        };

        for named in named_rooms(&code(&text)) {
            let there =
                row(&named).unwrap_or_else(|| panic!("{}: `{named}` is in no row", path.display()));
            assert!(there >= own, "{} imports `{named}`, which is above it", path.display());
            checked += 1;
        }
    }

    assert!(checked > 60, "only {checked} imports were found");
}

#[test]
fn no_command_imports_another_command() {
    let mut checked = 0;
    for (path, text) in sources() {
        if room(&path) != "commands" || path.ends_with("commands/mod.rs") {
            continue;
        }

        // In a command, `super` is `commands`. In the folder of one, it is the command itself.
        let inside: Vec<_> =
            path.components().skip_while(|it| it.as_os_str() != "commands").collect();
        let is_part = inside.len() > 2 && !path.ends_with("mod.rs");
        let outside = if is_part { "super::super::" } else { "super::" };
        let is_shared = inside[1].as_os_str() == "shared";

        for named in code(&text).split(outside).skip(1).filter(|_| !is_shared) {
            assert!(named.starts_with("shared::"), "{} imports a command", path.display());
            checked += 1;
        }

        assert!(!code(&text).contains("crate::commands"), "{} imports a command", path.display());
    }

    assert!(checked > 30, "only {checked} imports were found");
}

/// The renderer asks whether results are printed as JSON. Elsewhere the answer changes what is done:
/// `list` pages its results, `run` passes the option on, trust is not asked for, and errors and help
/// have a form of their own.
#[test]
fn only_the_renderer_asks_for_json() {
    let others =
        ["ui/mod.rs", "cli/mod.rs", "commands/list.rs", "commands/run", "context/trust.rs"];
    for (path, text) in sources() {
        let shown = path.to_string_lossy();
        let is_allowed = room(&path) == "output" || others.iter().any(|it| shown.contains(it));
        assert!(is_allowed || !code(&text).contains("is_json()"), "{shown} asks for JSON");
        assert!(
            room(&path) == "output" || !code(&text).contains("ui.json("),
            "{shown} prints a result by itself"
        );
    }
}

#[test]
fn the_core_knows_no_terminal() {
    let core = row(CORE).unwrap();
    for (path, text) in sources() {
        if row(&room(&path)).is_none_or(|row| row < core) {
            continue;
        }

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
            assert!(!code(&text).contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn only_one_file_knows_each_of_these() {
    for (word, owner) in [
        ("rusqlite", "store/sqlite/"),
        ("allow(unsafe_code)", "crypto/memory.rs src/process.rs run/child.rs"),
        ("aes_gcm", "crypto/aead.rs"),
        ("argon2::", "crypto/"),
        ("env::var", "config.rs"),
        ("rpassword", "ui/prompt.rs"),
        ("comfy_table", "output/table.rs"),
    ] {
        for (path, text) in sources() {
            let allowed = owner.split(' ').any(|owner| path.to_string_lossy().contains(owner));
            assert!(allowed || !code(&text).contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_an_orphan() {
    let all = sources();
    for (path, _) in &all {
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

        let declared = all.iter().any(|(other, text)| {
            let declares = other.parent() == Some(parent)
                && ["mod.rs", "lib.rs"].iter().any(|name| other.ends_with(name));
            declares
                && code(text)
                    .lines()
                    .any(|line| line.trim_end().ends_with(&format!("mod {module};")))
        });

        assert!(declared, "{} is not part of any module", path.display());
    }
}

#[test]
fn every_file_has_a_description() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not begin with a description", path.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = code(&text).lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 560, "{} has {lines} lines of code: split it", path.display());
    }
}

#[test]
fn every_file_of_this_suite_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }

        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            stem == "main" || main.contains(&format!("mod {stem};")),
            "tests/suite/{stem}.rs does not run"
        );
    }
}
