use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::builder::{Float64Builder, StringBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Date64Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray,
};

use super::*;
use crate::domain::record::Position;

const SKAB: &str = "\
datetime;Accelerometer1RMS;Pressure;Volume Flow RateRMS;anomaly;changepoint\r
2020-03-09 10:34:33;0.0270797;0.054711;32.0;0.0;0.0\r
2020-03-09 10:34:34;0.026995;-0.27;32.5;1.0;0.0\r
";

/// Reads one file of this name and content as a source does, for channels `a` and `b`.
fn check(name: &str, content: &str, input: &InputSettings, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, name, content);
    for max in [1, 2, 1000] {
        let mut source = FileSource::new(std::slice::from_ref(&path), &names(&["a", "b"]), input).unwrap();
        let trace = drain(&mut source, folder.path(), max);
        assert_eq!(trace.first().map(String::as_str), Some("assigned"));
        assert_eq!(trace.last().map(String::as_str), Some("revoked"));
        assert_eq!(&trace[1..trace.len() - 1], expected, "max {max}");
        assert_eq!(source.read_bytes(), content.len() as u64);
        assert_eq!(source.total_bytes(), content.len() as u64);
    }
}

fn error(name: &str, content: impl AsRef<[u8]>, channels: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, name, content);
    let error = FileSource::new(&[path], &names(channels), &input()).err().expect("an error").to_string();
    error.replace(folder.path().to_str().unwrap(), "")
}

#[test]
fn every_delimiter_is_detected_and_a_byte_order_mark_is_not_part_of_a_name() {
    for delimiter in [",", ";", "\t", "|"] {
        for begin in ["", "\u{feff}", "\n \n"] {
            let content = format!("{begin}time; a ;b;note\n1;1.5;-2;x y\n2;3;;\n").replace(';', delimiter);
            check(
                "pump.csv",
                &content,
                &input(),
                &["pump.csv@0 pump 1000 [(0, 1.5), (1, -2.0)]", "pump.csv@1 pump 2000 [(0, 3.0)]"],
            );
        }
    }
}

#[test]
fn channels_come_in_the_models_order_and_other_columns_are_ignored() {
    check("pump.tsv", "b\tx\ta\ttime\n1\tzzz\t2\t5\n", &input(), &["pump.tsv@0 pump 5000 [(0, 2.0), (1, 1.0)]"]);
}

#[test]
fn nan_is_what_a_sensor_sent_and_an_empty_cell_is_no_observation() {
    check(
        "p.csv",
        "time,a,b\n1,NaN,\n2,NA,-inf\n3,,\n",
        &input(),
        &["p.csv@0 p 1000 [(0, NaN)]", "p.csv@1 p 2000 [(0, NaN), (1, -inf)]", "p.csv@2 p 3000 []"],
    );
}

#[test]
fn a_bad_row_is_handed_on_with_its_text_and_its_line_and_the_next_one_is_read() {
    check(
        "p.csv",
        "time,a,b\n1,x,2\n\n2,1\n3,1,2,3\nsoon,1,2\n4,1,2\n5,\"1,5\",2\n",
        &input(),
        &[
            "p.csv@0 \"1,x,2\": line 2 of /p.csv: column \"a\" holds \"x\", which is no number; mend the cell, or leave the \
         column out",
            "p.csv@1 \"2,1\": line 4 of /p.csv: 2 cells under 3 column names; mend or remove the row",
            "p.csv@2 \"3,1,2,3\": line 5 of /p.csv: 4 cells under 3 column names; mend or remove the row",
            "p.csv@3 \"soon,1,2\": line 6 of /p.csv: column \"time\": \"soon\" is no time in the format \"auto\"; correct \
         input.time_format, or the row",
            "p.csv@4 p 4000 [(0, 1.0), (1, 2.0)]",
            "p.csv@5 \"5,\\\"1,5\\\",2\": line 8 of /p.csv: column \"a\" holds \"1,5\", which is no number; write it with a \
         decimal point, 1.5",
        ],
    );
}

