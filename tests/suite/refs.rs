//! `refs` lists every place that names a secret, and nothing else.

use std::os::unix::fs::symlink;

use crate::support::Sandbox;
use crate::support::repository::{MARKER, Project};

#[test]
fn exactly_the_placeholders_are_found_with_their_positions() {
    let project = Project::new(&[
        ("a.txt", "{{ secrets.one }}{{TWO}}\r\n  {{secrets.one|json | url}}\n"),
        (".hidden/b", "\u{feff}{{ secrets.THREE }}"),
        ("long", &format!("{}{{{{ secrets.one }}}}", "é".repeat(10_000))),
        (
            "not",
            "\\{{ secrets.x }} ${{ secrets.x }} {{ secrets. }} {{ secrets.x | nothing }} {{ lower }} {{ .Values.X }} {{ X Y }}",
        ),
        ("braces", "{{{ONE}}} {{{{ secrets.one }}}}"),
        (".gitignore", "ignored\n"),
        ("ignored", "{{ secrets.ignored }}"),
        (".ignore", "seen\n"),
        ("seen", "{{ secrets.one }}"),
        (".git/config", "{{ secrets.git }}"),
    ]);

    project.write("binary", b"{{ secrets.binary }}\0");
    project.write("latin", b"\xe9 {{ secrets.latin }}");
    project.write("late", [&b"x".repeat(8000)[..], b"\0{{ secrets.late }}"].concat());
    symlink("a.txt", project.path("link")).unwrap();
    symlink("/etc", project.path("etc")).unwrap();

    let all = ".hidden/b:1:4: THREE\na.txt:1:1: one\na.txt:1:18: TWO\na.txt:2:3: one | json | url\nbraces:1:2: ONE\n\
        braces:1:13: one\nlate:1:8002: late\nlatin:1:3: latin\nlong:1:20001: one\nseen:1:1: one\n";

    // Neither a passphrase nor a vault is needed.
    let run = |arguments: &[&str]| {
        project
            .command(arguments)
            .without_env("SECRETS_PASSPHRASE")
            .env("SECRETS_VAULT", "/nowhere")
            .run()
    };

    run(&["refs"]).succeeds().stdout(all);
    let of_one: String =
        all.split_inclusive('\n').filter(|line| line.to_lowercase().contains(": one")).collect();
    run(&["refs", "One"]).succeeds().stdout(of_one);
    stderr!(run(&["refs", "four"]).succeeds().stdout(""), @"no place refers to `four` in 11 files");

    let json = run(&["refs", "two", "--json"]).succeeds().json();
    let expected = r#"{"files":11,"references":[{"column":18,"file":"a.txt","filters":[],"kind":"placeholder","line":1,"tag":"TWO"}]}"#;
    assert_eq!(json.to_string(), expected);

    // Without a manifest, the working directory's tree is searched.
    let below = project.command(&["refs"]).current_dir(project.path(".hidden")).run();
    below.succeeds().stdout("b:1:4: THREE\n");
}

#[test]
fn the_manifest_and_its_templates_are_read_by_their_own_rules() {
    let manifest = "project = \"web\" # {{ secrets.comment }}\n[secrets.key]\ndescription = \"not {{ secrets.prose }}\"\n\
        secrets.\"Other\".optional = true\n";
    let project = Project::new(&[
        (
            ".secrets.toml",
            &manifest.replace("secrets.\"Other\".optional", "[secrets.Other]\noptional"),
        ),
        ("t", "[[ secrets.key ]] {{ secrets.braces }}"),
        ("deep/x", "{{KEY}}"),
        ("namespaced", "{{ secrets.key }} {{BARE}}"),
        (".gitignore", "t\nnamespaced\n"),
    ]);

    let more = "[[render]]\ntemplate = \"t\"\noutput = \"o\"\ndelimiters = \"[[,]]\"\n\
        [[render]]\ntemplate = \"namespaced\"\noutput = \"p\"\nnamespaced = true\n\
        [[render]]\ntemplate = \"t\"\noutput = \"q\"\n\
        [run.env]\nA = \"x{{ secrets.key | json }}{{KEY}}\"\nB = 'y {{OTHER}}'\nC = \"\\\"{{KEY}}\"\nD = \"\"\"\n{{KEY}}\"\"\"\n";

    let text = project.read(".secrets.toml") + more;
    project.write(".secrets.toml", text);
    let expected = ".secrets.toml:2:10: key (declared)\n.secrets.toml:4:10: Other (declared)\n\
        .secrets.toml:18:7: key | json\n.secrets.toml:18:31: KEY\n.secrets.toml:19:8: OTHER\n\
        .secrets.toml:20:5: KEY\n.secrets.toml:21:5: KEY\ndeep/x:1:1: KEY\nnamespaced:1:1: key\nt:1:1: key\nt:1:19: braces\n";

    project.run(&["refs"]).succeeds().stdout(expected);

    // A subdirectory shows the manifest's whole tree, with paths relative to the subdirectory.
    let below = project.command(&["refs", "key"]).current_dir(project.path("deep")).run();
    let from_below: Vec<String> = expected
        .lines()
        .filter(|line| line.to_lowercase().contains(": key"))
        .map(|line| format!("../{line}\n"))
        .collect();

    let from_below = from_below.concat();
    below.succeeds().stdout(from_below);
}

