//! Placeholders are replaced, and every other byte is copied.

use crate::support::Sandbox;

use super::{bare, sandbox};

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
