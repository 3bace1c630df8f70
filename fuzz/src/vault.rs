//! A vault's file, mutated by somebody who knows SQLite. With the correct root key, opening it
//! gives the answers of the original or an error. It never gives another answer, panics, hangs or
//! uses much memory.

use std::path::Path;
use std::sync::OnceLock;

use super::input::Input;
use super::world::{Copy, VAULT, root};
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::model::{
    ProjectName, Secret, SecretBytes, SecretId, SecretRef, SecretValue, Tag,
};
use terminal_secrets::store::StoreError;
use terminal_secrets::vault::{Locked, NewSecret, Reveal, Revealed, Vault, VaultError};

/// SQLite's page size in our vaults.
const PAGE: usize = 4096;
/// The most pages that a mutated file can have.
const MOST_PAGES: usize = 48;
/// Offsets of the numbers in SQLite's file header that control how the file is read.
const HEADER: [usize; 17] = [16, 18, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 92, 96];
/// The first bytes of a rollback journal.
const JOURNAL: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Every answer of the original.
#[derive(PartialEq)]
struct Answers {
    projects: Vec<(ProjectName, u64)>,
    listed: Vec<Secret>,
    /// The values of each project
    values: Vec<(ProjectName, Values)>,
}

type Values = Vec<(Tag, Vec<u8>)>;

fn original() -> &'static Answers {
    static ORIGINAL: OnceLock<Answers> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let copy = Copy::of(VAULT);
        let vault = unlocked(&copy.path()).expect("the original opens");
        let projects = vault.projects().expect("it has projects");
        let listed = vault.list(None, |_| true).expect("it has secrets");
        let values = projects
            .iter()
            .map(|(name, _)| (name.clone(), all(&vault, name).expect("it has values")))
            .collect();

        Answers { projects, listed, values }
    })
}

fn unlocked(path: &Path) -> Result<Vault, VaultError> {
    let root = RootKey::from_bytes(root()).expect("there is memory");
    let locked = Locked::open(path)?;
    locked.check(&root)?;
    Ok(locked.unlocked(root))
}

fn all(vault: &Vault, project: &ProjectName) -> Result<Values, VaultError> {
    let values = vault.scope(project).reveal_all()?;
    Ok(values.into_iter().map(|(tag, value)| (tag, value.expose().to_vec())).collect())
}

/// Runs the target. The first byte selects which secret is read and whether one is written.
/// Mutations follow.
pub fn run(data: &[u8]) {
    let expected = original();
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
        query(&copy, expected, chosen);
    } else {
        query(&Copy::of(&bytes), expected, chosen);
    }
}

fn query(copy: &Copy, expected: &Answers, chosen: usize) {
    // Not calling `check` lets the queries detect an invalid head themselves.
    let root = RootKey::from_bytes(root()).expect("there is memory");
    let vault = match Locked::open(&copy.path()) {
        Ok(locked) => locked.unlocked(root),
        Err(error) => return assert_damage(&error),
    };

    same(vault.projects(), &expected.projects);
    same(vault.list(None, |_| true), &expected.listed);
    let secret = &expected.listed[chosen % expected.listed.len()];
    same(vault.find(&secret.project, &secret.metadata.tag), &Some(secret.clone()));
    same(vault.get(&secret.project, &SecretRef::Id(secret.id)), secret);

    let (name, values) = &expected.values[chosen % expected.values.len()];
    same(all(&vault, name), values);
    let tags: Vec<Tag> = values.iter().map(|(tag, _)| tag.clone()).collect();
    let revealed =
        vault.scope(name).reveal(&tags).map(|all| all.into_iter().map(plain).collect::<Vec<_>>());
    same(revealed, &values.iter().cloned().map(Some).collect::<Vec<_>>());

    let (first, absent) = (&expected.projects[0].0, Tag::parse("not-there").expect("it is a tag"));
    same(vault.find(first, &absent), &None);
    match vault.get(first, &SecretRef::Id(SecretId([0; 8]))) {
        Ok(_) => panic!("a secret was invented"),
        Err(VaultError::NoSecret { .. }) => {}
        Err(error) => assert_damage(&error),
    }

    if chosen % 4 == 1 {
        write(&vault, expected);
    }
}

fn plain(revealed: Revealed) -> Option<(Tag, Vec<u8>)> {
    match revealed {
        Revealed::Value { tag, value } => Some((tag, value.expose().to_vec())),
        Revealed::Missing { .. } => None,
    }
}

/// Writes a secret. Either it is added next to the existing ones or the write is refused. Damaged
/// data is never signed again.
fn write(vault: &Vault, expected: &Answers) {
    let value =
        SecretValue::new(SecretBytes::copy_of(b"a new value"), false).expect("it is a value");
    let tag = Tag::parse("new-one").expect("it is a tag");
    let new = NewSecret::new(tag.clone(), value);
    let created = match vault.create(&expected.projects[0].0, new) {
        Ok(created) => created,
        Err(error) => return assert_damage(&error),
    };

    match vault.list(None, |_| true) {
        Err(error) => assert_damage(&error),
        Ok(listed) => {
            let (ours, others): (Vec<_>, Vec<_>) =
                listed.into_iter().partition(|secret| secret.metadata.tag == tag);
            assert!(
                ours == [created] && others == expected.listed,
                "a write changed what it did not mean to"
            );
        }
    }
}

fn same<T: PartialEq, E: Into<VaultError>>(found: Result<T, E>, expected: &T) {
    match found {
        Ok(found) => assert!(found == *expected, "an answer that the original does not give"),
        Err(error) => assert_damage(&error.into()),
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
