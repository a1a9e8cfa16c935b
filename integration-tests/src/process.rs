//! The real binary.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The `jamais` binary of this build, built first if need be.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // target/release/deps/this-test -> target/release/jamais
        let test = std::env::current_exe().expect("a test knows its own path");
        let folder = test.ancestors().nth(2).expect("a test lies in target/release/deps").to_owned();
        let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        build
            .args(["build", "--quiet", "--package", "jamais", "--bin", "jamais"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        build.env("CARGO_TARGET_DIR", folder.parent().expect("a profile lies in the target folder"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the binary could not be built");
        folder.join("jamais")
    })
}

/// A command of the binary, without the caller's own `JAMAIS__` variables.
pub fn jamais(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JAMAIS__")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs it, and gives what it printed on standard error if it failed as it should.
///
/// # Panics
/// If it succeeds, panics, or is killed.
pub fn refusal(arguments: &[&str]) -> String {
    let output = jamais(arguments).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?} must be refused with exit code 1: {text}");
    assert!(!text.contains("panicked"), "{arguments:?} panicked: {text}");
    text
}

/// Runs it, and gives what it printed.
///
/// # Panics
/// If it fails.
pub fn success(arguments: &[&str]) -> Output {
    let output = jamais(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
