//! `secrets proxy` and `secrets run --proxy`.

mod agent;
mod crowds;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::support::Sandbox;
use crate::support::programs::{am_root, has};
use crate::support::served::Served;

const KEY: &str = "sk_test_k3yoftheservice0123456789";
const OTHER: &str = "an0ther-secret-value-0123456789";

fn served() -> Served {
    Served::with_secrets(&[("stripe-key", KEY), ("other", OTHER)])
}

#[test]
fn a_program_gets_placeholders_and_its_requests_the_values() {
    let served = served();
    served.allow("stripe-key", &[]);
    let url = served.url("/echo");
    let script = format!(
        "printf '%s\\n' \"$STRIPE_KEY\" \"${{OTHER-unset}}\"; curl -sS {url} -H \"Authorization: Bearer $STRIPE_KEY\""
    );
    let run =
        served.command(["run", "--proxy", "--no-mask", "--", "sh", "-c", &script]).run().succeeds();
    let text = String::from_utf8(stderr!(run, @"`STRIPE_KEY` is a placeholder").bytes()).unwrap();
    let placeholder = text.lines().next().unwrap();
    assert!(placeholder.starts_with("sk_test_") && placeholder.len() == KEY.len(), "{text}");
    assert_eq!(text.lines().nth(1), Some("unset"));
    assert!(text.contains(&format!("authorization: Bearer {placeholder}")), "{text}");
    assert!(!text.contains(KEY), "{text}");
    assert_eq!(served.received().header("authorization"), format!("Bearer {KEY}"));

    let uses = served.sandbox.run(["audit", "--kind", "use", "--json"]).succeeds();
    let text = String::from_utf8(uses.bytes()).unwrap();
    assert!(text.contains(r#""request":{"method":"GET","origin":"https://localhost:"#), "{text}");
    assert!(text.contains(r#""path":"/echo"}"#) && text.contains(r#""action":"run""#), "{text}");
}

#[test]
fn a_secret_without_a_destination_has_no_placeholder() {
    let served = served();
    stderr!(served.command(["run", "--proxy", "--", "true"]).run().fails_with(125).stdout(""), @"
    error: no secret of project `default` may be sent anywhere
    hint: allow one with `secrets allow TAG --to https://HOST`, and list them with `secrets allow --list`
    ");
    served.allow("stripe-key", &[]);
    for arguments in [
        &["--only", "other"][..],
        &["--env", "X={{ secrets.other }}"],
        &["--file", "X=other"],
        &["--stdin", "other"],
    ] {
        let run = served.command([&["run", "--proxy"], arguments, &["--", "true"]].concat()).run();
        run.fails_with(125).stdout("").stderr_has("`other`");
    }

    let run = served.command([
        "run",
        "--proxy",
        "--env",
        "URL=x:{{ secrets.stripe-key }}@y",
        "--no-mask",
        "--",
        "sh",
        "-c",
        "echo $URL",
    ]);
    let run = run.run().succeeds().stderr("`STRIPE_KEY` is a placeholder\n");
    let text = String::from_utf8(run.bytes()).unwrap();
    assert!(
        text.starts_with("x:sk_test_") && text.ends_with("@y\n") && !text.contains(KEY),
        "{text}"
    );
    served.command(["run", "--lock", "--", "true"]).run().fails_with(125).stderr_has("--proxy");
}

#[test]
fn rules_of_the_manifest_narrow_what_the_vault_grants() {
    let served = served();
    served.allow("stripe-key", &["--method", "GET,POST"]);
    let to = served.url("");
    let manifest = |rule: &str| {
        let text = format!(
            "[[proxy.rule]]\nsecret = \"stripe-key\"\nto = \"{to}\"\nenv = \"KEY\"\n{rule}"
        );
        served.sandbox.write(".secrets.toml", text);
    };
    let run = |path: &str| {
        let script = format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' {} -H \"Authorization: Bearer $KEY\"",
            served.url(path)
        );
        let run =
            served.command(["run", "--proxy", "-q", "--", "sh", "-c", &script]).run().succeeds();
        String::from_utf8(run.bytes()).unwrap()
    };

    manifest("methods = [\"GET\"]\npaths = [\"/echo/**\"]\n");
    assert_eq!(run("/echo/1"), "200");
    assert_eq!(run("/body"), "403");
    assert_eq!(served.origin.log.take().len(), 1);

    for wider in ["", "methods = [\"DELETE\"]\n", "methods = [\"GET\"]\nin = \"query:key\"\n"] {
        manifest(wider);
        let run = served.command(["run", "--proxy", "--", "true"]).run().fails_with(125);
        run.stdout("").stderr_has("which the vault does not allow");
    }

    served.sandbox.write(
        ".secrets.toml",
        "[[proxy.rule]]\nsecret = \"stripe-key\"\nto = \"https://evil.example\"\n",
    );
    stderr!(served.command(["run", "--proxy", "--", "true"]).run().fails_with(125).stdout(""), @"
    error: the rule in line 1 of `.secrets.toml` sends `stripe-key` to https://evil.example in `header:authorization`, which the vault does not allow
    hint: if you want that, allow it with `secrets allow stripe-key --to https://evil.example`
    ");
}

/// Attack 27 again: a cloned repository is not even asked before it is trusted.
#[test]
fn a_manifest_that_is_not_trusted_starts_nothing() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", KEY)]).without_trust();
    let served = Served::of(sandbox);
    served.allow("stripe-key", &[]);
    served.sandbox.write(".secrets.toml", "[proxy]\nothers = \"tunnel\"\n");
    let run = served.command(["run", "--proxy", "--", "true"]).run().fails_with(125);
    run.stdout("").stderr_has("is not trusted");
    served.command(["proxy"]).run().fails_with(7).stdout("").stderr_has("is not trusted");
}

type Variables = serde_json::Map<String, serde_json::Value>;

/// Starts `secrets proxy`. Returns it with the variables for programs.
fn start_proxy(served: &Served) -> (Child, Variables) {
    let mut prepared = served.command(["proxy", "--print-env", "json"]);
    let mut proxy = prepared.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.contains(KEY), "{line}");
    let printed: serde_json::Value = serde_json::from_str(&line).unwrap();
    (proxy, printed["variables"].as_object().unwrap().clone())
}

/// Lets a program send a request with the placeholder through the proxy: curl, which `starter` starts.
fn curl(starter: &[&str], served: &Served, variables: &Variables) -> Output {
    let mut command = Command::new(starter[0]);
    command.args(&starter[1..]).args(["curl", "-sS", &served.url("/echo"), "-H"]);
    command.env_clear().env("PATH", crate::support::PATH);
    command.envs(variables.iter().map(|(name, value)| (name, value.as_str().unwrap())));
    let placeholder = variables["STRIPE_KEY"].as_str().unwrap();
    command.arg(format!("Authorization: Bearer {placeholder}")).output().unwrap()
}

/// Attack 18. The other user knows the placeholder and the certificate, too.
#[test]
fn another_user_cannot_use_the_proxy() {
    if !am_root() {
        return;
    }

    let served = served();
    served.allow("stripe-key", &[]);
    let (mut proxy, mut variables) = start_proxy(&served);
    let bundle = std::fs::read(variables["CURL_CA_BUNDLE"].as_str().unwrap()).unwrap();
    let open = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(open.path(), bundle).unwrap();
    crate::support::files::set_mode(open.path(), 0o644);
    variables.insert("CURL_CA_BUNDLE".into(), open.path().to_str().unwrap().into());
    assert!(curl(&["env"], &served, &variables).status.success());
    served.origin.log.take();

    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let output = curl(&nobody, &served, &variables);
    assert!(!output.status.success() && output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("reset") || errors.contains("CONNECT"), "{errors}");
    assert!(served.origin.log.take().is_empty());
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

/// Attack 28: the program edits the manifest, or its user trusts another one while it runs.
#[test]
fn a_changed_manifest_changes_no_running_session() {
    let served = served();
    served.allow("stripe-key", &[]);
    let to = served.url("");
    let manifest = |methods: &str| {
        let rule = "[[proxy.rule]]\nsecret = \"stripe-key\"";
        let text = format!("{rule}\nto = \"{to}\"\nmethods = [{methods}]\n");
        served.sandbox.write(".secrets.toml", text);
        served.sandbox.trust(&served.sandbox.path(""));
    };
    manifest("\"POST\"");
    let (proxy, variables) = start_proxy(&served);
    manifest("\"POST\", \"GET\"");
    for _ in 0..2 {
        let output = curl(&["env"], &served, &variables);
        let refusal = String::from_utf8(output.stdout).unwrap();
        assert!(refusal.contains("GET") && refusal.contains("FORBIDDEN"), "{refusal}");
    }

    assert!(served.origin.log.take().is_empty());
    let pid = rustix::process::Pid::from_child(&proxy);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = proxy.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let warning =
        "warning: `.secrets.toml` has changed; this session keeps the rules that it began with";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[test]
fn the_proxy_prints_variables_and_serves_until_a_signal() {
    let served = served();
    served.allow("stripe-key", &[]);
    let (proxy, variables) = start_proxy(&served);
    let output = curl(&["env"], &served, &variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(served.received().header("authorization"), format!("Bearer {KEY}"));

    let pid = rustix::process::Pid::from_child(&proxy);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = proxy.wait_with_output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(15));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains(&format!("200 GET {} with stripe-key in ", served.url("/echo"))), "{log}");
    assert!(!log.contains(KEY));
    let bundle = variables["SSL_CERT_FILE"].as_str().unwrap();
    assert!(!std::path::Path::new(bundle).exists(), "{bundle}");
}

#[test]
fn the_proxy_serves_this_machine_only() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", KEY)]);
    for bad in ["0.0.0.0:8080", "192.168.1.1:80", ":80", "8080", "[::]:80", "unix:"] {
        sandbox.run(["proxy", "--listen", bad]).fails_with(2).stdout("").stderr_has("--listen");
    }
}

#[test]
fn a_request_is_checked_without_being_sent() {
    let served = served();
    served.allow("stripe-key", &["--method", "GET"]);
    let (url, to) = (served.url("/echo"), served.url(""));
    let field = "Authorization: Bearer {{ secrets.stripe-key }}";
    let run = served.command(["proxy", "check", "GET", &url, "-H", field]).run().succeeds();
    run.stdout_has("authorization: Bearer ‹stripe-key›")
        .stderr(&format!("`stripe-key` may be sent to {to} in `header:authorization`, only GET\n"));
    served
        .command(["proxy", "check", "DELETE", &url, "-H", field])
        .run()
        .fails_with(7)
        .stdout("")
        .stderr_has("with DELETE");
    served
        .command(["proxy", "check", "https://a.example/"])
        .run()
        .fails_with(7)
        .stdout("")
        .stderr_has("no secret may be sent to");
    served
        .command(["proxy", "check", &url, "-H", "x: {{ secrets.other }}"])
        .run()
        .fails_with(7)
        .stderr_has("`other`");
    assert!(served.origin.log.take().is_empty());
}

/// Attack 29, with a token and through an agent.
#[test]
fn a_changed_value_is_used_by_a_running_proxy() {
    const NEW: &str = "sk_test_n3wv4lueoftheservice01234";
    for is_with_token in [true, false] {
        let sandbox = Sandbox::with_secrets(&[("stripe-key", KEY)]);
        let served = Served::of(if is_with_token { sandbox } else { sandbox.unlocked() });
        served.allow("stripe-key", &[]);
        if is_with_token {
            let create = ["token", "create", "t", "--level", "use", "-q", "--output", "t"];
            served.sandbox.run(create).succeeds().stdout("");
        }

        let script = format!(
            "call() {{ curl -sS {0} -H \"Authorization: Bearer $STRIPE_KEY\"; }}; call; echo next; read x; call",
            served.url("/echo")
        );
        let mut arguments = vec!["run", "--proxy", "-q", "--no-mask", "--", "sh", "-c", &script];
        if is_with_token {
            arguments.splice(0..0, ["--token-file", "t"]);
        }

        let mut prepared = served.command(arguments);
        if is_with_token {
            prepared = prepared.without_env("SECRETS_PASSPHRASE");
        }

        let mut child =
            prepared.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut seen = String::new();
        while !seen.ends_with("next\n") {
            assert_ne!(reader.read_line(&mut seen).unwrap(), 0, "{seen}");
        }

        served
            .sandbox
            .command(["update", "stripe-key", "-q"])
            .stdin(NEW)
            .run()
            .succeeds()
            .stdout("");
        drop(child.stdin.take());
        std::io::Read::read_to_string(&mut reader, &mut seen).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(!seen.contains(KEY) && !seen.contains(NEW), "{seen}");
        let received = served.origin.log.take();
        let fields: Vec<&str> = received.iter().map(|one| one.header("authorization")).collect();
        assert_eq!(fields, [format!("Bearer {KEY}"), format!("Bearer {NEW}")]);
    }
}

#[test]
fn an_unlocked_agent_is_named_once() {
    let served = Served::of(Sandbox::with_secrets(&[("stripe-key", KEY)]).unlocked());
    served.allow("stripe-key", &[]);
    let warning = "the vault is unlocked, so the program can ask its agent for values; lock it first with `--lock`";
    let run = served.command(["run", "--proxy", "--", "true"]).run().succeeds().stdout("");
    run.stderr(&format!("warning: {warning}\n`STRIPE_KEY` is a placeholder\n"));
    let run =
        served.command(["run", "--proxy", "--lock", "--", "true"]).run().succeeds().stdout("");
    run.stderr("`STRIPE_KEY` is a placeholder\n");
    served.sandbox.run(["get", "stripe-key"]).fails_with(5).stderr_has("passphrase");
}

#[test]
fn programs_keep_the_certificates_and_exceptions_that_they_had() {
    let served = served();
    served.allow("stripe-key", &[]);
    served.sandbox.write("corp.pem", "corporate certificates\n");
    let script = "cat \"$REQUESTS_CA_BUNDLE\"; echo \"$NO_PROXY\"; cat \"$NODE_EXTRA_CA_CERTS\"";
    let run = served
        .command(["run", "--proxy", "-q", "--", "sh", "-c", script])
        .env("REQUESTS_CA_BUNDLE", served.sandbox.path("corp.pem"))
        .env("NO_PROXY", "intern.example,localhost,.example.com")
        .run()
        .succeeds();
    let text = String::from_utf8(run.bytes()).unwrap();
    assert_eq!(text.matches("corporate certificates").count(), 1, "{text}");
    assert!(text.contains(served.authority.pem()), "{text}");
    assert!(text.contains("\n127.0.0.1,::1,intern.example,.example.com\n"), "{text}");
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 3, "{text}");
}

#[test]
fn git_gets_the_placeholder_for_its_host() {
    if !has("git") {
        return;
    }

    let served = served();
    served.allow("stripe-key", &[]);
    let script = format!(
        "printf 'protocol=https\\nhost=localhost:{}\\n\\n' | git credential fill",
        served.origin.port()
    );
    let run = served
        .command(["run", "--proxy", "-q", "--no-mask", "--", "sh", "-c", &script])
        .run()
        .succeeds();
    let text = String::from_utf8(run.bytes()).unwrap();
    assert!(text.contains("password=sk_test_") && !text.contains(KEY), "{text}");
    let script = script.replace("localhost", "elsewhere");
    let run = served.command(["run", "--proxy", "-q", "--", "sh", "-c", &script]);
    run.env("GIT_TERMINAL_PROMPT", "0").run().fails_with(128).stdout("").stderr_has("");
}
