//! Values are masked in both outputs, however the program writes them.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Sandbox, TOKEN, wrapped_in};

use super::{Running, fifo, prepared, sandbox, script};

#[test]
fn every_form_is_masked() {
    let sandbox = Sandbox::with_secrets(&[("odd", "it's \"odd\" & 100% secret/value\n")]);
    let line = "printf %s \"$ODD\"; printf %s \"$ODD\" | base64 -w0; printf 'user:%s' \"$ODD\" | base64 -w0; \
                printf %s \"$ODD\" | od -An -v -tx1 | tr -d ' \\n'";
    let (code, stdout, _) = prepared(&sandbox, &["--", "sh", "-c", line]).run().everything();
    let stdout = String::from_utf8(stdout).unwrap();

    assert_eq!(code, Some(0));
    assert_eq!(stdout.matches("‹odd›").count(), 4, "{stdout}");
    assert!(stdout.len() < 4 * "‹odd›".len() + 16, "{stdout}");
}

#[test]
fn without_masking_a_value_is_printed() {
    let sandbox = sandbox();
    let run =
        prepared(&sandbox, &["--no-mask", "--only", "api-token", "--", "printenv", "API_TOKEN"])
            .run();
    run.succeeds().stdout(format!("{TOKEN}\n"));

    let run = prepared(&sandbox, &["--no-mask", "--stdin", "api-token", "--", "cat"]).run();
    run.succeeds().stdout(TOKEN);
}

#[test]
fn two_streams_on_one_pipe_keep_their_order() {
    let sandbox = sandbox();
    let program = script(&sandbox, "for n in 1 2 3 4 5; do echo out$n; echo err$n >&2; done");
    let mut shell = wrapped_in(&["sh", "-c", "exec \"$0\" \"$@\" 2>&1"], &program);
    let printed = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    assert_eq!(printed, "out1\nerr1\nout2\nerr2\nout3\nerr3\nout4\nerr4\nout5\nerr5\n");
}

#[test]
fn a_value_written_in_pieces_is_masked_and_a_prefix_is_released() {
    let sandbox = sandbox();
    let line = "printf 'a%s' t0ken-abcdef; sleep 0.01; printf '%s!' ghijklmnop";
    script(&sandbox, line).run().succeeds().stdout("a‹api-token›!");

    // After a pause the prefix is shown. If the value is then completed, the rest of it is hidden.
    let mut running = Running::new(script(&sandbox, "printf 't0ken-'; sleep 20"));
    let mut output = running.0.stdout.take().unwrap();
    let mut piece = [0; 6];
    output.read_exact(&mut piece).unwrap();
    assert_eq!(&piece, b"t0ken-");
    running.signal(Signal::TERM);
    running.code();

    let line = "printf 't0ken-'; sleep 0.3; printf 'abcdefghijklmnop.'";
    script(&sandbox, line).run().succeeds().stdout("t0ken-‹api-token›.");
}

#[test]
fn an_incomplete_value_at_the_programs_end_is_masked_to_its_end() {
    let sandbox = sandbox();
    let go = fifo(&sandbox, "go");

    // The output before the value exceeds the kept part of the stream.
    let line = "head -c 20000 /dev/zero; printf 't0ken-ab'; (read go <go; printf 'cdefghijklmnop.'; echo end) &";
    let mut running = Running::new(script(&sandbox, line));
    assert_eq!(running.code(), Some(0));
    std::fs::write(&go, "go\n").unwrap();

    let mut printed = Vec::new();
    running.output().read_to_end(&mut printed).unwrap();
    let printed = String::from_utf8(printed.split_off(20_000)).unwrap();
    assert!(printed.ends_with("‹api-token›.end\n") && !printed.contains("cdef"), "{printed}");
    assert_eq!(printed.matches("t0").count(), usize::from(printed.starts_with("t0")), "{printed}");
}

