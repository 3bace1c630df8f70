//! Reads requests, answers them, and lets tools run at the same time.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;

use crate::frame::{self, Frame};
use crate::message::{Incoming, RpcError, parse, response};
use crate::protocol::{Wanted, answer, called};
use crate::tool::{Cancelled, Identity, Tools};

/// The most tools that run at the same time. Further calls wait.
const AT_ONCE: usize = 8;
/// The most calls that wait or run. Further ones are refused.
const CALLS: usize = 64;

/// The calls that wait or run, by the id of their request.
#[derive(Default)]
struct Calls {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, Arc<Cancelled>>,
    running: usize,
}

impl Calls {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call. Fails if there are too many, or one with this id.
    fn add(&self, id: &Value) -> Result<Arc<Cancelled>, RpcError> {
        let mut known = self.known();
        if known.by_id.len() >= CALLS {
            return Err(RpcError::busy(format!("{CALLS} calls are running already")));
        }

        let cancelled = Arc::new(Cancelled::default());
        match known.by_id.insert(id.to_string(), Arc::clone(&cancelled)) {
            None => Ok(cancelled),
            Some(other) => {
                known.by_id.insert(id.to_string(), other);
                Err(RpcError::invalid_request("a request with this id is running"))
            }
        }
    }

    /// Waits until the call may run. Returns false if it was cancelled before that.
    fn begin(&self, cancelled: &Cancelled) -> bool {
        let mut known = self.known();
        while known.running >= AT_ONCE && !cancelled.is_set() {
            known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner);
        }

        known.running += 1;
        !cancelled.is_set()
    }

    fn end(&self, id: &Value) {
        let mut known = self.known();
        known.running -= 1;
        known.by_id.remove(&id.to_string());
        self.changed.notify_all();
    }

    fn cancel(&self, id: &Value) {
        if let Some(cancelled) = self.known().by_id.get(&id.to_string()) {
            cancelled.set();
        }

        self.changed.notify_all();
    }

    fn cancel_all(&self) {
        self.known().by_id.values().for_each(|cancelled| cancelled.set());
        self.changed.notify_all();
    }
}

