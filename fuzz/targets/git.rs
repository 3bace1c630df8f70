//! libFuzzer's entry to `git`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::git::run(data));
