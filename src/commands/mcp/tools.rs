//! The tools. Each runs one of our commands with `--json` and returns what it prints.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrets_core::model::{Tag, is_known_api_key};
use secrets_mcp::{Cancelled, Tool, ToolResult, Tools};
use secrets_runtime::captured::{Captured, Finished, Runner};
use secrets_runtime::run::PrivateFiles;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::descriptions;
use super::programs::AllowedCommand;
use crate::error::{Error, Kind};
use crate::ui::escape::visible;

/// The most bytes of a command's JSON. Eight commands may run at once.
const DOCUMENT: usize = 32 * 1024 * 1024;
/// The most bytes of a response's body in a result. A longer one is written to a file.
const BODY: usize = 64 * 1024;
/// The most bytes of all those files.
const RESPONSES: usize = 128 * 1024 * 1024;
/// The bytes at the beginning and the end of a program's output that are in a result.
const OUTPUT: (usize, usize) = (16 * 1024, 48 * 1024);
/// The time limit of a command, and the default and the largest one of a program.
const TIME: Duration = Duration::from_secs(120);
const PROGRAM_SECONDS: (u64, u64) = (300, 3600);

/// The tools of `secrets mcp`.
pub(super) struct SecretTools {
    runner: Runner,
    allowed: Vec<AllowedCommand>,
    proxy: bool,
    /// The command that stores a secret, with `TAG` at its end
    create: String,
    /// The command that unlocks the vault, if there is no token
    unlock: Option<String>,
    files: PrivateFiles,
    responses: Mutex<Responses>,
}

