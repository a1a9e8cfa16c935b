//! `codec`: records to readings, and events and dead letters to bytes: the only place that knows how those are written.
//!
//! Laws:
//! 1. What is made of a record is a function of record, settings and channel names: no clock, no randomness.
//! 2. No bytes make it panic. What cannot be used is a [`DecodeError`] with a stable kind and a remedy.
//! 3. A reading's time lies on the calendar, in `time_min..time_max`, and at most `ahead_max` ahead of the record's own
//!    timestamp; its series' name has at most [`SERIES_BYTES_MAX`] bytes.
//! 4. NaN and infinities pass: `align` marks them. Nothing is filled or left out here but unknown channels, which are
//!    counted.
//! 5. An event that is serialized reads back equal, in either format; events of later versions read too, less what this
//!    version does not know.
//!
//! It does not judge whether a reading is late or plausible, and does no I/O.

mod channels;
mod dead_letter;
mod error;
mod event;
mod event_json;
mod event_protobuf;
mod json;
mod protobuf;
mod settings;
mod time;

use crate::domain::align::millis;
use crate::domain::record::{EventTime, Payload, Reading, Record, SeriesKey};

pub use dead_letter::{dead_letter, dead_letter_headers, dead_letter_json};
pub use error::DecodeError;
pub use event::{EventError, deserialize_event, serialize_event};
pub use protobuf::{onnx, wire};
pub use settings::{Format, InputSettings, OutputFormat, SeriesFrom, Shape, UnknownChannels};
pub use time::{TimeError, TimeFormat, TimeFormatError};

use channels::Channels;
use json::Roles;

/// Makes readings of records.
#[derive(Debug)]
pub struct Decoder {
    settings: InputSettings,
    channels: Channels,
    roles: Roles,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The reading. A channel that the record gives twice is in it twice, in order: the last counts. It has no values
    /// where a narrow record's channel is unknown and ignored.
    pub reading: Reading,
    /// Channels that the model does not know, and that were ignored.
    pub unknown_channels: u32,
}

impl Decoded {
    /// Whether there is nothing in it but channels that are ignored: such a reading moves nothing.
    pub fn is_ignored(&self) -> bool {
        self.unknown_channels > 0 && self.reading.values.is_empty()
    }
}

impl Decoder {
    /// A decoder for the channels of a model, in model order.
    pub fn new(settings: InputSettings, channels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let channels = Channels::new(channels.into_iter().map(Into::into).collect());
        let roles = Roles::new(&settings, &channels);
        Self { settings, channels, roles }
    }

    /// What a record says. A file's row, which its reader has decoded, only has its time checked.
    ///
    /// # Errors
    /// [`DecodeError`] if the record cannot be used: it is to be dead-lettered.
    pub fn decode(&self, record: &Record) -> Result<Decoded, DecodeError> {
        let decoded = match &record.payload {
            Payload::Reading(reading) => Decoded { reading: reading.clone(), unknown_channels: 0 },
            Payload::Unreadable { error, .. } => return Err(DecodeError::Unreadable { error: error.clone() }),
            Payload::Serialized(bytes) => {
                self.check_size(record, bytes)?;
                match self.settings.format {
                    Format::Json => json::decode(&self.settings, &self.channels, &self.roles, record, bytes)?,
                    Format::Protobuf => protobuf::decode(&self.settings, &self.channels, record, bytes)?,
                }
            }
        };
        self.check_time(record.timestamp, decoded.reading.time)?;
        check_series(&decoded.reading.series)?;
        Ok(decoded)
    }

    fn check_size(&self, record: &Record, value: &[u8]) -> Result<(), DecodeError> {
        let bytes = value.len() + record.key.as_ref().map_or(0, Vec::len);
        let bytes_max = self.settings.bytes_max;
        if bytes > bytes_max { Err(DecodeError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    fn check_time(&self, timestamp: Option<EventTime>, time: EventTime) -> Result<(), DecodeError> {
        let InputSettings { time_min, time_max, ahead_max, .. } = self.settings;
        if time::on_calendar(time.millis()).is_none() {
            // Only a file's row gets here: decoded records have been checked.
            let found = format!("the number {}", time.millis());
            let (field, format) = (self.settings.time_field.clone(), TimeFormat::UnixMillis.to_string());
            return Err(DecodeError::BadTime { field, found, format });
        }
        if time < time_min {
            return Err(DecodeError::TimeTooEarly { time, time_min });
        }
        if time >= time_max {
            return Err(DecodeError::TimeTooLate { time, time_max });
        }
        if let Some(timestamp) = timestamp
            && time.millis() > timestamp.millis().saturating_add(millis(ahead_max))
        {
            return Err(DecodeError::TimeTooFarAhead { time, timestamp, ahead_max });
        }
        Ok(())
    }
}

/// Longest name of a series: it travels in every event, dead letter and state of the series.
pub const SERIES_BYTES_MAX: usize = 1024;

fn check_series(series: &SeriesKey) -> Result<(), DecodeError> {
    let name = series.as_str();
    if name.len() <= SERIES_BYTES_MAX {
        return Ok(());
    }
    let begins = name.chars().take(80).collect();
    Err(DecodeError::SeriesTooLong { bytes: name.len(), bytes_max: SERIES_BYTES_MAX, begins })
}

/// The series that a record's key names.
fn series_of_key(record: &Record) -> Result<SeriesKey, DecodeError> {
    let key = record.key.as_ref().ok_or(DecodeError::NoKey)?;
    let key = std::str::from_utf8(key).map_err(|error| DecodeError::KeyNotUtf8 { valid_up_to: error.valid_up_to() })?;
    if key.is_empty() {
        return Err(DecodeError::EmptySeries { origin: "the record's key".to_owned() });
    }
    Ok(SeriesKey::new(key))
}

#[cfg(test)]
mod tests;
