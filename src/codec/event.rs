//! Scored events to bytes, and back: for consumers downstream, for replay and for tests.

use super::settings::OutputFormat;
use super::{event_json, event_protobuf};
use crate::domain::event::ScoredEvent;

/// Bytes that are no scored event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or not that of a scored event.
    #[error(
        "bytes are not the JSON of a scored event; read them in the format that output.format was when they were \
         written"
    )]
    Json(#[source] serde_json::Error),
    /// Not the Protobuf message.
    #[error(
        "bytes are not a Protobuf jamais.v1.ScoredEvent; read them in the format that output.format was when they were \
         written"
    )]
    Protobuf(#[source] prost::DecodeError),
    /// A message within the Protobuf message is not there.
    #[error("field {field} of jamais.v1.ScoredEvent is missing; it was not jamais that wrote it")]
    MissingField {
        /// The field.
        field: &'static str,
    },
    /// An enum holds a number that this version has no meaning for.
    #[error(
        "field {field} of jamais.v1.ScoredEvent is {number}, which this version does not know; read it with a later one"
    )]
    UnknownNumber {
        /// The field.
        field: &'static str,
        /// What it holds.
        number: i32,
    },
}

/// An event's bytes.
///
/// JSON has the fields of [`ScoredEvent`] under their own names, times as RFC 3339 with milliseconds, and numbers in
/// their shortest form. `deviation`, `threshold` and `score` are null where there is none; an alarm and lists are left
/// out where there is none. A number that is not finite, of which there should be none, is null and reads back as NaN.
pub fn serialize_event(format: OutputFormat, event: &ScoredEvent) -> Vec<u8> {
    match format {
        OutputFormat::Json => event_json::serialize(event),
        OutputFormat::Protobuf => event_protobuf::serialize(event),
    }
}

