//! libFuzzer's entry to `ticket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::ticket::run(data));
