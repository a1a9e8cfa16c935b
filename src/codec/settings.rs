//! What the decoder is told: checked settings, which `config` builds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::TimeFormat;
use crate::domain::record::EventTime;

/// How records become readings.
///
/// Checked by `config`: no field of the record has two jobs; `bytes_max` is above 0; with Protobuf, [`SeriesFrom::Fields`] is
/// `["series"]`, and the JSON names and `time_format` play no part.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSettings {
    /// `input.format`.
    pub format: Format,
    /// `input.shape`.
    pub shape: Shape,
    /// `input.series`.
    pub series: SeriesFrom,
    /// `input.time_field`: the JSON field that holds the event time.
    pub time_field: String,
    /// `input.time_format`: how it is written there.
    pub time_format: TimeFormat,
    /// `input.channels_field`, for wide JSON: the field that holds the object of channel values. `None`: every field at
    /// the top that is a known channel is one. Any other is something else, never an unknown channel; a misspelt one
    /// shows by its windows' `channel_missing`.
    pub channels_field: Option<String>,
    /// `input.channel_field`, for narrow JSON: the field that holds the channel's name.
    pub channel_field: String,
    /// `input.value_field`, for narrow JSON: the field that holds the value.
    pub value_field: String,
    /// `input.unknown_channels`.
    pub unknown_channels: UnknownChannels,
    /// `input.bytes_max`: the largest record, key and value together.
    pub bytes_max: usize,
    /// `input.time_ahead_max`: how far an event time may be ahead of the record's own timestamp. One wrong time far in
    /// the future would make everything after it late.
    pub ahead_max: Duration,
    /// `input.time_min`: the earliest event time that is believed; catches clocks that start in 1970.
    pub time_min: EventTime,
    /// `input.time_max`: an event time from here on is not believed. A file's rows have no timestamp of their own to be
    /// ahead of.
    pub time_max: EventTime,
}

/// How a record's value is serialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a record.
    Json,
    /// `proto/jamais/v1/telemetry.proto`.
    Protobuf,
}

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Any number of channels at one time.
    Wide,
    /// One channel at one time.
    Narrow,
}

/// Where the series' name comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesFrom {
    /// The record's key, UTF-8.
    Key,
    /// These fields of the value, in this order, joined with `/`. Texts that contain `/` themselves are taken as they
    /// are, so `a/b`, `c` and `a`, `b/c` name the same series.
    Fields(Vec<String>),
}

/// What becomes of a channel that the model does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownChannels {
    /// The record is dead-lettered: a misspelt channel shows at once.
    DeadLetter,
    /// It is counted and left out.
    Ignore,
}

/// How scored events are serialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// One JSON object an event.
    Json,
    /// `proto/jamais/v1/scored_event.proto`.
    Protobuf,
}
