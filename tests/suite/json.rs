//! The shapes of JSON: field names, their order, and what is left out. Programs rely on them.

use insta::assert_snapshot;

use crate::support::files::{root, write_private};
use crate::support::{Run, Sandbox};

/// Returns a run's output with ids, times and the sandbox's directory redacted, broken into lines
/// that fit a page.
#[track_caller]
fn shown(sandbox: &Sandbox, run: Run) -> String {
    let text = String::from_utf8(run.succeeds().bytes()).unwrap();
    redacted(&text.replace(sandbox.path("").to_str().unwrap().trim_end_matches('/'), "[dir]"))
}

#[track_caller]
fn error(run: Run) -> String {
    let (code, stdout, stderr) = run.everything();
    assert!(
        code != Some(0)
            && stdout.is_empty()
            && stderr.ends_with("}\n")
            && stderr.lines().count() == 1
    );

    redacted(&stderr)
}

fn redacted(text: &str) -> String {
    let is_id = |word: &str| {
        word.len() == 18
            && word.starts_with("se")
            && word[2..].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };

    // Example: 2026-11-21T09:30:00.125Z
    let is_time = |word: &str| {
        word.len() == 24
            && word.ends_with('Z')
            && word[4..].starts_with('-')
            && word[10..].starts_with('T')
    };

    let parts = text.trim_end().split('"').map(|part| match part {
        part if is_id(part) => "[id]",
        part if is_time(part) => "[time]",
        part => part,
    });

    let line = parts.collect::<Vec<_>>().join("\"");
    let breaks = [
        "{\"id\":",
        "{\"action\":",
        "{\"tag\":",
        "\"project\":",
        "\"details\":",
        "\"placeholders\":",
        "\"total\":",
    ];

    let text = breaks.iter().fold(line, |text, part| text.replace(part, &format!("\n{part}")));
    text.trim_start().to_owned()
}

/// Returns a vault with `api-key`, which has all labels, and `pin`, which has only a value.
fn two() -> Sandbox {
    let sandbox = Sandbox::new();
    let line = [
        "create",
        "-t",
        "api-key",
        "--name",
        "Stripe, live",
        "--description",
        "rotated\nevery May",
        "-q",
    ];

    sandbox.command(line).stdin("abcdefghijklmnopqrstuvwxyz012345").run().succeeds();
    sandbox.command(["create", "-t", "pin", "-q"]).stdin("1234").run().succeeds();
    sandbox
}

