//! Bytes of a vault's file are changed at random places. Every answer is the right one or an error.
//!
//! A damaged file may be refused as damaged (6), as not a vault (3) or as locked (5). It never
//! gives another answer, never a panic, never an error that blames the system (1) or the file's
//! owner (7).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use terminal_secrets::model::{Secret, SecretRef};
use terminal_secrets::vault::{Locked, SecretChanges, Vault, VaultError};

use crate::support::files::write_private;
use crate::support::specimen::{SECRETS, Specimen, code};
use crate::support::values::reveal;
use crate::support::{Remembered, Sandbox, passphrase, project, secret};

/// Everything that can be read from a vault.
#[derive(PartialEq)]
struct Content {
    listed: Vec<Secret>,
    by_tag: Secret,
    by_id: Secret,
    values: Vec<Option<Vec<u8>>>,
}

/// Runs each operation independently, so that a failing one does not hide the answers of later
/// ones.
fn answers(vault: &Vault, good: &Content) -> Vec<Result<bool, VaultError>> {
    let (name, tag, _) = SECRETS[0];
    let (name, wanted): (_, SecretRef) = (project(name), tag.parse().unwrap());
    let mut answers = vec![
        vault.list(None, |_| true).map(|found| found == good.listed),
        vault.get(&name, &wanted).map(|found| found == good.by_tag),
        vault.get(&name, &SecretRef::Id(good.by_id.id)).map(|found| found == good.by_id),
        vault.find(&name, &"absent".parse().unwrap()).map(|found| found.is_none()),
    ];

    let values = SECRETS.iter().zip(&good.values);
    answers.extend(
        values.map(|((name, tag, _), value)| reveal(vault, name, tag).map(|found| found == *value)),
    );

    answers
}

/// Writes, and then reads everything: the write must not have signed the damage.
fn answers_to_a_write(vault: &Vault, good: &Content) -> Vec<Result<bool, VaultError>> {
    let (name, tag, _) = SECRETS[0];
    let changes = SecretChanges { description: Some(None), ..SecretChanges::default() };
    let outcome = vault.update(&project(name), &tag.parse().unwrap(), None, changes);
    let mut expected = good.listed.clone();
    let Some(version) = outcome.as_ref().ok().map(|written| written.version) else {
        return vec![outcome.map(|_| true)];
    };

    let fresh = outcome.unwrap();
    for secret in expected.iter_mut().filter(|secret| secret.id == fresh.id) {
        secret.clone_from(&fresh);
    }

    let mut answers = vec![Ok(version == good.by_tag.version + 1)];
    answers.push(vault.list(None, |_| true).map(|found| found == expected));
    let values = SECRETS.iter().zip(&good.values);
    answers.extend(
        values.map(|((name, tag, _), value)| reveal(vault, name, tag).map(|found| found == *value)),
    );

    answers
}

fn content(vault: &Vault) -> Content {
    let listed = vault.list(None, |_| true).unwrap();
    let by_tag =
        listed.iter().find(|secret| secret.metadata.tag.as_str() == SECRETS[0].1).unwrap().clone();
    let by_id =
        listed.iter().find(|secret| secret.metadata.tag.as_str() == SECRETS[2].1).unwrap().clone();
    let values = SECRETS.iter().map(|(name, tag, _)| reveal(vault, name, tag).unwrap()).collect();

    Content { listed, by_tag, by_id, values }
}

/// Returns a vault with pages of 512 bytes. It has the same tables and overflow pages in a third of
/// the bytes.
fn compressed() -> Vec<u8> {
    let specimen = Specimen::new();
    specimen.sql("PRAGMA page_size = 512; VACUUM");
    specimen.bytes()
}

/// A description of the damage, and the damaged file.
type Damaged = (String, Vec<u8>);

