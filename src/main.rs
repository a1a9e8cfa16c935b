//! Starts `jamais`, and turns an error chain into an exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match jamais::cli::run(jamais::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jamais: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
