//! The parts of the program and the commands that build it: the number of crates, that every call
//! of cargo respects Cargo.lock, and that the changelog describes the package's version. These
//! tests never use a network.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::files::root;

/// The number of crates in the binary. Cargo.toml asks for 57 of them, each with its reason there.
/// With their dependencies, the cryptography accounts for 41, TOML, JSON, YAML, CSV and XML for 23,
/// the command line for 19, walking trees for 13, git's objects for 2 (`miniz_oxide`; a git library
/// would add 46) and SQLite for 9. `age` (`export`) adds 89: the previous generation of RustCrypto,
/// p256 and ML-KEM for kinds of keys that we do not accept, futures, and fluent for messages that
/// we do not show. Its features cannot leave any of them out. zxcvbn, which rates passphrases, adds
/// 11: regular expressions with look-around, and a calendar. That is the price of a file that other
/// programs can open. `secrets-proxy`, which sends values in requests, adds 36: 15 for HTTP/1.1 and
/// HTTP/2 (hyper), 10 for TLS and certificates (rustls, rcgen and ring, which also brings C and
/// assembly), 7 to decompress answers, tokio with two more, and `bytes`. public-suffix, which
/// knows the domains below which anybody can get a host, adds 1. The API
/// adds `percent-encoding`, and `listenfd` for sockets of systemd. Imports add k256, for dotenvx, and 2 to read the
/// ZIP archives of 1Password. Key pairs add 9: rsa, ssh-key and their parts. The keychain adds 42: keyring, zbus, and
/// the parts of its own asynchronous runtime. Vaults on PostgreSQL add 21: tokio-postgres and its parts, its connection
/// to rustls, and postcard for the frames between a command and the link. The authors of each crate can reach every
/// value. A change that adds one explains here what it is worth, and a change that removes one
/// lowers the number.
const IN_THE_BINARY: usize = 375;

/// The crates of this workspace, which do not count.
const OURS: [&str; 13] = [
    "terminal-secrets",
    "secrets-age",
    "secrets-api",
    "secrets-core",
    "secrets-files",
    "secrets-link",
    "secrets-mask",
    "secrets-mcp",
    "secrets-picker",
    "secrets-project",
    "secrets-proxy",
    "secrets-runtime",
    "secrets-store-postgres",
];

/// The same, plus the crates that run on the machine of somebody who builds the program: macros,
/// build scripts and their dependencies.
const TO_BUILD: usize = 426;

/// Returns the crates of this machine's binary, by cargo's kinds of edges.
fn crates(edges: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "terminal-secrets",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--edges",
            edges,
        ])
        .current_dir(root())
        .output()
        .unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();

    let is_ours = |name: &str| OURS.contains(&name.split(' ').next().unwrap());

    // The name and version. The rest of the line marks a macro, a path, or a repetition.
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().map(name).filter(|name| !is_ours(name)).collect()
}

#[test]
fn the_number_of_crates_is_known() {
    for (edges, most) in [("normal,no-proc-macro", IN_THE_BINARY), ("normal,build", TO_BUILD)] {
        let found = crates(edges);
        let list = found.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        assert!(
            found.len() <= most,
            "{} crates by `{edges}` where {most} were: {list}",
            found.len()
        );

        assert!(
            found.len() + 5 > most,
            "only {} crates by `{edges}`: lower the number",
            found.len()
        );
    }
}

/// Returns every file that states commands to run, for people or programs.
fn pages_and_scripts() -> Vec<PathBuf> {
    fn walk(path: PathBuf, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(entry.unwrap().path(), found);
            }
        } else {
            found.push(path);
        }
    }

    let mut found = Vec::new();
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "Cargo.toml",
        "justfile",
        "deny.toml",
        "docs",
        "examples",
        "packaging",
        ".ci",
        ".github",
        "benches",
        "tests",
    ] {
        walk(root().join(name), &mut found);
    }

    found
}

/// Returns the calls of cargo in a line: `cargo build` in a script, in a sentence, after `&&`.
fn calls(line: &str) -> impl Iterator<Item = &str> {
    const COMMANDS: [&str; 15] = [
        "bench", "build", "check", "clippy", "deb", "deny", "doc", "fetch", "install", "metadata",
        "pkgid", "run", "rustc", "test", "tree",
    ];

    line.match_indices("cargo ").filter_map(|(at, _)| {
        let call = line[at..].split(['`', ';', '&', '|', ')', '"']).next().unwrap();
        let word = call.split(' ').nth(1)?;
        COMMANDS.contains(&word).then_some(call)
    })
}

#[test]
fn every_call_of_cargo_is_locked() {
    let mut checked = 0;
    for path in pages_and_scripts() {
        let own = path.ends_with("tests/suite/supply.rs");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.replace("\\\n", "").lines().enumerate() {
            for call in calls(line) {
                // The README's second command is shown as people type it. By then clippy has
                // compared Cargo.lock with Cargo.toml, and cargo changes a lock file only if they
                // disagree.
                if own || call.trim_end() == "cargo test" || call.contains("--version") {
                    continue;
                }

                let place =
                    format!("{}:{}", path.strip_prefix(root()).unwrap().display(), number + 1);
                assert!(
                    call.contains("--locked"),
                    "{place}: `{call}` can use crates that Cargo.lock does not list"
                );

                checked += 1;
            }
        }
    }

    assert!(checked > 20, "only {checked} calls were found");
}

#[test]
fn calls_of_cargo_are_recognized() {
    let seen: Vec<_> = calls(
        "  run: cargo build --release && cargo test; see `cargo deny check`, cargo and cargo's own",
    )
    .collect();

    assert_eq!(seen, ["cargo build --release ", "cargo test", "cargo deny check"]);
    assert_eq!(calls("cargo fmt --check, cargo, cargo-deny").count(), 0);
}

#[test]
fn the_changelog_describes_this_version() {
    let changelog = fs::read_to_string(root().join("packaging/debian/changelog")).unwrap();
    let first = changelog.lines().next().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        first.starts_with(&format!("terminal-secrets ({version}-")),
        "packaging/debian/changelog begins with {first}"
    );
}