/// Opens every damaged file, on all processors, and returns what was wrong with the answers.
fn wrong_answers(
    good: &[u8],
    writes: bool,
    count: usize,
    damage: impl Fn(usize) -> Damaged + Sync,
) -> BTreeMap<String, usize> {
    let next = AtomicUsize::new(0);
    let work = || {
        let specimen = Specimen::of(good);
        let expected = content(&specimen.vault().unwrap());
        let mut wrong = BTreeMap::new();

        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return wrong;
            }

            let (what, bytes) = damage(at);
            specimen.overwrite(&bytes);
            let answers = match specimen.vault() {
                Ok(vault) if writes => answers_to_a_write(&vault, &expected),
                Ok(vault) => answers(&vault, &expected),
                Err(error) => vec![Err(error)],
            };

            for (operation, answer) in answers.into_iter().enumerate() {
                let fault = match answer {
                    Ok(true) => continue,
                    Ok(false) => "another answer".to_owned(),
                    Err(error) if [3, 5, 6].contains(&code(&error)) && !is_not_found(&error) => {
                        continue;
                    }
                    Err(error) => format!("{error:?}"),
                };

                wrong.insert(format!("{what}, operation {operation}: {fault}"), at);
            }
        }
    };

    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Returns true if the error claims that something does not exist. That is wrong, because
/// everything asked for exists.
fn is_not_found(error: &VaultError) -> bool {
    matches!(error, VaultError::NoSecret { .. } | VaultError::NoProject { .. })
}

fn assert_none(wrong: &BTreeMap<String, usize>) {
    let shown: Vec<&str> = wrong.keys().take(20).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} wrong answers, such as\n{}", wrong.len(), shown.join("\n"));
}

/// Flips each of the bytes with each mask.
fn flip(good: &[u8], writes: bool, places: &[usize], masks: &[u8]) {
    let wrong = wrong_answers(good, writes, places.len() * masks.len(), |at| {
        let (place, mask) = (places[at / masks.len()], masks[at % masks.len()]);
        let mut bytes = good.to_vec();
        bytes[place] ^= mask;
        (format!("byte {place} ^ {mask:#04x}"), bytes)
    });

    assert_none(&wrong);
}

/// Flips every `step`th byte.
fn flip_all(good: &[u8], writes: bool, step: usize, masks: &[u8]) {
    flip(good, writes, &(0..good.len()).skip(step / 2).step_by(step).collect::<Vec<_>>(), masks);
}

/// The next test is a long one and flips every byte.
#[test]
fn one_byte_in_seventeen_flipped_gives_the_same_answer_or_an_error() {
    flip_all(&compressed(), false, 17, &[0xff]);
}

#[test]
#[ignore = "minutes"]
fn every_byte_flipped_gives_the_same_answer_or_an_error() {
    for writes in [false, true] {
        flip_all(&compressed(), writes, 1, &[0x01, 0x80, 0xff]);
        flip_all(&Specimen::new().bytes(), writes, 1, &[0xff]);
    }
}

#[test]
fn a_flipped_header_gives_the_same_answer_or_an_error() {
    // 0x03 turns the file's version numbers from 1 to 2, so the file claims to be in WAL mode.
    let header: Vec<usize> = (0..100).collect();
    for writes in [false, true] {
        flip(&compressed(), writes, &header, &[0x03, 0xff]);
    }
}

/// Regression test, found by fuzzing: a header that claims WAL mode and write protection was
/// reported as a read-only file system.
#[test]
fn false_versions_in_a_header_give_the_same_answer_or_an_error() {
    let (good, claims) = (compressed(), [0, 1, 2, 3, 255]);
    for writes in [false, true] {
        let wrong = wrong_answers(&good, writes, claims.len() * claims.len(), |at| {
            let (write, read) = (claims[at / claims.len()], claims[at % claims.len()]);
            let mut bytes = good.clone();
            bytes[18..20].copy_from_slice(&[write, read]);
            (format!("write version {write}, read version {read}"), bytes)
        });

        assert_none(&wrong);
    }
}

