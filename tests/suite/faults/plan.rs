//! One command with its faults, and the promises that each of them may break.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{PASSPHRASE, Run, Sandbox};

use super::cases::{Case, NEW, OLD};
use super::states::{
    State, Tree, base, is_checkpoint, is_kept, is_left_behind, is_staged, names, restore, state,
    tree,
};
use super::trace::{Fault, What, traced};

/// A case with its start and its expected result.
pub struct Plan {
    pub case: &'static Case,
    pub before: Tree,
    pub old: State,
    pub new: State,
    /// The names that exist afterwards
    pub after: Vec<PathBuf>,
    pub faults: Vec<Fault>,
    /// Broken promises in the run without a fault
    pub wrong: Vec<String>,
}

impl Plan {
    pub fn of(case: &'static Case, sandbox: &Sandbox) -> Self {
        let before = base(case.prepare);
        restore(sandbox, &before);
        let old = state(sandbox);
        restore(sandbox, &before);

        let trace = traced(sandbox, case, None);
        assert_eq!(trace.code, Some(0), "{}: {}", case.line, trace.stderr);
        let late = trace.unflushed(&before, sandbox);
        let wrong = late.into_iter().map(|late| format!("{}: {late}", case.line)).collect();
        let after = tree(&sandbox.path(""));

        // A reader leaves the mark to the next writer.
        let mut left = names(&after).into_iter().filter(|name| is_left_behind(name));
        assert!(
            left.all(|name| name.ends_with("vault.db-compact") && before.contains_key(name)),
            "{}",
            case.line
        );

        let mut faults = Vec::new();
        for call in trace.calls_in(sandbox) {
            let kinds: &[What] = match (&*call.name, call.ordinal % 2) {
                // SQLite reacts in the same way to every failed write. So half of the many calls
                // get a full disk, and half a broken one.
                ("pwrite64", 0) => &[What::Kill, What::Full],
                ("pwrite64", _) => &[What::Kill, What::Broken],
                _ if call.changes() => &[What::Kill, What::Full, What::Broken],
                _ => &[What::Broken],
            };

            let fault =
                |what: &What| Fault { call: call.name.clone(), when: call.ordinal, what: *what };
            faults.extend(kinds.iter().map(fault));
        }

        assert!(faults.len() > 20, "{}: {}", case.line, faults.len());
        Self {
            case,
            before,
            old,
            after: after.into_keys().collect(),
            new: state(sandbox),
            faults,
            wrong,
        }
    }

    /// Runs the command with a fault and returns the broken promises.
    pub fn run_with(&self, fault: &Fault, sandbox: &Sandbox) -> Vec<String> {
        restore(sandbox, &self.before);
        let trace = traced(sandbox, self.case, Some(fault));
        let mut wrong = Vec::new();
        let mut check = |right: bool, what: &str| {
            if !right {
                wrong.push(format!("{} with {fault:?}: {what}", self.case.line));
            }
        };

        check(trace.hit_only(fault, sandbox), "the fault met another call");
        check(is_clean(&trace.stdout) && is_clean(&trace.stderr), "a value was printed");
        match (fault.what, trace.code) {
            (What::Kill, _) => check(trace.killed, "was not killed"),
            (_, Some(0)) => {
                let late = trace.unflushed(&self.before, sandbox);
                check(late.is_empty(), &format!("acknowledged, yet {late:?}"));
            }
            (_, code) => {
                let known = code == Some(1) || is_refused(fault, code);
                check(known, &format!("exit code {code:?}: {}", trace.stderr));
                check(is_one_sentence(&trace.stderr), &trace.stderr);
                check(trace.stdout.is_empty(), &trace.stdout);
            }
        }

        let listed = sandbox.run(["list", "--all-projects", "--json", "-q"]);
        check(ended(listed, 0).is_none(), "the vault cannot be listed afterwards");
        let found = state(sandbox);
        let acknowledged = trace.code == Some(0);

        check(
            found == self.new || !acknowledged && found == self.old,
            "the state is neither the old one nor the new one",
        );

        // Create the file once more, and then write: nothing is left over afterwards.
        if ["init", "render"].iter().any(|made| self.case.line.starts_with(made)) {
            let again = sandbox.run(self.case.words(sandbox)).everything().0;
            check(matches!(again, Some(0 | 4)), "the same command fails afterwards");
        }

        let wrote = sandbox.run(["update", "steady", "--value-file", "value", "-q"]);
        check(ended(wrote, 0).is_none(), "writing fails afterwards");
        let after = tree(&sandbox.path(""));
        let expected: BTreeSet<&Path> =
            self.before.keys().chain(&self.after).map(PathBuf::as_path).collect();

        let dead =
            |name: &Path| is_staged(name) && (fault.what == What::Kill || fault.call == "unlink");

        let left: Vec<&Path> = names(&after)
            .into_iter()
            .filter(|name| !is_kept(name))
            .filter(|name| !is_checkpoint(name) || name.to_str().unwrap().contains(".new-"))
            .filter(|name| (!expected.contains(name) || is_left_behind(name)) && !dead(name))
            .collect();

        check(left.is_empty(), &format!("left behind: {left:?}"));
        wrong
    }
}

/// Returns true if the failure of a call is an answer about the file itself. A vault that opens
/// only for reading (SQLite tries that next) has a damaged header. One that `access` denies cannot
/// be read. An output whose `statx` fails was replaced. A page that cannot be read is damaged,
/// because SQLite itself calls EIO corruption. Each of these refuses and changes nothing.
fn is_refused(fault: &Fault, code: Option<i32>) -> bool {
    // These calls are about a passphrase file, so there was no passphrase.
    let known = [
        ("openat", 6),
        ("pread64", 6),
        ("access", 7),
        ("statx", 7),
        ("statx", 5),
        ("read", 5),
        ("openat", 5),
    ];

    fault.what == What::Broken
        && known.iter().any(|(call, refused)| fault.call == *call && code == Some(*refused))
}

/// Returns `None` if a run ended with that code.
fn ended(run: Run, expected: i32) -> Option<String> {
    let (code, _, stderr) = run.everything();
    (code != Some(expected)).then(|| format!("{code:?}: {stderr}"))
}

/// Returns true if the text holds no value and no passphrase, not even eight bytes of one.
fn is_clean(text: &str) -> bool {
    let pieces = |secret: &'static str| (0..secret.len() - 7).map(move |at| &secret[at..at + 8]);
    [OLD, NEW, PASSPHRASE].into_iter().flat_map(pieces).all(|piece| !text.contains(piece))
}

/// Returns true for one sentence that begins with `error:`, possibly with hints and warnings around
/// it.
fn is_one_sentence(stderr: &str) -> bool {
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();

    // Lines that belong to the sentence are indented. `restore` shows the difference first, and
    // `salvage` shows the next steps.
    let difference = ["~ web/port", "0 added, ", "the backup contains "];
    let begins = [
        &[
            "error: ",
            "hint: ",
            "warning: ",
            "  ",
            "saved ",
            "to use it as the vault, run ",
            "guessing this passphrase takes ",
        ][..],
        &difference,
    ]
    .concat();

    let known = |line: &str| begins.iter().any(|begin| line.starts_with(begin));
    errors == 1 && stderr.lines().all(known) && !stderr.contains("panicked")
}
