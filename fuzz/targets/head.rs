//! libFuzzer's entry to `head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::head::run(data));
