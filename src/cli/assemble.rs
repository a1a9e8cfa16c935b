//! Joins adapters to the rest: the same few components serve every command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::adapters::files::{TableOptions, expand, read_table, series_keys};
use crate::adapters::hnsw::{HnswIndex, HnswSettings};
use crate::adapters::kafka::RangeSource;
use crate::adapters::onnx::OnnxEncoder;
use crate::adapters::rocksdb::RocksStore;
use crate::codec::{Decoder, Format, InputSettings};
use crate::config::{ENCODER_FILE, IndexChoice, MemoryConfig, Settings, read_card};
use crate::domain::align::AlignSettings;
use crate::domain::history::{HistoryBuilder, Segment};
use crate::domain::model::ModelCard;
use crate::domain::record::{EventTime, Position, Reading};
use crate::domain::unit::Generation;
use crate::memory::bank::Bank;
use crate::memory::calibration::ReadSettings;
use crate::memory::exact::ExactIndex;
use crate::memory::prefill::PrefillSettings;
use crate::pipeline::Pipeline;
use crate::ports::{MemoryStore, NeighborIndex};

/// The encoder in a model's folder, checked.
pub(super) fn encoder(model: &Path) -> anyhow::Result<OnnxEncoder> {
    let card = read_card(model)?;
    Ok(OnnxEncoder::load(&model.join(ENCODER_FILE), card)?)
}

/// The newest generation in the store, with an index.
pub(super) fn stored_bank(settings: &Settings, card: &ModelCard) -> anyhow::Result<Arc<Bank>> {
    let path = &settings.memory.path;
    let generation = RocksStore::open_read_only(path)?
        .load()?
        .with_context(|| format!("the memory store {} is empty; run `jamais prefill`", path.display()))?;
    bank(&settings.memory, card, generation)
}

/// A generation with the index that suits its size.
pub(super) fn bank(memory: &MemoryConfig, card: &ModelCard, generation: Generation) -> anyhow::Result<Arc<Bank>> {
    let index = index(memory, card, &generation);
    Ok(Arc::new(Bank::new(Arc::new(generation), index, card, memory.k)?))
}

fn index(memory: &MemoryConfig, card: &ModelCard, generation: &Generation) -> Box<dyn NeighborIndex> {
    let approximate = match memory.index {
        IndexChoice::Exact => false,
        IndexChoice::Hnsw => true,
        IndexChoice::Auto => generation.units.len() > memory.exact_units_max,
    };
    let dimension = card.encoder.dimension;
    let keys = || generation.units.iter().map(|unit| unit.key.as_slice()).filter(|key| key.len() == dimension);
    if approximate {
        let settings = HnswSettings {
            m: memory.hnsw_m,
            ef_construction: memory.hnsw_ef_construction,
            ef_search: memory.hnsw_ef_search,
        };
        let keys = keys().flatten().copied().filter(|value| value.is_finite()).collect();
        Box::new(HnswIndex::new(generation.metric, dimension, keys, settings))
    } else {
        Box::new(ExactIndex::new(generation.metric, dimension, keys()))
    }
}

/// A pipeline of the model in `settings.model`, on a bank that several workers may share.
pub(super) fn pipeline(settings: &Settings, bank: &Arc<Bank>) -> anyhow::Result<Pipeline> {
    let encoder = encoder(&settings.model)?;
    let card = encoder.card_ref();
    let decoder = Decoder::new(settings.input.clone(), card.channel.iter().map(|channel| channel.name.clone()));
    let pipeline = settings.pipeline(card);
    Ok(Pipeline::new(decoder, Box::new(encoder), bank.clone(), pipeline))
}

/// What a memory is filled with, from settings.
pub(super) fn prefill_settings(settings: &Settings) -> PrefillSettings {
    PrefillSettings {
        units: settings.memory.units,
        read: ReadSettings {
            k: settings.memory.k,
            temperature: settings.memory.temperature,
            history: settings.threshold.length,
        },
        deviation: settings.deviation.clone(),
    }
}

