//! `jamais score`: files in, files out, through the same pipeline and runtime as `jamais run`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::assemble;
use crate::adapters::clock::SystemClock;
use crate::adapters::files::{FileSink, FileSource, Written, expand};
use crate::config::{RuntimeConfig, Settings, read_card};
use crate::domain::record::NextOffset;
use crate::pipeline::Pipeline;
use crate::ports::{PartitionId, Polled, PortError, Source};
use crate::runtime::{Components, Shutdown, Worker};
use crate::telemetry::{Metrics, init_logs};

/// What is scored, and where the events go.
#[derive(Debug, Args)]
pub(super) struct ScoreArgs {
    /// Files or folders of telemetry: CSV, Parquet, or JSON lines
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// File for scored events: .jsonl, .csv or .parquet; -: JSON lines on standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// File for records that could not be used; default: the output with .dead-letters.jsonl
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    overwrite: bool,
}

pub(super) fn run(args: &ScoreArgs, settings: &Settings) -> anyhow::Result<()> {
    init_logs(&settings.telemetry);
    let card = read_card(&settings.model)?;
    let bank = assemble::stored_bank(settings, &card)?;
    let dead_letters = args.dead_letters.clone().unwrap_or_else(|| {
        let name = if args.output == Path::new("-") { Path::new("stdout") } else { &args.output };
        name.with_extension("dead-letters.jsonl")
    });
    let mut settings = settings.clone();
    settings.input = assemble::file_input(&settings.input, &expand(&args.paths)?);
    let pipeline = assemble::pipeline(&settings, &bank)?;
    let channels: Vec<String> = card.channel.into_iter().map(|channel| channel.name).collect();
    // Inputs first: where one is missing, no output is begun.
    let source = FileSource::new(&args.paths, &channels, &settings.input)?;
    let sink = if args.output == Path::new("-") {
        FileSink::to_writer(Box::new(std::io::stdout()), "standard output", &dead_letters, args.overwrite)?
    } else {
        FileSink::create(&args.output, &dead_letters, args.overwrite)?
    };
    let written = score(settings.runtime, pipeline, source, sink)?;
    tracing::info!(events = written.events, dead_letters = written.dead_letters, "scored");
    Ok(())
}

fn score(
    runtime: RuntimeConfig,
    pipeline: Pipeline,
    source: FileSource,
    mut sink: FileSink,
) -> anyhow::Result<Written> {
    let progress = assemble::progress("scoring", source.total_bytes());
    let mut source = Watched { source, progress };
    let (metrics, clock) = (Metrics::new(), SystemClock::new());
    let components =
        Components { source: &mut source, sink: &mut sink, states: None, clock: &clock, metrics: &metrics };
    Worker::new(components, pipeline, runtime).run(&Shutdown::default())?;
    source.progress.finish_and_clear();
    Ok(sink.finish()?)
}

/// Moves a progress bar with what is read.
struct Watched {
    source: FileSource,
    progress: indicatif::ProgressBar,
}

impl Source for Watched {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Polled, PortError> {
        self.progress.set_position(self.source.read_bytes());
        self.source.poll(max, timeout)
    }
    fn begin(&mut self, partitions: &[(PartitionId, Option<NextOffset>)]) -> Result<(), PortError> {
        self.source.begin(partitions)
    }
    fn release(&mut self, partitions: &[PartitionId]) -> Result<(), PortError> {
        self.source.release(partitions)
    }
    fn committed(&mut self, partition: &PartitionId) -> Result<Option<NextOffset>, PortError> {
        self.source.committed(partition)
    }
    fn commit(&mut self, next_offsets: &[NextOffset]) -> Result<(), PortError> {
        self.source.commit(next_offsets)
    }
    fn set_paused(&mut self, paused: bool) -> Result<(), PortError> {
        self.source.set_paused(paused)
    }
}
