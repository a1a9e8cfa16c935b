//! A small simulated plant of pumps, trained and prefilled by the real binary.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jamais::domain::record::EventTime;
use jamais::simulate::{AssetClass, Plant, PlantSettings, wide_json};
use tempfile::TempDir;

use crate::process::success;

/// A pump's sample as a Kafka record.
#[derive(Clone, Debug)]
pub struct PumpRecord {
    /// Series key.
    pub series: String,
    /// Event time.
    pub time: EventTime,
    /// Wide JSON.
    pub json: String,
}

/// Files of a trained plant.
pub struct TrainedPlant {
    folder: TempDir,
    /// The live samples, in event-time order.
    pub live: Vec<PumpRecord>,
}

impl TrainedPlant {
    /// Simulates pumps, trains on their normal hours, and fills a memory.
    ///
    /// # Panics
    /// If the binary fails.
    pub fn new(pumps: usize, live: Duration) -> Self {
        let settings = PlantSettings {
            pumps,
            fans: 0,
            normal: Duration::from_secs(3600),
            live,
            faults_per_kind: 0,
            ..PlantSettings::default()
        };
        assert_eq!(settings.problems(), Vec::<String>::new());
        let plant = Plant::new(settings);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut normal = format!("time,series,{}\n", AssetClass::Pump.channels().join(","));
        let mut records = Vec::new();
        for sample in plant.samples() {
            let asset = &plant.assets()[sample.asset];
            if sample.time < plant.live_start() {
                let values: Vec<String> = sample.values.iter().map(ToString::to_string).collect();
                writeln!(normal, "{},{},{}", sample.time, asset.series, values.join(",")).expect("a String grows");
            } else {
                let json = wide_json(asset, &sample);
                records.push(PumpRecord { series: asset.series.to_string(), time: sample.time, json });
            }
        }
        let this = Self { folder, live: records };
        let path = this.folder.path().join("normal.csv");
        std::fs::write(&path, normal).expect("the temporary folder is writable");
        let path = path.display().to_string();
        this.run(&["train", &path, "--exclude", "series"]);
        this.run(&["prefill", &path]);
        this
    }

    /// A path within the plant's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The flags that name the model and the memory, and where the series key stands.
    pub fn flags(&self) -> Vec<String> {
        vec![
            "--set".to_owned(),
            format!("model.path={}", self.path("model").display()),
            "--set".to_owned(),
            format!("memory.path={}", self.path("memory").display()),
            "--set".to_owned(),
            "input.series=[\"series\"]".to_owned(),
            "--set".to_owned(),
            "telemetry.listen=".to_owned(),
        ]
    }

    /// Runs a command of the binary on this plant.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, arguments: &[&str]) -> std::process::Output {
        let flags = self.flags();
        success(&arguments.iter().copied().chain(flags.iter().map(String::as_str)).collect::<Vec<_>>())
    }

    /// Writes records as JSON lines.
    ///
    /// # Panics
    /// If it cannot.
    pub fn write_lines(&self, name: &str, records: &[PumpRecord]) -> PathBuf {
        let path = self.path(name);
        let lines: String = records.iter().flat_map(|record| [record.json.as_str(), "\n"]).collect();
        std::fs::write(&path, lines).expect("the temporary folder is writable");
        path
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
