//! `.secrets.toml`: errors report their position, and never text that could be a value.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::repository::{MARKER, Project, simple};

const HINT: &str = "hint: see `secrets setup --help` for what the file can contain; it never holds \
                    a value\n";
const RENDER: &str = "[[render]]\ntemplate = \"t\"\noutput = \"o\"\n";

#[test]
fn errors_have_their_position_and_no_values() {
    let project = Project::new(&[]);
    for (text, words) in [
        // Invalid TOML
        ("project = MARKER\n", "1:11: string values must be quoted"),
        ("[secrets.a]\ndescription = \"MARKER\n", "2:"),
        ("[secrets]\nMARKER\n", "2:"),
        ("a = \"\\q MARKER\"\n", "1:"),
        ("project = [\"MARKER\"", "1:"),
        ("project = \"a\"\nproject = \"MARKER\"\n", "2:1: duplicate key"),
        ("[run.env]\nA = \"x\"\nA = \"MARKER\"\n", "3:1: duplicate key"),
        // Keys
        ("projct = \"MARKER\"\n", "1:1: unknown key `projct`"),
        ("\"a\\nb\" = 1\n", "1:1: unknown key `a\\nb`, expected one of `project`"),
        ("[secrets.a]\nvalue = \"MARKER\"\n", "2:1: unknown key `value`"),
        ("secrets.a = { default = \"MARKER\" }\n", "1:15: unknown key `default`"),
        ("[secrets.a]\ngenerate = { size = \"MARKER\" }\n", "2:14: unknown key `size`"),
        ("[run]\nvars = \"MARKER\"\n", "2:1: unknown key `vars`"),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nowner = \"MARKER\"\n",
            "4:1: unknown key `owner`",
        ),
        ("[[render]]\noutput = \"MARKER\"\n", "1:1: missing key `template`"),
        ("[[render]]\ntemplate = \"MARKER\"\n", "1:1: missing key `output`"),
        // Types
        ("[secrets]\na = \"MARKER\"\n", "2:5: expected a table, found a string"),
        ("[secrets]\na = [\"MARKER\"]\n", "2:5: expected a table, found an array"),
        ("secrets = \"MARKER\"\n", "1:11: expected a table, found a string"),
        ("[secrets.a]\ndescription = [\"MARKER\"]\n", "2:15: expected a string, found an array"),
        ("[secrets.a]\noptional = \"MARKER\"\n", "2:12: expected a boolean, found a string"),
        ("[secrets.a]\ngenerate = [32, \"hex\"]\n", "2:12: expected a table, found an array"),
        ("[secrets.a]\ngenerate = \"MARKER\"\n", "2:12: expected a table, found a string"),
        (
            "[secrets.a]\ngenerate = { length = \"MARKER\" }\n",
            "2:23: expected an integer, found a string",
        ),
        (
            "[secrets.a]\ngenerate = { length = 3 }\n",
            "2:23: a generated value must have 4 to 1024 characters",
        ),
        (
            "[secrets.a]\ngenerate = { length = 1025 }\n",
            "2:23: a generated value must have 4 to 1024 characters",
        ),
        (
            "[secrets.a]\ngenerate = { length = -8 }\n",
            "2:23: a generated value must have 4 to 1024 characters",
        ),
        (
            "[secrets.a]\ngenerate = { alphabet = \"MARKER\" }\n",
            "2:25: unknown value, expected one of `alnum`",
        ),
        (
            "[secrets.a]\ngenerate = { alphabet = \", expected MARKER\" }\n",
            "2:25: unknown value, expected one of `alnum`",
        ),
        (
            "[secrets.a]\ngenerate = { alphabet = \"x expected MARKER\" }\n",
            "2:25: unknown value, expected one of `alnum`",
        ),
        (
            "[secrets.a]\ngenerate = { alphabet = \"unknown variant MARKER\" }\n",
            "2:25: unknown value, expected ",
        ),
        ("render = [[\"MARKER\", \"o\"]]\n", "1:11: expected a table, found an array"),
        ("[render]\ntemplate = \"MARKER\"\n", "1:1: "),
        ("run = [{ A = \"MARKER\" }]\n", "1:7: expected a table, found an array"),
        ("[run]\nenv = \"MARKER\"\n", "2:7: expected a table, found a string"),
        ("[run.env]\nA = [\"MARKER\"]\n", "2:5: expected a string, found an array"),
        // Formats
        ("project = \"MARKER!\"\n", "1:11: only ASCII letters"),
        ("[secrets.\"MARKER!\"]\n", "1:10: invalid tag in `[secrets.TAG]`"),
        ("[secrets.a-b]\n[secrets.\"A_b\"]\n", "2:10: `A_b` and `a-b` are the same tag"),
        ("[secrets.a]\ndescription = \"\\u001bMARKER\"\n", "2:15: it contains a control character"),
        (
            "[[render]]\ntemplate = \"../MARKER\"\noutput = \"o\"\n",
            "2:12: the path leads out of the directory of this file",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"/etc/MARKER\"\n",
            "3:10: the path leads out of the directory of this file",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"a/../../MARKER\"\n",
            "3:10: the path leads out of the directory of this file",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \".git/hooks/pre-commit\"\n",
            "3:10: the path is inside a `.git` directory",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"a/.Git/MARKER\"\n",
            "3:10: the path is inside a `.git` directory",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"MARKER/\"\n",
            "3:10: this is not the path of a file",
        ),
        ("[[render]]\ntemplate = \"t\"\noutput = \".\"\n", "3:10: this is not the path of a file"),
        ("[[render]]\ntemplate = \"t\"\noutput = \"\"\n", "3:10: this is not the path of a file"),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"MARKER\\u0000\"\n",
            "3:10: this is not the path of a file",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"./.secrets.toml\"\n",
            "1:1: the output is this manifest itself",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"a/.gitignore\"\n",
            "1:1: the output `a/.gitignore` would change what git ignores",
        ),
        ("[[render]]\ntemplate = \"t\"\noutput = \"./t\"\n", "1:1: the output `t` is a template"),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nmode = \"MARKER\"\n",
            "4:8: `mode` must be three octal digits",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nmode = \"4755\"\n",
            "4:8: `mode` must be three octal digits",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nmode = 384\n",
            "4:8: expected a string, found an integer",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"o\"\nescape = \"MARKER\"\n",
            "4:10: unknown filter; the filters are ",
        ),
        (
            "[[render]]\ntemplate = \"t\"\noutput = \"o\"\ndelimiters = \"MARKER\"\n",
            "4:14: expected two delimiters",
        ),
    ] {
        project.write(".secrets.toml", text.replace("MARKER", MARKER));
        for command in [&["check"][..], &["setup", "--yes"], &["refs"], &["render", "--all"]] {
            let run = project.changes_nothing(command).fails_with(2).stdout("");
            let hints = run.stderr_has(&format!("error: .secrets.toml:{words}")).stderr_has(HINT);
            drop(hints);
        }
    }

    for (text, words) in [
        (RENDER.repeat(2), "4:1: the output `o` is rendered twice"),
        (
            format!("{RENDER}[[render]]\ntemplate = \"o\"\noutput = \"p\"\n"),
            "4:1: the template `o` is an output",
        ),
        (
            format!("{RENDER}[[render]]\ntemplate = \"p\"\noutput = \"t\"\n"),
            "4:1: the output `t` is a template",
        ),
        (
            format!("{RENDER}[[render]]\ntemplate = \"p\"\noutput = \"o/p\"\n"),
            "4:1: the output `o/p` is inside the output `o`",
        ),
    ] {
        project.write(".secrets.toml", text);
        let run = project.changes_nothing(&["check"]).fails_with(2).stdout("");
        run.stderr(&format!("error: .secrets.toml:{words}\n{HINT}"));
    }
}

