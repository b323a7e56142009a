//! Hands the compiler's name to the program, which says it.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").expect("cargo sets RUSTC");
    let said = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("rustc runs")
        .stdout;
    let said = String::from_utf8(said).expect("rustc speaks UTF-8");
    let version = said
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    println!("cargo:rustc-env=COMPILER={version}");
    println!("cargo:rerun-if-changed=build.rs");
}
