//! Git's data is read without git: no command starts a program that a repository's author chose,
//! and honest repositories of every kind are read as git itself reads them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use terminal_secrets::git::{Git, GitEnvironment, GitError, GitStatus, is_in_git_directory};

use crate::support::{self, PATH, Sandbox, TOKEN};

fn git_in(directory: &Path, home: &Path, arguments: &[&str]) -> Vec<u8> {
    let allowed = [&["-c", "protocol.file.allow=always"], arguments].concat();
    let mut git = support::git(directory, home, &allowed);

    let output = git.output().unwrap();
    let code = output.status.code();

    // `check-ignore` exits with 1 if nothing is ignored.
    assert!(
        matches!(code, Some(0 | 1)),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    output.stdout
}

/// A program that leaves a mark when it runs.
struct Trap {
    program: PathBuf,
    mark: PathBuf,
}

impl Trap {
    fn at(sandbox: &Sandbox, program: &str) -> Self {
        let mark = sandbox.path("it-ran");
        let text = format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\nexit 1\n", mark.display());
        let program = sandbox.write(program, text);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();

        Self { program, mark }
    }

    fn ran(&self) -> bool {
        std::fs::remove_file(&self.mark).is_ok()
    }
}

/// Runs every command that reads git's data in a project's directory, and checks for the mark after
/// each.
fn every_command(sandbox: &Sandbox, directory: &str, trap: &Trap) {
    let manifest = "[[render]]\ntemplate = \"app.tmpl\"\noutput = \"app.env\"\n";
    sandbox
        .write(&format!("{directory}/.secrets.toml"), format!("project = \"default\"\n{manifest}"));
    sandbox.write(&format!("{directory}/app.tmpl"), "A={{ secrets.api-token }}\n");

    let commands: [&[&str]; 13] = [
        &["check"],
        &["setup", "-y"],
        &["render", "--all"],
        &["render", "--stale"],
        &["render", "app.tmpl", "-o", "other"],
        &["refs"],
        &["scan", "."],
        &["scan", "--staged"],
        &["template", ".env", "--all", "-y"],
        &["import", "more.env", "--delete-source"],
        &["update", "api-token", "--generate"],
        &["run", "--", "true"],
        &["list"],
    ];

    for arguments in commands {
        sandbox
            .write(&format!("{directory}/.env"), "KEY=sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6Yc3Hd5Gj0PaS\n");
        sandbox.write(&format!("{directory}/more.env"), "MORE=another-value-that-is-long\n");
        sandbox.trust(&sandbox.path(directory));

        let mut prepared = sandbox.command(arguments);
        prepared.command.current_dir(sandbox.path(directory)).env("PATH", PATH);

        // Other tests check the result. Here the command only has to get as far as looking for a
        // repository.
        let output = prepared.command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some() && !stderr.contains("secrets trust"),
            "{arguments:?}: {stderr}"
        );

        assert!(!trap.ran(), "{arguments:?} ran a program of the repository's author");
    }
}

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN)])
}

#[test]
fn a_committed_bare_repository_starts_nothing() {
    let sandbox = sandbox();
    let sub = sandbox.path("repo/sub");
    std::fs::create_dir_all(&sub).unwrap();
    let home = sandbox.path("");

    git_in(&sandbox.path("repo"), &home, &["init", "-q"]);

    // Create it in place as a repository and then move it out of its `.git`, as an attacker would
    // commit it.
    git_in(&sub, &home, &["init", "-q"]);
    sandbox.write("repo/sub/.gitignore", "x\n");
    git_in(&sub, &home, &["add", ".gitignore"]);
    git_in(&sub, &home, &["update-index", "--skip-worktree", ".gitignore"]);
    std::fs::remove_file(sub.join(".gitignore")).unwrap();
    std::fs::remove_dir_all(sub.join(".git/objects")).unwrap();
    for name in ["objects", "refs", "HEAD", "index"] {
        let _ = std::fs::rename(sub.join(".git").join(name), sub.join(name));
    }

    std::fs::create_dir_all(sub.join("objects")).unwrap();
    std::fs::remove_dir_all(sub.join(".git")).unwrap();
    let trap = Trap::at(&sandbox, "repo/sub/x.sh");
    let config = "[core]\n repositoryFormatVersion = 1\n bare = false\n worktree = .\n[extensions]\n partialClone = o\n\
        [remote \"o\"]\n url = .\n promisor = true\n uploadpack = ./x.sh\n";

    sandbox.write("repo/sub/config", config);

    // Git itself starts the program, so the trap works.
    let mut control = Command::new("git");
    control
        .args(["check-ignore", "y"])
        .current_dir(&sub)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &home);

    control.output().unwrap();
    assert!(trap.ran(), "git must start the program, or this test proves nothing");
    every_command(&sandbox, "repo/sub", &trap);
}

