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

/// One operation on secret `one` of project `alpha`, or on its project.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
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
use Op::{ById, CopyOut, Create, Delete, Get, Label, List, ListAll, Reveal, Update};

/// Every operation.
const ALL: &[Op] = &[Get, ById, List, ListAll, Reveal, Create, Label, Update, Delete, CopyOut];
/// Operations that open the value of `one`.
const VALUE: &[Op] = &[Reveal, CopyOut];
/// Operations that read every row of `alpha`.
const LISTS: &[Op] = &[List, ListAll];
/// All operations except the lookup of `one` by its id.
const BY_TAG: &[Op] = &[Get, List, ListAll, Reveal, Create, Label, Update, Delete, CopyOut];

fn attempt(vault: &Vault, op: Op) -> Result<(), VaultError> {
    let (alpha, one): (_, SecretRef) = (project("alpha"), "one".parse().unwrap());
    match op {
        Get => vault.get(&alpha, &one).map(drop),
        ById => vault.get(&project("beta"), &SecretRef::Id(id_of_one())).map(drop),
        List => vault.list(Some(&alpha), |_| true).map(drop),
        ListAll => vault.list(None, |_| true).map(drop),
        Reveal => reveal(vault, "alpha", "one").map(drop),
        Create => vault.create(&alpha, secret("one", b"again")).map(drop),
        Label => vault
            .update(
                &alpha,
                &one,
                None,
                SecretChanges { description: Some(None), ..SecretChanges::default() },
            )
            .map(drop),
        Update => {
            let changes = SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() };
            vault.update(&alpha, &one, None, changes).map(drop)
        }
        Delete => vault.delete(&alpha, &[one]).map(drop),
        CopyOut => {
            let (secrets, to) = ([one], project("gamma"));
            let request = CopyRequest {
                secrets: Some(&secrets),
                from: &alpha,
                to: &to,
                tag: None,
                on_conflict: OnConflict::Fail,
            };

            vault.copy(&request).map(drop)
        }
    }
}

fn id_of_one() -> SecretId {
    Specimen::new().vault().unwrap().get(&project("alpha"), &"one".parse().unwrap()).unwrap().id
}

