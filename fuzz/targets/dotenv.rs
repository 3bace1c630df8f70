//! libFuzzer's entry to `dotenv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::dotenv::run(data));
