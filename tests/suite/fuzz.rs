//! Fuzzing without a fuzzer: replays every input of `fuzz/corpus` and `fuzz/regressions` on its
//! target.

use std::fs;
use std::path::{Path, PathBuf};

use terminal_secrets::agent::{Answer, Request};
use terminal_secrets::crypto::kdf::KdfParams;
use terminal_secrets::vault::{Locked, Vault};

use crate::support::files::{root, set_mode};
use crate::support::{passphrase, project, secret};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn folder(name: &str) -> PathBuf {
    root().join("fuzz").join(name)
}

fn inputs(of: &str, target: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder(of).join(target)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn corpus_and_regressions_pass() {
    for (target, run) in targets::TARGETS {
        let corpus = inputs("corpus", target);
        assert!(corpus.len() >= 3, "{target} has no corpus");
        for path in corpus.into_iter().chain(inputs("regressions", target)) {
            let input = fs::read(&path).unwrap();
            let held = std::panic::catch_unwind(|| run(&input));
            assert!(held.is_ok(), "{} fails", path.display());
        }
    }
}

#[test]
fn every_target_is_registered_and_every_folder_has_a_target() {
    let known: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not built");
        let entry = fs::read_to_string(folder("targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            entry.contains(&format!("terminal_secrets_fuzz::{name}::run(data)")),
            "{name} runs another target"
        );
    }

    for of in ["corpus", "regressions", "targets"] {
        for entry in fs::read_dir(folder(of)).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            assert!(known.contains(&name.as_str()), "fuzz/{of} has `{name}`, not a target");
        }
    }
}

/// A seed of another version of the protocol would lead the fuzzer nowhere.
#[test]
fn every_seed_of_the_agent_is_a_frame() {
    for path in inputs("corpus", "agent") {
        let (name, frame) = (path.file_name().unwrap().to_string_lossy(), fs::read(&path).unwrap());
        let (request, answer) = (Request::decode(&frame).is_ok(), Answer::decode(&frame).is_ok());
        assert_eq!(request, name.starts_with("request-"), "{name}");
        assert_eq!(answer, name.starts_with("answer-"), "{name}");
    }
}

/// The vault that fuzz targets mutate. Its keys are random, so it is written again only if it no
/// longer opens because the format has changed.
#[test]
fn generated_vault_of_the_targets_opens() {
    let path = folder("fixtures/vault.db");
    let copy = tempfile::tempdir().unwrap();
    let place = copy.path().join("vault.db");
    let opens = || {
        fs::copy(&path, &place).unwrap();
        set_mode(&place, 0o600);
        let vault = Locked::open(&place).ok()?.unlock(&passphrase()).ok()?;
        vault.list(None, |_| true).ok().map(|secrets| secrets.len())
    };

    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("SECRETS_GENERATE").is_some() && opens().is_none() {
        let _ = fs::remove_file(&place);
        make(&place);
        fs::copy(&place, &path).unwrap();
        set_mode(&path, 0o600);
    }

    assert_eq!(opens(), Some(19), "the vault of the targets is stale: run `just generate`");
    assert!(fs::metadata(&path).unwrap().len() <= 96 * 1024);
}

/// Writes a vault with pages of every kind: a tree of two levels, a value over several pages,
/// shared buckets and others, two projects.
fn make(path: &Path) {
    let vault = Vault::init(path, &passphrase(), KdfParams::LEAST).unwrap();
    for n in 0..16 {
        let mut new =
            secret(&format!("tag-{n}"), format!("value number {n} of the vault").as_bytes());
        new.name = terminal_secrets::model::Name::parse("A name").unwrap();
        vault.create(&project("default"), new).unwrap();
    }

    vault.create(&project("default"), secret("large", &[b'v'; 6000])).unwrap();
    for tag in ["tag-0", "OTHER_TAG"] {
        vault.create(&project("web.api"), secret(tag, b"a value of another project")).unwrap();
    }

    drop(vault);
}
