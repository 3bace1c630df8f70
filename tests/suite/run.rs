//! `run` without a terminal: what the program gets, what is masked in its output, how it ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{PASSPHRASE, Prepared, Sandbox, project, secret};

const TOKEN: &str = "t0ken-abcdefghijklmnop";
const URL: &str = "postgres://app:p%40ss@db/dev";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Longer than anything takes on a busy machine.
const AT_MOST: Duration = Duration::from_secs(20);

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN), ("database-url", URL), ("pin", "1234")])
}

fn prepared(sandbox: &Sandbox, arguments: &[&str]) -> Prepared {
    sandbox.command([&["run"], arguments].concat()).env("PATH", PATH)
}

/// Runs a shell script with one secret, which is masked.
fn script(sandbox: &Sandbox, script: &str) -> Prepared {
    prepared(sandbox, &["--only", "api-token", "--", "sh", "-c", script])
}

/// A run that goes on while the test looks at it.
struct Running(Child);

impl Running {
    fn new(prepared: Prepared) -> Self {
        let mut command = prepared.command;
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The next line of stdout.
    fn line(reader: &mut impl BufRead) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn output(&mut self) -> BufReader<std::process::ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < AT_MOST, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // Nobody may be there to bury it.
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

#[test]
fn every_secret_is_in_the_environment_and_masked_in_both_outputs() {
    let sandbox = sandbox();
    let line = "echo $API_TOKEN $DATABASE_URL $PIN; echo $API_TOKEN >&2";
    let run = prepared(&sandbox, &["--", "sh", "-c", line]).run().succeeds();
    run.stdout("‹api-token› ‹database-url› 1234\n")
        .stderr("warning: values under 8 bytes are not masked: `pin`\n‹api-token›\n");
    // What is printed is masked; what the program has is the value.
    let run = prepared(&sandbox, &["--", "sh", "-c", "test \"$API_TOKEN\" = \"$WANTED\""]).env("WANTED", TOKEN).run();
    run.succeeds().stderr("warning: values under 8 bytes are not masked: `pin`\n");
}

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
    let run = prepared(&sandbox, &["--no-mask", "--only", "api-token", "--", "printenv", "API_TOKEN"]).run();
    run.succeeds().stdout(format!("{TOKEN}\n"));
    let run = prepared(&sandbox, &["--no-mask", "--stdin", "api-token", "--", "cat"]).run();
    run.succeeds().stdout(TOKEN);
}

#[test]
fn exit_codes_are_the_programs_or_our_own() {
    let sandbox = sandbox();
    for code in [0, 1, 7, 125, 130, 255] {
        script(&sandbox, &format!("exit {code}")).run().fails_with(code);
    }
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("INT", 130), ("SEGV", 139)] {
        script(&sandbox, &format!("kill -{signal} $$")).run().fails_with(code);
    }
    let fails = |line: &[&str], code, words: &str| {
        prepared(&sandbox, line).run().fails_with(code).stderr_has(words);
    };
    fails(&["--only", "api-token", "no-such-program"], 127, "error: there is no program `no-such-program`");
    fails(&["--only", "api-token", "/etc/passwd"], 126, "error: cannot run `/etc/passwd`: Permission denied");
    fails(&["--only", "nope", "true"], 125, "error: no secret `nope` in project `default`");
    fails(&["--bogus", "true"], 125, "error: there is no option `--bogus` here");
    fails(&[], 125, "is missing");
    fails(&["--only", "not a tag", "true"], 125, "`--only <TAG,...>`");
    let locked = script(&sandbox, "true").without_env("SECRETS_PASSPHRASE").run();
    locked.fails_with(125).stderr_has("no passphrase was given");
    let error = sandbox.command(["run", "--json", "--only", "nope", "true"]).run().fails_with(125).json_error();
    assert_eq!(error["type"], "NOT_FOUND");
}

#[test]
fn what_is_named_is_given_and_no_more() {
    let sandbox = sandbox();
    let names = "env | sed 's/=.*//' | sort | tr '\\n' ' '";
    let given = |line: &[&str]| {
        let run = prepared(&sandbox, &[line, &["--", "sh", "-c", names]].concat()).run();
        String::from_utf8(run.everything().1).unwrap()
    };
    let only = given(&["--only", "api-token,PIN"]);
    assert!(only.contains("API_TOKEN") && only.contains("PIN") && !only.contains("DATABASE_URL"), "{only}");
    let env = given(&["--env", "URL={{ DATABASE_URL }}"]);
    assert!(env.contains("URL ") && !env.contains("API_TOKEN") && !env.contains("DATABASE_URL"), "{env}");
    let stdin = given(&["--stdin", "api-token"]);
    assert!(!stdin.contains("API_TOKEN"), "{stdin}");
}

