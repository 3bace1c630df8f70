//! libFuzzer's entry to `answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::answer::run(data));
