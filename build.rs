//! Facts about the build for `popbridge --version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let fact = |name: &str, value: Option<String>| {
        println!("cargo::rustc-env=POPBRIDGE_{name}={}", value.unwrap_or_else(|| "unknown".to_owned()));
    };
    fact("COMMIT", output("git", &["rev-parse", "--short=12", "HEAD"]));
    fact("RUSTC", output(&rustc, &["--version"]));
    fact("TARGET", env::var("TARGET").ok());
    fact("PROFILE", env::var("PROFILE").ok());
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
