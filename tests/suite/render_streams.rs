//! The inputs and outputs of `secrets render`: closed pipes, full devices, FIFOs, descriptors,
//! sizes, memory.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use terminal_secrets::template::grammar::Grammar;
use terminal_secrets::template::{ExpandError, Plan, Template, TemplateError};

use crate::support::files::set_mode;
use crate::support::programs::{NOBODY, am_root, environment};
use crate::support::{PASSPHRASE, Prepared, Sandbox, project, secret};

/// Prepares a bash script in the sandbox. `$SECRETS` is the binary. The run ends with the script's
/// exit code.
fn bash(sandbox: &Sandbox, script: &str) -> Prepared {
    let mut prepared = sandbox.command::<_, &str>([]);
    prepared.command = sandbox.program("bash");
    prepared.command.args(["-c", script]).env("SECRETS", env!("CARGO_BIN_EXE_secrets"));
    prepared
}

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("x", "vx")])
}

#[test]
fn a_closed_pipe_succeeds_silently() {
    let sandbox = sandbox();
    sandbox.write("large", "{{X}} 0123456789\n".repeat(100_000));
    sandbox.write("plain", "0123456789\n".repeat(100_000));

    for command in ["large", "plain", "large --list", "large --list --json"] {
        let script =
            format!("$SECRETS render {command} | head -c 3 > out; exit ${{PIPESTATUS[0]}}");
        bash(&sandbox, &script).run().succeeds().stdout("").stderr("");
        assert_eq!(sandbox.read("out").len(), 3, "{command}");
    }
}

#[test]
fn a_full_device_is_an_error() {
    let sandbox = sandbox();
    for command in ["-e '{{X}}'", "-e plain", "-e '{{X}}' --list", "-e '{{X}}' --list --json"] {
        let run = bash(&sandbox, &format!("$SECRETS render {command} > /dev/full")).run();
        run.fails_with(1).stderr_has("cannot write to stdout: No space left on device");
    }
}

#[test]
fn a_template_may_be_a_fifo_or_a_descriptor() {
    let sandbox = sandbox();
    let scripts = [
        "$SECRETS render <(echo '{{X}}')",
        "$SECRETS render /dev/fd/7 7<<<'{{X}}'",
        "echo '{{X}}' | $SECRETS render /dev/stdin",
        "echo '{{X}}' > file; $SECRETS render /dev/fd/8 8< file",
        "mkfifo fifo; echo '{{X}}' > fifo & $SECRETS render fifo",
        "$SECRETS render -e '{{X}}\n' --passphrase-file <(echo $SECRETS_PASSPHRASE)",
        "SECRETS_PASSPHRASE_FILE=/dev/fd/9 $SECRETS render - 9<<<$SECRETS_PASSPHRASE <<<'{{X}}'",
        "$SECRETS render <(echo '{{X}}') --passphrase-file <(echo $SECRETS_PASSPHRASE) -o out; cat out",
    ];

    // Only the last script reports on stderr what it wrote.
    for script in scripts {
        let text = if script.contains("-o out") { "wrote `out`\n" } else { "" };
        bash(&sandbox, script).run().succeeds().stdout("vx\n").stderr(text);
    }
}

/// The process keeps others from inspecting it. It must still be able to use its own
/// `/proc/self/fd`. Root would not notice a failure.
#[test]
fn descriptors_work_for_an_ordinary_user() {
    let sandbox = sandbox();
    let binary = sandbox.path("secrets");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_secrets")).arg(&binary).status();
    assert!(copied.unwrap().success()); // a program written by this process may be busy

    let script = "set -e; SECRETS=./secrets; $SECRETS render <(echo '1 {{X}}'); \
                  $SECRETS render -e '2 {{X}}\n' --passphrase-file <(echo $SECRETS_PASSPHRASE); \
                  $SECRETS render -q -e '3 {{X}}\n' -o out; $SECRETS render -q -e '4 {{X}}\n' -o out; cat out; ls -A";
    let mut run = bash(&sandbox, script);

    if am_root() {
        for path in [sandbox.path(""), sandbox.vault_path(), binary] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }

        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]).args([
            "--clear-groups",
            "bash",
            "-c",
        ]);

        command.arg(script).current_dir(sandbox.path("")).env_clear();
        command.envs(environment(&run.command));
        run.command = command;
    }

    run.run().succeeds().stdout("1 vx\n2 vx\n4 vx\nout\nsecrets\nvault.db\n");
}

