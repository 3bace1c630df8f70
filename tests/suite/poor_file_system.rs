//! A file system without Unix modes, such as a USB stick: backup, restore, a vault and outputs
//! there. The tests need `bindfs` and the right to mount. Without them they report that and pass.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::Sandbox;
use crate::support::faults::skipped;

/// A directory of a sandbox that behaves like a stick: everything has mode 0755, regardless of the
/// requested mode.
struct Stick<'s>(&'s Sandbox);

impl<'s> Stick<'s> {
    fn mounted(sandbox: &'s Sandbox) -> Option<Self> {
        for name in ["back", "usb"] {
            fs::create_dir(sandbox.path(name)).unwrap();
        }

        let mut bindfs = Command::new("bindfs");
        bindfs.args(["--perms=0755", "--chmod-ignore", "--chown-ignore", "-o", "no-allow-other"]);
        bindfs.arg(sandbox.path("back")).arg(sandbox.path("usb"));
        if !bindfs.output().is_ok_and(|output| output.status.success()) {
            skipped("bindfs is not installed or is not permitted to mount");
            return None;
        }

        Some(Self(sandbox))
    }
}

impl Drop for Stick<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fusermount").arg("-u").arg(self.0.path("usb")).output();
    }
}

#[test]
fn a_stick_can_hold_backups_a_vault_and_outputs() {
    let sandbox = Sandbox::with_secrets(&[("key", "value-of-the-key")]);
    let Some(_stick) = Stick::mounted(&sandbox) else { return };

    for _ in 0..2 {
        sandbox.run(["backup", "-q", "--replace", "usb/vault.db"]).succeeds();
    }

    assert_eq!(sandbox.path("usb/vault.db").metadata().unwrap().mode() & 0o777, 0o755);
    sandbox.run(["delete", "key", "-y", "-q"]).succeeds();
    stderr!(sandbox.run(["restore", "-y", "usb/vault.db"]).succeeds(), @"
    + default/key
    1 added, 0 removed, 0 changed
    restored `[dir]/vault.db`
    ");

    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");

    let warned = "does not support Unix modes: other users may be able to read";
    let on_stick = |words: &[&str]| sandbox.run([&["--vault", "usb/vault.db"][..], words].concat());
    on_stick(&["create", "--tag", "new", "--generate", "-q"]).succeeds().stderr_has(warned);
    on_stick(&["update", "new", "--generate", "-q"]).succeeds().stderr_has(warned);
    on_stick(&["list", "-q"]).succeeds().stdout_has("new").stderr_has(warned);

    sandbox.write("template", "K={{ KEY }}\n");
    let render = || sandbox.run(["render", "template", "-o", "usb/out"]).succeeds();
    stderr!(render(), @"
    warning: the file system of `usb/out` does not support Unix modes: other users may be able to read it
    wrote `usb/out`
    ")
    .stderr_has(warned);

    stderr!(render(), @"
    warning: the file system of `usb/out` does not support Unix modes: other users may be able to read it
    `usb/out` is up to date
    ")
    .stderr_has(warned);

    assert_eq!(sandbox.read("usb/out"), b"K=value-of-the-key\n");
    let left: Vec<_> = fs::read_dir(sandbox.path("usb"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();

    assert_eq!(left.len(), 2, "{left:?}");
}
