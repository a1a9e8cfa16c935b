//! `jamais prefill`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::assemble;
use crate::adapters::rocksdb::RocksStore;
use crate::config::Settings;
use crate::domain::record::EventTime;
use crate::memory::prefill::prefill;
use crate::ports::MemoryStore;

/// Where normal data is.
#[derive(Debug, Args)]
pub(super) struct PrefillArgs {
    /// Files or folders of normal data: CSV, Parquet, or JSON lines
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read kafka.input_topics instead of files
    #[arg(long, conflicts_with = "paths")]
    from_topics: bool,
    /// First record timestamp of the topic range; default: the beginning
    #[arg(long, requires = "from_topics", value_parser = assemble::parse_time, value_name = "TIME")]
    from: Option<EventTime>,
    /// First record timestamp after the topic range; default: now
    #[arg(long, requires = "from_topics", value_parser = assemble::parse_time, value_name = "TIME")]
    to: Option<EventTime>,
}

/// A bank whose typical distance differs by more than this factor from the trainer's is of other data.
const UNLIKE: f32 = 3.0;

pub(super) fn run(args: &PrefillArgs, settings: &Settings) -> anyhow::Result<()> {
    crate::telemetry::init_logs(&settings.telemetry);
    let mut encoder = assemble::encoder(&settings.model)?;
    let card = encoder.card_ref().clone();
    let align = settings.align.on_grid(card.grid(), card.channel.len());
    let channels: Vec<String> = card.channel.iter().map(|channel| channel.name.clone()).collect();
    let segments = if args.from_topics {
        assemble::history_of_topics(settings, &align, &channels, args.from, args.to)?
    } else if args.paths.is_empty() {
        bail!("name files or folders of normal data, or --from-topics");
    } else {
        assemble::history_of_files(&settings.input, &align, &channels, &args.paths)?
    };
    let mut store = RocksStore::open(&settings.memory.path)?;
    let previous = store.load()?;
    let generation = prefill(&mut encoder, &assemble::prefill_settings(settings), &segments, previous.as_ref())?;
    if let Some(trained) = &card.calibration {
        let ratio = generation.calibration.scales.distance / trained.distance;
        if !(1.0 / UNLIKE..=UNLIKE).contains(&ratio) {
            tracing::warn!(ratio, "distances in this data differ from those in training: is it of the same kind?");
        }
    }
    store.publish(&generation)?;
    tracing::info!(
        memory = %settings.memory.path.display(),
        generation = generation.number,
        units = generation.units.len(),
        deviations = generation.calibration.deviations.len(),
        "prefilled"
    );
    Ok(())
}
