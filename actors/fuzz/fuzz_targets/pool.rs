//! Programs from bytes, against the pool's model: two bytes for the limit, then a step in each six.
//!
//! `make fuzz TIME=60` runs it from the seeds in `corpus/pool`; `cargo fuzz run pool` does as well.

#![no_main]

#[path = "../../tests/pool_program/mod.rs"]
mod pool_program;

/// Longer programs find nothing that shorter ones do not, and take longer.
const STEPS_MAX: usize = 400;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((limit, steps)) = bytes.split_first_chunk::<2>() else { return };
    let steps = steps.as_chunks().0.iter().take(STEPS_MAX).copied().map(pool_program::Step::decode);
    pool_program::run(usize::from(u16::from_le_bytes(*limit)) * 8, steps);
});