#[test]
fn a_quoted_cell_may_hold_delimiters_quotes_and_line_ends() {
    check(
        "p.csv",
        "time,a,\"b\",note\n1,\"1\",2,\"x,\"\"y\"\"\n\nz\"\n2,3,4,5\" pipe\n3,x,4,\n",
        &input(),
        &[
            "p.csv@0 p 1000 [(0, 1.0), (1, 2.0)]",
            "p.csv@1 p 2000 [(0, 3.0), (1, 4.0)]",
            "p.csv@2 \"3,x,4,\": line 6 of /p.csv: column \"a\" holds \"x\", which is no number; mend the cell, or leave the \
         column out",
        ],
    );
}

#[test]
fn a_quote_that_is_never_closed_costs_its_own_line_only() {
    let fault = "a quote is opened and never closed; close or remove it";
    let bad = format!("p.csv@0 \"1,\\\"1,2\": line 2 of /p.csv: {fault}");
    check(
        "p.csv",
        "time,a,b\n1,\"1,2\n2,1,2\n3,1,2",
        &input(),
        &[&bad, "p.csv@1 p 2000 [(0, 1.0), (1, 2.0)]", "p.csv@2 p 3000 [(0, 1.0), (1, 2.0)]"],
    );
    // Also where the file goes on for longer than a row may.
    let rows: Vec<String> = (2..200).map(|row| format!("{row},1,2")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "p.csv", format!("time,a,b\n1,\"1,2\n{}", rows.join("\n")));
    let mut source = FileSource::new(&[path], &names(&["a", "b"]), &input()).unwrap();
    let trace = drain(&mut source, folder.path(), 1000);
    assert_eq!(trace[1], bad);
    assert_eq!(trace[2], "p.csv@1 p 2000 [(0, 1.0), (1, 2.0)]");
    assert_eq!(trace.len(), 1 + 199 + 1);
}

#[test]
fn a_line_that_is_too_long_is_never_held_whole() {
    let mut input = input();
    input.bytes_max = 1000;
    let (long, shown) = ("9".repeat(5000), "9".repeat(252));
    let csv = format!("time,a,b\n1,1,{long}\n2,1,2\n");
    let fault = "longer than 1000 bytes, only its beginning is kept; split it, or raise input.bytes_max";
    check(
        "p.csv",
        &csv,
        &input,
        &[&format!("p.csv@0 \"1,1,{shown}\": line 2 of /p.csv: {fault}"), "p.csv@1 p 2000 [(0, 1.0), (1, 2.0)]"],
    );
    let json = format!("{{}}\n{{\"{long}\n{{}}");
    let shown = "9".repeat(254);
    check(
        "p.jsonl",
        &json,
        &input,
        &["p.jsonl@0 p {}", &format!("p.jsonl@1 \"{{\\\"{shown}\": line 2 of /p.jsonl: {fault}"), "p.jsonl@2 p {}"],
    );
}

#[test]
fn columns_can_name_the_series() {
    let mut input = input();
    input.series = SeriesFrom::Fields(names(&["plant", "unit"]));
    check(
        "p.csv",
        "time,unit,plant,a,b\n1, 7 ,north,1,2\n2,,north,1,2\n",
        &input,
        &[
            "p.csv@0 north/7 1000 [(0, 1.0), (1, 2.0)]",
            "p.csv@1 \"2,,north,1,2\": line 3 of /p.csv: column \"unit\" is empty and so names no series; fill it, or correct \
         input.series",
        ],
    );
}

#[test]
fn json_lines_are_left_to_the_codec_and_blank_ones_count_as_rows() {
    check(
        "p.jsonl",
        "\u{feff}{\"a\":1}\r\n\n  \n{\"a\":2}",
        &input(),
        &["p.jsonl@0 p {\"a\":1}", "p.jsonl@3 p {\"a\":2}"],
    );
    let mut input = input();
    input.series = SeriesFrom::Fields(names(&["unit"]));
    check("p.ndjson", "{\"a\":1}\n", &input, &["p.ndjson@0  {\"a\":1}"]);
}

