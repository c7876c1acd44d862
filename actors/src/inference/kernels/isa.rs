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
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
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
        if simd { Self::available().pop().unwrap_or(Self::Scalar) } else { Self::Scalar }
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
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Calls a function compiled once for each instruction set: `vectorize!(isa, body(values: &[f32]) -> u32)`.
///
/// For loops that the compiler vectorizes by itself. The arguments are variables in scope, with their types; the function,
/// and all it calls, should be `#[inline(always)]` and free of closures, which are compiled apart and would stay scalar.
/// The result is the same on every instruction set: the compiler neither reorders nor fuses float operations.
macro_rules! vectorize {
    ($isa:expr, $body:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?) => {
        match $isa {
            $crate::inference::kernels::isa::Isa::Scalar => $body($($arg),*),
            #[cfg(feature = "simd-accel")]
            $crate::inference::kernels::isa::Isa::Wide => $body($($arg),*),
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            $crate::inference::kernels::isa::Isa::Avx2(_) => {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn with_avx2($($arg: $type),*) $(-> $result)? {
                    $body($($arg),*)
                }
                // SAFETY: the token proves the features that the function enables.
                unsafe { with_avx2($($arg),*) }
            }
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            $crate::inference::kernels::isa::Isa::Avx512(_) => {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
                fn with_avx512($($arg: $type),*) $(-> $result)? {
                    $body($($arg),*)
                }
                // SAFETY: the token proves the features that the function enables.
                unsafe { with_avx512($($arg),*) }
            }
        }
    };
}

pub(crate) use vectorize;
