//! Whole files, through the public functions.

mod inputs;
mod outputs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::codec::{Format, InputSettings, SeriesFrom, Shape, TimeFormat, UnknownChannels};
use crate::domain::record::{EventTime, Payload, Record};
use crate::ports::{Polled, Source};

fn input() -> InputSettings {
    InputSettings {
        format: Format::Json,
        shape: Shape::Wide,
        series: SeriesFrom::Key,
        time_field: String::new(),
        time_format: TimeFormat::Auto,
        channels_field: None,
        channel_field: "channel".to_owned(),
        value_field: "value".to_owned(),
        unknown_channels: UnknownChannels::Ignore,
        bytes_max: 1 << 20,
        ahead_max: Duration::from_secs(3600),
        time_min: EventTime::from_millis(0),
        time_max: EventTime::from_millis(4_102_444_800_000),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Writes a file into a folder.
fn file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// Reads a source to its end as a runtime would, and writes down what came.
fn drain(source: &mut FileSource, folder: &Path, max: usize) -> Vec<String> {
    let mut trace = Vec::new();
    loop {
        match source.poll(max, Duration::ZERO).unwrap() {
            Polled::Assigned(partitions) => {
                trace.push("assigned".to_owned());
                let begun: Vec<_> = partitions.into_iter().map(|partition| (partition, None)).collect();
                source.begin(&begun).unwrap();
            }
            Polled::Records(records) => {
                assert!(records.len() <= max);
                trace.extend(records.iter().map(|record| written(record, folder)));
            }
            Polled::Revoked(partitions) => {
                trace.push("revoked".to_owned());
                source.release(&partitions).unwrap();
            }
            Polled::Lost(_) => panic!("a file cannot be lost"),
            Polled::End => return trace,
        }
    }
}

/// `pump.csv@0 pump 1000 [(0, 1.5)]`
fn written(record: &Record, folder: &Path) -> String {
    let place = record.position.topic.strip_prefix(folder.to_str().unwrap()).unwrap().trim_start_matches('/');
    let place = format!("{place}@{}", record.position.offset);
    match &record.payload {
        Payload::Reading(reading) => {
            format!("{place} {} {} {:?}", reading.series, reading.time.millis(), reading.values)
        }
        Payload::Serialized(bytes) => {
            let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            format!("{place} {key} {}", String::from_utf8_lossy(bytes))
        }
        Payload::Unreadable { bytes, error } => {
            let error = error.replace(folder.to_str().unwrap(), "");
            format!("{place} {:?}: {error}", String::from_utf8_lossy(bytes))
        }
    }
}
