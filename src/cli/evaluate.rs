//! `jamais evaluate`: labelled files, judged through the real path.

#![expect(clippy::print_stdout, reason = "what was asked for goes to standard output")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::assemble;
use super::train::{WHITENED_LINEAR_WINDOW, median_step};
use crate::adapters::files::{Table, TableOptions, expand, infer_channels, read_table};
use crate::adapters::onnx::OnnxEncoder;
use crate::codec::{InputSettings, Shape};
use crate::config::Settings;
use crate::domain::model::ModelCard;
use crate::domain::unit::Generation;
use crate::evaluate::{Components, EvaluateError, LabelledSeries, Metrics, RowScore, score_series};
use crate::memory::bank::Bank;
use crate::ports::Encoder;
use crate::train::{TrainSettings, TrainedModel};

/// What is evaluated.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// How the files are laid out and labelled
    #[arg(long, value_enum)]
    layout: Layout,
    /// Files or folders; nab: its folder with data/ and labels/, or parts of its data/
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Samples a window
    #[arg(long, default_value_t = WHITENED_LINEAR_WINDOW, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
}

/// The layouts that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// Skoltech Anomaly Benchmark: the first 400 rows of each file are learned, the rest is tested
    Skab,
    /// Numenta Anomaly Benchmark: the first 15 % of each file, at most 750 rows, are learned
    Nab,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people
    Table,
    /// One JSON object
    Json,
}

/// Rows of a SKAB file that are learned.
const SKAB_LEARN: usize = 400;
/// Columns of a SKAB file that are labels.
const SKAB_LABELS: [&str; 2] = ["anomaly", "changepoint"];

/// Everything that was measured: all tested rows of all files together, and each file by itself.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    all: Metrics,
    files: BTreeMap<String, Metrics>,
}

pub(super) fn run(args: &EvaluateArgs, settings: &Settings) -> anyhow::Result<()> {
    crate::telemetry::init_logs(&settings.telemetry);
    let files = match args.layout {
        Layout::Skab => skab_files(&args.paths)?,
        Layout::Nab => nab_files(&args.paths)?,
    };
    let paths: Vec<PathBuf> = files.iter().map(|(_, path)| path.clone()).collect();
    let input = InputSettings { shape: Shape::Wide, ..assemble::file_input(&settings.input, &paths) };
    let progress = assemble::progress("evaluating", files.len() as u64);
    let (mut all, mut report) = (Vec::new(), BTreeMap::new());
    for (name, path) in files {
        let series = match args.layout {
            Layout::Skab => skab_series(&name, &path, &input),
            Layout::Nab => nab_series(&name, &path, &input),
        }?;
        let scores = score(&series, settings, args.window).with_context(|| path.display().to_string())?;
        let rows: Vec<(bool, bool, f32)> = series.labels[series.learn..]
            .iter()
            .zip(scores)
            .map(|(&truth, RowScore { score, flagged })| (truth, flagged, score))
            .collect();
        report.insert(name, Metrics::of(&rows));
        all.extend(rows);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let report = Report { all: Metrics::of(&all), files: report };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => print!("{}", table(&report)),
    }
    Ok(())
}

/// Trains, prefills and judges with one configuration, whatever the file.
fn score(series: &LabelledSeries, settings: &Settings, window: u16) -> anyhow::Result<Vec<RowScore>> {
    let train_settings = TrainSettings {
        name: series.name.clone(),
        window: window.into(),
        stride: 1,
        grid_ms: u64::try_from(series.grid.as_millis())?,
        batch: 16,
    };
    let components = Assembled { series, settings };
    Ok(score_series(series, settings, &train_settings, &assemble::prefill_settings(settings), &components)?)
}

/// The components that serve everywhere else too.
struct Assembled<'a> {
    series: &'a LabelledSeries,
    settings: &'a Settings,
}

impl Components for Assembled<'_> {
    fn encoder(&self, model: &TrainedModel) -> Result<Box<dyn Encoder>, EvaluateError> {
        let encoder = OnnxEncoder::from_bytes(Path::new(&self.series.name), &model.onnx, model.card.clone())
            .map_err(|error| EvaluateError::Component(error.into()))?;
        Ok(Box::new(encoder))
    }

    fn bank(&self, card: &ModelCard, generation: Generation) -> Result<Arc<Bank>, EvaluateError> {
        assemble::bank(&self.settings.memory, card, generation).map_err(|error| EvaluateError::Component(error.into()))
    }
}

/// (name, path) of every labelled file: folders are searched through.
fn skab_files(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            for file in csv_files(path)? {
                let header = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                // The collection also has a file without anomalies, and without labels.
                if header.lines().next().is_some_and(|line| line.contains(SKAB_LABELS[0])) {
                    files.push(file);
                }
            }
        } else {
            files.extend(expand(std::slice::from_ref(path))?);
        }
    }
    ensure!(!files.is_empty(), "no file with a column {:?} under {paths:?}", SKAB_LABELS[0]);
    Ok(named(files))
}