#[test]
fn templates_have_filters_and_come_from_options_files_and_the_environment() {
    let sandbox = sandbox();
    sandbox
        .write("app.env", "\u{feff}# ours\nexport A='x{{ API_TOKEN }}y' # c\nB=\"two\\nlines\"\nB=last\nC=pa$$word\n");
    let line = "test \"$A$B$C$D$E\" = \"$WANTED\"";
    let arguments = [
        "--env-file",
        "app.env",
        "--env",
        "D={{ secrets.database-url | url }}",
        "--env",
        "E==",
        "--",
        "sh",
        "-c",
        line,
    ];
    let wanted = format!("x{TOKEN}ylastpa$$wordpostgres%3A%2F%2Fapp%3Ap%2540ss%40db%2Fdev=");
    prepared(&sandbox, &arguments).env("WANTED", wanted).run().succeeds();
    let inherited = prepared(&sandbox, &["--only", "pin", "--", "sh", "-c", "test \"$X\" = \"$WANTED\""]);
    let run = inherited.env("X", "a{{ secrets.api-token }}b").env("WANTED", format!("a{TOKEN}b")).run();
    run.succeeds().stderr("warning: values under 8 bytes are not masked: `pin`\n");
    let fails = |arguments: &[&str], words: &str| {
        prepared(&sandbox, &[arguments, &["--", "true"]].concat()).run().fails_with(125).stderr_has(words);
    };
    fails(&["--env", "A={{ secrets.nope }}"], "--env A:1:1: `nope`");
    fails(&["--env", "A={{ secrets.a! }}"], "--env A:1:1: not closed");
    fails(&["--env", "A"], "`--env NAME=TEMPLATE` needs a name and a `=`");
    fails(&["--env", "1A=x"], "needs the name of a variable");
    fails(&["--env-file", "no.env"], "cannot read `no.env`");
    sandbox.write("bad.env", "A=1\nB=\"open\n");
    fails(&["--env-file", "bad.env"], "bad.env:2:3: the double quote is never closed");
    let run = prepared(&sandbox, &["--only", "pin", "true"]).env("X", "{{ secrets.nope }}").run();
    run.fails_with(125).stderr_has("environment X:1:1: `nope`");
}

#[test]
fn what_no_variable_can_hold_is_left_out_or_refused_where_it_was_named() {
    let sandbox = sandbox();
    let vault = sandbox.vault();
    for (tag, bytes) in [
        ("1st", &b"digit-first"[..]),
        ("with-nul", b"nul\0in the middle"),
        ("path", b"/evil/bin"),
        ("ld_preload", b"/evil.so"),
    ] {
        vault.create(&project("default"), secret(tag, bytes)).unwrap();
    }
    let (code, stdout, stderr) = prepared(&sandbox, &["--", "sh", "-c", "echo $PATH $LD_PRELOAD"]).run().everything();
    assert_eq!((code, String::from_utf8(stdout).unwrap()), (Some(0), format!("{PATH}\n")));
    for tag in ["1st", "with-nul", "path", "ld_preload"] {
        assert!(stderr.contains(&format!("warning: `{tag}` is left out")), "{stderr}");
    }
    let fails = |arguments: &[&str], words: &str| {
        prepared(&sandbox, &[arguments, &["--", "true"]].concat()).run().fails_with(125).stderr_has(words);
    };
    fails(&["--only", "1st"], "`1ST` is no name of a variable");
    fails(&["--only", "with-nul"], "`WITH_NUL` cannot be set: its value has a NUL byte");
    fails(&["--env", "A={{ WITH_NUL }}"], "`A` cannot be set: its value has a NUL byte");
    fails(&["--only", "path"], "`PATH` steers programs");
    fails(&["--file", "GIT_SSH=pin"], "`GIT_SSH` steers programs");
    sandbox.write("steer.env", "NODE_OPTIONS=--require=x\n");
    fails(&["--env-file", "steer.env"], "steer.env:1: `NODE_OPTIONS` steers programs");
    let run = prepared(&sandbox, &["--env", "PATH=/usr/bin:/bin", "--", "sh", "-c", "echo $PATH"]).run();
    run.succeeds().stdout("/usr/bin:/bin\n");
}

#[test]
fn what_was_left_out_and_then_named_is_masked() {
    let sandbox = Sandbox::with_secrets(&[("2fa-seed", TOKEN)]);
    let run = prepared(&sandbox, &["--", "sh", "-c", "echo $SEED"]).env("SEED", "{{ secrets.2fa-seed }}").run();
    run.succeeds().stdout("‹2fa-seed›\n").stderr_has("warning: `2fa-seed` is left out");
}

