//! Records each request that uses a secret, and prints requests for a person.

use secrets_core::crypto::uses::UsedRequest;
use secrets_proxy::session::{Finished, Observer, Use};

use crate::context::UseRecorder;
use crate::ui::escape::visible;
use crate::ui::line_from_thread;

/// Which requests are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// None
    Nothing,
    /// Each in a line on stderr
    All,
}

/// Records requests, and prints them.
pub(crate) struct Teller {
    recorder: UseRecorder,
    shown: Shown,
}

impl Teller {
    pub(crate) fn new(recorder: UseRecorder, shown: Shown) -> Self {
        Self { recorder, shown }
    }
}

impl Observer for Teller {
    fn record(&self, used: &Use<'_>) -> Result<(), String> {
        let tags = used.tags.iter().map(ToString::to_string).collect();
        let request = UsedRequest {
            method: used.method.to_owned(),
            origin: used.origin.to_string(),
            path: used.path.to_owned(),
            reason: used.refusal.map(|refusal| refusal.message.clone()),
            id: None,
        };
        self.recorder.record(tags, request).map_err(|error| error.to_string())
    }

    fn finished(&self, finished: &Finished<'_>) {
        if self.shown == Shown::Nothing {
            return;
        }

        let Finished { origin, method, path, status, tags, problem, millis } = finished;
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        let status = if *status == 0 { "---".to_owned() } else { status.to_string() };
        let mut line = format!("{status} {} {origin}{}", visible(method), visible(path));
        if !tags.is_empty() {
            line.push_str(&format!(" with {}", tags.join(", ")));
        }

        match problem {
            Some(problem) => line.push_str(&format!(": {}", visible(problem))),
            None => line.push_str(&format!(" in {millis} ms")),
        }

        line_from_thread(&line);
    }
}