/// Attacks in SQL: a name, the operations that must refuse it, and the statements. `{one}`, `{two}`
/// and `{three}` are ids of records, `{alpha}` and `{beta}` ids of projects. `old` is the file
/// before `one` got its present value. In `fork`, `one` got a different value.
const ATTACKS: &[(&str, &[Op], &str)] = &[
    ("delete a record", ALL, "DELETE FROM records WHERE rid = {one}"),
    (
        "delete a record and its bucket",
        ALL,
        "DELETE FROM records WHERE rid = {one}; DELETE FROM buckets WHERE b = {b}",
    ),
    ("delete a value", VALUE, "DELETE FROM vals WHERE rid = {one}"),
    (
        "insert a record",
        ALL,
        "INSERT INTO records SELECT pid, CAST(substr(tag_ix, 1, 15) || x'00' AS BLOB), x'0102030405060708', epoch, ver, \
         vver, meta, val_hash, leaf FROM records WHERE rid = {one}",
    ),
    (
        "insert a record with an index of another length",
        ALL,
        "INSERT INTO records SELECT pid, substr(tag_ix, 1, 1), x'0102030405060708', epoch, ver, vver, meta, val_hash, \
         leaf FROM records WHERE rid = {one}",
    ),
    (
        "duplicate a record in another bucket",
        LISTS,
        "INSERT INTO records SELECT pid, CAST(x'{free}' || substr(tag_ix, 2) AS BLOB), x'0102030405060708', epoch, ver, \
         vver, meta, val_hash, leaf FROM records WHERE rid = {one}",
    ),
    ("insert an empty index", LISTS, "UPDATE records SET tag_ix = x'' WHERE rid = {two}"),
    ("move to another project", ALL, "UPDATE records SET pid = {beta} WHERE rid = {one}"),
    (
        "move to another project with its bucket",
        ALL,
        "UPDATE records SET pid = {beta} WHERE rid = {one}; UPDATE OR REPLACE buckets SET pid = {beta} WHERE b = {b}",
    ),
    ("move to no project", ALL, "UPDATE records SET pid = x'00' WHERE rid = {one}"),
    (
        "swap indexes",
        ALL,
        "CREATE TEMP TABLE t AS SELECT rid, tag_ix FROM records; UPDATE records SET tag_ix = rid WHERE rid IN ({one}, \
         {two}); UPDATE records SET tag_ix = (SELECT tag_ix FROM t WHERE t.rid = {two}) WHERE rid = {one}; UPDATE \
         records SET tag_ix = (SELECT tag_ix FROM t WHERE t.rid = {one}) WHERE rid = {two}",
    ),
    (
        "swap ids",
        ALL,
        "CREATE TEMP TABLE t AS SELECT rid, tag_ix FROM records; UPDATE records SET rid = x'00' WHERE rid = {one}; \
         UPDATE records SET rid = {one} WHERE rid = {two}; UPDATE records SET rid = {two} WHERE rid = x'00'",
    ),
    (
        "swap values",
        VALUE,
        "UPDATE vals SET rid = x'00' WHERE rid = {one}; UPDATE vals SET rid = {one} WHERE rid = {two}; UPDATE vals SET \
         rid = {two} WHERE rid = x'00'",
    ),
    (
        "a value of another project",
        VALUE,
        "UPDATE OR REPLACE vals SET rid = {one} WHERE rid = {three}",
    ),
    (
        "swap metadata",
        ALL,
        "UPDATE records SET meta = (SELECT meta FROM records WHERE rid = {two}) WHERE rid = {one}",
    ),
    (
        "swap leaves",
        ALL,
        "UPDATE records SET leaf = (SELECT leaf FROM records WHERE rid = {two}) WHERE rid = {one}",
    ),
    (
        "swap value hashes",
        ALL,
        "UPDATE records SET val_hash = (SELECT val_hash FROM records WHERE rid = {two}) WHERE rid = {one}",
    ),
    (
        "roll back a record",
        ALL,
        "REPLACE INTO records SELECT * FROM old.records WHERE rid = {one}; REPLACE INTO vals SELECT * FROM old.vals",
    ),
    (
        "a value of a fork, of the same version",
        VALUE,
        "REPLACE INTO vals SELECT * FROM fork.vals WHERE rid = {one}",
    ),
    (
        "a record of a fork, of the same version",
        ALL,
        "REPLACE INTO vals SELECT * FROM fork.vals; REPLACE INTO records SELECT * FROM fork.records",
    ),
    ("roll back a value", VALUE, "REPLACE INTO vals SELECT * FROM old.vals WHERE rid = {one}"),
    (
        "roll back a record and its bucket",
        ALL,
        "REPLACE INTO records SELECT * FROM old.records WHERE rid = {one}; REPLACE INTO buckets SELECT * FROM \
         old.buckets; REPLACE INTO vals SELECT * FROM old.vals",
    ),
    ("roll back a head", ALL, "REPLACE INTO projects SELECT * FROM old.projects"),
    (
        "another project's head",
        ALL,
        "UPDATE projects SET (head, sig) = (SELECT head, sig FROM projects WHERE pid = {beta})",
    ),
    (
        "another project's keys",
        ALL,
        "UPDATE projects SET keys = (SELECT keys FROM projects WHERE pid = {beta})",
    ),
    ("no head", ALL, "UPDATE projects SET head = x'', sig = x''"),
    ("forge a head", ALL, "UPDATE projects SET head = zeroblob(228)"),
    ("forge a signature", ALL, "UPDATE projects SET sig = zeroblob(64)"),
    (
        "a head without a valid signature",
        ALL,
        "UPDATE projects SET sig = CAST(x'01' || zeroblob(63) AS BLOB)",
    ),
    ("bump an epoch", ALL, "UPDATE projects SET epoch = 2"),
    ("drop a project", BY_TAG, "DELETE FROM projects WHERE pid = {alpha}"),
    (
        "add a project",
        ALL,
        "INSERT INTO projects SELECT x'00112233445566778899aabbccddeeff', epoch, keys, head, sig FROM projects LIMIT 1",
    ),
    (
        "add a project of a short id",
        ALL,
        "INSERT INTO projects SELECT x'00', epoch, keys, head, sig FROM projects LIMIT 1",
    ),
    ("bump a version", ALL, "UPDATE records SET ver = ver + 1"),
    ("bump a value's version", ALL, "UPDATE records SET vver = vver + 1"),
    ("a negative version", ALL, "UPDATE records SET ver = -1"),
    ("bump a record's epoch", ALL, "UPDATE records SET epoch = 2"),
    (
        "change a bucket",
        ALL,
        "UPDATE buckets SET h = CAST(zeroblob(31) || x'01' AS BLOB) WHERE b = {b}",
    ),
    ("delete a bucket", ALL, "DELETE FROM buckets WHERE b = {b}"),
    (
        "a bucket without records",
        ALL,
        "INSERT INTO buckets VALUES({alpha}, {free_number}, zeroblob(32))",
    ),
    ("a 257th bucket", ALL, "INSERT INTO buckets VALUES({alpha}, 256, zeroblob(32))"),
    ("a short bucket", ALL, "UPDATE buckets SET h = x'00'"),
    (
        "add a slot",
        ALL,
        "INSERT INTO slots SELECT x'00', type, params, salt, commitment, wrap FROM slots",
    ),
    (
        "add a slot of another type",
        ALL,
        "INSERT INTO slots SELECT x'00', 2, params, salt, commitment, wrap FROM slots",
    ),
    ("delete the slot", ALL, "DELETE FROM slots"),
    ("change a slot", ALL, "UPDATE slots SET wrap = zeroblob(72)"),
    (
        "forge a grant",
        ALL,
        "INSERT INTO grants VALUES(zeroblob(16), 1, zeroblob(99), zeroblob(99))",
    ),
    ("plant an audit row", ALL, "INSERT INTO audit VALUES(1, x'', x'', x'', x'')"),
    ("another vault's id", ALL, "UPDATE vault SET vault_id = zeroblob(16)"),
    ("bump the root's number", ALL, "UPDATE vault SET root_seq = root_seq + 1"),
    ("forge the root MAC", ALL, "UPDATE vault SET root_mac = zeroblob(32)"),
    ("an empty root MAC", ALL, "UPDATE vault SET root_mac = x''"),
    ("no vault row", ALL, "DELETE FROM vault"),
    ("bump the suite", ALL, "UPDATE vault SET suite = 2"),
    ("bump the format", ALL, "PRAGMA user_version = 3"),
    ("an older format", ALL, "PRAGMA user_version = 0"),
    ("another application", ALL, "PRAGMA application_id = 1"),
    (
        "plant a trigger",
        ALL,
        "CREATE TRIGGER x AFTER UPDATE ON records BEGIN DELETE FROM records; END",
    ),
    (
        "plant a view",
        ALL,
        "ALTER TABLE vals RENAME TO hidden; CREATE VIEW vals AS SELECT rid, zeroblob(9) AS val FROM hidden",
    ),
    ("an extra table", ALL, "CREATE TABLE extra(x)"),
    ("an extra index", ALL, "CREATE INDEX extra ON records(ver)"),
    ("an extra column", ALL, "ALTER TABLE vals ADD COLUMN x BLOB"),
    ("statistics", ALL, "ANALYZE"),
    ("hide the records", ALL, "UPDATE sqlite_schema SET rootpage = {empty} WHERE name = 'records'"),
    (
        "hide the index of ids",
        &[ById],
        "UPDATE sqlite_schema SET rootpage = {empty} WHERE sql IS NULL",
    ),
    ("hide the buckets", ALL, "UPDATE sqlite_schema SET rootpage = {empty} WHERE name = 'buckets'"),
    (
        "hide the projects",
        BY_TAG,
        "UPDATE sqlite_schema SET rootpage = {empty} WHERE name = 'projects'",
    ),
    ("hide the values", VALUE, "UPDATE sqlite_schema SET rootpage = {empty} WHERE name = 'vals'"),
    (
        "loosen a check",
        ALL,
        "UPDATE sqlite_schema SET sql = replace(sql, 'CHECK(id = 1)', '') WHERE name = 'vault'",
    ),
];

