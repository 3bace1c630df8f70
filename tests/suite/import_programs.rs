//! `import` starts other programs that decrypt. Small stand-ins take their place here; tests/migrate.sh does the
//! same with the real ones.

use crate::support::Prepared;
use crate::support::Sandbox;
use crate::support::files::set_mode;

/// A sandbox whose `PATH` begins with stand-ins. Each records its arguments and its environment.
struct Programs(Sandbox);

impl Programs {
    fn new(programs: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::new().unlocked();
        std::fs::create_dir(sandbox.path("bin")).unwrap();
        for (name, script) in programs {
            let script = format!(
                "#!/bin/sh\nprintf '%s ' \"$@\" >>'{log}'; echo >>'{log}'; env >>'{log}.env'\n{script}\n",
                log = sandbox.path("log").display()
            );
            set_mode(&sandbox.write(&format!("bin/{name}"), script), 0o700);
        }

        Self(sandbox)
    }

    fn command(&self, arguments: &[&str]) -> Prepared {
        let path = format!("{}:/usr/bin:/bin", self.0.path("bin").display());
        let home = self.0.path("");
        self.0.command(arguments).env("PATH", path).env("HOME", home)
    }

    fn log(&self) -> String {
        String::from_utf8(self.0.read("log")).unwrap()
    }

    fn value(&self, tag: &str) -> String {
        let template = format!("{{{{ secrets.{tag} }}}}");
        String::from_utf8(self.0.run(["render", "-e", &template]).succeeds().bytes()).unwrap()
    }
}

/// A `pass` whose entries are plain files in the store.
const PASS: &str = r#"[ "$1" = show ] && [ "$2" = -- ] || exit 9
cat -- "$HOME/.password-store/$3.gpg" 2>/dev/null || { echo "Error: $3 is not in the password store." >&2; exit 1; }"#;

fn pass() -> Programs {
    let programs = Programs::new(&[("pass", PASS)]);
    for directory in [".password-store/.git", ".password-store/work"] {
        std::fs::create_dir_all(programs.0.path(directory)).unwrap();
    }

    for (name, content) in [
        ("github", "hunter2-github\nuser: me\n"),
        ("work/db", "hunter2-db\n"),
        ("work/-odd name", "hunter2-odd"),
        ("worker", "hunter2-worker\n"),
        (".git/objects", "no entry"),
        ("work/.hidden", "no entry"),
    ] {
        programs.0.write(&format!(".password-store/{name}.gpg"), content);
    }

    programs.0.write(".password-store/.gpg-id", "someone\n");
    programs.0.write(".password-store/README", "no entry\n");
    programs
}

#[test]
fn a_store_of_pass_is_imported() {
    let programs = pass();
    let import = programs.command(&["import", "--from", "pass"]).env("SECRETS_TOKEN_NOTE", "x");
    stderr!(import.run().succeeds().stdout(""), @"imported into project `default`: 4 created");
    assert_eq!(programs.value("work-odd-name"), "hunter2-odd");
    assert_eq!(programs.value("github"), "hunter2-github");
    assert_eq!(
        programs.log().lines().collect::<Vec<_>>(),
        ["show -- github ", "show -- work/-odd name ", "show -- work/db ", "show -- worker "]
    );

    // The program does not get our settings.
    let environment = String::from_utf8(programs.0.read("log.env")).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("SECRETS_VAULT"));

    let get = programs.0.run(["get", "github", "--json"]).succeeds().json();
    assert_eq!((&get["name"], &get["description"]), (&"github".into(), &"user: me".into()));
}

#[test]
fn a_folder_is_imported_and_a_plan_printed() {
    let programs = pass();
    let run = programs.command(&["import", "--from", "pass", "work/", "--dry-run"]).run();
    run.succeeds().stdout(
        "create     -odd name, password -> default/odd-name\n\
         create     db, password -> default/db\n",
    );
    let run = programs.command(&["-p", "w", "import", "--from", "pass", "github"]).run();
    run.succeeds().stderr_has("imported into project `w`: 1 created");
    let run = programs.command(&["import", "--from", "pass", "wor"]).run();
    stderr!(run.fails_with(3), @"
    error: `pass` has no entries in `wor`
    hint: `pass ls` lists them; nothing was stored
    ");
}

/// pass follows the links of a store, such as that to a folder of a team.
#[test]
fn linked_entries_and_folders_are_imported() {
    let programs = pass();
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(programs.0.path(to), programs.0.path(from)).unwrap();
    };
    std::fs::create_dir(programs.0.path("team")).unwrap();
    programs.0.write("team/ci.gpg", "hunter2-ci\n");
    link("team", ".password-store/team");
    link("team/ci.gpg", ".password-store/deploy.gpg");
    let run = programs.command(&["import", "--from", "pass"]).run();
    stderr!(run.succeeds(), @"imported into project `default`: 6 created");
    assert_eq!(programs.value("team-ci"), "hunter2-ci");

    link("nowhere", ".password-store/broken.gpg");
    let run = programs.command(&["-p", "other", "import", "--from", "pass"]).run();
    run.fails_with(1).stderr_has("broken.gpg").stderr_has("nothing was stored").bytes();
}

