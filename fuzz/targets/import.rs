//! libFuzzer's entry to `import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::import::run(data));
