//! Slots and lengths that `secrets` never writes. They are refused immediately, before they cost
//! memory or time.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use terminal_secrets::vault::Locked;

use crate::support::specimen::{Specimen, code};
use crate::support::{Sandbox, passphrase, wrapped_in};

/// The time limit of a refusal. A debug build hashes and encrypts about ten times slower.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
/// The limit for a refusal that reads nothing large, in any build.
const AT_ONCE: Duration = Duration::from_millis(50);
/// The limit in KiB for data, heap and anonymous maps together.
const MEMORY: &str = "32768";

/// A name and a change to the file. The numbers are `m ‖ t ‖ p` in hex.
const PARAMETERS: &[(&str, &str)] = &[
    ("no memory", "00000000 00000001 00000001"),
    ("memory of 1 KiB", "00000001 00000001 00000001"),
    ("memory just below the bound", "00004bff 00000001 00000001"),
    ("memory just above the bound", "00200001 00000001 00000001"),
    ("memory of 4 GiB", "00400000 00000001 00000001"),
    ("memory of 4 TiB", "ffffffff 00000001 00000001"),
    ("little-endian memory", "004c0000 00000001 00000001"),
    ("no pass", "00004c00 00000000 00000001"),
    ("passes just above the bound", "00004c00 00000041 00000001"),
    ("passes without end", "00004c00 ffffffff 00000001"),
    ("no lane", "00004c00 00000001 00000000"),
    ("lanes just above the bound", "00004c00 00000001 00000011"),
    ("lanes without end", "00004c00 00000001 ffffffff"),
    ("the product just above the bound", "00200000 00000005 00000001"),
    ("a product that overflows 32 bits", "00200000 00000040 00000010"),
    ("everything without end", "ffffffff ffffffff ffffffff"),
    ("parameters of no bytes", ""),
    ("parameters of 11 bytes", "00004c00 00000001 000000"),
    ("parameters of 13 bytes", "00004c00 00000001 00000001 00"),
    ("parameters of 16 bytes", "00004c00 00000001 00000001 00000013"),
];

const HUGE: &str = "zeroblob(3145728)";

/// Lengths and numbers: a name and a statement. `HUGE` is a blob of 3 MiB.
const STATEMENTS: &[(&str, &str)] = &[
    ("no salt", "UPDATE slots SET salt = x''"),
    ("a salt of 15 bytes", "UPDATE slots SET salt = zeroblob(15)"),
    ("a huge salt", "UPDATE slots SET salt = HUGE"),
    ("no slot id", "UPDATE slots SET slot_id = x''"),
    ("a huge slot id", "UPDATE slots SET slot_id = HUGE"),
    ("huge parameters", "UPDATE slots SET params = HUGE"),
    ("suite 2", "UPDATE vault SET suite = 2"),
    ("a negative suite", "UPDATE vault SET suite = -1"),
    ("a suite that overflows", "UPDATE vault SET suite = 4294967297"),
    ("type 2", "UPDATE slots SET type = 2"),
    ("a negative type", "UPDATE slots SET type = -1"),
    ("no slot", "DELETE FROM slots"),
    (
        "10,000 slots",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT INTO slots \
     SELECT CAST(printf('%016d', i) AS BLOB), type, params, salt, commitment, wrap FROM slots, n",
    ),
    ("a huge vault id", "UPDATE vault SET vault_id = HUGE"),
    ("a vault id of no bytes", "UPDATE vault SET vault_id = x''"),
    ("huge earlier keys", "UPDATE vault SET past = HUGE"),
];

const SLOTS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 16) INSERT INTO slots \
     SELECT CAST(printf('%016d', i) AS BLOB), type, params, salt, commitment, HUGE FROM slots, n";
