//! libFuzzer's entry to `slot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::slot::run(data));
