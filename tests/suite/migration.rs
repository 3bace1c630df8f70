//! `secrets template` turns a dotenv file into a template that renders to the same values and keeps
//! none of them.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use terminal_secrets::dotenv;
use terminal_secrets::dotenv::readers::{Reader, Readers};
use terminal_secrets::setup::migration::{KeptNames, Migration, MigrationError, Obstacle, Wanted};
use terminal_secrets::template::{Plan, Template, grammar::Grammar};

use crate::prompts::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

const FILE: &str = "# Settings of the shop\n\n# The database of the dev server\nDATABASE_URL=\"postgres://x:\\\"y$z@h/db\"\n\
                    export API_KEY='sk_live_51Hx0aBcDeFgHiJk'  # live!\n\nPORT=3000\nEMPTY=\n\
                    PEM=\"-----BEGIN\nabc\\n\n-----END\"\n";

fn git(sandbox: &Sandbox) {
    assert!(
        Command::new("git")
            .args(["init", "-q", "."])
            .current_dir(sandbox.path(""))
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn one_command_turns_a_dotenv_file_into_a_project() {
    let sandbox = Sandbox::new();
    git(&sandbox);
    sandbox.write(".gitignore", "vault.db*");
    sandbox.write(".env", FILE);
    stderr!(sandbox.run(["-p", "web", "template", ".env", "--keep", "PORT"]).succeeds(), @"
    `PORT` is kept as it is: as requested
    `EMPTY` is kept as it is: it is empty
    `DATABASE_URL` keeps its spelling, because the readers of `.env` interpret it differently
    `PEM` will have the same value for all readers of `.env`, which now read different values
    comments or quotes of `.env` will change, but no value does; `setup` asks before replacing the file
    imported into project `web`: 3 created
    wrote `.env.tmpl`
    wrote `.secrets.toml`
    added `/.env` to .gitignore
    next: review the files, then run `secrets setup`
    ");

    assert_eq!(
        String::from_utf8(sandbox.read(".env.tmpl")).unwrap(),
        "# Settings of the shop\n\n# The database of the dev server\nDATABASE_URL=\"{{ secrets.DATABASE_URL | json }}\"\n\
         export API_KEY={{ secrets.API_KEY | dotenv }}  # live!\n\nPORT=3000\nEMPTY=\nPEM={{ secrets.PEM | dotenv }}\n"
    );

    assert_eq!(sandbox.read(".gitignore"), b"vault.db*\n/.env\n");
    let manifest = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    assert!(
        manifest.contains(
            "project = \"web\"\n\n[secrets.DATABASE_URL]\ndescription = \"The database of the dev server\"\n"
        )
    );

    assert!(manifest.ends_with("\n[[render]]\ntemplate = \".env.tmpl\"\noutput = \".env\"\n"));

    // The rendered file equals the original, except for one escape that is spelled differently.
    let run = stderr!(sandbox.run(["setup", "--yes"]).succeeds(), @"
    warning: `.env`: `bash`, `compose`, `node` and `npm-dotenv` read a different value for `DATABASE_URL`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    wrote `.env`
    project `web` is set up: 3 secrets, 1 output
    ");

    stderr!(run, @"
    warning: `.env`: `bash`, `compose`, `node` and `npm-dotenv` read a different value for `DATABASE_URL`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    wrote `.env`
    project `web` is set up: 3 secrets, 1 output
    ");

    let values = |text: &[u8]| -> Vec<(String, Vec<u8>)> {
        dotenv::parse(text)
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.value.expose().to_vec()))
            .collect()
    };

    assert_eq!(values(&sandbox.read(".env")), values(FILE.as_bytes()));
    stderr!(sandbox.run(["check"]).succeeds(), @"
    warning: `.env`: `bash`, `compose`, `node` and `npm-dotenv` read a different value for `DATABASE_URL`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    project `web` has everything it needs and is up to date: 3 secrets, 1 output
    ");
}

#[test]
fn an_existing_manifest_is_extended() {
    let sandbox = Sandbox::new();
    let before = "# ours\nproject = 'web' # short\n\n[secrets.api-key]\noptional = true\n\n[run.env]\nA = \"1\"\n";
    sandbox.write(".secrets.toml", before);
    std::fs::create_dir(sandbox.path("config")).unwrap();
    sandbox.write("config/app.env", "API_KEY=sk_live_51Hx0aBcDeFgHiJk\nOTHER_KEY=x\n");

    let run = sandbox.command(["template", "app.env"]).current_dir(sandbox.path("config")).run();
    stderr!(run.succeeds(), @"
    imported into project `web`: 2 created
    wrote `app.env.tmpl`
    added the template to `../.secrets.toml`
    next: review the files, then run `secrets setup`
    ");

    let after = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    assert!(
        after
            .starts_with("# ours\nproject = 'web' # short\n\n[secrets.api-key]\noptional = true\n"),
        "{after}"
    );

    assert!(
        after.contains("[secrets.OTHER_KEY]\n") && !after.contains("[secrets.API_KEY]"),
        "{after}"
    );

    assert!(
        after.contains(
            "[[render]]\ntemplate = \"config/app.env.tmpl\"\noutput = \"config/app.env\"\n"
        ),
        "{after}"
    );

    // The file still has the mode of the original.
    stderr!(sandbox.run(["check"]).fails_with(8).stdout("stale\tconfig/app.env\tpermissions too \
                                                         wide\n"), @"
    error: an output is out of date
    hint: render outdated outputs with `secrets render --stale`
    ");

    stderr!(sandbox.run(["setup"]).succeeds(), @"
    changed the mode of `config/app.env`, which is up to date
    project `web` is set up: 2 secrets, 1 output
    ");

    stderr!(sandbox.run(["check"]).succeeds(), @"project `web` has everything it needs and is up to date: 2 secrets, 1 output");
}

#[test]
fn an_example_becomes_placeholders_and_stores_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        ".env.example",
        "# Copy this file, then set API_KEY=…\n\n# Postgres URL, as in X=postgres://localhost/x,\n# of the dev server\n\
         DATABASE_URL=postgres://localhost/x\n# OLD_KEY=0123\nAPI_KEY=\nPORT=3000\nREGION=eu\n",
    );

    stderr!(sandbox.run(["-p", "web", "template", ".env.example", "--example", "--keep", "REGION"]).succeeds(), @"
    `PORT` is kept as it is: it is a port
    `REGION` is kept as it is: as requested
    use `--secret NAME,...` to store a value that only looks like a setting
    wrote `.env.tmpl`
    wrote `.secrets.toml`
    next: review the files, then run `secrets setup`
    ");

    assert_eq!(
        String::from_utf8(sandbox.read(".env.tmpl")).unwrap(),
        "# Copy this file, then set API_KEY=…\n\n# Postgres URL, as in X=postgres://localhost/x,\n# of the dev server\n\
         DATABASE_URL={{ secrets.DATABASE_URL | dotenv }}\n# OLD_KEY=0123\nAPI_KEY={{ secrets.API_KEY | dotenv }}\n\
         PORT=3000\nREGION=eu\n"
    );

    stderr!(sandbox.run(["setup"]).fails_with(3).stdout(""), @r#"
    error: 2 secrets are missing in project `web`
      DATABASE_URL: "Postgres URL, as in X=postgres://localhost/x, of the dev server"
      API_KEY: "OLD_KEY=0123"
    hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    "#);

    stderr!(sandbox.run(["list"]).succeeds(), @"no secrets in project `web`");

    // An empty value counts as a value.
    sandbox.write("old.env", "API_KEY=\nDATABASE_URL=\"u v\"\nMORE=1\n");
    stderr!(sandbox.run(["setup", "--from", "old.env"]).succeeds(), @"
    created `DATABASE_URL` in project `web`, hint ••••
    created `API_KEY` in project `web`, hint ••••
    wrote `.env`
    project `web` is set up: 2 secrets, 1 output
    ");

    assert!(
        sandbox
            .read(".env")
            .ends_with(b"DATABASE_URL='u v'\n# OLD_KEY=0123\nAPI_KEY=''\nPORT=3000\nREGION=eu\n")
    );

    sandbox.write("x.env", "A=1");
    stderr!(sandbox.run(["template", "x.env", "--example"]).fails_with(2), @"
    error: cannot determine from its name what `x.env` is an example of
    hint: use a name that ends with one of: example, sample, dist, template, defaults
    ");
}

#[test]
fn no_value_stays_in_the_template() {
    // The value also appears in a comment, in another form, or in a value that is kept.
    for text in [
        "# sk_live_51Hx0aBcDeFgHiJk\nKEY=sk_live_51Hx0aBcDeFgHiJk\n",
        "# c2tfbGl2ZV81MUh4MGFCY0RlRmdIaUpr\nKEY=sk_live_51Hx0aBcDeFgHiJk\n",
        "KEY=sk_live_51Hx0aBcDeFgHiJk\nKEPT=x-sk_live_51Hx0aBcDeFgHiJk\n",
        "# the old PIN is 48151\nPIN=48151\n",
    ] {
        let problems = problems(of(text, &["KEPT"]));
        assert!(matches!(problems[..], [(_, Obstacle::Leak(_), false)]), "{problems:?}");
    }

    // A commented-out assignment loses its value, which may be an old secret.
    let text = "\u{feff}#A=old-old-old\r\n  # export\tB = older-older\n# a note: fine =\nC='new' # was D=older\n#\n\
                # PEM=\"-----BEGIN\n# abcdefgh\n#-----END\"\n# what E is for\nE=1\n";
    let made = of(text, &[]).ok().unwrap();
    assert_eq!(made.blanked, [1, 2, 4, 6, 7, 8]);

    let template = "\u{feff}#A=\r\n  # export\tB =\n# a note: fine =\nC={{ secrets.C | dotenv }} # was D=\n#\n\
                    # PEM=\n#\n#\n# what E is for\nE={{ secrets.E | dotenv }}\n";
    assert_eq!(String::from_utf8(made.template).unwrap(), template);

    // Commented-out text never becomes a description.
    assert!(made.secrets.iter().all(|(_, description, _)| description.is_none()));

    // A name that gives no valid tag would leave its value in the file.
    let problems = problems(of("__=hunter2\n", &[]));
    assert!(matches!(problems[..], [(1, Obstacle::Name { .. }, true)]), "{problems:?}");
}

fn of(text: &str, keep: &[&str]) -> Result<Migration, MigrationError> {
    let plain: KeptNames = keep.iter().map(|name| ((*name).to_owned(), "as requested")).collect();
    Migration::of(
        text.as_bytes(),
        Wanted {
            plain: &plain,
            example: false,
            readers: Readers::default(),
            namespaced: false,
            is_part: false,
        },
    )
}

/// Returns the lines, the obstacles, and whether `--keep` would help.
fn problems(made: Result<Migration, MigrationError>) -> Vec<(u64, Obstacle, bool)> {
    match made.err().unwrap() {
        MigrationError::Problems(all) => all
            .into_iter()
            .map(|problem| (problem.line, problem.obstacle, problem.is_keepable))
            .collect(),
        other => panic!("{other}"),
    }
}

/// The readers of a file get the same values as before. Otherwise the variable keeps its spelling.
#[test]
fn every_reader_gets_the_same_value_as_before() {
    let wanted = |text: &str, readers: &str| {
        let readers = readers.split(' ').map(|name| name.parse::<Reader>().unwrap()).collect();
        let made = Migration::of(
            text.as_bytes(),
            Wanted {
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
fn nothing_is_stored_if_the_migration_cannot_be_finished() {
    let sandbox = Sandbox::new();
    git(&sandbox);
    sandbox.write(".env", "KEY=sk_live_51Hx0aBcDeFgHiJk\n");
    std::fs::create_dir(sandbox.path(".gitignore")).unwrap();
    stderr!(sandbox.run(["template", ".env"]).fails_with(7), @"
    error: `.gitignore` is not a regular file
    hint: move it away, or choose another file in `.secrets.toml`; nothing was written
    ");

    let output = sandbox.run(["template", ".env", "--on-conflict", "skip"]).fails_with(2);
    stderr!(output, @"
    error: `--on-conflict <WHAT>` is not one of its possible values
    hint: possible values: fail, overwrite, separate
    ");

    std::os::unix::fs::symlink(".env", sandbox.path("link.env")).unwrap();
    stderr!(sandbox.run(["template", "link.env"]).fails_with(7), @"
    error: `link.env` is not a regular file, so it cannot be rendered later
    hint: choose the file itself; nothing was written
    ");

    sandbox.run(["project", "list"]).succeeds().stdout("");
    assert!(!sandbox.path(".env.tmpl").exists() && !sandbox.path(".secrets.toml").exists());
    std::fs::remove_dir(sandbox.path(".gitignore")).unwrap();

    // A migration that was interrupted after writing the template is resumed.
    sandbox.write(".env.tmpl", "KEY={{ secrets.KEY | dotenv }}\n");
    stderr!(sandbox.run(["-p", "web", "template", ".env"]).succeeds(), @"
    imported into project `web`: 1 created
    wrote `.secrets.toml`
    added `/.env` to .gitignore
    next: review the files, then run `secrets setup`
    ");

    // The error mentions only options that this command has.
    sandbox.write("c.env", "KEY=another value\n");
    let run = sandbox.run(["template", "c.env"]).fails_with(4);
    stderr!(run, @"
    `KEY` keeps its spelling, because the readers of `c.env` interpret it differently
    error: `KEY` has a different value in project `web`, used by `.env`
    hint: use `--on-conflict separate` to store it under another tag, such as `KEY-c`
    hint: use `--on-conflict overwrite --yes` to overwrite it for these outputs too; nothing was written
    ");

    // The template's placeholders refer to the manifest's project.
    sandbox.write("b.env", "B=1\n");
    stderr!(sandbox.run(["-p", "other", "template", "b.env"]).fails_with(2), @"
    error: `.secrets.toml` belongs to another project
    hint: remove `--project`; nothing was written
    ");
}

#[test]
fn a_manifest_keeps_its_line_endings() {
    let sandbox = Sandbox::new();
    sandbox.write(".secrets.toml", "\u{feff}# ours\r\nproject = \"web\"\r\n");
    sandbox.write("a.env", "A=1234\n");
    sandbox.run(["template", "a.env", "-q"]).succeeds();

    let text = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    assert!(text.starts_with("\u{feff}# ours\r\nproject = \"web\"\r\n"), "{text:?}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{text:?}");
    stderr!(sandbox.run(["check"]).fails_with(8).stdout_has("permissions too wide"), @"
    error: an output is out of date
    hint: render outdated outputs with `secrets render --stale`
    ");
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
fn a_file_in_utf_16_is_recognized_by_every_command() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    sandbox.write(".secrets.toml", "[secrets.key]\n");
    let text: Vec<u8> =
        "API_KEY=secret-value-1\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let marked = [&[0xfe, 0xff], &text[..]].concat();

    for bytes in [text, marked] {
        sandbox.write("w.env", bytes);
        for (line, code) in [
            (&["template", "w.env"][..], 2),
            (&["setup", "--from", "w.env"], 2),
            (&["run", "--env-file", "w.env", "--", "true"], 125),
        ] {
            sandbox.run(line).fails_with(code).stdout("").stderr_has(
                "error: `w.env` is not a dotenv file: it is UTF-16 text, but only UTF-8 can be read\n\
                 hint: save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`\n",
            );
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
fn a_terminal_is_asked_for_each_variable_and_for_the_readers() {
    let sandbox = Sandbox::new();
    sandbox.write("compose.yaml", "services: {}\n");
    sandbox.write(".env", "PORT=3000\nREGION=eu\nAPI_KEY=pa$$word\nEMPTY=\n");
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" -p web template .env --keep REGION");

    terminal.waits_for("Which programs read `.env`? [compose]: ").types("compose, nodejs\n");
    terminal.waits_for("unknown reader; the readers are bash, ");
    terminal.waits_for("Which programs read `.env`? [compose]: ").types("\n");
    terminal.waits_for("Is `PORT` a secret? [y/N] ").types("y\n");
    terminal.waits_for("Is `API_KEY` a secret? [Y/n] ").types("\n");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");

    let screen = terminal.waits_for("next: review the files").ends_with(0);
    assert!(
        !screen.contains("REGION` a secret") && !screen.contains("EMPTY` a secret"),
        "{screen}"
    );

    assert!(!screen.contains("pa$") && !screen.contains("3000"), "{screen}");
    assert_eq!(
        String::from_utf8(sandbox.read(".env.tmpl")).unwrap(),
        "PORT={{ secrets.PORT | dotenv }}\nREGION=eu\nAPI_KEY={{ secrets.API_KEY | dotenv }}\nEMPTY=\n"
    );

    let manifest = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    assert!(manifest.ends_with("output = \".env\"\nreaders = [\"compose\"]\n"), "{manifest}");
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
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

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