fn skab_series(name: &str, path: &Path, input: &InputSettings) -> anyhow::Result<LabelledSeries> {
    let labels = SKAB_LABELS.map(str::to_owned);
    let channels = infer_channels(path, input, &labels)?;
    let options = TableOptions { channels: Some(&channels), extra: &labels[..1], ..TableOptions::new(input) };
    let table = read_table(path, &options)?;
    let truth = table.extra(SKAB_LABELS[0]).context("the label column was asked for")?;
    if let Some(row) = truth.iter().position(|label| label.is_nan()) {
        bail!("row {} of {} has no label in column {:?}; mend it", row + 1, path.display(), SKAB_LABELS[0]);
    }
    let labels = truth.iter().map(|label| *label > 0.5).collect();
    ensure!(
        table.rows() > SKAB_LEARN,
        "{} has {} rows; SKAB's protocol learns {SKAB_LEARN} and tests the rest",
        path.display(),
        table.rows()
    );
    labelled(name, table, labels, SKAB_LEARN)
}

/// (name, path) of every file, where the name is the one that NAB's labels use.
fn nab_files(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for path in paths {
        let root = nab_root(path)?;
        let data = root.join("data");
        let found =
            if path.is_dir() { csv_files(if *path == root { &data } else { path })? } else { vec![path.clone()] };
        for file in found {
            let name =
                file.strip_prefix(&data).with_context(|| format!("{} is not in {}", file.display(), data.display()))?;
            files.push((name.to_string_lossy().into_owned(), file.clone()));
        }
    }
    ensure!(!files.is_empty(), "no CSV file under {paths:?}");
    Ok(files)
}

/// NAB's windows, relative to its root.
const NAB_LABELS: &str = "labels/combined_windows.json";

fn nab_root(path: &Path) -> anyhow::Result<PathBuf> {
    path.ancestors()
        .find(|folder| folder.join(NAB_LABELS).is_file())
        .map(Path::to_owned)
        .with_context(|| format!("{} is in no folder with {NAB_LABELS}", path.display()))
}

fn nab_series(name: &str, path: &Path, input: &InputSettings) -> anyhow::Result<LabelledSeries> {
    let labels = nab_root(path)?.join(NAB_LABELS);
    let text = std::fs::read_to_string(&labels).with_context(|| labels.display().to_string())?;
    let windows: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_str(&text).with_context(|| format!("{} does not hold NAB's windows", labels.display()))?;
    let Some(windows) = windows.get(name) else { bail!("{} has no windows for {name}", labels.display()) };
    let time = |text: &String| -> anyhow::Result<i64> {
        let time: jiff::civil::DateTime = text.parse().with_context(|| format!("{text:?} in {}", labels.display()))?;
        Ok(jiff::tz::TimeZone::UTC.to_timestamp(time)?.as_millisecond())
    };
    let windows = windows.iter().map(|(from, to)| Ok((time(from)?, time(to)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let channels = infer_channels(path, input, &[])?;
    let table = read_table(path, &TableOptions { channels: Some(&channels), ..TableOptions::new(input) })?;
    let inside = |millis: i64| windows.iter().any(|(from, to)| (*from..=*to).contains(&millis));
    let labels = table.times.iter().map(|time| inside(time.millis())).collect();
    let learn = (table.rows() * 15 / 100).min(750);
    labelled(name, table, labels, learn)
}

/// A table's rows in event-time order, with their labels.
fn labelled(name: &str, table: Table, labels: Vec<bool>, learn: usize) -> anyhow::Result<LabelledSeries> {
    let mut order: Vec<usize> = (0..table.rows()).collect();
    order.sort_by_key(|&row| table.times[row]);
    // A row that is left out would move the end of the learned rows.
    ensure!(
        table.faults == 0,
        "{} has {} row(s) that cannot be read; mend them. The first: {}",
        table.path.display(),
        table.faults,
        table.first_faults.join("; ")
    );
    let grid: Duration = median_step(&table).with_context(|| table.path.display().to_string())?;
    Ok(LabelledSeries {
        name: name.to_owned(),
        times: order.iter().map(|&row| table.times[row]).collect(),
        values: order.iter().flat_map(|&row| table.row(row).iter().copied()).collect(),
        labels: order.iter().map(|&row| labels[row]).collect(),
        channels: table.channels,
        learn,
        grid,
    })
}

/// CSV files in a folder and the folders within, by path.
fn csv_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(csv_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Names files by what tells them apart.
fn named(files: Vec<PathBuf>) -> Vec<(String, PathBuf)> {
    let names = crate::adapters::files::series_keys(&files);
    names.iter().map(ToString::to_string).zip(files).collect()
}

fn table(report: &Report) -> String {
    use std::fmt::Write;
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{:.1}", value * 100.0));
    let fraction = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let width = report.files.keys().map(String::len).max().unwrap_or(0).max("all rows together".len());
    let mut text =
        format!("{:width$}  {:>7}  {:>6}  {:>6}  {:>6}  {:>6}\n", "file", "rows", "F1", "FAR %", "MAR %", "AUC-PR");
    let each = report.files.iter().map(|(name, metrics)| (name.as_str(), metrics));
    for (name, metrics) in each.chain([("all rows together", &report.all)]) {
        let _ = writeln!(
            text,
            "{name:width$}  {:>7}  {:>6}  {:>6}  {:>6}  {:>6}",
            metrics.rows,
            fraction(metrics.f1),
            percent(metrics.far),
            percent(metrics.mar),
            fraction(metrics.auc_pr)
        );
    }
    text
}
