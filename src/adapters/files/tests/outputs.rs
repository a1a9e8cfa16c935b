use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};

use super::*;
use crate::codec::OutputFormat;
use crate::codec::deserialize_event;
use crate::domain::alarm::Transition;
use crate::domain::event::{AlarmEvidence, ChannelEvidence, Reason, ReasonCode, ScoredEvent, SourceRange};
use crate::domain::record::{DeadLetter, Position, SeriesKey};
use crate::ports::Sink;

fn event(number: i64, evidence: bool) -> ScoredEvent {
    let (channel, other): (Arc<str>, Arc<str>) = ("Volume, \"Flow\"".into(), "Pressure".into());
    let part = |channel: &Arc<str>, residual| ChannelEvidence {
        channel: channel.clone(),
        observed: 1.0,
        expected: 2.0,
        residual,
    };
    ScoredEvent {
        id: format!("id{number}"),
        series: SeriesKey::new("pump-7"),
        window_start: EventTime::from_millis(1_583_750_073_000 + number),
        window_end: EventTime::from_millis(1_583_750_136_000 + number),
        deviation: evidence.then_some(2.5),
        threshold: evidence.then_some(1.25),
        score: evidence.then_some(2.0),
        anomaly: evidence,
        alarm: evidence.then(|| AlarmEvidence {
            id: "alarm1".to_owned(),
            since: EventTime::from_millis(1_583_750_100_000),
            transition: Transition::Raised,
        }),
        channels: if evidence { vec![part(&channel, 0.75), part(&other, 0.5)] } else { Vec::new() },
        neighbors: Vec::new(),
        model: "model".into(),
        generation: 1,
        threshold_version: "q0.995x1.2n100".into(),
        source: SourceRange { topic: "t".into(), partition: 0, first_offset: 1, last_offset: 2 },
        reasons: if evidence {
            vec![
                Reason { code: ReasonCode::GapFilled, channel: Some(channel) },
                Reason { code: ReasonCode::Late, channel: None },
            ]
        } else {
            Vec::new()
        },
    }
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        position: Position { topic: "in.csv".into(), partition: 0, offset: 3 },
        key: None,
        timestamp: None,
        payload: b"1,x".to_vec(),
        kind: "unreadable",
        error: "line 5 of in.csv: no number".to_owned(),
    }
}

/// Writes two events into a file of this name, and gives its path once finished.
fn write(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    let dead_letters = folder.path().join("dead.jsonl");
    let mut sink = FileSink::create(&path, &dead_letters, false).unwrap();
    sink.emit(&[event(0, true)], &[]).unwrap();
    sink.flush().unwrap();
    sink.emit(&[event(1, false)], &[]).unwrap();
    sink.flush().unwrap();
    assert!(!path.exists(), "not whole yet");
    assert_eq!(sink.in_flight(), 0);
    assert_eq!(sink.finish().unwrap(), Written { events: 2, dead_letters: 0 });
    assert!(!dead_letters.exists(), "there were none");
    assert_eq!(left(folder), [name]);
    path
}

/// Names of the files in a folder.
fn left(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = folder.path().read_dir().unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn expect_error(result: Result<FileSink, FileError>, part: &str) {
    let error = result.err().expect("an error").to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn json_lines_read_back_as_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(write(&folder, "out.jsonl")).unwrap();
    let events: Vec<_> =
        text.lines().map(|line| deserialize_event(OutputFormat::Json, line.as_bytes()).unwrap()).collect();
    assert_eq!(events, [event(0, true), event(1, false)]);
}

#[test]
fn csv_has_a_column_for_everything_flat() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(write(&folder, "out.csv")).unwrap();
    let expected = "\
id,series,window_start,window_end,deviation,threshold,score,anomaly,alarm_id,alarm_transition,top_channel,top_residual,reasons
id0,pump-7,2020-03-09T10:34:33Z,2020-03-09T10:35:36Z,2.5,1.25,2,true,alarm1,raised,\"Volume, \"\"Flow\"\"\",0.75,\"gap_filled:Volume, \"\"Flow\"\"|late\"
id1,pump-7,2020-03-09T10:34:33.001Z,2020-03-09T10:35:36.001Z,,,,false,,,,,
";
    assert_eq!(text, expected);
}

#[test]
fn parquet_has_the_same_columns_with_types() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::open(write(&folder, "out.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let texts =
        |name: &str| column(name).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(batch.num_columns(), 13);
    assert_eq!(texts("id"), [some("id0"), some("id1")]);
    assert_eq!(texts("alarm_transition"), [some("raised"), None]);
    assert_eq!(texts("top_channel"), [some("Volume, \"Flow\""), None]);
    assert_eq!(texts("reasons"), [some("gap_filled:Volume, \"Flow\"|late"), some("")]);
    let start = column("window_start").as_primitive::<TimestampMillisecondType>();
    assert_eq!((start.value(1), start.timezone()), (1_583_750_073_001, Some("UTC")));
    let score = column("score").as_primitive::<Float32Type>();
    assert_eq!((score.value(0), score.is_null(1)), (2.0, true));
    assert!(column("anomaly").as_boolean().value(0));
}

#[test]
fn a_parquet_output_of_many_events_is_whole_and_its_row_groups_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let mut sink = FileSink::create(&path, &folder.path().join("dead.jsonl"), false).unwrap();
    let count = ROW_GROUP_ROWS + 1500;
    for number in 0..count {
        sink.emit(&[event(number as i64, false)], &[]).unwrap();
    }
    sink.finish().unwrap();
    let metadata = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().metadata().clone();
    let groups: Vec<i64> = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [ROW_GROUP_ROWS as i64, 1500]);
}

