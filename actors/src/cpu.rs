//! What this CPU can do that the kernels care about.

/// The instruction sets that the kernels look for and this CPU has, by their usual names. They are not used without the
/// feature `simd-accel`.
pub fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look {
            ($($name:tt),+) => {$(
                if std::arch::is_x86_feature_detected!($name) {
                    found.push($name);
                }
            )+};
        }
        look!("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni");
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push("neon");
    }
    found
}
