//! Files next to a vault: a foreign journal, log or mark is refused before SQLite opens anything.
//! Our own journal is replayed, and the earlier state is kept until the vault was checked. Another
//! program's database is left alone.

use std::path::{Path, PathBuf};

mod foreign_files;
mod replay;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const NONCE: u32 = 12345;
const SECTOR: usize = 512;

/// Returns the journal that SQLite writes for a change of all pages of `before`.
fn journal_of(before: &[u8]) -> Vec<u8> {
    let size = usize::from(u16::from_be_bytes([before[16], before[17]]));
    let pages: Vec<&[u8]> = before.chunks_exact(size).collect();
    let count = u32::try_from(pages.len()).unwrap();
    let mut journal = header(count, count, u32::try_from(size).unwrap());

    for (number, page) in (1..=count).zip(pages) {
        let places = (1..).map_while(|n| size.checked_sub(200 * n)).take_while(|at| *at > 0);
        let sum = places.fold(NONCE, |sum, at| sum.wrapping_add(u32::from(page[at])));
        journal.extend([&number.to_be_bytes()[..], page, &sum.to_be_bytes()].concat());
    }

    journal
}

fn header(records: u32, pages: u32, page_size: u32) -> Vec<u8> {
    let numbers = [records, NONCE, pages, SECTOR as u32, page_size];
    let mut header = MAGIC.to_vec();
    header.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    header.resize(SECTOR, 0);

    header
}

fn next_to(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