/// The files with long responses, the oldest first.
#[derive(Default)]
struct Responses {
    /// Each path, with the number of its bytes
    files: VecDeque<(PathBuf, usize)>,
    /// The number of files that were written
    written: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    filter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefsArguments {
    tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenderArguments {
    all: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskArguments {
    tag: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestArguments {
    method: Option<String>,
    url: String,
    headers: Option<Map<String, Value>>,
    body: Option<String>,
    bearer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunArguments {
    command: String,
    timeout_seconds: Option<u64>,
}

impl SecretTools {
    pub(super) fn new(
        runner: Runner,
        (allowed, proxy): (Vec<AllowedCommand>, bool),
        create: String,
        unlock: Option<String>,
        directory: &Path,
    ) -> Result<Self, Error> {
        let files = PrivateFiles::without_guard(directory).map_err(|error| {
            Error::new(Kind::Failure, format!("cannot create a private directory: {error}"))
        })?;
        Ok(Self { runner, allowed, proxy, create, unlock, files, responses: Mutex::default() })
    }

    /// Runs one of our commands and returns the document that it prints, or its failure.
    fn document(
        &self,
        arguments: &[&str],
        stdin: &[u8],
        cancelled: &Cancelled,
    ) -> Result<Value, ToolResult> {
        let finished = self.finished(arguments, stdin, false, cancelled)?;
        let document = &finished.stdout.start;
        match serde_json::from_slice(document) {
            Ok(document) => Ok(document),
            Err(_) => Err(self.failure(&finished)),
        }
    }

    fn finished(
        &self,
        arguments: &[&str],
        stdin: &[u8],
        is_without_token: bool,
        cancelled: &Cancelled,
    ) -> Result<Finished, ToolResult> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let kept = (DOCUMENT, 0);
        let run = Captured { arguments: &arguments, stdin, is_without_token, kept, time: TIME };
        self.runner
            .run(&run, &|| cancelled.is_set())
            .map_err(|error| refused(&format!("the command cannot be started: {error}"), &[]))
    }

    /// Returns the failure that a command has reported.
    fn failure(&self, finished: &Finished) -> ToolResult {
        if let Some(unlock) = &self.unlock
            && finished.code == i32::from(Kind::Locked.exit_code())
        {
            return ToolResult::error(json!({
                "message": "the vault is locked",
                "hints": [format!(
                    "ask the user to run {unlock} in a terminal, or to start this server with a token"
                )],
                "exitCode": finished.code,
            }));
        }

        let text = finished.stderr.text();
        let error = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let error = error.filter(|error| error["message"].is_string());
        let mut failure = match error {
            Some(error) => {
                shown(json!({"message": error["message"], "hints": error["details"]["hints"]}))
            }
            None if finished.is_late => json!({"message": "the command did not end in time"}),
            None if finished.stdout.left_out > 0 => json!({
                "message": format!("the result is larger than {} MiB", DOCUMENT / 1024 / 1024),
            }),
            None => json!({"message": visible(text.trim())}),
        };
        failure["exitCode"] = finished.code.into();
        ToolResult::error(failure)
    }

    fn list(&self, arguments: &ListArguments, cancelled: &Cancelled) -> Result<Value, ToolResult> {
        let mut command = vec!["list", "--all", "--json"];
        let filter = arguments.filter.as_ref().map(|filter| format!("--filter={filter}"));
        command.extend(filter.as_deref());
        let listed = self.document(&command, b"", cancelled)?;
        let secrets = listed["secrets"].as_array().into_iter().flatten().map(|secret| {
            // Hints are parts of values, and nobody here needs them.
            let mut shown = Map::new();
            for name in ["tag", "name", "description", "expiresAt"] {
                if let Some(text) = secret[name].as_str() {
                    shown.insert(name.into(), visible(text).into());
                }
            }

            Value::Object(shown)
        });
        Ok(json!({"secrets": secrets.collect::<Vec<_>>()}))
    }

    fn ask(&self, arguments: &AskArguments, cancelled: &Cancelled) -> Result<Value, ToolResult> {
        let tag = tag(&arguments.tag)?;
        let finished = self.finished(&["get", tag.as_str(), "--json"], b"", false, cancelled)?;
        match finished.code {
            0 => Ok(json!({"tag": tag.as_str(), "exists": true})),
            3 => {
                // The vault or the project may be missing instead.
                self.document(&["list", "--page-size", "1", "--json"], b"", cancelled)?;
                let command = self.create.trim_matches('`');
                let command = command.strip_suffix("TAG").unwrap_or(command);
                Ok(json!({
                    "tag": tag.as_str(),
                    "exists": false,
                    "command": format!("{command}{tag}"),
                    "instruction": "The secret does not exist, or the token does not reach it. Ask the \
                        user to run this command in a terminal. It asks for the value, hidden. Then \
                        call this tool again. Do not ask the user for the value.",
                }))
            }
            _ => Err(self.failure(&finished)),
        }
    }

    fn refs(&self, arguments: &RefsArguments, cancelled: &Cancelled) -> Result<Value, ToolResult> {
        let tag = arguments.tag.as_deref().map(tag).transpose()?;
        let mut command = vec!["refs", "--json"];
        command.extend(tag.as_ref().map(Tag::as_str));
        let finished = self.finished(&command, b"", true, cancelled)?;
        let found = serde_json::from_slice(&finished.stdout.start);
        found.map(shown).map_err(|_| self.failure(&finished))
    }

    fn request(
        &self,
        arguments: &RequestArguments,
        cancelled: &Cancelled,
    ) -> Result<Value, ToolResult> {
        let RequestArguments { method, url, headers, body, bearer } = arguments;
        let mut command: Vec<String> = vec!["request".into(), "--json".into()];
        for (name, value) in headers.iter().flatten() {
            let Some(value) = value.as_str() else {
                return Err(refused("each header must be a string", &[]));
            };
            command.push(format!("--header={name}: {value}"));
        }

        if let Some(bearer) = bearer {
            command.push(format!("--bearer={}", tag(bearer)?));
        }

        if body.is_some() {
            command.push("--data=-".into());
        }

        command.push("--".into());
        command.extend(method.clone());
        command.push(url.clone());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let stdin = body.as_deref().unwrap_or_default().as_bytes();
        let mut answer = self.document(&command, stdin, cancelled)?;
        for name in ["body", "bodyBase64"] {
            let Some(text) = answer[name].as_str().filter(|text| text.len() > BODY) else {
                continue;
            };
            let path = self.written(text.as_bytes())?;
            let length = text.len();
            if let Some(answer) = answer.as_object_mut() {
                answer.remove(name);
                answer.insert(format!("{name}File"), path.display().to_string().into());
                answer.insert(format!("{name}Length"), length.into());
            }
        }

        Ok(answer)
    }

    /// Writes a long text to a private file, which is removed when the server ends, or when later ones
    /// need its room.
    fn written(&self, text: &[u8]) -> Result<PathBuf, ToolResult> {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        let total = |files: &VecDeque<(PathBuf, usize)>| -> usize {
            files.iter().map(|(_, size)| size).sum()
        };
        while total(&responses.files) + text.len() > RESPONSES
            && let Some((path, _)) = responses.files.pop_front()
        {
            let _ = std::fs::remove_file(path);
        }

        responses.written += 1;
        let name = format!("response-{}", responses.written);
        let path = self.files.put_bytes(&name, text).map_err(|error| {
            refused(&format!("the response cannot be written to a file: {error}"), &[])
        })?;
        responses.files.push_back((path.clone(), text.len()));
        Ok(path)
    }

    fn run(&self, arguments: &RunArguments, cancelled: &Cancelled) -> Result<Value, ToolResult> {
        let Some(allowed) = self.allowed.iter().find(|one| one.text == arguments.command) else {
            let hint = "the person who started the server can add it with `--allow-run`";
            return Err(refused("this command line is not allowed", &[hint]));
        };
        let (default, most) = PROGRAM_SECONDS;
        let seconds = arguments.timeout_seconds.unwrap_or(default);
        if !(1..=most).contains(&seconds) {
            return Err(refused("`timeout_seconds` must be a number from 1 to 3600", &[]));
        }

        let mut command: Vec<&OsStr> = vec![OsStr::new("run")];
        command.extend(self.proxy.then_some(OsStr::new("--proxy")));
        command.push(OsStr::new("--"));
        command.extend(allowed.words.iter().map(OsStr::new));
        let run = Captured {
            arguments: &command,
            stdin: b"",
            is_without_token: false,
            kept: OUTPUT,
            time: Duration::from_secs(seconds),
        };
        let finished = self
            .runner
            .run(&run, &|| cancelled.is_set())
            .map_err(|error| refused(&format!("the command cannot be started: {error}"), &[]))?;
        let mut result = json!({
            "exitCode": finished.code,
            "stdout": finished.stdout.text(),
            "stderr": finished.stderr.text(),
        });
        if finished.is_late {
            result["timedOut"] = true.into();
        }

        // These are the codes of `run` itself: the program did not start.
        match finished.code {
            125..=127 => Err(ToolResult::error(result)),
            _ => Ok(result),
        }
    }

    /// Fails if an argument looks like a key. It has been through a model then, so it must be replaced.
    /// Arguments are not compared with the vault: an agent could guess values with the answers.
    fn check_for_values(arguments: &Map<String, Value>) -> Result<(), ToolResult> {
        const REPLACE: &str =
            "tell the user that it was shown, and must be replaced where it is from";
        let mut texts = Vec::new();
        collect(arguments.values(), &mut texts);
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let mut words = texts.iter().flat_map(|text| text.split(|c| !is_word(c)));
        if words.any(is_known_api_key) {
            let message =
                "an argument looks like a key (not repeated); write {{ secrets.TAG }} in its place";
            return Err(refused(message, &[REPLACE]));
        }

        Ok(())
    }
}

/// Returns a document whose strings have no characters that hide or reorder text. Strangers can choose
/// the names of files and the texts of a manifest.
fn shown(document: Value) -> Value {
    match document {
        Value::String(text) => visible(&text).into(),
        Value::Array(items) => items.into_iter().map(shown).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (visible(&name), shown(value))).collect()
        }
        other => other,
    }
}

/// Collects every string of a document, also the names of members.
fn collect<'v>(values: impl Iterator<Item = &'v Value>, texts: &mut Vec<&'v String>) {
    for value in values {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(items) => collect(items.iter(), texts),
            Value::Object(members) => {
                texts.extend(members.keys());
                collect(members.values(), texts);
            }
            _ => {}
        }
    }
}

