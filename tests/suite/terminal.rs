//! Hostile text never reaches a terminal raw, regardless of its source: a vault, a manifest, a
//! file's name, an argument.
//!
//! Stdout of `render` is the exception, because templates render unchanged.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use terminal_secrets::model::{Description, Name, Source};
use terminal_secrets::vault::{NewSecret, SecretChanges};

use crate::support::{PASSPHRASE, Run, Sandbox, project, secret};

/// Text that a terminal acts on, or that changes how neighbouring text looks.
const HOSTILE: [&str; 26] = [
    "\x1b[31mred",                // a colour
    "\x1b[2J\x1b[H",              // clears the screen
    "\x1b]52;c;aGk=\x07",         // writes the clipboard
    "\x1b]0;title\x1b\\",         // sets the title
    "\x1b]8;;http://x\x1b\\link", // a link
    "\x1b[6n",                    // types the cursor's place
    "\x1bP$qm\x1b\\",             // asks for settings
    "\u{9b}31mred",               // the same in C1
    "\u{9d}52;c;aGk=\u{9c}",
    "\u{90}x\u{9c}",
    "\u{85}", // next line
    "\x07",   // the bell
    "\x08\x08\x08",
    "\x7f",
    "\0",
    "\rerror: all is well",
    "\u{202e}gnp.exe", // reversed
    "\u{202d}x\u{202c}",
    "\u{2066}x\u{2069}",
    "\u{200e}\u{200f}\u{61c}",
    "a\u{200b}b\u{200c}c\u{200d}d", // no width
    "\u{feff}\u{2060}\u{ad}",
    "\u{2028}x\u{2029}",
    "\u{e0041}\u{e007f}", // tags
    "\u{fff9}x\u{fffb}",
    "\u{180e}",
];

/// Returns true for a character that must not be printed to a person. The test has its own list, so
/// that a gap in the program's list shows.
fn is_raw(c: char) -> bool {
    let invisible = ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}'];
    let ranges = [
        ('\u{200b}', '\u{200f}'),
        ('\u{2028}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{fff9}', '\u{fffb}'),
    ];

    (c.is_control() && c != '\n' && c != '\t')
        || invisible.contains(&c)
        || ranges.iter().any(|(from, to)| (*from..=*to).contains(&c))
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// Returns both streams of a run, after checking that they hold nothing raw and the right number of
/// lines.
#[track_caller]
fn harmless(run: Run) -> (String, String) {
    let (_, stdout, stderr) = run.everything();
    let stdout = String::from_utf8(stdout).unwrap();
    for stream in [&stdout, &stderr] {
        assert!(!stream.chars().any(is_raw), "{stream:?}");
    }

    (stdout, stderr)
}

/// Returns all hostile text in a few pieces, each short enough for the name of a file. Texts with one of
/// `without` are left out.
fn joined(without: &[char]) -> Vec<String> {
    let texts: Vec<&str> =
        HOSTILE.into_iter().filter(|text| !text.contains(|c| without.contains(&c))).collect();
    texts.chunks(9).map(<[&str]>::concat).collect()
}

/// Returns a vault that was written by other means: `key` has a name and a description that no
/// command line would accept.
fn hostile_vault(name: &str, description: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let new = NewSecret {
        name: Name::stored(name),
        description: Description::stored(description),
        ..secret("key", b"x")
    };

    sandbox.vault().create(&project("default"), new).unwrap();
    sandbox
}

