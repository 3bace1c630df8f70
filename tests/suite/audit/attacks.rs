//! Attack 35 on the files of the log of uses: cut, swapped, dropped, duplicated, forged with a stolen
//! later key, and two writers.

use std::fs;
use std::path::{Path, PathBuf};

use terminal_secrets::crypto::uses::{Actor, Position, UseEntry};
use terminal_secrets::vault::{ReadUses, UseLog, UseLogError, Vault};

use crate::support::specimen::{Specimen, VAULT_ID};

/// The number of bytes of each entry here.
const ENTRY: usize = 4 + 8 + 24 + 256 + 16 + 32;

struct Log {
    specimen: Specimen,
    vault: Vault,
}

impl Log {
    /// Returns a log with some entries.
    fn with(entries: u64) -> Self {
        let specimen = Specimen::new();
        let log = Self { vault: specimen.vault().unwrap(), specimen };
        (1..=entries).for_each(|number| log.append(number).unwrap());
        log
    }

    fn directory(&self) -> PathBuf {
        self.specimen.directory().join("audit")
    }

    fn log(&self) -> UseLog {
        UseLog::new(&self.directory(), VAULT_ID)
    }

    fn append(&self, number: u64) -> Result<(), UseLogError> {
        self.log().append(&entry(number), &|| self.vault.use_log_keys().ok())
    }

    /// Returns the result of reading, and the counts of the entries.
    fn read(&self) -> (ReadUses, Vec<u64>) {
        let (mut counts, keys) = (Vec::new(), self.vault.use_log_keys().unwrap());
        let read = self.log().read(&keys, |_, _, entry| counts.push(entry.count)).unwrap();
        assert_eq!(read.last, counts.len() as u64);
        (read, counts)
    }

    #[track_caller]
    fn assert_fault(&self, seq: u64, attack: &str) {
        let (read, counts) = self.read();
        assert_eq!(read.fault, Some(seq), "{attack}");
        assert!(counts.iter().zip(1..).all(|(count, number)| *count == number), "{attack}");
    }

    fn file(&self, extension: &str) -> PathBuf {
        let mut files = files(&self.directory(), extension);
        assert_eq!(files.len(), 1);
        files.remove(0)
    }
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    found.sort();
    found
}

fn entry(number: u64) -> UseEntry {
    UseEntry {
        time: number,
        actor: Actor::Owner,
        action: "render".into(),
        refused: number.is_multiple_of(3),
        project: Some("web".into()),
        count: number,
        request: None,
        tags: vec!["one".into()],
    }
}

#[test]
fn a_log_is_read_as_it_was_written() {
    let log = Log::with(0);
    assert_eq!(log.read().0, ReadUses::default());
    let log = Log::with(7);
    let (read, counts) = log.read();
    assert_eq!((read.last, read.fault), (7, None));
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);

    // Only a process with the owner's keys can begin a log.
    let other = Log::with(0);
    let outcome = other.log().append(&entry(1), &|| None);
    assert!(matches!(outcome, Err(UseLogError::NotBegun)));
    log.log().append(&entry(8), &|| None).unwrap();
    assert_eq!(log.read().0.last, 8);
}

