//! What comes in: records with their positions, and the readings decoded from them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Event time: when the plant measured it, in milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Names one series: one asset's channels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesKey(Arc<str>);

impl SeriesKey {
    /// A key from its text.
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a record lies in its log: (topic, partition, offset). For a file: (path, 0, row, from 0).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Topic, or a file's path.
    pub topic: Arc<str>,
    /// Partition; 0 for a file.
    pub partition: i32,
    /// Offset of the record itself.
    pub offset: i64,
}

impl Position {
    /// The offset to commit once this record has been processed.
    pub fn next(&self) -> NextOffset {
        NextOffset { topic: self.topic.clone(), partition: self.partition, offset: self.offset + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

/// Last processed offset + 1: the only type that a commit accepts.
///
/// ```
/// use jamais::domain::record::Position;
/// let position = Position { topic: "telemetry".into(), partition: 3, offset: 41 };
/// assert_eq!(position.next().offset(), 42);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextOffset {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
}

impl NextOffset {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }
    /// Offset of the first record that has not been processed.
    pub fn offset(&self) -> i64 {
        self.offset
    }
}

/// One record as polled.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it lies in its log.
    pub position: Position,
    /// The record's key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The log's own time for the record (a Kafka timestamp), if it has one.
    pub timestamp: Option<EventTime>,
    /// Its content.
    pub payload: Payload,
}

/// A record's content: bytes still to be decoded, or columns that a file reader has decoded.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Bytes as they lie on the topic or in a JSON-lines file.
    Serialized(Vec<u8>),
    /// A row of a CSV or Parquet file.
    Reading(Reading),
    /// A row that its file's reader could not make a reading of.
    Unreadable {
        /// The row's original bytes, or the first of them.
        bytes: Vec<u8>,
        /// What is wrong with it, and what to do.
        error: String,
    },
}

/// What one record says: some channels' values of one series at one event time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The series.
    pub series: SeriesKey,
    /// When it was measured.
    pub time: EventTime,
    /// (channel index in the model's channel order, raw value in the channel's own unit).
    /// NaN and infinities are kept: `align` marks them.
    pub values: Vec<(usize, f64)>,
}

impl Reading {
    /// A table's row, `[channel]`: NaN stands for a cell without a value, and is no observation.
    pub fn of_row(series: SeriesKey, time: EventTime, row: &[f64]) -> Self {
        let values = row.iter().copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
        Self { series, time, values }
    }
}

/// A record that could not be used, with its original bytes, bound for the dead-letter topic or file.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Where the record lies.
    pub position: Position,
    /// The record's original key.
    pub key: Option<Vec<u8>>,
    /// The record's timestamp.
    pub timestamp: Option<EventTime>,
    /// The original bytes; a file's row is given as text.
    pub payload: Vec<u8>,
    /// A stable word for the kind of fault, for counting: `malformed`, `late`, ...
    pub kind: &'static str,
    /// What is wrong, and what to do.
    pub error: String,
}
