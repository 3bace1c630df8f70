//! Attacks with a database shell: every change is noticed before anything uses it, and no writer
//! signs it.
//!
//! Each attack names the operations that must refuse it. Operations that do not read the changed
//! rows may succeed (a `get` opens no value; a lookup verifies one bucket of 256), but a write
//! among them must not make the change pass.

use terminal_secrets::model::{SecretId, SecretRef};
use terminal_secrets::vault::{CopyRequest, OnConflict, SecretChanges, Vault, VaultError};

use crate::support::specimen::{Specimen, code};
use crate::support::values::reveal;
use crate::support::{Sandbox, project, secret, specimen, value};
use Op::{ById, CopyOut, Create, Delete, Get, Label, List, ListAll, Reveal, Update};

use statements::{ALL, ATTACKS};

pub mod ids;
mod restricted;
pub mod statements;

/// One operation on secret `one` of project `alpha`, or on its project.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Get,
    ById,
    List,
    ListAll,
    Reveal,
    Create,
    Label,
    Update,
    Delete,
    CopyOut,
}

/// Carries out an operation. Returns what it has read; nothing for an operation that writes.
pub fn attempt(vault: &Vault, op: Op) -> Result<String, VaultError> {
    let (alpha, one): (_, SecretRef) = (project("alpha"), "one".parse().unwrap());
    match op {
        Get => vault.get(&alpha, &one).map(|found| format!("{found:?}")),
        ById => {
            let found = vault.get(&project("beta"), &SecretRef::Id(id_of_one()));
            found.map(|found| format!("{found:?}"))
        }
        List => vault.list(Some(&alpha), |_| true).map(|found| format!("{found:?}")),
        ListAll => vault.list(None, |_| true).map(|found| format!("{found:?}")),
        Reveal => reveal(vault, "alpha", "one").map(|found| format!("{found:?}")),
        Create => vault.create(&alpha, secret("one", b"again")).map(nothing),
        Label => vault
            .update(
                &alpha,
                &one,
                None,
                SecretChanges { description: Some(None), ..SecretChanges::default() },
            )
            .map(nothing),
        Update => {
            let changes = SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() };
            vault.update(&alpha, &one, None, changes).map(nothing)
        }
        Delete => vault.delete(&alpha, &[one]).map(nothing),
        CopyOut => {
            let (secrets, to) = ([one], project("gamma"));
            let request = CopyRequest {
                secrets: Some(&secrets),
                from: &alpha,
                to: &to,
                tag: None,
                on_conflict: OnConflict::Fail,
            };

            vault.copy(&request).map(nothing)
        }
    }
}

fn nothing<T>(_: T) -> String {
    String::new()
}

/// The number of writes that [`innocent`] knows.
pub const INNOCENT: u32 = 6;

/// Makes one of the writes of somebody who does not know of an attack.
pub fn innocent(vault: &Vault, at: u32) -> Result<(), VaultError> {
    match at {
        0 => vault.create(&project("alpha"), secret("fresh", b"value")).map(drop),
        1 => vault.create(&project("gamma"), secret("fresh", b"value")).map(drop),
        2 => attempt(vault, Label).map(drop),
        3 => {
            let changes = SecretChanges { name: Some(None), ..SecretChanges::default() };
            vault.update(&project("alpha"), &"two".parse().unwrap(), None, changes).map(drop)
        }
        4 => vault.rename_project(&project("beta"), &project("other")).map(drop),
        _ => vault.delete(&project("beta"), &["three".parse().unwrap()]).map(drop),
    }
}

fn id_of_one() -> SecretId {
    Specimen::new().vault().unwrap().get(&project("alpha"), &"one".parse().unwrap()).unwrap().id
}

/// Returns a vault after an attack.
pub fn attacked(statements: &str) -> Specimen {
    let (specimen, old, fork) = (Specimen::new(), Specimen::earlier(), Specimen::fork());
    let connection = specimen.connection();
    connection.execute("ATTACH ?1 AS old", [old.path().to_str().unwrap()]).unwrap();
    connection.execute("ATTACH ?1 AS fork", [fork.path().to_str().unwrap()]).unwrap();

    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();

    // `one` is the record that differs between the two files. `two` is another record of its
    // project.
    let pid = |rid: &str| format!("(SELECT pid FROM old.records WHERE rid = {rid})");
    let one = text(
        "SELECT quote(n.rid) FROM main.records n JOIN old.records o USING(rid) WHERE n.ver <> o.ver",
    );
    let alpha = text(&format!("SELECT quote(pid) FROM records WHERE rid = {one}"));
    let two =
        text(&format!("SELECT quote(rid) FROM records WHERE pid = {} AND rid <> {one}", pid(&one)));

    let three = text(&format!(
        "SELECT quote(rid) FROM records WHERE pid NOT IN ({}, zeroblob(16))",
        pid(&one)
    ));
    let beta = text(&format!("SELECT quote(pid) FROM records WHERE rid = {three}"));
    let bucket =
        text(&format!("SELECT '0x' || hex(substr(tag_ix, 1, 1)) FROM records WHERE rid = {one}"));
    let taken: i64 =
        connection.query_row("SELECT max(b) FROM buckets", [], |row| row.get(0)).unwrap();

    let free = if taken == 255 { 0 } else { taken + 1 };
    let empty = text("SELECT CAST(rootpage AS TEXT) FROM sqlite_schema WHERE name = 'grants'");
    let statements = [
        ("{one}", one),
        ("{two}", two),
        ("{three}", three),
        ("{alpha}", alpha),
        ("{beta}", beta),
        ("{b}", bucket),
        ("{free}", format!("{free:02x}")),
        ("{free_number}", free.to_string()),
        ("{empty}", empty),
    ]
    .iter()
    .fold(statements.to_owned(), |text, (name, with)| text.replace(name, with));

    connection.execute_batch(&statements).unwrap_or_else(|why| panic!("{statements}: {why}"));
    drop(connection);
    specimen
}

