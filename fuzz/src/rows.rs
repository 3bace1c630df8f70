//! The rows of a vault on a server, changed by somebody who knows the tables. With the correct root key
//! or a token, the vault gives the answers of the original or an error. After that, nothing of the
//! changed rows is left: a right answer is believed.

use std::rc::Rc;
use std::sync::OnceLock;

use super::answers::{Answers, all, same};
use super::input::Input;
use super::server::{Lies, MemoryServer};
use super::world::{Copy, VAULT, patch, root_key};
use terminal_secrets::crypto::ids::VaultId;
use terminal_secrets::crypto::token::Token;
use terminal_secrets::model::{Level, SecretBytes, TokenName};
use terminal_secrets::store::remote::{Rows, decode, encode};
use terminal_secrets::store::{ServerError, StoreError};
use terminal_secrets::vault::{Locked, NewToken, TokenAccess, Vault, VaultError};

/// The most changes of one input.
const MOST: usize = 12;

/// The vault on the server.
struct World {
    /// The encoded rows
    rows: Vec<u8>,
    vault_id: VaultId,
    /// The word of a token for a project of `Answers::original`
    token: Vec<u8>,
}

/// The number of the project in `Answers::original` that the token is for.
const OF_TOKEN: usize = 1;

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let copy = Copy::of(VAULT);
        let local = Locked::open(&copy.path()).expect("the original opens").unlocked(root_key());
        let project = &Answers::original().projects[OF_TOKEN].0;
        let name = TokenName::parse("ci").expect("it is a name");
        let new = NewToken::new(name, Level::Use, project);
        let (token, _) = local.create_token(&new).expect("a token can be made");

        let server = MemoryServer::default();
        let address = SecretBytes::copy_of(b"here");
        local.push(&server.store(), &address).expect("the server is empty");
        World {
            rows: encode(&server.rows()).expect("they can be encoded"),
            vault_id: local.id().expect("it has an id"),
            token: token.text().expose().to_vec(),
        }
    })
}

impl World {
    fn rows(&self) -> Rows {
        decode(&self.rows).expect("it was encoded")
    }

    fn vault(&self, server: &MemoryServer) -> Vault {
        Locked::with_store(Box::new(server.store())).unlocked(root_key())
    }

    fn vault_of_token(&self, server: &MemoryServer) -> Vault {
        let token = Token::parse(&SecretBytes::copy_of(&self.token)).expect("it is a token");
        let access = Rc::new(TokenAccess::new(token, self.vault_id));
        Locked::with_store(Box::new(server.store())).unlocked(access as Rc<_>)
    }
}

/// Runs the target. The first bytes select what is read, how the server answers and when it lies. Changes
/// of rows follow.
pub fn run(data: &[u8]) {
    let (world, mut input) = (world(), Input::new(data));
    let (chosen, how) = (usize::from(input.u8()), input.u8());
    let (from, mut count) = (usize::from(input.u8() % 16), usize::from(input.u8()));
    if chosen % 4 == 1 {
        // A write is made again, with pauses, as long as another head comes each time.
        count %= 8;
    }

    let mut rows = world.rows();
    for _ in 0..MOST {
        if !input.is_empty() {
            mutate(&mut rows, &mut input);
        }
    }

    let (sends_hashes, sends_all, refuses) = (how & 1 == 1, how & 2 == 2, how & 8 == 8);
    let lies = Lies { rows, during: from..from + count, sends_hashes, sends_all, refuses };
    let server = MemoryServer::new(world.rows(), lies);
    if how & 4 == 4 {
        let vault = world.vault_of_token(&server);
        ask_with_token(&vault, assert_damage_or_removal);
        server.stop_lying();
        return ask_with_token(&vault, refuse);
    }

    let (vault, expected) = (world.vault(&server), Answers::original());
    expected.ask(&vault, chosen, assert_damage);
    let created = match chosen % 4 {
        1 => expected.write(&vault, assert_damage),
        _ => None,
    };

    server.stop_lying();
    match created {
        Some(created) => expected.ask_after(&vault, &created, refuse),
        None => expected.ask(&vault, chosen, refuse),
    }
}

