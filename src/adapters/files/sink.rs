//! `sink`: scored events into a JSON-lines, CSV or Parquet file, dead letters into a JSON-lines file beside it.
//!
//! Laws:
//! 1. A file that has its final name is whole: everything is written under a temporary name (`.partial` at the end) and
//!    renamed by [`FileSink::finish`]; a failed or interrupted run leaves only the unfinished one.
//! 2. Nothing that exists is replaced unless overwriting was allowed, and then only by `finish`.
//! 3. Memory is bounded: a Parquet row group holds at most [`ROW_GROUP_ROWS`] events.
//!
//! A flush hands everything to the system but makes nothing durable, and closes no Parquet row group (a commit ten
//! times a second would make as many tiny ones): an interrupted run starts anew, so only `finish` needs to be durable.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float32Builder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::FileError;
use super::output::{OutputFile, refuse_existing};
use crate::codec::{OutputFormat, dead_letter_json, serialize_event};
use crate::domain::alarm::Transition;
use crate::domain::event::ScoredEvent;
use crate::domain::record::DeadLetter;
use crate::ports::{PortError, Sink};

/// Extensions that an output of events may have.
pub const OUTPUT_EXTENSIONS: &str = ".jsonl, .ndjson, .json, .csv or .parquet";

/// Most rows in a row group of a Parquet output.
pub const ROW_GROUP_ROWS: usize = 65_536;

/// Rows handed to the Parquet writer at once.
const BATCH_ROWS: usize = 1_024;

/// Columns of a CSV or Parquet output.
const COLUMNS: [&str; 13] = [
    "id",
    "series",
    "window_start",
    "window_end",
    "deviation",
    "threshold",
    "score",
    "anomaly",
    "alarm_id",
    "alarm_transition",
    "top_channel",
    "top_residual",
    "reasons",
];

/// What a run wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Scored events.
    pub events: u64,
    /// Dead letters; their file exists only if there are any.
    pub dead_letters: u64,
}

/// Writes to files.
pub struct FileSink {
    writer: Writer,
    /// `None` when events go to a writer of the caller's, such as standard output.
    output: Option<OutputFile>,
    /// For messages.
    name: PathBuf,
    dead_letters: PathBuf,
    dead_letter_writer: Option<(OutputFile, BufWriter<File>)>,
    overwrite: bool,
    written: Written,
    failed: bool,
}

impl FileSink {
    /// A sink whose events go to the file `events`, in the format that its extension says, and whose dead letters go to
    /// the JSON-lines file `dead_letters`, which is made only when the first one comes.
    ///
    /// # Errors
    /// If the extension says nothing, if either file exists and `overwrite` is not set, if another run is writing it, or
    /// if it cannot be created.
    pub fn create(events: &Path, dead_letters: &Path, overwrite: bool) -> Result<Self, FileError> {
        let format = Format::of(events)?;
        if events == dead_letters {
            return Err(FileError::GivenTwice { path: events.to_owned() });
        }
        refuse_existing(events, overwrite)?;
        refuse_existing(dead_letters, overwrite)?;
        let output = OutputFile::create(events)?;
        let writer = Writer::new(format, output.handle()?, events)?;
        Ok(Self::new(writer, Some(output), events, dead_letters, overwrite))
    }

    /// A sink whose events go to `writer` as JSON lines; `name` stands for it in messages.
    ///
    /// # Errors
    /// If the dead-letter file exists and `overwrite` is not set.
    pub fn to_writer(
        writer: Box<dyn Write + Send>,
        name: &str,
        dead_letters: &Path,
        overwrite: bool,
    ) -> Result<Self, FileError> {
        refuse_existing(dead_letters, overwrite)?;
        let writer = Writer::JsonLines(BufWriter::new(writer));
        Ok(Self::new(writer, None, Path::new(name), dead_letters, overwrite))
    }

    fn new(writer: Writer, output: Option<OutputFile>, name: &Path, dead_letters: &Path, overwrite: bool) -> Self {
        Self {
            writer,
            output,
            name: name.to_owned(),
            dead_letters: dead_letters.to_owned(),
            dead_letter_writer: None,
            overwrite,
            written: Written::default(),
            failed: false,
        }
    }

