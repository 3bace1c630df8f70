//! The commands whose traces are searched for, each with what it may leave.

use Leaves::{Nothing, Program, Vectors};

/// The stored value, and the value that is given to a command that stores. Both are ASCII, because
/// strace escapes other bytes.
pub const STORED: &str = "St0red-Qm7XvTz2LkRb9NcWg4HsYd6PfJa1UeKo3ViBn8MtGx5EwZqCr0AhDlSu_";
pub const GIVEN: &str = "G1ven-xWq8ZtRk3VnYb5MjHc9LsPf2GdUe7AoKi4TzNm1XrQv6CwBh0ElJaDyS__";
/// The passphrase as it is given. Its separate accent becomes one character with the letter before
/// it.
pub const PASSPHRASE: &str = "P4ss-zKe\u{301}7TvWn2Qm9XcRb5LhGd3YsJf8UoAi1EtNx6Mk0HpVqBrSwCgDlZ";
/// The part of the passphrase that appears unescaped in a trace.
pub const PLAIN: &str = "7TvWn2Qm9XcRb5LhGd3YsJf8UoAi1EtNx6Mk0HpVqBrSwCgDlZ";

/// Traces that a command may leave in its own memory.
#[derive(Clone, Copy, PartialEq)]
pub enum Leaves {
    Nothing,
    /// `run --no-mask` has become the program, whose environment holds the value
    Program,
    /// In a debug build, the search of a tree spills vector registers to its threads' stacks. In a
    /// release build the bytes stay in registers
    Vectors,
}

impl Leaves {
    pub fn covers(self, what: &str, place: &str) -> bool {
        match self {
            Nothing => false,
            Program => what.starts_with("stored") && place == "[stack]",
            Vectors => cfg!(debug_assertions) && what.starts_with("given") && place == "anonymous",
        }
    }
}

/// A command, its stdin, what it may leave, and the places that may get a value: parts of a
/// descriptor's name. A tab stands for a space inside of an argument.
pub type Row = (&'static str, &'static str, Leaves, &'static [&'static str]);

/// The commands that pass a stored value to a program in its environment.
pub const IN_ENVIRONMENT: [&str; 5] = [
    "run -- true",
    "run --env A={{KEY}} -- true",
    "run --no-mask -- true",
    "run -- /usr/bin/printenv KEY",
    "run --only key -- /no/such/program",
];

/// The number of rows that the short tests take.
pub const SAMPLE: usize = 4;

pub const ROWS: &[Row] = &[
    ("create --tag new", GIVEN, Nothing, &[]),
    ("update key --value-file value", "", Nothing, &[]),
    ("render t.tmpl -o out", "", Nothing, &["/#", "/out"]),
    ("run --file F=key -- true", "", Nothing, &["/secrets/"]),
    ("refs", "", Vectors, &[]),
    ("unlock", "", Nothing, &[]),
    ("create --tag new --value-file value", "", Nothing, &[]),
    ("create --tag new --generate", "", Nothing, &[]),
    ("get key", "", Nothing, &[]),
    ("list --all-projects --json", "", Nothing, &[]),
    ("update key", GIVEN, Nothing, &[]),
    ("update key --name x", "", Nothing, &[]),
    ("access key --restricted", "", Nothing, &[]),
    ("delete key --force -y", "", Vectors, &[]),
    ("clone key --to web", "", Nothing, &[]),
    ("render -e {{KEY}}", "", Nothing, &["1<"]),
    (
        "render -e {{secrets.key|json}}{{secrets.key|shell}}{{secrets.key|trim}}",
        "",
        Nothing,
        &["1<"],
    ),
    ("render -e {{secrets.key|base64}}{{secrets.key|url}}", "", Nothing, &["1<"]),
    ("render -", "{{KEY}}", Nothing, &["1<"]),
    ("run --dry-run", "", Nothing, &[]),
    ("import other.csv", "", Nothing, &[]),
    ("import given.csv --format 1password", "", Nothing, &[]),
    ("run -- true", "", Nothing, &[]),
    ("run --env A={{KEY}} -- true", "", Nothing, &[]),
    ("run --no-mask -- true", "", Program, &[]),
    // Programs that print a value themselves or read one.
    ("run -- /usr/bin/printenv KEY", "", Nothing, &["1<pipe"]),
    ("run --stdin key -- cat", "", Nothing, &["<pipe", "/memfd:secrets"]),
    ("redact", STORED, Nothing, &[]),
    ("scan .", "", Vectors, &[]),
    ("scan value", "", Nothing, &[]),
    ("import given.env", "", Nothing, &[]),
    ("import given.env --on-conflict overwrite --delete-source", "", Nothing, &[]),
    ("import given.json", "", Nothing, &[]),
    ("template given.env -o given.tmpl", "", Nothing, &[]),
    ("setup", "", Vectors, &["/#", "/out"]),
    ("check", "", Vectors, &[]),
    ("project list", "", Nothing, &[]),
    ("project rename web site", "", Nothing, &[]),
    ("project delete web -y --force", "", Vectors, &[]),
    ("verify", "", Nothing, &[]),
    ("recovery create", "", Nothing, &[]),
    ("rekey -y", "", Nothing, &[]),
    ("rekey -y --project web", "", Nothing, &[]),
    ("backup another.db", "", Nothing, &[]),
    ("backup copy.db --replace", "", Nothing, &[]),
    ("restore copy.db -y", "", Nothing, &[]),
    ("salvage out.db", "", Nothing, &[]),
    ("compact", "", Nothing, &[]),
    ("token create ci --level use -o ci.token", "", Nothing, &[]),
    ("token list", "", Nothing, &[]),
    ("token show user", "", Nothing, &[]),
    ("token update user --level read", "", Nothing, &[]),
    ("token rotate user -o next.token", "", Nothing, &[]),
    ("token revoke user -y", "", Nothing, &[]),
    ("token revoke --all -y", "", Nothing, &[]),
    ("token bundle user user.vault", "", Nothing, &[]),
    ("access", "", Nothing, &[]),
    ("audit --all-projects", "", Nothing, &[]),
    ("--token-file user.token token check", "", Nothing, &[]),
    ("--token-file user.token token bundle user user.vault", "", Nothing, &[]),
    ("--token-file user.token list", "", Nothing, &[]),
    ("--token-file user.token render -e {{KEY}}", "", Nothing, &["1<"]),
    ("--token-file user.token run -- true", "", Nothing, &[]),
    ("--token-file user.token redact", STORED, Nothing, &[]),
    ("--token-file user.token create x", GIVEN, Nothing, &[]),
    ("status", "", Nothing, &[]),
    ("lock", "", Nothing, &[]),
    (
        "init --vault new.db --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 4",
        "",
        Nothing,
        &[],
    ),
    // Failures after the value or the passphrase was read.
    ("create --tag key", GIVEN, Nothing, &[]),
    ("update nothing", GIVEN, Nothing, &[]),
    ("render -e {{KEZ}}{{KEY}}", "", Nothing, &[]),
    ("render -e {{KEY}} -o nowhere/out", "", Nothing, &[]),
    ("run --only key -- /no/such/program", "", Nothing, &[]),
    ("list --passphrase-file wrong", "", Nothing, &[]),
    ("list --passphrase-file long", "", Nothing, &[]),
    ("delete key", "", Nothing, &[]),
];
