//! The attacks, each with the operations that must refuse it.

use Op::{ById, CopyOut, Create, Delete, Get, Label, List, ListAll, Reveal, Update};

use super::Op;

/// Every operation.
pub const ALL: &[Op] = &[Get, ById, List, ListAll, Reveal, Create, Label, Update, Delete, CopyOut];
/// Operations that open the value of `one`.
const VALUE: &[Op] = &[Reveal, CopyOut];
/// Operations that read every row of `alpha`.
const LISTS: &[Op] = &[List, ListAll];
/// All operations except the lookup of `one` by its id.
const BY_TAG: &[Op] = &[Get, List, ListAll, Reveal, Create, Label, Update, Delete, CopyOut];

/// Attacks in SQL: a name, the operations that must refuse it, and the statements. `{one}`, `{two}`
/// and `{three}` are ids of records, `{alpha}` and `{beta}` ids of projects. `old` is the file
/// before `one` got its present value. In `fork`, `one` got a different value.
pub const ATTACKS: &[(&str, &[Op], &str)] = &[
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
         vver, val_hash, leaf, meta FROM records WHERE rid = {one}",
    ),
    (
        "insert a record with an index of another length",
        ALL,
        "INSERT INTO records SELECT pid, substr(tag_ix, 1, 1), x'0102030405060708', epoch, ver, vver, val_hash, leaf, \
         meta FROM records WHERE rid = {one}",
    ),
    (
        "duplicate a record in another bucket",
        LISTS,
        "INSERT INTO records SELECT pid, CAST(x'{free}' || substr(tag_ix, 2) AS BLOB), x'0102030405060708', epoch, ver, \
         vver, val_hash, leaf, meta FROM records WHERE rid = {one}",
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
        "another project's key ring",
        ALL,
        "UPDATE vals SET val = (SELECT val FROM vals WHERE rid = CAST(substr({beta}, 1, 8) AS BLOB)) WHERE rid = \
         CAST(substr({alpha}, 1, 8) AS BLOB)",
    ),
    (
        "another project's entry in the directory",
        ALL,
        "CREATE TEMP TABLE t AS SELECT * FROM records WHERE pid = zeroblob(16); UPDATE records SET meta = (SELECT \
         meta FROM t WHERE rid = CAST(substr({beta}, 1, 8) AS BLOB)) WHERE rid = CAST(substr({alpha}, 1, 8) AS BLOB)",
    ),
    (
        "delete an entry of the directory",
        ALL,
        "DELETE FROM records WHERE rid = CAST(substr({alpha}, 1, 8) AS BLOB)",
    ),
    (
        "delete an entry of the directory and its bucket",
        ALL,
        "DELETE FROM buckets WHERE pid = zeroblob(16) AND b = (SELECT unhex(hex(substr(tag_ix, 1, 1))) FROM records \
         WHERE rid = CAST(substr({alpha}, 1, 8) AS BLOB)); DELETE FROM records WHERE rid = CAST(substr({alpha}, 1, 8) \
         AS BLOB)",
    ),
    ("delete the directory", ALL, "DELETE FROM projects WHERE pid = zeroblob(16)"),
    (
        "the directory's head from before",
        ALL,
        "UPDATE projects SET head = (SELECT head FROM projects WHERE pid = {alpha}) WHERE pid = zeroblob(16)",
    ),
    ("plant a policy", ALL, "INSERT INTO policies VALUES({alpha}, 1, zeroblob(296), zeroblob(64))"),
    (
        "plant two policies",
        ALL,
        "INSERT INTO policies VALUES({alpha}, 1, zeroblob(296), zeroblob(64)), ({alpha}, 2, x'', x'')",
    ),
    ("no head", ALL, "UPDATE projects SET head = x'', sig = x''"),
    ("forge a head", ALL, "UPDATE projects SET head = zeroblob(781)"),
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
        &[],
        "INSERT INTO projects SELECT x'00112233445566778899aabbccddeeff', epoch, head, sig FROM projects LIMIT 1",
    ),
    (
        "add a project of a short id",
        &[],
        "INSERT INTO projects SELECT x'00', epoch, head, sig FROM projects LIMIT 1",
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
        &[],
        "INSERT INTO grants VALUES(zeroblob(16), 1, zeroblob(99), zeroblob(99))",
    ),
    ("plant an audit row", &[], "INSERT INTO audit VALUES({alpha}, 99, 1, zeroblob(296))"),
    ("delete an audit row", &[], "DELETE FROM audit WHERE pid = {alpha} AND seq = 2"),
    ("forge an audit row", &[], "UPDATE audit SET ct = zeroblob(length(ct)) WHERE pid = {alpha}"),
    (
        "an audit row of another project",
        &[],
        "UPDATE audit SET ct = (SELECT ct FROM audit WHERE pid = {beta} LIMIT 1) WHERE pid = {alpha}",
    ),
    (
        "cut the end of the audit log",
        &[],
        "DELETE FROM audit WHERE pid = {alpha} AND seq = (SELECT max(seq) FROM audit WHERE pid = {alpha})",
    ),
    ("another vault's id", ALL, "UPDATE vault SET vault_id = zeroblob(16)"),
    ("plant earlier keys", ALL, "UPDATE vault SET past = zeroblob(136)"),
    ("no vault row", ALL, "DELETE FROM vault"),
    ("bump the suite", ALL, "UPDATE vault SET suite = 2"),
    ("bump the format", ALL, "PRAGMA user_version = 4"),
    ("an older format", ALL, "PRAGMA user_version = 2"),
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