#[test]
fn a_json_array_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "p.json", "[{\"a\":1},\n{\"a\":2}]");
    let mut source = FileSource::new(&[path], &[], &input()).unwrap();
    let Polled::Assigned(partitions) = source.poll(9, Duration::ZERO).unwrap() else { panic!("not assigned") };
    source.begin(&[(partitions[0].clone(), None)]).unwrap();
    let error = source.poll(9, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("p.json is a JSON array"), "{error}");
}

#[test]
fn a_file_that_lacks_columns_is_refused_with_everything_that_is_missing() {
    assert_eq!(
        error("p.csv", SKAB, &["Pressure", "Current", "Voltage"]),
        "/p.csv lacks the column(s) \"Current\", \"Voltage\"; it has \"datetime\", \"Accelerometer1RMS\", \"Pressure\", \
         \"Volume Flow RateRMS\", \"anomaly\", \"changepoint\"; rename its columns, or name them in the settings"
    );
    assert!(error("p.csv", "when,a\n1,2\n", &["a"]).starts_with("/p.csv lacks a time column, any of \"time\", "));
    assert!(error("p.csv", "time,a,a\n1,2,3\n", &["a"]).contains("two columns named \"a\""));
}

#[test]
fn a_file_without_a_usable_header_is_refused() {
    assert!(error("p.csv", "", &["a"]).contains("it is empty"));
    assert!(error("p.csv", "\n\n", &["a"]).contains("it is empty"));
    assert!(error("p.csv", b"\xff\xfet\0i\0m\0e\0", &["a"]).contains("UTF-16"));
    assert!(error("p.csv", b"time,temp \xb0C\n", &["a"]).contains("not UTF-8"));
    assert!(error("p.csv", vec![b'x'; 2 << 20], &["a"]).contains("is it text at all"));
    assert!(error("p.parquet", "time,a\n", &["a"]).contains("cannot read /p.parquet as Parquet"));
    assert!(error("p.xlsx", "", &["a"]).contains("name it *.csv"));
}

#[test]
fn files_come_one_after_another_and_those_of_one_name_are_told_apart_by_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let one = "time,a\n1,1\n";
    let paths = [file(&folder, "north/0.csv", one), file(&folder, "south/0.csv", one), file(&folder, "x/1.csv", one)];
    let mut source = FileSource::new(&paths, &names(&["a"]), &input()).unwrap();
    assert_eq!(
        drain(&mut source, folder.path(), 10),
        [
            "assigned",
            "north/0.csv@0 north/0 1000 [(0, 1.0)]",
            "revoked",
            "assigned",
            "south/0.csv@0 south/0 1000 [(0, 1.0)]",
            "revoked",
            "assigned",
            "x/1.csv@0 1 1000 [(0, 1.0)]",
            "revoked",
        ]
    );
    assert!(matches!(source.poll(1, Duration::ZERO).unwrap(), Polled::End));
}

#[test]
fn a_folder_stands_for_its_files_of_known_extensions() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.csv", "a.jsonl", "readme.md", ".hidden.csv", "inner/c.csv"] {
        file(&folder, name, "");
    }
    fs::create_dir(folder.path().join("empty")).unwrap();
    let root = folder.path().to_owned();
    assert_eq!(expand(std::slice::from_ref(&root)).unwrap(), [root.join("a.jsonl"), root.join("b.csv")]);
    let inner = root.join("inner/c.csv");
    assert_eq!(expand(&[inner.clone(), root.join("b.csv")]).unwrap(), [inner, root.join("b.csv")]);
    let expect = |paths: &[PathBuf], part: &str| {
        let error = expand(paths).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    expect(&[root.join("empty")], "holds no file named");
    expect(&[root.join("none.csv")], "none.csv: no such file or folder");
    expect(&[root.join("readme.md")], "no extension that says how to read it");
    expect(&[root.clone(), root.join("./b.csv")], "was given twice");
}

