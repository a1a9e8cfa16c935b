//! The command line: a file a command. Each reads settings, makes components, and calls.

mod assemble;
mod check;
mod demo;
mod evaluate;
mod prefill;
mod run;
mod score;
mod simulate;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Origins, Settings};

/// Scores industrial telemetry by how unlike anything remembered each window is.
#[derive(Debug, Parser)]
#[command(name = "jamais", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SettingsArgs {
    /// Settings file (config/jamais.toml shows every key with its default)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one key; may be repeated
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

impl SettingsArgs {
    fn load(&self) -> Result<Settings, ConfigError> {
        Settings::load(&Origins {
            file: self.config.clone(),
            environment: std::env::vars().collect(),
            overrides: self.overrides.clone(),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trains an encoder on normal data
    Train(train::TrainArgs),
    /// Fills memory from normal data, and calibrates it
    Prefill(prefill::PrefillArgs),
    /// Scores telemetry on Kafka until it is told to stop
    Run(run::RunArgs),
    /// Scores telemetry files
    Score(score::ScoreArgs),
    /// Measures detection on labelled files
    Evaluate(evaluate::EvaluateArgs),
    /// Writes a simulated plant's telemetry, with faults and their ground truth
    Simulate(simulate::SimulateArgs),
    /// Shows everything at work on a simulated plant
    Demo(demo::DemoArgs),
    /// Checks or shows the configuration
    #[command(subcommand)]
    Config(check::ConfigCommand),
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its causes; `main` prints them.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { settings, command } = cli;
    match command {
        Command::Train(args) => train::run(&args, &settings.load()?),
        Command::Prefill(args) => prefill::run(&args, &settings.load()?),
        Command::Run(args) => run::run(&args, &settings.load()?),
        Command::Score(args) => score::run(&args, &settings.load()?),
        Command::Evaluate(args) => evaluate::run(&args, &settings.load()?),
        Command::Simulate(args) => simulate::run(&args),
        Command::Demo(args) => demo::run(&args, &settings),
        Command::Config(command) => check::run(&command, &settings),
    }
}
