//! Environments: several sets of values for one set-up.

use terminal_secrets::model::Timestamp;
use terminal_secrets::vault::NewSecret;

use crate::support::repository::Project;
use crate::support::{Sandbox, secret};

const MANIFEST: &str = "project = \"web\"\n\
    [secrets.database-url]\n\
    [secrets.sentry-dsn]\noptional = true\n\
    [[render]]\ntemplate = \"web.env.tmpl\"\noutput = \"web.env\"\n\
    [run.env]\nDATABASE_URL = \"{{ secrets.database-url }}\"\nLOG_LEVEL = \"info\"\n\
    [environments.staging]\n\
    [environments.production]\nproject = \"live\"\noutputs = { \"web.env\" = \"live.env\" }\n\
    [environments.production.run.env]\nLOG_LEVEL = \"warn\"\n";

/// A repository whose project `web` has a value, and no other project has one.
fn project() -> Project {
    let project = Project::in_git(&[
        (".secrets.toml", MANIFEST),
        ("web.env.tmpl", "DATABASE_URL={{ secrets.database-url }}\n"),
    ]);
    project.store("web", "database-url", "postgres://dev");
    project
}

#[test]
fn an_environment_has_its_own_values_outputs_and_variables() {
    let project = project();
    project.store("web.staging", "database-url", "postgres://staging");
    project.store("live", "database-url", "postgres://live");
    let run = |arguments: &[&str], expected: &str| {
        let script = ["run", "--no-mask", "--", "sh", "-c", "echo $DATABASE_URL $LOG_LEVEL"];
        project.run(&[arguments, &script[..]].concat()).succeeds().stdout(expected);
    };
    run(&[], "postgres://dev info\n");
    run(&["-E", "staging"], "postgres://staging info\n");
    run(&["--environment", "production"], "postgres://live warn\n");

    project.run(&["setup", "-q", "-E", "production"]).succeeds();
    assert_eq!(project.read("live.env"), "DATABASE_URL=postgres://live\n");
    assert!(!project.path("web.env").exists());
    assert_eq!(project.read(".gitignore"), "/live.env\n");
    let run = project.run(&["check", "-q", "-E", "production"]).succeeds();
    run.stdout("optional\tsentry-dsn\t\n");
}

/// Environments may share a path. What one has written is ours for another, but a change is not.
#[test]
fn environments_take_turns_with_one_output() {
    let project = project();
    project.store("web.staging", "database-url", "postgres://staging");
    for _ in 0..2 {
        project.run(&["render", "--all", "-q"]).succeeds();
        assert_eq!(project.read("web.env"), "DATABASE_URL=postgres://dev\n");
        project.run(&["render", "--all", "-q", "-E", "staging"]).succeeds();
        assert_eq!(project.read("web.env"), "DATABASE_URL=postgres://staging\n");
    }

    project.write("web.env", "DATABASE_URL=by-hand\n");
    project.run(&["render", "--all"]).fails_with(7).stderr_has("was changed");
    project.run(&["setup"]).fails_with(7).stderr_has("--yes");
    assert_eq!(project.read("web.env"), "DATABASE_URL=by-hand\n");
}

#[test]
fn the_nearest_choice_of_a_project_wins() {
    let project = project();
    let status = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = project.command(&[&["status"], arguments].concat());
        for (name, value) in variables {
            command = command.env(name, value);
        }

        let (_, out, _) = command.run().everything();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().find(|line| line.starts_with("project")).unwrap_or_default();
        line.trim_start_matches("project").trim().to_owned()
    };

    let both = [("SECRETS_PROJECT", "mine"), ("SECRETS_ENVIRONMENT", "staging")];
    let staging = "web.staging (environment staging of .secrets.toml)";
    assert_eq!(status(&["-p", "own"], &both), "own (set by --project)");
    assert_eq!(status(&["-E", "staging"], &both[..1]), staging);
    assert_eq!(status(&[], &both), "mine (set by SECRETS_PROJECT)");
    assert_eq!(status(&[], &both[1..]), staging);
    assert_eq!(status(&[], &[]), "web (set by .secrets.toml)");

    let run = project.run(&["project", "use", "other"]).succeeds();
    run.stderr(
        "commands that name no project use `other` from now on\n\
         here they use `web` (set by .secrets.toml)\n",
    );
    assert_eq!(status(&[], &[]), "web (set by .secrets.toml)");
    std::fs::remove_file(project.path(".secrets.toml")).unwrap();
    assert_eq!(status(&[], &[]), "other (set by `secrets project use`)");
    project.run(&["project", "use", "--none", "-q"]).succeeds();
    assert_eq!(status(&[], &[]), "default (the default)");

    for line in [&["-p", "a", "list", "-E", "b"][..], &["list", "-p", "a", "-E", "b"]] {
        let run = project.run(line).fails_with(2).stdout("");
        run.stderr_has("`--project` cannot be used with `--environment`");
    }
}

