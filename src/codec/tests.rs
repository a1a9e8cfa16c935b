//! Records in, readings or faults out.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::domain::record::Position;

const TIMESTAMP: EventTime = EventTime::from_millis(1_700_000_000_000);

/// Wide JSON with the series in the key; `adjust` changes what a test is about.
fn settings(adjust: impl FnOnce(&mut InputSettings)) -> InputSettings {
    let mut settings = InputSettings {
        format: Format::Json,
        shape: Shape::Wide,
        series: SeriesFrom::Key,
        time_field: "ts".to_owned(),
        time_format: TimeFormat::Auto,
        channels_field: None,
        channel_field: "tag".to_owned(),
        value_field: "value".to_owned(),
        unknown_channels: UnknownChannels::DeadLetter,
        bytes_max: 1000,
        ahead_max: Duration::from_secs(60),
        time_min: EventTime::from_millis(946_684_800_000),
        time_max: EventTime::from_millis(4_102_444_800_000),
    };
    adjust(&mut settings);
    settings
}

fn wide(_: &mut InputSettings) {}

fn nested(settings: &mut InputSettings) {
    settings.channels_field = Some("values".to_owned());
}

fn narrow(settings: &mut InputSettings) {
    settings.shape = Shape::Narrow;
}

fn keyless(settings: &mut InputSettings) {
    settings.series = SeriesFrom::Fields(vec!["site".to_owned(), "pump".to_owned()]);
}

fn protobuf(settings: &mut InputSettings) {
    settings.format = Format::Protobuf;
}

fn narrow_protobuf(settings: &mut InputSettings) {
    settings.format = Format::Protobuf;
    settings.shape = Shape::Narrow;
}

fn record(value: impl Into<Vec<u8>>) -> Record {
    Record {
        position: Position { topic: "telemetry".into(), partition: 3, offset: 88_120 },
        key: Some(b"pump-7".to_vec()),
        timestamp: Some(TIMESTAMP),
        payload: Payload::Serialized(value.into()),
    }
}

fn decode(adjust: impl FnOnce(&mut InputSettings), record: &Record) -> Result<Decoded, DecodeError> {
    Decoder::new(settings(adjust), ["flow", "pressure", "valve"]).decode(record)
}

/// A reading in a short notation: `series time channel=value ... (+unknown)`, or the fault's kind and message.
fn shown(decoded: Result<Decoded, DecodeError>) -> String {
    match decoded {
        Ok(Decoded { reading, unknown_channels }) => {
            let mut shown = format!("{} {}", reading.series, reading.time.millis());
            shown.extend(reading.values.iter().map(|(channel, value)| format!(" {channel}={value}")));
            if unknown_channels > 0 {
                shown += &format!(" (+{unknown_channels})");
            }
            shown
        }
        Err(error) => format!("{}: {error}", error.kind()),
    }
}

fn check(adjust: impl FnOnce(&mut InputSettings), value: impl Into<Vec<u8>>, expected: &str) {
    assert_eq!(shown(decode(adjust, &record(value))), expected);
}

/// `expected` begins with the kind; each of `parts` is in the message.
fn check_fault(adjust: impl FnOnce(&mut InputSettings), record: &Record, kind: &str, parts: &[&str]) {
    let shown = shown(decode(adjust, record));
    assert!(shown.starts_with(&format!("{kind}: ")), "{kind} expected: {shown}");
    for part in parts {
        assert!(shown.contains(part), "{part:?} expected: {shown}");
    }
}

/// A fault of a value.
fn refuse(adjust: impl FnOnce(&mut InputSettings), value: impl Into<Vec<u8>>, kind: &str, parts: &[&str]) {
    check_fault(adjust, &record(value), kind, parts);
}