fn ask_with_token(vault: &Vault, check: fn(&VaultError)) {
    let (project, values) = &Answers::original().values[OF_TOKEN];
    same(all(vault, project), values, check);
    let listed = vault.list(Some(project), |_| true);
    let tags = listed.map(|all| all.into_iter().map(|secret| secret.metadata.tag).collect());
    let expected: Vec<_> = values.iter().map(|(tag, _)| tag.clone()).collect();
    same(tags, &expected, check);
}

/// A right answer causes no error.
fn refuse(error: &VaultError) {
    panic!("right rows are refused: {error}");
}

/// Accepts only errors that report damage, a token without a grant, a vault that was replaced, or a head
/// that was replaced between two answers.
fn assert_damage(error: &VaultError) {
    match error {
        VaultError::Crypto(_)
        | VaultError::Record { .. }
        | VaultError::Project { .. }
        | VaultError::AuditLog { .. }
        | VaultError::Diverged(_)
        | VaultError::NoGrant
        | VaultError::Store(
            StoreError::Damaged(_)
            | StoreError::Raced
            | StoreError::Server(ServerError::NoVault | ServerError::OtherVault),
        ) => {}
        other => panic!("{other:?}"),
    }
}

/// A token cannot know whether the owner has removed its project or given it new keys.
fn assert_damage_or_removal(error: &VaultError) {
    if !matches!(error, VaultError::NoProject { .. } | VaultError::TokenRevoked(_)) {
        assert_damage(error);
    }
}

/// A column of a row.
enum Cell<'a> {
    Bytes(&'a mut Vec<u8>),
    Fixed(&'a mut [u8]),
    Long(&'a mut u64),
    Int(&'a mut u32),
    Byte(&'a mut u8),
}

impl Cell<'_> {
    fn get(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => (*bytes).clone(),
            Self::Fixed(bytes) => bytes.to_vec(),
            Self::Long(number) => number.to_be_bytes().to_vec(),
            Self::Int(number) => number.to_be_bytes().to_vec(),
            Self::Byte(byte) => vec![**byte],
        }
    }

    fn set(&mut self, new: &[u8]) {
        match self {
            Self::Bytes(bytes) => **bytes = new.to_vec(),
            Self::Fixed(bytes) => {
                for (place, new) in bytes.iter_mut().zip(new) {
                    *place = *new;
                }
            }
            Self::Long(number) => **number = u64::from_be_bytes(Input::new(new).array()),
            Self::Int(number) => **number = u32::from_be_bytes(Input::new(new).array()),
            Self::Byte(byte) => **byte = Input::new(new).u8(),
        }
    }
}

/// The tables with many rows.
const TABLES: usize = 8;

/// Returns a column of a row. The table after those with many rows is the vault's own.
fn cell(rows: &mut Rows, table: usize, row: usize, column: usize) -> Option<Cell<'_>> {
    use Cell::{Byte, Bytes, Fixed, Int, Long};
    fn at<T>(table: &mut [T], row: usize) -> Option<&mut T> {
        let length = table.len().max(1);
        table.get_mut(row % length)
    }

    let mut cells: Vec<Cell<'_>> = match table % (TABLES + 1) {
        0 => at(&mut rows.slots, row).map(|slot| {
            let columns =
                vec![Bytes(&mut slot.slot_id), Int(&mut slot.kind), Bytes(&mut slot.params)];
            let more = [Bytes(&mut slot.salt), Bytes(&mut slot.commitment), Bytes(&mut slot.wrap)];
            columns.into_iter().chain(more).collect()
        }),
        1 => at(&mut rows.projects, row).map(|row| {
            vec![
                Fixed(&mut row.pid),
                Int(&mut row.epoch),
                Bytes(&mut row.head),
                Bytes(&mut row.sig),
            ]
        }),
        2 => at(&mut rows.buckets, row)
            .map(|(pid, number, hash)| vec![Fixed(pid), Byte(number), Fixed(hash)]),
        3 => at(&mut rows.policies, row).map(|(pid, row)| {
            vec![Fixed(pid), Long(&mut row.version), Bytes(&mut row.body), Bytes(&mut row.sig)]
        }),
        4 => at(&mut rows.audit, row).map(|(pid, row)| {
            vec![Fixed(pid), Long(&mut row.seq), Int(&mut row.epoch), Bytes(&mut row.ct)]
        }),
        5 => at(&mut rows.records, row).map(|(pid, record)| {
            let ids = [Fixed(pid), Fixed(&mut record.tag_ix), Fixed(&mut record.rid)];
            let numbers = [Int(&mut record.epoch), Long(&mut record.ver), Long(&mut record.vver)];
            let meta = Bytes(&mut record.meta);
            let hashes = [meta, Fixed(&mut record.val_hash), Fixed(&mut record.leaf)];
            ids.into_iter().chain(numbers).chain(hashes).collect()
        }),
        6 => at(&mut rows.values, row).map(|(rid, value)| vec![Fixed(rid), Bytes(value)]),
        7 => at(&mut rows.grants, row).map(|row| {
            let ids = [Fixed(&mut row.token_id), Long(&mut row.generation)];
            ids.into_iter().chain([Bytes(&mut row.grant), Bytes(&mut row.escrow)]).collect()
        }),
        _ => rows
            .vault
            .as_mut()
            .map(|row| vec![Fixed(&mut row.vault_id), Int(&mut row.suite), Bytes(&mut row.past)]),
    }?;
    let column = column % cells.len();
    Some(cells.swap_remove(column))
}