#[test]
fn every_change_of_a_segment_is_found() {
    let log = Log::with(6);
    let whole = fs::read(log.file("log")).unwrap();
    let at = |entry: usize| whole.len() - (7 - entry) * ENTRY;
    let entry = |number: usize| whole[at(number)..at(number + 1)].to_vec();
    let with = |from: usize, middle: Vec<u8>, to: usize| {
        [&whole[..at(from)], &middle, &whole[at(to)..]].concat()
    };

    for (attack, bytes, seq) in [
        ("cut", with(6, Vec::new(), 7), 6),
        ("cut twice", with(5, Vec::new(), 7), 5),
        ("everything cut", with(1, Vec::new(), 7), 1),
        ("a part of an entry cut", whole[..whole.len() - 1].to_vec(), 6),
        ("dropped", with(3, Vec::new(), 4), 3),
        ("swapped", with(3, [entry(4), entry(3)].concat(), 5), 3),
        ("duplicated", with(4, entry(3), 4), 4),
        ("duplicated at the end", [whole.clone(), entry(6)].concat(), 7),
        ("replaced", with(2, entry(5), 3), 2),
        ("more bytes", [whole.clone(), vec![0; 400]].concat(), 7),
        ("empty", Vec::new(), 1),
    ] {
        fs::write(log.file("log"), bytes).unwrap();
        log.assert_fault(seq, attack);
    }

    // Every byte counts.
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(log.file("log"), bytes).unwrap();
        assert!(log.read().0.fault.is_some(), "byte {at}");
    }

    fs::write(log.file("log"), &whole).unwrap();
    assert_eq!(log.read().0.fault, None);
    fs::remove_file(log.file("log")).unwrap();
    log.assert_fault(1, "the segment removed");
}

/// The thief has the files after entry 6, with the key of entry 7.
#[test]
fn a_stolen_later_key_forges_no_earlier_entry() {
    let log = Log::with(6);
    let (whole, next) = (fs::read(log.file("log")).unwrap(), fs::read(log.file("next")).unwrap());
    let stolen = Position::decode(&next).unwrap();
    let header = whole.len() - 6 * ENTRY;
    let hash = |number: usize| -> [u8; 32] {
        let end = header + number * ENTRY;
        whole[end - 32..end].try_into().unwrap()
    };

    // He cuts two entries, and writes the position as if they had not existed.
    let cut = &whole[..header + 4 * ENTRY];
    let (seq, offset, previous) = (5, cut.len() as u64, hash(4));
    let forged = Position { seq, offset, previous, ..stolen.copy() };
    fs::write(log.file("log"), cut).unwrap();
    fs::write(log.file("next"), forged.encode().expose()).unwrap();
    log.assert_fault(5, "cut with a position");

    // He writes other entries in their place.
    log.append(5).unwrap();
    log.assert_fault(5, "forged");

    // Without the position, the log does not verify, and a new one does not hide that.
    fs::write(log.file("log"), cut).unwrap();
    fs::remove_file(log.file("next")).unwrap();
    log.assert_fault(5, "cut without a position");
    log.append(5).unwrap();
    log.assert_fault(5, "begun again");

    // With the key he reads none of the earlier entries, but he can continue the log.
    let mut reading = Position { seq: 6, previous: hash(5), ..stolen.copy() };
    assert_eq!(reading.open(&VAULT_ID, &whole[header + 5 * ENTRY..]), None);
}

#[test]
fn a_log_of_several_segments_is_one_log() {
    let log = Log::with(0);
    let small = || log.log().with_segments_of(1000);
    for number in 1..=10 {
        // Without the owner's key a segment continues the one before.
        let keys = || (number < 5).then(|| log.vault.use_log_keys().unwrap());
        small().append(&entry(number), &keys).unwrap();
    }

    let segments = files(&log.directory(), "log");
    assert!(segments.len() > 3);
    assert_eq!(log.read().0, ReadUses { fault: None, ..log.read().0 });
    assert_eq!(log.read().1.len(), 10);

    for removed in &segments {
        let bytes = fs::read(removed).unwrap();
        fs::remove_file(removed).unwrap();
        assert!(log.read().0.fault.is_some());
        fs::write(removed, bytes).unwrap();
    }

    let [first, second] = [0, 1].map(|at| fs::read(&segments[at]).unwrap());
    fs::write(&segments[0], second).unwrap();
    fs::write(&segments[1], first).unwrap();
    log.assert_fault(1, "swapped segments");
}

