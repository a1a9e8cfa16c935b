//! Settings: the default file, a user's file, environment variables and flags, merged, checked once, then trusted.
//!
//! `config/jamais.toml` is compiled in: it is both the documentation of every key and the source of every default. A
//! key that is not in it is unknown, and a value whose type differs from its default's is refused. Every fault is
//! collected, so that one `jamais config check` shows them all.

mod check;
mod merge;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::codec::{InputSettings, OutputFormat};
use crate::domain::alarm::AlarmSettings;
use crate::domain::align::{AlignSettings, GapPolicy};
use crate::domain::deviation::DeviationSettings;
use crate::domain::model::ModelCard;
use crate::domain::threshold::ThresholdSettings;
use crate::pipeline::{EmitSettings, PipelineSettings};

/// The default file, with every key.
pub const DEFAULTS: &str = include_str!("../../config/jamais.toml");

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What records look like.
    pub input: InputSettings,
    /// How a series is put onto the grid.
    pub align: AlignConfig,
    /// Folder of the model.
    pub model: PathBuf,
    /// Memory.
    pub memory: MemoryConfig,
    /// How a window's parts become one deviation.
    pub deviation: DeviationSettings,
    /// The dynamic threshold.
    pub threshold: ThresholdSettings,
    /// Alarms.
    pub alarm: AlarmSettings,
    /// Whether a stuck or invalid sensor counts as an anomaly.
    pub sensor_faults: bool,
    /// How events are serialized.
    pub output_format: OutputFormat,
    /// Which windows give an event, and how much evidence.
    pub emit: EmitSettings,
    /// Kafka.
    pub kafka: KafkaConfig,
    /// The runtime.
    pub runtime: RuntimeConfig,
    /// Logs, metrics, probes.
    pub telemetry: TelemetryConfig,
}

/// `[align]`; the grid is the model's.
#[derive(Clone, Debug)]
pub struct AlignConfig {
    /// How far a record may be behind.
    pub lateness: Duration,
    /// What fills a gap.
    pub gap: GapPolicy,
    /// Grid cells that are filled in a row, at most.
    pub gap_cells_max: u32,
}

impl AlignConfig {
    /// With a model's grid and channels.
    pub fn on_grid(&self, grid: Duration, channels: usize) -> AlignSettings {
        AlignSettings {
            grid,
            lateness: self.lateness,
            gap: self.gap,
            gap_max: grid.saturating_mul(self.gap_cells_max),
            channels,
        }
    }
}

/// `[memory]`.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Folder of the store.
    pub path: PathBuf,
    /// Units that prefill chooses, at most.
    pub units: usize,
    /// Neighbors a window is compared with.
    pub k: usize,
    /// Of the softmax, in typical distances.
    pub temperature: f32,
    /// Which index.
    pub index: IndexChoice,
    /// Above so many units, `auto` takes the graph.
    pub exact_units_max: usize,
    /// The graph's edges a node.
    pub hnsw_m: usize,
    /// Candidates when a unit is inserted.
    pub hnsw_ef_construction: usize,
    /// Candidates in a search.
    pub hnsw_ef_search: usize,
}

/// Which index serves a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexChoice {
    /// By the number of units.
    Auto,
    /// Exact.
    Exact,
    /// Approximate.
    Hnsw,
}

/// `[kafka]`.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// host:port, comma-separated.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Input.
    pub input_topics: Vec<String>,
    /// Scored events.
    pub output_topic: String,
    /// Dead letters.
    pub dead_letter_topic: String,
    /// Series state.
    pub state_topic: String,
    /// Whether missing topics are created.
    pub create_topics: bool,
    /// Further librdkafka properties.
    pub properties: Vec<(String, String)>,
}

/// `[runtime]`.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Threads.
    pub workers: usize,
    /// Records through the pipeline at once.
    pub batch_records_max: usize,
    /// How long a poll waits.
    pub poll_timeout: Duration,
    /// Between commits.
    pub commit_interval: Duration,
    /// Between checkpoints.
    pub checkpoint_interval: Duration,
    /// Unacknowledged events above which fetching pauses.
    pub in_flight_max: usize,
}

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Where metrics and probes are served.
    pub listen: Option<std::net::SocketAddr>,
    /// Log filter.
    pub log: String,
    /// Whether logs are JSON lines.
    pub log_json: bool,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} fault(s):\n{}", faults.len(), faults.iter().map(|fault| format!("  - {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// One a fault, each with its place and remedy.
    pub faults: Vec<String>,
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// A user's file.
    pub file: Option<PathBuf>,
    /// (name, value) of environment variables; only those that begin with `JAMAIS__` are looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// `section.key=value`, the last one wins.
    pub overrides: Vec<String>,
}

