//! `secrets mcp install`.

use serde_json::{Value, json};

use crate::support::Sandbox;

#[test]
fn configurations_are_printed() {
    let sandbox = Sandbox::with_secrets(&[("a", "b")]);
    let file = sandbox.write("to \"ken", "");
    for (client, place) in [("claude", ".mcp.json"), ("cursor", ".cursor/mcp.json")] {
        let arguments = ["mcp", "install", client, "--token-file", "to \"ken", "-p", "web"];
        let run = sandbox.run(arguments).succeeds();
        let run = run.stderr(&format!("add this to `{place}`\n"));
        let printed: Value = serde_json::from_slice(&run.bytes()).unwrap();
        let server = &printed["mcpServers"]["secrets"];
        assert!(server["command"].as_str().unwrap().ends_with("secrets"), "{server}");
        let file = file.to_str().unwrap();
        assert_eq!(server["args"], json!(["mcp", "--project", "web", "--token-file", file]));
    }

    let run = sandbox.run(["mcp", "install", "codex", "--token-file", "to \"ken"]).succeeds();
    let run = run.stderr("add this to `~/.codex/config.toml`\n");
    let text = String::from_utf8(run.bytes()).unwrap();
    let parsed: toml::Table = text.parse().unwrap();
    let server = &parsed["mcp_servers"]["secrets"];
    assert_eq!(server["args"][2].as_str(), file.to_str());

    let programs = ["--allow-run", "npm  test", "--allow-run", "make", "--proxy"];
    let run = sandbox.run([&["mcp", "install", "claude"], &programs[..]].concat()).succeeds();
    let printed: Value = serde_json::from_slice(&run.stderr_has(".mcp.json").bytes()).unwrap();
    let expected = json!(["mcp", "--allow-run", "npm test", "--allow-run", "make", "--proxy"]);
    assert_eq!(printed["mcpServers"]["secrets"]["args"], expected);
    for wrong in [&["--allow-run", "a|b"][..], &["--proxy"]] {
        let run = sandbox.run([&["mcp", "install", "claude"], wrong].concat());
        run.fails_with(2).stdout("").stderr_has("--allow-run");
    }
}
