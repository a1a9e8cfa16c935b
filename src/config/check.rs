//! Turns the merged table into checked settings, and collects every fault on the way.

use std::fmt::Display;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};
use toml::{Table, Value};

use super::{AlignConfig, KafkaConfig, MemoryConfig, RuntimeConfig, Settings, TelemetryConfig};
use crate::codec::{InputSettings, SeriesFrom, TimeFormat};
use crate::domain::alarm::AlarmSettings;
use crate::domain::deviation::DeviationSettings;
use crate::domain::record::EventTime;
use crate::domain::threshold::ThresholdSettings;
use crate::pipeline::EmitSettings;

/// Bound on every duration: what fits in milliseconds with room to add.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Bound on `align.gap_cells_max`: the work that one record may cause.
const GAP_CELLS_MAX: u32 = 100_000;

/// Reads keys that are known to exist with known types; a value that cannot be used is told and replaced by a harmless
/// one, so that the faults behind it are told too.
struct Reader<'a> {
    table: &'a Table,
    faults: &'a mut Vec<String>,
}

/// The settings of a merged table; not to be used if anything was added to `faults`.
pub(super) fn check(table: &Table, faults: &mut Vec<String>) -> Settings {
    let mut read = Reader { table, faults };
    let settings = Settings {
        input: read.input(),
        align: AlignConfig {
            lateness: read.duration("align.lateness"),
            gap: read.word("align.gap"),
            gap_cells_max: read.count32("align.gap_cells_max", 0, GAP_CELLS_MAX),
        },
        model: read.text("model.path").into(),
        memory: MemoryConfig {
            path: read.text("memory.path").into(),
            units: read.count("memory.units", 1, 100_000_000),
            k: read.count("memory.k", 1, 1_000),
            temperature: read.number32("memory.temperature", 0.0, 1e6),
            index: read.word("memory.index"),
            exact_units_max: read.count("memory.exact_units_max", 0, 100_000_000),
            hnsw_m: read.count("memory.hnsw_m", 4, 128),
            hnsw_ef_construction: read.count("memory.hnsw_ef_construction", 4, 10_000),
            hnsw_ef_search: read.count("memory.hnsw_ef_search", 1, 10_000),
        },
        deviation: DeviationSettings {
            power: read.number32("deviation.power", 1.0, 64.0),
            smoothing: read.count32("deviation.smoothing", 1, u32::MAX),
        },
        threshold: ThresholdSettings {
            quantile: read.number("threshold.quantile", 0.0, 1.0),
            factor: read.number32("threshold.factor", 1e-6, 1e6),
            length: read.count("threshold.history", 1, 10_000_000),
            warm: read.count("threshold.warm", 1, 10_000_000),
        },
        alarm: AlarmSettings {
            raise_after: read.duration("alarm.raise_after"),
            clear_below: read.number32("alarm.clear_below", 1e-6, 1.0),
            clear_after: read.duration("alarm.clear_after"),
        },
        sensor_faults: read.flag("alarm.sensor_faults"),
        output_format: read.word("output.format"),
        emit: EmitSettings {
            emit: read.word("output.emit"),
            every: read.count32("output.every", 1, u32::MAX),
            evidence_every: read.count32("output.evidence_every", 0, u32::MAX),
        },
        kafka: read.kafka(),
        runtime: RuntimeConfig {
            workers: read.count("runtime.workers", 1, 256),
            batch_records_max: read.count("runtime.batch_records_max", 1, 1_000_000),
            poll_timeout: read.duration("runtime.poll_timeout"),
            commit_interval: read.duration("runtime.commit_interval"),
            checkpoint_interval: read.duration("runtime.checkpoint_interval"),
            in_flight_max: read.count("runtime.in_flight_max", 1, 10_000_000),
        },
        telemetry: read.telemetry(),
    };
    if settings.memory.k > settings.memory.hnsw_ef_search {
        read.fault(format!(
            "memory.hnsw_ef_search is {}, below memory.k = {}; raise it to at least k",
            settings.memory.hnsw_ef_search, settings.memory.k
        ));
    }
    if settings.threshold.warm > settings.threshold.length {
        read.fault(format!(
            "threshold.warm is {}, above threshold.history = {}: no window would ever be judged",
            settings.threshold.warm, settings.threshold.length
        ));
    }
    settings
}

fn split(key: &str) -> (&str, &str) {
    key.split_once('.').expect("keys are section.name")
}