    /// What was taken on so far.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Completes the files, makes them durable and gives them their final names. Where overwriting is allowed and this
    /// run had no dead letters, an earlier run's dead-letter file is removed: it says nothing of this output.
    ///
    /// # Errors
    /// If anything cannot be written, now or before; the files then keep their temporary names.
    pub fn finish(self) -> Result<Written, FileError> {
        if self.failed {
            let path = self.output.map_or(self.name, |output| output.temporary);
            return Err(FileError::Unfinished { path });
        }
        self.writer.finish(&self.name)?;
        match self.dead_letter_writer {
            Some((output, mut writer)) => {
                writer.flush().map_err(|error| FileError::write(&self.dead_letters, error))?;
                output.complete(self.overwrite)?;
            }
            None if self.overwrite => match fs::remove_file(&self.dead_letters) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::write(&self.dead_letters, error));
                }
                _ => {}
            },
            None => {}
        }
        // Last, so that events under their final name mean that the dead letters have theirs too.
        if let Some(output) = self.output {
            output.complete(self.overwrite)?;
        }
        Ok(self.written)
    }

    fn write(&mut self, events: &[ScoredEvent], dead_letters: &[DeadLetter]) -> Result<(), FileError> {
        for event in events {
            self.writer.write(event, &self.name)?;
            self.written.events += 1;
        }
        for dead_letter in dead_letters {
            let writer = match &mut self.dead_letter_writer {
                Some((_, writer)) => writer,
                none => {
                    let output = OutputFile::create(&self.dead_letters)?;
                    let writer = BufWriter::new(output.handle()?);
                    &mut none.insert((output, writer)).1
                }
            };
            writeln!(writer, "{}", dead_letter_json(dead_letter))
                .map_err(|error| FileError::write(&self.dead_letters, error))?;
            self.written.dead_letters += 1;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), FileError> {
        self.writer.flush().map_err(|error| FileError::write(&self.name, error))?;
        if let Some((_, writer)) = &mut self.dead_letter_writer {
            writer.flush().map_err(|error| FileError::write(&self.dead_letters, error))?;
        }
        Ok(())
    }

    /// A write that failed may have written half an event: nothing may be called whole after it.
    fn noting_failure(&mut self, result: Result<(), FileError>) -> Result<(), PortError> {
        self.failed |= result.is_err();
        Ok(result?)
    }
}

impl Sink for FileSink {
    fn emit(&mut self, events: &[ScoredEvent], dead_letters: &[DeadLetter]) -> Result<(), PortError> {
        let result = self.write(events, dead_letters);
        self.noting_failure(result)
    }

    /// Always 0: writing is not put off, so there is nothing to wait for.
    fn in_flight(&mut self) -> usize {
        0
    }

    fn flush(&mut self) -> Result<(), PortError> {
        let result = self.hand_over();
        self.noting_failure(result)
    }
}

#[derive(Clone, Copy)]
enum Format {
    JsonLines,
    Csv,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Result<Self, FileError> {
        match super::extension(path).as_str() {
            "jsonl" | "ndjson" | "json" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(FileError::Extension { path: path.to_owned(), verb: "write", known: OUTPUT_EXTENSIONS }),
        }
    }
}

enum Writer {
    JsonLines(BufWriter<Box<dyn Write + Send>>),
    Csv(Box<csv::Writer<File>>),
    Parquet(Box<ParquetWriter>),
}

