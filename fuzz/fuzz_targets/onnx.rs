#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hedgerow_fuzz::evaluate(hedgerow::forest::onnx::parse(bytes));
});
