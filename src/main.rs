//! The binary: hands the process over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    terminal_secrets::main()
}