/// Above 8 MiB, stdin is spooled and a file is read twice.
#[test]
fn large_templates_render_the_same_from_every_source() {
    let sandbox = sandbox();
    let line = "0123456789abcdef {{ .v }} \\{ {{ secrets.x }} $\r\n";
    let template = line.repeat(9 * 1024 * 1024 / line.len());
    let expected = template.replace("{{ secrets.x }}", "vx");

    sandbox.write("large", &template);
    let scripts =
        ["$SECRETS render large", "cat large | $SECRETS render", "$SECRETS render < large"];
    let others = [
        "$SECRETS render <(cat large)",
        "$SECRETS render /dev/fd/8 8< large",
        "$SECRETS render large -qo out; cat out",
    ];

    for script in [scripts, others].concat() {
        assert!(bash(&sandbox, script).run().succeeds().bytes() == expected.as_bytes(), "{script}");
    }

    sandbox.write("large", template + "{{ ZZZZ }}");
    for script in scripts {
        let place = format!(":{}:1: `ZZZZ`", 9 * 1024 * 1024 / line.len() + 1);
        bash(&sandbox, script).run().fails_with(3).stdout("").stderr_has(&place);
    }
}

/// Returns values of all sizes, with all bytes.
fn values(count: usize) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::default();
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut values = vec![
        b"\n".to_vec(),
        b"\0".to_vec(),
        b"a\r\n".to_vec(),
        b"a\n\n\n".to_vec(),
        b"\xef\xbb\xbfBOM".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{{ X }} ${{ secrets.y }} \\{{Z}}".to_vec(),
        every_byte.repeat(4096),
        every_byte,
    ];

    let sizes = prop_oneof![1..100_usize, 1..5000_usize, 60_000..70_000_usize];
    while values.len() < count {
        let size = sizes.new_tree(&mut runner).unwrap().current();
        let seed = vec(any::<u8>(), 1..200).new_tree(&mut runner).unwrap().current();
        let end = prop::sample::select(vec!["", "\n", "\r\n", "\n\n", " "])
            .new_tree(&mut runner)
            .unwrap()
            .current();

        values.push([&seed.repeat(size / seed.len() + 1)[..size], end.as_bytes()].concat());
    }

    values.truncate(count);
    values
}

/// Renders all values of a vault in one template and splits the output again.
fn rendered_values(sandbox: &Sandbox, count: usize) -> Vec<Vec<u8>> {
    let mark = "\n<-- between two values -->\n";
    let placeholders: Vec<String> =
        (0..count).map(|number| format!("{{{{ secrets.v{number} }}}}")).collect();
    let out = sandbox.command(["render"]).stdin(placeholders.join(mark)).run().succeeds().bytes();
    let (mut values, mut rest) = (Vec::new(), &out[..]);

    while let Some(at) = rest.windows(mark.len()).position(|part| part == mark.as_bytes()) {
        values.push(rest[..at].to_vec());
        rest = &rest[at + mark.len()..];
    }

    values.push(rest.to_vec());
    values
}

#[test]
fn two_hundred_values_round_trip() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    let values = values(200);
    for (number, bytes) in values.iter().enumerate() {
        vault.create(&project("default"), secret(&format!("v{number}"), bytes)).unwrap();
    }

    assert!(rendered_values(&sandbox, values.len()) == values);
}