/// Serves a client until its input ends. Then calls that run are cancelled, and waited for.
///
/// # Errors
/// Fails if the input cannot be read. A client that no longer reads ends the server without an error.
pub fn serve(
    mut input: impl BufRead,
    output: impl Write + Send,
    server: &Identity,
    tools: &dyn Tools,
) -> io::Result<()> {
    let output = Mutex::new(output);
    let send = |message: &Value| {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(output, "{message}").and_then(|()| output.flush())
    };
    let (list, calls) = (tools.list(), Calls::default());

    thread::scope(|scope| {
        let ended = loop {
            let frame = match frame::read(&mut input) {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let incoming = match &frame {
                Frame::Message(bytes) => parse(bytes),
                Frame::TooLong => Err((
                    Value::Null,
                    RpcError::invalid_request("the message is longer than 4 MiB"),
                )),
            };
            let (id, outcome) = match incoming {
                Err((id, error)) => (id, Err(error)),
                Ok(Incoming::Ignored) => continue,
                Ok(Incoming::Notification { method, params }) => {
                    if method == "notifications/cancelled"
                        && let Some(id) = params.get("requestId")
                    {
                        calls.cancel(id);
                    }

                    continue;
                }
                Ok(Incoming::Request { id, method, params }) => {
                    let outcome = answer(server, &list, &method, &params);
                    (id, outcome)
                }
            };

            let answered = match outcome {
                Ok(Wanted::Result(result)) => send(&response(&id, Ok(result))),
                Err(error) => send(&response(&id, Err(error))),
                Ok(Wanted::Call { era, name, arguments }) => match calls.add(&id) {
                    Err(error) => send(&response(&id, Err(error))),
                    Ok(cancelled) => {
                        let (calls, send) = (&calls, &send);
                        scope.spawn(move || {
                            let mut result = None;
                            if calls.begin(&cancelled) {
                                result = Some(tools.call(&name, &arguments, &cancelled));
                            }

                            calls.end(&id);

                            // Nobody waits for the answer to a cancelled request.
                            if let Some(result) = result.filter(|_| !cancelled.is_set()) {
                                let _ = send(&response(&id, Ok(called(era, server, result))));
                            }
                        });
                        Ok(())
                    }
                },
            };
            if answered.is_err() {
                break Ok(());
            }
        };

        calls.cancel_all();
        ended
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use serde_json::{Map, json};

    use super::*;
    use crate::tool::{Tool, ToolResult};

    const SERVER: Identity = Identity { name: "s", title: "S", version: "1", instructions: "" };

    struct Waiter;

    impl Tools for Waiter {
        fn list(&self) -> Vec<Tool> {
            let tool = |name| Tool {
                name,
                title: name,
                description: String::new(),
                input: json!({"type": "object"}),
                is_read_only: true,
                is_open_world: false,
            };
            vec![tool("wait"), tool("echo")]
        }

        fn call(
            &self,
            name: &str,
            arguments: &Map<String, Value>,
            cancelled: &Cancelled,
        ) -> ToolResult {
            let start = Instant::now();
            while name == "wait" && !cancelled.is_set() {
                assert!(start.elapsed() < Duration::from_secs(20), "nobody cancelled");
                thread::sleep(Duration::from_millis(2));
            }

            ToolResult::ok(json!({"echo": arguments}))
        }
    }

    /// Serves lines that are sent through a channel, and returns what is answered.
    fn served(lines: &[&str]) -> Vec<Value> {
        let mut output = Vec::new();
        let input = lines.join("\n");
        serve(BufReader::new(input.as_bytes()), &mut output, &SERVER, &Waiter).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn requests_are_answered_and_notifications_are_not() {
        let answers = served(&[
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"x","result":{}}"#,
            "garbage",
            r#"{"jsonrpc":"2.0","id":2,"method":"nothing"}"#,
        ]);
        assert_eq!(answers.len(), 3, "{answers:?}");
        assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        assert_eq!(
            (&answers[1]["id"], &answers[1]["error"]["code"]),
            (&json!(null), &json!(-32700))
        );
        assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&json!(2), &json!(-32601)));
    }

    /// Lines that arrive one after the other.
    struct Lines(mpsc::Receiver<Vec<u8>>, Vec<u8>);

    impl io::Read for Lines {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1.is_empty() {
                match self.0.recv() {
                    Ok(line) => self.1 = line,
                    Err(_) => return Ok(0),
                }
            }

            let length = self.1.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.1[..length]);
            self.1.drain(..length);
            Ok(length)
        }
    }

    /// Answers, each when it is flushed.
    struct Answers(mpsc::Sender<Value>, Vec<u8>);

    impl Write for Answers {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let line = std::mem::take(&mut self.1);
            self.0.send(serde_json::from_slice(&line).unwrap()).map_err(io::Error::other)
        }
    }

    #[test]
    fn a_cancelled_call_has_no_answer_and_others_go_on() {
        let (sender, receiver) = mpsc::channel::<Vec<u8>>();

        let (answers, answered) = mpsc::channel::<Value>();

        let server = thread::spawn(move || {
            serve(
                BufReader::new(Lines(receiver, Vec::new())),
                Answers(answers, Vec::new()),
                &SERVER,
                &Waiter,
            )
        });
        let send = |value: Value| sender.send(format!("{value}\n").into_bytes()).unwrap();
        let call = |id: u32, name: &str| {
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": {"name": name, "arguments": {"id": id}}})
        };
        let cancel = |id: u32| {
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": {"requestId": id}})
        };

        // More calls than may run at once: the last one waits until one is cancelled.
        for id in 0..8 {
            send(call(id, "wait"));
        }

        send(call(3, "echo"));
        let refused = answered.recv().unwrap();
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(3), &json!(-32600)));
        send(call(8, "echo"));
        send(json!({"jsonrpc": "2.0", "id": 9, "method": "ping"}));
        assert_eq!(answered.recv().unwrap()["id"], 9);
        send(cancel(5));
        let done = answered.recv().unwrap();
        assert_eq!(
            (&done["id"], &done["result"]["structuredContent"]["echo"]["id"]),
            (&json!(8), &json!(8))
        );
        send(cancel(99));
        drop(sender);
        server.join().unwrap().unwrap();
        assert!(answered.recv().is_err(), "the calls that ended with the input have no answer");
    }
}
