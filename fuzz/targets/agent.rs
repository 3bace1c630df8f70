//! libFuzzer's entry to `agent`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::agent::run(data));