#[test]
fn an_id_is_looked_up_and_needs_the_vault() {
    let project =
        Project::new(&[(".secrets.toml", "project = \"web\"\n"), ("a", "{{ secrets.key }}")]);
    project.store("web", "KEY", MARKER);
    project.store("other", "key", MARKER);
    let all = project.0.vault().list(None, |_| true).unwrap();
    let id = |name: &str| {
        all.iter().find(|secret| secret.project.as_str() == name).unwrap().id.to_string()
    };

    project.run(&["refs", &id("web")]).succeeds().stdout("a:1:1: key\n");

    // Another project's secret with the same tag is not what the tree refers to.
    let none = format!("no place refers to `{}` in 2 files\n", id("other"));
    project.run(&["refs", &id("other")]).succeeds().stdout("").stderr(&none);
    stderr!(project.run(&["refs", "se0123456789abcdef"]).fails_with(3).stdout(""), @"
    error: no secret `se0123456789abcdef` in any project
    hint: `secrets list --all-projects` shows every secret
    ");

    let locked = project
        .command(&["refs", &id("web")])
        .without_env("SECRETS_PASSPHRASE")
        .run()
        .fails_with(5);

    stderr!(locked.stdout(""), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");
}

#[test]
fn file_names_cannot_control_the_terminal() {
    let project = Project::new(&[("a\u{1b}[31m\nb\u{202e}", "{{KEY}}")]);
    project.run(&["refs"]).succeeds().stdout("a\\u{1b}[31m\\nb\\u{202e}:1:1: KEY\n");
    let json = project.run(&["refs", "--json"]).succeeds().json();
    assert_eq!(json["references"][0]["file"], "a\u{1b}[31m\nb\u{202e}");
}

/// In a repository with several projects, each one has its own manifest.
#[test]
fn a_directory_with_its_own_manifest_is_another_tree() {
    let sandbox = Sandbox::with_secrets(&[("key", "a value of some length")]);
    for directory in ["api/deep", "web"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }

    sandbox.write(".secrets.toml", "project = \"default\"\n");
    sandbox.write("web/a.tmpl", "{{ secrets.key }}");
    sandbox.write("api/.secrets.toml", "project = \"api\"\n[secrets.key]\n");
    sandbox.write("api/deep/b.tmpl", "{{ secrets.key }}");
    sandbox.run(["refs"]).succeeds().stdout("web/a.tmpl:1:1: key\n");

    let below = sandbox.command(["refs"]).current_dir(sandbox.path("api/deep")).run();
    below.succeeds().stdout("../.secrets.toml:2:10: key (declared)\n../deep/b.tmpl:1:1: key\n");
    std::fs::remove_file(sandbox.path("web/a.tmpl")).unwrap();
    stderr!(sandbox.run(["delete", "key", "--yes"]).succeeds(), @"deleted `key` of project `default`");
}

#[test]
fn endless_ignore_files_are_not_read() {
    let project = Project::new(&[
        (".gitignore", "ignored\n"),
        ("a.txt", "{{ secrets.one }}"),
        ("ignored", "{{ secrets.ignored }}"),
        ("lib/deep/b.txt", "{{ secrets.two }}"),
        ("lib/deep/c/d.txt", "{{ secrets.three }}"),
        ("other/.git/info/x", "{{ secrets.git }}"),
        ("other/e.txt", "{{ secrets.four }}"),
    ]);

    symlink("/dev/zero", project.path("lib/deep/.gitignore")).unwrap();
    symlink("/dev/zero", project.path("lib/deep/c/.gitignore")).unwrap();
    symlink("/dev/zero", project.path("other/.git/.gitignore")).unwrap();
    let fifo = project.path("other/.git/info/exclude");

    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());

    // A working tree names a git directory, whose `commondir` file names the main one. The path is
    // relative to the current directory if it does not start with a dot.
    project.write("part/commondir", "whole\n");
    std::fs::create_dir_all(project.path("whole/info")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(project.path("whole/info/exclude"))
            .status()
            .unwrap()
            .success()
    );

    project.write("linked/.git", "gitdir: part\n");
    project.write("linked/f.txt", "{{ secrets.five }}");

    // git does not follow such a link either.
    let found = "a.txt:1:1: one\nlib/deep/b.txt:1:1: two\nlib/deep/c/d.txt:1:1: three\nlinked/f.txt:1:1: five\n\
                 other/e.txt:1:1: four\n";
    project.run(&["refs"]).succeeds().stdout(found);
    project.store("web", "key", MARKER);
    project.write("lib/deep/b.txt", MARKER);

    let output = project
        .command(&["-p", "web", "scan", "."])
        .run()
        .fails_with(8)
        .stdout_has("lib/deep/b.txt");

    stderr!(output, @"
    error: 1 value in 9 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // From the root directory, everything is searched.
    std::fs::remove_file(project.path(".gitignore")).unwrap();
    symlink("/dev/zero", project.path(".gitignore")).unwrap();
    project.run(&["refs", "ignored"]).succeeds().stdout("ignored:1:1: ignored\n");
    let scanned = project.command(&["-p", "web", "scan", "lib"]).run().fails_with(8);

    stderr!(scanned.stdout_has("lib/deep/b.txt"), @"
    error: 1 value in 4 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}