#[test]
fn control_characters_in_a_vaults_names_and_descriptions_are_escaped() {
    // All cases use one vault and change its name and description.
    let sandbox = hostile_vault("x", "x").unlocked();
    let vault = sandbox.vault();
    for hostile in HOSTILE {
        let changes = SecretChanges {
            name: Some(Name::stored(hostile)),
            description: Some(Description::stored(hostile)),
            source: Some(Source::stored(hostile)),
            ..SecretChanges::default()
        };

        vault.update(&project("default"), &"key".parse().unwrap(), None, changes).unwrap();
        let (shown, _) = harmless(sandbox.run(["get", "key"]));
        assert_eq!(shown.lines().count(), 9, "{shown}");
        let (listed, _) = harmless(sandbox.run(["list"]));

        assert!(listed.lines().count() == 1 && listed.matches('\t').count() == 4, "{listed:?}");

        // A program gets the text unchanged, but escaped so that a terminal does not act on it.
        let run = sandbox.run(["get", "key", "--json"]).succeeds();
        let bytes = run.bytes();
        assert!(
            !std::str::from_utf8(&bytes)
                .unwrap()
                .trim_end()
                .chars()
                .any(|c| is_raw(c) || c == '\t' || c == '\n')
        );

        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            (json["name"].as_str(), json["description"].as_str()),
            (Some(hostile), Some(hostile))
        );

        let (listed, _) = harmless(sandbox.run(["list", "--json"]));
        let json: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(json["secrets"][0]["name"], hostile);
    }
}

#[test]
fn a_newline_or_a_tab_in_a_name_adds_no_line_and_no_column() {
    let sandbox = hostile_vault("a\nkey2\t••••\tx", "a\nb\tc");
    let (shown, _) = harmless(sandbox.run(["get", "key"]));
    assert!(shown.contains("name         a\\nkey2\\t••••\\tx\n"), "{shown}");

    // A description has several lines. Those after the first are indented, so that none looks like
    // a field.
    assert!(shown.contains("description  a\n             b\tc\n"), "{shown}");
    let (listed, _) = harmless(sandbox.run(["list"]));
    assert!(listed.lines().count() == 1 && listed.matches('\t').count() == 4, "{listed:?}");
}

#[test]
fn a_description_cannot_pretend_to_be_a_field() {
    let sandbox = hostile_vault("x", "nothing\nhint         abcd…wxyz\rhint");
    let (shown, _) = harmless(sandbox.run(["get", "key"]));
    assert_eq!(shown.lines().filter(|line| line.starts_with("hint ")).count(), 1, "{shown}");
}

#[test]
fn control_characters_in_a_hint_are_escaped() {
    let sandbox = Sandbox::new().unlocked();
    for (number, hostile) in HOSTILE.into_iter().enumerate() {
        // The text is long enough that the hint shows its ends.
        let text = format!("{hostile}{}{hostile}", "x".repeat(40));
        let tag = format!("t{number}");
        harmless(sandbox.command(["create", "--tag", &tag]).stdin(text).run().succeeds());
    }

    let (listed, _) = harmless(sandbox.run(["list"]));
    assert_eq!(listed.lines().count(), HOSTILE.len());
    harmless(sandbox.run(["list", "--json"]));
}

#[test]
fn names_on_the_command_line_are_checked_or_escaped() {
    let sandbox = Sandbox::new().unlocked();
    for (number, hostile) in joined(&['\0']).iter().enumerate() {
        let tag = format!("t{number}");
        let run = sandbox
            .command(["create", "--tag", &tag, "--name", hostile, "--description", hostile])
            .stdin("x");

        harmless(run.run());
        harmless(sandbox.run(["get", hostile]));
        harmless(sandbox.run(["list", "-p", hostile]));
        harmless(sandbox.run(["list", "--filter", hostile]));
        harmless(sandbox.command(["list"]).env("SECRETS_PROJECT", hostile).run());
        harmless(sandbox.run(["delete", hostile, "-y"]));
        harmless(sandbox.run([hostile]));
        harmless(sandbox.run(["list", &format!("--{hostile}")]));
        harmless(sandbox.run(["list", "--page", hostile]));
        harmless(sandbox.run(["completions", hostile]));
    }

    harmless(sandbox.run(["list"]));
}

