//! The documented exit codes. Each one is provoked, together with its JSON type.

use crate::support::{Prepared, Sandbox, wrapped_in};

/// Runs a command with and without `--json`, and compares code and type.
#[track_caller]
fn fails(command: impl Fn(&[&str]) -> Prepared, code: i32, kind: &str) {
    let (found, stdout, stderr) = command(&[]).run().everything();
    assert_eq!((found, stdout.len()), (Some(code), 0), "{stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{stderr}");
    let run = command(&["--json"]).run().fails_with(code).stdout("");
    let error = run.json_error();

    assert_eq!(error["type"], kind, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
}

/// Returns a command line to which `--json` can be added.
fn line<'a>(sandbox: &'a Sandbox, arguments: &'a [&'a str]) -> impl Fn(&[&str]) -> Prepared + 'a {
    move |more| sandbox.command(arguments.iter().chain(more))
}

#[test]
fn exit_0_is_success() {
    Sandbox::new().run(["list", "-q"]).succeeds();
    Sandbox::empty().run(["--version"]).succeeds().stdout_has("secrets ");
    Sandbox::empty().run(["create", "--help"]).succeeds().stdout_has("Usage: secrets create");
}

#[test]
fn exit_0_is_a_closed_pipe() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    for arguments in
        [&["get", "key"][..], &["list", "--json"], &["completions", "zsh"], &["project", "list"]]
    {
        let mut command = sandbox.command(arguments).command;
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();

        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{arguments:?}");
    }
}

#[test]
fn exit_1_is_an_input_that_cannot_be_read() {
    fails(
        line(&Sandbox::new(), &["create", "--tag", "key", "--value-file", "nowhere"]),
        1,
        "INTERNAL_ERROR",
    );

    fails(line(&Sandbox::new(), &["redact", "nowhere"]), 1, "INTERNAL_ERROR");
    fails(line(&Sandbox::new(), &["scan", "nowhere"]), 1, "INTERNAL_ERROR");
}

#[test]
fn exit_1_is_an_output_that_cannot_be_written() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = sandbox.command(["get", "key"]).command.stdout(full()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();

    assert_eq!(
        (output.status.code(), &*stderr),
        (Some(1), "error: cannot write to stdout: No space left on device\n")
    );
}

