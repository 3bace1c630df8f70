//! Missing secrets come from a file, a generator or a question, and running `setup` again changes
//! nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use crate::support::Sandbox;
use crate::support::repository::{MANIFEST, MARKER, Project};

#[test]
fn missing_secrets_come_from_a_file_or_a_generator_and_a_second_run_changes_nothing() {
    let project = Project::in_git(&[
        (
            ".secrets.toml",
            "project = \"web\"\n[secrets.url]\n[secrets.session]\ngenerate = { length = 64, alphabet = \"hex\" }\n\
             [secrets.short]\ngenerate = {}\n[secrets.dsn]\noptional = true\n\
             [[render]]\ntemplate = \"c/app.tmpl\"\noutput = \"new/dir/app.env\"\nmode = \"640\"\n",
        ),
        ("c/app.tmpl", "{{ secrets.url }} {{SESSION}} {{ secrets.short }}\n"),
    ]);

    project.0.write("old.env", format!("URL={MARKER}\nOTHER=x\nEMPTY=\n"));
    let run = project.run(&["setup", "--from", "../old.env", "--yes"]).succeeds().stdout("");
    run.stderr_has("added `/new/dir/app.env` to .gitignore\nwrote `new/dir/app.env`\nproject `web` is set up: 4 secrets, 1 output\n");
    let (session, short) =
        (project.stored("web", "session").unwrap(), project.stored("web", "short").unwrap());
    assert!(session.len() == 64 && session.bytes().all(|b| b.is_ascii_hexdigit()), "{session}");
    assert!(short.len() == 32 && project.stored("web", "dsn").is_none());
    assert_eq!(project.read("new/dir/app.env"), format!("{MARKER} {session} {short}\n"));
    assert_eq!(fs::metadata(project.path("new/dir/app.env")).unwrap().mode() & 0o777, 0o640);

    for from in [&["setup"][..], &["setup", "--from", "../old.env"], &["setup", "--yes"]] {
        let run = project.changes_nothing(from).succeeds().stdout("");
        run.stderr_has(
            "`new/dir/app.env` is up to date\nproject `web` is set up: 4 secrets, 1 output\n",
        );
    }

    let json = project.changes_nothing(&["setup", "--json"]).succeeds().json();
    let expected = r#"{"gitignore":[],"outputs":[{"output":"new/dir/app.env","state":"current"}],"project":"web","secrets":[]}"#;
    assert_eq!(json.to_string(), expected);
}

/// `--from` reads the templates, so it needs trust first. A template may be a FIFO that nobody
/// writes to.
#[test]
fn no_template_is_read_before_the_directory_is_trusted() {
    let project = Project(Sandbox::new().without_trust());
    fs::create_dir(project.path("")).unwrap();
    project.write(".secrets.toml", MANIFEST);
    project.write("v.env", "KEY=x\n");
    assert!(Command::new("mkfifo").arg(project.path("pipe")).status().unwrap().success());
    symlink("pipe", project.path(".env.tmpl")).unwrap();
    stderr!(project.changes_nothing(&["setup", "--from", "v.env"]).fails_with(7), @"
    error: `.secrets.toml` is not trusted
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");

    project.run(&["trust", "-q"]).succeeds().stdout_has("`.env.tmpl`");
    let run = project.changes_nothing(&["setup", "--from", "v.env"]).fails_with(1);
    stderr!(run, @"error: cannot read `.env.tmpl`: it is not a regular file");
}

#[test]
fn a_name_with_dots_gets_the_same_tag_as_in_template() {
    let project = Project::new(&[("a.env", &format!("x.y.z={MARKER}\n"))]);
    stderr!(project.run(&["-p", "web", "template", "a.env", "-q"]).succeeds(), @"warning: `a.env`: `bash` cannot have a variable named `x.y.z`; list the programs that read the file in `readers`");
    fs::rename(project.path("a.env"), project.path("old.env")).unwrap();
    project.run(&["delete", "x_y_z", "--yes", "--force", "-q"]).succeeds();
    stderr!(project.run(&["setup", "--from", "old.env", "-q"]).succeeds(), @"warning: `a.env`: `bash` cannot have a variable named `x.y.z`; list the programs that read the file in `readers`");
    assert_eq!(project.stored("web", "x_y_z").as_deref(), Some(MARKER));
    assert_eq!(project.read("a.env"), format!("x.y.z={MARKER}\n"));
}

#[test]
fn without_a_terminal_missing_secrets_are_listed_and_nothing_changes() {
    let manifest = "project = \"web\"\n[secrets.a]\ndescription = \"first\\nof two\"\n[secrets.b]\n[secrets.g]\ngenerate = {}\n\
        [secrets.o]\noptional = true\n[run.env]\nX = \"{{ secrets.c }}\"\n\
        [[render]]\ntemplate = \"t.tmpl\"\noutput = \"out\"\n";
    let project = Project::in_git(&[
        (".secrets.toml", manifest),
        ("t.tmpl", "{{ secrets.o }} {{ secrets.a }}"),
    ]);

    project.0.write("some.env", format!("B={MARKER}\n"));
    for yes in
        [&["setup", "--from", "../some.env"][..], &["setup", "--from", "../some.env", "--yes"]]
    {
        // `o` is optional, but the output needs it.
        stderr!(project.changes_nothing(yes).fails_with(3).stdout(""), @r#"
        error: 3 secrets are missing in project `web`
          a: "first of two"
          o
          c
        hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
        "#);
    }

    let error = project.changes_nothing(&["setup", "--json"]).fails_with(3).json_error();
    assert_eq!(
        (&error["type"], error["details"]["missing"].as_array().unwrap().len()),
        (&"NOT_FOUND".into(), 4)
    );

    // The file has all missing values, so no question is left.
    project.0.write("all.env", format!("a={MARKER}\nB=b\nC=c\no=o\n"));
    project.run(&["setup", "-q", "--from", "../all.env", "--yes"]).succeeds();
    assert_eq!(project.read("out"), format!("o {MARKER}"));
}

#[test]
fn another_name_in_a_file_gives_a_secret_only_if_it_holds_the_whole_value() {
    let manifest = "project = \"web\"\n[run.env]\nPGPASSWORD = \"{{ secrets.db-password }}\"\n\
        [[render]]\ntemplate = \"t.env\"\noutput = \"out\"\n";
    let template = "STRIPE=\"{{ secrets.stripe-key | json }}\"\nURL={{ secrets.host-password }}@host/db\n\
        ENC={{ secrets.encoded | base64 }}\nBOTH={{ secrets.one }}{{ secrets.two }}\n";
    let project = Project::new(&[(".secrets.toml", manifest), ("t.env", template)]);
    let given =
        "PGPASSWORD=1\nSTRIPE=2\nURL=3@host/db\nENC=NA==\nBOTH=56\nEMPTY=\none=\ntwo=\ntwo=6\n";
    project.0.write("old.env", given);

    let run = project.changes_nothing(&["setup", "--from", "../old.env", "--yes"]).fails_with(3);
    stderr!(run.stdout(""), @"
    error: 2 secrets are missing in project `web`
      host-password
      encoded
    hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    ");

    project.0.write("old.env", format!("{given}host_password=3\nencoded=4\nONE=5\nPGPASSWORD=\n"));
    project.run(&["setup", "-q", "--from", "../old.env", "--yes"]).succeeds();
    assert_eq!(project.read("out"), "STRIPE=\"2\"\nURL=3@host/db\nENC=NA==\nBOTH=56\n");

    // An empty value counts as a value.
    assert_eq!(project.stored("web", "db-password").unwrap(), "");
}