impl Reader<'_> {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn value(&self, key: &str) -> &Value {
        let (section, name) = split(key);
        &self.table[section][name]
    }

    fn text(&self, key: &str) -> String {
        self.value(key).as_str().unwrap_or_default().to_owned()
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key).as_bool().unwrap_or_default()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.value(key).as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn nonempty(&mut self, key: &str) -> String {
        let text = self.text(key);
        if text.is_empty() {
            self.fault(format!("{key} is empty"));
        }
        text
    }

    fn count(&mut self, key: &str, min: usize, max: usize) -> usize {
        let found = self.value(key).as_integer().unwrap_or_default();
        match usize::try_from(found).ok().filter(|count| (min..=max).contains(count)) {
            Some(count) => count,
            None => {
                self.fault(format!("{key} is {found}, it must be between {min} and {max}"));
                min
            }
        }
    }

    fn count32(&mut self, key: &str, min: u32, max: u32) -> u32 {
        u32::try_from(self.count(key, min as usize, max as usize)).unwrap_or(max)
    }

    #[expect(clippy::cast_possible_truncation, reason = "these settings need no more than f32")]
    fn number32(&mut self, key: &str, min: f64, max: f64) -> f32 {
        self.number(key, min, max) as f32
    }

    fn number(&mut self, key: &str, min: f64, max: f64) -> f64 {
        let found = self.value(key).as_float().unwrap_or_default();
        if (min..=max).contains(&found) {
            return found;
        }
        self.fault(format!("{key} is {found}, it must be between {min} and {max}"));
        min
    }

    fn duration(&mut self, key: &str) -> Duration {
        let text = self.text(key);
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
        match parsed.filter(|duration| *duration <= DURATION_MAX) {
            Some(duration) => duration,
            None => {
                self.fault(format!(
                    "{key} is {text:?}, it must be a duration such as \"100ms\", \"5s\", \"10m\" or \"1h\""
                ));
                Duration::ZERO
            }
        }
    }

    /// What `parse` makes of a text; after a fault, of the default's.
    fn parsed<T, E: Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> T {
        let text = self.text(key);
        parse(&text).unwrap_or_else(|error| {
            self.fault(format!("{key}: {error}"));
            let (section, name) = split(key);
            let defaults = super::merge::defaults();
            parse(defaults[section][name].as_str().unwrap_or_default())
                .unwrap_or_else(|_| unreachable!("a test checks the default file"))
        })
    }

    /// One of a few words.
    fn word<T: DeserializeOwned>(&mut self, key: &str) -> T {
        self.parsed(key, |text| T::deserialize(StrDeserializer::<Error>::new(text)))
    }

    fn time(&mut self, key: &str) -> EventTime {
        let time = self.parsed(key, |text| {
            text.parse::<jiff::Timestamp>()
                .map_err(|error| format!("{text:?} is no time ({error}); write for instance \"2000-01-01T00:00:00Z\""))
        });
        EventTime::from_millis(time.as_millisecond())
    }

    fn input(&mut self) -> InputSettings {
        let series = self.texts("input.series");
        let channels_field = self.text("input.channels_field");
        self.field_jobs(&series);
        let input = InputSettings {
            format: self.word("input.format"),
            shape: self.word("input.shape"),
            series: if series.is_empty() { SeriesFrom::Key } else { SeriesFrom::Fields(series) },
            time_field: self.nonempty("input.time_field"),
            time_format: self.parsed("input.time_format", str::parse::<TimeFormat>),
            channels_field: (!channels_field.is_empty()).then_some(channels_field),
            channel_field: self.nonempty("input.channel_field"),
            value_field: self.nonempty("input.value_field"),
            unknown_channels: self.word("input.unknown_channels"),
            bytes_max: self.count("input.bytes_max", 1, 1 << 30),
            ahead_max: self.duration("input.time_ahead_max"),
            time_min: self.time("input.time_min"),
            time_max: self.time("input.time_max"),
        };
        if input.time_min >= input.time_max {
            self.fault("input.time_min is not before input.time_max: no record would ever be used".to_owned());
        }
        input
    }

    /// No field of a record may have two jobs.
    fn field_jobs(&mut self, series: &[String]) {
        if self.text("input.format") == "protobuf" {
            if !series.is_empty() && series != ["series"] {
                self.fault(
                    "input.series must be [] or [\"series\"] with Protobuf, whose messages have that field".to_owned(),
                );
            }
            return;
        }
        let used: &[&str] = match self.text("input.shape").as_str() {
            "narrow" => &["input.time_field", "input.channel_field", "input.value_field"],
            _ => &["input.time_field", "input.channels_field"],
        };
        let mut jobs: Vec<(String, &str)> = used.iter().map(|key| (self.text(key), *key)).collect();
        jobs.extend(series.iter().map(|field| (field.clone(), "input.series")));
        jobs.retain(|(field, _)| !field.is_empty());
        jobs.sort();
        for pair in jobs.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            self.fault(format!("the field {:?} has two jobs: {} and {}", pair[0].0, pair[0].1, pair[1].1));
        }
    }

    fn kafka(&mut self) -> KafkaConfig {
        let input_topics = self.texts("kafka.input_topics");
        if input_topics.is_empty() {
            self.fault("kafka.input_topics is empty; name at least one topic".to_owned());
        }
        KafkaConfig {
            brokers: self.nonempty("kafka.brokers"),
            group: self.nonempty("kafka.group"),
            input_topics,
            output_topic: self.nonempty("kafka.output_topic"),
            dead_letter_topic: self.nonempty("kafka.dead_letter_topic"),
            state_topic: self.nonempty("kafka.state_topic"),
            create_topics: self.flag("kafka.create_topics"),
            properties: self
                .value("kafka.properties")
                .as_table()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
        }
    }

    fn telemetry(&mut self) -> TelemetryConfig {
        let listen = self.text("telemetry.listen");
        let address = (!listen.is_empty()).then(|| listen.parse());
        if let Some(Err(_)) = address {
            self.fault(format!(
                "telemetry.listen is {listen:?}, it must be address:port such as \"127.0.0.1:9464\", or empty"
            ));
        }
        let log = self.text("telemetry.log");
        if let Err(error) = log.parse::<tracing_subscriber::filter::targets::Targets>() {
            self.fault(format!("telemetry.log is {log:?} ({error}); write for instance \"info\" or \"jamais=debug\""));
        }
        let format = self.text("telemetry.log_format");
        if format != "text" && format != "json" {
            self.fault(format!("telemetry.log_format is {format:?}, it must be \"text\" or \"json\""));
        }
        TelemetryConfig { listen: address.and_then(Result::ok), log, log_json: format == "json" }
    }
}
