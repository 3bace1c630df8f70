//! Traces of secrets: the memory of another process, and the keys and forms to look for in it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memmem;
use rustix::process::Pid;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::kdf::Passphrase;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::{Directory, Locked};

pub fn proc(pid: Pid, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap()
}

/// Returns a line of /proc/PID/status in KiB.
pub fn kib(pid: Pid, name: &str) -> u64 {
    let status = String::from_utf8(proc(pid, "status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Returns the memory mappings, each with its lines of smaps.
pub fn mappings(pid: Pid) -> Vec<(u64, u64, String)> {
    let smaps = String::from_utf8(proc(pid, "smaps")).unwrap();
    let mut all: Vec<(u64, u64, String)> = Vec::new();
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        match range.and_then(|(from, to)| Some((number(from)?, number(to)?))) {
            Some((from, to)) => all.push((from, to, format!("{line}\n"))),
            None => all.last_mut().unwrap().2 += &format!("{line}\n"),
        }
    }

    all
}

/// Returns the addresses of `wanted` in a process's writable memory.
pub fn find_in_memory(pid: Pid, wanted: &[u8]) -> Vec<(u64, String)> {
    let memory = fs::File::open(format!("/proc/{}/mem", pid.as_raw_nonzero())).unwrap();
    let mut found = Vec::new();
    for (from, to, lines) in mappings(pid) {
        if lines.split(' ').nth(1).is_none_or(|rights| !rights.starts_with("rw")) {
            continue;
        }

        let mut bytes = vec![0; (to - from) as usize];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found.extend(
                memmem::find_iter(&bytes, wanted).map(|at| (from + at as u64, lines.clone())),
            );
        }
    }

    found
}

/// Returns the root key and the keys of every project.
pub fn keys(path: &Path, passphrase: &Passphrase) -> Vec<(&'static str, [u8; 32])> {
    let root = Locked::open(path).unwrap().root_key(passphrase).unwrap();
    let store = SqliteStore::open(path).unwrap();
    let snapshot = store.read().unwrap();
    let mut keys = vec![("root", *root.expose())];
    for label in ["directory-meta", "directory-value", "directory-index", "owner-sign"] {
        keys.push((label, *root_of(&root, label).expose()));
    }

    let vault = Locked::open(path).unwrap().unlocked(root.copy().unwrap());
    let directory = Directory::new(&root, snapshot.vault().unwrap().vault_id);
    let names: Vec<_> = vault.projects().unwrap().into_iter().map(|(name, _)| name).collect();
    let indexes: Vec<_> = names.iter().map(|name| directory.index(name)).collect();
    let state = directory.read(&*snapshot).unwrap();

    for project in directory.projects(&state, &*snapshot, &indexes).unwrap() {
        let project = project.unwrap();
        let ring = project.ring().unwrap();
        keys.extend([
            ("PMK", *ring.metadata.expose()),
            ("PVK", *ring.values.as_ref().unwrap().expose()),
            ("PRK", *ring.restricted.as_ref().unwrap().expose()),
        ]);
    }

    keys
}

/// Derives a key from the root key.
pub fn root_of(root: &RootKey, label: &str) -> Key {
    Key::copy_of(root.expose()).expand(label, &[])
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Returns the likely forms of a secret: pieces of eight bytes (a hint shows four), hex, base64.
pub fn forms(secret: &str) -> Vec<Vec<u8>> {
    use base64ct::{Base64Unpadded, Encoding};
    let bytes = secret.as_bytes();
    let mut forms: Vec<Vec<u8>> = bytes.windows(8).map(<[u8]>::to_vec).collect();
    let hex = hex(&bytes[8..24]);

    forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);

    // Base64 can start at three different offsets.
    forms.extend((0..3).map(|at| Base64Unpadded::encode_string(&bytes[at..at + 24]).into_bytes()));
    forms.push(bytes.iter().rev().copied().take(16).collect());
    forms
}