#[test]
fn wide_json_takes_the_known_channels_and_skips_the_rest() {
    check(
        wide,
        r#"{"ts":"2023-11-14T22:13:20Z","pressure":2.5,"flow":-1,"site":"north","x":{"flow":[1,{}]},"y":[1,[2]]}"#,
        "pump-7 1700000000000 1=2.5 0=-1",
    );
    check(nested, r#"{"values":{"flow":1e3},"ts":1700000000,"flow":"?"}"#, "pump-7 1700000000000 0=1000");
}

#[test]
fn narrow_json_takes_one_channel() {
    check(narrow, r#"{"tag":"valve","value":true,"ts":1700000000123,"flow":{}}"#, "pump-7 1700000000123 2=1");
}

#[test]
fn a_failed_sensor_is_a_value_however_it_is_written() {
    let ts = r#""ts":1700000000"#;
    for nan in ["null", "\"NaN\"", "\"nan\""] {
        check(wide, format!("{{{ts},\"flow\":{nan}}}"), "pump-7 1700000000000 0=NaN");
    }
    for infinity in ["Infinity", "inf", "+INF"] {
        check(wide, format!("{{{ts},\"flow\":\"{infinity}\"}}"), "pump-7 1700000000000 0=inf");
        let negative = infinity.replace('+', "");
        check(wide, format!("{{{ts},\"flow\":\"-{negative}\"}}"), "pump-7 1700000000000 0=-inf");
    }
    check(
        wide,
        format!("{{{ts},\"flow\":false,\"valve\":18446744073709551615}}"),
        "pump-7 1700000000000 0=0 2=18446744073709552000",
    );
}

#[test]
fn a_field_given_twice_counts_last() {
    check(wide, r#"{"ts":5,"flow":1,"ts":1700000000,"flow":2}"#, "pump-7 1700000000000 0=1 0=2");
}

#[test]
fn names_with_escapes_are_the_names_they_stand_for() {
    check(wide, r#"{"\u0074s":1700000000,"fl\u006fw":1}"#, "pump-7 1700000000000 0=1");
}

#[test]
fn the_series_is_made_of_the_fields_that_name_it() {
    check(keyless, r#"{"pump":7,"ts":1700000000,"site":"north","flow":1}"#, "north/7 1700000000000 0=1");
    let mut record = record(r#"{"pump":7,"ts":1700000000,"site":"north","flow":1}"#);
    record.key = None;
    assert_eq!(shown(decode(keyless, &record)), "north/7 1700000000000 0=1");
}

#[test]
fn a_series_that_cannot_be_named_is_a_fault() {
    let good = r#"{"ts":1700000000,"flow":1}"#;
    let with_key = |key: Option<&[u8]>| Record { key: key.map(<[u8]>::to_vec), ..record(good) };
    check_fault(wide, &with_key(None), "no_key", &["input.series"]);
    check_fault(wide, &with_key(Some(b"ab\xff")), "key_not_utf8", &["byte 2", "input.series"]);
    check_fault(wide, &with_key(Some(b"")), "empty_series", &["key is empty", "input.series"]);
    refuse(keyless, good, "missing_field", &["\"site\"", "input.series"]);
    refuse(keyless, r#"{"site":null,"pump":1}"#, "wrong_type", &["\"site\"", "null", "a text", "input.series"]);
    refuse(keyless, r#"{"site":"a","pump":""}"#, "empty_series", &["\"pump\"", "input.series"]);
}

#[test]
fn a_record_beyond_the_bound_is_not_even_read() {
    let bytes = |count: usize| format!("{{\"ts\":1700000000,\"flow\":1{}}}", " ".repeat(count - 26 - 6));
    check(wide, bytes(1000), "pump-7 1700000000000 0=1");
    refuse(wide, bytes(1001), "too_large", &["1001 bytes", "input.bytes_max is 1000"]);
}

#[test]
fn what_is_not_json_is_malformed() {
    refuse(wide, "", "malformed", &["EOF", "line 1, column 0", "input.format"]);
    refuse(wide, "{\"ts\":1,\n\"flow\":NaN}", "malformed", &["line 2, column 8"]);
    refuse(wide, r#"{"ts":1,"flow":-Infinity}"#, "malformed", &[]);
    refuse(wide, r#"{"ts":1} {"ts":2}"#, "malformed", &["trailing", "line 1, column 10"]);
    refuse(wide, b"{\"ts\":\"\xff\"}".as_slice(), "malformed", &[]);
    refuse(wide, r#"{"flow":"?","pressure":}"#, "malformed", &["column 24"]);
    refuse(wide, "[".repeat(900), "malformed", &[]);
    refuse(wide, r#"[{"ts":1}]"#, "not_an_object", &["an array", "one object a record"]);
    refuse(wide, "17", "not_an_object", &["the number 17"]);
}

#[test]
fn a_missing_field_is_named_with_its_setting() {
    refuse(wide, r#"{"flow":1}"#, "missing_field", &["\"ts\"", "input.time_field"]);
    refuse(nested, r#"{"ts":1700000000,"flow":1}"#, "missing_field", &["\"values\"", "input.channels_field"]);
    refuse(narrow, r#"{"ts":1700000000,"value":1}"#, "missing_field", &["\"tag\"", "input.channel_field"]);
    refuse(narrow, r#"{"ts":1700000000,"tag":"flow"}"#, "missing_field", &["\"value\"", "input.value_field"]);
}

#[test]
fn a_wrong_type_is_named_with_what_was_found() {
    refuse(wide, r#"{"ts":1700000000,"flow":"12.5"}"#, "wrong_type", &["\"flow\"", "the text \"12.5\"", "a number"]);
    refuse(wide, r#"{"ts":1700000000,"flow":{"v":1}}"#, "wrong_type", &["an object"]);
    refuse(wide, r#"{"ts":[1],"flow":1}"#, "wrong_type", &["\"ts\"", "an array", "input.time_field"]);
    refuse(nested, r#"{"ts":1700000000,"values":[1]}"#, "wrong_type", &["\"values\"", "an array"]);
    refuse(nested, r#"{"ts":1700000000,"values":{"flow":"on"}}"#, "wrong_type", &["\"flow\"", "\"on\""]);
    refuse(narrow, r#"{"ts":1700000000,"tag":"flow","value":"1"}"#, "wrong_type", &["\"value\"", "input.value_field"]);
    refuse(narrow, r#"{"ts":1700000000,"tag":true,"value":1}"#, "wrong_type", &["\"tag\"", "true"]);
    let long = format!("{{\"ts\":1700000000,\"flow\":\"{}\"}}", "é".repeat(400));
    refuse(wide, long, "wrong_type", &[&format!("\"{}\"...", "é".repeat(40))]);
}

#[test]
fn a_time_that_cannot_be_read_is_named_with_its_format() {
    let bad = ["\"ts\"", "input.time_format"];
    refuse(
        wide,
        r#"{"ts":"yesterday","flow":1}"#,
        "bad_time",
        &[&bad[..], &["holds \"yesterday\"", "\"auto\""]].concat(),
    );
    refuse(wide, r#"{"ts":18446744073709551615,"flow":1}"#, "bad_time", &bad);
    let text_only = |settings: &mut InputSettings| settings.time_format = TimeFormat::Rfc3339;
    refuse(text_only, r#"{"ts":1700000000,"flow":1}"#, "bad_time", &["the number 1700000000", "\"rfc3339\""]);
}

#[test]
fn a_time_far_from_the_log_s_own_is_refused() {
    let at = |millis: i64| record(format!("{{\"ts\":{millis},\"flow\":1}}"));
    let ms = |settings: &mut InputSettings| settings.time_format = TimeFormat::UnixMillis;
    let ok = |millis: i64| assert!(decode(ms, &at(millis)).is_ok(), "{millis}");
    ok(946_684_800_000);
    check_fault(ms, &at(946_684_799_999), "time_too_early", &["1999-12-31T23:59:59.999Z", "input.time_min"]);
    ok(1_700_000_060_000);
    check_fault(ms, &at(1_700_000_060_001), "time_too_far_ahead", &["60s", "input.time_ahead_max"]);
    let timeless = |millis: i64| Record { timestamp: None, ..at(millis) };
    assert!(decode(ms, &timeless(1_700_000_060_001)).is_ok(), "without a timestamp there is nothing to be ahead of");
    assert!(decode(ms, &timeless(4_102_444_799_999)).is_ok());
    let bound = ["2100-01-01T00:00:00Z", "input.time_max"];
    check_fault(ms, &timeless(4_102_444_800_000), "time_too_late", &bound);
}

#[test]
fn a_series_name_that_no_machine_has_is_refused() {
    let keyed = |bytes: usize| Record { key: Some(vec![b'x'; bytes]), ..record("{\"ts\":1700000000,\"flow\":1}") };
    let roomy = |settings: &mut InputSettings| settings.bytes_max = 10_000;
    assert!(decode(roomy, &keyed(SERIES_BYTES_MAX)).is_ok());
    check_fault(roomy, &keyed(SERIES_BYTES_MAX + 1), "series_too_long", &["1025", "1024", "\"xxx"]);
}

#[test]
fn a_field_that_plays_no_part_is_no_reason_to_refuse_a_record() {
    for other in [b"\"caf\xe9\"".as_slice(), b"\"\\ud800\"", b"1e999", b"{\"deep\":[1]}"] {
        let value = [b"{\"ts\":1700000000,\"flow\":1,\"note\":", other, b"}"].concat();
        assert_eq!(decode(wide, &record(value)).unwrap().unknown_channels, 0, "{other:?}");
    }
}

#[test]
fn a_row_of_a_file_has_its_time_checked() {
    let row = |millis: i64, timestamp: Option<EventTime>| {
        let reading =
            Reading { series: SeriesKey::new("a"), time: EventTime::from_millis(millis), values: vec![(1, f64::NAN)] };
        Record { payload: Payload::Reading(reading), timestamp, ..record("") }
    };
    assert_eq!(shown(decode(wide, &row(1_700_000_000_000, None))), "a 1700000000000 1=NaN");
    check_fault(wide, &row(0, None), "time_too_early", &[]);
    check_fault(wide, &row(1_800_000_000_000, Some(TIMESTAMP)), "time_too_far_ahead", &[]);
    check_fault(wide, &row(i64::MAX, Some(EventTime::from_millis(i64::MAX))), "bad_time", &[]);
}

#[test]
fn an_unknown_channel_is_refused_or_counted() {
    let ignore = |settings: &mut InputSettings| settings.unknown_channels = UnknownChannels::Ignore;
    let value = r#"{"ts":1700000000,"values":{"presure":1,"flow":2,"temp":[3]}}"#;
    refuse(
        nested,
        value,
        "unknown_channel",
        &["\"presure\"", "\"flow\", \"pressure\", \"valve\";", "input.unknown_channels"],
    );
    check(
        |settings| {
            nested(settings);
            ignore(settings)
        },
        value,
        "pump-7 1700000000000 0=2 (+2)",
    );
    let value = r#"{"ts":1700000000,"tag":"temp","value":{}}"#;
    refuse(narrow, value, "unknown_channel", &["\"temp\""]);
    check(
        |settings| {
            narrow(settings);
            ignore(settings)
        },
        value,
        "pump-7 1700000000000 (+1)",
    );
    let value = r#"{"ts":1700000000,"values":{"temp":1}}"#;
    refuse(
        |settings| {
            nested(settings);
            ignore(settings)
        },
        value,
        "no_known_channel",
        &["input.channels_field"],
    );
    refuse(wide, r#"{"ts":1700000000,"temp":1}"#, "no_known_channel", &["\"flow\""]);
}

#[test]
fn a_message_names_only_some_of_many_channels() {
    let channels: Vec<_> = (0..50).map(|index| format!("c{index}")).collect();
    let error = Decoder::new(settings(wide), channels).decode(&record(r#"{"ts":1700000000}"#)).unwrap_err();
    assert!(error.to_string().contains("\"c7\" and 42 more;"), "{error}");
}

fn wide_message() -> wire::WideRecord {
    let values = [("flow", 1.5), ("pressure", f64::NAN), ("valve", 0.0)];
    wire::WideRecord {
        series: "pump-8".to_owned(),
        event_time_ms: Some(1_700_000_000_123),
        values: values.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

fn narrow_message() -> wire::NarrowRecord {
    wire::NarrowRecord {
        series: "pump-8".to_owned(),
        event_time_ms: Some(1_700_000_000_000),
        channel: "valve".to_owned(),
        value: Some(0.0),
    }
}

#[test]
fn protobuf_is_read_in_either_shape() {
    let series = |settings: &mut InputSettings| settings.series = SeriesFrom::Fields(vec!["series".to_owned()]);
    check(protobuf, wide_message().encode_to_vec(), "pump-7 1700000000123 0=1.5 1=NaN 2=0");
    check(narrow_protobuf, narrow_message().encode_to_vec(), "pump-7 1700000000000 2=0");
    check(
        |s| {
            protobuf(s);
            series(s)
        },
        wide_message().encode_to_vec(),
        "pump-8 1700000000123 0=1.5 1=NaN 2=0",
    );
    let unnamed = wire::NarrowRecord { series: String::new(), ..narrow_message() };
    refuse(
        |s| {
            narrow_protobuf(s);
            series(s)
        },
        unnamed.encode_to_vec(),
        "empty_series",
        &["\"series\""],
    );
}

#[test]
fn bad_protobuf_is_a_fault() {
    refuse(protobuf, b"\xff".as_slice(), "malformed", &["jamais.v1.WideRecord", "input.format"]);
    refuse(protobuf, r#"{"ts":1700000000,"flow":1}"#, "malformed", &[]);
    refuse(protobuf, "", "missing_field", &["\"event_time_ms\"", "input.shape"]);
    refuse(narrow_protobuf, "", "missing_field", &["\"channel\"", "input.shape"]);
    let no_value = wire::NarrowRecord { value: None, ..narrow_message() };
    refuse(narrow_protobuf, no_value.encode_to_vec(), "missing_field", &["\"value\""]);
    let no_values = wire::WideRecord { values: [].into(), ..wide_message() };
    refuse(protobuf, no_values.encode_to_vec(), "no_known_channel", &[]);
    let off_calendar = wire::WideRecord { event_time_ms: Some(i64::MAX), ..wide_message() };
    refuse(protobuf, off_calendar.encode_to_vec(), "bad_time", &["\"event_time_ms\"", "\"unix_ms\""]);
    let unknown = wire::NarrowRecord { channel: "temp".to_owned(), ..narrow_message() };
    refuse(narrow_protobuf, unknown.encode_to_vec(), "unknown_channel", &["\"temp\""]);
}

fn adjusts() -> Vec<fn(&mut InputSettings)> {
    vec![wide, nested, narrow, keyless, protobuf, narrow_protobuf]
}

proptest! {
    #[test]
    fn wide_records_read_back_equal(
        values in proptest::collection::btree_map("flow|pressure|valve", any::<f64>(), 1..=3),
        millis in 946_684_800_000_i64..1_700_000_060_000,
        series in "[^\u{0}]{1,20}",
    ) {
        let indices = ["flow", "pressure", "valve"];
        let expected: Vec<_> = values
            .iter()
            .map(|(name, value)| (indices.iter().position(|known| known == name).unwrap(), *value))
            .collect();
        let members: Vec<_> = values.iter().map(|(name, value)| format!("\"{name}\":{value:?}")).collect();
        let json = format!("{{\"ts\":{millis},{}}}", members.join(","));
        let message = wire::WideRecord { series: String::new(), event_time_ms: Some(millis), values: values.clone() };
        let finite = values.values().all(|value| value.is_finite());
        let json = finite.then(|| (wide as fn(&mut InputSettings), json.into_bytes()));
        for (adjust, bytes) in json.into_iter().chain([(protobuf as _, message.encode_to_vec())]) {
            let record = Record { key: Some(series.clone().into_bytes()), ..record(bytes) };
            let reading = decode(adjust, &record).unwrap().reading;
            prop_assert_eq!(reading.values.len(), expected.len());
            for (read, expected) in reading.values.iter().zip(&expected) {
                let same = read.1 == expected.1 || read.1.is_nan() && expected.1.is_nan();
                prop_assert!(read.0 == expected.0 && same, "{read:?} for {expected:?}");
            }
            prop_assert_eq!(reading.time.millis(), millis);
            prop_assert_eq!(reading.series.as_str(), &series);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        timestamp in proptest::option::of(any::<i64>().prop_map(EventTime::from_millis)),
    ) {
        for adjust in adjusts() {
            let record = Record { key: key.clone(), timestamp, ..record(bytes.clone()) };
            let _ = shown(decode(adjust, &record));
        }
    }

    #[test]
    fn no_json_makes_it_panic(
        members in proptest::collection::vec(
            (
                "ts|flow|values|tag|value|site|pump|x",
                r#"-?[0-9]{1,20}(\.[0-9]{1,3})?(e[0-9]{1,3})?|"[a-z0-9:. -]{0,20}"|null|true|NaN|\[1,\{\}\]|\{"flow":[0-9"]{1,2}\}"#,
            ),
            0..8,
        ),
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let json = format!("{{{}}}", members.join(","));
        for adjust in adjusts() {
            if let Err(error) = decode(adjust, &record(json.clone())) {
                prop_assert!(error.kind().chars().all(|character| character.is_ascii_lowercase() || character == '_'));
            }
        }
    }

    #[test]
    fn no_damaged_protobuf_makes_it_panic(at: proptest::sample::Index, byte: u8) {
        for (adjust, mut bytes) in [
            (protobuf as fn(&mut InputSettings), wide_message().encode_to_vec()),
            (narrow_protobuf, narrow_message().encode_to_vec()),
        ] {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = shown(decode(adjust, &record(bytes)));
        }
    }
}