impl Settings {
    /// Merges and checks.
    ///
    /// # Errors
    /// [`ConfigError`], with every fault.
    pub fn load(origins: &Origins) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let merged = merge::merge(origins, &mut faults);
        let settings = check::check(&merged, &mut faults);
        if faults.is_empty() { Ok(settings) } else { Err(ConfigError { faults }) }
    }

    /// What the pipeline needs, for `card`'s model.
    pub fn pipeline(&self, card: &ModelCard) -> PipelineSettings {
        PipelineSettings {
            align: self.align.on_grid(card.grid(), card.channel.len()),
            deviation: self.deviation.clone(),
            threshold: self.threshold.clone(),
            alarm: self.alarm.clone(),
            sensor_faults: self.sensor_faults,
            emit: self.emit.clone(),
        }
    }

    /// The defaults.
    ///
    /// # Panics
    /// If the compiled-in file has a fault, which a test rules out.
    pub fn defaults() -> Self {
        Self::load(&Origins::default()).expect("the default file is checked by a test")
    }
}

/// Name of the model card within a model's folder.
pub const CARD_FILE: &str = "model.toml";
/// Name of the ONNX file within a model's folder.
pub const ENCODER_FILE: &str = "encoder.onnx";

/// Reads and checks the model card in a model's folder.
///
/// # Errors
/// If it cannot be read, is not a card, or contradicts itself.
pub fn read_card(model: &Path) -> Result<ModelCard, ConfigError> {
    let path = model.join(CARD_FILE);
    let fault = |fault: String| ConfigError { faults: vec![fault] };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        fault(format!(
            "cannot read the model card {} ({error}); run `jamais train`, or correct model.path",
            path.display()
        ))
    })?;
    let card: ModelCard = toml::from_str(&text)
        .map_err(|error| fault(format!("{} is not a model card: {error}see docs/encoder.md", path.display())))?;
    match card.faults() {
        faults if faults.is_empty() => Ok(card),
        faults => Err(ConfigError {
            faults: faults.into_iter().map(|fault| format!("{}: {fault}", path.display())).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, overrides: &[&str], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jamais.toml");
        std::fs::write(&path, file).unwrap();
        let origins = Origins {
            file: Some(path),
            environment: vec![("JAMAIS__ALIGN__LATENESS".into(), "7s".into())],
            overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
        };
        match Settings::load(&origins) {
            Ok(settings) => {
                assert_eq!(expected, [""; 0], "no fault was found");
                assert_eq!(settings.align.lateness, Duration::from_secs(7), "the variable wins over the default");
            }
            Err(error) => {
                assert_eq!(error.faults.len(), expected.len(), "{error}");
                for (fault, expected) in error.faults.iter().zip(expected) {
                    assert!(fault.contains(expected), "{fault:?} does not say {expected:?}");
                }
            }
        }
    }

    #[test]
    fn the_default_file_has_no_fault() {
        let settings = Settings::defaults();
        assert_eq!(settings.threshold.quantile, 0.995);
        check("", &[], &[]);
    }

    #[test]
    fn every_fault_is_named_at_once_with_its_place() {
        check(
            "[input]\nformat = \"xml\"\ntime_format = \"%Q\"\n[memory]\nk = 0\nunitss = 5\n[threshold]\nquantile = 2.0\nfactor = \"high\"\n[allign]\n",
            &["alarm.clear_below=7", "runtime.nonsense=1", "kafka.brokers"],
            &[
                "allign",
                "unitss",
                "threshold.factor",
                "runtime.nonsense",
                "kafka.brokers",
                "input.format",
                "input.time_format",
                "memory.k",
                "threshold.quantile",
                "alarm.clear_below",
            ],
        );
    }

    #[test]
    fn properties_may_be_written_without_quotes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jamais.toml");
        std::fs::write(&path, "[kafka.properties]\nlinger.ms = 5\n\"security.protocol\" = \"SSL\"\n").unwrap();
        let settings = Settings::load(&Origins { file: Some(path), ..Origins::default() }).unwrap();
        let expected = [("linger.ms", "5"), ("security.protocol", "SSL")];
        assert_eq!(settings.kafka.properties, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn flags_take_every_type_and_win() {
        check(
            "",
            &[
                "threshold.factor=2",
                "kafka.input_topics=[\"a\", \"b\"]",
                "output.emit=changes",
                "kafka.properties.linger.ms=5",
            ],
            &[],
        );
    }

    #[test]
    fn a_missing_or_malformed_file_is_named() {
        let origins = Origins { file: Some("/nowhere/jamais.toml".into()), ..Origins::default() };
        assert!(Settings::load(&origins).unwrap_err().to_string().contains("/nowhere/jamais.toml"));
        check("[memory\n", &[], &["line 1"]);
    }
}
