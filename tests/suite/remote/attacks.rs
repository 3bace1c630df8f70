//! The attacks of `crate::attacks` on a server. The operator loads the same rows there.
//!
//! A machine that has seen nothing must refuse what a vault's file would make it refuse. A machine
//! that has seen the honest state keeps it in its cache and asks only for rows that have changed, so
//! it may succeed without any attacked row. Its results must be the honest ones then.

use terminal_secrets::vault::{Vault, VaultError};

use super::rows::load;
use super::target::{Target, contents, is_refused, report};
use crate::attacks::Op::{self, CopyOut, Create, Delete, Label, Update};
use crate::attacks::statements::{ALL, ATTACKS};
use crate::attacks::{INNOCENT, attacked, attempt, innocent};
use crate::support::specimen::{Specimen, code};

const WRITES: [Op; 5] = [Create, Label, Update, Delete, CopyOut];

/// Attacks on a vault's file that change no row, each with the reason why they are not made here.
const SKIPPED: &[(&str, &str)] = &[
    ("bump the format", FORMAT),
    ("an older format", FORMAT),
    ("another application", "the header of a file; a server has no application id"),
    ("plant a trigger", SCHEMA),
    ("plant a view", SCHEMA),
    ("an extra table", UNUSED),
    ("an extra index", UNUSED),
    ("an extra column", UNUSED),
    ("statistics", UNUSED),
    ("hide the records", PAGES),
    ("hide the index of ids", PAGES),
    ("hide the buckets", PAGES),
    ("hide the projects", PAGES),
    ("hide the values", PAGES),
    ("loosen a check", "nothing relies on the constraints; `operator` drops them all"),
];
const FORMAT: &str = "the header of a file; `operator` changes the format on the server";
const SCHEMA: &str = "SQLite's schema; `operator` does this in the server's";
const UNUSED: &str = "SQLite's schema must be exactly ours, but a server may have more tables, \
                      indexes, columns and statistics, which no statement of ours reads";
const PAGES: &str = "SQLite's pages; `operator` hides rows by row security";

type Attack = (&'static str, &'static [Op], &'static str);

/// Returns the attacks that change rows.
fn attacks() -> impl Iterator<Item = &'static Attack> {
    let is_skipped = |name: &str| SKIPPED.iter().any(|(skipped, _)| *skipped == name);
    ATTACKS.iter().filter(move |(name, ..)| !is_skipped(name))
}

#[test]
fn every_skipped_attack_exists() {
    for (name, _) in SKIPPED {
        assert!(ATTACKS.iter().any(|(attack, ..)| attack == name), "{name}");
    }

    assert_eq!(attacks().count() + SKIPPED.len(), ATTACKS.len());
}

#[test]
fn without_an_attack_every_operation_works_on_a_server() {
    let Some(target) = Target::new(&Specimen::new()) else { return };
    for op in ALL {
        for vault in [target.cold(), target.warm()] {
            let expected = Expected::of(|vault| attempt(vault, *op));
            let (answer, after) = (attempt(&vault, *op), contents(&vault));
            expected.check(&answer, Some(&after)).unwrap();
            assert!(after.is_ok(), "{op:?}: {after:?}");
            target.reset();
        }
    }
}

/// The result of an operation on the honest file, and what the file has afterwards.
struct Expected {
    answer: Result<String, u8>,
    contents: Vec<String>,
}

impl Expected {
    fn of(act: impl FnOnce(&Vault) -> Result<String, VaultError>) -> Self {
        let specimen = Specimen::new();
        let vault = specimen.vault().unwrap();
        let answer = act(&vault).map_err(|error| code(&error));
        Self { answer, contents: contents(&vault).unwrap() }
    }

    /// Compares a result with the honest one, and with what can be read afterwards: the honest result,
    /// or nothing because it is refused.
    fn check(
        &self,
        answer: &Result<String, VaultError>,
        after: Option<&Result<Vec<String>, VaultError>>,
    ) -> Result<(), String> {
        let answered = answer.as_ref().map_err(code);
        if answered != self.answer.as_ref().map_err(|code| *code) {
            return Err(format!("{answer:?} instead of {:?}", self.answer));
        }

        match after {
            None => Ok(()),
            Some(Ok(after)) if *after == self.contents => Ok(()),
            Some(after) if is_refused(after) => Ok(()),
            after => Err(format!("{after:?} afterwards instead of {:?}", self.contents)),
        }
    }
}

#[test]
fn a_machine_without_a_cache_refuses_every_attack() {
    let Some(target) = Target::new(&Specimen::new()) else { return };
    let mut wrong = Vec::new();
    for (name, refusing, statements) in attacks() {
        let before = target.sql_and_hash(&load(&attacked(statements)));
        for op in *refusing {
            let outcome = attempt(&target.cold(), *op);
            if !is_refused(&outcome) {
                wrong.push(format!("{name}: {op:?} answered {outcome:?}"));
            }
        }

        let found = target.cold().verify(&|_| {});
        if !is_refused(&found) && !found.as_ref().is_ok_and(|found| !found.damage.is_empty()) {
            wrong.push(format!("{name}: `verify` reports {found:?}"));
        }

        if target.sql_and_hash("") != before {
            wrong.push(format!("{name}: the rows were changed"));
        }
    }

    report(&wrong);
}