/// Cases that are only noticed after the key derivation, or after the blob was read.
const LATE: &[(&str, &str)] = &[
    ("no commitment", "UPDATE slots SET commitment = x''"),
    ("a huge commitment", "UPDATE slots SET commitment = HUGE"),
    ("no wrap", "UPDATE slots SET wrap = x''"),
    ("a wrap of a salt's length", "UPDATE slots SET wrap = zeroblob(24)"),
    ("a huge wrap", "UPDATE slots SET wrap = HUGE"),
    ("huge key rings", "UPDATE vals SET val = HUGE"),
    ("huge policies", "INSERT INTO policies SELECT pid, 1, HUGE, x'' FROM projects"),
    ("huge heads", "UPDATE projects SET head = HUGE"),
    ("huge signatures", "UPDATE projects SET sig = HUGE"),
    (
        "a huge project id",
        "UPDATE projects SET pid = HUGE WHERE pid = (SELECT min(pid) FROM projects)",
    ),
    ("huge metadata", "UPDATE records SET meta = HUGE"),
    ("sixteen huge slots", SLOTS),
    ("a cell over the limit", "UPDATE slots SET wrap = zeroblob(5000000)"),
];

fn hostile(statement: &str) -> Specimen {
    let specimen = Specimen::new();
    specimen.sql(&statement.replace("HUGE", HUGE));
    specimen
}

fn parameters(hex: &str) -> String {
    format!("UPDATE slots SET params = x'{}'", hex.replace(' ', ""))
}

/// Returns the best time of three if the first exceeds the limit, because other load on the machine
/// is not the vault's fault.
fn time_to_refuse(name: &str, specimen: &Specimen, limit: Duration) -> Duration {
    let refuse = || {
        let start = Instant::now();
        let outcome =
            Locked::open(&specimen.path()).and_then(|locked| locked.unlock(&passphrase()));
        let outcome = outcome.and_then(|vault| vault.list(None, |_| true));
        let taken = start.elapsed();

        assert!(outcome.as_ref().is_err_and(|error| code(error) == 6), "{name}: {outcome:?}");
        taken
    };

    let first = refuse();
    if first <= limit { first } else { refuse().min(refuse()).min(first) }
}

/// Runs `list` with little memory. The kernel enforces the limit, so no allocation escapes it.
fn refuses_in_little_memory(name: &str, specimen: &Specimen) -> Option<String> {
    let sandbox = Sandbox::empty();
    let list = sandbox.command(["list", "--all-projects"]).env("SECRETS_VAULT", specimen.path());
    let limit = ["sh", "-c", "ulimit -d \"$0\" && exec \"$@\"", MEMORY];
    let output = wrapped_in(&limit, &list).output().unwrap();

    let refused = output.status.code() == Some(6) && output.stdout.is_empty();
    (!refused)
        .then(|| format!("{name}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn check(cases: impl Iterator<Item = (&'static str, String)>, limit: Duration) {
    let mut wrong = Vec::new();
    for (name, statement) in cases {
        let specimen = hostile(&statement);
        let taken = time_to_refuse(name, &specimen, limit);
        if taken > limit {
            wrong.push(format!("{name}: {taken:?}"));
        }

        wrong.extend(refuses_in_little_memory(name, &specimen));
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_parameters_are_refused_at_once_in_little_memory() {
    check(PARAMETERS.iter().map(|(name, hex)| (*name, parameters(hex))), AT_ONCE);
}

#[test]
fn hostile_lengths_are_refused_at_once_in_little_memory() {
    check(STATEMENTS.iter().map(|(name, statement)| (*name, (*statement).to_owned())), AT_ONCE);
}

#[test]
fn hostile_blobs_are_refused_soon_in_little_memory() {
    check(LATE.iter().map(|(name, statement)| (*name, (*statement).to_owned())), LIMIT);
}

#[test]
fn the_memory_limit_is_effective() {
    // The vault's own parameters fit and those of RFC 9106 do not, so the limit distinguishes them.
    let specimen = Specimen::new();
    let fits = refuses_in_little_memory("", &specimen).unwrap();
    assert!(fits.contains("exit status: 0"), "{fits}");
    specimen.sql(&parameters("00010000 00000003 00000004"));

    let refused = refuses_in_little_memory("", &specimen).unwrap();
    assert!(refused.contains("not enough memory"), "{refused}");
}

#[test]
fn rows_of_no_project_are_found_by_verify_and_read_by_nothing_else() {
    let sandbox = Sandbox::with_secrets(&[("one", "value one")]);
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                INSERT INTO projects SELECT CAST(printf('%015d', i) AS BLOB), 1, x'', x'' FROM n";

    connection.execute_batch(rows).unwrap();
    drop(connection);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("one");

    sandbox
        .run(["verify", "-q"])
        .fails_with(6)
        .stdout_has("the table of projects")
        .stderr_has("restore PATH`");
}
