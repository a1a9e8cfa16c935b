//! `parquet`: the rows of a Parquet file, a record batch at a time; never the whole file.
//!
//! Laws:
//! 1. Only the columns that are needed are read.
//! 2. A channel may be of any numeric type or boolean; null is no value, NaN is the value NaN.
//! 3. Where a damaged file makes the library panic while it is read, that ends here, as an error: it indexes by counts
//!    that the file declares (apache/arrow-rs#11121).
//! 4. A time may be a timestamp of any unit, a date, or what the settings' time format makes of a text or an integer. A
//!    timestamp without a zone is UTC; finer ones than milliseconds are rounded as `codec` rounds them.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::FileError;
use super::columns::{Layout, no_time, time_column};
use super::csv::BadRow;
use crate::codec::{TimeError, TimeFormat};
use crate::domain::record::EventTime;

/// Rows decoded at once.
const BATCH_ROWS: usize = 1_024;

/// Seconds in a day.
const DAY_S: i64 = 86_400;

/// Reads the rows of one file.
pub(super) struct ParquetRows {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    time_format: TimeFormat,
    time_column: String,
    /// Within a batch.
    layout: Layout,
    batch: Option<Batch>,
    rows: u64,
    rows_read: u64,
    file_bytes: u64,
}

/// A row.
pub(super) struct ParquetRow<'a> {
    batch: &'a Batch,
    at: usize,
    /// From 1, in the file.
    number: u64,
    path: &'a Path,
}

struct Batch {
    next: usize,
    times: Vec<Result<EventTime, String>>,
    series: Vec<StringArray>,
    channels: Vec<Float64Array>,
    raw: RecordBatch,
}

impl ParquetRow<'_> {
    /// When it was measured, or what is wrong with that.
    pub(super) fn time(&self) -> Result<EventTime, &str> {
        self.batch.times[self.at].as_ref().copied().map_err(String::as_str)
    }

    /// The text of a series column; `None` if it is null.
    pub(super) fn series(&self, column: usize) -> Option<&str> {
        let array = &self.batch.series[column];
        array.is_valid(self.at).then(|| array.value(self.at))
    }

    /// A channel's value; `None` if it is null.
    pub(super) fn value(&self, channel: usize) -> Option<f64> {
        let array = &self.batch.channels[channel];
        array.is_valid(self.at).then(|| array.value(self.at))
    }

    /// The row as a bad one.
    pub(super) fn bad_row(&self, fault: &str) -> BadRow {
        let error = format!("row {} of {}: {fault}", self.number, self.path.display());
        BadRow { bytes: guarded(self.path, || as_text(&self.batch.raw, self.at)).unwrap_or_default(), error }
    }
}

