#![no_main]
//! The target `states` for cargo-fuzz. Its body stands in the library, where stable Rust can call it.

libfuzzer_sys::fuzz_target!(|input: &[u8]| pagemark_fuzz::states(input));
