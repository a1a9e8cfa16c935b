//! `jamais config`.

#![expect(clippy::print_stdout, reason = "what was asked for goes to standard output")]

use clap::Subcommand;

use super::SettingsArgs;
use crate::config::DEFAULTS;

/// What is done with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Names every fault at once
    Check(SettingsArgs),
    /// Prints every key with its default
    Show,
}

pub(super) fn run(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(settings) => {
            settings.load()?;
            println!("the configuration has no fault");
        }
        ConfigCommand::Show => print!("{DEFAULTS}"),
    }
    Ok(())
}