#[test]
fn braces_that_were_there_before_are_left_alone_where_they_name_nothing() {
    let sandbox = sandbox();
    let line = ["--only", "api-token", "--", "printenv", "FORMAT"];
    let run = prepared(&sandbox, &line).env("FORMAT", "{{ID}} {{ .Name }}").run().succeeds();
    run.stdout("{{ID}} {{ .Name }}\n").stderr("warning: `{{ID}}` in `FORMAT` is left as it is: it names no secret\n");
    let run = prepared(&sandbox, &line).env("FORMAT", "{{API_TOKEN}}").run().succeeds();
    run.stdout("‹api-token›\n");
    let run = prepared(&sandbox, &line).env("FORMAT", "{{ secrets.id }}").run();
    run.fails_with(125).stderr_has("environment FORMAT:1:1: `id`");
    // What an option sets anew is not looked at.
    let line = ["--env", "FORMAT=new", "--", "printenv", "FORMAT"];
    prepared(&sandbox, &line).env("FORMAT", "{{ secrets.id }}").run().succeeds().stdout("new\n");
}

#[test]
fn output_that_is_lost_is_an_error() {
    let sandbox = sandbox();
    for (line, code) in [
        ("\"$0\" run --only api-token -- echo hi >/dev/full", 125),
        ("echo x | \"$0\" redact -q 2>errors >/dev/full", 1),
        ("\"$0\" redact /etc 2>errors", 1),
    ] {
        let program = sandbox.command(["x"]).env("PATH", PATH).command;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line).arg(program.get_program()).current_dir(sandbox.path("")).env_clear();
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert_eq!(shell.stderr(Stdio::null()).status().unwrap().code(), Some(code), "{line}");
    }
}

#[test]
fn two_streams_on_one_pipe_keep_their_order() {
    let sandbox = sandbox();
    let program = script(&sandbox, "for n in 1 2 3 4 5; do echo out$n; echo err$n >&2; done").command;
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(program.get_program()).args(program.get_args()).env_clear();
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let printed = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    assert_eq!(printed, "out1\nerr1\nout2\nerr2\nout3\nerr3\nout4\nerr4\nout5\nerr5\n");
}

#[test]
fn a_caller_that_ignores_its_children_changes_nothing() {
    let sandbox = sandbox();
    let program = prepared(&sandbox, &["--no-mask", "--stdin", "api-token", "--", "sh", "-c", "cat; exit 5"]).command;
    let mut perl = Command::new("perl");
    perl.args(["-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV"]).arg(program.get_program()).args(program.get_args());
    perl.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(output) = perl.output() else { return };
    assert_eq!((output.status.code(), output.stdout), (Some(5), TOKEN.as_bytes().to_vec()));
}

#[test]
fn what_unlocks_the_vault_never_reaches_the_program() {
    let sandbox = sandbox();
    sandbox.write("passphrase", PASSPHRASE);
    let command = script(&sandbox, "env | grep -c '^SECRETS_PASS\\|^SECRETS_TOK'");
    let command = command.env("SECRETS_PASSPHRASE_FILE", sandbox.path("passphrase")).env("SECRETS_TOKEN", "x");
    command.run().fails_with(1).stdout("0\n").stderr_has("other users can read the passphrase file");
    for name in ["SECRETS_PASSPHRASE", "SECRETS_PASSPHRASE_FILE", "SECRETS_TOKEN"] {
        let run = prepared(&sandbox, &["--env", &format!("{name}=x"), "--", "true"]).run();
        run.fails_with(125).stderr_has("is never given to a program");
    }
}

#[test]
fn arguments_arrive_as_given_and_hold_no_placeholder() {
    let sandbox = sandbox();
    let odd = std::ffi::OsString::from_vec(b"\xff\xfe".to_vec());
    let mut command = prepared(&sandbox, &["--only", "pin", "--no-mask", "--", "printf", "[%s]"]);
    command.command.args(["", "a b", "$HOME", "*", "--only", "{{ .Values.x }}", "line\nbreak", "-"]).arg(odd);
    let printed = command.run().succeeds().bytes();
    assert_eq!(printed, b"[][a b][$HOME][*][--only][{{ .Values.x }}][line\nbreak][-][\xff\xfe]");
    for argument in ["{{ secrets.api-token }}", "x={{API_TOKEN}}", "--header=Bearer {{ secrets.api-token | url }}"] {
        let run = prepared(&sandbox, &["--", "curl", argument]).run().fails_with(125).stdout("");
        run.stderr_has("argument 1 of the program holds a placeholder for `");
    }
}

