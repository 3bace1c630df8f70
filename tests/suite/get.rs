//! `secrets get` prints metadata and the hint, never the value.

use terminal_secrets::model::{Description, Name, Timestamp};
use terminal_secrets::vault::SecretChanges;

use crate::support::{Sandbox, project, secret};

#[test]
fn get_shows_metadata_and_hint() {
    let sandbox = Sandbox::with_secrets(&[("api-token", "t0ps3cret-t0ps3cret")]);
    let changes = SecretChanges {
        name: Some(Name::parse("Stripe, live").unwrap()),
        description: Some(Description::parse("rotated\nevery May").unwrap()),
        ..SecretChanges::default()
    };

    let written = sandbox
        .vault()
        .update(&project("default"), &"api-token".parse().unwrap(), None, changes)
        .unwrap();

    let m = &written.metadata;
    sandbox.run(["get", "api-token"]).succeeds().stdout(format!(
        "tag          api-token\n\
         name         Stripe, live\n\
         description  rotated\n             every May\n\
         project      default\n\
         hint         t0…et\n\
         id           {}\n\
         created      {}\n\
         updated      {}\n",
        written.id,
        in_utc(m.created),
        in_utc(m.updated)
    ));
}

fn in_utc(moment: Timestamp) -> String {
    let text = moment.rfc3339();
    format!("{} {} UTC", &text[..10], &text[11..19])
}

#[test]
fn people_get_local_time_and_programs_utc() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let secret = sandbox.vault().get(&project("default"), &"key".parse().unwrap()).unwrap();
    let created = secret.metadata.created;

    // The POSIX time zone is five hours and three quarters ahead and has no daylight saving time.
    let moment = Timestamp(created.0 + 345 * 60 * 1000).rfc3339();
    let local = format!("created      {} {} NPT\n", &moment[..10], &moment[11..19]);

    let run =
        |arguments: &[&str]| sandbox.command(arguments).env("TZ", "NPT-5:45").run().succeeds();
    run(&["get", "key"]).stdout_has(&local);
    run(&["list"]).stdout_has(&format!("\t{}\t", &moment[..10]));
    assert_eq!(run(&["get", "key", "--json"]).json()["createdAt"], created.rfc3339());
}

#[test]
#[cfg(target_os = "linux")] // `date` takes other options on other systems
fn without_tz_people_get_the_systems_time() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let created =
        sandbox.vault().get(&project("default"), &"key".parse().unwrap()).unwrap().metadata.created;
    let seconds = format!("@{}", created.0 / 1000);

    let date = std::process::Command::new("date")
        .args(["-d", &seconds, "+created      %Y-%m-%d %H:%M:%S %Z"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .unwrap();

    let shown = sandbox.command(["get", "key"]).without_env("TZ").run().succeeds();
    shown.stdout_has(std::str::from_utf8(&date.stdout).unwrap());
}

#[test]
fn get_finds_a_tag_by_any_spelling_and_shows_the_first_one() {
    let sandbox = Sandbox::with_secrets(&[("my-secret", "x")]);
    for spelling in ["my-secret", "my_secret", "MY_SECRET", "My-Secret"] {
        sandbox.run(["get", spelling]).succeeds().stdout_has("tag          my-secret\n");
    }
}

#[test]
fn get_by_id_looks_in_every_project_and_by_tag_in_the_current_one() {
    let sandbox = Sandbox::new();
    let stored = sandbox.vault().create(&project("other"), secret("key", b"x")).unwrap();
    let id = stored.id.to_string();
    sandbox.run(["get", &id]).succeeds().stdout_has("project      other\n");
    sandbox.run(["get", "key", "--project", "other"]).succeeds().stdout_has(&id);
    stderr!(sandbox.run(["get", "key"]).fails_with(3), @"
    error: no secret `key` in project `default`
    hint: use `--project other`, because project `other` has `key`
    ");
}

#[test]
fn get_suggests_the_nearest_tag() {
    let sandbox = Sandbox::with_secrets(&[("api-token", "t0ps3cret-t0ps3cret")]);
    let output = sandbox.run(["get", "api-tokem"]).fails_with(3).stdout("");
    stderr!(output, @"
    error: no secret `api-tokem` in project `default`
    hint: did you mean `api-token`?
    ");
}

#[test]
fn get_reports_an_unknown_id() {
    let output =
        Sandbox::with_secrets(&[("key", "x")]).run(["get", "se0123456789abcdef"]).fails_with(3);
    stderr!(output, @"
    error: no secret `se0123456789abcdef` in any project
    hint: `secrets list --all-projects` shows every secret
    ");
}

#[test]
fn get_refuses_an_invalid_tag() {
    let sandbox = Sandbox::new();
    for bad in ["a b", "ä", "a.b", "_", "a/b"] {
        sandbox.run(["get", bad]).fails_with(2).stderr_has("error: invalid `<TAG|ID>`: ");
    }
}

#[test]
fn get_without_a_vault_explains_how_to_create_one() {
    let sandbox = Sandbox::empty();
    let path = sandbox.vault_path();
    let expected = format!(
        "error: no vault at `{}`\nhint: create one with `secrets init`, or restore a backup with \
         `secrets restore PATH`\n",
        path.display()
    );

    sandbox.run(["get", "key"]).fails_with(3).stderr(&expected);
    assert!(!path.exists(), "a missing vault is not created");
}
