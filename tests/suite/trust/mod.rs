//! `trust`: a manifest's requests are used only after somebody consented to them, and to nothing
//! else.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::repository::{MARKER, Project};
use crate::support::{Run, Sandbox};

mod consent;
mod questions;
mod stored;
mod untrusted;

const MANIFEST: &str = "project = \"web\"\n[secrets.key]\n\
    [[render]]\ntemplate = \"t.tmpl\"\noutput = \".env\"\n\
    [run.env]\nKEY = \"{{ secrets.key }}\"\nHTTPS_PROXY = \"http://proxy\"\n";
const TEMPLATE: &str = "KEY={{ secrets.key }}\n";
const HINT: &str =
    "hint: review it with `secrets trust --show`, then trust it with `secrets trust`\n";

/// Returns a stranger's repository without any trust. The vault has a secret for it and one in
/// another project.
fn cloned(files: &[(&str, &str)]) -> Project {
    let project = Project(Sandbox::new().without_trust());
    fs::create_dir(project.path("")).unwrap();
    for (name, content) in files {
        project.write(name, content);
    }

    project.store("web", "key", "value-of-key");
    project.store("web", "other", "value-of-other");
    project.store("prod", "key", MARKER);
    project
}

fn usual() -> Project {
    cloned(&[(".secrets.toml", MANIFEST), ("t.tmpl", TEMPLATE)])
}

fn trusted() -> Project {
    let project = usual();
    project.run(&["trust", "-q"]).succeeds().stdout_has("directory ");
    project
}

/// Runs a command without a passphrase. A failure with 7 comes before any question for one.
fn keyless(project: &Project, arguments: &[&str]) -> Run {
    project.command(arguments).without_env("SECRETS_PASSPHRASE").run()
}

fn records(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.0.state().join("secrets/trust")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn record(project: &Project) -> Value {
    let [only] = &records(project)[..] else { panic!("one record") };
    serde_json::from_slice(&fs::read(only).unwrap()).unwrap()
}
