//! `secrets get`: metadata and hint, never the value.

use crate::support::Sandbox;

#[test]
fn get_offers_the_nearest_tag() {
    let sandbox = Sandbox::with_secrets(&[("api-token", "t0ps3cret-t0ps3cret")]);
    sandbox
        .run(["get", "api-tokem"])
        .fails_with(3)
        .stdout("")
        .stderr("error: no secret `api-tokem` in project `default`\nhint: did you mean `api-token`?\n");
}
