//! `jamais train`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::assemble;
use crate::adapters::files::{Table, TableOptions, expand, infer_channels, read_table};
use crate::adapters::onnx::OnnxEncoder;
use crate::codec::InputSettings;
use crate::config::{ENCODER_FILE, Settings};
use crate::domain::model::{CalibrationCard, Treatment};
use crate::memory::prefill::prefill;
use crate::train::{TrainSettings, save, train};

/// T of the whitened linear encoder: its embedding is a mean over time, so a short window shows short faults, and the
/// smoothing of deviations takes care of noise.
pub(super) const WHITENED_LINEAR_WINDOW: u16 = 5;

/// What is trained, on what.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Files or folders of normal data: CSV, Parquet, or JSON lines
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Which encoder
    #[arg(long, value_enum, default_value_t = EncoderKind::WhitenedLinear)]
    encoder: EncoderKind,
    /// Folder for the model; default: model.path
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Channels, in order; default: every numeric column of the first file
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    channels: Vec<String>,
    /// Columns that are no channels
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    exclude: Vec<String>,
    /// Samples a window
    #[arg(long, default_value_t = WHITENED_LINEAR_WINDOW, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Grid cells from one window to the next
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    stride: u16,
    /// Time between samples, such as 1s; default: the median in the first file
    #[arg(long, value_name = "DURATION", value_parser = parse_grid)]
    grid: Option<Duration>,
    /// Windows given to the encoder at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// A name for people; default: the output folder's
    #[arg(long)]
    name: Option<String>,
}

/// The encoders that can be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EncoderKind {
    /// Whitened window means: fast, and a strong baseline.
    WhitenedLinear,
}

pub(super) fn run(args: &TrainArgs, settings: &Settings) -> anyhow::Result<()> {
    crate::telemetry::init_logs(&settings.telemetry);
    let files = expand(&args.paths)?;
    let input = assemble::file_input(&settings.input, &files);
    let channels = match args.channels.as_slice() {
        [] => inferred(&files[0], &input, &args.exclude)?,
        named => named.to_vec(),
    };
    let grid = match args.grid {
        Some(grid) => grid,
        None => median_step(&read_table(
            &files[0],
            &TableOptions { channels: Some(&channels), ..TableOptions::new(&input) },
        )?)
        .with_context(|| files[0].display().to_string())?,
    };
    let output = args.output.clone().unwrap_or_else(|| settings.model.clone());
    let align = settings.align.on_grid(grid, channels.len());
    let segments = assemble::history_of_files(&settings.input, &align, &channels, &files)?;
    let EncoderKind::WhitenedLinear = args.encoder;
    let train_settings = TrainSettings {
        name: args.name.clone().unwrap_or_else(|| output.display().to_string()),
        window: args.window.into(),
        stride: args.stride.into(),
        grid_ms: u64::try_from(grid.as_millis())?,
        batch: args.batch.into(),
    };
    let mut model = train(&train_settings, &channels, &segments)?;
    for warning in &model.warnings {
        tracing::warn!("{warning}");
    }
    // Tried before it is saved, so that a good model is not replaced by one that cannot be used. The card also says what the
    // trainer measures with a memory of its own data: prefill compares.
    let mut encoder = OnnxEncoder::from_bytes(&output.join(ENCODER_FILE), &model.onnx, model.card.clone())?;
    let generation = prefill(&mut encoder, &assemble::prefill_settings(settings), &segments, None)?;
    let scales = generation.calibration.scales;
    model.card.calibration = Some(CalibrationCard {
        windows: segments.iter().map(|segment| segment.windows(&model.card).count()).sum(),
        distance: scales.distance,
        residuals: scales.channels,
    });
    save(&output, &model.card, &model.onnx)?;
    tracing::info!(model = %output.display(), identity = %model.card.identity(), "trained");
    for channel in &model.card.channel {
        let treatment = match channel.treatment {
            Treatment::Plain => "judged",
            Treatment::Detrended => "detrended",
            Treatment::LeftOut => "left out",
        };
        tracing::info!(channel = channel.name, treatment, reason = channel.reason, "channel");
    }
    Ok(())
}

/// The first file's numeric columns; a name to be excluded that is none of them is a mistake that would train on a label.
fn inferred(path: &Path, input: &InputSettings, exclude: &[String]) -> anyhow::Result<Vec<String>> {
    let mut channels = infer_channels(path, input, &[])?;
    if let Some(stranger) = exclude.iter().find(|name| !channels.contains(name)) {
        bail!("--exclude {stranger}: {} has no such numeric column; it has {}", path.display(), channels.join(", "));
    }
    channels.retain(|name| !exclude.contains(name));
    Ok(channels)
}

/// The median time between a series' rows.
pub(super) fn median_step(table: &Table) -> anyhow::Result<Duration> {
    let mut rows: Vec<_> = table.series.iter().zip(&table.times).collect();
    rows.sort();
    let same_series = rows.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let mut steps: Vec<i64> =
        same_series.map(|pair| pair[1].1.millis() - pair[0].1.millis()).filter(|step| *step > 0).collect();
    if steps.is_empty() {
        bail!("there are no two rows of one series with different times; name the time between samples with --grid");
    }
    steps.sort_unstable();
    Ok(Duration::from_millis(u64::try_from(steps[steps.len() / 2])?))
}

/// A whole number of milliseconds.
fn parse_grid(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    let whole = Duration::try_from(duration).ok().filter(|it| !it.is_zero() && it.subsec_nanos() % 1_000_000 == 0);
    whole.ok_or_else(|| "a grid is a positive, whole number of milliseconds, such as 1s or 500ms".to_owned())
}
