#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tidegate_filters::jwt::promises::jwks(data);
    tidegate_filters::fuzzing::jwks(data);
});
