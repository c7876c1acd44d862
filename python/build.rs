//! Tells the extension what it is built with, for `ironcliw doctor`.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    println!("cargo::rustc-env=IRONCLIW_RUSTC={}", version.trim());
    for name in ["TARGET", "PROFILE"] {
        println!("cargo::rustc-env=IRONCLIW_{name}={}", std::env::var(name).unwrap_or_default());
    }
    println!("cargo::rerun-if-changed=build.rs");
}
