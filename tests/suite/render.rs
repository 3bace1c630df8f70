//! `secrets render`: its output, its options and its errors.

use std::fs;

use serde_json::{Value, json};

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Prepared, Sandbox, project, secret};

/// Returns a vault whose values identify their secrets.
fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[
        ("x", "vx"),
        ("TOKEN", "v token"),
        ("my-secret", "v\"my\nsecret"),
        ("url", " a/b "),
    ])
}

/// Prepares a command without a vault and without a passphrase.
fn bare<const N: usize>(sandbox: &Sandbox, arguments: [&str; N]) -> Prepared {
    sandbox
        .command(arguments)
        .without_env("SECRETS_PASSPHRASE")
        .env("SECRETS_VAULT", sandbox.path("no.db"))
}

/// Each line of the design's grammar, and its output.
const LINES: [(&[u8], &[u8]); 34] = [
    (b"\xef\xbb\xbfa BOM\r", b"\xef\xbb\xbfa BOM\r"),
    (b"{{ secrets.x }}{{X}}{{\tsecrets.X\t}}", b"vxvxvx"),
    (b"{{ secrets.my_secret }}", b"v\"my\nsecret"),
    (b"{{ secrets.my-secret }}", b"v\"my\nsecret"),
    (b"{{ MY_SECRET }}", b"v\"my\nsecret"),
    (b"{{ TOKEN }}\r", b"v token\r"),
    (b"{{ secrets.token | json }}", b"v token"),
    (b"{{MY_SECRET|json}}", br#"v\"my\nsecret"#),
    (b"{{ TOKEN | shell }}", b"'v token'"),
    (b"{{ TOKEN | url }}", b"v%20token"),
    (b"{{ X | base64 }}", b"dng="),
    (b"[{{ URL | trim }}]", b"[a/b]"),
    (b"{{ URL |\ttrim|url| base64 }}", b"YSUyRmI="),
    (b"{{ .Values.x }}", b"{{ .Values.x }}"),
    (b"{{#if}} {{ user.name }} {{ lower }}", b"{{#if}} {{ user.name }} {{ lower }}"),
    (b"{{ TITLE | upper }}", b"{{ TITLE | upper }}"),
    (b"{{ _ }} {{ 1X }} {{}} {{ X Y }} {{ X-Y }}", b"{{ _ }} {{ 1X }} {{}} {{ X Y }} {{ X-Y }}"),
    (b"{{ SE0123456789ABCDEF }}", b"{{ SE0123456789ABCDEF }}"),
    (b"${{ secrets.X }} ${{ secrets.X || 'a' }}", b"${{ secrets.X }} ${{ secrets.X || 'a' }}"),
    (b"$ {{X}} $x{{X}}", b"$ vx $xvx"),
    (b"\\{{ secrets.x }}", b"{{ secrets.x }}"),
    (b"\\{{X|json}}{{X}}", b"{{X|json}}vx"),
    (b"\\{{ .Values.x }} \\x \\", b"\\{{ .Values.x }} \\x \\"),
    (b"{{{X}}}", b"{vx}"),
    (b"${{{X}}} \\{{{X}}}", b"${vx} \\{vx}"),
    (b"{{{{X}}}}", b"{{vx}}"),
    (b"{{ X {{ X }}", b"{{ X vx"),
    (b"{{", b"{{"),
    (b"{{ X", b"{{ X"),
    (b"}}", b"}}"),
    (b"\0{{X}}\0", b"\0vx\0"),
    (b"\xff\xfe{{X}}\x80", b"\xff\xfevx\x80"),
    (b"", b""),
    (b"no newline at the end {{X}}", b"no newline at the end vx"),
];

#[test]
fn the_whole_grammar_works_with_every_source_and_output() {
    let sandbox = sandbox();
    let join = |lines: Vec<&[u8]>| lines.join(&b'\n');
    let template = join(LINES.iter().map(|line| line.0).collect());
    let expected = join(LINES.iter().map(|line| line.1).collect());

    sandbox.write("a.tmpl", &template);
    sandbox.run(["render", "a.tmpl"]).succeeds().stdout(&expected);
    sandbox.command(["render", "-"]).stdin(&template).run().succeeds().stdout(&expected);
    sandbox.command(["render"]).stdin(&template).run().succeeds().stdout(&expected);
    stderr!(sandbox.run(["render", "a.tmpl", "-o", "out"]).succeeds().stdout(""), @"wrote `out`");
    assert_eq!(sandbox.read("out"), expected);
    sandbox.run(["render", "-q", "a.tmpl", "-o", "quiet"]).succeeds();
    sandbox.run(["render", "-e", r"\{{X}} ${{X}} {{X}}"]).succeeds().stdout("{{X}} ${{X}} vx");
    sandbox.run(["render", "--text=-{{X}}-"]).succeeds().stdout("-vx-");
}

#[test]
fn half_of_the_backslashes_before_a_placeholder_stay() {
    let sandbox = Sandbox::with_secrets(&[("user", "alice")]);
    let render = |template: &str| sandbox.run(["render", "-e", template]).succeeds();

    stderr!(render(r"CORP\\{{ secrets.user }}").stdout(r"CORP\alice"), @"warning: --text:1:7: 2 backslashes before a placeholder become 1, then the value; in version 0.1.0 they became 1, then the placeholder's text");
    stderr!(render(r"CORP\\\{{ USER }}").stdout(r"CORP\{{ USER }}"), @"warning: --text:1:8: 3 backslashes before a placeholder become 1, then the placeholder's text; in version 0.1.0 they became 2, then the placeholder's text");

    // JSON needs each backslash twice.
    let json = r#"{"user": "CORP\\\\{{ USER }}"}"#;
    stderr!(render(json).stdout(r#"{"user": "CORP\\alice"}"#), @"warning: --text:1:19: 4 backslashes before a placeholder become 2, then the value; in version 0.1.0 they became 3, then the placeholder's text");
    render(r"CORP\{{ USER }}").stdout("CORP{{ USER }}");
    render(r"\\{{ .Values.x }} \\${{ USER }}").stdout(r"\\{{ .Values.x }} \\${{ USER }}");
}

#[test]
fn a_near_miss_of_an_existing_tag_is_copied_with_a_warning() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", "value")]);
    let template = "{{STRIPE_KEY}} {{ stripe-key }} {{ lower }}\n {{ secret.Stripe_Key }}{{- secrets.stripe-key -}}\n";
    let copied = template.replace("{{STRIPE_KEY}}", "value");
    let warning = |place: &str, tag: &str| {
        format!(
            "warning: {place}: this text is copied unchanged, although a secret `{tag}` exists; \
             to insert its value, write `{{{{ secrets.{tag} }}}}`\n"
        )
    };

    let warnings = |name: &str| {
        [("1:16", "stripe-key"), ("2:2", "Stripe_Key"), ("2:25", "stripe-key")]
            .map(|(place, tag)| warning(&format!("{name}:{place}"), tag))
            .concat()
    };

    sandbox.write("a.tmpl", template);
    sandbox.run(["render", "a.tmpl"]).succeeds().stdout(&copied).stderr(&warnings("a.tmpl"));

    // With `--namespaced`, a bare name belongs to another tool.
    let run = sandbox.run([
        "render",
        "--namespaced",
        "-e",
        "{{ stripe-key }} {{ secret.stripe-key }} {{ secrets.stripe-key }}",
    ]);

    run.succeeds()
        .stdout("{{ stripe-key }} {{ secret.stripe-key }} value")
        .stderr(&warning("--text:1:18", "stripe-key"));

    // It is found even if it is the only reference, because the given passphrase opens the vault.
    sandbox.write("a.tmpl", "K={{ stripe-key }}\n");
    let run = sandbox.run(["render", "a.tmpl", "-o", "a.env"]).succeeds();
    run.stderr(&(warning("a.tmpl:1:3", "stripe-key") + "wrote `a.env`\n"));
    sandbox.run(["render", "-e", "{{ lower }}"]).succeeds().stdout("{{ lower }}").stderr("");

    // The warning causes no question and no error about a wrong passphrase. Without a vault there
    // is no secret to miss.
    let maybe = "warning: --text:1:1: this text is copied unchanged; if `stripe-key` is a secret, \
                 write `{{ secrets.stripe-key }}` to insert its value\n";
    let near = ["render", "-e", "{{ stripe-key }}"];

    for given in [None, Some("a wrong passphrase")] {
        let mut command = sandbox.command(near).without_env("SECRETS_PASSPHRASE");
        if let Some(given) = given {
            command = command.env("SECRETS_PASSPHRASE", given);
        }

        command.run().succeeds().stdout("{{ stripe-key }}").stderr(maybe);
    }

    let none = sandbox.path("none.db");
    sandbox
        .command(near)
        .env("SECRETS_VAULT", none)
        .run()
        .succeeds()
        .stdout("{{ stripe-key }}")
        .stderr("");

    sandbox.run(["unlock", "-q"]).succeeds();
    let run = bare(&sandbox, ["render", "-e", "{{ stripe-key }}"])
        .env("SECRETS_VAULT", sandbox.vault_path())
        .run();

    run.succeeds().stdout("{{ stripe-key }}").stderr(&warning("--text:1:1", "stripe-key"));
    sandbox.run(["lock", "-q"]).succeeds();
}

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
fn options_select_the_grammar() {
    let sandbox = sandbox();
    let cases: [(&[&str], &str, &str); 8] = [
        (
            &["--escape", "json"],
            "{{MY_SECRET}} {{MY_SECRET|trim}}",
            "v\\\"my\\nsecret v\"my\nsecret",
        ),
        (&["--escape", "shell"], "{{TOKEN}} {{TOKEN|url}} \\{{X}}", "'v token' v%20token {{X}}"),
        (
            &["--delimiters", "[[,]]"],
            r"[[X]] {{X}} [[[X]]] $[[X]] \[[X]] {{ secrets. }}",
            DELIMITED,
        ),
        (&["--delimiters", "<%=,%>"], "<%= secrets.x | url %>", "vx"),
        (&["--delimiters", "%,%"], "%X% 100%", "vx 100%"),
        (&["--namespaced"], "{{X}} {{ secrets.x }} {{ Y }} \\{{X}}", "{{X}} vx {{ Y }} \\{{X}}"),
        (
            &["--namespaced", "--escape", "url"],
            "{{TOKEN}} {{ secrets.token }}",
            "{{TOKEN}} v%20token",
        ),
        (&["--color", "always"], "{{X}}", "vx"),
    ];

    for (options, template, expected) in cases {
        let run = sandbox.run([&["render", "-e", template], options].concat());
        run.succeeds().stdout(expected).stderr("");
    }
}

const DELIMITED: &str = "vx {{X}} [vx] $[[X]] [[X]] {{ secrets. }}";

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
                     the filters are json, shell, url, base64, trim, dotenv\n\
                     warning: --text:1:48: kept unchanged: not closed after the tag or filter\n";
    let run = sandbox.run(["render", "-e", template, "--keep-unknown"]).succeeds();
    let output = run.stdout(template.replace("{{X}}", "vx")).stderr_has(malformed);

    stderr!(output, @"
    warning: --text:1:24: kept unchanged: unknown filter; the filters are json, shell, url, base64, trim, dotenv
    warning: --text:1:48: kept unchanged: not closed after the tag or filter
    warning: --text:1:7: `ZZZZ` is kept unchanged: the secret does not exist
    ");

    // If nothing is left to resolve, no vault is needed.
    let only = "{{ secrets.x | upper }}";
    stderr!(bare(&sandbox, ["render", "-e", only, "--keep-unknown"]).run().succeeds().stdout(only), @"warning: --text:1:1: kept unchanged: unknown filter; the filters are json, shell, url, base64, trim, dotenv");
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

#[test]
fn output_dash_is_stdout_and_text_may_start_with_a_dash() {
    let sandbox = Sandbox::with_secrets(&[("x", "value")]);
    sandbox.run(["render", "-e", "-{{X}}", "-o", "-"]).succeeds().stdout("-value");
    assert!(!sandbox.path("-").exists());
    let output = sandbox.run(["render", "-e", "{{X}}", "-o", "-", "--check"]).fails_with(2);

    stderr!(output, @"
    error: `--check` and `--mode` require a file
    hint: set it with `-o OUT`
    ");
}

#[test]
fn a_terminal_shows_the_tag_in_place_of_each_value() {
    let sandbox = sandbox();
    sandbox.write(
        "t",
        "a={{X}} b={{ secrets.MY_SECRET | json }} c={{TOKEN}} d={{ nothing }} e=\\{{X}}\n",
    );

    let masked = "a=‹x› b=‹my-secret› c=‹TOKEN› d={{ nothing }} e={{X}}\r\n";
    let note =
        "warning: a terminal shows ‹tag› for each value; use `--reveal` to print the\r\nvalues\r\n";
    let script = format!(
        "export SECRETS_PASSPHRASE='{PASSPHRASE}'\n\
         \"$secrets\" render t --keep-unknown 2>/dev/null; echo 1\n\
         \"$secrets\" render t --keep-unknown -o - 2>&1 | cat >/dev/null; \"$secrets\" render -e '{{{{X}}}}!'; echo 2\n\
         \"$secrets\" render -e '[{{{{X}}}}]' --reveal; echo 3\n\
         \"$secrets\" render -e '({{{{X}}}})' | cat; echo 4\n\
         \"$secrets\" render -e 'plain'; echo 5"
    );

    let mut terminal = Terminal::shell(&sandbox, &script);

    // This holds for short values and for filtered ones.
    terminal.waits_for(masked).waits_for("1\r\n").waits_for(note).waits_for("‹x›!2\r\n");
    terminal.waits_for("[vx]3\r\n").waits_for("(vx)4\r\n").waits_for("plain5\r\n");
    assert_eq!(terminal.ends_with(0).matches("warning: a terminal shows").count(), 1);
}

#[test]
fn pipes_and_files_get_the_values_with_and_without_reveal() {
    let sandbox = sandbox();
    for reveal in [&[][..], &["--reveal"]] {
        sandbox
            .run([&["render", "-e", "{{X}}"][..], reveal].concat())
            .succeeds()
            .stdout("vx")
            .stderr("");

        sandbox
            .run([&["render", "-q", "-e", "{{X}}", "-o", "out"][..], reveal].concat())
            .succeeds();
        assert_eq!(sandbox.read("out"), b"vx");
        fs::remove_file(sandbox.path("out")).unwrap();
    }
}

#[test]
fn an_output_that_git_tracks_is_refused_and_an_unignored_one_is_a_warning() {
    let sandbox = Sandbox::with_secrets(&[("key", "a-value-of-it")]);
    fs::create_dir(sandbox.path("repo")).unwrap();
    sandbox.write("repo/t", "K={{ secrets.key }}\n");
    sandbox.write("repo/plain", "no placeholder\n");
    sandbox.write("repo/out", "before\n");
    sandbox.write("repo/.gitignore", "/ignored\n");
    sandbox.git("repo", &["init", "-q"]);
    sandbox.git("repo", &["add", "."]);

    let render = |arguments: &[&str]| {
        sandbox.command([&["render"], arguments].concat()).current_dir(sandbox.path("repo")).run()
    };

    let run = render(&["t", "-o", "out"]).fails_with(7);
    stderr!(run, @"
    error: `out` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached out`, or write it anyway with `--force`
    ");

    assert_eq!(sandbox.read("repo/out"), b"before\n");

    // The error comes before the question for a passphrase.
    let locked = sandbox.command(["render", "t", "-o", "out"]).without_env("SECRETS_PASSPHRASE");
    stderr!(locked.current_dir(sandbox.path("repo")).run().fails_with(7), @"
    error: `out` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached out`, or write it anyway with `--force`
    ");

    // Checking is not writing. An output without a value may be committed.
    stderr!(render(&["t", "-o", "out", "--check"]).fails_with(8), @"
    error: `out` is out of date
    hint: render it without `--check`
    ");

    stderr!(render(&["plain", "-o", "out"]).succeeds(), @"wrote `out`");
    stderr!(render(&["t", "-o", "out", "--force"]).succeeds(), @"wrote `out`");
    assert_eq!(sandbox.read("repo/out"), b"K=a-value-of-it\n");

    let warning =
        "warning: git does not ignore `new`: add it to .gitignore before the next commit\n";
    render(&["t", "-o", "new"]).succeeds().stderr(&format!("{warning}wrote `new`\n"));
    render(&["t", "-o", "new", "--check"]).succeeds();
    stderr!(render(&["t", "-o", "ignored"]).succeeds(), @"wrote `ignored`");
    stderr!(render(&["t", "-o", "../outside"]).succeeds(), @"wrote `../outside`");

    // The repository is found from another directory as well.
    let run = sandbox.run(["render", "repo/t", "-o", "repo/out"]).fails_with(7);
    stderr!(run, @"
    error: `repo/out` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached repo/out`, or write it anyway with `--force`
    ");

    // A repository that cannot be read does not count as missing.
    sandbox.write("repo/.git/index", "DIRC");
    stderr!(render(&["t", "-o", "other"]).fails_with(1), @"
    error: cannot read `[dir]/repo/.git/index`: it is truncated
    hint: check the repository with `git fsck`
    hint: use `--force` to write the file without checking git
    ");

    stderr!(render(&["t", "-o", "other", "--force"]).succeeds(), @"wrote `other`");
    stderr!(sandbox.run(["render", "--all", "--force"]).fails_with(2), @"
    error: `--all` cannot be used with `--force`
    hint: usage: secrets render [OPTIONS] [FILE]
    ");
}

#[test]
fn no_link_leads_a_template_or_an_output_into_a_git_directory() {
    let sandbox = Sandbox::with_secrets(&[("key", "a-value-of-it")]);
    fs::create_dir(sandbox.path("repo")).unwrap();
    sandbox.git("repo", &["init", "-q"]);
    sandbox.write("repo/t", "K={{ secrets.key }}\n");
    std::os::unix::fs::symlink(".git/config", sandbox.path("repo/app.tmpl")).unwrap();
    std::os::unix::fs::symlink(".git/hooks", sandbox.path("repo/conf")).unwrap();
    std::os::unix::fs::symlink(".git", sandbox.path("repo/store")).unwrap();

    let render = |arguments: &[&str]| {
        sandbox.command([&["render"], arguments].concat()).current_dir(sandbox.path("repo")).run()
    };

    for arguments in [
        &["app.tmpl"][..],
        &["store/config"],
        &["t", "-o", "conf/pre-commit"],
        &["t", "-o", "store/x"],
    ] {
        let run = render(arguments).fails_with(7).stdout("");
        run.stderr_has("` leads into a git directory by a symbolic link\n");
    }

    // A path that was typed is intentional.
    stderr!(render(&["t", "-o", ".git/mine"]).succeeds(), @"wrote `.git/mine`");
    render(&[".git/mine"]).succeeds().stdout("K=a-value-of-it\n");
}