#[test]
fn a_hostile_git_directory_starts_nothing() {
    let sandbox = sandbox();
    let tree = sandbox.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let home = sandbox.path("");

    git_in(&tree, &home, &["init", "-q"]);
    sandbox.write("tree/a", "a");
    sandbox.write("tree/.gitattributes", "* filter=x diff=x merge=x\n");
    git_in(&tree, &home, &["add", "."]);
    git_in(&tree, &home, &["commit", "-q", "-m", "x"]);
    sandbox.write("tree/a", "b");
    git_in(&tree, &home, &["add", "."]);

    let trap = Trap::at(&sandbox, "tree/x.sh");
    let x = trap.program.to_str().unwrap();
    std::fs::create_dir_all(tree.join(".git/hooks")).unwrap();

    for hook in [
        "pre-commit",
        "post-index-change",
        "fsmonitor-watchman",
        "post-checkout",
        "reference-transaction",
    ] {
        std::fs::copy(x, tree.join(".git/hooks").join(hook)).unwrap();
    }

    sandbox.write("tree/.git/more", format!("[core]\n sshCommand = {x}\n"));
    let mut config = String::from_utf8(sandbox.read("tree/.git/config")).unwrap();
    config += &format!(
        "[core]\n fsmonitor = {x}\n hooksPath = .git/hooks\n pager = {x}\n editor = {x}\n askPass = {x}\n gitProxy = {x}\n\
         excludesFile = more\n attributesFile = more\n[filter \"x\"]\n clean = {x}\n smudge = {x}\n process = {x}\n \
         required = true\n[diff]\n external = {x}\n[diff \"x\"]\n command = {x}\n textconv = {x}\n[merge \"x\"]\n \
         driver = {x}\n[credential]\n helper = !{x}\n[gpg]\n program = {x}\n[commit]\n gpgSign = true\n\
         [include]\n path = more\n[remote \"o\"]\n url = ext::{x}\n promisor = true\n uploadpack = {x}\n vcs = {x}\n\
         [protocol]\n allow = always\n[extensions]\n partialClone = o\n[alias]\n diff = !{x}\n ls-files = !{x}\n\
         [uploadpack]\n packObjectsHook = {x}\n[sequence]\n editor = {x}\n[interactive]\n diffFilter = {x}\n"
    );

    sandbox.write("tree/.git/config", config);

    let mut control = Command::new("git");
    control.arg("status").current_dir(&tree).env_clear().env("PATH", PATH).env("HOME", &home);
    control.output().unwrap();
    assert!(trap.ran(), "git must start the program, or this test proves nothing");
    every_command(&sandbox, "tree", &trap);
}

#[test]
fn no_program_named_git_is_started_from_anywhere() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("tree/bin")).unwrap();
    git_in(&sandbox.path("tree"), &sandbox.path(""), &["init", "-q"]);
    let trap = Trap::at(&sandbox, "tree/bin/git");

    sandbox.write(
        "tree/.secrets.toml",
        "project = \"default\"\n[[render]]\ntemplate = \"t\"\noutput = \"o\"\n",
    );

    sandbox.write("tree/t", "{{ secrets.api-token }}");
    let path = format!("{}:.:{PATH}", sandbox.path("tree/bin").display());
    for arguments in [&["check"][..], &["setup", "-y"], &["scan", "--staged"]] {
        sandbox.trust(&sandbox.path("tree"));
        let mut prepared = sandbox.command(arguments);
        prepared.command.current_dir(sandbox.path("tree")).env("PATH", &path).output().unwrap();
        assert!(!trap.ran(), "{arguments:?}");
    }
}