#[test]
fn control_characters_in_file_names_are_escaped() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]).unlocked();
    let with_passphrase =
        |arguments: &[&str]| sandbox.command(arguments).env("SECRETS_PASSPHRASE", PASSPHRASE).run();
    for name in &joined(&['\0', '/']) {
        harmless(with_passphrase(&["list", "--vault", name]));
        harmless(sandbox.run(["list", "--passphrase-file", name]));
        harmless(sandbox.run(["create", "--tag", "new", "--value-file", name]));
        harmless(sandbox.run(["render", name]));
        sandbox.write(name, "{{ secrets.kez }} {{ secrets.key | no }}");
        harmless(sandbox.run(["render", name]));
        harmless(sandbox.run(["render", name, "--keep-unknown", "-o", "out"]));
        harmless(with_passphrase(&["list", "--vault", name])); // not a vault
        sandbox.write(name, "{{ secrets.key }}");
        harmless(sandbox.run(["render", name, "--list"]));
        harmless(sandbox.run(["render", "-e", "x", "-o", name, "--check"]));
        harmless(sandbox.run(["render", "-e", "x", "-o", name]));
        std::fs::remove_file(sandbox.path(name)).unwrap();
        harmless(with_passphrase(&[
            "init",
            "--kdf-memory",
            "19",
            "--kdf-iterations",
            "1",
            "--vault",
            name,
        ]));
    }
}

#[test]
fn file_names_that_are_not_utf_8_are_escaped() {
    let sandbox = Sandbox::new();
    let name = OsString::from_vec(b"a\xff\x1b[31m\x9b".to_vec());
    for line in [&["render"][..], &["list", "--vault"], &["list", "--passphrase-file"]] {
        harmless(sandbox.run(line.iter().map(OsString::from).chain([name.clone()])));
    }
}

#[test]
fn errors_about_a_hostile_manifest_have_none_of_its_bytes() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    for hostile in HOSTILE {
        let escaped = hostile
            .chars()
            .map(|c| format!("\\U{:08X}", u32::from(c)))
            .collect::<Vec<_>>()
            .concat();

        for manifest in [
            format!("project = \"{hostile}\"\n"),
            format!("project = \"{escaped}\"\n"),
            format!("project = {hostile}\n"),
            format!("{hostile} = 1\n"),
            format!("\"{escaped}\" = 1\n\"{escaped}\" = 1\n"),
            format!("project = [\"{hostile}\"]\n"),
            format!("[{hostile}\n"),
            format!("project = '{hostile}"),
        ] {
            sandbox.write(".secrets.toml", &manifest);
            harmless(sandbox.run(["list"]));
        }
    }
}

#[test]
fn a_hostile_directory_is_escaped_in_warnings_and_errors() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    for hostile in joined(&['\0', '/']) {
        let directory = sandbox.path(&hostile);
        std::fs::create_dir(&directory).unwrap();
        let manifest = directory.join(".secrets.toml");
        std::fs::write(&manifest, "project = 1").unwrap();

        let (_, stderr) = harmless(sandbox.command(["list"]).current_dir(&directory).run());
        assert!(stderr.contains(".secrets.toml:1:11: "), "{stderr}");
        if std::os::unix::fs::chown(&manifest, Some(65534), None).is_ok() {
            let (_, stderr) = harmless(sandbox.command(["list"]).current_dir(&directory).run());
            assert!(stderr.contains(".secrets.toml` belongs to another user"), "{stderr}");
        }
    }
}

#[test]
fn errors_about_a_hostile_template_show_no_raw_byte() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]).unlocked();
    for hostile in HOSTILE {
        for template in [
            format!("{hostile}{{{{ secrets.kez }}}}{hostile}"),
            format!("{{{{ secrets.key | {hostile} }}}}"),
            format!("{{{{ secrets.{hostile} }}}}"),
            format!("{hostile}\n{hostile} {{{{ secrets.key | }}}} {hostile}"),
        ] {
            sandbox.write("template", &template);
            let (code, stdout, stderr) = sandbox.run(["render", "template"]).everything();
            assert!(stdout.is_empty() || code == Some(0), "{template:?}");
            assert!(!stderr.chars().any(is_raw), "{template:?}: {stderr:?}");
            let (_, _, stderr) = sandbox.run(["render", "template", "--json"]).everything();
            assert!(!stderr.chars().any(is_raw), "{template:?}: {stderr:?}");
        }
    }
}
