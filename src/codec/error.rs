//! Why a record cannot be used. Each message says what was found, and which setting or what at the producer cures it.

use std::time::Duration;

use crate::domain::record::EventTime;

/// Why a record is no reading. Bad data is no bug: the record is dead-lettered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// A file's reader could not make a reading of a row, and says why.
    #[error("{error}")]
    Unreadable {
        /// What is wrong, and what to do.
        error: String,
    },
    /// The record is larger than `bytes_max`.
    #[error(
        "key and value together are {bytes} bytes, input.bytes_max is {bytes_max}; raise it if such records are normal"
    )]
    TooLarge {
        /// Key and value.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The value is not valid JSON.
    #[error(
        "value is not valid JSON: {what} at line {line}, column {column}; have the producer send JSON, or set \
         input.format"
    )]
    NotJson {
        /// What is wrong.
        what: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// The value is not the Protobuf message that was expected.
    #[error(
        "value is not a Protobuf {message}: {what}; have the producer send it, or set input.format and input.shape to \
         what is sent"
    )]
    NotProtobuf {
        /// The message's full name.
        message: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The value is valid JSON, but not an object.
    #[error("value is {found}, not a JSON object; have the producer send one object a record")]
    NotAnObject {
        /// What it is.
        found: String,
    },
    /// A field is not there.
    #[error("field {field:?} is missing; have the producer send it, or set {setting} to what is sent")]
    MissingField {
        /// The field.
        field: String,
        /// The setting that names it.
        setting: &'static str,
    },
    /// A field holds something else than it should.
    #[error("field {} holds {found}, not {wanted}; have the producer send that, or correct {setting}", quoted(field))]
    WrongType {
        /// The field.
        field: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        wanted: &'static str,
        /// The setting that led to it.
        setting: &'static str,
    },
    /// The series comes from the record's key, and there is none.
    #[error(
        "record has no key, and input.series is []; have the producer send the series as the key, or set \
         input.series to the fields that name it"
    )]
    NoKey,
    /// The series comes from the record's key, and the key is not UTF-8.
    #[error(
        "record's key is not UTF-8 from byte {valid_up_to} on, and input.series is []; have the producer send \
         text as the key, or set input.series to the fields that name the series"
    )]
    KeyNotUtf8 {
        /// How many bytes are.
        valid_up_to: usize,
    },
    /// The series' name, or a part of it, is empty.
    #[error("{origin} is empty and so names no series; have the producer fill it, or correct input.series")]
    EmptySeries {
        /// Where the name comes from.
        origin: String,
    },
    /// The series' name is longer than any name of a machine.
    #[error(
        "the series' name has {bytes} bytes and begins {}, at most {bytes_max} are possible; correct the producer, or \
         input.series",
        quoted(begins)
    )]
    SeriesTooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
        /// Its first characters.
        begins: String,
    },
    /// The event time cannot be read.
    #[error(
        "field {field:?} holds {found}, no time in the format {format:?}; correct input.time_format or the producer"
    )]
    BadTime {
        /// The field.
        field: String,
        /// What it holds.
        found: String,
        /// The format.
        format: String,
    },
    /// The event time is before `time_min`.
    #[error(
        "event time {time} is before input.time_min, {time_min}; correct input.time_format or the producer's clock, or \
         set input.time_min to an earlier time"
    )]
    TimeTooEarly {
        /// The event time.
        time: EventTime,
        /// The earliest that is believed.
        time_min: EventTime,
    },
    /// The event time is not before `time_max`.
    #[error(
        "event time {time} is not before input.time_max, {time_max}; correct input.time_format or the producer's clock, \
         or set input.time_max to a later time"
    )]
    TimeTooLate {
        /// The event time.
        time: EventTime,
        /// The first that is not believed.
        time_max: EventTime,
    },
    /// The event time is too far ahead of the record's own timestamp.
    #[error(
        "event time {time} is more than input.time_ahead_max, {ahead_max:?}, ahead of the record's timestamp \
         {timestamp}; correct input.time_format or the producer's clock, or raise input.time_ahead_max"
    )]
    TimeTooFarAhead {
        /// The event time.
        time: EventTime,
        /// The record's own timestamp.
        timestamp: EventTime,
        /// How far ahead it may be.
        ahead_max: Duration,
    },
    /// The model does not know a channel of the record.
    #[error(
        "channel {} is unknown: the model knows {known}; correct the producer, or set input.unknown_channels = \
         \"ignore\"",
        quoted(channel)
    )]
    UnknownChannel {
        /// The first one found.
        channel: String,
        /// Some that the model knows.
        known: String,
    },
    /// The record has no channel that the model knows.
    #[error(
        "no channel of the model is in the record: it knows {known}; correct the producer, input.channels_field \
         or input.shape"
    )]
    NoKnownChannel {
        /// Some that the model knows.
        known: String,
    },
}

impl DecodeError {
    /// A stable word for the kind of fault, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::TooLarge { .. } => "too_large",
            Self::NotJson { .. } | Self::NotProtobuf { .. } => "malformed",
            Self::NotAnObject { .. } => "not_an_object",
            Self::MissingField { .. } => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::NoKey => "no_key",
            Self::KeyNotUtf8 { .. } => "key_not_utf8",
            Self::EmptySeries { .. } => "empty_series",
            Self::SeriesTooLong { .. } => "series_too_long",
            Self::BadTime { .. } => "bad_time",
            Self::TimeTooEarly { .. } => "time_too_early",
            Self::TimeTooLate { .. } => "time_too_late",
            Self::TimeTooFarAhead { .. } => "time_too_far_ahead",
            Self::UnknownChannel { .. } => "unknown_channel",
            Self::NoKnownChannel { .. } => "no_known_channel",
        }
    }
}

/// A text from a record as a message shows it: quoted, escaped, and cut after 40 characters.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