#[test]
fn a_binary_or_huge_file_is_refused() {
    let project = Project::new(&[]);
    for (content, text) in [
        (&b"project = \"\xff\"\n"[..], "the file is not UTF-8"),
        (&b"\xff\xfep\0r\0"[..], "the file is not UTF-8"),
        (&b"#".repeat(1024 * 1024 + 1), "the file is larger than 1 MiB"),
    ] {
        project.write(".secrets.toml", content);
        let run = project.changes_nothing(&["check"]).fails_with(2).stdout("");
        run.stderr(&format!("error: .secrets.toml: {text}\n{HINT}"));
    }

    project.write(".secrets.toml", "#".repeat(1024 * 1024));
    project.run(&["refs"]).succeeds();
}

#[test]
fn a_file_from_windows_is_accepted() {
    let project = simple();
    let text = project.read(".secrets.toml").replace('\n', "\r\n");
    project.write(".secrets.toml", format!("\u{feff}{text}"));
    project.run(&["setup", "--yes", "-q"]).succeeds();
    project.run(&["check", "-q"]).succeeds();
}

#[test]
fn an_error_can_be_json_and_has_a_relative_path() {
    let project = Project::new(&[(".secrets.toml", "[secrets]\na = 1\n"), ("deep/er/x", "")]);
    let run = project.command(&["check", "--json"]).current_dir(project.path("deep/er")).run();
    let error = run.fails_with(2).stdout("").json_error();
    assert_eq!(error["type"], "BAD_REQUEST");
    assert_eq!(error["message"], "../../.secrets.toml:2:5: expected a table, found an integer");
}

#[test]
fn without_a_manifest_the_error_explains_how_to_write_one() {
    let project = Project::new(&[]);
    fs::create_dir(project.path(".secrets.toml")).unwrap();
    for command in
        [&["check"][..], &["setup", "--yes"], &["render", "--all"], &["render", "--stale"]]
    {
        stderr!(project.changes_nothing(command).fails_with(3).stdout(""), @"
        error: no `.secrets.toml` in this directory or above
        hint: create one with `secrets init --project-file`
        ");
    }

    project.run(&["refs"]).succeeds();
    fs::remove_dir(project.path(".secrets.toml")).unwrap();

    // A link is accepted if both it and its target are ours.
    project.write("real.toml", "project = \"web\"\n");
    symlink("real.toml", project.path(".secrets.toml")).unwrap();
    let output = project.run(&["check"]).succeeds();
    stderr!(output, @"project `web` has everything it needs and is up to date: 0 secrets, 0 outputs");
}