#[test]
fn the_error_of_the_only_entry_is_told() {
    let programs = pass();
    set_mode(&programs.0.write("bin/pass", "#!/bin/sh\nexit 2\n"), 0o700);
    let run = programs.command(&["import", "--from", "pass", "github"]).run();
    stderr!(run.fails_with(1), @"
    error: `pass show github` failed with exit code 2
    hint: its own message is above; nothing was stored
    ");
}

#[test]
fn nothing_is_stored_if_the_program_fails() {
    let programs = pass();
    set_mode(&programs.0.write("bin/pass", "#!/bin/sh\nexit 2\n"), 0o700);
    stderr!(programs.command(&["import", "--from", "pass"]).run().fails_with(1), @"
    error: `pass show work/db` failed with exit code 2
    hint: its own message is above; nothing was stored
    ");

    // A store that is shared has entries for other people's keys.
    let one = "#!/bin/sh\n[ \"$3\" = work/db ] && echo x || exit 2\n";
    set_mode(&programs.0.write("bin/pass", one), 0o700);
    stderr!(programs.command(&["-p", "shared", "import", "--from", "pass"]).run().succeeds(), @"
    warning: pass: `github` is skipped: the program could not decrypt it
    warning: pass: `work/-odd name` is skipped: the program could not decrypt it
    warning: pass: `worker` is skipped: the program could not decrypt it
    imported into project `shared`: 1 created, 3 not imported
    ");
    std::fs::remove_file(programs.0.path("bin/pass")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/setsid", programs.0.path("bin/setsid")).unwrap();
    let without =
        programs.command(&["import", "--from", "pass"]).env("PATH", programs.0.path("bin"));
    stderr!(without.run().fails_with(1), @"
    error: `pass` is not installed
    hint: only `pass` can decrypt this; nothing was stored
    ");
    let elsewhere =
        programs.command(&["import", "--from", "pass"]).env("PASSWORD_STORE_DIR", "/nowhere");
    stderr!(elsewhere.run().fails_with(3), @"
    error: cannot read the password store `/nowhere`: No such file or directory
    hint: PASSWORD_STORE_DIR says where it is; nothing was stored
    ");
    for wrong in [
        &["import"][..],
        &["import", "--from", "lastpass"],
        &["import", "--from", "pass", "--format", "json"],
    ] {
        programs.command(wrong).run().fails_with(2).stderr_has("error");
    }

    programs.0.run(["list", "-q"]).succeeds().stdout("");
}

#[test]
fn a_hostile_store_and_a_hostile_repository_do_no_harm() {
    use std::os::unix::ffi::OsStrExt;
    let programs = pass();
    let name = std::ffi::OsStr::from_bytes(b".password-store/bad\xff.gpg");
    std::fs::write(programs.0.path("").join(name), "x").unwrap();
    let run = programs.command(&["import", "--from", "pass"]).run().succeeds();
    run.stderr_has("is skipped: its name is not UTF-8").bytes();

    // Reading a FIFO in the place of `.env.keys` would wait for ever.
    std::fs::create_dir(programs.0.path("repo")).unwrap();
    programs.0.write("repo/.env", "A=1\n");
    let fifo = programs.0.path("repo/.env.keys");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let run = programs.command(&["-p", "repo", "import", "repo/.env", "-q"]).run();
    run.succeeds();
}

#[test]
fn a_store_of_gopass_is_imported() {
    let programs = Programs::new(&[(
        "gopass",
        r#"case "$*" in "ls --flat") printf 'a/b\nmount/c\n' ;;
"show --noparsing --unsafe -- a/b") printf 'hunter2-ab\nuser: me\n' ;;
"show --noparsing --unsafe -- mount/c") printf 'hunter2-mc\n---\nport: 0123\n' ;;
*) exit 9 ;; esac"#,
    )]);
    let run = programs.command(&["import", "--from", "gopass"]).run();
    run.succeeds().stderr_has("imported into project `default`: 3 created");
    assert_eq!(programs.value("mount-c-port"), "0123");
}

#[test]
fn a_keepass_database_is_decrypted_by_its_program() {
    let xml = String::from_utf8(super::import_formats::sample("keepassxc.xml")).unwrap();
    let programs = Programs::new(&[(
        "keepassxc-cli",
        "printf 'Enter password to unlock it: ' >&2; read -r word; [ \"$word\" = fine ] || exit 1\ncat \"$HOME/xml\"",
    )]);
    programs.0.write("xml", xml);
    programs.0.write("-a.kdbx", b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5");
    let import =
        |word: &str| programs.command(&["import", "./-a.kdbx", "--dry-run"]).stdin(word).run();
    import("fine\n").succeeds().stdout_has("create").stderr_has("Enter password").bytes();
    assert!(programs.log().starts_with("export --format xml /"), "{}", programs.log());
    import("wrong\n").fails_with(1).stderr_has("a.kdbx` failed with exit code 1");
}

#[test]
fn what_sops_encrypted_is_decrypted_by_it() {
    let programs = Programs::new(&[(
        "sops",
        r#"case "$*" in "--decrypt --input-type yaml --output-type yaml /"*) printf 'db: {password: hunter2, port: 0123}\n' ;;
"--decrypt --input-type dotenv --output-type dotenv /"*) printf 'A=hunter2\n' ;;
*) exit 9 ;; esac"#,
    )]);
    programs
        .0
        .write("s.yaml", "db:\n  password: ENC[AES256_GCM,data:x,type:str]\nsops:\n  mac: x\n");
    programs
        .0
        .write("s.env", "A=ENC[AES256_GCM,data:x,type:str]\nsops_mac=ENC[AES256_GCM,data:x]\n");
    let run = programs.command(&["import", "--from", "sops", "s.yaml", "--delete-source"]).run();
    run.succeeds().stderr_has("2 created").stderr_has("removed `s.yaml`");
    assert_eq!(programs.value("db_port"), "0123");
    programs.command(&["import", "--from", "sops", "s.env", "-q"]).run().succeeds();
    assert_eq!(programs.value("a"), "hunter2");

    // Not unasked: the file says which key service sops contacts.
    let unasked = programs.command(&["import", "s.env", "-p", "other"]).run();
    unasked.succeeds().stderr_has("import the file with `--from sops`").bytes();
    let stdin = programs.command(&["import", "-", "--from", "sops"]).stdin("A=1\n").run();
    stdin.fails_with(2).stderr_has("not a file that sops encrypted").bytes();
    let as_is = programs.command(&["import", "s.env", "--as-is", "-p", "as-is", "-q"]).run();
    as_is.succeeds().bytes();
    assert_eq!(programs.log().lines().count(), 2);
}

#[test]
fn what_dotenvx_encrypted_is_decrypted_with_its_keys() {
    let programs = Programs::new(&[("dotenvx", "exit 9")]);
    let sample = super::import_formats::sample;
    std::fs::create_dir(programs.0.path("repo")).unwrap();
    programs.0.write("repo/.env", sample("dotenvx/env"));
    let import = |options: &[&str]| {
        let arguments = [&["import", "repo/.env"], options].concat();
        programs.command(&arguments)
    };

    let run = import(&["-p", "none"]).run();
    run.succeeds().stderr_has("dotenvx encrypted it, and neither `.env.keys` nor").bytes();
    let keys = String::from_utf8(sample("dotenvx/keys")).unwrap();
    let key = keys.lines().find_map(|line| line.strip_prefix("DOTENV_PRIVATE_KEY=")).unwrap();
    let run = import(&["-p", "variable", "-q"]).env("DOTENV_PRIVATE_KEY", key).run();
    run.succeeds().stderr_has("it is metadata of dotenvx").stdout("");

    programs.0.write("repo/.env.keys", &keys);
    let run = import(&["--delete-source"]).run();
    run.succeeds().stderr_has("8 created").stderr_has("removed `repo/.env`").without(key);
    assert_eq!(programs.value("dollar"), "pa$$word-${HELLO}-$HOME-$(whoami)");
    assert!(!programs.0.path("log").exists());
}