/// Calls `$act` with all rows of a table.
macro_rules! in_table {
    ($rows:expr, $number:expr, $all:ident => $act:expr) => {
        match $number % TABLES {
            0 => act_on(&mut $rows.slots, |$all| $act),
            1 => act_on(&mut $rows.projects, |$all| $act),
            2 => act_on(&mut $rows.buckets, |$all| $act),
            3 => act_on(&mut $rows.policies, |$all| $act),
            4 => act_on(&mut $rows.audit, |$all| $act),
            5 => act_on(&mut $rows.records, |$all| $act),
            6 => act_on(&mut $rows.values, |$all| $act),
            _ => act_on(&mut $rows.grants, |$all| $act),
        }
    };
}

fn act_on<T: Clone>(all: &mut Vec<T>, act: impl FnOnce(&mut Vec<T>)) {
    if !all.is_empty() {
        act(all);
    }
}

/// Applies one change to a row: of a column, or of its place.
fn mutate(rows: &mut Rows, input: &mut Input<'_>) {
    let kind = input.u8() % 6;
    let [table, row, third] = input.array().map(usize::from);
    match kind {
        // Bytes of a column.
        0 => {
            if let Some(mut cell) = cell(rows, table, row, third) {
                let mut bytes = cell.get();
                patch(&mut bytes, input);
                cell.set(&bytes);
            }
        }
        // A column of another row of the same table.
        1 => {
            let other = usize::from(input.u8());
            let bytes = cell(rows, table, other, third).map(|cell| cell.get());
            if let (Some(bytes), Some(mut cell)) = (bytes, cell(rows, table, row, third)) {
                cell.set(&bytes);
            }
        }
        2 => in_table!(rows, table, all => {
            all.remove(row % all.len());
        }),
        3 => in_table!(rows, table, all => {
            let at = row % all.len();
            all.extend_from_within(at..=at);
        }),
        4 => in_table!(rows, table, all => {
            let length = all.len();
            all.swap(row % length, third % length);
        }),
        _ => in_table!(rows, table, all => all.truncate(row % all.len())),
    }
}