#[test]
fn exit_2_is_a_usage_error() {
    let sandbox = Sandbox::new();
    fails(line(&sandbox, &["get"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["get", "a b"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["frobnicate"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["list", "--frobnicate"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["create", "--tag", "key"]), 2, "BAD_REQUEST"); // an empty value
    fails(line(&sandbox, &["create", "--tag", "key", "--value", "x"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["init", "--vault", "other.db", "--kdf-memory", "1"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["render", "-e", "{{ secrets.key | }}"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["scan", "--install-hook", "a"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["scan", "--staged", "--no-ignore"]), 2, "BAD_REQUEST");
    fails(line(&sandbox, &["redact", "a", "b"]), 2, "BAD_REQUEST");
    sandbox.write(".secrets.toml", "project = 1");
    fails(line(&sandbox, &["list"]), 2, "BAD_REQUEST");
}

#[test]
fn exit_2_is_a_missing_command() {
    let sandbox = Sandbox::empty();
    let error = sandbox.run(["--json"]).fails_with(2).stdout("").json_error();
    assert_eq!(
        (&error["type"], &error["message"]),
        (&"BAD_REQUEST".into(), &"no command given".into())
    );

    let no_arguments: [&str; 0] = [];
    stderr!(sandbox.run(no_arguments).fails_with(2).stdout(""), @"
    Write-only secrets on your own machine

    Usage: secrets [OPTIONS] <COMMAND>

    Store secrets:
      create          Store a secret
      list            List secrets with their hints
      get             Show a secret's metadata and hint
      pick            Find a secret in a list, and print a reference to it
      update          Change a secret's value, name, description, expiry date or source
      edit            Enter a value in your editor
      rename          Give a secret another tag
      delete          Delete secrets permanently
      clone           Copy secrets to another project
      import          Import secrets from a file or from another secrets manager
      export          Export secrets to an encrypted file that other programs can read

    Use secrets:
      render          Replace placeholders in a template
      run             Run a program with secrets in its environment, masked in its output
      copy            Put a value on the clipboard for a while
      code            Print a one-time password
      env             Print lines that set variables in a shell
      hook            Print code for a shell that sets a directory's variables
      git-credential  Give git a password, as a credential helper
      request         Send an HTTP request with secrets in it
      proxy           Run a proxy that puts secrets into requests
      serve           Serve an HTTP API to programs of this machine
      mcp             Give an AI agent tools that use secrets without showing them
      redact          Copy a stream with secret values masked
      scan            Find secret values and tokens in files

    Give access:
      allow           Allow a secret to be sent to a service, or list where it may be sent
      token           Give scripts, CI jobs and agents access without the passphrase
      access          Show or change who may use a secret
      audit           Show who changed and used what

    Set up a project:
      trust           Trust what .secrets.toml asks for
      setup           Set up a project: ask for missing secrets and render its files
      check           Check the project against .secrets.toml
      refs            Find the places that refer to secrets
      template        Turn a dotenv file into a template
      adopt           Adopt variables that were added to an output by hand
      project         List, choose, rename or delete projects

    Manage the vault:
      init            Create the vault
      unlock          Unlock the vault for a while
      lock            Lock the vault: its agent forgets the key and ends
      status          Show the vault, the current project, and whether the vault is unlocked
      passwd          Change the passphrase
      keychain        Let the desktop's keychain unlock the vault
      key-file        Make the vault need a key file as well as its passphrase
      recovery        Create or delete a recovery code
      rekey           Re-encrypt everything under new keys
      remote          Keep the vault on a PostgreSQL server, for several machines

    Protect the vault:
      doctor          Look for what makes your secrets less safe
      verify          Verify everything in the vault
      backup          Copy the vault
      restore         Replace the vault with a backup
      salvage         Save what can be read of a damaged vault into a new one
      compact         Overwrite deleted bytes in the vault's file

    Other commands:
      completions     Print a shell completion script
      help            Print this message or the help of a command

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Global options:
          --vault <PATH>             Use this vault file [env: SECRETS_VAULT] [default: secrets/vault.db
                                     in the data directory]
      -p, --project <NAME>           Use this project [env: SECRETS_PROJECT] [default: that of the
                                     nearest .secrets.toml, else `default`]
      -E, --environment <NAME>       Use this environment of the nearest .secrets.toml [env:
                                     SECRETS_ENVIRONMENT]
          --passphrase-file <PATH>   Read the passphrase from a file, `-` for stdin [env:
                                     SECRETS_PASSPHRASE_FILE]
          --key-file <PATH>          Use this key file, for a vault that needs one [env:
                                     SECRETS_KEY_FILE]
          --token-file <PATH>        Use a token from a file instead of the passphrase, `-` for stdin
                                     [env: SECRETS_TOKEN_FILE, SECRETS_TOKEN]
          --recovery                 Unlock with the recovery code instead of the passphrase
          --trust-manifest <SHA256>  Trust the manifest with this SHA-256, see `secrets trust --show`
                                     [env: SECRETS_TRUST_MANIFEST]
          --offline                  Read what this machine last saw of a vault on a server, without the
                                     server
          --max-age <PERIOD>         Refuse data that was last compared with the server longer ago
                                     [default: 7d], and a project whose last change is older
          --json                     Print results and errors as JSON
      -q, --quiet                    Print no status lines
          --color <WHEN>             Set when to use colour [env: NO_COLOR, CLICOLOR_FORCE] [default:
                                     auto] [possible values: auto, always, never]

    Examples:
      secrets init                          create the vault
      secrets create api-key                store a secret, typed hidden
      secrets list                          list the secrets, never a value
      secrets render app.env.tmpl -o .env   fill in the placeholders of a file
      secrets run -- npm start              run a program with secrets, masked
      secrets setup                         set up what .secrets.toml needs
      secrets import .env                   store the secrets of a dotenv file
      secrets unlock                        skip the passphrase for a while
      secrets create --help                 show the options of a command
    error: no command given
    ");
}

#[test]
fn exit_3_is_not_found() {
    let sandbox = Sandbox::new();
    fails(line(&sandbox, &["get", "key"]), 3, "NOT_FOUND");
    fails(line(&sandbox, &["get", "se0123456789abcdef"]), 3, "NOT_FOUND");
    fails(line(&sandbox, &["project", "rename", "a", "b"]), 3, "NOT_FOUND");
    fails(line(&sandbox, &["render", "-e", "{{ secrets.key }}"]), 3, "NOT_FOUND");
    fails(line(&Sandbox::empty(), &["list"]), 3, "NOT_FOUND");
}

#[test]
fn exit_4_is_a_conflict() {
    let sandbox = Sandbox::with_secrets(&[("key", "x"), ("other", "x")]);
    fails(line(&sandbox, &["init"]), 4, "CONFLICT");
    fails(line(&sandbox, &["create", "--tag", "KEY"]), 4, "CONFLICT");
    fails(line(&sandbox, &["clone", "key", "--tag", "other"]), 4, "CONFLICT");
}

#[test]
fn exit_5_is_a_failed_unlock() {
    let sandbox = Sandbox::new();
    fails(
        |more| line(&sandbox, &["list"])(more).env("SECRETS_PASSPHRASE", "wrong"),
        5,
        "UNAUTHORIZED",
    );

    fails(
        |more| line(&sandbox, &["list"])(more).without_env("SECRETS_PASSPHRASE"),
        5,
        "UNAUTHORIZED",
    );

    fails(line(&sandbox, &["list", "--passphrase-file", "nowhere"]), 5, "UNAUTHORIZED");
}

#[test]
fn exit_6_is_a_damaged_file_or_not_a_vault() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection.execute("UPDATE vals SET val = zeroblob(length(val)) WHERE rid IN (SELECT rid FROM records WHERE pid <> zeroblob(16))", []).unwrap();
    drop(connection);
    fails(line(&sandbox, &["render", "-e", "{{ secrets.key }}"]), 6, "UNPROCESSABLE_CONTENT");

    let (_, _, stderr) = sandbox.run(["render", "-e", "{{ secrets.key }}"]).everything();
    assert!(stderr.contains("the value of `se"), "the record is named: {stderr}");
    std::fs::write(sandbox.vault_path(), "notes").unwrap();
    fails(line(&sandbox, &["list"]), 6, "UNPROCESSABLE_CONTENT");
}

#[test]
fn exit_7_is_a_refusal() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    fails(line(&sandbox, &["delete", "key"]), 7, "FORBIDDEN");
    fails(line(&sandbox, &["project", "delete", "default"]), 7, "FORBIDDEN");
    fails(
        line(&sandbox, &["render", "-e", "{{ secrets.key }}", "-o", "/dev/null"]),
        7,
        "FORBIDDEN",
    );

    std::os::unix::fs::symlink(sandbox.vault_path(), sandbox.path("link.db")).unwrap();
    fails(line(&sandbox, &["list", "--vault", "link.db"]), 7, "FORBIDDEN");
}

#[test]
fn exit_8_is_a_check_that_found_something() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    fails(
        line(&sandbox, &["render", "-e", "{{ secrets.key }}", "-o", "out", "--check"]),
        8,
        "CONFLICT",
    );

    // This command prints a list as well, so it differs from the others.
    let sandbox = Sandbox::with_secrets(&[("key", "0123456789")]);
    sandbox.write("file", "0123456789");
    stderr!(sandbox.run(["scan", "file"]).fails_with(8).stdout("file:1: key (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    assert_eq!(
        sandbox.run(["scan", "file", "--json"]).fails_with(8).stdout_has("findings").json_error()["type"],
        "CONFLICT"
    );
}

#[test]
fn exit_125_is_a_failure_of_run_itself_whatever_its_kind() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);

    // Everything after the program belongs to it.
    let run = |arguments: &'static [&'static str], sandbox: &Sandbox| {
        let sandbox = sandbox.vault_path();
        move |more: &[&str]| {
            let prepared = Sandbox::empty().command([&["run"], more, arguments].concat());
            prepared.env("SECRETS_VAULT", &sandbox).current_dir("/")
        }
    };

    fails(run(&["--only", "nope", "--", "true"], &sandbox), 125, "NOT_FOUND");
    fails(run(&["--env", "A={{ secrets.nope }}", "--", "true"], &sandbox), 125, "NOT_FOUND");
    fails(run(&["--frobnicate", "--", "true"], &sandbox), 125, "BAD_REQUEST");
    fails(run(&[], &sandbox), 125, "BAD_REQUEST");
    fails(run(&["--env", "A", "--", "true"], &sandbox), 125, "BAD_REQUEST");
    fails(run(&["--only", "a b", "--", "true"], &sandbox), 125, "BAD_REQUEST");
    fails(run(&["--", "echo", "{{ secrets.key }}"], &sandbox), 125, "FORBIDDEN");
    fails(run(&["--env-file", "/nowhere", "--", "true"], &sandbox), 125, "INTERNAL_ERROR");
    fails(run(&["--", "true"], &Sandbox::empty()), 125, "NOT_FOUND");

    let unlocked = run(&["--", "true"], &sandbox);
    fails(|more| unlocked(more).without_env("SECRETS_PASSPHRASE"), 125, "UNAUTHORIZED");
    fails(|more| unlocked(more).env("SECRETS_PASSPHRASE", "wrong"), 125, "UNAUTHORIZED");
    fails(run(&["--only", "key", "--", "/etc/passwd"], &sandbox), 126, "INTERNAL_ERROR");
    fails(run(&["--only", "key", "--", "no-such-program"], &sandbox), 127, "NOT_FOUND");
    std::fs::write(sandbox.vault_path(), "notes").unwrap();
    fails(run(&["--", "true"], &sandbox), 125, "UNPROCESSABLE_CONTENT");
}

#[test]
fn exit_130_is_an_interruption() {
    // prompts/ tests this on a pseudo-terminal. Here the signal itself arrives while stdin is
    // read.
    let sandbox = Sandbox::new();
    let prepared = sandbox.command(["create", "--tag", "key"]);

    // A background job starts the tests with the signal ignored.
    let mut command = wrapped_in(&["env", "--default-signal=INT"], &prepared);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();

    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();

    drop(stdin);
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);

    // A shell reports 130 for a process that the signal killed, too.
    assert!(status.code() == Some(130) || signal == Some(2), "{status:?}");
    assert!(sandbox.vault().list(None, |_| true).unwrap().is_empty());
}