#[test]
fn a_flipped_slot_is_damaged_or_refuses_the_passphrase() {
    let specimen = Specimen::new();
    let good = specimen.bytes();
    for place in slot_places(&specimen) {
        let mut bytes = good.clone();
        bytes[place] ^= 0xff;
        specimen.overwrite(&bytes);
        let outcome = Locked::open(&specimen.path())
            .and_then(|locked| locked.unlock(&Remembered(passphrase())));
        let outcome = outcome.and_then(|vault| vault.list(None, |_| true));
        let refused = outcome.as_ref().is_err_and(|error| [5, 6].contains(&code(error)));

        assert!(refused, "byte {place}: {outcome:?}");
    }
}

/// Returns the offsets of the vault's id and of the slot's columns in the file.
fn slot_places(specimen: &Specimen) -> Vec<usize> {
    let sql = "SELECT slot_id, params, salt, commitment, wrap, vault_id FROM slots, vault";
    let read = |row: &rusqlite::Row<'_>| {
        (0..6).map(|column| row.get(column)).collect::<Result<Vec<Vec<u8>>, _>>()
    };

    let columns = specimen.connection().query_row(sql, [], read).unwrap();
    let file = specimen.bytes();
    let place =
        |column: &Vec<u8>| file.windows(column.len()).position(|window| window == column).unwrap();
    let places = columns.iter().flat_map(|column| (place(column)..).take(column.len()));

    places.collect()
}

#[test]
fn a_file_cut_short_or_grown_gives_the_same_answer_or_an_error() {
    let good = compressed();
    let mut lengths: Vec<usize> = (0..good.len()).step_by(97).collect();
    for page in (0..good.len()).step_by(512) {
        lengths.extend([page.saturating_sub(1), page, page + 1]);
    }

    lengths.extend((1..=4096).step_by(455).map(|more| good.len() + more));
    let wrong = wrong_answers(&good, false, lengths.len(), |at| {
        let mut bytes = good.clone();
        bytes.resize(lengths[at], 0xa5);
        (format!("{} of {} bytes", lengths[at], good.len()), bytes)
    });

    assert_none(&wrong);
}

#[test]
fn pages_zeroed_filled_or_swapped_give_the_same_answer_or_an_error() {
    for page_size in [512, 4096] {
        let good = if page_size == 512 { compressed() } else { Specimen::new().bytes() };
        let pages = good.len() / page_size;
        let mut cases = Vec::new();
        for first in 0..pages {
            cases.extend([(first, first, 0x00), (first, first, 0xff)]);
            cases.extend((0..first).map(|second| (first, second, 0)));
        }

        let wrong = wrong_answers(&good, false, cases.len(), |at| {
            let (first, second, fill) = cases[at];
            let (first_page, second_page) = (first * page_size, second * page_size);
            let mut bytes = good.clone();

            if first == second {
                bytes[first_page..first_page + page_size].fill(fill);
            } else {
                bytes[second_page..second_page + page_size]
                    .copy_from_slice(&good[first_page..first_page + page_size]);
                bytes[first_page..first_page + page_size]
                    .copy_from_slice(&good[second_page..second_page + page_size]);
            }

            (format!("pages {first} and {second} of {page_size} bytes, {fill:#04x}"), bytes)
        });

        assert_none(&wrong);
    }
}