#[test]
fn reading_can_begin_at_any_row_and_no_further_than_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let values: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]));
    let parquet = parquet_file(&folder, "p.parquet", vec![("time", times), ("a", values)]);
    let json = "{\"time\":1,\"a\":1}\n\n{\"time\":3,\"a\":3}\n";
    for path in [file(&folder, "p.csv", "time,a\n1,1\nbad\n\n3,3\n"), file(&folder, "p.jsonl", json), parquet] {
        let topic: Arc<str> = path.to_str().unwrap().into();
        let from = |offset: i64| Position { topic: topic.clone(), partition: 0, offset: offset - 1 }.next();
        let begun_at = |offset: i64| {
            let mut source = FileSource::new(std::slice::from_ref(&path), &names(&["a"]), &input()).unwrap();
            assert!(matches!(source.poll(1, Duration::ZERO).unwrap(), Polled::Assigned(_)));
            source.begin(&[((topic.clone(), 0), Some(from(offset)))]).map(|()| source)
        };
        let offsets = |offset: i64| -> Vec<i64> {
            let Polled::Records(records) = begun_at(offset).unwrap().poll(9, Duration::ZERO).unwrap() else {
                return Vec::new();
            };
            records.iter().map(|record| record.position.offset).collect()
        };
        assert_eq!(offsets(2), [2], "{topic}");
        assert_eq!(offsets(3), [0; 0], "{topic}");
        let error = begun_at(4).err().expect("an error").to_string();
        assert!(error.contains("has 3 rows, but is to be read from row 4 on"), "{error}");
    }
}

#[test]
fn nothing_is_read_before_begin_or_while_paused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "p.csv", "time,a\n1,1\n");
    let mut source = FileSource::new(&[path], &names(&["a"]), &input()).unwrap();
    let Polled::Assigned(partitions) = source.poll(9, Duration::ZERO).unwrap() else { panic!("not assigned") };
    let records = |source: &mut FileSource| match source.poll(9, Duration::ZERO).unwrap() {
        Polled::Records(records) => records.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(records(&mut source), 0);
    assert_eq!(source.committed(&partitions[0]).unwrap(), None);
    source.begin(&[(partitions[0].clone(), None)]).unwrap();
    source.set_paused(true).unwrap();
    assert_eq!(records(&mut source), 0);
    source.set_paused(false).unwrap();
    assert_eq!(records(&mut source), 1);
}

