//! libFuzzer's entry to `api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::api::run(data));
