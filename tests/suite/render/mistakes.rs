//! A mistake is reported with its position, and nothing is written.

use std::fs;

use serde_json::{Value, json};

use crate::support::{PASSPHRASE, Sandbox, project, secret};

use super::{bare, sandbox};

#[test]
fn a_missing_directory_is_named() {
    let sandbox = sandbox();
    for options in [&[][..], &["--force"]] {
        let line = [&["render", "-e", "{{ X }}", "-o", "no/where/x"], options].concat();
        stderr!(sandbox.run(line).fails_with(1).stdout(""), @"
        error: the directory `no/where` does not exist
        hint: create it with `mkdir -p`, or choose another file; nothing was written
        ");
    }
}

#[test]
fn a_template_in_utf_16_is_refused() {
    let sandbox = sandbox();
    let text = "KEY={{ secrets.x }}\n";
    let little: Vec<u8> =
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> =
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();

    for bytes in [little, big] {
        sandbox.write("a.tmpl", bytes);
        stderr!(sandbox.run(["render", "a.tmpl", "-o", "out"]).fails_with(2), @"
        error: `a.tmpl` is UTF-16 text, in which placeholders cannot be found
        hint: save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`
        ");
    }

    assert!(!sandbox.path("out").exists());
}

#[test]
fn the_caret_points_at_the_placeholder() {
    let sandbox = sandbox();

    // Wide characters take two columns, combining characters none.
    let run = sandbox.run(["render", "-e", "名前e\u{301}={{ secrets.nn }}"]).fails_with(3);
    run.stderr_has("--text:1:11: `nn`\n    名前e\u{301}={{ secrets.nn }}\n          ^\n");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let sandbox = Sandbox::empty();
    let cases: [&[&str]; 20] = [
        &["--escape", "upper"],
        &["--escape", ""],
        &["--escape", "JSON"],
        &["--delimiters", "[["],
        &["--delimiters", "a,b"],
        &["--delimiters", ",]]"],
        &["--delimiters", ""],
        &["--delimiters", "\\,}"],
        &["--check"],
        &["--mode", "640"],
        &["-o", "out", "--mode", "9"],
        &["-o", "out", "--mode", "1777"],
        &["-o", "out", "--mode", "rw"],
        &["-o", "out", "--mode", ""],
        &["-o", "out", "--mode=-1"],
        &["-o", "out", "--list"],
        &["-o", "out", "--check", "--list"],
        &["template"],
        &["--text", "again"],
        &["--nonsense"],
    ];

    for options in cases {
        let run = bare(&sandbox, ["render", "-e", "plain"]);
        let mut run = run;
        run.command.args(options);
        run.run().fails_with(2).stdout("").stderr_has("error: ");
    }

    sandbox.run(["render", "one", "two"]).fails_with(2).stderr_has("in case it is a secret");
    assert!(!sandbox.path("out").exists());
}

#[test]
fn all_unknown_names_are_listed_and_nothing_is_written() {
    let sandbox = sandbox();
    sandbox.write(
        "a.tmpl",
        "{{X}}\né {{ secrets.my-secrte | json }}{{ TOKEM }}\n{{ secrets.zzzzzzzz }} {{TOKEN}}",
    );

    sandbox.write("out", "old");
    let expected = "error: 3 placeholders refer to secrets that do not exist in project \
                    `default`\na.tmpl:2:4: `my-secrte`, did you mean `my-secret`?\n    é {{ \
                    secrets.my-secrte | json }}{{ TOKEM }…\n      ^\na.tmpl:2:34: `TOKEM`, did you \
                    mean `TOKEN`?\n    é {{ secrets.my-secrte | json }}{{ TOKEM \
                    }}\n                                    ^\na.tmpl:3:1: `zzzzzzzz`\n    {{ \
                    secrets.zzzzzzzz }} {{TOKEN}}\n    ^\nhint: store it with `secrets create \
                    zzzzzzzz`\n";

    let before = fs::metadata(sandbox.path("out")).unwrap().modified().unwrap();
    sandbox.run(["render", "a.tmpl"]).fails_with(3).stdout("").stderr(expected);
    sandbox.run(["render", "a.tmpl", "-o", "out"]).fails_with(3).stdout("").stderr(expected);
    sandbox.run(["render", "a.tmpl", "-o", "new"]).fails_with(3).stdout("").stderr(expected);
    assert_eq!(sandbox.read("out"), b"old");
    assert_eq!(fs::metadata(sandbox.path("out")).unwrap().modified().unwrap(), before);
    assert!(!sandbox.path("new").exists());
}

#[test]
fn keep_unknown_leaves_them_and_warns_of_each() {
    let sandbox = sandbox();
    let template = "{{X}} {{ ZZZZ | url }} {{ secrets.x | upper }} {{ secrets.";
    let malformed = "warning: --text:1:24: kept unchanged: unknown filter; \
                     the filters are json, shell, url, base64, trim, dotenv, totp\n\
                     warning: --text:1:48: kept unchanged: not closed after the tag or filter\n";
    let run = sandbox.run(["render", "-e", template, "--keep-unknown"]).succeeds();
    let output = run.stdout(template.replace("{{X}}", "vx")).stderr_has(malformed);

    stderr!(output, @"
    warning: --text:1:24: kept unchanged: unknown filter; the filters are json, shell, url, base64, trim, dotenv, totp
    warning: --text:1:48: kept unchanged: not closed after the tag or filter
    warning: --text:1:7: `ZZZZ` is kept unchanged: the secret does not exist
    ");

    // If nothing is left to resolve, no vault is needed.
    let only = "{{ secrets.x | upper }}";
    stderr!(bare(&sandbox, ["render", "-e", only, "--keep-unknown"]).run().succeeds().stdout(only), @"warning: --text:1:1: kept unchanged: unknown filter; the filters are json, shell, url, base64, trim, dotenv, totp");
}

#[test]
fn invalid_placeholders_are_reported_before_the_vault_is_opened() {
    let sandbox = Sandbox::empty();
    let long = format!("{{{{ secrets.x{} }}}}", " ".repeat(512));
    let tag = format!("{{{{ secrets.{} }}}}", "a".repeat(129));
    let cases = [
        "{{ secrets.x",
        "{{ secrets.x }",
        "{{ secrets.x y }}",
        "{{ secrets.x\n}}",
        "{{ secrets. }}",
        "{{ secrets.-x }}",
        "{{ secrets._ }}",
        "{{ secrets.se0123456789abcdef }}",
        "{{ secrets.x | upper }}",
        "{{ secrets.x | }}",
        "{{ secrets.x || json }}",
        "{{ secrets.x.y }}",
        "{{secrets.é}}",
        &long,
        &tag,
    ];

    for case in cases {
        sandbox.write("a.tmpl", format!("one\r\n é{case}"));
        let run = bare(&sandbox, ["render", "a.tmpl", "-o", "out"]).run();
        run.fails_with(2).stdout("").stderr_has("error: invalid placeholder\na.tmpl:2:4: ");
        assert!(!sandbox.path("out").exists());
    }

    let error = bare(&sandbox, ["render", "-e", "{{ secrets. }}\n{{ secrets.x", "--json"])
        .run()
        .fails_with(2);
    let error = error.json_error();

    assert_eq!(
        (&error["type"], &error["message"]),
        (&json!("BAD_REQUEST"), &json!("2 invalid placeholders"))
    );

    let places: Vec<[&Value; 3]> =
        error["details"]["placeholders"].as_array().unwrap().iter().map(place).collect();
    assert_eq!(
        places,
        [[&json!("--text"), &json!(1), &json!(1)], [&json!("--text"), &json!(2), &json!(1)]]
    );
}

fn place(finding: &Value) -> [&Value; 3] {
    [&finding["file"], &finding["line"], &finding["column"]]
}

/// Each case contains all mistakes of this list, except those before it, which are fixed one by
/// one.
#[test]
fn the_first_of_several_mistakes_is_reported() {
    let sandbox = sandbox();
    sandbox.write("malformed", "{{ Y }} {{ secrets. }}");
    sandbox.write("unknown", "{{ Y }} {{ MY_SECRET | shell }}");
    std::os::unix::fs::symlink("nowhere", sandbox.path("link")).unwrap();

    let code = |template: &str, out: &str, vault: &str, passphrase: Option<&str>, code: i32| {
        let command = sandbox
            .command(["render", template, "-o", out])
            .env("SECRETS_VAULT", sandbox.path(vault));
        let command = match passphrase {
            Some(given) => command.env("SECRETS_PASSPHRASE", given),
            None => command.without_env("SECRETS_PASSPHRASE"),
        };

        command.run().fails_with(code).stdout("").stderr_has("error: ");
    };

    code("nothing", "link", "no.db", None, 1);
    code("malformed", "link", "no.db", None, 7);
    code("malformed", "out", "no.db", None, 2);
    code("unknown", "out", "no.db", None, 3);
    code("unknown", "out", "vault.db", None, 5);
    code("unknown", "out", "vault.db", Some("wrong"), 5);
    code("unknown", "out", "vault.db", Some(PASSPHRASE), 3);
    assert!(!sandbox.path("out").exists());
}

#[test]
fn a_template_that_cannot_be_read_is_an_error() {
    let sandbox = Sandbox::empty();
    let output = sandbox.run(["render", "no.tmpl"]).fails_with(1);
    stderr!(output, @"error: cannot read `no.tmpl`: No such file or directory");
    stderr!(sandbox.run(["render", "."]).fails_with(1), @"error: cannot read `.`: is a directory");

    let error = sandbox.run(["render", "no.tmpl", "--json"]).fails_with(1).json_error();
    assert_eq!(error["type"], "INTERNAL_ERROR");
}

#[test]
fn a_filter_that_cannot_take_a_value_names_the_tag_and_not_the_value() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    vault.create(&project("default"), secret("nul", b"mark\0er")).unwrap();
    vault.create(&project("default"), secret("raw", b"mark\xffer")).unwrap();

    let text = "error: `nul`: the filter `shell` cannot quote a value with a NUL byte\n";
    sandbox
        .run(["render", "-e", "a {{ secrets.nul | shell }}"])
        .fails_with(2)
        .stdout("")
        .stderr(text);

    let error = sandbox
        .run(["render", "-e", "a {{ RAW | json }}", "--json"])
        .fails_with(2)
        .stdout("")
        .json_error();

    assert_eq!(error["type"], "BAD_REQUEST");
    assert_eq!(error["message"], "`RAW`: the filter `json` needs a UTF-8 value");
}

#[test]
fn with_json_stderr_is_one_object_even_after_warnings() {
    let sandbox = sandbox();

    // The passphrase file is readable by others, a placeholder is kept, and then the command fails.
    sandbox.write("passphrase", PASSPHRASE);
    let text = "{{ secrets. }} {{ Y }} {{ TOKEM }}";
    let error = sandbox.run(["render", "-e", text, "--keep-unknown", "--json", "-p", "no/project"]);
    assert_eq!(error.fails_with(2).stdout("").json_error()["type"], "BAD_REQUEST");

    let arguments =
        ["render", "-e", "{{ ZZZZ }} {{ TOKEM }}", "--json", "--passphrase-file", "passphrase"];
    let error = sandbox.command(arguments).run().fails_with(3).stdout("").json_error();
    let (kind, message) = (
        "NOT_FOUND",
        "2 placeholders refer to secrets that do not exist in \
                                         project `default`",
    );

    assert_eq!((error["type"].as_str(), error["message"].as_str()), (Some(kind), Some(message)));

    let expected = json!([
        { "tag": "ZZZZ", "file": "--text", "line": 1, "column": 1, "suggestion": null },
        { "tag": "TOKEM", "file": "--text", "line": 1, "column": 12, "suggestion": "TOKEN" },
    ]);

    assert_eq!(error["details"]["placeholders"], expected);
    assert!(error["details"]["hints"].is_array());
    let arguments = ["render", "-e", text, "--keep-unknown", "--json", "-o", "no/out"];
    let error = sandbox.run(arguments).fails_with(1).stdout("").json_error();

    assert_eq!(error["type"], "INTERNAL_ERROR");
}
