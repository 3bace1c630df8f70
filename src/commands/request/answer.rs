//! Prints an answer: streamed to stdout or a file, or as one JSON document.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use secrets_files::{Output, StagedOutput};
use secrets_project::template::output;
use secrets_proxy::client::{Answer, Outgoing};
use secrets_proxy::{HeaderMap, Method, RETRY_AFTER};

use super::super::shared::sending::refused;
use super::RequestArgs;
use super::save::{self, Saved};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::AnswerInfo;
use crate::ui::escape::{VisibleStream, visible};
use crate::ui::raw;

/// The greatest answer that is held as a whole: for `--json` and `--save`.
const WHOLE: usize = 64 * 1024 * 1024;
/// The longest wait that an origin may ask for before a request is sent again.
const LONGEST_WAIT: u64 = 60;

/// Prints answers.
pub(super) struct Printed<'c> {
    args: &'c RequestArgs,
    output: Option<Output>,
    cx: &'c Context,
}

impl<'c> Printed<'c> {
    /// Checks the file for the answer before anything is sent.
    pub(super) fn new(args: &'c RequestArgs, cx: &'c Context) -> Result<Self, Error> {
        let output = args.output.as_ref().map(|path| output::open(path, None, &[])).transpose()?;
        if let Some(output) = &output {
            output.check_directory()?;
        }

        Ok(Self { args, output, cx })
    }

    /// Tells where a redirect leads that is not followed.
    pub(super) fn redirect(&self, status: u16, to: &str, follows: bool) {
        let why = if follows {
            "it leads to another origin"
        } else {
            "follow it with `--follow same-origin`"
        };
        self.cx
            .ui
            .status(&format!("redirected with {status} to {}; not followed: {why}", visible(to)));
    }

    /// Prints an answer. Returns the values to store.
    pub(super) async fn print(
        &self,
        answer: Answer,
        saves: &[Saved],
    ) -> Result<Vec<save::Value>, Error> {
        let status = answer.status().as_u16();
        if self.args.fail && status >= 400 {
            return Ok(Vec::new());
        }

        if self.cx.ui.is_json() || !saves.is_empty() {
            return self.print_whole(answer, saves).await;
        }

        let (parts, mut body) = answer.scrubbed().await.map_err(|why| refused(&why))?.into_parts();
        self.head(status, &parts.headers)?;
        let mut sink = Sink::new(self.output.as_ref())?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| cut_short(&*error))?;
            if let Ok(data) = frame.into_data() {
                sink.write(&data)?;
            }
        }

        sink.finish()?;
        Ok(Vec::new())
    }

    /// Prints an answer as a whole. Values to store are taken from it before it is masked, so that a
    /// string which looks like a known value is stored as it came.
    async fn print_whole(
        &self,
        answer: Answer,
        saves: &[Saved],
    ) -> Result<Vec<save::Value>, Error> {
        let whole = answer.whole(WHOLE).await.map_err(|why| refused(&why))?;
        let values = save::take(saves, whole.body())?;
        let others: Vec<_> = values.iter().map(save::Value::named).collect();
        let (parts, body) = whole.scrubbed(&others).map_err(|why| refused(&why))?.into_parts();
        let status = parts.status.as_u16();
        if self.cx.ui.is_json() {
            self.cx.ui.print(&AnswerInfo::new(status, &parts.headers, &body))?;
        } else {
            self.head(status, &parts.headers)?;
            let mut sink = Sink::new(self.output.as_ref())?;
            sink.write(&body)?;
            sink.finish()?;
        }

        Ok(values)
    }

    /// Prints the status and the headers if they are asked for.
    fn head(&self, status: u16, headers: &HeaderMap) -> Result<(), Error> {
        if !self.args.include {
            return Ok(());
        }

        let mut text = format!("HTTP {status}\n");
        for (name, value) in headers {
            text.push_str(&format!(
                "{name}: {}\n",
                visible(&String::from_utf8_lossy(value.as_bytes()))
            ));
        }

        Ok(self.cx.ui.text(&(text + "\n"))?)
    }
}

fn cut_short(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Failure, format!("the response was cut short: {error}"))
}

/// Where the body goes.
enum Sink<'o> {
    /// To a program or a file
    Stdout,
    /// To a person, with control characters made visible
    Terminal(VisibleStream),
    /// To a file, which gets its name when the answer is complete
    File(StagedOutput<'o>),
}

impl<'o> Sink<'o> {
    fn new(output: Option<&'o Output>) -> Result<Self, Error> {
        if let Some(output) = output {
            return Ok(Self::File(output.stage()?));
        }

        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        Ok(if is_terminal { Self::Terminal(VisibleStream::default()) } else { Self::Stdout })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Stdout => stdout(bytes),
            Self::Terminal(visible) => stdout(visible.push(bytes).as_bytes()),
            Self::File(file) => {
                let failed = |error| {
                    Error::new(Kind::Failure, format!("cannot write the response: {error}"))
                };
                file.write_all(bytes).map_err(failed)
            }
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self {
            Self::Stdout => Ok(()),
            Self::Terminal(mut visible) => stdout(visible.finish().as_bytes()),
            Self::File(file) => Ok(file.finish()?.publish().map(drop)?),
        }
    }
}

fn stdout(bytes: &[u8]) -> Result<(), Error> {
    Ok(raw::print(bytes)?)
}

/// Returns how long the origin asks to wait.
pub(super) fn wait(answer: &Answer) -> Option<Duration> {
    Some(Duration::from_secs(answer.number(&RETRY_AFTER)?.min(LONGEST_WAIT)))
}

/// Changes a request as a redirect asks for (RFC 9110, section 15.4).
pub(super) fn follow(outgoing: &mut Outgoing, status: u16, target: String) {
    outgoing.target = target;
    let becomes_get =
        status == 303 || matches!(status, 301 | 302) && outgoing.method == Method::POST;
    if becomes_get && outgoing.method != Method::HEAD {
        outgoing.method = Method::GET;
        outgoing.body = Bytes::new();
        outgoing.headers.remove("content-type");
    }
}
