//! No file is replaced, a damaged or invalid export stores nothing, and no plaintext is written.

use std::process::Command;

use serde_json::json;
use terminal_secrets::age_file::{Recipient, To};
use terminal_secrets::export::ExportWriter;
use terminal_secrets::model::SecretBytes;

use crate::support::Sandbox;
use crate::support::files::write_private;
use crate::support::programs::environment;

use super::{MARKER, key, listed, sealed};

#[test]
fn an_existing_file_is_not_replaced() {
    let sandbox = Sandbox::with_secrets(&[("key", "1")]);
    let to = key(&sandbox, "key");
    sandbox.write("notes", "mine");
    let export = |file: &str, more: &[&str]| {
        sandbox.run([&["export", "--encrypted", file, "-r", &to][..], more].concat())
    };

    stderr!(export("notes", &[]).fails_with(4), @"
    error: `notes` already exists
    hint: use `--replace` to replace an earlier export; nothing was written
    ");

    stderr!(export("notes", &["--replace"]).fails_with(7), @"
    error: `notes` is not an age file and is not replaced
    hint: choose another file; nothing was written
    ");

    assert_eq!(sandbox.read("notes"), b"mine");
    stderr!(export("vault.db", &["--replace"]).fails_with(7), @"
    error: `vault.db` is the vault
    hint: choose a new file, or a regular file that you own, with `-o`
    ");

    std::os::unix::fs::symlink("notes", sandbox.path("link")).unwrap();
    stderr!(export("link", &["--replace"]).fails_with(7), @"
    error: `link` is a symbolic link
    hint: choose a new file, or a regular file that you own, with `-o`
    ");

    stderr!(export("-", &[]).fails_with(2), @"
    error: an export cannot be written to stdout
    hint: set a file with `--encrypted FILE`
    ");

    export("f", &["-q"]).succeeds();
    let first = sandbox.read("f");
    stderr!(export("f", &[]).fails_with(4), @"
    error: `f` already exists
    hint: use `--replace` to replace an earlier export; nothing was written
    ");

    assert_eq!(sandbox.read("f"), first);
    export("f", &["--replace", "-q"]).succeeds();
    assert_ne!(sandbox.read("f"), first);
    stderr!(sandbox.run(["export"]).fails_with(2).stdout(""), @"
    error: an export is always encrypted and needs a file
    hint: set it with `--encrypted FILE`
    hint: to use values in the clear, see `secrets render` and `secrets run`
    ");

    let left: Vec<_> = std::fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();

    assert!(left.iter().all(|name| !name.to_string_lossy().contains("secrets-new")), "{left:?}");
}

#[test]
fn a_damaged_file_stores_nothing() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER)]);
    let to = key(&sandbox, "key");
    sandbox.run(["export", "--encrypted", "f", "-r", &to, "-q"]).succeeds();
    sandbox.run(["delete", "key", "-y", "-q"]).succeeds();

    let whole = sandbox.read("f");
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for at in [22, 30, 90, 150, 190, 220, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        cases.push((format!("byte {at}"), bad));
    }

    for length in [21, 40, 100, 200, whole.len() - 1] {
        cases.push((format!("{length} bytes"), whole[..length].to_vec()));
    }

    cases.push(("a later version".into(), b"age-encryption.org/v7\n-> x\n\n--- y\n".repeat(3)));
    cases.push(("armor of nothing".into(), b"-----BEGIN AGE ENCRYPTED FILE-----\n*\n".to_vec()));
    let mut hostile = b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 34\n".to_vec();
    hostile
        .extend(format!("{}\n--- {}\n{}", "A".repeat(43), "A".repeat(43), "x".repeat(99)).bytes());
    write_private(&sandbox.path("pass"), "x\n");

    for (what, bad) in cases {
        sandbox.write("bad", bad);
        let (code, _, stderr) = sandbox.run(["import", "bad", "-i", "key"]).everything();

        // If the bytes for this key were changed, the file looks encrypted to another key.
        assert!(
            code == Some(6) || (code == Some(5) && stderr.contains("none of the identities")),
            "{what}: {stderr}"
        );

        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    }

    sandbox.write("bad", hostile);
    let run = sandbox.run(["import", "bad", "--import-passphrase-file", "pass"]);
    stderr!(run.fails_with(6), @"
    error: cannot open `bad`: its passphrase needs more than 2^20 rounds of scrypt (1 GiB of memory)
    hint: if you trust the file, decrypt it with `age` and encrypt it again
    ");

    assert_eq!(listed(&sandbox), json!([]));
}

#[test]
fn an_invalid_export_stores_nothing_and_shows_nothing() {
    let sandbox = Sandbox::new();
    let to = key(&sandbox, "key");
    let one = |secret: &str| {
        format!(
            r#"{{"format":"secrets-export","version":1,"projects":[{{"name":"web","secrets":[{secret}]}}]}}"#
        )
    };

    let times = r#""createdAt":"2026-11-21T09:30:00Z","updatedAt":"2026-11-21T09:30:00Z""#;
    let secret = |rest: &str| one(&format!(r#"{{"tag":"a",{rest},{times}}}"#));
    for (document, code, word) in [
        (format!("KEY={MARKER}\n"), 2, "does not contain a `secrets` export"),
        (format!(r#"{{"a":"{MARKER}"}}"#), 2, "does not contain a `secrets` export"),
        ("\u{fffd}".to_owned(), 2, "does not contain a `secrets` export"),
        (String::new(), 2, "does not contain a `secrets` export"),
        (
            format!(r#"{{"format":"secrets-export","version":2,"x":"{MARKER}"}}"#),
            6,
            "a version that is not supported",
        ),
        (
            format!(r#"{{"format":"secrets-export","version":1,"projects":"{MARKER}"}}"#),
            2,
            "`projects`",
        ),
        (
            r#"{"format":"secrets-export","version":1,"projects":[]}"#.to_owned(),
            2,
            "contains no values",
        ),
        (one(&format!(r#""{MARKER}""#)), 2, "a secret of project `web`"),
        (secret(&format!(r#""value":"{MARKER}","valueBase64":"AA==""#)), 2, "the value of `web/a`"),
        (secret(&format!(r#""valueBase64":"{MARKER}!""#)), 2, "the value of `web/a`"),
        (secret(&format!(r#""value":{{"x":"{MARKER}"}}"#)), 2, "a `value`"),
        (secret(&format!(r#""value":"{MARKER}","extra":1"#)), 2, "an unknown member of `web/a`"),
        (secret(&format!(r#""value":"{MARKER}","value":"x""#)), 2, "a repeated member of"),
        (secret(&format!(r#""value":"{MARKER}","name":"\u0007""#)), 2, "the name of `web/a`"),
        (secret(&format!(r#""value":"{}""#, MARKER.repeat(20_000))), 2, "larger than 1 MiB"),
        (
            one(&format!(r#"{{"tag":"a","value":"{MARKER}","createdAt":"x","updatedAt":"x"}}"#)),
            2,
            "the times of `web/a`",
        ),
        (one(&format!(r#"{{"tag":"a b","value":"{MARKER}",{times}}}"#)), 2, "the tag of a secret"),
        (
            one(&format!(r#"{{"tag":"a","value":"1",{times}}},{{"tag":"A","value":"2",{times}}}"#)),
            2,
            "a second `A`",
        ),
        (one("").replace("web", "a b"), 2, "the name of a project"),
    ] {
        sandbox.write("f", sealed(&to, document.as_bytes()));
        let run = sandbox.run(["import", "f", "-i", "key"]).without(&MARKER[..8]);
        run.fails_with(code).stdout("").stderr_has(word);
    }

    assert_eq!(listed(&sandbox), json!([]));

    // The option is for age files, and this is not one.
    sandbox.write("x.env", "A=1\n");
    stderr!(sandbox.run(["import", "x.env", "-i", "key"]).fails_with(2), @"
    error: `x.env` is not an age file
    hint: remove the option; the file was read as dotenv
    ");
}

#[test]
fn no_plaintext_is_written_on_the_way() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER)]);
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    let to = key(&sandbox, "key");
    let trace = Command::new("strace").arg("-V").output().is_ok();

    for line in
        [&["export", "--encrypted", "f", "-r", &to][..], &["import", "f", "-i", "key", "--json"]]
    {
        let mut prepared = sandbox.command(line).env("TMPDIR", sandbox.path("tmp"));
        if trace {
            let program = prepared.command.get_program().to_owned();
            let mut traced = Command::new("strace");
            traced
                .args([
                    "-f",
                    "-s",
                    "4096",
                    "-e",
                    "trace=write,pwrite64,writev,execve",
                    "-o",
                    "trace",
                ])
                .arg(program);

            traced.args(line).env_clear().current_dir(sandbox.path(""));
            traced.envs(environment(&prepared.command));
            prepared.command = traced;
        }

        let (code, stdout, stderr) = prepared.run().everything();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            !String::from_utf8_lossy(&stdout).contains(&MARKER[..8])
                && !stderr.contains(&MARKER[..8])
        );
    }

    for entry in std::fs::read_dir(sandbox.path("")).unwrap().map(Result::unwrap) {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        assert!(
            memchr::memmem::find(&content, &MARKER.as_bytes()[..8]).is_none(),
            "{:?}",
            entry.path()
        );
    }

    assert_eq!(std::fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0);
}

#[test]
fn a_written_file_is_checked() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER), ("other", "x")]);
    let vault = sandbox.vault();
    let passphrase = SecretBytes::copy_of(b"a passphrase");
    let recipients = [Recipient::parse(&key(&sandbox, "key")).unwrap()];

    for to in [To::Recipients(&recipients), To::Passphrase(&passphrase)] {
        let mut sealing = ExportWriter::new(&vault, None, &to, false);
        let mut file = Vec::new();
        sealing.write(&mut file, &|_| {}).unwrap();
        let check =
            |bytes: &[u8]| sealing.check(std::fs::File::open(sandbox.write("f", bytes)).unwrap());
        assert_eq!(check(&file).unwrap(), file.len() as u64);

        let last = file.len() - 1;
        assert!(check(&file[..last]).is_err());
        file[last] ^= 1;
        assert!(check(&file).is_err());

        // A complete file of the same kind, but with other content.
        let mut other = ExportWriter::new(&vault, None, &to, false);
        let mut file = Vec::new();
        other.write(&mut file, &|_| {}).unwrap();
        assert!(check(&file).is_err());
    }
}
