#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tidegate_filters::jwt::promises::jwt(data);
    tidegate_filters::fuzzing::jwt(data);
});
