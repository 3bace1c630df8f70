//! The index, objects and references are read in every form that git writes, and a hostile one is
//! an error.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use terminal_secrets::git::{GitError, GitStatus, is_in_git_directory};

use super::{World, git_in};

/// Writes directories, names whose order matters, a link and an executable. Stages a changed, an
/// added and a removed file, and a changed mode.
fn fill(world: &World, objects: &str, arguments: &[&str]) {
    world.git(&[&["init", "-q", objects], arguments].concat());
    let lines: Vec<String> = (0..400).map(|line| line.to_string()).collect();
    let body = lines.join(" is the number of a line\n") + "\n";
    for name in ["a", "a.b", "a-b/c", "a/b/c", "z/1", "z/2", "z/y/3", "gone", "mode"] {
        let name = if name == "a" { "a0" } else { name };
        world.write(name, format!("{name}\n{body}"));
    }

    std::os::unix::fs::symlink("a0", world.path("r/link")).unwrap();
    world.git(&["add", "."]);
    world.git(&["commit", "-q", "-m", "one"]);
    for name in ["a0", "z/y/3", "a/b/c"] {
        world.write(name, format!("{name}\n{body}another line\n"));
    }

    world.write("z/new", format!("{body}new\n"));
    world.git(&["add", "."]);
    world.git(&["rm", "-q", "gone"]);
    world.git(&["update-index", "--chmod=+x", "mode"]);
}

const STAGED: [&str; 5] = ["a/b/c", "a0", "mode", "z/new", "z/y/3"];

fn agrees(world: &World, directory: &str) {
    let found = world.agree_on_staged(directory);
    assert_eq!(found, STAGED.iter().map(PathBuf::from).collect());
    world.agree(directory, &["a0", "a/b/c", "z/y/3", "z/new", "gone", "link", "other"]);
}

#[test]
fn an_index_is_read_in_every_version_and_form() {
    let world = World::new();
    fill(&world, "--object-format=sha1", &[]);
    agrees(&world, "r");

    for version in ["4", "3", "2"] {
        world.git(&["update-index", "--index-version", version]);
        world.write("later", "x");
        world.git(&["add", "-N", "later"]);
        agrees(&world, "r");
        world.git(&["rm", "-q", "--cached", "later"]);
    }

    // The index is split in two, with replaced, added and deleted entries.
    world.git(&["update-index", "--split-index"]);
    agrees(&world, "r");
    world.write("z/1", "changed");
    world.write("y", "added");
    world.git(&[
        "-c",
        "core.splitIndex=true",
        "-c",
        "splitIndex.maxPercentChange=100",
        "add",
        "z/1",
        "y",
    ]);

    world.git(&[
        "-c",
        "core.splitIndex=true",
        "-c",
        "splitIndex.maxPercentChange=100",
        "rm",
        "-q",
        "--cached",
        "z/2",
    ]);

    let found = world.agree_on_staged("r");
    assert!(
        found.contains(Path::new("z/1")) && found.contains(Path::new("y")) && found.len() == 7,
        "{found:?}"
    );

    world.agree("r", &["z/1", "z/2", "y", "a0"]);
}

#[test]
fn a_sparse_index_is_read() {
    let world = World::new();
    fill(&world, "--object-format=sha1", &[]);
    world.git(&["commit", "-q", "-m", "two"]);
    world.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "a"]);

    let listed = world.git(&["ls-files", "--sparse"]);
    assert!(listed.windows(3).any(|name| name == b"\nz/"), "the index is sparse");
    let found = world
        .ours("r")
        .statuses(&[Path::new("z/y/3"), Path::new("z/none"), Path::new("a/b/c")])
        .unwrap();

    assert_eq!(found, [GitStatus::Tracked, GitStatus::Exposed, GitStatus::Tracked]);
    assert_eq!(world.agree_on_staged("r"), BTreeSet::new());

    // Compared with another commit, the files in the excluded directories count.
    world.git(&["reset", "-q", "--soft", "HEAD~"]);
    assert_eq!(world.agree_on_staged("r"), STAGED.iter().map(PathBuf::from).collect());
}

