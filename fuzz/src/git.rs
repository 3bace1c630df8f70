//! Files of a repository whose author is a stranger. No file causes a panic, no path leads out of
//! the working tree, and memory is bounded.

use std::fs;
use std::io::Read;
use std::path::Path;

use terminal_secrets::git::{
    Git, GitEnvironment, Hash, apply_delta, config_values, tree_entries, visit_entries,
};

/// Runs the target. The first byte selects the kind of file.
pub fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 5 {
        0 => config(data),
        1 => index(data, if kind & 128 == 0 { Hash::Sha1 } else { Hash::Sha256 }),
        2 => tree(data),
        3 => delta(data),
        _ => pack(data),
    }
}

fn config(data: &[u8]) {
    for (key, value) in config_values(data) {
        let (section, name) = key.split_once('.').expect("a key has a section");
        let is_plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };

        assert!(is_plain(section) && is_plain(name) && key == key.to_ascii_lowercase(), "`{key}`");
        assert!(value.len() <= data.len().max(4), "a value is longer than the file");
    }
}

/// Parses an index. Two bytes give the length of the shared index of a split index, which comes
/// first.
fn index(data: &[u8], hash: Hash) {
    let Some((length, data)) = data.split_at_checked(2) else { return };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]])).min(data.len());
    let (shared, own) = data.split_at(length);
    let mut seen = 0;
    let _ = visit_entries(own, (length > 0).then_some(shared), hash, &mut |entry| {
        seen += 1;
        let path = entry.path.strip_suffix(b"/").unwrap_or(entry.path);
        assert!(path.len() <= 4096);

        for name in path.split(|byte| *byte == b'/') {
            assert!(
                !name.is_empty()
                    && name != b"."
                    && name != b".."
                    && !name.eq_ignore_ascii_case(b".git")
            );
        }
    });

    assert!(seen <= data.len() / 60, "more entries than fit");
}

fn tree(data: &[u8]) {
    for name in tree_entries(data, Hash::Sha1).unwrap_or_default().keys() {
        assert!(!name.is_empty() && name != b".." && !name.contains(&b'/') && !name.contains(&0));
    }
}

/// Applies a delta. The input is a length byte, the base and the delta.
fn delta(data: &[u8]) {
    let Some((&length, data)) = data.split_first() else { return };
    let (base, delta) = data.split_at(usize::from(length).min(data.len()));

    // A copy instruction of at most eight bytes copies at most the whole base.
    let most = delta.len() * base.len().max(1);
    assert!(apply_delta(base, delta).is_none_or(|content| content.len() <= most));
}

/// Reads four objects from a pack. The input starts with their four offsets in the pack.
fn pack(data: &[u8]) {
    thread_local! {
        static REPOSITORY: tempfile::TempDir = repository();
    }

    let Some((offsets, data)) = data.split_at_checked(8) else { return };
    REPOSITORY.with(|directory| {
        let packs = directory.path().join(".git/objects/pack");
        let mut index = b"\xfftOc\0\0\0\x02".to_vec();
        for first in 0..=255_u32 {
            index.extend(if first < 0x10 { 0_u32 } else { (first - 0x0f).min(4) }.to_be_bytes());
        }

        (0..4).for_each(|n| index.extend([0x10 + n; 20]));
        index.extend([0; 16]);
        offsets.chunks_exact(2).for_each(|two| index.extend([0, 0, two[0], two[1]]));
        fs::write(packs.join("p.idx"), index).expect("it can be written");
        fs::write(packs.join("p.pack"), data).expect("it can be written");

        let git = Git::at(directory.path(), GitEnvironment::default());
        let (files, blobs) = git.staged(&[]).expect("the repository itself is sound");
        assert_eq!(files.len(), 4);

        for file in files {
            let Ok(content) = blobs.open(&file.id) else { continue };
            let mut read = Vec::new();
            let _ = content.take(1024 * 1024).read_to_end(&mut read);
        }
    });
}

/// Creates a repository without a commit whose index has four files.
fn repository() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let at = |name: &str| Path::join(directory.path(), name);
    fs::create_dir_all(at(".git/objects/pack")).expect("it can be made");
    fs::create_dir_all(at(".git/refs")).expect("it can be made");
    fs::write(at(".git/HEAD"), "ref: refs/heads/main\n").expect("it can be written");

    let mut index = b"DIRC\0\0\0\x02\0\0\0\x04".to_vec();
    for n in 0..4_u8 {
        index.extend([0; 24]);
        index.extend(0o100_644_u32.to_be_bytes());
        index.extend([0; 12]);
        index.extend([0x10 + n; 20]);

        // A name of one letter, padded to a multiple of eight bytes.
        index.extend([0, 1, b'a' + n, 0]);
    }

    index.extend([0; 20]);
    fs::write(at(".git/index"), index).expect("it can be written");
    directory
}
