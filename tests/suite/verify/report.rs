//! `verify` names what is damaged and reads the rest.

use serde_json::json;
use terminal_secrets::vault::{Locked, Report, VaultError};

use crate::support::specimen::{SECRETS, Specimen};
use crate::support::values::reveal;
use crate::support::{Sandbox, passphrase, project, specimen};

use super::{sandbox, sql};

fn report(specimen: &Specimen) -> Result<Report, VaultError> {
    specimen.vault()?.verify(&|_| {})
}

#[test]
fn verify_describes_an_undamaged_vault() {
    let sandbox = sandbox();
    let path = sandbox.vault_path().display().to_string();
    stderr!(sandbox.run(["verify"]).succeeds(), @"the vault is intact").stdout(format!(
        "vault        {path}\nopens with   passphrase (19 MiB, 1 pass, 1 lane)\nprojects     2\nsecrets      42\n"
    ));
    sandbox.run(["recovery", "create", "-q"]).succeeds().stdout_has("-");
    assert_eq!(
        sandbox.run(["verify", "--json"]).succeeds().json(),
        json!({
            "vault": path,
            "projects": [
                { "name": "default", "secrets": 2, "readable": 2 },
                { "name": "web", "secrets": 40, "readable": 40 },
            ],
            "keyFile": false,
            "keychains": 0,
            "passphrases": [{ "memory": 19, "iterations": 1, "parallelism": 1 }],
            "recovery": true,
            "damage": [],
            "departed": null,
        })
    );

    Sandbox::new().run(["verify", "-q"]).succeeds().stdout_has("secrets      0\n").stderr("");
    stderr!(Sandbox::empty().run(["verify"]).fails_with(3), @"
    error: no vault at `[dir]/vault.db`
    hint: create one with `secrets init`, or restore a backup with `secrets restore PATH`
    ");
}

#[test]
fn damage_is_named_and_the_rest_is_read() {
    let sandbox = sandbox();
    let id = |tag: &str| {
        sandbox.vault().get(&project("default"), &tag.parse().unwrap()).unwrap().id.to_string()
    };

    let (one, two) = (id("one"), id("two"));
    let of = |id: &str| format!("WHERE rid = x'{}'", &id[2..]);
    sql(&sandbox, &format!("UPDATE vals SET val = zeroblob(length(val)) {}", of(&one)));
    sql(&sandbox, &format!("UPDATE records SET meta = zeroblob(length(meta)) {}", of(&two)));

    let run = sandbox.run(["verify"]).fails_with(6).stdout_has("secrets      42, 40 readable\n");
    let run = run.stdout_has("damaged      the value of `one` of project `default`\n");
    stderr!(run.stdout_has(&format!("damaged      the record of `{two}` of project `default`\n")), @"
    error: the vault is damaged or was tampered with: 2 findings
    hint: restore a backup with `secrets restore PATH`, or save what can be read with `secrets salvage OUT`
    ");

    let run = sandbox.run(["verify", "--json"]).fails_with(6);
    let found = stderr!(run, @r#"{"type":"UNPROCESSABLE_CONTENT","message":"the vault is damaged or was tampered with: 2 findings","details":{"hints":["restore a backup with `secrets restore PATH`, or save what can be read with `secrets salvage OUT`"]}}"#)
        .json();
    assert_eq!(found["projects"][0], json!({ "name": "default", "secrets": 2, "readable": 0 }));
    assert_eq!(found["projects"][1], json!({ "name": "web", "secrets": 40, "readable": 40 }));

    let damage = found["damage"].as_array().unwrap();
    assert!(
        damage.contains(
            &json!({ "what": "the value", "project": "default", "id": one, "tag": "one" })
        )
    );

    assert!(damage.contains(&json!({ "what": "the record", "project": "default", "id": two })));
}

/// This includes attacks on rows that nothing else reads.
#[test]
fn each_attack_on_the_file_is_found() {
    let cases = [
        ("a value of nobody", "INSERT INTO vals VALUES(x'0102030405060708', x'00')"),
        (
            "a record of no project",
            "INSERT INTO records SELECT x'00', tag_ix, zeroblob(8), epoch, ver, vver, val_hash, leaf, meta \
             FROM records LIMIT 1",
        ),
        ("a bucket of no project", "INSERT INTO buckets VALUES(x'00', 1, zeroblob(32))"),
        (
            "an empty bucket's row",
            "INSERT OR IGNORE INTO buckets SELECT pid, 255 - b, zeroblob(32) FROM buckets WHERE pid <> zeroblob(16)",
        ),
        (
            "a value gone",
            "DELETE FROM vals WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
        ),
        (
            "a record gone",
            "DELETE FROM records WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
        ),
        ("a bucket gone", "DELETE FROM buckets WHERE h = (SELECT max(h) FROM buckets)"),
        (
            "a head",
            "UPDATE projects SET head = zeroblob(length(head)) WHERE pid = (SELECT max(pid) FROM projects)",
        ),
        ("a signature", "UPDATE projects SET sig = zeroblob(64)"),
        (
            "a key ring",
            "UPDATE vals SET val = zeroblob(length(val)) WHERE rid = (SELECT max(rid) FROM records WHERE pid = zeroblob(16))",
        ),
        ("an entry of the directory", "UPDATE records SET meta = x'00' WHERE pid = zeroblob(16)"),
        ("the earlier keys", "UPDATE vault SET past = zeroblob(136)"),
        ("an entry of the audit log", "UPDATE audit SET ct = zeroblob(length(ct))"),
        (
            "an entry of the audit log gone",
            "DELETE FROM audit WHERE seq = 1 AND pid <> zeroblob(16)",
        ),
        ("the directory's audit log", "DELETE FROM audit WHERE seq = 2 AND pid = zeroblob(16)"),
        ("a policy", "INSERT INTO policies SELECT pid, 1, x'00', x'00' FROM projects"),
        (
            "an additional slot",
            "INSERT INTO slots SELECT randomblob(16), 1, params, salt, commitment, wrap FROM slots",
        ),
        ("a slot's parameters", "UPDATE slots SET params = x'00'"),
        ("a grant", "INSERT INTO grants VALUES(x'01', 1, x'', x'')"),
        ("a project gone", "DELETE FROM projects WHERE pid = (SELECT max(pid) FROM projects)"),
        ("an epoch", "UPDATE records SET epoch = 2"),
        ("a count of changes", "UPDATE records SET ver = ver + 1"),
        ("a leaf", "UPDATE records SET leaf = zeroblob(32)"),
    ];

    for (name, attack) in cases {
        let specimen = Specimen::new();
        specimen.sql(attack);
        let report = report(&specimen).unwrap();
        assert!(!report.damage.is_empty(), "{name}");

        // Orphan rows are not copied. With any other damage, no copy is made.
        let copy = specimen.directory().join("copy.db");
        let copied = specimen.vault().unwrap().backup(&copy, false, &|_| {}).is_ok();
        let belongs_to_nobody = name.contains(" of no") || name.contains("empty bucket");
        assert_eq!((copied, copy.exists()), (belongs_to_nobody, belongs_to_nobody), "{name}");
    }

    assert!(report(&Specimen::new()).unwrap().damage.is_empty());
}

/// Damages a byte: `verify` reports it or the answers are right, and salvaged values are the stored
/// ones.
fn damaged_at(at: usize) {
    let whole = Specimen::new().bytes();
    let mut bytes = whole.clone();
    bytes[at] ^= 0x55;
    let specimen = Specimen::of(&bytes);
    let Ok(vault) = specimen.vault() else { return };
    let Ok(report) = vault.verify(&|_| {}) else { return };
    let readable: u64 = report.projects.iter().map(|project| project.readable).sum();

    assert!(readable <= 3);
    if report.damage.is_empty() {
        for (name, tag, text) in SECRETS {
            assert_eq!(reveal(&vault, name, tag).unwrap().unwrap(), text.as_bytes(), "{at}");
        }
    }

    let out = specimen.directory().join("out.db");
    match vault.salvage(&out, &passphrase(), &|_| {}) {
        Ok(salvaged) => {
            assert_eq!(salvaged.saved, readable, "{at}");
            let saved = Locked::open(&out).unwrap().unlock(&passphrase()).unwrap();
            assert!(saved.verify(&|_| {}).unwrap().damage.is_empty(), "{at}");

            for (name, tag, text) in SECRETS {
                let found = reveal(&saved, name, tag).unwrap();
                assert!(
                    found.is_none_or(|found| found == text.as_bytes() || found == b"m4rker-old"),
                    "{at}"
                );
            }
        }
        Err(_) => assert!(!out.exists(), "{at}"),
    }
}

#[test]
fn a_flipped_byte_is_found_and_the_rest_is_saved() {
    (0..Specimen::new().bytes().len()).step_by(1201).for_each(damaged_at);
}

#[test]
#[ignore = "minutes"]
fn one_flipped_byte_in_seventeen_is_found_and_the_rest_is_saved() {
    (0..Specimen::new().bytes().len()).step_by(17).for_each(damaged_at);
}

/// A row of a page claims a wrong offset. The others are still read, at the first attempt.
#[test]
fn a_row_with_a_wrong_offset_leaves_its_page_readable() {
    const ROWS: usize = 5;
    let whole = Specimen::new().bytes();
    let mut seen = 0;
    for page in 1..whole.len() / 4096 {
        // A leaf page of a table without row ids that has a row for each secret and project
        // (SQLite's file format, section 1.6).
        let at = page * 4096;
        if whole[at] != 10 || whole[at + 3..at + 5] != [0, ROWS as u8] {
            continue;
        }

        for row in 0..ROWS {
            let mut bytes = whole.clone();
            bytes[at + 8 + 2 * row] ^= 0x55;
            let specimen = Specimen::of(&bytes);
            let readable = |report: &Report| {
                report.projects.iter().map(|project| project.readable).sum::<u64>()
            };

            let Ok(vault) = specimen.vault() else { continue };
            let Ok(report) = vault.verify(&|_| {}) else { continue };
            let first = readable(&report);
            assert_eq!(first, readable(&vault.verify(&|_| {}).unwrap()), "{page}, row {row}");

            let out = specimen.directory().join("out.db");
            let saved = specimen.vault().unwrap().salvage(&out, &passphrase(), &|_| {});
            assert_eq!(saved.map_or(0, |saved| saved.saved), first, "{page}, row {row}");
            seen += u64::from((1..=2).contains(&first));
        }
    }

    assert!(seen > 0);
}

#[test]
fn a_zeroed_page_leaves_the_others_readable() {
    let whole = Specimen::new().bytes();
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        let specimen = Specimen::of(&bytes);
        let found = specimen.vault().and_then(|vault| vault.verify(&|_| {}));

        assert!(
            found.is_err_and(|error| specimen::code(&error) == 6)
                || !report(&specimen).unwrap().damage.is_empty()
        );
    }
}

#[test]
fn verify_through_the_agent_reports_damage() {
    let sandbox = sandbox();
    sandbox.run(["unlock", "-q"]).succeeds();
    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();
    bare(&["verify", "-q"]).succeeds().stdout_has("secrets      42\n");
    sql(
        &sandbox,
        "UPDATE vals SET val = zeroblob(length(val)) WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
    );

    stderr!(bare(&["verify"]).fails_with(6).stdout_has("secrets      42, 41 readable\n"), @"
    error: the vault is damaged or was tampered with: 1 finding
    hint: restore a backup with `secrets restore PATH`, or save what can be read with `secrets salvage OUT`
    ");

    sql(&sandbox, "UPDATE vault SET past = zeroblob(136)");
    stderr!(bare(&["verify"]).fails_with(6).stdout(""), @"
    error: the vault's table of key slots is damaged or was tampered with
    hint: run `secrets verify` for details, or restore a backup with `secrets restore PATH`; nothing damaged was used
    ");

    bare(&["lock", "--all", "-q"]).succeeds();

    // The passphrase gives a more detailed report.
    stderr!(sandbox.run(["verify"]).fails_with(6).stdout_has("secrets      42, 41 readable\n"), @"
    error: the vault is damaged or was tampered with: 2 findings
    hint: restore a backup with `secrets restore PATH`, or save what can be read with `secrets salvage OUT`
    ");
}

#[test]
fn an_unreadable_project_hides_no_other() {
    for column in ["head", "sig"] {
        let sandbox = sandbox();
        sql(
            &sandbox,
            &format!(
                "UPDATE projects SET {column} = zeroblob(100000) WHERE pid IN (SELECT pid FROM records \
                 WHERE pid <> zeroblob(16) GROUP BY pid HAVING count(*) = 2)"
            ),
        );

        let run = sandbox
            .run(["salvage", "out.db"])
            .fails_with(6)
            .stderr_has("\n  the table of projects\n");

        run.stderr_has("saved 42 secrets into");
        sandbox
            .run(["get", "one"])
            .fails_with(6)
            .stderr_has("the vault's table of projects is damaged");
    }
}
