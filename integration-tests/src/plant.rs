//! A small simulated plant of pumps, trained and prefilled by the real binary.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jamais::domain::record::EventTime;
use jamais::simulate::{AssetClass, Plant, PlantSettings, wide_json};
use tempfile::TempDir;

use crate::process::{refusal, success};

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
    folder: Arc<TempDir>,
    memory: PathBuf,
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
        Self::trained(&normal, records)
    }

    /// Trains on the first `learn` rows of each CSV file in `folder`, and fills a memory with them; what follows is live.
    /// The layout is SKAB's (Katser and Kozitsin 2020): `;` between columns, `datetime` first, labels last. Each file is
    /// a series.
    ///
    /// # Panics
    /// If a file has another layout, or the binary fails.
    pub fn recorded(folder: &Path, learn: usize) -> Self {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be listed").path())
            .collect();
        files.sort();
        let (mut normal, mut live) = (String::new(), Vec::new());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a recording is readable");
            let mut lines = text.lines();
            let columns: Vec<&str> = lines.next().expect("a recording has a header").split(';').collect();
            let channels = &columns[1..columns.len() - 2];
            if normal.is_empty() {
                writeln!(normal, "datetime;series;{}", channels.join(";")).expect("a String grows");
            }
            let series = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            for (row, line) in lines.enumerate() {
                let cells: Vec<&str> = line.split(';').collect();
                let values = &cells[1..columns.len() - 2];
                if row < learn {
                    writeln!(normal, "{};{series};{}", cells[0], values.join(";")).expect("a String grows");
                } else {
                    let time: jiff::civil::DateTime = cells[0].parse().expect("the first column is a time");
                    let time = jiff::tz::TimeZone::UTC.to_timestamp(time).expect("it is on the calendar");
                    let values: Vec<String> =
                        channels.iter().zip(values).map(|(channel, value)| format!("\"{channel}\": {value}")).collect();
                    live.push(PumpRecord {
                        json: format!(
                            "{{\"series\": \"{series}\", \"time\": \"{time}\", \"values\": {{{}}}}}",
                            values.join(", ")
                        ),
                        series: series.clone(),
                        time: EventTime::from_millis(time.as_millisecond()),
                    });
                }
            }
        }
        Self::trained(&normal, live)
    }

    /// Trains and prefills on a CSV text with a column `series`.
    fn trained(normal: &str, live: Vec<PumpRecord>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder can be made"));
        let this = Self { memory: folder.path().join("memory"), folder, live };
        let path = this.folder.path().join("normal.csv");
        std::fs::write(&path, normal).expect("the temporary folder is writable");
        let path = path.display().to_string();
        this.run(&["train", &path, "--grid", "1s"]);
        this.run(&["prefill", &path]);
        this
    }

    /// The same plant with another memory.
    pub fn with_memory(&self, memory: PathBuf) -> Self {
        Self { folder: self.folder.clone(), memory, live: self.live.clone() }
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
            format!("memory.path={}", self.memory.display()),
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

    /// Runs a command that must be refused, and gives what it said.
    ///
    /// # Panics
    /// If it is not.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let flags = self.flags();
        refusal(&arguments.iter().copied().chain(flags.iter().map(String::as_str)).collect::<Vec<_>>())
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

/// Writes recordings of simulated pumps in SKAB's layout, a file a pump: 400 rows, and then some for `live`.
///
/// # Panics
/// If it cannot.
pub fn write_recordings(folder: &Path, pumps: usize, live: Duration) {
    let settings = PlantSettings {
        pumps,
        fans: 0,
        normal: Duration::from_secs(3600),
        live,
        faults_per_kind: 0,
        ..PlantSettings::default()
    };
    let plant = Plant::new(settings);
    let begin = plant.live_start().millis() - 400_000;
    let header = format!("datetime;{};anomaly;changepoint\n", AssetClass::Pump.channels().join(";"));
    let mut texts = vec![header; pumps];
    for sample in plant.samples().filter(|sample| sample.time.millis() >= begin) {
        let time = jiff::Timestamp::from_millisecond(sample.time.millis()).expect("it is on the calendar");
        let time = time.strftime("%Y-%m-%d %H:%M:%S");
        let values: Vec<String> = sample.values.iter().map(ToString::to_string).collect();
        writeln!(texts[sample.asset], "{time};{};0.0;0.0", values.join(";")).expect("a String grows");
    }
    for (pump, text) in texts.iter().enumerate() {
        std::fs::write(folder.join(format!("{pump}.csv")), text).expect("the folder is writable");
    }
}