#[test]
fn a_machine_with_a_cache_uses_no_attacked_row() {
    let Some(target) = Target::new(&Specimen::new()) else { return };
    let expected: Vec<Expected> =
        ALL.iter().map(|op| Expected::of(|vault| attempt(vault, *op))).collect();
    let (mut wrong, mut honest) = (Vec::new(), 0);
    for (name, _, statements) in attacks() {
        let rows = load(&attacked(statements));
        target.sql(&rows);
        let mut machine = target.copy();
        for (op, expected) in ALL.iter().zip(&expected) {
            let vault = target.vault(&machine);
            let answer = attempt(&vault, *op);
            if is_refused(&answer) {
                continue;
            }

            // A write is compared with what the machine has in its cache afterwards.
            honest += 1;
            let is_write = WRITES.contains(op) && answer.is_ok();
            let after = is_write.then(|| contents(&target.offline(&machine)));
            if let Err(difference) = expected.check(&answer, after.as_ref()) {
                wrong.push(format!("{name}: {op:?} answered {difference}"));
            }

            if is_write {
                target.sql(&rows);
                machine = target.copy();
            }
        }
    }

    report(&wrong);
    assert!(honest > 300, "only {honest} operations succeed");
}

/// Returns the writes that are made under an attack: every second one, or all of them.
fn some_writes(attack: usize, all: bool) -> impl Iterator<Item = u32> {
    (0..INNOCENT).filter(move |at| all || (attack + *at as usize).is_multiple_of(2))
}

/// Makes writes on a machine that has seen nothing. Everybody else still refuses the attack then.
fn check_writes_without_a_cache(all: bool) {
    let Some(target) = Target::new(&Specimen::new()) else { return };
    let mut wrong = Vec::new();
    for (number, (name, refusing, statements)) in attacks().enumerate() {
        let rows = load(&attacked(statements));
        target.sql(&rows);
        for at in some_writes(number, all) {
            if innocent(&target.cold(), at).is_err() {
                continue;
            }

            let first = if all { 0 } else { at as usize };
            let some = refusing.iter().cycle().skip(first).take(refusing.len());
            for op in some.take(if all { ALL.len() } else { 2 }) {
                if !is_refused(&attempt(&target.cold(), *op)) {
                    wrong.push(format!("{name}: {op:?} accepts the attack after write {at}"));
                }
            }

            target.sql(&rows);
        }
    }

    report(&wrong);
}

/// Makes writes on a machine that has seen the honest state. A write replaces the attacked rows if they
/// are those that it changes. Everybody else then reads the honest state with the change.
fn check_writes_with_a_cache(all: bool) {
    let Some(target) = Target::new(&Specimen::new()) else { return };
    let expected: Vec<Expected> = (0..INNOCENT)
        .map(|at| Expected::of(|vault| innocent(vault, at).map(|()| String::new())))
        .collect();
    let mut wrong = Vec::new();
    for (number, (name, _, statements)) in attacks().enumerate() {
        let rows = load(&attacked(statements));
        target.sql(&rows);
        for at in some_writes(number, all) {
            let answer = innocent(&target.warm(), at).map(|()| String::new());
            if is_refused(&answer) {
                continue;
            }

            let after = contents(&target.cold());
            if let Err(difference) = expected[at as usize].check(&answer, Some(&after)) {
                wrong.push(format!("{name}: write {at} answered {difference}"));
            }

            target.sql(&rows);
        }
    }

    report(&wrong);
}

#[test]
fn a_machine_without_a_cache_signs_no_attack() {
    check_writes_without_a_cache(false);
}

#[test]
fn a_machine_with_a_cache_signs_no_attack() {
    check_writes_with_a_cache(false);
}

#[test]
#[ignore = "takes half a minute"]
fn no_write_signs_an_attack_on_a_server() {
    check_writes_without_a_cache(true);
    check_writes_with_a_cache(true);
}

/// The cache keeps only what was verified. So a machine reads the honest state again when the attack
/// ends, and in the meantime without the server.
#[test]
fn an_attack_leaves_nothing_in_a_cache() {
    let Some(target) = Target::new(&Specimen::new()) else { return };
    let honest = contents(&target.cold()).unwrap();
    let mut wrong = Vec::new();
    for (name, _, statements) in attacks() {
        target.sql(&load(&attacked(statements)));
        let machine = target.copy();
        for op in ALL.iter().filter(|op| !WRITES.contains(op)) {
            target.age(&machine);
            let _ = attempt(&target.vault(&machine), *op);
        }

        let offline = contents(&target.offline(&machine));
        target.reset();
        let online = contents(&target.vault(&machine));
        for (how, read) in [("offline", offline), ("online", online)] {
            if !read.as_ref().is_ok_and(|read| *read == honest) {
                wrong.push(format!("{name}: {read:?} {how}"));
            }
        }
    }

    report(&wrong);
}