#[test]
fn an_environment_that_does_not_exist_is_an_error() {
    let project = project();
    stderr!(project.run(&["list", "-E", "test"]).fails_with(3).stdout(""), @"
    error: `.secrets.toml` has no environment `test`
    hint: its environments: `staging`, `production`
    ");
    let run = project.command(&["list"]).env("SECRETS_ENVIRONMENT", "a b").run();
    run.fails_with(2).stderr_has("SECRETS_ENVIRONMENT=`a b` is not valid");
    Sandbox::new().run(["list", "-E", "test"]).fails_with(3).stderr_has("has environment `test`");
    let run = project.run(&["run", "--env", "staging", "--", "true"]).fails_with(125);
    run.stderr_has("`secrets run -E staging`");
}

#[test]
fn check_prints_which_environment_lacks_what() {
    let project = project();
    let check = ["check", "--all-environments"];
    let run = project.changes_nothing(&check).fails_with(3);
    let run = run.stdout(
        "database-url\tweb\tpresent\ndatabase-url\tweb.staging\tmissing\n\
         database-url\tlive\tmissing\nsentry-dsn\tweb\toptional\n\
         sentry-dsn\tweb.staging\toptional\nsentry-dsn\tlive\toptional\n",
    );
    stderr!(run, @"
    error: the environments have 2 missing values
    hint: enter values with `secrets -E staging setup`
    ");

    project.run(&["clone", "--all", "-E", "staging", "--missing", "-q"]).succeeds();
    let expired = NewSecret { expires: Some(Timestamp(1)), ..secret("database-url", b"p") };
    project.0.vault().create(&crate::support::project("live"), expired).unwrap();
    let (code, out, _) = project.run(&[&check[..], &["--json"]].concat()).everything();
    assert_eq!(code, Some(8));
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let names = json["environments"].as_array().unwrap();
    let names: Vec<_> = names.iter().map(|one| one["environment"].as_str()).collect();
    assert_eq!(names, [None, Some("staging"), Some("production")]);
    assert_eq!(json["environments"][2]["project"], "live");
    let states = &json["secrets"][0]["states"];
    assert_eq!(*states, serde_json::json!(["present", "present", "expired"]));
    assert_eq!(json["exit"], 8);

    project
        .0
        .vault()
        .delete(&crate::support::project("live"), &["database-url".parse().unwrap()])
        .unwrap();
    project.store("live", "database-url", "postgres://live");
    let run = project.run(&check).succeeds().stdout_has("database-url\tlive\tpresent\n");
    run.stderr("every environment has the secrets that it needs\n");
    project.write(".secrets.toml", "project = \"web\"\n");
    let run = project.run(&check).fails_with(3).stdout("");
    run.stderr_has("`secrets setup --new -E NAME`");
}

#[test]
fn clone_fills_the_gaps_of_an_environment() {
    let project = project();
    project.store("web", "sentry-dsn", "https://dsn");
    project.store("web.staging", "database-url", "postgres://staging");
    let fill = ["clone", "--all", "-E", "staging"];
    project.run(&fill).fails_with(4).stderr_has("nothing was copied");
    let run = project.run(&[&fill[..], &["--missing"]].concat()).succeeds();
    run.stderr("copied 1 secret to project `web.staging`, 1 skipped\n");
    let script = ["run", "-E", "staging", "--no-mask", "--only", "database-url,sentry-dsn"];
    let print = ["--", "sh", "-c", "echo $DATABASE_URL $SENTRY_DSN"];
    let run = project.run(&[&script[..], &print].concat()).succeeds();
    run.stdout("postgres://staging https://dsn\n");

    let run = project.run(&[&fill[..], &["--missing", "--on-conflict", "skip"]].concat());
    run.fails_with(2).stderr_has("--missing");
}

#[test]
fn trust_names_the_project_of_every_environment() {
    let project = Project(project().0.without_trust());
    project.run(&["list", "-q", "-E", "staging"]).succeeds();
    let run = project.run(&["render", "-e", "{{X}}", "-E", "staging"]).fails_with(7).stdout("");
    run.stderr_has("`.secrets.toml` is not trusted");
    project.run(&["trust", "-q"]).succeeds().bytes();
    let run = project.run(&["trust", "--show"]).succeeds();
    let run = run.stdout_has("`web.staging` with `-E staging`, ");
    let run = run.stdout_has("`live` with `-E production`, ");
    let run = run.stdout_has("`live.env` with `-E production` instead of `web.env`");
    run.stdout_has("LOG_LEVEL=warn with `-E production`");

    // Consent is to all environments, and a change of one needs a new one.
    project.store("bank", "pin", "1234-5678-9012");
    project.write(".secrets.toml", MANIFEST.replace("\"live\"", "\"bank\""));
    let run = project.run(&["render", "-e", "{{ secrets.pin }}", "-E", "production"]);
    let run = run.fails_with(7).stdout("");
    run.stderr_has("environment `production`: project `bank`, previously `live`");
    project.run(&["render", "--all"]).fails_with(7).stdout("").stderr_has("trust");
}

#[test]
fn setup_adds_an_environment() {
    let sandbox = Sandbox::new().without_trust();
    sandbox.write("web.env.tmpl", "KEY={{ secrets.key }}\n");
    sandbox.run(["setup", "--new", "-E", "staging", "-q"]).succeeds();
    let text = std::fs::read_to_string(sandbox.path(".secrets.toml")).unwrap();
    assert!(text.contains("\n[environments.staging]\nproject = \""), "{text}");

    let run = sandbox.run(["setup", "--new", "-E", "production"]).succeeds();
    run.stderr_has("added environment `production` with project `")
        .stderr_has("next: enter its values with `secrets -E production setup`");
    let run = sandbox.run(["setup", "--new", "-E", "production"]).fails_with(4);
    run.stderr_has("has environment `production` already");

    // What this program has written stays trusted; what others have written does not become it.
    sandbox.run(["trust", "--show"]).succeeds().stdout_has("trusted      since");
    let text = std::fs::read_to_string(sandbox.path(".secrets.toml")).unwrap();
    sandbox.write(".secrets.toml", format!("{text}\n[run.env]\nA = \"1\"\n"));
    sandbox.run(["setup", "--new", "-E", "qa", "-q"]).succeeds();
    sandbox.run(["trust", "--show"]).succeeds().stdout_has("trusted      no: ");
    sandbox.write(".secrets.toml", "project = \"web\"\nenvironments = {}\n");
    let run = sandbox.run(["setup", "--new", "-E", "qa"]).fails_with(2);
    run.stderr_has("would be invalid").stderr_has("nothing was written");
    let text = std::fs::read_to_string(sandbox.path(".secrets.toml")).unwrap();
    assert_eq!(text, "project = \"web\"\nenvironments = {}\n");
}

/// A project that is named needs no manifest.
#[test]
fn an_invalid_manifest_does_not_disturb_a_named_project() {
    let project = project();
    project.write(".secrets.toml", "environments = 1\n");
    project.write(".gitignore", "/web.env\n");
    let line = ["render", "web.env.tmpl", "-o", "web.env", "-q", "-p", "web"];
    for _ in 0..2 {
        project.run(&line).succeeds();
    }

    assert_eq!(project.read("web.env"), "DATABASE_URL=postgres://dev\n");
    project.run(&line[..5]).fails_with(2).stdout("").stderr_has(".secrets.toml:1");
}

/// The record is a file of the state directory, which may be damaged.
#[test]
fn a_damaged_default_project_is_an_error_with_a_way_out() {
    let sandbox = Sandbox::new();
    sandbox.run(["project", "use", "web", "-q"]).succeeds();
    let directory = sandbox.state().join("secrets/default-project");
    let file = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, "a b\n").unwrap();
    let run = sandbox.run(["list"]).fails_with(1).stdout("");
    run.stderr_has("`secrets project use NAME`");
    sandbox.run(["list", "-p", "web"]).fails_with(3).stderr_has("no project `web`");
    sandbox.run(["project", "use", "--none", "-q"]).succeeds();
    sandbox.run(["list", "-q"]).succeeds();
}
