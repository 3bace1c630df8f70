//! The `secrets` binary, which only calls the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    terminal_secrets::main()
}