/// Writes columns into a Parquet file with row groups of two rows.
fn parquet_file(folder: &tempfile::TempDir, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let path = folder.path().join(name);
    let properties = ::parquet::file::properties::WriterProperties::builder();
    let properties = properties.set_max_row_group_row_count(Some(2)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

/// The times that a Parquet column gives, in milliseconds, or the fault.
fn check_times(column: impl Array + 'static, expected: &[Result<i64, &str>]) {
    let folder = tempfile::tempdir().unwrap();
    let values: ArrayRef = Arc::new(Float32Array::from(vec![1.0; column.len()]));
    let path = parquet_file(&folder, "p.parquet", vec![("Timestamp", Arc::new(column)), ("a", values)]);
    let mut source = FileSource::new(&[path], &names(&["a"]), &input()).unwrap();
    let trace = drain(&mut source, folder.path(), 10);
    assert_eq!(trace.len(), expected.len() + 2, "{trace:?}");
    for (row, (actual, expected)) in trace[1..].iter().zip(expected).enumerate() {
        match expected {
            Ok(time) => assert_eq!(*actual, format!("p.parquet@{row} p {time} [(0, 1.0)]")),
            Err(part) => assert!(actual.contains(part), "{actual}"),
        }
    }
}

#[test]
fn parquet_times_of_every_type_are_read() {
    let time = 1_583_750_073_123;
    let null = Err("row 2 of /p.parquet: column \"Timestamp\": null is no time");
    let expected = [Ok(time), null, Ok(-1)];
    check_times(TimestampMillisecondArray::from(vec![Some(time), None, Some(-1)]), &expected);
    let micros = vec![Some(time * 1000), None, Some(-1000)];
    check_times(TimestampMicrosecondArray::from(micros).with_timezone("+02:00"), &expected);
    let nanos = vec![Some(time * 1_000_000), None, Some(-1_000_000)];
    check_times(TimestampNanosecondArray::from(nanos).with_timezone("UTC"), &expected);
    check_times(TimestampSecondArray::from(vec![Some(1_583_750_073), None]), &[Ok(1_583_750_073_000), null]);
    check_times(Date32Array::from(vec![Some(18_330), None]), &[Ok(18_330 * 86_400_000), null]);
    check_times(Date64Array::from(vec![18_330 * 86_400_000]), &[Ok(18_330 * 86_400_000)]);
    check_times(
        Int64Array::from(vec![Some(time), None, Some(1_583_750_073)]),
        &[Ok(time), null, Ok(1_583_750_073_000)],
    );
    check_times(Int32Array::from(vec![1_583_750_073]), &[Ok(1_583_750_073_000)]);
    let text = "2020-03-09 10:34:33.123";
    let bad = Err("row 2 of /p.parquet: column \"Timestamp\": \"soon\" is no time");
    check_times(StringArray::from(vec![Some(text), Some("soon")]), &[Ok(time), bad]);
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    dictionary.append_value(text);
    check_times(dictionary.finish(), &[Ok(time)]);
    check_times(TimestampSecondArray::from(vec![i64::MAX]), &[Err("is no time")]);
}

#[test]
fn parquet_channels_are_any_numbers_and_booleans_and_null_is_no_observation() {
    let folder = tempfile::tempdir().unwrap();
    let mut floats = Float64Builder::new();
    floats.append_value(1.5);
    floats.append_null();
    floats.append_value(f64::NAN);
    let mut units = StringBuilder::new();
    units.append_value("u1");
    units.append_value("u2");
    units.append_null();
    let path = parquet_file(
        &folder,
        "p.parquet",
        vec![
            ("flag", Arc::new(BooleanArray::from(vec![true, false, true]))),
            ("time", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("unit", Arc::new(units.finish())),
            ("small", Arc::new(Int16Array::from(vec![-7, 8, 9]))),
            ("float", Arc::new(floats.finish())),
        ],
    );
    let mut input = input();
    let channels = names(&["float", "small", "flag"]);
    let mut source = FileSource::new(std::slice::from_ref(&path), &channels, &input).unwrap();
    assert_eq!(
        drain(&mut source, folder.path(), 10)[1..4],
        [
            "p.parquet@0 p 1000 [(0, 1.5), (1, -7.0), (2, 1.0)]",
            "p.parquet@1 p 2000 [(1, 8.0), (2, 0.0)]",
            "p.parquet@2 p 3000 [(0, NaN), (1, 9.0), (2, 1.0)]",
        ]
    );
    assert_eq!(infer_channels(&path, &input, &names(&["small"])).unwrap(), ["flag", "float"]);
    input.series = SeriesFrom::Fields(names(&["unit"]));
    let mut source = FileSource::new(std::slice::from_ref(&path), &names(&["small"]), &input).unwrap();
    assert_eq!(
        drain(&mut source, folder.path(), 10)[1..4],
        [
            "p.parquet@0 u1 1000 [(0, -7.0)]",
            "p.parquet@1 u2 2000 [(0, 8.0)]",
            "p.parquet@2 \"{\\\"small\\\":\\\"9\\\",\\\"time\\\":\\\"3\\\",\\\"unit\\\":null}\": row 3 of /p.parquet: column \
         \"unit\" is empty and so names no series; fill it, or correct input.series",
        ]
    );
    let error = FileSource::new(&[path], &names(&["unit"]), &input).err().expect("an error").to_string();
    assert!(error.contains("column \"unit\"") && error.contains("a number or a boolean is needed"), "{error}");
}

#[test]
fn a_table_holds_channels_and_labels_of_a_skab_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "1.csv", SKAB);
    let input = input();
    let labels = names(&["anomaly"]);
    let exclude = names(&["changepoint"]);
    let options = TableOptions { extra: &labels, exclude: &exclude, ..TableOptions::new(&input) };
    let table = read_table(&path, &options).unwrap();
    assert_eq!(table.channels, ["Accelerometer1RMS", "Pressure", "Volume Flow RateRMS"]);
    assert_eq!(
        table.times.iter().map(|time| time.millis()).collect::<Vec<_>>(),
        [1_583_750_073_000, 1_583_750_074_000]
    );
    assert_eq!(table.row(1), [0.026995, -0.27, 32.5]);
    assert_eq!(table.extra("anomaly"), Some(&[0.0, 1.0][..]));
    assert_eq!(table.series[0].as_str(), "1");
    assert_eq!((table.rows(), table.faults), (2, 0));
}

#[test]
fn a_table_leaves_bad_rows_out_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "p.csv", "time,a,text,,id\n1,1,x,4,\nx,2,,5,\n-5,2,,5,\n3,,y,6,\n");
    let input = input();
    let table = read_table(&path, &TableOptions::new(&input)).unwrap();
    assert_eq!(table.channels, ["a"]);
    assert_eq!(table.offsets, [0, 3]);
    assert_eq!(table.values[0], 1.0);
    assert!(table.values[1].is_nan());
    assert_eq!(table.faults, 2);
    assert!(table.first_faults[0].contains("line 3 of"), "{:?}", table.first_faults);
    assert!(table.first_faults[1].contains("row 3 of") && table.first_faults[1].contains("time_min"));
    let path = file(&folder, "q.csv", "time,a\nx,1\n");
    let channels = names(&["a"]);
    let options = TableOptions { channels: Some(&channels), ..TableOptions::new(&input) };
    let error = read_table(&path, &options).unwrap_err().to_string();
    assert!(error.contains("no row of") && error.contains("(1 tried); the first: line 2 of"), "{error}");
}

