//! Every reader gets the same value as before, or the file is refused.

use std::path::Path;

use proptest::prelude::*;
use terminal_secrets::dotenv;
use terminal_secrets::dotenv::readers::{Reader, Readers};
use terminal_secrets::setup::migration::{KeptNames, Migration, MigrationOptions};
use terminal_secrets::template::{Plan, Template, grammar::Grammar};

use crate::support::Sandbox;
use crate::support::random::cases;

use super::of;

/// The readers of a file get the same values as before. Otherwise the variable keeps its spelling.
#[test]
fn every_reader_gets_the_same_value_as_before() {
    let wanted = |text: &str, readers: &str| {
        let readers = readers.split(' ').map(|name| name.parse::<Reader>().unwrap()).collect();
        let made = Migration::of(
            text.as_bytes(),
            MigrationOptions {
                plain: &KeptNames::new(),
                example: false,
                readers,
                namespaced: false,
                is_part: false,
            },
        )
        .ok()
        .unwrap();

        let out = rendered(&made, readers);
        (String::from_utf8(made.template).unwrap(), String::from_utf8(out).unwrap())
    };

    let filtered = "A={{ secrets.A | dotenv }}\n";
    let usual = "bash compose node npm-dotenv python-dotenv";
    for (text, readers, template, output) in [
        ("A='pa$word'\n", usual, filtered, "A='pa$word'\n"),
        ("A=\"pa\\$word\"\n", "nextjs", filtered, "A=\"pa\\$word\"\n"),
        ("A='pa\\$word'\n", "nextjs vite", filtered, "A=\"pa\\$word\"\n"),
        // node reads the backslash as part of the value.
        ("A=\"pa\\$word\"\n", "node", filtered, "A='pa\\$word'\n"),
        ("A=pa$$word\n", "compose", filtered, "A='pa$word'\n"),
        ("A=\"it's\"\n", usual, filtered, "A=\"it's\"\n"),
        // The readers disagree, and each still reads the same value as before.
        ("A=abc#def\n", usual, "A={{ secrets.A }}\n", "A=abc#def\n"),
        ("A=\"x\\ny\"\n", usual, "A=\"{{ secrets.A | json }}\"\n", "A=\"x\\ny\"\n"),
        ("A='pa$word'\n", "nextjs node", "A='{{ secrets.A }}'\n", "A='pa$word'\n"),
        // No spelling works for all readers, so the variable stays unchanged.
        ("A=\"pa\\$word\"\n", usual, "A=\"pa\\$word\"\n", "A=\"pa\\$word\"\n"),
        (
            "A=\"pa\\$\\$w\\`x\\`\"\nB=xx\n",
            usual,
            "A=\"pa\\$\\$w\\`x\\`\"\nB={{ secrets.B | dotenv }}\n",
            "A=\"pa\\$\\$w\\`x\\`\"\nB=xx\n",
        ),
    ] {
        assert_eq!(
            wanted(text, readers),
            (template.to_owned(), output.to_owned()),
            "{text} for {readers}"
        );
    }
}