/// Returns a vault of one project whose `table` has `nesting` interior pages. All cells of a page
/// point at the next page.
fn repeating_pages(table: &str, nesting: usize) -> Specimen {
    const PAGE: usize = 4096;
    let sandbox = Sandbox::new();

    // A search for a missing tag must read to the end of the table.
    let many = (0..50).map(|n| secret(&format!("tag{n}"), b"x"));
    sandbox.vault().create_all(&project("alpha"), many).unwrap();
    let specimen = Specimen::of(&sandbox.read("vault.db"));
    let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    let root: i64 = specimen.connection().query_row(&sql, [], |row| row.get(0)).unwrap();
    let root = usize::try_from(root).unwrap();
    let mut file = specimen.bytes();
    let page = file[(root - 1) * PAGE..root * PAGE].to_vec();

    assert_eq!(page[0], 2, "the root of `{table}` is an interior page");
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));

    // Returns a copy of the root page whose children are all `child`: the right-most one, and the
    // first four bytes of each cell.
    let copy = |child: u32| {
        let mut copy = page.clone();
        let places = (0..cells)
            .map(|n| usize::from(u16::from_be_bytes([page[12 + 2 * n], page[13 + 2 * n]])));
        for place in places.chain([8]) {
            copy[place..place + 4].copy_from_slice(&child.to_be_bytes());
        }

        copy
    };

    let pages = file.len() / PAGE;
    let new_root = copy((pages + 1) as u32);
    for n in 1..=nesting {
        // The last page has the original children.
        let copied = if n == nesting { page.clone() } else { copy((pages + n + 1) as u32) };
        file.extend_from_slice(&copied);
    }

    file[(root - 1) * PAGE..root * PAGE].copy_from_slice(&new_root);
    file[28..32].copy_from_slice(&((pages + nesting) as u32).to_be_bytes());
    specimen.overwrite(&file);
    specimen
}

/// Runs every command that walks through everything, for every table that is large enough to have
/// interior pages. The file holds some rows 10^12 times.
#[test]
fn every_walk_through_endlessly_repeating_pages_ends() {
    const LINES: [&str; 7] = [
        "verify -q",
        "salvage out.db",
        "backup copy.db",
        "restore hostile.db --yes",
        "compact",
        "project delete alpha --yes",
        "list --all-projects",
    ];

    let sandbox = Sandbox::new();
    let own = sandbox.read("vault.db");
    for table in ["records", "vals"] {
        let specimen = repeating_pages(table, 17);
        for line in LINES {
            let hostile = specimen.bytes();
            for copy in ["out.db", "copy.db"] {
                let _ = std::fs::remove_file(sandbox.path(copy));
            }

            let name = if line.starts_with("restore") { "hostile.db" } else { "vault.db" };
            sandbox.write("vault.db", &own);
            std::fs::copy(specimen.path(), sandbox.path("hostile.db")).unwrap();
            sandbox.write(name, &hostile);

            let begin = std::time::Instant::now();
            let (code, _, stderr) = sandbox.run(line.split(' ')).everything();
            let taken = begin.elapsed();

            // Listing, deleting and copying read values one by one or not at all.
            let by_one = ["list", "project", "backup"].iter().any(|begin| line.starts_with(begin));
            let may_pass = table == "vals" && by_one;
            assert!(
                code == Some(6) || may_pass && code == Some(0),
                "{table}, `{line}`: {code:?} {stderr}"
            );

            assert!(taken < std::time::Duration::from_secs(30), "{table}, `{line}`: {taken:?}");
        }

        // The hostile file may also be the one that is replaced. It is kept under another name.
        sandbox.write("vault.db", specimen.bytes());
        let _ = std::fs::remove_file(sandbox.path("good.db"));
        write_private(&sandbox.path("good.db"), &own);

        sandbox
            .run(["restore", "good.db", "--yes", "-q"])
            .succeeds()
            .stderr_has("was renamed to `");
    }
}

/// The interior pages of `records` all point at the next one. A few kilobytes hold the same rows a
/// thousand million times. A reader that collected them before checking would never end.
#[test]
fn endlessly_repeating_rows_are_refused_at_once() {
    const NESTING: usize = 12;
    let specimen = repeating_pages("records", NESTING);
    let begin = std::time::Instant::now();
    let vault = Locked::open(&specimen.path()).unwrap().unlock(&passphrase()).unwrap();
    let tag: SecretRef = "tag7".parse().unwrap();

    assert_eq!(vault.list(None, |_| true).map_err(|error| code(&error)).map(drop), Err(6));

    // A lookup reads the rows of its bucket once, or it is refused because it sees them again.
    let found = vault.get(&project("alpha"), &tag).map_err(|error| code(&error));
    assert!(matches!(found, Ok(_) | Err(6)), "{found:?}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}
