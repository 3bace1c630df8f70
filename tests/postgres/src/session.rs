//! A session of the superuser, for tests that run many statements.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The line that ends the answer to statements.
const END: &str = "-- end of the answer --";

/// A session of the superuser in a database. It saves the start of one `psql` for each call.
pub struct Session {
    psql: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Session {
    pub(crate) fn start(mut psql: Command) -> Self {
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = psql.spawn().unwrap();
        let input = psql.stdin.take();
        let output = BufReader::new(psql.stdout.take().unwrap());
        Self { psql, input, output }
    }

    /// Runs statements in one transaction. Returns the rows as `psql` prints them, with `|` between
    /// columns. Panics if a statement fails.
    #[track_caller]
    pub fn sql(&mut self, statements: &str) -> String {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "BEGIN;\n{statements}\n;COMMIT;\n\\echo '{END}'").unwrap();
        input.flush().unwrap();

        let mut answer = String::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let mut error = String::new();
                let mut errors = self.psql.stderr.take().unwrap();
                errors.read_to_string(&mut error).unwrap();
                panic!("`{statements}` fails: {error}");
            }

            if line.trim_end() == END {
                return answer;
            }

            answer.push_str(&line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.psql.wait();
    }
}