#[test]
fn a_file_that_would_not_round_trip_is_refused() {
    let sandbox = Sandbox::new();
    for (text, message) in [
        (
            "A=x1\nA=x2\n",
            "error: f.env:2: `A` has two different values in this file; names that differ only in case, or in `-` and `_`, count as one\n",
        ),
        (
            "# {{ secrets.other | upper }}\nA=x1\n",
            "error: f.env:1: this line has an invalid placeholder",
        ),
        ("A=1\nno name\n", "error: f.env:2:4: "),
        ("A=\n", "error: `f.env` contains no values that look like secrets\n"),
    ] {
        sandbox.write("f.env", text);
        let run = sandbox.run(["template", "f.env"]).fails_with(2).stdout("");
        run.stderr_has(message).stderr_has("nothing was written\n");
    }

    sandbox.write("f.env", "A=x1\n");
    sandbox
        .run(["template", "f.env", "--keep", "B"])
        .fails_with(2)
        .stderr_has("`f.env` has no variable `B` to keep");

    sandbox.write("f.env", "A=x1\nB=\"{{ secrets.a }}\"\n");
    stderr!(sandbox.run(["template", "f.env"]).fails_with(2), @"
    error: f.env:2: the value of `B` already contains a placeholder
    hint: use `--keep B` to leave values that are not secrets in the template; move placeholders that should be replaced into a template; nothing was written
    ");

    let other = Sandbox::new();
    other.write("f.env", "A=x1\nB=\"{{ secrets.a }}\"\n");
    other.run(["template", "f.env", "--keep", "B"]).succeeds().stderr_has("`B` is kept as it is");
    assert_eq!(other.read("f.env.tmpl"), b"A={{ secrets.A | dotenv }}\nB=\"\\{{ secrets.a }}\"\n");
    sandbox.write("f.env", "A=x1\n");
    sandbox.write("f.env.tmpl", "mine");
    sandbox
        .run(["template", "f.env"])
        .fails_with(4)
        .stderr_has("error: `f.env.tmpl` already exists\n");

    sandbox
        .run(["template", "f.env", "-o", "/tmp/elsewhere.tmpl"])
        .fails_with(7)
        .stderr_has("is outside this directory");

    assert!(!Path::new("/tmp/elsewhere.tmpl").exists() && !sandbox.path(".secrets.toml").exists());
    sandbox.run(["project", "list"]).succeeds().stdout("");
}

/// A kept value or a comment that holds a value of another secret of the project would publish it.
#[test]
fn a_value_of_another_secret_never_reaches_a_template() {
    let sandbox = Sandbox::with_secrets(&[("other", "a-value-of-another-file")]);
    for (text, options, line) in [
        ("COPY=a-value-of-another-file\nA=x1\n", &["--keep", "COPY"][..], 1),
        ("A=x1\n# a-value-of-another-file\n", &[], 2),
    ] {
        sandbox.write("f.env", text);
        let run = sandbox
            .run([&["-p", "default", "template", "f.env"], options].concat())
            .fails_with(2)
            .stdout("");
        let place = format!("error: f.env:{line}: ");
        run.stderr_has(&(place + "the value of `other` would stay in this line of the template\n"));
    }

    assert!(!sandbox.path("f.env.tmpl").exists() && !sandbox.path(".secrets.toml").exists());
    stderr!(sandbox.run(["get", "A"]).fails_with(3), @"
    error: no secret `A` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");
}

#[test]
fn a_name_that_a_reader_does_not_support_is_a_warning() {
    let sandbox = Sandbox::new();
    sandbox
        .write(".env", "x.y.z=secret-value-1\nA-B=secret-value-2\nFINE=secret-value-3\n1-X=3000\n");
    let text = "warning: `.env`: `bash` cannot have variables named `x.y.z` and `A-B`; \
                list the programs that read the file in `readers`\n";

    sandbox.run(["template", ".env", "--keep", "1-X"]).succeeds().stderr_has(text);
    let run = sandbox.run(["setup"]).succeeds().stderr_has(text).without("a different value");
    run.stderr_has("`.env`, which is up to date");
    sandbox.run(["check"]).succeeds().stderr_has(text);

    // Named readers are checked for all variables. Readers that can have the names give no warning.
    for (readers, text) in [
        ("node,npm-dotenv", None),
        ("bash,node", Some("`bash` cannot have variables named `x.y` and `1X`; ")),
        ("bash,systemd", Some("`bash` and `systemd` do not read the variable `x.y`; ")),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("a.env", "export x.y=secret-value-1\n1X=3000\n");
        let run = sandbox
            .run(["template", "a.env", "--keep", "1X", "-q", "--readers", readers])
            .succeeds();
        match text {
            Some(text) => drop(run.stderr_has(text)),
            None => drop(run.stderr("")),
        }
    }
}

#[test]
fn obvious_settings_stay_and_all_problems_are_reported_together() {
    let sandbox = Sandbox::new();
    let file = "# Choose local, staging or production\nAPP_ENV=production\nDEBUG=false\n# set DEBUG to false in production\n\
                LOG=stack\n# the stack channel\nAPI_KEY=sk_live_0123456789abcdef\n";
    sandbox.write(".env", file);
    stderr!(sandbox.run(["-p", "web", "template", ".env"]).fails_with(2), @"
    error: .env:6: the value of `LOG` would stay in this line of the template
    hint: use `--keep LOG` to leave values that are not secrets in the template; nothing was written
    ");

    sandbox.write(
        ".env",
        "# region eu-west, mail from shop\nREGION=eu-west\nMAIL=shop\n# old: sk_live_0123456789abcdef\n\
         CERT=\"a\nb\"\nAPI_KEY=sk_live_0123456789abcdef\nX=1x\nX=2x\n",
    );

    stderr!(sandbox.run(["-p", "web", "template", ".env", "--keep", "X"]).fails_with(2), @"
    error: `.env` has 3 problems
    .env:1: the value of `REGION` would stay in this line of the template
    .env:1: the value of `MAIL` would stay in this line of the template
    .env:4: the value of `API_KEY` would stay in this line of the template
    hint: use `--keep X,REGION,MAIL` to leave values that are not secrets in the template; change the lines that contain a secret or cannot be stored; nothing was written
    ");

    sandbox.write(".env", file);
    stderr!(sandbox.run(["-p", "web", "template", ".env", "--keep", "LOG"]).succeeds(), @"
    `APP_ENV` is kept as it is: it is an environment
    `DEBUG` is kept as it is: it is a boolean
    `LOG` is kept as it is: as requested
    use `--secret NAME,...` to store a value that only looks like a setting
    imported into project `web`: 1 created
    wrote `.env.tmpl`
    wrote `.secrets.toml`
    next: review the files, then run `secrets setup`
    ");

    assert_eq!(
        String::from_utf8(sandbox.read(".env.tmpl")).unwrap(),
        file.replace("sk_live_0123456789abcdef", "{{ secrets.API_KEY | dotenv }}")
    );

    // The comment at the top does not describe the first variable.
    sandbox
        .write("b.env", "# What this file is for\nB_KEY=b1x\n# of the bank\nC_KEY=c1x\nPORT=1\n");
    sandbox.run(["template", "b.env", "--secret", "PORT", "-q"]).succeeds();
    let manifest = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();

    assert!(
        manifest.contains("[secrets.B_KEY]\n\n[secrets.C_KEY]\ndescription = \"of the bank\"\n"),
        "{manifest}"
    );

    assert!(manifest.contains("[secrets.PORT]\n"), "{manifest}");

    // No secret is left to store.
    sandbox.write("c.env", "PORT=3000\n");
    stderr!(sandbox.run(["template", "c.env"]).fails_with(2), @"
    error: `c.env` contains no values that look like secrets
      PORT: it is a port
    hint: use `--secret NAME,...` to store a value that only looks like a setting
    hint: nothing was written
    ");
}

#[test]
fn the_readers_are_guessed_from_the_project() {
    let sandbox = Sandbox::new();
    for (name, text) in [
        ("docker-compose.yml", "x"),
        (
            "package.json",
            r#"{"dependencies": {"next": "16"}, "devDependencies": {"vite": "7", "dotenv": "17"},
                "scripts": {"start": "node --env-file=.env x.js"}}"#,
        ),
        ("requirements.txt", "Flask==3\n"),
        (".envrc", "source .env\n"),
    ] {
        sandbox.write(name, text);
    }

    sandbox.write(".env", "API_KEY='pa$word'\nB_KEY=b1\n");
    stderr!(sandbox.run(["-p", "web", "template", ".env"]).succeeds(), @"
    `.env` is read by `compose` (`docker-compose.yml`), `nextjs` (`package.json`), `vite` (`package.json`), `npm-dotenv` (`package.json`), `node` (`package.json`), `python-dotenv` (`requirements.txt`), `bash` (`.envrc`); change this with `--readers`
    `API_KEY` keeps its spelling, because the readers of `.env` interpret it differently
    imported into project `web`: 2 created
    wrote `.env.tmpl`
    wrote `.secrets.toml`
    next: review the files, then run `secrets setup`
    ");

    let manifest = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    let all = "readers = [\"bash\", \"compose\", \"nextjs\", \"node\", \"npm-dotenv\", \"python-dotenv\", \"vite\"]\n";
    assert!(manifest.ends_with(all), "{manifest}");

    // Named readers take precedence, and an unreadable file gives no guess.
    sandbox.write("package.json", "{");
    sandbox.write("b.env", "API_KEY='pa$word'\n");
    sandbox.run(["template", "b.env", "--readers", "node,bash", "-q"]).succeeds();
    assert_eq!(sandbox.read("b.env.tmpl"), b"API_KEY={{ secrets.API_KEY | dotenv }}\n");
}

/// Renders a migration's template with its own values.
fn rendered(made: &Migration, readers: Readers) -> Vec<u8> {
    let template = Template::from_text("t", made.template.clone());
    let mut out = Vec::new();
    let plan = Plan::new(template, Grammar { readers, ..Grammar::default() }).unwrap();
    plan.resolve(made).unwrap().expand(&mut out).unwrap();

    out
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn the_rendered_file_has_the_same_values(
        pieces in prop::collection::vec(
            prop_oneof![
                "[A-C]=[ -~]{0,12}\n", "[D-F]='[^']{0,12}'( # x)?\n", "[G-I]=\"([^\"\\\\]|\\\\[ntr\"\\\\$x]){0,12}\"\r?\n",
                "#[ -~]{0,20}\n", "\n", "export [J-L]=`[^`]{0,9}`\n", "#\\{\\{ [A-Z]{1,3} \\}\\}\n",
            ],
            0..8,
        )
    ) {
        let text = pieces.concat();
        if let Ok(made) = of(&text, &[]) {
            let (before, out) = (dotenv::parse(text.as_bytes()).unwrap(), rendered(&made, Readers::default()));
            let after = dotenv::parse(&out).unwrap();
            prop_assert_eq!(before.len(), after.len());
            for (a, b) in before.iter().zip(&after) {
                prop_assert_eq!(&a.name, &b.name);
                prop_assert_eq!(a.value.expose(), b.value.expose());
            }
        }
    }
}