/// The event that bytes stand for. Fields that this version does not know are skipped.
///
/// # Errors
/// [`EventError`] if they are no event in this format.
pub fn deserialize_event(format: OutputFormat, bytes: &[u8]) -> Result<ScoredEvent, EventError> {
    match format {
        OutputFormat::Json => event_json::deserialize(bytes),
        OutputFormat::Protobuf => event_protobuf::deserialize(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alarm::Transition;
    use crate::domain::event::{AlarmEvidence, ChannelEvidence, NeighborEvidence, Reason, ReasonCode, SourceRange};
    use crate::domain::record::{EventTime, SeriesKey};
    use crate::domain::unit::{Admission, Provenance, UnitId};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    const FORMATS: [OutputFormat; 2] = [OutputFormat::Json, OutputFormat::Protobuf];

    fn bare() -> ScoredEvent {
        ScoredEvent {
            id: "5f1c".to_owned(),
            series: SeriesKey::new("pump-7"),
            window_start: EventTime::from_millis(1_700_000_000_000),
            window_end: EventTime::from_millis(1_700_000_063_000),
            deviation: None,
            threshold: None,
            score: None,
            anomaly: false,
            alarm: None,
            channels: Vec::new(),
            neighbors: Vec::new(),
            model: "c0ffee".into(),
            generation: 2,
            threshold_version: "q0.99 x1.2 of 512".into(),
            source: SourceRange { topic: "telemetry".into(), partition: 3, first_offset: 41, last_offset: 104 },
            reasons: Vec::new(),
        }
    }

    fn full() -> ScoredEvent {
        ScoredEvent {
            deviation: Some(3.1),
            threshold: Some(1.55),
            score: Some(2.0),
            anomaly: true,
            alarm: Some(AlarmEvidence {
                id: "a1".to_owned(),
                since: EventTime::from_millis(1_700_000_060_500),
                transition: Transition::Raised,
            }),
            channels: vec![ChannelEvidence { channel: "pressure".into(), observed: 0.1, expected: 2.5, residual: 0.1 }],
            neighbors: vec![NeighborEvidence {
                unit: UnitId(17),
                distance: 0.25,
                similarity: 0.8,
                weight: 1.0,
                provenance: Provenance {
                    series: SeriesKey::new("pump-3"),
                    start: EventTime::from_millis(0),
                    end: EventTime::from_millis(63_000),
                    source: "history.csv".to_owned(),
                    offsets: (0, 63),
                    admitted: Admission::Prefill,
                },
            }],
            reasons: vec![
                Reason { code: ReasonCode::Late, channel: None },
                Reason { code: ReasonCode::GapFilled, channel: Some("pressure".into()) },
            ],
            ..bare()
        }
    }

    fn check(event: &ScoredEvent, expected: &str) {
        assert_eq!(String::from_utf8(serialize_event(OutputFormat::Json, event)).unwrap(), expected);
    }

    #[test]
    fn json_is_readable_and_leaves_out_what_is_empty() {
        check(
            &bare(),
            concat!(
                r#"{"id":"5f1c","series":"pump-7","#,
                r#""window_start":"2023-11-14T22:13:20.000Z","window_end":"2023-11-14T22:14:23.000Z","#,
                r#""deviation":null,"threshold":null,"score":null,"anomaly":false,"#,
                r#""model":"c0ffee","generation":2,"threshold_version":"q0.99 x1.2 of 512","#,
                r#""source":{"topic":"telemetry","partition":3,"first_offset":41,"last_offset":104}}"#
            ),
        );
    }

    #[test]
    fn json_shows_the_full_evidence() {
        check(
            &full(),
            concat!(
                r#"{"id":"5f1c","series":"pump-7","#,
                r#""window_start":"2023-11-14T22:13:20.000Z","window_end":"2023-11-14T22:14:23.000Z","#,
                r#""deviation":3.1,"threshold":1.55,"score":2.0,"anomaly":true,"#,
                r#""alarm":{"id":"a1","since":"2023-11-14T22:14:20.500Z","transition":"raised"},"#,
                r#""channels":[{"channel":"pressure","observed":0.1,"expected":2.5,"residual":0.1}],"#,
                r#""neighbors":[{"unit":17,"distance":0.25,"similarity":0.8,"weight":1.0,"#,
                r#""provenance":{"series":"pump-3","start":"1970-01-01T00:00:00.000Z","#,
                r#""end":"1970-01-01T00:01:03.000Z","source":"history.csv","#,
                r#""first_offset":0,"last_offset":63,"admitted":"prefill"}}],"#,
                r#""model":"c0ffee","generation":2,"threshold_version":"q0.99 x1.2 of 512","#,
                r#""source":{"topic":"telemetry","partition":3,"first_offset":41,"last_offset":104},"#,
                r#""reasons":[{"code":"late"},{"code":"gap_filled","channel":"pressure"}]}"#
            ),
        );
    }

    #[test]
    fn events_of_a_later_version_are_read_less_what_is_new() {
        let json = String::from_utf8(serialize_event(OutputFormat::Json, &full())).unwrap();
        let json = json.replacen('{', r#"{"new":[{"x":1}],"#, 1).replacen(r#""unit""#, r#""new":null,"unit""#, 1);
        assert_eq!(deserialize_event(OutputFormat::Json, json.as_bytes()).unwrap(), full());
        let mut protobuf = serialize_event(OutputFormat::Protobuf, &full());
        protobuf.extend([0xf8, 0x3f, 0x01]); // Field 1023, varint 1.
        assert_eq!(deserialize_event(OutputFormat::Protobuf, &protobuf).unwrap(), full());
    }

    #[test]
    fn a_number_that_is_not_finite_reads_back_as_nan() {
        let mut event = full();
        event.channels[0].observed = f64::INFINITY;
        event.channels[0].residual = f32::NAN;
        let read = deserialize_event(OutputFormat::Json, &serialize_event(OutputFormat::Json, &event)).unwrap();
        assert!(read.channels[0].observed.is_nan() && read.channels[0].residual.is_nan());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let refused = |format, bytes: &[u8]| deserialize_event(format, bytes).unwrap_err().to_string();
        assert!(refused(OutputFormat::Json, b"{}").contains("output.format"));
        assert!(refused(OutputFormat::Protobuf, b"\xff").contains("output.format"));
        assert!(refused(OutputFormat::Protobuf, b"").contains("field source of"));
        let json = String::from_utf8(serialize_event(OutputFormat::Json, &full())).unwrap();
        refused(OutputFormat::Json, json.replace("gap_filled", "bewitched").as_bytes());
        let mut protobuf = serialize_event(OutputFormat::Protobuf, &bare());
        protobuf.extend([0x82, 0x01, 0x02, 0x08, 0x63]); // Field 16: a reason with code 99.
        assert!(refused(OutputFormat::Protobuf, &protobuf).contains("reasons.code of jamais.v1.ScoredEvent is 99"));
    }

    fn time() -> impl Strategy<Value = EventTime> {
        prop_oneof![-62_135_596_800_000_i64..253_402_207_200_000, any::<i64>()].prop_map(EventTime::from_millis)
    }

    fn single() -> impl Strategy<Value = f32> {
        any::<f32>().prop_filter("finite", |value| value.is_finite())
    }

    fn double() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("finite", |value| value.is_finite())
    }

    prop_compose! {
        fn neighbor()(
            unit: u64,
            (distance, similarity, weight) in (single(), single(), single()),
            (series, source) in (".*", ".*"),
            (start, end) in (time(), time()),
            offsets: (i64, i64),
        ) -> NeighborEvidence {
            NeighborEvidence {
                unit: UnitId(unit),
                distance,
                similarity,
                weight,
                provenance: Provenance {
                    series: SeriesKey::new(&series),
                    start,
                    end,
                    source,
                    offsets,
                    admitted: Admission::Prefill,
                },
            }
        }
    }

    fn alarm() -> impl Strategy<Value = AlarmEvidence> {
        let transition = select(vec![Transition::Raised, Transition::Held, Transition::Cleared]);
        (".*", time(), transition).prop_map(|(id, since, transition)| AlarmEvidence { id, since, transition })
    }

    fn channel() -> impl Strategy<Value = ChannelEvidence> {
        (".*", double(), double(), single()).prop_map(|(channel, observed, expected, residual)| ChannelEvidence {
            channel: channel.into(),
            observed,
            expected,
            residual,
        })
    }

    fn reason() -> impl Strategy<Value = Reason> {
        let code = select(vec![
            ReasonCode::WarmingUp,
            ReasonCode::GapFilled,
            ReasonCode::Late,
            ReasonCode::SensorFault,
            ReasonCode::ChannelMissing,
            ReasonCode::UnknownRegime,
        ]);
        (code, option::of(".*")).prop_map(|(code, channel)| Reason { code, channel: channel.map(Into::into) })
    }

    prop_compose! {
        fn event()(
            (id, series, model, threshold_version, topic) in (".*", ".*", ".*", ".*", ".*"),
            (window_start, window_end) in (time(), time()),
            (deviation, threshold, score) in (option::of(single()), option::of(single()), option::of(single())),
            anomaly: bool,
            alarm in option::of(alarm()),
            channels in vec(channel(), 0..4),
            neighbors in vec(neighbor(), 0..4),
            reasons in vec(reason(), 0..4),
            (generation, partition, first_offset, last_offset) in any::<(u64, i32, i64, i64)>(),
        ) -> ScoredEvent {
            ScoredEvent {
                id,
                series: SeriesKey::new(&series),
                window_start,
                window_end,
                deviation,
                threshold,
                score,
                anomaly,
                alarm,
                channels,
                neighbors,
                model: model.into(),
                generation,
                threshold_version: threshold_version.into(),
                source: SourceRange { topic: topic.into(), partition, first_offset, last_offset },
                reasons,
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_reads_back_equal(event in event()) {
            for format in FORMATS {
                let bytes = serialize_event(format, &event);
                prop_assert_eq!(&deserialize_event(format, &bytes).unwrap(), &event);
            }
        }

        #[test]
        fn no_bytes_make_reading_an_event_panic(
            bytes in vec(any::<u8>(), 0..200),
            event in event(),
            (at, byte) in any::<(proptest::sample::Index, u8)>(),
        ) {
            for format in FORMATS {
                let _ = deserialize_event(format, &bytes);
                let mut damaged = serialize_event(format, &event);
                let at = at.index(damaged.len());
                damaged[at] = byte;
                let _ = deserialize_event(format, &damaged);
            }
        }
    }
}