fn on(specimen: &Specimen, op: Op) -> Result<String, VaultError> {
    attempt(&specimen.vault()?, op)
}

#[test]
fn every_attack_is_refused_and_leaves_the_file_alone() {
    let mut wrong = Vec::new();
    for (name, refusing, statements) in ATTACKS {
        let specimen = attacked(statements);
        let bytes = specimen.bytes();
        for op in *refusing {
            let outcome = on(&specimen, *op);
            if !outcome.as_ref().is_err_and(|error| code(error) == 6) {
                wrong.push(format!("{name}: {op:?} answered {outcome:?}"));
            }

            if specimen.bytes() != bytes {
                wrong.push(format!("{name}: {op:?} changed the file"));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_write_signs_an_attack() {
    let after_write = |at: u32| {
        let mut wrong = Vec::new();
        for (name, refusing, statements) in ATTACKS {
            let specimen = attacked(statements);
            let Ok(vault) = specimen.vault() else { continue };
            if innocent(&vault, at).is_err() {
                continue;
            }

            for op in *refusing {
                if !on(&specimen, *op).is_err_and(|error| code(&error) == 6) {
                    wrong.push(format!("{name}: {op:?} accepts the attack after write {at}"));
                }
            }
        }

        wrong
    };

    // Half of the time is spent waiting for the disk.
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let writes: Vec<_> = (0..INNOCENT).map(|at| scope.spawn(move || after_write(at))).collect();
        writes.into_iter().flat_map(|write| write.join().unwrap()).collect()
    });

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_an_attack_every_operation_works() {
    for op in ALL {
        let specimen = attacked("");
        match on(&specimen, *op) {
            Err(VaultError::Exists(_)) if *op == Create => {}
            outcome => assert!(outcome.is_ok(), "{op:?}: {outcome:?}"),
        }
    }
}

/// No lookup finds a secret before an emptied project gets its first one. Its bucket is verified
/// anyway.
#[test]
fn records_planted_in_an_emptied_project_are_not_signed() {
    let specimen = Specimen::new();
    let beta = project("beta");
    specimen.vault().unwrap().delete(&beta, &["three".parse().unwrap()]).unwrap();
    specimen.sql(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 255) INSERT INTO records SELECT \
         (SELECT pid FROM projects EXCEPT SELECT pid FROM records), CAST(unhex(printf('%02x', i)) || zeroblob(15) AS \
         BLOB), CAST(printf('%08d', i) AS BLOB), epoch, ver, vver, val_hash, leaf, meta FROM n, (SELECT * FROM records \
         LIMIT 1)",
    );

    let bytes = specimen.bytes();
    let outcome = specimen.vault().unwrap().create(&beta, secret("fresh", b"value"));
    assert!(outcome.as_ref().is_err_and(|error| code(error) == 6), "{outcome:?}");
    assert!(specimen.bytes() == bytes);
    assert!(specimen.vault().unwrap().list(Some(&beta), |_| true).is_err());
}

#[test]
fn orphan_rows_change_no_answer() {
    for statements in [
        "INSERT INTO buckets VALUES(x'00', 0, zeroblob(32))",
        "INSERT INTO vals VALUES(x'00', zeroblob(300))",
        "INSERT INTO records SELECT x'00', tag_ix, x'00', epoch, ver, vver, val_hash, leaf, meta FROM records LIMIT 1",
    ] {
        let specimen = attacked(statements);
        let vault = specimen.vault().unwrap();
        assert_eq!(
            vault.list(None, |_| true).unwrap(),
            Specimen::new().vault().unwrap().list(None, |_| true).unwrap()
        );
        for (name, tag, text) in specimen::SECRETS {
            assert_eq!(reveal(&vault, name, tag).unwrap().unwrap(), text.as_bytes());
        }
    }
}

#[test]
fn the_program_exits_with_6_and_prints_no_result() {
    let commands: [&[&str]; 6] = [
        &["get", "one"],
        &["list"],
        &["render", "-e", "{{ secrets.one }}"],
        &["update", "one", "--name", "x"],
        &["create", "--tag", "one", "--generate"],
        &["delete", "one", "--yes"],
    ];

    for wanted in
        ["delete a record", "swap metadata", "add a slot", "bump the format", "plant a trigger"]
    {
        let (_, _, statements) = ATTACKS.iter().find(|(name, ..)| *name == wanted).unwrap();
        let specimen = attacked(statements);
        let (sandbox, bytes) = (Sandbox::empty(), specimen.bytes());

        for command in commands {
            let run = sandbox
                .command(command)
                .env("SECRETS_VAULT", specimen.path())
                .env("SECRETS_PROJECT", "alpha");

            let (code, stdout, stderr) = run.run().everything();
            assert_eq!((code, stdout.len()), (Some(6), 0), "{wanted}, {command:?}: {stderr}");
            assert!(stderr.starts_with("error: ") && !stderr.contains("m4rker"), "{stderr}");
            assert!(specimen.bytes() == bytes, "{wanted}: {command:?} changed the file");
        }
    }
}
