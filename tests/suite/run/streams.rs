//! Output arrives complete and in bounded memory, from background processes too, and a missing
//! reader is noticed.

use std::io::{BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::programs::{environment, is_alive, until};
use crate::support::{PATH, wrapped_in};

use super::{Running, fifo, prepared, sandbox, script};

#[test]
fn lost_output_is_an_error() {
    let sandbox = sandbox();
    for (line, code) in [
        ("\"$0\" run --only api-token -- echo hi >/dev/full", 125),
        ("echo x | \"$0\" redact -q 2>errors >/dev/full", 1),
        ("\"$0\" redact /etc 2>errors", 1),
    ] {
        let program = sandbox.command(["x"]).env("PATH", PATH).command;
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(line)
            .arg(program.get_program())
            .current_dir(sandbox.path(""))
            .env_clear();
        shell.envs(environment(&program));
        assert_eq!(shell.stderr(Stdio::null()).status().unwrap().code(), Some(code), "{line}");
    }
}

#[test]
fn background_processes_are_not_waited_for_and_their_output_is_masked() {
    let sandbox = sandbox();
    let go = fifo(&sandbox, "go");
    let line = "(read go <go; echo \"<$API_TOKEN>\"; echo \"<$API_TOKEN>\" >&2; echo end) & echo done; exit 3";
    let mut running = Running::new(script(&sandbox, line));
    let mut output = running.output();

    assert_eq!((Running::line(&mut output).as_str(), running.code()), ("done", Some(3)));
    std::fs::write(&go, "go\n").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "<‹api-token›>\nend\n");
    rest.clear();
    running.0.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "<‹api-token›>\n");
}

#[test]
fn background_processes_notice_that_nobody_reads() {
    let sandbox = sandbox();
    let line = "sh -c 'echo $$; while :; do echo x; sleep 0.02; done' & echo done";
    let mut running = Running::new(script(&sandbox, line));
    let mut output = running.output();
    let (mut pid, mut done) = (String::new(), false);

    while pid.is_empty() || !done {
        let line = Running::line(&mut output);
        done |= line == "done";
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            pid.clone_from(&line);
        }
    }

    assert_eq!(running.code(), Some(0));
    assert!(is_alive(&pid));
    drop((output, running.0.stderr.take()));
    until("it is still running", || !is_alive(&pid));
}

#[test]
fn the_background_masker_has_no_environment_and_survives_lock() {
    let sandbox = sandbox();
    let go = fifo(&sandbox, "go");
    let line = "(read go <go; echo \"<$API_TOKEN>\") & echo done";
    let mut running = Running::new(script(&sandbox, line).env("MARKER", "of this test"));
    let mut output = running.output();

    assert_eq!((Running::line(&mut output).as_str(), running.code()), ("done", Some(0)));
    let lingering = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let named = |path: &PathBuf| {
            std::fs::read(path.join("cmdline")).is_ok_and(|line| line == b"secrets\0linger\0")
        };

        entries.map(|entry| entry.path()).filter(named).collect::<Vec<_>>()
    };

    until("no background process is running", || !lingering().is_empty());
    for process in lingering() {
        // Only root can read it. Otherwise the process belongs to another test and has ended.
        let Ok(environment) = std::fs::read(process.join("environ")) else { continue };
        assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    }

    sandbox.run(["lock", "--all", "-q"]).everything();
    std::fs::write(&go, "go\n").unwrap();
    assert_eq!(Running::line(&mut output), "<‹api-token›>");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_as_without_run() {
    let sandbox = sandbox();
    let mut running = Running::new(script(&sandbox, "yes; echo $? >&2"));
    let mut output = running.output();
    assert_eq!(Running::line(&mut output), "y");
    drop(output);
    assert_eq!(running.code(), Some(0)); // the shell's own code: it reports how `yes` ended

    let mut errors = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.ends_with("141\n"), "{errors}");
}

#[test]
fn large_output_is_copied_byte_for_byte_and_streams_stay_apart() {
    let sandbox = sandbox();
    let mut bytes = vec![0; 3_000_000];
    fill_without_pattern(&mut bytes);
    sandbox.write("large", &bytes);

    let mut command = script(&sandbox, "cat large; cat large >&2; cat large").command;
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout == bytes.repeat(2) && output.stderr == bytes);
}