#[test]
fn a_table_of_json_lines_needs_channel_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "p.jsonl", "{\"time\":1,\"a\":1,\"y\":0}\n{\"time\":2,\"y\":1}\n");
    let mut input = input();
    input.time_field = "time".to_owned();
    let (channels, extra) = (names(&["a"]), names(&["y"]));
    let options = TableOptions { channels: Some(&channels), extra: &extra, ..TableOptions::new(&input) };
    let table = read_table(&path, &options).unwrap();
    assert_eq!(table.values[0], 1.0);
    assert!(table.values[1].is_nan());
    assert_eq!(table.extra("y"), Some(&[0.0, 1.0][..]));
    assert_eq!(table.series[0].as_str(), "p");
    let error = read_table(&path, &TableOptions::new(&input)).unwrap_err().to_string();
    assert!(error.contains("cannot be inferred"), "{error}");
}

#[test]
fn damaged_parquet_is_an_error_whatever_was_damaged() {
    use ::parquet::basic::Encoding;
    use ::parquet::file::properties::WriterProperties;
    let folder = tempfile::tempdir().unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(Int64Array::from_iter_values(1..200))),
        ("a", Arc::new(Float64Array::from_iter_values((1..200).map(f64::from)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for encoding in [Encoding::PLAIN, Encoding::BYTE_STREAM_SPLIT] {
        let properties = WriterProperties::builder().set_encoding(encoding).set_dictionary_enabled(false).build();
        let mut whole = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut whole, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (mut refused, mut read) = (0, 0);
        let mut check = |bytes: &[u8]| {
            let path = file(&folder, "p.parquet", bytes);
            let channels = names(&["a"]);
            let input = input();
            let options = TableOptions { channels: Some(&channels), ..TableOptions::new(&input) };
            match read_table(&path, &options) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert!(error.to_string().contains("p.parquet"), "{error}");
                    refused += 1;
                }
            }
        };
        check(&whole);
        for cut in (0..whole.len()).step_by(97) {
            check(&whole[..cut]);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            check(&damaged);
        }
        assert!(refused > 50 && read > 1, "{refused} refused, {read} read");
    }
}
