//! Records that could not be used, on their way to people: with their original bytes, where they lay, and why.

use std::fmt::Display;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::time::rfc3339;
use crate::domain::event::hex;
use crate::domain::record::{DeadLetter, EventTime, Payload, Reading, Record};

/// A dead letter of a record. `kind` is a stable word for counting ([`super::DecodeError::kind`], `late`); `error` says
/// what is wrong and what to do. A file's row that has no bytes becomes a JSON text, its values by channel index.
pub fn dead_letter(record: &Record, kind: &'static str, error: &dyn Display) -> DeadLetter {
    let payload = match &record.payload {
        Payload::Serialized(bytes) | Payload::Unreadable { bytes, .. } => bytes.clone(),
        Payload::Reading(reading) => to_json(&RowJson::of(reading)).into_bytes(),
    };
    DeadLetter {
        position: record.position.clone(),
        key: record.key.clone(),
        timestamp: record.timestamp,
        payload,
        kind,
        error: error.to_string(),
    }
}

/// Headers of a dead letter on a topic; key and value travel as the record's own, as far as the sink lets them.
pub fn dead_letter_headers(letter: &DeadLetter) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("jamais.topic", letter.position.topic.to_string()),
        ("jamais.partition", letter.position.partition.to_string()),
        ("jamais.offset", letter.position.offset.to_string()),
    ];
    headers.extend(letter.timestamp.map(|timestamp| ("jamais.timestamp", written(timestamp))));
    headers.extend([("jamais.kind", letter.kind.to_owned()), ("jamais.error", letter.error.clone())]);
    headers
}

/// A dead letter as one line of JSON, without the line's end. Key and payload are texts where they are UTF-8; else
/// `key_hex` and `payload_hex` hold them in hexadecimal.
pub fn dead_letter_json(letter: &DeadLetter) -> String {
    let (key, key_hex) = text_or_hex(letter.key.as_deref());
    let (payload, payload_hex) = text_or_hex(Some(&letter.payload));
    to_json(&DeadLetterJson {
        topic: &letter.position.topic,
        partition: letter.position.partition,
        offset: letter.position.offset,
        timestamp: letter.timestamp.map(written),
        kind: letter.kind,
        error: &letter.error,
        key,
        key_hex,
        payload,
        payload_hex,
    })
}

#[derive(Serialize)]
struct DeadLetterJson<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    kind: &'a str,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

/// A file's row.
#[derive(Serialize)]
struct RowJson<'a> {
    series: &'a str,
    time: String,
    values: ByIndex<'a>,
}

impl<'a> RowJson<'a> {
    fn of(reading: &'a Reading) -> Self {
        Self { series: reading.series.as_str(), time: written(reading.time), values: ByIndex(&reading.values) }
    }
}

struct ByIndex<'a>(&'a [(usize, f64)]);

impl Serialize for ByIndex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for &(channel, value) in self.0 {
            match value {
                f64::INFINITY => map.serialize_entry(&channel, "Infinity")?,
                f64::NEG_INFINITY => map.serialize_entry(&channel, "-Infinity")?,
                value if value.is_nan() => map.serialize_entry(&channel, "NaN")?,
                value => map.serialize_entry(&channel, &value)?,
            }
        }
        map.end()
    }
}

fn written(time: EventTime) -> String {
    rfc3339(time).unwrap_or_else(|| time.to_string())
}

fn text_or_hex(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => (None, None),
        Some((Ok(text), _)) => (Some(text), None),
        Some((Err(_), bytes)) => (None, Some(hex(bytes))),
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers under names are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{Position, SeriesKey};

    fn record(key: Option<&[u8]>, payload: Payload) -> Record {
        Record {
            position: Position { topic: "telemetry".into(), partition: 3, offset: 88_120 },
            key: key.map(<[u8]>::to_vec),
            timestamp: Some(EventTime::from_millis(1_700_000_000_123)),
            payload,
        }
    }

    fn check(record: &Record, expected: &str) {
        assert_eq!(dead_letter_json(&dead_letter(record, "malformed", &"no \"JSON\"")), expected);
    }

    #[test]
    fn a_letter_shows_text_as_text_and_other_bytes_in_hexadecimal() {
        check(
            &record(Some(b"pump-7"), Payload::Serialized(b"{\n".to_vec())),
            r#"{"topic":"telemetry","partition":3,"offset":88120,"timestamp":"2023-11-14T22:13:20.123Z","kind":"malformed","error":"no \"JSON\"","key":"pump-7","payload":"{\n"}"#,
        );
        check(
            &record(Some(b"\xff"), Payload::Serialized(b"\xfe\x00".to_vec())),
            r#"{"topic":"telemetry","partition":3,"offset":88120,"timestamp":"2023-11-14T22:13:20.123Z","kind":"malformed","error":"no \"JSON\"","key_hex":"ff","payload_hex":"fe00"}"#,
        );
    }

    #[test]
    fn a_row_of_a_file_becomes_a_text() {
        let values = vec![(0, 1.5), (2, f64::NAN), (3, f64::NEG_INFINITY)];
        let reading = Reading { series: SeriesKey::new("pump-7"), time: EventTime::from_millis(0), values };
        let letter = dead_letter(&record(None, Payload::Reading(reading)), "late", &"late");
        assert_eq!(
            String::from_utf8(letter.payload).unwrap(),
            r#"{"series":"pump-7","time":"1970-01-01T00:00:00.000Z","values":{"0":1.5,"2":"NaN","3":"-Infinity"}}"#
        );
    }

    #[test]
    fn headers_say_where_and_why() {
        let mut letter = dead_letter(&record(None, Payload::Serialized(Vec::new())), "late", &"too late");
        let expected = [
            ("jamais.topic", "telemetry"),
            ("jamais.partition", "3"),
            ("jamais.offset", "88120"),
            ("jamais.timestamp", "2023-11-14T22:13:20.123Z"),
            ("jamais.kind", "late"),
            ("jamais.error", "too late"),
        ];
        assert_eq!(dead_letter_headers(&letter), expected.map(|(name, value)| (name, value.to_owned())));
        letter.timestamp = None;
        assert!(dead_letter_headers(&letter).iter().all(|(name, _)| *name != "jamais.timestamp"));
    }
}
