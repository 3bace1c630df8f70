//! libFuzzer's entry to `mcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::mcp::run(data));
