//! `redact` masks values in any stream.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::support::programs::environment;
use crate::support::{Sandbox, TOKEN, project, secret};

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[
        ("api-token", TOKEN),
        ("pem", "-----BEGIN KEY-----\nfirst line of it\nsecond line of it\n-----END KEY-----\n"),
    ])
}

#[test]
fn stdin_and_files_are_copied_with_values_masked() {
    let sandbox = sandbox();
    let text = format!("a {TOKEN} b\r\nfirst line of it\n\0\u{ff}{TOKEN}{TOKEN}");
    let masked = "a ‹api-token› b\r\n‹pem›\n\0\u{ff}‹api-token›‹api-token›";
    sandbox.run(["redact"]).succeeds();
    sandbox.command(["redact"]).stdin(&text).run().succeeds().stdout(masked);
    sandbox.command(["redact", "-"]).stdin(&text).run().succeeds().stdout(masked);
    sandbox.write("log", &text);
    sandbox.run(["redact", "log"]).succeeds().stdout(masked);
    stderr!(sandbox.run(["redact", "no-log"]).fails_with(1), @"error: cannot read `no-log`: No such file or directory");
}

#[test]
fn the_frame_of_a_key_is_not_masked() {
    let sandbox = sandbox();
    sandbox
        .command(["redact"])
        .stdin("-----BEGIN KEY-----\nx\n")
        .run()
        .succeeds()
        .stdout("-----BEGIN KEY-----\nx\n");
}

#[test]
fn another_project_has_other_values() {
    let sandbox = sandbox();
    sandbox.vault().create(&project("web"), secret("other", b"another value")).unwrap();
    sandbox.command(["redact", "-p", "web"]).stdin(TOKEN).run().succeeds().stdout(TOKEN);

    // A mistyped project must fail, because nothing would be masked or found.
    for line in [&["redact"][..], &["scan", "."]] {
        let run = sandbox.run([line, &["-p", "defualt"]].concat()).fails_with(3).stdout("");
        stderr!(run, @"
        error: no project `defualt`
        hint: did you mean `default`?
        ");
    }

    let run = sandbox.run(["run", "-p", "defualt", "--", "true"]).fails_with(125);
    stderr!(run, @"
    error: no project `defualt`
    hint: did you mean `default`?
    ");
}

#[test]
fn a_stream_is_passed_on_without_waiting_for_its_end() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["redact"]).command;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());

    for n in 0..3 {
        writeln!(stdin, "{n} {TOKEN}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{n} ‹api-token›\n"));
    }

    // If the reader goes away, the command succeeds silently.
    drop(stdout);
    let _ = stdin.write_all(&vec![b'x'; 1_000_000]);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn short_values_are_reported() {
    let sandbox = Sandbox::with_secrets(&[("pin", "1234")]);
    let run = sandbox.command(["redact"]).stdin("1234").run().succeeds().stdout("1234");
    stderr!(run, @"warning: values shorter than 8 bytes are not masked: `pin`");
}