#[test]
fn a_private_file_lives_as_long_as_the_program() {
    let sandbox = sandbox();
    let line = "stat -c '%a %s' \"$KEY\"; stat -c %a \"$(dirname \"$KEY\")\"; cat \"$KEY\"; echo \"$KEY\" >&2";
    let run = prepared(&sandbox, &["--file", "KEY=api-token", "--", "sh", "-c", line]).run();
    let (code, stdout, stderr) = run.everything();
    assert_eq!((code, String::from_utf8(stdout).unwrap()), (Some(0), format!("600 {}\n700\n‹api-token›", TOKEN.len())));
    let path = PathBuf::from(stderr.trim());
    assert!(path.starts_with(sandbox.path("secrets")) && !path.exists() && !path.parent().unwrap().exists());
    prepared(&sandbox, &["--file", "KEY=nope", "--", "true"]).run().fails_with(125).stderr_has("no secret `nope`");
    assert!(left_in(&sandbox).is_empty());
}

/// Private directories that are still there.
fn left_in(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path("secrets")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("/run-")).collect()
}

#[test]
fn killed_it_leaves_no_program_and_no_file() {
    let sandbox = sandbox();
    let line = "echo $$; echo $KEY; trap '' TERM HUP INT; sleep 20 & wait; sleep 20";
    let command = prepared(&sandbox, &["--no-mask", "--file", "KEY=api-token", "--", "sh", "-c", line]);
    let mut running = Running::new(command);
    let mut output = running.output();
    let (pid, path) = (Running::line(&mut output), Running::line(&mut output));
    assert!(PathBuf::from(&path).exists() && is_alive(&pid));
    running.signal(Signal::KILL);
    running.code();
    until("the program lives on", || !is_alive(&pid));
    until("the file is still there", || left_in(&sandbox).is_empty());
}

#[test]
fn signals_are_passed_on() {
    let sandbox = sandbox();
    for (name, signal) in [
        ("INT", Signal::INT),
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("WINCH", Signal::WINCH),
    ] {
        let line = format!("trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done");
        let mut running = Running::new(script(&sandbox, &line));
        let mut output = running.output();
        assert_eq!(Running::line(&mut output), "ready");
        running.signal(signal);
        assert_eq!(Running::line(&mut output), format!("got {name}"));
        assert_eq!(running.code(), Some(9));
    }
    let mut running = Running::new(script(&sandbox, "echo ready; exec sleep 1000"));
    let mut output = running.output();
    assert_eq!(Running::line(&mut output), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.code(), Some(143));
}

#[test]
fn the_program_finds_the_process_as_it_would_without_us() {
    let sandbox = sandbox();
    let line = "umask; ulimit -Sc; ulimit -Hc; pwd; ls /proc/self/fd | wc -l; grep 'Sig\\(Ign\\|Blk\\)' /proc/self/status; \
                id -u; nice; cat";
    let with = script(&sandbox, line).stdin("what is typed").run().succeeds().bytes();
    let without = sandbox.command(["x"]).command;
    let mut plain = Command::new("sh");
    plain.arg("-c").arg(line).env_clear().env("PATH", PATH).current_dir(without.get_current_dir().unwrap());
    let mut child = plain.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"what is typed").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(with).unwrap(), String::from_utf8(output.stdout).unwrap());
}

#[test]
fn what_was_ignored_stays_ignored() {
    let sandbox = sandbox();
    let program = script(&sandbox, "grep SigIgn /proc/self/status").command;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' HUP; exec \"$@\"").arg("sh").arg(program.get_program()).args(program.get_args());
    shell.env_clear();
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let with = shell.output().unwrap().stdout;
    let without = Command::new("sh").args(["-c", "trap '' HUP; exec grep SigIgn /proc/self/status"]).output().unwrap();
    // The C library keeps two past the 31 that are counted here for itself.
    let ignored = |line: Vec<u8>| {
        let line = String::from_utf8(line).unwrap();
        u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).unwrap() & 0x7fff_ffff
    };
    assert_eq!((ignored(with), ignored(without.stdout)), (1, 1));
}