fn through_the_command_line(count: usize) {
    let sandbox = Sandbox::new();
    let values = values(count);
    for (number, bytes) in values.iter().enumerate() {
        let tag = format!("v{number}");
        let run = match number % 3 {
            0 => sandbox.command(["create", "-q", "--tag", &tag, "--exact"]).stdin(bytes).run(),
            1 => sandbox
                .command(["create", "-q", "--tag", &tag, "--exact", "--value-file", "-"])
                .stdin(bytes)
                .run(),
            _ => {
                sandbox.write("value", bytes);
                sandbox.run(["create", "-q", "--tag", &tag, "--exact", "--value-file", "value"])
            }
        };

        run.succeeds().stdout("").stderr("");
    }

    assert!(rendered_values(&sandbox, count) == values);
}

#[test]
fn values_round_trip_through_create() {
    through_the_command_line(15);
}

#[test]
#[ignore = "200 processes that unlock the vault"]
fn two_hundred_values_round_trip_through_create() {
    through_the_command_line(200);
}

/// Returns the peak resident memory in KiB of a run that is stopped near its end. The test stops
/// reading its output, whose last part is a value larger than a pipe.
fn peak_memory(sandbox: &Sandbox, stdin: &Path, arguments: &[&str], output: u64) -> u64 {
    let mut prepared = sandbox.command([&["render"], arguments].concat());
    let command = prepared.command.stdin(fs::File::open(stdin).unwrap()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let copied = io::copy(&mut (&mut stdout).take(output - 512 * 1024), &mut io::sink()).unwrap();

    assert_eq!(copied, output - 512 * 1024);

    // The process blocks within a moment, and the peak cannot fall.
    std::thread::sleep(Duration::from_millis(50));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let rest = io::copy(&mut stdout, &mut io::sink()).unwrap();
    assert!(rest == 512 * 1024 && child.wait().unwrap().success());

    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn peak_memory_does_not_grow_with_the_template() {
    let sandbox = Sandbox::with_secrets(&[("x", "vx")]);
    let large_value = vec![b'v'; 1024 * 1024];
    sandbox.vault().create(&project("default"), secret("large", &large_value)).unwrap();
    let mut sizes = Vec::new();

    for (name, size) in [("small", 4 * 1024_usize), ("large", 64 * 1024 * 1024)] {
        let mut file = io::BufWriter::new(fs::File::create(sandbox.path(name)).unwrap());
        let unit = format!("{}{{{{X}}}}\n", "t".repeat(1018));
        (0..size / 1024).for_each(|_| file.write_all(unit.as_bytes()).unwrap());
        file.write_all(b"{{ LARGE }}").unwrap();
        sizes.push((size - size / 1024 * 3 + large_value.len()) as u64);
    }

    let (small, large) = (sandbox.path("small"), sandbox.path("large"));
    let least = peak_memory(&sandbox, &small, &["small"], sizes[0]);
    for (stdin, arguments) in [(&small, &["large"][..]), (&large, &[])] {
        let peak = peak_memory(&sandbox, stdin, arguments, sizes[1]);
        assert!(
            peak <= least + 4096,
            "{arguments:?}: {peak} KiB, and {least} KiB for a small template"
        );
    }
}

#[test]
fn a_passphrase_file_that_others_can_read_is_a_warning() {
    let sandbox = sandbox();
    let path = sandbox.write("passphrase", format!("{PASSPHRASE}\n"));
    let run = || {
        let arguments = ["render", "-e", "{{X}}", "--passphrase-file", "passphrase"];
        sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run().succeeds().stdout("vx")
    };

    set_mode(&path, 0o604);
    stderr!(run(), @"warning: other users can read the passphrase file `passphrase`");
    set_mode(&path, 0o600);
    run().stderr("");
}

/// A file is read twice. A write in between would change the planned output.
#[test]
fn a_large_template_that_changes_between_its_readings_is_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("large", "0123456789 {{ lower }}\n".repeat(400_000));
    for change in [b"{{ X }}".as_slice(), b"more"] {
        let template = Template::from_file(&path).unwrap();
        let vault = sandbox.vault();
        let plan = Plan::new(template, Grammar::default()).unwrap();
        let resolved = plan.resolve(&vault.scope(&project("default"))).unwrap();

        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(change).unwrap();
        let done = resolved.expand(&mut io::sink());
        assert!(matches!(done, Err(ExpandError::Template(TemplateError::Moved(_)))));
    }
}
