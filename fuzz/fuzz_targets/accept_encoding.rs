#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_filters::fuzzing::accept_encoding(data));
