//! `secrets template`: a dotenv file becomes a template that renders to what the file said, and no value stays in it.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use terminal_secrets::dotenv;
use terminal_secrets::setup::migration::{Migration, MigrationError, Wanted};
use terminal_secrets::template::{Plan, Template, grammar::Grammar};

use crate::support::Sandbox;

const FILE: &str = "# The database of the dev server\nDATABASE_URL=\"postgres://x:\\\"y$z@h/db\"\n\
                    export API_KEY='sk_live_51Hx0aBcDeFgHiJk'  # live!\n\nPORT=3000\nEMPTY=\n\
                    PEM=\"-----BEGIN\nabc\\n\n-----END\"\n";

fn git(sandbox: &Sandbox) {
    assert!(Command::new("git").args(["init", "-q", "."]).current_dir(sandbox.path("")).status().unwrap().success());
}

#[test]
fn one_step_from_a_dotenv_file_to_a_project() {
    let sandbox = Sandbox::new();
    git(&sandbox);
    sandbox.write(".gitignore", "vault.db*");
    sandbox.write(".env", FILE);
    sandbox.run(["-p", "web", "template", ".env", "--keep", "PORT"]).succeeds().stderr(
        "`PORT` stays as it is: as asked for\n`EMPTY` stays as it is: it is empty\n\
         comments or quotes of `.env` will differ, no value does; `setup` asks before it replaces it\n\
         imported into project `web`: 3 created\nwrote `.env.tmpl`\nwrote `.secrets.toml`\n\
         added `/.env` to .gitignore\nnext: look at them, then `secrets setup`\n",
    );
    assert_eq!(
        String::from_utf8(sandbox.read(".env.tmpl")).unwrap(),
        "# The database of the dev server\nDATABASE_URL=\"{{ secrets.DATABASE_URL | json }}\"\n\
         export API_KEY='{{ secrets.API_KEY }}'  # live!\n\nPORT=3000\nEMPTY=\nPEM='{{ secrets.PEM }}'\n"
    );
    assert_eq!(sandbox.read(".gitignore"), b"vault.db*\n/.env\n");
    let manifest = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    assert!(
        manifest.contains(
            "project = \"web\"\n\n[secrets.DATABASE_URL]\ndescription = \"The database of the dev server\"\n"
        )
    );
    assert!(manifest.ends_with("\n[[render]]\ntemplate = \".env.tmpl\"\noutput = \".env\"\n"));
    // The file is what the template renders to, but for one escape that is written otherwise.
    sandbox.run(["setup", "--yes"]).succeeds().stderr_has("project `web` is set up: 3 secrets, 1 output\n");
    let values = |text: &[u8]| -> Vec<(String, Vec<u8>)> {
        dotenv::parse(text).unwrap().into_iter().map(|e| (e.name, e.value.expose().to_vec())).collect()
    };
    assert_eq!(values(&sandbox.read(".env")), values(FILE.as_bytes()));
    sandbox.run(["check"]).succeeds().stderr_has("nothing is missing or out of date");
}

#[test]
fn a_manifest_that_is_there_is_added_to() {
    let sandbox = Sandbox::new();
    let before = "# ours\nproject = 'web' # short\n\n[secrets.api-key]\noptional = true\n\n[run.env]\nA = \"1\"\n";
    sandbox.write(".secrets.toml", before);
    std::fs::create_dir(sandbox.path("config")).unwrap();
    sandbox.write("config/app.env", "API_KEY=sk_live_51Hx0aBcDeFgHiJk\nOTHER_KEY=x\n");
    let run = sandbox.command(["template", "app.env"]).current_dir(sandbox.path("config")).run();
    run.succeeds().stderr_has("wrote `app.env.tmpl`\nadded it to `../.secrets.toml`\n");
    let after = String::from_utf8(sandbox.read(".secrets.toml")).unwrap();
    assert!(after.starts_with("# ours\nproject = 'web' # short\n\n[secrets.api-key]\noptional = true\n"), "{after}");
    assert!(after.contains("[secrets.OTHER_KEY]\n") && !after.contains("[secrets.API_KEY]"), "{after}");
    assert!(after.contains("[[render]]\ntemplate = \"config/app.env.tmpl\"\noutput = \"config/app.env\"\n"), "{after}");
    // What it was made of is as open as it was.
    sandbox.run(["check"]).fails_with(8).stdout("stale\tconfig/app.env\tits mode is too wide\n").stderr_has("error: ");
    sandbox.run(["setup"]).succeeds().stderr_has("`config/app.env` is up to date, its mode was changed\n");
    sandbox.run(["check"]).succeeds().stderr_has("nothing is missing or out of date");
}

