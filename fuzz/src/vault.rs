//! A vault's file, mutated by somebody who knows SQLite. With the correct root key, opening it
//! gives the answers of the original or an error. It never gives another answer, panics, hangs or
//! uses much memory.

use super::answers::Answers;
use super::input::Input;
use super::world::{Copy, VAULT, root_key};
use terminal_secrets::store::StoreError;
use terminal_secrets::vault::{Locked, VaultError};

/// SQLite's page size in our vaults.
const PAGE: usize = 4096;
/// The most pages that a mutated file can have.
const MOST_PAGES: usize = 48;
/// Offsets of the numbers in SQLite's file header that control how the file is read.
const HEADER: [usize; 17] = [16, 18, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 92, 96];
/// The first bytes of a rollback journal.
const JOURNAL: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Runs the target. The first byte selects which secret is read and whether one is written.
/// Mutations follow.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let chosen = usize::from(input.u8());
    let mut bytes = VAULT.to_vec();
    let mut journal = None;

    while !input.is_empty() && journal.is_none() {
        journal = mutate(&mut bytes, &mut input);
    }

    if let Some(rest) = journal {
        let copy = Copy::of(&bytes);
        copy.put("vault.db-journal", &[&JOURNAL, rest].concat());
        query(&copy, chosen);
    } else {
        query(&Copy::of(&bytes), chosen);
    }
}

fn query(copy: &Copy, chosen: usize) {
    // Not calling `check` lets the queries detect an invalid head themselves.
    let vault = match Locked::open(&copy.path()) {
        Ok(locked) => locked.unlocked(root_key()),
        Err(error) => return assert_damage(&error),
    };

    let expected = Answers::original();
    expected.ask(&vault, chosen, assert_damage);
    if chosen % 4 == 1
        && let Some(created) = expected.write(&vault, assert_damage)
    {
        expected.ask_after(&vault, &created, assert_damage);
    }
}

/// Accepts only errors that report damage. A wrong answer, a wait or a system error is a finding.
fn assert_damage(error: &VaultError) {
    match error {
        VaultError::Crypto(_)
        | VaultError::Record { .. }
        | VaultError::Project { .. }
        | VaultError::Store(
            StoreError::NotAVault(_)
            | StoreError::Format(_)
            | StoreError::Damaged(_)
            | StoreError::ForeignJournal(_),
        ) => {}
        other => panic!("{other}"),
    }
}

/// Applies one mutation. With the last kind, the rest of the input is a rollback journal next to
/// the file, which is returned.
fn mutate<'a>(bytes: &mut Vec<u8>, input: &mut Input<'a>) -> Option<&'a [u8]> {
    let kind = input.u8() % 13;
    if kind == 12 {
        return Some(input.take(usize::MAX));
    }

    let pages = (bytes.len() / PAGE).max(1);
    let page = usize::from(input.u8()) % pages;

    // The first page's tree begins after the file's header.
    let (begin, tree) = (page * PAGE, page * PAGE + if page == 0 { 100 } else { 0 });
    match kind {
        0 => {
            let (at, new) = (input.u16() % PAGE, input.piece());
            put(bytes, begin + at, new);
        }
        1 => {
            let (at, mask) = (input.u16() % PAGE, input.u8());
            if let Some(byte) = bytes.get_mut(begin + at) {
                *byte ^= mask;
            }
        }
        // A page's header: first free block, number of cells, start of the cells, fragments.
        2 => {
            let (field, new) = (usize::from(input.u8() % 4), input.array::<2>());
            put(bytes, tree + [1, 3, 5, 7][field], &new[..if field == 3 { 1 } else { 2 }]);
        }
        // The offset of a cell, in a leaf page and in an interior page.
        3 => {
            let (index, new) = (usize::from(input.u8()), input.array::<2>());
            put(bytes, tree + 8 + 4 * (index & 1) + 2 * (index >> 1), &new);
        }
        4 => put(bytes, tree, &[[2, 5, 10, 13][usize::from(input.u8() % 4)]]),
        // The last child of an interior page, which may be another page or itself.
        5 => put(bytes, tree + 8, &u32::from(input.u8()).to_be_bytes()),
        6 => {
            let to = usize::from(input.u8()) % pages * PAGE;
            let copy = bytes[begin..bytes.len().min(begin + PAGE)].to_vec();
            put(bytes, to, &copy);
        }
        7 => {
            let other = usize::from(input.u8()) % pages * PAGE;
            for at in 0..PAGE {
                if begin.max(other) + at < bytes.len() {
                    bytes.swap(begin + at, other + at);
                }
            }
        }
        8 => bytes.truncate(begin + input.u16() % PAGE),
        9 => {
            if pages < MOST_PAGES {
                bytes.resize(pages * PAGE, 0);
                bytes.extend_from_within(begin..begin + PAGE);
            }
        }
        10 => {
            let (field, new) = (usize::from(input.u8()) % HEADER.len(), input.array::<4>());
            let at = HEADER[field];
            put(bytes, at, &new[..if at < 24 { 2 } else { 4 }]);
        }
        // A piece of one page copied to another: intact cells and sealed bytes in the wrong place.
        _ => {
            let (from, to_page, to) =
                (input.u16() % PAGE, usize::from(input.u8()) % pages, input.u16() % PAGE);
            let length = usize::from(input.u8());
            let piece: Vec<u8> = bytes.iter().skip(begin + from).take(length).copied().collect();
            put(bytes, to_page * PAGE + to, &piece);
        }
    }

    None
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (place, new) in bytes.iter_mut().skip(at).zip(new) {
        *place = *new;
    }
}