#[test]
fn a_value_written_in_pieces_is_masked_and_a_prefix_is_let_go() {
    let sandbox = sandbox();
    let line = "printf 'a%s' t0ken-abcdef; sleep 0.01; printf '%s!' ghijklmnop";
    script(&sandbox, line).run().succeeds().stdout("a‹api-token›!");
    // Silence: the prefix is shown, and if the value then completes, the rest of it is not.
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
fn a_grandchild_that_keeps_the_output_is_not_waited_for() {
    let sandbox = sandbox();
    let begun = Instant::now();
    script(&sandbox, "sleep 60 & echo done").run().succeeds().stdout_has("done\n");
    assert!(begun.elapsed() < AT_MOST);
    script(&sandbox, "yes & echo done").run().succeeds().stdout_has("done\n");
    assert!(begun.elapsed() < AT_MOST);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_as_without_us() {
    let sandbox = sandbox();
    let mut running = Running::new(script(&sandbox, "yes; echo $? >&2"));
    let mut output = running.output();
    assert_eq!(Running::line(&mut output), "y");
    drop(output);
    assert_eq!(running.code(), Some(0)); // the shell's own: it tells how `yes` ended
    let mut errors = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.ends_with("141\n"), "{errors}");
}

#[test]
fn large_output_is_copied_byte_for_byte_and_streams_stay_apart() {
    let sandbox = sandbox();
    let mut bytes = vec![0; 3_000_000];
    disorder(&mut bytes);
    sandbox.write("large", &bytes);
    let mut command = script(&sandbox, "cat large; cat large >&2; cat large").command;
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout == bytes.repeat(2) && output.stderr == bytes);
}

/// Letters without an order, the same in every run.
fn disorder(bytes: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = b'a' + (state >> 59) as u8;
    }
}

#[test]
fn as_process_1_it_buries_what_is_left_to_it() {
    let sandbox = sandbox();
    let mut unshare = Command::new("unshare");
    let program = script(&sandbox, "(sleep 0.05 &) ; sleep 0.3; ps -e -o stat= | grep -c Z; exit 4").command;
    unshare.args(["-pf", "--mount-proc"]).arg(program.get_program()).args(program.get_args()).env_clear();
    unshare.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = unshare.output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("unshare") {
        return; // only root may
    }
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(4), "0\n".to_owned()));
}

#[test]
fn a_dry_run_lists_names_and_no_value() {
    let sandbox = sandbox();
    let arguments = ["--dry-run", "--only", "api-token", "--file", "KEY=pin", "--env", "URL={{ DATABASE_URL | url }}"];
    let run = prepared(&sandbox, &[&arguments[..], &["--stdin", "pin"]].concat()).run();
    run.succeeds()
        .stdout("API_TOKEN\t--only\tapi-token\nKEY\t--file\tpin\nURL\t--env\tdatabase-url\n(stdin)\t--stdin\tpin\n");
    let run = prepared(&sandbox, &["--dry-run", "--json", "--only", "api-token"]).run().succeeds();
    let expected = serde_json::json!({
        "variables": [{ "name": "API_TOKEN", "source": "--only", "secrets": ["api-token"] }]
    });
    assert_eq!(run.json(), expected);
    assert!(left_in(&sandbox).is_empty());
}

#[test]
fn a_clean_environment_keeps_who_and_where_one_is() {
    let sandbox = sandbox();
    let command = prepared(&sandbox, &["--clean-env", "--only", "api-token", "--", "env"]);
    let command = command.env("TERM", "dumb").env("LC_ALL", "C").env("AWS_PROFILE", "x").env("USER", "me");
    let printed = String::from_utf8(command.run().succeeds().bytes()).unwrap();
    let mut names: Vec<&str> = printed.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["API_TOKEN", "HOME", "LC_ALL", "PATH", "TERM", "USER"]);
}

#[test]
#[ignore = "10 GB through a pipe"]
fn ten_gigabytes_pass_in_constant_memory() {
    let sandbox = sandbox();
    let line = "head -c 10000000000 /dev/zero; grep VmHWM /proc/$PPID/status >&2";
    let mut command = script(&sandbox, line).command;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let copied = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(copied, 10_000_000_000);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success());
    let peak: u64 = errors.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 64 * 1024, "{errors}");
}

#[test]
#[ignore = "300 kills at any moment"]
fn killed_at_any_moment_it_leaves_nothing() {
    let sandbox = sandbox();
    for n in 0..300_u64 {
        let command = prepared(&sandbox, &["--file", "KEY=api-token", "--", "sleep", "1000"]);
        let mut running = Running::new(command);
        std::thread::sleep(Duration::from_micros(n * 300));
        running.signal(Signal::KILL);
        running.code();
    }
    until("files are still there", || left_in(&sandbox).is_empty());
    let marker = sandbox.path("").display().to_string();
    until("a process lives on", || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        !entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())).any(
            |entry| {
                let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&marker)
            },
        )
    });
}