fn tag(text: &str) -> Result<Tag, ToolResult> {
    Tag::parse(text).map_err(|why| refused(&format!("the tag is invalid: {why}"), &[]))
}

/// Returns a failure in the form of our commands' failures.
fn refused(message: &str, hints: &[&str]) -> ToolResult {
    ToolResult::error(json!({"message": message, "hints": hints}))
}

fn arguments<T: DeserializeOwned>(arguments: &Map<String, Value>) -> Result<T, ToolResult> {
    // The reader's message could repeat what an argument contains.
    serde_json::from_value(Value::Object(arguments.clone()))
        .map_err(|_| refused("the arguments do not fit the tool's schema", &[]))
}

impl Tools for SecretTools {
    fn list(&self) -> Vec<Tool> {
        let commands: Vec<&str> = self.allowed.iter().map(|one| one.text.as_str()).collect();
        descriptions::all(&commands, PROGRAM_SECONDS)
    }

    fn call(&self, name: &str, given: &Map<String, Value>, cancelled: &Cancelled) -> ToolResult {
        let done = Self::check_for_values(given).and_then(|()| match name {
            "secrets_list" => SecretTools::list(self, &arguments(given)?, cancelled),
            "secrets_check" => {
                arguments::<NoArguments>(given)?;
                self.document(&["check", "--json"], b"", cancelled).map(shown)
            }
            "secrets_refs" => self.refs(&arguments(given)?, cancelled),
            "secrets_render" => {
                let RenderArguments { all } = arguments(given)?;
                let which = if all.unwrap_or(false) { "--all" } else { "--stale" };
                self.document(&["render", which, "--json"], b"", cancelled).map(shown)
            }
            "secrets_request" => self.request(&arguments(given)?, cancelled),
            "secrets_ask" => self.ask(&arguments(given)?, cancelled),
            "secrets_run" => self.run(&arguments(given)?, cancelled),
            _ => Err(refused("there is no such tool", &[])),
        });
        done.map_or_else(|failed| failed, ToolResult::ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_responses_make_room_for_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        let runner = Runner::new("secrets".into(), Vec::new());
        let tools =
            SecretTools::new(runner, (Vec::new(), false), String::new(), None, directory.path())
                .unwrap();
        let text = vec![b'x'; RESPONSES / 2 - 1];
        let paths: Vec<PathBuf> = (0..3).map(|_| tools.written(&text).unwrap()).collect();
        let exist: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(exist, [false, true, true]);
        drop(tools);
        assert!(!paths[2].exists());
    }
}