#[test]
fn dead_letters_get_a_file_when_the_first_one_comes() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = folder.path().join("dead.jsonl");
    let mut sink = FileSink::create(&folder.path().join("out.csv"), &dead_letters, false).unwrap();
    assert_eq!(left(&folder), ["out.csv.partial"]);
    sink.emit(&[], &[dead_letter(), dead_letter()]).unwrap();
    assert_eq!(left(&folder), ["dead.jsonl.partial", "out.csv.partial"]);
    assert_eq!(sink.finish().unwrap(), Written { events: 0, dead_letters: 2 });
    let text = fs::read_to_string(dead_letters).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("line 5 of in.csv") && text.contains("1,x"), "{text}");
}

#[test]
fn what_exists_is_kept_unless_overwriting_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (out, dead) = (file(&folder, "out.jsonl", "old"), folder.path().join("dead.jsonl"));
    expect_error(FileSink::create(&out, &dead, false), "out.jsonl exists; choose another output");
    expect_error(FileSink::create(&dead, &out, false), "out.jsonl exists");
    expect_error(FileSink::to_writer(Box::new(io::sink()), "standard output", &out, false), "out.jsonl exists");
    expect_error(FileSink::create(&out, &out, true), "was given twice");
    file(&folder, "dead.jsonl", "an earlier run's");
    let sink = FileSink::create(&out, &dead, true).unwrap();
    assert_eq!(fs::read_to_string(&out).unwrap(), "old");
    sink.finish().unwrap();
    assert_eq!(left(&folder), ["out.jsonl"]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "");
    // It came while the run went on.
    let new = folder.path().join("new.jsonl");
    let sink = FileSink::create(&new, &dead, false).unwrap();
    file(&folder, "new.jsonl", "somebody else's");
    assert!(sink.finish().unwrap_err().to_string().contains("new.jsonl exists"));
    assert_eq!(fs::read_to_string(&new).unwrap(), "somebody else's");
}

#[test]
fn a_dead_runs_unfinished_output_is_replaced_and_a_living_ones_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (out, dead) = (folder.path().join("out.csv"), folder.path().join("dead.jsonl"));
    file(&folder, "out.csv.partial", "half an ev");
    let living = FileSink::create(&out, &dead, false).unwrap();
    expect_error(FileSink::create(&out, &dead, true), "out.csv.partial is being written by another run");
    drop(living);
    assert_eq!(left(&folder), ["out.csv.partial"]);
    FileSink::create(&out, &dead, false).unwrap().finish().unwrap();
    assert_eq!(left(&folder), ["out.csv"]);
    assert!(fs::read_to_string(&out).unwrap().starts_with("id,"));
}

#[test]
fn an_output_that_cannot_be_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead.jsonl");
    expect_error(FileSink::create(&folder.path().join("out.txt"), &dead, false), "name it .jsonl");
    let nowhere = folder.path().join("no/out.csv");
    expect_error(FileSink::create(&nowhere, &dead, false), "no such file or folder; check the path");
}

/// Takes so many bytes and is full then.
#[derive(Clone)]
struct Disk {
    written: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().unwrap();
        if written.len() + bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn standard_output_gets_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk { written: Arc::default(), room: usize::MAX };
    let dead = folder.path().join("dead.jsonl");
    let mut sink = FileSink::to_writer(Box::new(disk.clone()), "standard output", &dead, false).unwrap();
    sink.emit(&[event(0, true)], &[dead_letter()]).unwrap();
    sink.flush().unwrap();
    assert_eq!(disk.written.lock().unwrap().iter().filter(|byte| **byte == b'\n').count(), 1);
    sink.finish().unwrap();
    assert_eq!(left(&folder), ["dead.jsonl"]);
}

#[test]
fn after_a_failed_write_nothing_is_called_whole() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk { written: Arc::default(), room: 10 };
    let dead = folder.path().join("dead.jsonl");
    let mut sink = FileSink::to_writer(Box::new(disk), "standard output", &dead, false).unwrap();
    sink.emit(&[event(0, true)], &[dead_letter()]).unwrap();
    let error = sink.flush().unwrap_err();
    assert_eq!(error.to_string(), "cannot write standard output: the disk is full; free space or choose another");
    assert!(std::error::Error::source(&error).is_some());
    let error = sink.finish().unwrap_err().to_string();
    assert!(error.contains("stays unfinished"), "{error}");
    assert_eq!(left(&folder), ["dead.jsonl.partial"]);
}
