//! Ignore rules match git.

use std::path::Path;

use terminal_secrets::git::GitStatus;

use super::World;

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
        world.ours("r").statuses(&[Path::new("Tracked.log")]).unwrap(),
        [GitStatus::Tracked]
    );

    let taken =
        world.ours("r").reincluded(&[Path::new("plain"), Path::new("sub/keep.env")]).unwrap();
    assert_eq!(taken, Some(("sub/keep.env".into(), "sub/.gitignore".into())));
    assert_eq!(world.ours("r/sub").reincluded(&[Path::new("keep.env")]).unwrap(), None);

    // Neither we nor git read a link here.
    std::fs::remove_file(world.path("r/sub/.gitignore")).unwrap();
    std::os::unix::fs::symlink("../.gitignore", world.path("r/sub/.gitignore")).unwrap();
    world.agree("r", &["sub/only", "sub/top", "sub/keep.env"]);
}