#[test]
fn init_json() {
    let sandbox = Sandbox::empty();
    assert_snapshot!(shown(&sandbox, sandbox.run(["init", "--vault", "v.db", "--json"])), @r#"{"vault":"[dir]/v.db"}"#);
}

#[test]
fn create_json() {
    let sandbox = Sandbox::new();
    let line = ["create", "-t", "key", "--name", "Näme \"x\"", "--json"];
    assert_snapshot!(shown(&sandbox, sandbox.command(line).stdin("1234").run()), @r#"
        {"id":"[id]","tag":"key","name":"Näme \"x\"",
        "project":"default","hint":"••••","access":"team","createdAt":"[time]","updatedAt":"[time]"}
    "#);
}

#[test]
fn list_json() {
    let sandbox = two();
    assert_snapshot!(shown(&sandbox, sandbox.run(["list", "--json", "--page-size", "1"])), @r#"
        {"page":0,"secrets":[
        {"id":"[id]","tag":"api-key","name":"Stripe, live","description":"rotated\nevery May",
        "project":"default","hint":"abcd…2345","access":"team","createdAt":"[time]","updatedAt":"[time]"}],
        "total":2,"totalPages":2}
    "#);

    assert_snapshot!(shown(&sandbox, sandbox.run(["list", "--json", "--page", "1"])), @r#"
        {"page":1,"secrets":[],
        "total":2,"totalPages":1}
    "#);

    assert_snapshot!(shown(&sandbox, sandbox.run(["list", "--json", "--filter", "nowhere"])), @r#"
        {"page":0,"secrets":[],
        "total":0,"totalPages":0}
    "#);
}

#[test]
fn get_json() {
    let sandbox = two();
    assert_snapshot!(shown(&sandbox, sandbox.run(["get", "API_KEY", "--json"])), @r#"
        {"id":"[id]","tag":"api-key","name":"Stripe, live","description":"rotated\nevery May",
        "project":"default","hint":"abcd…2345","access":"team","createdAt":"[time]","updatedAt":"[time]"}
    "#);

    assert_snapshot!(shown(&sandbox, sandbox.run(["get", "pin", "--json"])), @r#"
        {"id":"[id]","tag":"pin",
        "project":"default","hint":"••••","access":"team","createdAt":"[time]","updatedAt":"[time]"}
    "#);
}

#[test]
fn update_json() {
    let sandbox = two();
    assert_snapshot!(shown(&sandbox, sandbox.run(["update", "api-key", "--name", "", "--json"])), @r#"
        {"id":"[id]","tag":"api-key","description":"rotated\nevery May",
        "project":"default","hint":"abcd…2345","access":"team","createdAt":"[time]","updatedAt":"[time]"}
    "#);
}

#[test]
fn delete_json() {
    let sandbox = two();
    assert_snapshot!(shown(&sandbox, sandbox.run(["delete", "pin", "-y", "--json"])), @r#"
        {"secrets":[
        {"id":"[id]","tag":"pin",
        "project":"default","hint":"••••","access":"team","createdAt":"[time]","updatedAt":"[time]"}]}
    "#);
}

#[test]
fn clone_json() {
    let sandbox = two();
    let plan = sandbox.run(["clone", "--all", "--to", "web", "--dry-run", "--json"]);
    assert_snapshot!(shown(&sandbox, plan), @r#"
        {"plan":[
        {"action":"create","from":"default","id":"[id]",
        "project":"web","source":"api-key","tag":"api-key"},
        {"action":"create","from":"default","id":"[id]",
        "project":"web","source":"pin","tag":"pin"}]}
    "#);

    assert_snapshot!(shown(&sandbox, sandbox.run(["clone", "pin", "--to", "web", "--json"])), @r#"
        {"secrets":[
        {"id":"[id]","tag":"pin",
        "project":"web","hint":"••••","access":"team","createdAt":"[time]","updatedAt":"[time]"}]}
    "#);

    let skipped = sandbox.run(["clone", "pin", "--to", "web", "--on-conflict", "skip", "--json"]);
    assert_snapshot!(shown(&sandbox, skipped), @r#"{"secrets":[]}"#);
}

#[test]
fn project_json() {
    let sandbox = two();
    assert_snapshot!(shown(&sandbox, sandbox.run(["project", "list", "--json"])), @r#"{"projects":[{"current":true,"name":"default","secrets":2}]}"#);
    assert_snapshot!(shown(&sandbox, sandbox.run(["project", "rename", "default", "web", "--json"])), @r#"{"projects":[{"current":false,"name":"web","secrets":2}]}"#);
    assert_snapshot!(shown(&sandbox, sandbox.run(["project", "delete", "web", "-y", "--json"])), @r#"{"projects":[{"current":false,"name":"web","secrets":2}]}"#);
}

#[test]
fn compact_json() {
    let sandbox = two();
    assert_snapshot!(shown(&sandbox, sandbox.run(["compact", "--json"])), @r#"{"vault":"[dir]/vault.db"}"#);
}

#[test]
fn render_json() {
    let sandbox = two();
    let list = sandbox.run([
        "render",
        "-e",
        "{{ secrets.pin | trim | json }}\n{{API_KEY}}",
        "--list",
        "--json",
    ]);

    assert_snapshot!(shown(&sandbox, list), @r#"
        {"references":[
        {"tag":"pin","file":"--text","line":1,"column":1,"filters":["trim","json"]},
        {"tag":"API_KEY","file":"--text","line":2,"column":1,"filters":[]}]}
    "#);

    // `--json` changes the format of errors, not the rendered text.
    let rendered = sandbox.run(["render", "-e", "{{ secrets.pin }}", "--json"]);
    rendered.succeeds().stdout("1234");
}

#[test]
fn run_json() {
    let sandbox = two();
    let line = [
        "run",
        "--json",
        "--dry-run",
        "--only",
        "pin",
        "--env",
        "URL={{ API_KEY }}",
        "--env",
        "MODE=x",
    ];

    let line = [&line[..], &["--file", "KEY=API_KEY", "--stdin", "pin"]].concat();
    assert_snapshot!(shown(&sandbox, sandbox.run(line)), @r#"
        {"variables":[{"name":"KEY","source":"--file","secrets":["api-key"]},{"name":"MODE","source":"--env","secrets":[]},{"name":"PIN","source":"--only","secrets":["pin"]},{"name":"URL","source":"--env","secrets":["api-key"]}],"stdin":"pin"}
    "#);
}

#[test]
fn scan_json() {
    let sandbox = two();
    sandbox.write("a\nb", "\nabcdefghijklmnopqrstuvwxyz012345");
    let (code, stdout, stderr) = sandbox.run(["scan", "--json", "a\nb"]).everything();
    assert_eq!(code, Some(8));
    assert_snapshot!(redacted(&String::from_utf8(stdout).unwrap()), @r#"{"findings":[{"file":"a\nb","place":"line","line":2,"tag":"api-key","form":"raw"}],"files":1}"#);
    assert_snapshot!(redacted(&stderr), @r#"
    {"type":"CONFLICT","message":"1 value in 1 file",
    "details":{"hints":["replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published"]}}
    "#);
}

#[test]
fn error_json() {
    let sandbox = two();
    assert_snapshot!(error(sandbox.run(["get", "pim", "--json"])), @r#"
        {"type":"NOT_FOUND","message":"no secret `pim` in project `default`",
        "details":{"hints":["did you mean `pin`?"]}}
    "#);

    assert_snapshot!(error(sandbox.run(["create", "-t", "PIN", "--json"])), @r#"
    {"type":"CONFLICT","message":"secret `pin` already exists in project `default`",
    "details":{"hints":["change its value with `secrets update pin`"],
    "project":"default","tags":["pin"]}}
    "#);

    assert_snapshot!(error(sandbox.run(["list", "--page", "x", "--json"])), @r#"
        {"type":"BAD_REQUEST","message":"`--page <N>` is not a number",
        "details":{"hints":["see `secrets help` or `secrets COMMAND --help`"]}}
    "#);

    assert_snapshot!(error(sandbox.run(["render", "-e", "{{ secrets.pim }}{{ secrets.x | }}", "--json"])), @r#"
    {"type":"BAD_REQUEST","message":"invalid placeholder",
    "details":{"hints":["fix it, keep it with `--keep-unknown`, or use other `--delimiters`"],
    "placeholders":[{"column":18,"file":"--text","line":1,"reason":"unknown filter; the filters are json, shell, url, base64, trim, dotenv, totp"}]}}
    "#);

    assert_snapshot!(error(sandbox.run(["render", "-e", "{{ secrets.pim }}", "--json"])), @r#"
    {"type":"NOT_FOUND","message":"a placeholder refers to a secret that does not exist in project `default`",
    "details":{"hints":["fix the template; `secrets list` shows the secrets of the project"],
    "placeholders":[{"column":1,"file":"--text","line":1,"suggestion":"pin","tag":"pim"}]}}
    "#);

    assert_snapshot!(error(sandbox.run(["delete", "pin", "--json"])), @r#"
    {"type":"FORBIDDEN","message":"deleting requires `--yes` if there is no terminal to ask on",
    "details":{"hints":["add `--yes` to confirm; nothing was changed"]}}
    "#);

    assert_snapshot!(error(sandbox.command(["list", "--json"]).env("SECRETS_PASSPHRASE", "x").run()), @r#"
    {"type":"UNAUTHORIZED","message":"wrong passphrase",
    "details":{"hints":["enter the one last set with `secrets init` or `secrets passwd`, or use a recovery code with `--recovery`"]}}
    "#);

    assert_snapshot!(error(sandbox.run(["--json", "frobnicate"])), @r#"
    {"type":"BAD_REQUEST","message":"unknown command `frobnicate`",
    "details":{"hints":["usage: secrets [OPTIONS] <COMMAND>"]}}
    "#);
}

/// Each line of the table in docs/json.md prints exactly the members that it names.
#[test]
fn the_documented_members_match_the_output() {
    let page = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let spans = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };

    let rows: Vec<(String, Vec<String>)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let (line, rest) = row.split_once('`').unwrap();
            (line.to_owned(), spans(rest.split('|').nth(1).unwrap()))
        })
        .collect();

    assert!(rows.len() > 30);
    let vault = two().read("vault.db");
    for (line, mut members) in rows {
        let sandbox = Sandbox::empty();
        let pass = "a passphrase of six plain words\n";
        for (name, content) in
            [("vault.db", &*vault), ("backup.db", &*vault), ("pass", pass.as_bytes())]
        {
            write_private(&sandbox.path(name), content);
        }

        sandbox.write("new.env", "NEW=a-new-value\n");
        sandbox.write("key.tmpl", "{{ API_KEY }}\n");
        if line.starts_with("recovery delete") {
            sandbox.run(["recovery", "create", "-q"]).succeeds().stdout_has("-");
        }

        // A locked vault makes this command end with 5.
        let cheap = ["--kdf-memory", "19", "--kdf-iterations", "1"];
        let cheap = cheap.into_iter().filter(|_| line.starts_with("init "));
        let run = sandbox.command(["--json"].into_iter().chain(line.split(' ')).chain(cheap)).run();
        let (code, stdout, stderr) = run.everything();

        assert!(
            code == Some(0) || line == "status" && code == Some(5),
            "{line}: {code:?} {stderr}"
        );

        let found: serde_json::Value =
            serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{line}: {stderr}"));
        let mut printed: Vec<String> = found.as_object().unwrap().keys().cloned().collect();
        printed.sort();
        members.sort();
        assert_eq!(printed, members, "{line}");
        if line == "unlock" {
            sandbox.run(["lock", "--all", "-q"]).succeeds();
        }
    }
}