#[test]
fn an_example_becomes_placeholders_and_stores_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        ".env.example",
        "# Postgres URL,\n# of the dev server\nDATABASE_URL=postgres://localhost/x\n\nAPI_KEY=\nPORT=3000\n",
    );
    sandbox.run(["-p", "web", "template", ".env.example", "--example", "--keep", "PORT"]).succeeds().stderr(
        "`PORT` stays as it is: as asked for\nwrote `.env.tmpl`\nwrote `.secrets.toml`\n\
         next: look at them, then `secrets setup`\n",
    );
    assert_eq!(
        String::from_utf8(sandbox.read(".env.tmpl")).unwrap(),
        "# Postgres URL,\n# of the dev server\nDATABASE_URL={{ secrets.DATABASE_URL }}\n\nAPI_KEY={{ secrets.API_KEY }}\nPORT=3000\n"
    );
    sandbox.run(["setup"]).fails_with(3).stdout("").stderr(
        "error: 2 secrets are missing in project `web`\n  DATABASE_URL: \"Postgres URL, of the dev server\"\n  API_KEY\n\
         hint: `secrets setup` on a terminal asks for them; `--from FILE.env` takes them from a file\n",
    );
    sandbox.run(["list"]).succeeds().stderr("no secret in project `web`\n");
    sandbox.write("old.env", "API_KEY=k\nDATABASE_URL=\"u v\"\nMORE=1\n");
    sandbox.run(["setup", "--from", "old.env"]).succeeds().stderr_has("wrote `.env`\n");
    assert!(sandbox.read(".env").ends_with(b"DATABASE_URL=u v\n\nAPI_KEY=k\nPORT=3000\n"));
    sandbox.write("x.env", "A=1");
    sandbox.run(["template", "x.env", "--example"]).fails_with(2).stderr_has("cannot be told from its name");
}

#[test]
fn no_value_stays_behind() {
    let of = |text: &str, keep: &[&str]| {
        let keep: Vec<String> = keep.iter().map(|name| (*name).to_owned()).collect();
        Migration::of(text.as_bytes(), Wanted { keep: &keep, example: false })
    };
    // In a comment, in another form, in a value that is kept.
    for text in [
        "# sk_live_51Hx0aBcDeFgHiJk\nKEY=sk_live_51Hx0aBcDeFgHiJk\n",
        "# c2tfbGl2ZV81MUh4MGFCY0RlRmdIaUpr\nKEY=sk_live_51Hx0aBcDeFgHiJk\n",
        "KEY=sk_live_51Hx0aBcDeFgHiJk\nKEPT=x-sk_live_51Hx0aBcDeFgHiJk\n",
        "# the old PIN is 48151\nPIN=48151\n",
    ] {
        let error = of(text, &["KEPT"]).err().unwrap();
        assert!(matches!(error, MigrationError::Leak { .. }), "{error}");
    }
    // A commented-out assignment loses its value, which may be an old one.
    let text = "\u{feff}#A=old-old-old\r\n  # export\tB = older-older\n# a note: fine =\nC='new' # was D=older\n#\n\
                # PEM=\"-----BEGIN\n# abcdefgh\n#-----END\"\n# what E is for\nE=1\n";
    let made = of(text, &[]).ok().unwrap();
    assert_eq!(made.blanked, [1, 2, 4, 6, 7, 8]);
    let template = "\u{feff}#A=\r\n  # export\tB =\n# a note: fine =\nC='{{ secrets.C }}' # was D=\n#\n\
                    # PEM=\n#\n#\n# what E is for\nE={{ secrets.E }}\n";
    assert_eq!(String::from_utf8(made.template).unwrap(), template);
    // Nothing of what is commented out becomes a description either.
    assert!(made.secrets.iter().all(|(_, description, _)| description.is_none()));
    // A name that makes no tag would leave its value behind.
    assert!(matches!(of("__=hunter2\n", &[]).err().unwrap(), MigrationError::Name { line: 1, .. }));
    // What was escaped is written where nobody expands it.
    let made = of("A=\"pa\\$\\$w\\`x\\`\"\nB=\"x\\ny\"\n", &[]).ok().unwrap();
    assert_eq!(made.template, b"A='{{ secrets.A }}'\nB=\"{{ secrets.B | json }}\"\n");
}