/// Runs a pipeline in the sandbox, with the binary as `$0`, and returns what it prints.
fn pipeline(sandbox: &Sandbox, line: &str) -> (Option<i32>, String) {
    let program = sandbox.command(["redact"]).command;
    let mut shell = Command::new("bash");
    shell.args(["-c", line]).arg(program.get_program()).current_dir(sandbox.path("")).env_clear();
    shell.envs(environment(&program));

    let output = shell.env("PATH", "/usr/local/bin:/usr/bin:/bin").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_value_is_masked_at_every_split_of_the_stream() {
    let sandbox = sandbox();
    let line = format!(
        "T={TOKEN}; for n in $(seq 1 21); do printf %s \"${{T:0:n}}\"; sleep 0.002; echo \"${{T:n}}\"; done | \"$0\" redact"
    );
    let (code, printed) = pipeline(&sandbox, &line);

    assert_eq!((code, printed.lines().count()), (Some(0), 21));
    for line in printed.lines() {
        // A busy machine causes additional pauses.
        let shown = line.strip_suffix("‹api-token›").unwrap_or_else(|| panic!("{printed}"));
        assert!(shown.len() <= 7 && TOKEN.starts_with(shown), "{printed}");
    }

    // The value crosses the boundary of a read buffer.
    for before in [65_530, 65_515, 65_535, 65_536, 131_060] {
        let text = format!("{}{TOKEN}\n", " ".repeat(before));
        sandbox.write("log", text);
        sandbox
            .run(["redact", "log"])
            .succeeds()
            .stdout(format!("{}‹api-token›\n", " ".repeat(before)));
    }
}

#[test]
fn at_most_seven_bytes_of_an_incomplete_value_are_shown() {
    let sandbox = sandbox();
    sandbox.command(["redact"]).stdin(&TOKEN[..20]).run().succeeds().stdout("‹api-token›");
    sandbox.command(["redact"]).stdin(&TOKEN[..7]).run().succeeds().stdout(&TOKEN[..7]);

    let mut command = sandbox.command(["redact"]).command;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();

    // Block-buffered output arrives in pieces, with pauses of any length.
    stdin.write_all(b"t0ken-abcdef").unwrap();
    let mut shown = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"t0ken-a");
    stdin.write_all(b"ghijklmnop!\n").unwrap();
    drop(stdin);
    assert_eq!(
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap(),
        "‹api-token›!\n"
    );
}

#[test]
fn redact_works_in_a_pipeline() {
    let sandbox = sandbox();

    // If the reader goes away, `redact` succeeds silently even though its input continues.
    let line = format!("yes {TOKEN} | \"$0\" redact | head -n 2; echo ${{PIPESTATUS[@]}}");
    assert_eq!(
        pipeline(&sandbox, &line),
        (Some(0), "‹api-token›\n‹api-token›\n141 0 0\n".to_owned())
    );

    // Output can be appended to a file.
    let line = format!("echo before >out; echo {TOKEN} | \"$0\" redact >>out; cat out");
    assert_eq!(pipeline(&sandbox, &line), (Some(0), "before\n‹api-token›\n".to_owned()));
}

#[test]
fn a_large_stream_is_copied_byte_for_byte() {
    let sandbox = sandbox();
    let mut state = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(2_000_000)
    .collect();

    sandbox.write("large", &bytes);
    assert!(sandbox.run(["redact", "large"]).succeeds().bytes() == bytes);
    assert!(sandbox.command(["redact"]).stdin(&bytes).run().succeeds().bytes() == bytes);
}

#[test]
fn failures_have_their_codes_and_leave_stdout_empty() {
    let sandbox = sandbox();
    let fails = |line: &[&str], code, words: &str| {
        sandbox.command(line).stdin(TOKEN).run().fails_with(code).stdout("").stderr_has(words);
    };

    fails(&["redact", "/etc"], 1, "error: cannot read `/etc`: Is a directory");
    fails(&["redact", "a", "b"], 2, "error: ");
    let locked = sandbox.command(["redact"]).stdin(TOKEN).without_env("SECRETS_PASSPHRASE").run();
    stderr!(locked.fails_with(5).stdout(""), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    // A missing file is reported before a missing passphrase.
    let run = sandbox.command(["redact", "nowhere"]).without_env("SECRETS_PASSPHRASE").run();
    stderr!(run.fails_with(1), @"error: cannot read `nowhere`: No such file or directory");
    let error = sandbox.run(["redact", "nowhere", "--json"]).fails_with(1).json_error();
    assert_eq!(error["type"], "INTERNAL_ERROR");
}

#[test]
fn overlapping_values_are_both_hidden() {
    let sandbox = Sandbox::with_secrets(&[
        ("inner", "ghijklmnop"),
        ("outer", TOKEN),
        ("tail", "klmnop-and-more"),
    ]);

    sandbox.command(["redact"]).stdin("ghijklmnop").run().succeeds().stdout("‹inner›");
    sandbox.command(["redact"]).stdin(TOKEN).run().succeeds().stdout("‹outer›");
    let printed =
        sandbox.command(["redact"]).stdin(format!("{TOKEN}-and-more.")).run().succeeds().bytes();
    let printed = String::from_utf8(printed).unwrap();

    assert!(
        printed.starts_with("‹outer›") && printed.ends_with('.') && !printed.contains("more"),
        "{printed}"
    );
}