impl ParquetRows {
    /// Opens a file, to be read from row `from` on.
    pub(super) fn open(
        path: &Path,
        time_field: &str,
        time_format: &TimeFormat,
        series: &[String],
        channels: &[String],
        from: i64,
    ) -> Result<Self, FileError> {
        let (builder, file_bytes) = builder(path)?;
        let fields = builder.schema().fields().clone();
        let found: Vec<String> = fields.iter().map(|field| field.name().trim().to_owned()).collect();
        let layout = Layout::of(path, &found, time_field, series, channels)?;
        let accept = |column: usize, accepted: bool, wanted: &'static str| {
            let field = &fields[column];
            let (column, found) = (field.name().clone(), field.data_type().to_string());
            if accepted { Ok(()) } else { Err(FileError::ColumnType { path: path.to_owned(), column, found, wanted }) }
        };
        let kind = |column: usize| fields[column].data_type();
        accept(layout.time, is_time(kind(layout.time)), "a timestamp, date, text or integer")?;
        for column in &layout.series {
            accept(*column, is_key(kind(*column)), "text, a number or a boolean")?;
        }
        for column in &layout.channels {
            accept(*column, is_channel(kind(*column)), "a number or a boolean")?;
        }
        let rows = builder.metadata().file_metadata().num_rows();
        let skipped = usize::try_from(from).ok().filter(|_| from <= rows);
        let Some(skipped) = skipped else {
            return Err(FileError::RowGone { path: path.to_owned(), offset: from, rows });
        };
        let time_column = found[layout.time].clone();
        let mut roots: Vec<usize> =
            [layout.time].iter().chain(&layout.series).chain(&layout.channels).copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let within = |column: &usize| roots.partition_point(|root| root < column);
        let layout = Layout {
            time: within(&layout.time),
            series: layout.series.iter().map(within).collect(),
            channels: layout.channels.iter().map(within).collect(),
        };
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(skipped);
        let reader = guarded(path, || builder.build())?.map_err(|error| FileError::parquet(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            time_format: time_format.clone(),
            time_column,
            layout,
            batch: None,
            rows: u64::try_from(rows).unwrap_or(0),
            rows_read: skipped as u64,
            file_bytes,
        })
    }

    /// Bytes read so far, taking rows to be of one size.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = u128::from(self.file_bytes) * u128::from(self.rows_read) / u128::from(self.rows.max(1));
        u64::try_from(bytes).unwrap_or(self.file_bytes)
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<ParquetRow<'_>>, FileError> {
        while self.batch.as_ref().is_none_or(|batch| batch.next == batch.times.len()) {
            let Some(raw) = guarded(&self.path, || self.reader.next())? else { return Ok(None) };
            let raw = raw.map_err(|error| FileError::parquet(&self.path, error.into()))?;
            self.batch = Some(guarded(&self.path, || self.converted(raw))??);
        }
        self.rows_read += 1;
        let (path, number) = (self.path.as_path(), self.rows_read);
        // The loop above leaves a batch with a row in it.
        let Some(batch) = &mut self.batch else { return Ok(None) };
        let at = batch.next;
        batch.next += 1;
        Ok(Some(ParquetRow { batch, at, number, path }))
    }

    fn converted(&self, raw: RecordBatch) -> Result<Batch, FileError> {
        let failed = |column: usize| {
            let column = raw.schema().field(column).name().clone();
            move |source: ArrowError| FileError::Convert { path: self.path.clone(), column, source }
        };
        let cast = |column: usize, kind: &DataType| arrow_cast::cast(raw.column(column), kind).map_err(failed(column));
        let times = self.times(raw.column(self.layout.time)).map_err(failed(self.layout.time))?;
        let series = self.layout.series.iter().map(|column| Ok(cast(*column, &DataType::Utf8)?.as_string().clone()));
        let channel = |column: &usize| Ok(cast(*column, &DataType::Float64)?.as_primitive::<Float64Type>().clone());
        Ok(Batch {
            next: 0,
            times,
            series: series.collect::<Result<_, FileError>>()?,
            channels: self.layout.channels.iter().map(channel).collect::<Result<_, FileError>>()?,
            raw,
        })
    }

    fn times(&self, column: &ArrayRef) -> Result<Vec<Result<EventTime, String>>, ArrowError> {
        let kind = column.data_type();
        if !is_number_of_time(kind) {
            let texts = arrow_cast::cast(column, &DataType::Utf8)?;
            let time = |text: Option<&str>| self.time(text, |format, text| format.read_text(text.trim()));
            return Ok(texts.as_string::<i32>().iter().map(time).collect());
        }
        // Days are cast by way of Int32, their own representation; everything else has 64 bits.
        let whole =
            if *kind == DataType::Date32 { arrow_cast::cast(column, &DataType::Int32)? } else { column.clone() };
        let numbers = arrow_cast::cast(&whole, &DataType::Int64)?;
        let time = |number: Option<i64>| {
            self.time(number, |configured, number| match kind {
                DataType::Timestamp(TimeUnit::Second, _) => TimeFormat::UnixSeconds.read_integer(number),
                DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => {
                    TimeFormat::UnixMillis.read_integer(number)
                }
                DataType::Timestamp(TimeUnit::Microsecond, _) => TimeFormat::UnixMicros.read_integer(number),
                DataType::Timestamp(TimeUnit::Nanosecond, _) => TimeFormat::UnixNanos.read_integer(number),
                DataType::Date32 => TimeFormat::UnixSeconds.read_integer(number.saturating_mul(DAY_S)),
                _ => configured.read_integer(number),
            })
        };
        Ok(numbers.as_primitive::<Int64Type>().iter().map(time).collect())
    }

    fn time<T>(
        &self,
        value: Option<T>,
        read: impl Fn(&TimeFormat, T) -> Result<EventTime, TimeError>,
    ) -> Result<EventTime, String> {
        let value = value.ok_or_else(|| no_time(&self.time_column, "null is no time"))?;
        read(&self.time_format, value).map_err(|error| no_time(&self.time_column, error))
    }
}

/// Names of the columns that can be channels.
pub(super) fn channel_columns(path: &Path, time_field: &str) -> Result<Vec<String>, FileError> {
    let (builder, _) = builder(path)?;
    let fields = builder.schema().fields();
    let found: Vec<String> = fields.iter().map(|field| field.name().trim().to_owned()).collect();
    let time = time_column(path, &found, time_field)?;
    let channels = found.into_iter().zip(fields).enumerate();
    let channels = channels.filter(|(column, (_, field))| *column != time && is_channel(Field::data_type(field)));
    Ok(channels.map(|(_, (name, _))| name).collect())
}

fn builder(path: &Path) -> Result<(ParquetRecordBatchReaderBuilder<File>, u64), FileError> {
    let open_error = |source| FileError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open_error)?;
    let bytes = file.metadata().map_err(open_error)?.len();
    let builder = guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))?;
    Ok((builder.map_err(|error| FileError::parquet(path, error))?, bytes))
}

/// What `read` gives, or an error if it panics. Nothing that was half changed is used after that: the file is given up.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, FileError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).map_err(|_| {
        FileError::parquet(path, ParquetError::General("it is damaged, and made its reader panic".to_owned()))
    })
}

fn is_time(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_text(values),
        kind => is_text(kind) || is_number_of_time(kind),
    }
}

fn is_number_of_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) || kind.is_integer()
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_key(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_key(values),
        kind => is_text(kind) || is_channel(kind),
    }
}

fn is_channel(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_channel(values),
        kind => kind.is_numeric() || *kind == DataType::Boolean,
    }
}

/// A row's columns as a JSON object of texts, for a dead letter.
fn as_text(batch: &RecordBatch, row: usize) -> Vec<u8> {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let text = column.is_valid(row).then(|| array_value_to_string(column, row).ok()).flatten();
        (field.name().clone(), text.map_or(serde_json::Value::Null, serde_json::Value::String))
    });
    serde_json::Value::Object(cells.collect()).to_string().into_bytes()
}
