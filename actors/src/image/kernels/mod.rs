//! The operations on pixels: pure functions over views and slices.
//!
//! An operation reads an [`ImageView`](super::ImageView) row by row, so strides cost nothing where rows are dense, and
//! writes a dense result into the caller's slice, whose length must be exact. Where an operation is worth several code
//! paths it is a folder: `mod.rs` says the contract and chooses the path, `scalar.rs` is the oracle, `wide.rs` runs on
//! every machine, `avx2.rs` where the CPU has it. Each operation looks at an [`Interrupt`](crate::Interrupt) every so many bytes
//! and then ends with [`Error::Cancelled`](crate::Error::Cancelled), its output half written. Without the feature `simd-accel` only the scalar paths exist.

pub mod analysis;
pub mod convert;
pub mod convolve;
pub mod enhance;
#[cfg(test)]
mod interrupt_tests;
pub mod normalize;
pub mod resize;
mod window;

/// The code path of an operation. Tests force each one that the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain loops: the oracle, and the only path without `simd-accel`.
    #[cfg_attr(all(feature = "simd-accel", not(test)), expect(dead_code, reason = "forced by tests"))]
    Scalar,
    /// Portable SIMD.
    #[cfg(feature = "simd-accel")]
    Wide,
    /// AVX2 with FMA, found at run time.
    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    Avx2,
}

impl Isa {
    /// The best path of this machine.
    pub(crate) fn detect() -> Self {
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return Self::Avx2;
        }
        #[cfg(feature = "simd-accel")]
        return Self::Wide;
        #[cfg(not(feature = "simd-accel"))]
        Self::Scalar
    }

    /// Every path that this machine can run.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self::Scalar];
        #[cfg(feature = "simd-accel")]
        all.push(Self::Wide);
        if !all.contains(&Self::detect()) {
            all.push(Self::detect());
        }
        all
    }
}
