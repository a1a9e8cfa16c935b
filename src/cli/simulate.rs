//! `jamais simulate`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::assemble;
use crate::adapters::files::OutputFile;
use crate::simulate::{Plant, PlantSettings, wide_json};

/// The plant, and where its files go.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Folder for normal-CLASS.jsonl, live-CLASS.jsonl and faults.json
    #[arg(value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    pub(super) plant: PlantArgs,
}

/// The plant.
#[derive(Clone, Debug, Args)]
pub(super) struct PlantArgs {
    /// The same seed gives the same plant
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pumps
    #[arg(long, default_value_t = 6)]
    pumps: usize,
    /// Fans
    #[arg(long, default_value_t = 4)]
    fans: usize,
    /// History without faults, such as 6h
    #[arg(long, default_value = "6h", value_name = "DURATION")]
    normal: jiff::SignedDuration,
    /// Time with faults after it, such as 4h
    #[arg(long, default_value = "4h", value_name = "DURATION")]
    live: jiff::SignedDuration,
}

impl PlantArgs {
    /// The plant, if there can be such a one.
    pub(super) fn plant(&self) -> anyhow::Result<Plant> {
        let settings = PlantSettings {
            seed: self.seed,
            pumps: self.pumps,
            fans: self.fans,
            normal: Duration::try_from(self.normal).context("--normal must not be negative")?,
            live: Duration::try_from(self.live).context("--live must not be negative")?,
            ..PlantSettings::default()
        };
        match settings.problems() {
            problems if problems.is_empty() => Ok(Plant::new(settings)),
            problems => bail!("there can be no such plant: {}", problems.join("; ")),
        }
    }
}

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    write(&args.plant.plant()?, &args.output)
}

/// Writes the plant's telemetry, a file a class before and after faults begin, and the faults.
pub(super) fn write(plant: &Plant, output: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(output).with_context(|| format!("cannot make the folder {}", output.display()))?;
    let create = |part: &str, class: &str| Lines::create(output.join(format!("{part}-{class}.jsonl")));
    let mut files = std::collections::BTreeMap::new();
    for asset in plant.assets() {
        let class = asset.class.name();
        if !files.contains_key(class) {
            files.insert(class, [create("normal", class)?, create("live", class)?]);
        }
    }
    let progress = assemble::progress("simulating", plant.sample_count());
    for sample in plant.samples() {
        let asset = &plant.assets()[sample.asset];
        let live = usize::from(sample.time >= plant.live_start());
        if let Some(files) = files.get_mut(asset.class.name()) {
            files[live].line(&wide_json(asset, &sample))?;
        }
        progress.inc(1);
    }
    for file in files.into_values().flatten() {
        file.finish()?;
    }
    progress.finish_and_clear();
    let mut faults = Lines::create(output.join("faults.json"))?;
    faults.line(&serde_json::to_string_pretty(plant.faults())?)?;
    faults.finish()
}

/// A file being written line by line.
struct Lines {
    path: PathBuf,
    output: OutputFile,
    writer: BufWriter<File>,
}

impl Lines {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        let output = OutputFile::create(&path)?;
        Ok(Self { writer: BufWriter::new(output.handle()?), output, path })
    }

    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.writer, "{text}").with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.writer.flush().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.output.complete(true)?)
    }
}