impl Writer {
    fn new(format: Format, file: File, name: &Path) -> Result<Self, FileError> {
        Ok(match format {
            Format::JsonLines => Self::JsonLines(BufWriter::new(Box::new(file))),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                writer.write_record(COLUMNS).map_err(|error| FileError::write(name, io_error(error)))?;
                Self::Csv(Box::new(writer))
            }
            Format::Parquet => Self::Parquet(Box::new(ParquetWriter::new(file, name)?)),
        })
    }

    fn write(&mut self, event: &ScoredEvent, name: &Path) -> Result<(), FileError> {
        match self {
            Self::JsonLines(writer) => writer
                .write_all(&serialize_event(OutputFormat::Json, event))
                .and_then(|()| writer.write_all(b"\n"))
                .map_err(|error| FileError::write(name, error)),
            Self::Csv(writer) => {
                writer.write_record(cells(event)).map_err(|error| FileError::write(name, io_error(error)))
            }
            Self::Parquet(writer) => writer.write(event).map_err(|error| FileError::write_parquet(name, error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::JsonLines(writer) => writer.flush(),
            Self::Csv(writer) => writer.flush(),
            Self::Parquet(_) => Ok(()),
        }
    }

    fn finish(self, name: &Path) -> Result<(), FileError> {
        match self {
            Self::JsonLines(mut writer) => writer.flush().map_err(|error| FileError::write(name, error)),
            Self::Csv(mut writer) => writer.flush().map_err(|error| FileError::write(name, error)),
            Self::Parquet(writer) => writer.finish().map_err(|error| FileError::write_parquet(name, error)),
        }
    }
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// An event in the order of [`COLUMNS`]; what is not there is empty.
fn cells(event: &ScoredEvent) -> [String; COLUMNS.len()] {
    let number = |value: Option<f32>| value.map(|value| value.to_string()).unwrap_or_default();
    let alarm = event.alarm.as_ref();
    let top = event.channels.first();
    [
        event.id.clone(),
        event.series.to_string(),
        event.window_start.to_string(),
        event.window_end.to_string(),
        number(event.deviation),
        number(event.threshold),
        number(event.score),
        event.anomaly.to_string(),
        alarm.map(|alarm| alarm.id.clone()).unwrap_or_default(),
        alarm.map(|alarm| transition(alarm.transition)).unwrap_or_default().to_owned(),
        top.map(|top| top.channel.to_string()).unwrap_or_default(),
        number(top.map(|top| top.residual)),
        reasons(event),
    ]
}

const fn transition(transition: Transition) -> &'static str {
    match transition {
        Transition::Raised => "raised",
        Transition::Held => "held",
        Transition::Cleared => "cleared",
    }
}

/// `gap_filled:Pressure|late`
fn reasons(event: &ScoredEvent) -> String {
    let reason = |reason: &crate::domain::event::Reason| match &reason.channel {
        Some(channel) => format!("{}:{channel}", reason.code.as_str()),
        None => reason.code.as_str().to_owned(),
    };
    event.reasons.iter().map(reason).collect::<Vec<_>>().join("|")
}

struct ParquetWriter {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    rows: Rows,
}

/// The columns of a batch being built, in the order of [`COLUMNS`].
#[derive(Default)]
struct Rows {
    count: usize,
    id: StringBuilder,
    series: StringBuilder,
    window_start: TimestampMillisecondBuilder,
    window_end: TimestampMillisecondBuilder,
    deviation: Float32Builder,
    threshold: Float32Builder,
    score: Float32Builder,
    anomaly: BooleanBuilder,
    alarm_id: StringBuilder,
    alarm_transition: StringBuilder,
    top_channel: StringBuilder,
    top_residual: Float32Builder,
    reasons: StringBuilder,
}

impl Rows {
    fn push(&mut self, event: &ScoredEvent) {
        let alarm = event.alarm.as_ref();
        let top = event.channels.first();
        self.id.append_value(&event.id);
        self.series.append_value(event.series.as_str());
        self.window_start.append_value(event.window_start.millis());
        self.window_end.append_value(event.window_end.millis());
        self.deviation.append_option(event.deviation);
        self.threshold.append_option(event.threshold);
        self.score.append_option(event.score);
        self.anomaly.append_value(event.anomaly);
        self.alarm_id.append_option(alarm.map(|alarm| alarm.id.as_str()));
        self.alarm_transition.append_option(alarm.map(|alarm| transition(alarm.transition)));
        self.top_channel.append_option(top.map(|top| &*top.channel));
        self.top_residual.append_option(top.map(|top| top.residual));
        self.reasons.append_value(reasons(event));
        self.count += 1;
    }

    fn take(&mut self) -> Vec<ArrayRef> {
        self.count = 0;
        let utc = |builder: &mut TimestampMillisecondBuilder| builder.finish().with_timezone("UTC");
        vec![
            Arc::new(self.id.finish()),
            Arc::new(self.series.finish()),
            Arc::new(utc(&mut self.window_start)),
            Arc::new(utc(&mut self.window_end)),
            Arc::new(self.deviation.finish()),
            Arc::new(self.threshold.finish()),
            Arc::new(self.score.finish()),
            Arc::new(self.anomaly.finish()),
            Arc::new(self.alarm_id.finish()),
            Arc::new(self.alarm_transition.finish()),
            Arc::new(self.top_channel.finish()),
            Arc::new(self.top_residual.finish()),
            Arc::new(self.reasons.finish()),
        ]
    }
}

impl ParquetWriter {
    fn new(file: File, name: &Path) -> Result<Self, FileError> {
        let field = |name: &str| {
            let (kind, nullable) = match name {
                "window_start" | "window_end" => {
                    (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false)
                }
                "deviation" | "threshold" | "score" | "top_residual" => (DataType::Float32, true),
                "anomaly" => (DataType::Boolean, false),
                "id" | "series" | "reasons" => (DataType::Utf8, false),
                _ => (DataType::Utf8, true),
            };
            Field::new(name, kind, nullable)
        };
        let schema = Arc::new(Schema::new(COLUMNS.map(field).to_vec()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
            .map_err(|error| FileError::write_parquet(name, error))?;
        Ok(Self { writer, schema, rows: Rows::default() })
    }

    fn write(&mut self, event: &ScoredEvent) -> parquet::errors::Result<()> {
        self.rows.push(event);
        if self.rows.count >= BATCH_ROWS { self.write_batch() } else { Ok(()) }
    }

    fn write_batch(&mut self) -> parquet::errors::Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), self.rows.take())?;
        self.writer.write(&batch)
    }

    fn finish(mut self) -> parquet::errors::Result<()> {
        if self.rows.count > 0 {
            self.write_batch()?;
        }
        self.writer.close().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_that_by_csv_and_parquet_too() {
        // Every write to it fails for want of room.
        let full = Path::new("/dev/full");
        if !full.exists() {
            // Not every system has it; JSON lines are tested with a writer of our own.
            return;
        }
        for name in ["out.csv", "out.parquet"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            let mut sink = FileSink::create(&path, &folder.path().join("dead.jsonl"), false).unwrap();
            let file = fs::OpenOptions::new().write(true).open(full).unwrap();
            let error = match Writer::new(Format::of(&path).unwrap(), file, &path) {
                Err(error) => error,
                Ok(writer) => {
                    sink.writer = writer;
                    sink.finish().unwrap_err()
                }
            };
            assert!(error.to_string().contains("the disk is full"), "{name}: {error}");
            assert!(!path.exists());
        }
    }
}
