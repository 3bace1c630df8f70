//! The line `witness` of `.secrets.toml` and `--max-age`, by which a machine without a memory notices a
//! rollback.

use std::time::Duration;
use std::{fs, thread};

use terminal_secrets::vault::{Locked, VaultError};

use crate::support::repository::{MARKER, Project};
use crate::support::{Remembered, passphrase, project};

const MANIFEST: &str = "# shared\nproject = \"web\"\n\n[secrets.key]\n\n[[render]]\ntemplate = \"t\"\noutput = \
                        \"o\"\n\n[environments.prod]\nproject = \"web-prod\"\n";

const REFUSED: &str = "does not follow its witness in `.secrets.toml`";

fn with_a_witness() -> Project {
    let project = Project::new(&[(".secrets.toml", MANIFEST), ("t", "{{ secrets.key }}")]);
    project.store("web", "key", MARKER);
    project.store("web-prod", "key", MARKER);
    project.run(&["-q", "check", "--witness"]).succeeds().stdout("");
    project
}

/// Forgets every state that this machine has seen, as a CI job does after each run.
fn forget(project: &Project) {
    let _ = fs::remove_dir_all(project.0.state().join("secrets/anchors"));
}

#[test]
fn the_line_is_written_and_replaced_and_the_rest_stays() {
    let project = with_a_witness();
    let first = project.read(".secrets.toml");
    let (before, after) = first.split_once("witness = \"").unwrap();
    let (witness, rest) = after.split_once("\"\n").unwrap();
    assert_eq!(format!("{before}{rest}"), MANIFEST);
    let (seq, digits) = witness.split_once('-').unwrap();
    assert_eq!((seq, digits.len()), ("2", 32), "{witness}");

    project.store("web", "other", MARKER);
    let shown = project.run(&["-q", "check", "--witness", "--json"]).succeeds().json();
    assert_eq!((&shown["manifest"], &shown["project"]), (&".secrets.toml".into(), &"web".into()));
    let witness = shown["witness"].as_str().unwrap();
    assert!(witness.starts_with("3-"), "{witness}");
    assert_eq!(project.read(".secrets.toml"), format!("{before}witness = \"{witness}\"\n{rest}"));
}

#[test]
fn an_environment_has_its_own() {
    let project = with_a_witness();
    project.run(&["-q", "-E", "prod", "check", "--witness"]).succeeds();
    let text = project.read(".secrets.toml");
    assert_eq!(text.matches("witness = ").count(), 2, "{text}");
    assert!(text.contains("[environments.prod]\nproject = \"web-prod\"\nwitness = \"2-"), "{text}");
    project.run(&["-E", "prod", "run", "--", "true"]).succeeds();
    project.run(&["run", "--", "true"]).succeeds();

    // The two projects change places.
    let swapped = text.replace("\"web\"", "\"x\"").replace("\"web-prod\"", "\"web\"");
    project.write(".secrets.toml", swapped.replace("\"x\"", "\"web-prod\""));
    project.run(&["-E", "prod", "run", "--", "true"]).fails_with(125).stderr_has(REFUSED);
    project.run(&["run", "--", "true"]).fails_with(125).stderr_has(REFUSED);
}

#[test]
fn every_command_with_the_manifest_refuses_an_earlier_state() {
    let project = with_a_witness();
    let vault = project.0.vault_path();
    let earlier = fs::read(&vault).unwrap();
    project.store("web", "other", MARKER);
    project.run(&["-q", "check", "--witness"]).succeeds();
    project.run(&["-q", "render", "--all", "--yes"]).succeeds();
    project.run(&["-q", "check"]).succeeds().stdout_has("unused\tother");

    // A later state follows the witness.
    project.store("web", "third", MARKER);
    project.run(&["run", "--", "true"]).succeeds();

    fs::write(&vault, &earlier).unwrap();
    let rolled_back: [(&[&str], i32); 8] = [
        (&["check"], 6),
        (&["check", "--witness"], 6),
        (&["setup"], 6),
        (&["render", "--all"], 6),
        (&["render", "--stale"], 6),
        (&["env", "--shell", "bash"], 6),
        (&["run", "--", "true"], 125),
        (&["run", "--proxy", "--", "true"], 125),
    ];
    for (command, code) in rolled_back {
        forget(&project);
        project.run(command).fails_with(code).stdout("").stderr_has(REFUSED);
    }

    // Another project than the manifest's has nothing to do with it.
    forget(&project);
    project.run(&["-p", "web-prod", "run", "--", "true"]).succeeds();
    assert!(project.0.vault().list(Some(&self::project("web")), |_| true).unwrap().len() == 1);
}

#[test]
fn another_history_of_the_same_length_is_refused() {
    let project = with_a_witness();
    let text = project.read(".secrets.toml");
    let (before, after) = text.split_once("witness = \"2-").unwrap();
    let digit = if after.starts_with('a') { 'b' } else { 'a' };
    project.write(".secrets.toml", format!("{before}witness = \"2-{digit}{}", &after[1..]));
    project.run(&["check"]).fails_with(6).stderr_has(REFUSED);
    project.store("web", "other", MARKER);
    project.run(&["check"]).fails_with(6).stderr_has(REFUSED);
}

#[test]
fn an_invalid_line_is_named() {
    for witness in [
        "",
        "2",
        "2-abc",
        "x-lbuyaavbidy755qw5ahnz65izmwyjwqt",
        "2-LBUYAAVBIDY755QW5AHNZ65IZMWYJWQT",
    ] {
        let manifest = format!("project = \"web\"\nwitness = \"{witness}\"\n");
        let project = Project::new(&[(".secrets.toml", &manifest)]);
        let run = project.run(&["check"]).fails_with(2).stderr_has(".secrets.toml:2:11");
        run.stderr_has("as `secrets check --witness` writes them");
    }
}

/// Such a machine cannot know of changes that somebody hides. It can say how old the last one may be.
#[test]
fn a_project_without_a_recent_change_can_be_refused() {
    let project = Project::new(&[]);
    project.store("default", "key", MARKER);
    let reveal = ["--max-age", "12h", "render", "-e", "{{ secrets.key }}", "--reveal"];
    project.command(&reveal).run().succeeds().stdout(MARKER);

    thread::sleep(Duration::from_millis(20));
    let locked = Locked::open(&project.0.vault_path()).unwrap();
    let locked = locked.with_max_age(Some(Duration::from_millis(10)));
    let vault = locked.unlock(&Remembered(passphrase())).unwrap();
    let name = self::project("default");
    let found = vault.list(Some(&name), |_| true);
    assert!(matches!(&found, Err(VaultError::TooOld(old, _)) if *old == name), "{found:?}");
    let message = found.err().unwrap().to_string();
    assert_eq!(message, "the last change of project `default` is less than a day old");
}
