//! `code` prints one-time passwords and stores their keys.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::Sandbox;
use crate::support::terminal::Terminal;

/// The key of RFC 6238, appendix B, as an address.
const ADDRESS: &str =
    "otpauth://totp/Git%20Hub:me?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Git+Hub&digits=8";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new().unlocked();
    let import = sandbox.command(["code", "github", "--import"]).stdin(format!("{ADDRESS}\n"));
    stderr!(import.run().succeeds().stdout(""), @"created `github` in project `default`, hint otpa…d=30");
    sandbox
}

/// Returns the code of this moment by another program, or nothing if its period has just ended.
fn expected() -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let script = "import hmac,struct,sys\n\
        d=hmac.new(b'12345678901234567890',struct.pack('>Q',int(sys.argv[1])//30),'sha1').digest()\n\
        o=d[-1]&15\nprint('%08d'%((struct.unpack('>I',d[o:o+4])[0]&0x7fffffff)%10**8),end='')";
    let output =
        std::process::Command::new("python3").args(["-c", script, &now.to_string()]).output();
    (now % 30 < 25).then(|| String::from_utf8(output.unwrap().stdout).unwrap())
}

#[test]
fn the_code_is_that_of_another_program() {
    let sandbox = sandbox();
    let get = sandbox.run(["get", "github", "--json"]).succeeds().json();
    assert_eq!(get["name"], "Git Hub, me");
    let (before, expected) = loop {
        if let Some(expected) = expected() {
            break (sandbox.run(["code", "github", "--json"]).succeeds().json(), expected);
        }

        std::thread::sleep(std::time::Duration::from_secs(1));
    };
    assert_eq!(before["code"], expected.as_str());
    let left = before["secondsLeft"].as_u64().unwrap();
    assert!((1..=30).contains(&left), "{left}");

    let rendered = sandbox.run(["render", "-e", "{{ secrets.github | totp }}"]).succeeds().bytes();
    assert!(rendered.len() == 8 && rendered.iter().all(u8::is_ascii_digit));
    let log = sandbox.run(["audit", "--kind", "use"]).succeeds().bytes();
    assert!(String::from_utf8(log).unwrap().contains("code"));
}

#[test]
fn a_key_is_typed_hidden_and_in_groups() {
    let sandbox = Sandbox::new().unlocked();
    let mut terminal = Terminal::run(&sandbox, "code mail --import");
    terminal.waits_for("Key of mail: ").types("gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n");
    let screen = terminal.ends_with(0);
    assert!(screen.contains("created `mail`") && !screen.contains("gnbv"), "{screen}");
    let mut terminal = Terminal::run(&sandbox, "code mail");
    terminal.waits_for("valid for ").ends_with(0);
}

#[test]
fn anything_else_than_a_key_is_refused() {
    let sandbox = Sandbox::with_secrets(&[("plain", "hunter2-plain")]).unlocked();
    stderr!(sandbox.run(["code", "plain"]).fails_with(7).stdout("").without("hunter2"), @"
    error: `plain` has no key for one-time passwords: it is neither an address that begins with `otpauth://` nor a key in base32
    hint: store the key with `secrets code TAG --import`
    ");
    let import = |value: &str| sandbox.command(["code", "new", "--import"]).stdin(value).run();
    stderr!(import("hunter2").fails_with(2).stdout("").without("hunter2"), @"
    error: this is not a key for one-time passwords: it is neither an address that begins with `otpauth://` nor a key in base32; nothing was stored
    hint: copy the setup key, or the text of the QR code, which begins with `otpauth://`
    ");
    import("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQ").fails_with(2).stderr_has("counted");
    let taken = sandbox.command(["code", "plain", "--import"]).stdin(ADDRESS).run();
    taken.fails_with(4).stderr_has("already exists");
    let by_id = ["code", "se0123456789abcdef", "--import"];
    sandbox.command(by_id).stdin(ADDRESS).run().fails_with(2).stderr_has("needs a new tag");
    let render = sandbox.run(["render", "-e", "{{ secrets.plain | totp }}"]).stdout("");
    render.fails_with(2).stderr_has("the filter `totp` needs a key").without("hunter2").bytes();
    assert_eq!(sandbox.vault().list(None, |_| true).unwrap().len(), 1);
}