/// A repository, and git's answers about it.
struct World {
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { home: TempDir::new().unwrap() };
        std::fs::create_dir(world.path("r")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn git(&self, arguments: &[&str]) -> Vec<u8> {
        git_in(&self.path("r"), self.home.path(), arguments)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path("r").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn ours(&self, directory: &str) -> Git {
        let environment = GitEnvironment {
            home: Some(self.home.path().to_owned()),
            configs: vec![self.path(".config/git/config"), self.path(".gitconfig")],
            excludes: Some(self.path(".config/git/ignore")),
            ..GitEnvironment::default()
        };

        Git::at(&self.path(directory), environment)
    }

    /// Compares our answers about paths with git's. The paths are relative to a directory.
    fn agree(&self, directory: &str, paths: &[&str]) -> Vec<GitStatus> {
        let there = self.path(directory);
        let expected: Vec<GitStatus> = paths
            .iter()
            .map(|path| {
                let ask = |words: &[&str]| !git_in(&there, self.home.path(), words).is_empty();
                if ask(&["--literal-pathspecs", "ls-files", "--sparse", "-z", "--", path]) {
                    GitStatus::Tracked
                } else if ask(&["check-ignore", "--", path]) {
                    GitStatus::Ignored
                } else {
                    GitStatus::Exposed
                }
            })
            .collect();

        let asked: Vec<&Path> = paths.iter().map(Path::new).collect();
        let found = self.ours(directory).standing(&asked).unwrap();
        for ((path, expected), found) in paths.iter().zip(&expected).zip(&found) {
            assert_eq!(expected, found, "{path} in {directory}");
        }

        found
    }

    /// Compares the paths that we find staged with `git diff --cached`, and every content with `git
    /// cat-file`.
    fn agree_on_staged(&self, directory: &str) -> BTreeSet<PathBuf> {
        let there = self.path(directory);
        let ask = |words: &[&str]| git_in(&there, self.home.path(), words);
        let names = ask(&[
            "diff",
            "--cached",
            "--name-only",
            "--no-renames",
            "-z",
            "--diff-filter=AMT",
            "--ignore-submodules",
        ]);

        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let expected: BTreeSet<PathBuf> =
            names.map(|name| OsStr::from_bytes(name).into()).collect();
        let (found, blobs) = self.ours(directory).staged(&[]).unwrap();

        for file in &found {
            let mut content = Vec::new();
            blobs.open(&file.id).unwrap().read_to_end(&mut content).unwrap();
            assert!(
                content == ask(&["cat-file", "blob", &file.id.to_string()]),
                "{}",
                file.path.display()
            );
        }

        let found: BTreeSet<PathBuf> = found.into_iter().map(|file| file.path).collect();
        assert_eq!(expected, found, "staged in {directory}");
        found
    }
}

#[test]
fn ignore_rules_match_git() {
    let world = World::new();
    world.git(&["init", "-q"]);
    world.write(
        ".gitignore",
        "*.log\n/top\n!kept.log\nbuild/\ndeep/**/x\n\\#odd\nspace\\ \n[a-c]?.txt\n/lit\\*eral\n#no\ncr\r\n",
    );

    world.write("sub/.gitignore", "!a.log\n/only\n*.env\n!keep.env\n");
    world.write("build/.gitignore", "!in\n");
    world.write(".git/info/exclude", "excluded\n!taken.home\n");
    std::fs::create_dir_all(world.path(".config/git")).unwrap();
    std::fs::write(world.path(".config/git/ignore"), "*.home\n").unwrap();
    world.write("tracked.log", "x");
    world.git(&["add", "-f", "tracked.log", ".gitignore"]);

    let paths = [
        "a.log",
        "kept.log",
        "tracked.log",
        "top",
        "sub/top",
        "sub/a.log",
        "sub/b.log",
        "build/in",
        "sub/build/in",
        "deep/x",
        "deep/a/b/x",
        "#odd",
        "#no",
        "space ",
        "aa.txt",
        "dd.txt",
        "lit*eral",
        "literal",
        "excluded",
        "sub/excluded",
        "sub/only",
        "sub/x/only",
        "sub/x.env",
        "sub/keep.env",
        "x.home",
        "taken.home",
        "plain",
        "cr",
        ".gitignore",
        "none/at/all",
    ];

    let found = world.agree("r", &paths);
    assert!(
        found.contains(&GitStatus::Ignored)
            && found.contains(&GitStatus::Exposed)
            && found.contains(&GitStatus::Tracked)
    );

    world.agree("r/sub", &["a.log", "x.env", "keep.env", "x/only", "only"]);

    // The user's own ignore file is named by a configuration that another one includes.
    std::fs::write(world.path(".gitconfig"), "[include]\n path = inc\n").unwrap();
    std::fs::write(world.path("inc"), "[core]\n excludesFile = ~/mine\n").unwrap();
    std::fs::write(world.path("mine"), "*.mine\n").unwrap();
    world.agree("r", &["a.mine", "x.home"]);
    world.git(&["config", "core.ignoreCase", "true"]);
    world.agree("r", &["A.LOG", "TOP"]);

    // With `core.ignoreCase` this is the same file, which `git ls-files` does not report.
    assert_eq!(
        world.ours("r").standing(&[Path::new("Tracked.log")]).unwrap(),
        [GitStatus::Tracked]
    );

    let taken =
        world.ours("r").taken_back(&[Path::new("plain"), Path::new("sub/keep.env")]).unwrap();
    assert_eq!(taken, Some(("sub/keep.env".into(), "sub/.gitignore".into())));
    assert_eq!(world.ours("r/sub").taken_back(&[Path::new("keep.env")]).unwrap(), None);

    // Neither we nor git read a link here.
    std::fs::remove_file(world.path("r/sub/.gitignore")).unwrap();
    std::os::unix::fs::symlink("../.gitignore", world.path("r/sub/.gitignore")).unwrap();
    world.agree("r", &["sub/only", "sub/top", "sub/keep.env"]);
}

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
        .standing(&[Path::new("z/y/3"), Path::new("z/none"), Path::new("a/b/c")])
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

    let nowhere = |directory: &str| world.ours(directory).standing(&[Path::new("x")]).unwrap();

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
        let error = world.ours("r").standing(&[Path::new("x")]).unwrap_err().to_string();
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
