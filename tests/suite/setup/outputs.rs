//! All outputs are written or none is started, and outdated ones are reported and updated.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::support::faults::Small;
use crate::support::files::names;
use crate::support::programs::environment;
use crate::support::repository::{MARKER, Project, differences};

// `render --all`

/// Runs with a second output that cannot be written, and asserts that the first stays unchanged.
#[track_caller]
fn writes_nothing(project: &Project, code: i32, text: &str) {
    for command in [&["render", "--all"][..], &["render", "--stale"], &["setup", "--yes"]] {
        let before = (project.files(), project.secrets());
        let run = project.run(command);
        let after = (project.files(), project.secrets());
        assert_eq!(before, after, "{command:?}");

        let code = if command[0] == "setup" && text.contains("does not exist") { 3 } else { code };
        let text = if command[0] == "setup" && code == 3 { "is missing" } else { text };
        run.fails_with(code).stdout("").stderr_has(text);
    }
}

#[test]
fn all_outputs_are_written_or_none_is_started() {
    let second = "[[render]]\ntemplate = \"second\"\noutput = \"two\"\n";
    let make = |second: &str| {
        let first = "[[render]]\ntemplate = \"first\"\noutput = \"one\"\n";
        let third = "[[render]]\ntemplate = \"first\"\noutput = \"three\"\n";
        let project = Project::new(&[
            (".secrets.toml", &format!("{first}{second}{third}")),
            ("first", "{{ secrets.key }}"),
            ("second", "{{ secrets.key }}"),
            ("one", "old"),
        ]);

        project.store("default", "key", MARKER);
        project
    };

    let at = |output: &str| second.replace("two", output);

    let project = make(second);
    project.write("second", "{{ secrets.kay }}");
    writes_nothing(&project, 3, "does not exist");
    let project = make(second);

    project.write("second", "x\n{{ secrets.key | nothing }}");
    writes_nothing(&project, 2, "second:2:1");
    let project = make(second);
    fs::remove_file(project.path("second")).unwrap();
    writes_nothing(&project, 1, "`second`");

    let project = make(second);
    symlink("elsewhere", project.path("two")).unwrap();
    writes_nothing(&project, 7, "error: `two` is a symbolic link");
    let project = make(second);

    fs::create_dir(project.path("two")).unwrap();
    writes_nothing(&project, 7, "error: `two` is a directory");
    let project = make(second);
    project.write("two", "x");
    fs::hard_link(project.path("two"), project.path("name")).unwrap();
    writes_nothing(&project, 7, "error: `two` has several names");

    let project = make(&at("first/two"));
    writes_nothing(&project, 1, "first");
    let project = make(&at("one/two"));
    writes_nothing(&project, 2, "4:1: the output `one/two` is inside the output `one`");

    let project = make(&at("three/two"));
    writes_nothing(&project, 2, "7:1: another output is inside the output `three`");

    let project = make(&at("out/two"));
    symlink("..", project.path("out")).unwrap();
    writes_nothing(&project, 7, "error: `out/two` leads outside the directory of `.secrets.toml`");
    let project = make(&at("link/one"));

    symlink(".", project.path("link")).unwrap();
    writes_nothing(&project, 7, "error: `link/one` is also another output, through a link");
    let project = make(&at("link/hooks/x"));
    fs::create_dir(project.path(".git")).unwrap();
    symlink(".git", project.path("link")).unwrap();
    writes_nothing(&project, 7, "error: `link/hooks/x` is inside a git directory");

    // A committed repository with another name, and a template that is a link into it.
    let bare = |project: &Project| {
        fs::create_dir_all(project.path("store/objects")).unwrap();
        fs::create_dir_all(project.path("store/refs")).unwrap();
        project.write("store/HEAD", "ref: refs/heads/main\n");
        project.write("store/config", "url = https://user:password@example.org\n");
    };

    let project = make(&at("store/hooks/pre-commit"));
    bare(&project);
    writes_nothing(&project, 7, "error: `store/hooks/pre-commit` is inside a git directory");
    let project = make(&at("link/config"));

    bare(&project);
    symlink("store", project.path("link")).unwrap();
    writes_nothing(&project, 7, "error: `link/config` is inside a git directory");

    for (directory, target) in [("store", "store/config"), (".git", ".git/config")] {
        let project = make(second);
        bare(&project);
        if directory == ".git" {
            fs::rename(project.path("store"), project.path(".git")).unwrap();
        }

        fs::remove_file(project.path("second")).unwrap();
        symlink(target, project.path("second")).unwrap();
        writes_nothing(&project, 7, "error: `second` is inside a git directory");
    }

    // A template that leads elsewhere, or never ends.
    for (elsewhere, text) in
        [("../vault.db", "`second` leads out"), ("/dev/zero", "`second` leads out")]
    {
        let project = make(second);
        fs::remove_file(project.path("second")).unwrap();
        symlink(elsewhere, project.path("second")).unwrap();
        writes_nothing(&project, 7, text);
    }

    let project = make(second);
    fs::remove_file(project.path("second")).unwrap();
    assert!(Command::new("mkfifo").arg(project.path("second")).status().unwrap().success());
    writes_nothing(&project, 1, "cannot read `second`: it is not a regular file");
    stderr!(project.run(&["refs", "-q"]).fails_with(1).stdout("first:1:1: key\n"), @"
    warning: cannot read `second`: it is not a regular file
    error: 1 file could not be searched
    ");
}

#[test]
fn a_full_disk_leaves_every_output_unchanged() {
    let project = Project::new(&[
        ("first", "{{ secrets.key }}"),
        ("second", &"x{{ secrets.key }}".repeat(100_000)),
    ]);

    let manifest = "[[render]]\ntemplate = \"first\"\noutput = \"small/one\"\n\
        [[render]]\ntemplate = \"second\"\noutput = \"small/two\"\n";
    project.write(".secrets.toml", manifest);
    project.store("default", "key", MARKER);

    let Some(small) = Small::mounted(project.path("small")) else { return };
    project.write("small/one", "old");
    let output = project.changes_nothing(&["render", "--all", "--yes"]).fails_with(1);
    stderr!(output, @"error: cannot write `small/two`: No space left on device");
    assert_eq!(names(&project.path("small")), ["one"]);
    drop(small);
}

#[test]
fn render_all_check_and_stale_report_and_update_outdated_outputs() {
    let manifest = "[[render]]\ntemplate = \"t\"\noutput = \"a\"\n[[render]]\ntemplate = \"t\"\noutput = \"b\"\nescape = \"base64\"\n\
        [[render]]\ntemplate = \"u\"\noutput = \"c/c\"\ndelimiters = \"[[,]]\"\nmode = \"644\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        ("t", "{{ secrets.key }}"),
        ("u", "[[KEY]] {{ secrets.key }}"),
    ]);

    project.store("default", "key", MARKER);
    stderr!(project.changes_nothing(&["render", "--all", "--check"]).fails_with(8).stdout(""), @"
    error: 3 outputs are out of date
      a
      b
      c/c
    hint: render outdated outputs with `secrets render --stale`
    ");

    stderr!(project.run(&["render", "--all"]).succeeds().stdout(""), @"
    wrote `a`
    wrote `b`
    wrote `c/c`
    ");

    assert_eq!(
        (project.read("a"), project.read("c/c")),
        (MARKER.into(), format!("{MARKER} {{{{ secrets.key }}}}"))
    );

    project.changes_nothing(&["render", "--all", "--check"]).succeeds().stderr("");
    stderr!(project.changes_nothing(&["render", "--stale"]).succeeds(), @"every output is up to date");
    project.changes_nothing(&["render", "--all", "-q"]).succeeds();
    fs::set_permissions(project.path("a"), fs::Permissions::from_mode(0o640)).unwrap();

    let run = project.changes_nothing(&["render", "--all", "--check"]).fails_with(8);
    stderr!(run, @"
    error: `a` has mode 640, which allows too much access
    hint: render outdated outputs with `secrets render --stale`
    ");

    project.write("b", "x");
    let output = project.changes_nothing(&["render", "--stale"]).fails_with(7);
    stderr!(output, @"
    error: `b` was changed after it was rendered
    hint: use `--yes` to replace it; nothing was written
    ");

    let before = project.files();
    let output = project.run(&["render", "--stale", "--yes"]).succeeds();
    stderr!(output, @"
    changed the mode of `a`, which is up to date
    wrote `b`
    ");

    let after = project.files();
    assert_eq!(
        differences(&before, &after),
        [project.path("a"), project.path("b"), project.path("a"), project.path("b")]
    );

    // Run it in another directory of the same project.
    fs::create_dir(project.path("deep")).unwrap();
    let run =
        project.command(&["render", "--all", "--json"]).current_dir(project.path("deep")).run();
    let outputs = run.without(MARKER).succeeds().json()["outputs"].to_string();
    assert!(outputs.contains(r#"{"output":"../c/c","state":"current"}"#), "{outputs}");
}

/// A template decides how often a value appears. That must not decide how much memory the program
/// needs.
#[test]
fn a_dotenv_template_of_many_large_values_is_rendered_in_little_memory() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"t\"\noutput = \"a.env\"\n";
    let template: Vec<String> =
        (0..200).map(|n| format!("A{n}={{{{ secrets.large }}}}\n")).collect();
    let project = Project::new(&[(".secrets.toml", manifest), ("t", &template.concat())]);
    project.store("web", "large", &"x".repeat(1 << 20));
    project.0.trust(&project.path(""));

    let limited = format!("ulimit -v 400000; exec {} render --all", env!("CARGO_BIN_EXE_secrets"));
    let command = project.command(&[]).command;
    let output = Command::new("sh")
        .args(["-c", &limited])
        .current_dir(project.path(""))
        .env_clear()
        .envs(environment(&command))
        .output()
        .unwrap();

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), "wrote `a.env`\n"));
    assert!(fs::metadata(project.path("a.env")).unwrap().len() > 200 << 20);
}
