//! One command turns a dotenv file into a project, or stores nothing.

use terminal_secrets::dotenv;
use terminal_secrets::setup::migration::{Migration, MigrationError, Obstacle};

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

use super::of;

const FILE: &str = "# Settings of the shop\n\n# The database of the dev server\nDATABASE_URL=\"postgres://x:\\\"y$z@h/db\"\n\
                    export API_KEY='sk_live_51Hx0aBcDeFgHiJk'  # live!\n\nPORT=3000\nEMPTY=\n\
                    PEM=\"-----BEGIN\nabc\\n\n-----END\"\n";

#[test]
fn one_command_turns_a_dotenv_file_into_a_project() {
    let sandbox = Sandbox::new();
    sandbox.git("", &["init", "-q"]);
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

#[test]
fn nothing_is_stored_if_the_migration_cannot_be_finished() {
    let sandbox = Sandbox::new();
    sandbox.git("", &["init", "-q"]);
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
