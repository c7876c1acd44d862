//! Which instructions a kernel may use, proved once and carried as a value.
//!
//! [`Avx2`] and [`Avx512`] can only be made by detection, so holding one proves the CPU feature and makes the call of a
//! `#[target_feature]` function sound. Tests walk [`Isa::available`] and force each.

use std::fmt;

/// Proof of AVX2, FMA and F16C.
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// Proof of AVX-512 F, BW, VL and VNNI.
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

/// The instruction set that a model's kernels use, chosen when it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain loops: the oracle of every other path.
    Scalar,
    /// Portable vectors of the `wide` crate.
    #[cfg(feature = "simd-accel")]
    Wide,
    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    Avx2(Avx2),
    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    Avx512(Avx512),
}

impl Isa {
    /// Every instruction set of this machine and build, the fastest last.
    pub(crate) fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "stays as it is without simd-accel")]
        let mut found = vec![Self::Scalar];
        #[cfg(feature = "simd-accel")]
        found.push(Self::Wide);
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 {
                found.push(Self::Avx2(Avx2(())));
            }
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 {
                found.push(Self::Avx512(Avx512(())));
            }
        }
        found
    }

    /// The fastest of [`Isa::available`], or the plain loops if `simd` is false.
    pub(crate) fn choose(simd: bool) -> Self {
        if simd {
            Self::available().pop().unwrap_or(Self::Scalar)
        } else {
            Self::Scalar
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(feature = "simd-accel")]
            Self::Wide => "wide",
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Self::Avx2(_) => "avx2",
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Self::Avx512(_) => "avx512vnni",
        }
    }

    /// Runs `body` compiled for this instruction set.
    ///
    /// For loops that the compiler vectorizes by itself: `body` should call one `#[inline(always)]` function. The result
    /// is the same on every instruction set, since the compiler neither reorders nor fuses float operations.
    #[inline]
    pub(crate) fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        match self {
            Self::Scalar => body(),
            #[cfg(feature = "simd-accel")]
            Self::Wide => body(),
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            // SAFETY: the token proves the features that `with_avx2` enables.
            Self::Avx2(_) => unsafe { with_avx2(body) },
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            // SAFETY: the token proves the features that `with_avx512` enables.
            Self::Avx512(_) => unsafe { with_avx512(body) },
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn with_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}