#[test]
fn nothing_is_stored_where_it_could_not_be_finished() {
    let sandbox = Sandbox::new();
    git(&sandbox);
    sandbox.write(".env", "KEY=sk_live_51Hx0aBcDeFgHiJk\n");
    std::fs::create_dir(sandbox.path(".gitignore")).unwrap();
    sandbox.run(["template", ".env"]).fails_with(7).stderr_has("error: `.gitignore` is no regular file\n");
    sandbox.run(["template", ".env", "--on-conflict", "skip"]).fails_with(2).stderr_has("would render other values");
    std::os::unix::fs::symlink(".env", sandbox.path("link.env")).unwrap();
    sandbox.run(["template", "link.env"]).fails_with(7).stderr_has("error: `link.env` is no regular file");
    sandbox.run(["project", "list"]).succeeds().stdout("");
    assert!(!sandbox.path(".env.tmpl").exists() && !sandbox.path(".secrets.toml").exists());
    std::fs::remove_dir(sandbox.path(".gitignore")).unwrap();
    // What was broken off behind the template is gone on with.
    sandbox.write(".env.tmpl", "KEY={{ secrets.KEY }}\n");
    sandbox.run(["-p", "web", "template", ".env"]).succeeds().stderr(
        "imported into project `web`: 1 created\nwrote `.secrets.toml`\nadded `/.env` to .gitignore\n\
         next: look at them, then `secrets setup`\n",
    );
    // What is in the way is told with what this command can do.
    sandbox.write("c.env", "KEY=another value\n");
    let run = sandbox.run(["template", "c.env"]).fails_with(4);
    run.stderr_has("error: `KEY` has another value in project `web`, used by `.env`\nhint: `--on-conflict separate` ");
    // It is the manifest's project that the template's placeholders name secrets of.
    sandbox.write("b.env", "B=1\n");
    sandbox.run(["-p", "other", "template", "b.env"]).fails_with(2).stderr_has("is another project's");
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
    sandbox.run(["check"]).fails_with(8).stdout_has("its mode is too wide").stderr_has("error: ");
}

#[test]
fn what_would_not_come_out_as_it_was_is_refused() {
    let sandbox = Sandbox::new();
    for (text, message) in [
        ("A=1\nA=2\n", "error: f.env:2: `A` stands there twice with different values\n"),
        ("# {{ secrets.other }}\nA=1\n", "error: f.env: it holds a placeholder already\n"),
        ("A=1\nno name\n", "error: f.env:2:4: "),
        ("A=\n", "error: there is no value in `f.env` that would be a secret\n"),
    ] {
        sandbox.write("f.env", text);
        let run = sandbox.run(["template", "f.env"]).fails_with(2).stdout("");
        run.stderr_has(message).stderr_has("nothing was written\n");
    }
    sandbox.write("f.env", "A=1\n");
    sandbox.run(["template", "f.env", "--keep", "B"]).fails_with(2).stderr_has("there is no `B` in `f.env` to be kept");
    sandbox.write("f.env", "A=1\nB=\"{{ secrets.a }}\"\n");
    sandbox.run(["template", "f.env", "--keep", "B"]).fails_with(2).stderr_has("f.env: it holds a placeholder already");
    sandbox.write("f.env", "A=1\n");
    sandbox.write("f.env.tmpl", "mine");
    sandbox.run(["template", "f.env"]).fails_with(4).stderr_has("error: there is a `f.env.tmpl` already\n");
    sandbox
        .run(["template", "f.env", "-o", "/tmp/elsewhere.tmpl"])
        .fails_with(7)
        .stderr_has("is outside of this directory");
    assert!(!Path::new("/tmp/elsewhere.tmpl").exists() && !sandbox.path(".secrets.toml").exists());
    sandbox.run(["project", "list"]).succeeds().stdout("");
}

/// Renders a migration's template with its own values.
fn rendered(made: &Migration) -> Vec<u8> {
    let mut template = Template::from_text("t", made.template.clone());
    let mut out = Vec::new();
    let plan = Plan::new(&mut template, Grammar::default()).unwrap();
    plan.resolve(made).unwrap().expand(&mut template, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rendered_says_what_the_file_said(
        pieces in prop::collection::vec(
            prop_oneof![
                "[A-C]=[ -~]{0,12}\n", "[D-F]='[^']{0,12}'( # x)?\n", "[G-I]=\"([^\"\\\\]|\\\\[ntr\"\\\\$x]){0,12}\"\r?\n",
                "#[ -~]{0,20}\n", "\n", "export [J-L]=`[^`]{0,9}`\n", "#\\{\\{ [A-Z]{1,3} \\}\\}\n",
            ],
            0..8,
        )
    ) {
        let text = pieces.concat();
        if let Ok(made) = Migration::of(text.as_bytes(), Wanted { keep: &[], example: false }) {
            let (before, out) = (dotenv::parse(text.as_bytes()).unwrap(), rendered(&made));
            let after = dotenv::parse(&out).unwrap();
            prop_assert_eq!(before.len(), after.len());
            for (a, b) in before.iter().zip(&after) {
                prop_assert_eq!(&a.name, &b.name);
                prop_assert_eq!(a.value.expose(), b.value.expose());
            }
        }
    }
}
