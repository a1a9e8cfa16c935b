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
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SettingsArgs {
    /// Settings file (config/jamais.toml shows every key with its default)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one key; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

/// A command's own arguments beside the settings. They stand behind the command's name, in one place: clap keeps only one
/// of two places, and would drop the other's settings without a word.
#[derive(Debug, Args)]
struct Configured<T: Args> {
    #[command(flatten)]
    args: T,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl SettingsArgs {
    fn load(&self) -> Result<Settings, ConfigError> {
        Settings::load(&Origins {
            file: self.config.clone(),
            environment: std::env::vars_os().collect(),
            overrides: self.overrides.clone(),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trains an encoder on normal data
    Train(Configured<train::TrainArgs>),
    /// Fills memory from normal data, and calibrates it
    Prefill(Configured<prefill::PrefillArgs>),
    /// Scores telemetry on Kafka until it is told to stop
    Run(Configured<run::RunArgs>),
    /// Scores telemetry files
    Score(Configured<score::ScoreArgs>),
    /// Measures detection on labelled files
    Evaluate(Configured<evaluate::EvaluateArgs>),
    /// Writes a simulated plant's telemetry, with faults and their ground truth
    Simulate(simulate::SimulateArgs),
    /// Shows everything at work on a simulated plant
    Demo(Configured<demo::DemoArgs>),
    /// Checks or shows the configuration
    #[command(subcommand)]
    Config(check::ConfigCommand),
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its causes; `main` prints them.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Train(it) => train::run(&it.args, &it.settings.load()?),
        Command::Prefill(it) => prefill::run(&it.args, &it.settings.load()?),
        Command::Run(it) => run::run(&it.args, &it.settings.load()?),
        Command::Score(it) => score::run(&it.args, &it.settings.load()?),
        Command::Evaluate(it) => evaluate::run(&it.args, &it.settings.load()?),
        Command::Simulate(args) => simulate::run(&args),
        Command::Demo(it) => demo::run(&it.args, &it.settings),
        Command::Config(command) => check::run(&command),
    }
}
