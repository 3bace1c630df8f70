//! libFuzzer's entry to `token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::token::run(data));