#[test]
fn no_program_starts_without_memory_for_the_needles() {
    let sandbox =
        Sandbox::with_secrets(&[("big", &"v".repeat(1_000_000)), ("small", "value-of-small")]);
    let limited = |line: &str| {
        let script = format!("ulimit -v 300000; exec \"$0\" {line}");
        let mut command = sandbox.command([""; 0]);
        command.command = sandbox.program("sh");
        command.command.args(["-c", &script, env!("CARGO_BIN_EXE_secrets")]);
        command.run()
    };

    let text = "error: not enough memory: searching for these values needs 381 MiB\nhint: select \
                fewer values with `--only`; `big` is the largest\n";
    limited("run --file BIG=big -- touch started").fails_with(125).stderr(text);
    assert!(!sandbox.path("started").exists());
    stderr!(limited("redact").fails_with(1), @"
    error: not enough memory: searching for these values needs 381 MiB
    hint: free some memory, or raise the memory limit; `big` is the largest
    ");

    limited("run --only small -- touch started").succeeds();
    assert!(sandbox.path("started").exists());
}

#[test]
fn an_incomplete_long_value_at_the_programs_end_is_masked_to_its_end() {
    // 40,000 characters without a repeated part.
    let value: String =
        (0..8_000).map(|number| format!("{:05}", number * 7_919 % 99_991)).collect();
    let sandbox = Sandbox::with_secrets(&[("big", &value)]);
    std::fs::write(sandbox.path("big"), &value).unwrap();

    for (number, encoded) in
        ["cat big", "base64 -w0 big", "od -An -v -tx1 big | tr -d ' \\n'"].into_iter().enumerate()
    {
        let go = fifo(&sandbox, &format!("go{number}"));
        let line = format!(
            "{encoded} >all; printf 'a line\\n'; head -c 30000 all; (read go <{}; tail -c +30001 all; echo; echo END) &",
            go.display()
        );

        let command = sandbox.command(["run", "--only", "big", "--", "sh", "-c", &line]);
        let mut running = Running::new(command);
        assert_eq!(running.code(), Some(0));
        std::fs::write(&go, "go\n").unwrap();

        let mut printed = String::new();
        running.output().read_to_string(&mut printed).unwrap();
        let shown = printed.replace("‹big›", "");
        let rest = shown.strip_prefix("a line\n").and_then(|text| text.strip_suffix("\nEND\n"));

        // Up to seven bytes of it may be out already, and base64 can end with bits of other data.
        assert!(rest.is_some_and(|rest| rest.len() <= 9), "{} of {encoded}", shown.len());
        assert!(printed.contains("‹big›"), "{encoded}");
    }
}

#[test]
fn a_value_is_masked_at_every_split() {
    let sandbox = sandbox();
    let line = "for n in $(seq 1 21); do printf \"%.${n}s\" \"$API_TOKEN\"; sleep 0.002; \
                printf %s \"$API_TOKEN\" | tail -c +$((n + 1)); echo; done";
    script(&sandbox, line).run().succeeds().stdout("‹api-token›\n".repeat(21));

    // One byte at a time.
    let line =
        "for n in $(seq 1 22); do printf %s \"$API_TOKEN\" | head -c $n | tail -c 1; done; echo .";
    script(&sandbox, line).run().succeeds().stdout("‹api-token›.\n");
}

#[test]
fn a_prefix_is_held_for_less_than_50_ms() {
    let sandbox = sandbox();
    let held = |_| {
        let mut running = Running::new(script(&sandbox, "printf '.t0ken-'; sleep 1000"));
        let mut output = running.0.stdout.take().unwrap();
        output.read_exact(&mut [0]).unwrap();
        let begun = Instant::now();

        output.read_exact(&mut [0; 6]).unwrap();
        let held = begun.elapsed();
        running.signal(Signal::TERM);
        running.code();
        held
    };

    // The machine may be busy, so the best of several runs counts.
    let best = (0..5).map(held).min().unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
}

#[test]
fn each_form_is_masked_and_similar_text_is_not() {
    use base64ct::{Base64, Base64Url, Base64UrlUnpadded, Encoding};
    let value = "it's \"odd\" & 100% secret/value?>\u{fc}~";
    let sandbox = Sandbox::with_secrets(&[("odd", value)]);
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let url: String = value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();

    let json = serde_json::to_string(value).unwrap();
    let forms = [
        value.to_owned(),
        json.trim_matches('"').to_owned(),
        format!("'{}'", value.replace('\'', "'\\''")),
        url.to_lowercase(),
        url,
        hex.to_uppercase(),
        hex,
        Base64::encode_string(value.as_bytes()),
        Base64Url::encode_string(value.as_bytes()),
        Base64UrlUnpadded::encode_string(value.as_bytes()),
        Base64::encode_string(format!("u:{value}").as_bytes()),
        Base64::encode_string(format!("user:{value}").as_bytes()),
    ];

    for form in &forms {
        let printed =
            prepared(&sandbox, &["--", "cat"]).stdin(format!("<{form}>")).run().succeeds().bytes();
        let printed = String::from_utf8(printed).unwrap();
        assert!(printed.contains("‹odd›") && printed.len() < 24, "{form}: {printed}");
    }

    for near in [
        &value[1..],
        &format!("{}!", &value[..value.len() - 1]),
        "it's \"odd\" & 100%  secret/value?>\u{fc}~",
    ] {
        prepared(&sandbox, &["--", "cat"]).stdin(near).run().succeeds().stdout(near);
    }
}

#[test]
fn values_of_eight_bytes_are_masked_and_shorter_ones_are_reported() {
    let sandbox =
        Sandbox::with_secrets(&[("seven", "1234567"), ("eight", "abcdefgh"), ("empty", "x")]);
    let run = prepared(&sandbox, &["--", "sh", "-c", "echo $SEVEN $EIGHT"])
        .run()
        .succeeds()
        .stdout("1234567 ‹eight›\n");

    stderr!(run, @"warning: values shorter than 8 bytes are not masked: `empty`, `seven`");
    let line = [
        "--only",
        "seven",
        "--stdin",
        "SEVEN",
        "--file",
        "F=seven",
        "--env",
        "A={{SEVEN}}",
        "--",
        "true",
    ];

    let once = "warning: values shorter than 8 bytes are not masked: `seven`\n";
    prepared(&sandbox, &line).run().succeeds().stderr(once);

    // Short values that the program does not get are not mentioned.
    prepared(&sandbox, &["--only", "eight", "--", "echo", "abcdefgh"])
        .run()
        .succeeds()
        .stdout("‹eight›\n");

    // Nothing is masked, so there is no warning.
    let run = prepared(&sandbox, &["--no-mask", "--", "sh", "-c", "echo $SEVEN $EIGHT"]).run();
    run.succeeds().stdout("1234567 abcdefgh\n");
}

#[test]
fn output_into_a_file_is_masked() {
    let sandbox = sandbox();
    let program = script(&sandbox, "echo $API_TOKEN; echo $API_TOKEN >&2; echo end");
    let status =
        wrapped_in(&["sh", "-c", "exec \"$0\" \"$@\" >both 2>&1"], &program).status().unwrap();
    assert!(status.success());
    assert_eq!(String::from_utf8(sandbox.read("both")).unwrap(), "‹api-token›\n‹api-token›\nend\n");

    // The output is appended and overwrites nothing.
    wrapped_in(&["sh", "-c", "exec \"$0\" \"$@\" >>both"], &program)
        .stderr(Stdio::null())
        .status()
        .unwrap();

    assert!(String::from_utf8(sandbox.read("both")).unwrap().ends_with("end\n‹api-token›\nend\n"));
}