#[test]
fn loose_packed_and_borrowed_objects_are_read() {
    for format in ["--object-format=sha1", "--object-format=sha256"] {
        let world = World::new();
        fill(&world, format, &[]);
        agrees(&world, "r");

        // Everything is packed, including staged files. Versions of one file are stored as deltas.
        world.git(&["repack", "-q", "-a", "-d", "-f", "--depth=50"]);
        world.git(&["prune-packed", "-q"]);
        world.git(&["pack-refs", "--all"]);
        let commit = world.git(&["write-tree"]);
        let tree = String::from_utf8(commit).unwrap();
        let kept = world.git(&["commit-tree", tree.trim(), "-m", "keeps what is staged"]);

        world.git(&["update-ref", "refs/keep/staged", String::from_utf8(kept).unwrap().trim()]);
        world.git(&["repack", "-q", "-a", "-d", "-f"]);
        let differences = world.git(&["verify-pack", "-v", &pack(&world)]);
        assert!(
            String::from_utf8(differences).unwrap().contains("chain length"),
            "{format}: the pack must contain a delta"
        );

        agrees(&world, "r");

        // A clone borrows all objects.
        git_in(world.home.path(), world.home.path(), &["clone", "-q", "--shared", "r", "shared"]);
        std::fs::write(world.path("shared/a0"), "changed").unwrap();
        git_in(&world.path("shared"), world.home.path(), &["add", "a0"]);
        assert_eq!(world.agree_on_staged("shared"), ["a0".into()].into());
    }
}

/// Returns the index of the only pack.
fn pack(world: &World) -> String {
    let mut packs = std::fs::read_dir(world.path("r/.git/objects/pack")).unwrap().flatten();
    let found = packs
        .find(|entry| entry.path().extension().is_some_and(|extension| extension == "idx"))
        .unwrap();

    found.path().to_str().unwrap().to_owned()
}

#[test]
fn working_trees_submodules_and_separate_directories_are_read() {
    let world = World::new();
    fill(&world, "--object-format=sha1", &[]);
    world.git(&["worktree", "add", "-q", "../tree"]);
    std::fs::write(world.path("tree/a0"), "changed there").unwrap();
    git_in(&world.path("tree"), world.home.path(), &["add", "a0"]);
    assert_eq!(world.agree_on_staged("tree"), ["a0".into()].into());
    assert_eq!(world.agree_on_staged("tree/a"), ["a0".into()].into());
    world.agree("tree", &["a0", "none"]);

    git_in(world.home.path(), world.home.path(), &["init", "-q", "outer"]);
    let outer = world.path("outer");
    git_in(&outer, world.home.path(), &["submodule", "--quiet", "add", "../r", "module"]);
    std::fs::write(world.path("outer/module/fresh"), "x").unwrap();
    git_in(&world.path("outer/module"), world.home.path(), &["add", "fresh"]);
    assert_eq!(world.agree_on_staged("outer/module"), ["fresh".into()].into());
    world.agree("outer/module", &["a0", "fresh", "none"]);
    assert_eq!(world.agree_on_staged("outer"), [".gitmodules".into()].into());

    // A git directory in another place, a detached head, and a working tree that the configuration
    // names.
    git_in(
        world.home.path(),
        world.home.path(),
        &["clone", "-q", "--separate-git-dir=store", "r", "apart"],
    );

    git_in(&world.path("apart"), world.home.path(), &["checkout", "-q", "--detach"]);
    std::fs::write(world.path("apart/z/1"), "x").unwrap();
    git_in(&world.path("apart"), world.home.path(), &["add", "z/1"]);
    assert_eq!(world.agree_on_staged("apart"), ["z/1".into()].into());
    world.agree("apart", &["z/1", "none"]);

    let nowhere = |directory: &str| world.ours(directory).statuses(&[Path::new("x")]).unwrap();

    // Paths in a git directory, in a bare repository, and outside of any repository.
    git_in(world.home.path(), world.home.path(), &["init", "-q", "--bare", "bare"]);
    for directory in ["r/.git", "r/.git/hooks", "bare", "store"] {
        assert_eq!(nowhere(directory), [GitStatus::NoRepository], "{directory}");
    }

    assert!(matches!(world.ours("bare").staged(&[]), Err(GitError::NoRepository(_))));
}

