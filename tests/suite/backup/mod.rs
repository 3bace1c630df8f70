//! `secrets backup` and `secrets restore`.

use crate::support::faults::Small;
use crate::support::{Sandbox, project, secret};

mod compared;
mod copy;
mod restore;

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("one", "value one"), ("two", "value two")])
}

/// Mounts a disk of 1 MiB at `small`, and fills the vault with four times that.
fn too_small(sandbox: &Sandbox) -> Option<Small> {
    let small = Small::mounted(sandbox.path("small"))?;
    let large = (0..4).map(|number| secret(&format!("large-{number}"), &vec![b'x'; 1024 * 1024]));
    sandbox.vault().create_all(&project("default"), large).unwrap();
    Some(small)
}

fn change(sandbox: &Sandbox, tag: &str, value: &str) {
    sandbox.command(["update", tag, "-q"]).stdin(value).run().succeeds();
}