/// How files' rows are read: lines are JSON, whatever is sent on topics; where `input.time_field` is not set to something
/// else, a table's time column is found by its usual names. JSON lines have no columns to look through.
pub(super) fn file_input(input: &InputSettings, paths: &[PathBuf]) -> InputSettings {
    let is_table = |path: &PathBuf| {
        path.extension().is_some_and(|extension| {
            ["csv", "tsv", "txt", "parquet"].iter().any(|it| extension.eq_ignore_ascii_case(it))
        })
    };
    let mut input = InputSettings { format: Format::Json, ..input.clone() };
    if input.time_field == "time" && paths.iter().all(is_table) {
        input.time_field.clear();
    }
    input
}

/// Normal data from files, on the grid.
pub(super) fn history_of_files(
    input: &InputSettings,
    align: &AlignSettings,
    channels: &[String],
    paths: &[PathBuf],
) -> anyhow::Result<Vec<Segment>> {
    let files = expand(paths)?;
    let input = file_input(input, &files);
    let progress = progress("reading", files.len() as u64);
    let mut history = HistoryBuilder::new(align.clone());
    for (path, series) in files.iter().zip(series_keys(&files)) {
        let options = TableOptions { channels: Some(channels), series: Some(&series), ..TableOptions::new(&input) };
        let table = read_table(path, &options)?;
        if table.faults > 0 {
            tracing::warn!(path = %path.display(), rows = table.faults, first = ?table.first_faults, "rows left out");
        }
        let source = path.display().to_string();
        let mut late = 0_usize;
        for row in 0..table.rows() {
            let reading = Reading::of_row(table.series[row].clone(), table.times[row], table.row(row));
            late += usize::from(history.push(&source, table.offsets[row], &reading).is_err());
        }
        if late > 0 {
            tracing::warn!(path = %path.display(), rows = late, "rows out of order beyond align.lateness left out");
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(history.finish())
}

/// Normal data from a range of the input topics, on the grid.
pub(super) fn history_of_topics(
    settings: &Settings,
    align: &AlignSettings,
    channels: &[String],
    from: Option<EventTime>,
    to: Option<EventTime>,
) -> anyhow::Result<Vec<Segment>> {
    let decoder = Decoder::new(settings.input.clone(), channels.iter().cloned());
    let mut source = RangeSource::new(&settings.kafka, from, to)?;
    let mut history = HistoryBuilder::new(align.clone());
    let mut records = 0_u64;
    // By kind: how many, and the first.
    let mut refused: BTreeMap<&str, (u64, Position, String)> = BTreeMap::new();
    while let Some(record) = source.read()? {
        records += 1;
        let log = format!("{}-{}", record.position.topic, record.position.partition);
        let taken = match decoder.decode(&record) {
            Err(error) => Err((error.kind(), error.to_string())),
            Ok(decoded) if decoded.is_ignored() => Ok(()),
            Ok(decoded) => {
                let pushed = history.push(&log, record.position.offset, &decoded.reading);
                pushed.map_err(|late| ("late", late.to_string()))
            }
        };
        if let Err((kind, error)) = taken {
            refused.entry(kind).or_insert((0, record.position, error)).0 += 1;
        }
    }
    for (kind, (records, first, error)) in refused {
        tracing::warn!(kind, records, %first, error, "records left out");
    }
    tracing::info!(records, "read the topic range");
    Ok(history.finish())
}

/// A progress bar on standard error; hidden where that is no terminal.
pub(super) fn progress(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% eta {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(what)
}

/// A time given on the command line, RFC 3339.
pub(super) fn parse_time(text: &str) -> Result<EventTime, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|error| format!("{error}; write for instance 2026-03-01T00:00:00Z"))?;
    Ok(EventTime::from_millis(time.as_millisecond()))
}