/// A process can end between the entry and the position, and within an entry.
#[test]
fn a_killed_writer_leaves_a_log_that_continues() {
    let log = Log::with(3);
    let before = fs::read(log.file("next")).unwrap();
    log.append(4).unwrap();
    let after = fs::read(log.file("log")).unwrap();
    fs::write(log.file("next"), &before).unwrap();
    assert_eq!(log.read().0, ReadUses { fault: None, ..log.read().0 });
    log.append(5).unwrap();
    assert_eq!((log.read().0.fault, log.read().1), (None, vec![1, 2, 3, 4, 5]));

    for length in [1, 3, 4, 11, 40, ENTRY - 1] {
        let log = Log::with(3);
        let whole = fs::read(log.file("log")).unwrap();
        let part = &after[after.len() - ENTRY..][..length];
        fs::write(log.file("log"), [&whole, part].concat()).unwrap();
        assert_eq!(log.read().0.fault, None, "{length}");
        log.append(4).unwrap();
        assert_eq!((log.read().0.fault, log.read().1.len()), (None, 4), "{length}");
    }
}

#[test]
fn many_writers_write_one_log() {
    let log = Log::with(1);
    let (directory, shared) = (log.directory(), log.log());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (directory, shared) = (&directory, &shared);
            scope.spawn(move || {
                for number in 0..20 {
                    let own = UseLog::new(directory, VAULT_ID);
                    let log = if thread < 4 { shared } else { &own };
                    log.append(&entry(number), &|| None).unwrap();
                }
            });
        }
    });

    let (read, counts) = log.read();
    assert_eq!((read.fault, read.last, counts.len()), (None, 161, 161));
}

/// A proxy keeps the files open for hours, during which somebody may remove or replace them.
#[test]
fn a_writer_that_keeps_its_files_open_sees_what_others_do_to_them() {
    let log = Log::with(1);
    let kept = log.log().with_segments_of(1000);
    let append = |number| kept.append(&entry(number), &|| log.vault.use_log_keys().ok());
    for number in [2, 3, 4] {
        append(number).unwrap();
        assert_eq!(log.read().0, ReadUses { last: number, fault: None, ..log.read().0 });
    }

    assert!(files(&log.directory(), "log").len() > 1);
    log.append(5).unwrap();
    append(6).unwrap();
    assert_eq!((log.read().0.fault, log.read().1), (None, vec![1, 2, 3, 4, 5, 6]));

    // Everything is moved away, and another process begins the log again.
    let away = log.specimen.directory().join("away");
    fs::rename(log.directory(), &away).unwrap();
    let before = fs::read(&files(&away, "next")[0]).unwrap();
    assert!(matches!(kept.append(&entry(7), &|| None), Err(UseLogError::NotBegun)));
    log.append(1).unwrap();
    append(2).unwrap();
    assert_eq!((log.read().0.fault, log.read().1), (None, vec![1, 2]));
    assert_eq!(fs::read(&files(&away, "next")[0]).unwrap(), before);

    // The position is replaced by a copy of itself.
    let next = log.file("next");
    let copy = next.with_extension("copy");
    fs::copy(&next, &copy).unwrap();
    fs::rename(&copy, &next).unwrap();
    append(3).unwrap();
    assert_eq!((log.read().0.fault, log.read().1), (None, vec![1, 2, 3]));
}

#[test]
fn links_and_other_files_are_not_followed() {
    let log = Log::with(1);
    let (segment, elsewhere) = (log.file("log"), log.specimen.directory().join("elsewhere"));
    fs::rename(&segment, &elsewhere).unwrap();
    let bytes = fs::read(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &segment).unwrap();
    assert!(log.append(2).is_err());
    assert_eq!(fs::read(&elsewhere).unwrap(), bytes);

    fs::remove_file(log.file("next")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, log.directory().join("x.next")).unwrap();
    assert!(log.log().read(&log.vault.use_log_keys().unwrap(), |_, _, _| {}).is_err());
}

/// An entry costs at most 0.3 ms. The bound leaves room for a machine that does something else.
#[test]
fn an_entry_costs_little() {
    let log = Log::with(1);
    let mut times: Vec<_> = (0..101)
        .map(|_| {
            let start = std::time::Instant::now();
            log.append(1).unwrap();
            start.elapsed()
        })
        .collect();

    times.sort();
    assert!(times[50].as_millis() < 3, "{:?}", times[50]);
}
