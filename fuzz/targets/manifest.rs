//! libFuzzer's entry to `manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::manifest::run(data));
