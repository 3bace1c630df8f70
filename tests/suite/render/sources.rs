//! A template without placeholders needs no vault, and `--list` and `--check` write nothing.

use std::fs;

use serde_json::json;

use crate::support::{Sandbox, project, secret};

use super::{bare, sandbox};

#[test]
fn a_template_without_placeholders_needs_neither_vault_nor_passphrase() {
    let sandbox = Sandbox::empty();
    for template in ["", "plain\n", "{{ lower }} ${{ secrets.x }} \\{{ secrets.x }}"] {
        let expected = template.replace("\\{{", "{{");
        bare(&sandbox, ["render", "-e", template]).run().succeeds().stdout(&expected).stderr("");
        bare(&sandbox, ["render", "-e", template, "-o", "out", "-q"]).run().succeeds();
        assert_eq!(sandbox.read("out"), expected.as_bytes());
    }

    assert!(!sandbox.path("no.db").exists());
}

#[test]
fn list_names_every_reference_without_a_vault() {
    let sandbox = Sandbox::empty();
    let template = sandbox
        .write("a.tmpl", "{{X}} é{{ secrets.my-secret | trim|json }}\r\n\\{{Y}} ${{Z}}\n\n{{X}}");
    bare(&sandbox, ["render", "a.tmpl", "--list"])
        .run()
        .succeeds()
        .stdout("a.tmpl:1:1: X\na.tmpl:1:9: my-secret | trim | json\na.tmpl:4:1: X\n")
        .stderr("");

    let found = bare(&sandbox, ["render", "a.tmpl", "--list", "--json"]).run().succeeds().json();
    let one = |tag: &str, line, column, filters: &[&str]| json!({ "tag": tag, "file": "a.tmpl", "line": line, "column": column, "filters": filters });
    let references =
        [one("X", 1, 1, &[]), one("my-secret", 1, 9, &["trim", "json"]), one("X", 4, 1, &[])];
    assert_eq!(found, json!({ "references": references }));

    let escaped = bare(&sandbox, ["render", "--list", "--escape", "url"])
        .stdin(fs::read(template).unwrap())
        .run();
    escaped
        .succeeds()
        .stdout("stdin:1:1: X | url\nstdin:1:9: my-secret | trim | json\nstdin:4:1: X | url\n");

    let none =
        bare(&sandbox, ["render", "-e", "plain", "--list", "--json"]).run().succeeds().json();
    assert_eq!(none, json!({ "references": [] }));
    bare(&sandbox, ["render", "-e", "plain", "--list"]).run().succeeds().stdout("");
    stderr!(bare(&sandbox, ["render", "-e", "{{ secrets. }}", "--list"]).run().fails_with(2).stdout(""), @"
    error: invalid placeholder
    --text:1:1: invalid tag: it is empty
        {{ secrets. }}
        ^
    hint: fix it, keep it with `--keep-unknown`, or use other `--delimiters`
    ");
}

#[test]
fn check_compares_and_writes_nothing() {
    let sandbox = sandbox();
    let check = || sandbox.run(["render", "-e", "{{ TOKEN }}\n", "-o", "out", "--check"]);
    let hint = "hint: render it without `--check`\n";
    check().fails_with(8).stdout("").stderr(&format!("error: `out` is missing\n{hint}"));
    assert!(!sandbox.path("out").exists());

    // Shorter, longer, of the same length, empty.
    for stale in ["v token", "v token\n\n", "v Token\n", ""] {
        let out = sandbox.write("out", stale);
        let before = fs::metadata(&out).unwrap().modified().unwrap();
        check().fails_with(8).stdout("").stderr(&format!("error: `out` is out of date\n{hint}"));
        assert_eq!(
            (sandbox.read("out"), fs::metadata(&out).unwrap().modified().unwrap()),
            (stale.into(), before)
        );
    }

    sandbox.write("out", "v token\n");
    check().succeeds().stdout("").stderr("");
    let error = sandbox
        .run(["render", "-e", "{{X}}", "-o", "out", "--check", "--json"])
        .fails_with(8)
        .json_error();

    assert_eq!(error["type"], "CONFLICT");
}

#[test]
fn the_project_is_the_current_one() {
    let sandbox = sandbox();
    sandbox.vault().create(&project("web"), secret("x", b"of web")).unwrap();
    let render = ["render", "-e", "{{X}}"];
    sandbox.run([&render[..], &["-p", "web"]].concat()).succeeds().stdout("of web");
    sandbox.command(render).env("SECRETS_PROJECT", "web").run().succeeds().stdout("of web");

    let run = sandbox.run(["render", "-e", "{{TOKEN}}", "--project", "web"]);
    stderr!(run.fails_with(3).stdout(""), @"
    error: a placeholder refers to a secret that does not exist in project `web`
    --text:1:1: `TOKEN`
        {{TOKEN}}
        ^
    hint: use `--project default`, because project `default` has `TOKEN`
    ");

    sandbox.write(".secrets.toml", "project = \"web\"\n");
    sandbox.run(render).succeeds().stdout("of web");
    sandbox.run([&render[..], &["-p", "default"]].concat()).succeeds().stdout("vx");
}