/// Fills the buffer with letters without a pattern, the same in every run.
fn fill_without_pattern(bytes: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = b'a' + (state >> 59) as u8;
    }
}

#[test]
#[ignore = "10 GB through a pipe"]
fn ten_gigabytes_pass_in_constant_memory() {
    let sandbox = sandbox();
    let line = "head -c 10000000000 /dev/zero; grep VmHWM /proc/$PPID/status >&2";
    let mut command = script(&sandbox, line).command;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let copied = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(copied, 10_000_000_000);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success());

    let peak: u64 = errors.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 64 * 1024, "{errors}");
}

/// Returns the processor time that a process has used, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let all: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    all[11].parse::<u64>().unwrap() + all[12].parse::<u64>().unwrap()
}

#[test]
fn output_left_in_the_pipe_arrives_even_at_a_slow_reader() {
    let sandbox = sandbox();
    let line = "sleep 1000 & echo $! >&2; head -c 60000 /dev/zero; echo the end";
    let mut running = Running::new(script(&sandbox, line));
    let pid = Running::line(&mut BufReader::new(running.0.stderr.take().unwrap()));
    let mut output = running.0.stdout.take().unwrap();
    let (mut all, mut piece) = (Vec::new(), vec![0; 6000]);

    while all.len() < 60_008 {
        std::thread::sleep(Duration::from_millis(30));
        let length = output.read(&mut piece).unwrap();
        all.extend_from_slice(&piece[..length]);
    }

    assert!(all.len() == 60_008 && all.ends_with(b"the end\n"), "{}", all.len());
    assert_eq!(running.code(), Some(0));
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn while_a_reader_pauses_run_neither_spins_nor_outlives_a_signal() {
    let sandbox = sandbox();
    for (signal, code) in
        [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)]
    {
        let program = script(&sandbox, "head -c 1000000 /dev/zero & sleep 0.1; kill $!; echo >&2");
        let mut command = wrapped_in(&["env", "--default-signal=INT,QUIT,HUP"], &program);
        let mut running =
            Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut errors = BufReader::new(running.0.stderr.take().unwrap());

        assert_eq!(Running::line(&mut errors), "");

        // The program has ended, and its output fills the pipe that nobody reads.
        let children = format!("/proc/{0}/task/{0}/children", running.0.id());
        until("the program still runs", || std::fs::read_to_string(&children).unwrap().is_empty());
        std::thread::sleep(Duration::from_millis(150));
        let before = ticks(running.0.id());

        std::thread::sleep(Duration::from_millis(200));
        let used = ticks(running.0.id()) - before;
        assert!(used < 8, "{used} ticks");
        assert!(running.0.try_wait().unwrap().is_none());
        running.signal(signal);
        until("it survives a signal", || running.0.try_wait().unwrap().is_some());
        assert_eq!(running.code(), Some(code));
    }
}

#[test]
fn a_closed_reader_is_noticed_at_the_first_write() {
    let sandbox = sandbox();
    let line = "read go; echo x; echo y >&2";
    for prepared in [
        script(&sandbox, line),
        prepared(&sandbox, &["--only", "api-token", "--no-mask", "--", "sh", "-c", line]),
    ] {
        let mut command = prepared.command;
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        drop(child.stdout.take());
        std::thread::sleep(Duration::from_millis(200));
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        // Without masking, the signal ends the program itself.
        let signal = output.status.signal();
        assert!(output.status.code() == Some(141) || signal == Some(13), "{output:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_reader_that_waits_makes_the_program_wait() {
    let sandbox = sandbox();
    let mut running = Running::new(script(&sandbox, "head -c 8000000 /dev/zero; : >all-written"));
    let mut output = running.0.stdout.take().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(!sandbox.path("all-written").exists());

    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let size = |name: &str| {
        status.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().nth(1)
    };

    let resident: u64 = size("VmRSS").unwrap().parse().unwrap();
    assert!(resident < 64 * 1024, "{resident} KiB");
    assert_eq!(std::io::copy(&mut output, &mut std::io::sink()).unwrap(), 8_000_000);
    assert_eq!(running.code(), Some(0));
    assert!(sandbox.path("all-written").exists());
}