/// Returns a vault after an attack.
fn attacked(statements: &str) -> Specimen {
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

    let three = text(&format!("SELECT quote(rid) FROM records WHERE pid <> {}", pid(&one)));
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

fn on(specimen: &Specimen, op: Op) -> Result<(), VaultError> {
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
    let innocent = |vault: &Vault, at: u32| match at {
        0 => vault.create(&project("alpha"), secret("fresh", b"value")).map(drop),
        1 => vault.create(&project("gamma"), secret("fresh", b"value")).map(drop),
        2 => attempt(vault, Label),
        3 => {
            let changes = SecretChanges { name: Some(None), ..SecretChanges::default() };
            vault.update(&project("alpha"), &"two".parse().unwrap(), None, changes).map(drop)
        }
        4 => vault.rename_project(&project("beta"), &project("other")).map(drop),
        _ => vault.delete(&project("beta"), &["three".parse().unwrap()]).map(drop),
    };

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
        let writes: Vec<_> = (0..6).map(|at| scope.spawn(move || after_write(at))).collect();
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
         BLOB), CAST(printf('%08d', i) AS BLOB), epoch, ver, vver, meta, val_hash, leaf FROM n, (SELECT * FROM records \
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
        "INSERT INTO records SELECT x'00', tag_ix, x'00', epoch, ver, vver, meta, val_hash, leaf FROM records LIMIT 1",
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