#[test]
fn with_reftables_everything_counts_as_staged() {
    let world = World::new();
    fill(&world, "--ref-format=reftable", &[]);
    let (found, _) = world.ours("r").staged(&[]).unwrap();
    let found: BTreeSet<PathBuf> = found.into_iter().map(|file| file.path).collect();

    assert!(
        STAGED.iter().all(|name| found.contains(Path::new(name)))
            && found.contains(Path::new("a.b"))
    );

    world.agree("r", &["a0", "none"]);
}

#[test]
fn a_hostile_repository_is_an_error_and_never_hangs() {
    let world = World::new();
    fill(&world, "--object-format=sha1", &[]);
    let index = std::fs::read(world.path("r/.git/index")).unwrap();
    let set = |bytes: &[u8]| std::fs::write(world.path("r/.git/index"), bytes).unwrap();
    let fails = |text: &str| {
        let error = world.ours("r").statuses(&[Path::new("x")]).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };

    for length in [4, 11, 100, index.len() / 2] {
        set(&index[..length]);
        fails("it is truncated");
    }

    set(&index.iter().map(|byte| if *byte == b'l' { b'/' } else { *byte }).collect::<Vec<_>>());
    fails("git");
    let at = index.windows(2).position(|name| name == b"a0").unwrap();
    let mut outside = index.clone();

    outside[at..at + 2].copy_from_slice(b"..");
    set(&outside);
    fails("it contains a path that git refuses");
    std::fs::remove_file(world.path("r/.git/index")).unwrap();
    assert!(Command::new("mkfifo").arg(world.path("r/.git/index")).status().unwrap().success());
    fails("it is not a regular file");
    std::fs::remove_file(world.path("r/.git/index")).unwrap();

    // Deltas that form a cycle, a head that leads out, an object of an unknown kind.
    set(&index);
    world.write(".git/HEAD", "ref: refs/../../../outside\n");
    let error = world.ours("r").staged(&[]).err().unwrap();
    assert!(error.to_string().contains("it names no branch"), "{error}");
    world.write(".git/HEAD", "ref: HEAD\n");
    assert!(world.ours("r").staged(&[]).is_err());
}

#[test]
fn a_git_directory_is_recognized_under_any_name() {
    let world = World::new();
    world.git(&["init", "-q"]);
    world.write("sub/x", "");
    git_in(world.home.path(), world.home.path(), &["init", "-q", "--bare", "r/store"]);
    git_in(
        world.home.path(),
        world.home.path(),
        &["init", "-q", "--separate-git-dir=r/other", "apart"],
    );

    world.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
    world.git(&["worktree", "add", "-q", "../tree"]);

    // Some people keep several working trees in a bare repository's directory.
    git_in(
        &world.path("r/store"),
        world.home.path(),
        &["fetch", "-q", "..", "HEAD:refs/heads/main"],
    );

    git_in(&world.path("r/store"), world.home.path(), &["worktree", "add", "-q", "main"]);
    let real = world.home.path().canonicalize().unwrap();
    let is = |path: &str| is_in_git_directory(&real.join(path));

    for path in [
        "r/.git/config",
        "r/.GIT/x",
        "r/store/hooks/x",
        "r/store/config",
        "r/other/x",
        "r/.git/worktrees/tree/HEAD",
    ] {
        assert!(is(path), "{path}");
    }

    for path in ["r/sub/x", "r/x", "r/store/main/x", "tree/x", "apart/x", "x"] {
        assert!(!is(path), "{path}");
    }

    // A `.git` file names this git directory.
    std::fs::create_dir_all(world.path("late/kept")).unwrap();
    std::fs::write(world.path("late/.git"), "gitdir: kept\n").unwrap();
    assert!(is("late/kept/config") && !is("late/other"));
}
