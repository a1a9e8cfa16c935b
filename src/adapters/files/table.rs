//! `table`: a whole file in memory, for training and evaluation.

use std::path::{Path, PathBuf};

use super::columns::{number, time_column};
use super::csv::CsvRows;
use super::readings::{Readings, series_columns};
use super::{FileError, FileFormat, parquet, series_keys};
use crate::codec::{Decoder, InputSettings, Shape};
use crate::domain::record::{EventTime, Payload, Position, Record, SeriesKey};

/// Rows that are looked at to tell numeric columns from others.
const INFER_ROWS: usize = 1_000;

/// Faults that a table keeps; the others are only counted.
const FAULTS_KEPT: usize = 8;

/// What is wanted of a file.
#[derive(Clone, Debug)]
pub struct TableOptions<'a> {
    /// How its rows become readings.
    pub input: &'a InputSettings,
    /// Its channels, in this order; `None` for what [`infer_channels`] finds.
    pub channels: Option<&'a [String]>,
    /// Columns that are not to be inferred as channels.
    pub exclude: &'a [String],
    /// Further numeric columns, such as labels.
    pub extra: &'a [String],
    /// The series that the whole file is, where no column names one; `None` for the file's name ([`series_keys`] tells
    /// files of one name apart).
    pub series: Option<&'a SeriesKey>,
}

impl<'a> TableOptions<'a> {
    /// Everything that [`infer_channels`] finds, and nothing further.
    pub const fn new(input: &'a InputSettings) -> Self {
        Self { input, channels: None, exclude: &[], extra: &[], series: None }
    }
}

/// A file's readable rows, in the file's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The file.
    pub path: PathBuf,
    /// Row numbers in the file, from 0; without gaps where every row was readable.
    pub offsets: Vec<i64>,
    /// Event times, `[row]`.
    pub times: Vec<EventTime>,
    /// Series, `[row]`.
    pub series: Vec<SeriesKey>,
    /// Channel names.
    pub channels: Vec<String>,
    /// Values, `[row, channel]` flat, in each channel's own unit; NaN where a row has none.
    pub values: Vec<f64>,
    /// The further columns: name and values, `[row]`, NaN where a row has none.
    pub extra: Vec<(String, Vec<f64>)>,
    /// Rows that could not be used and are not in the table.
    pub faults: usize,
    /// What is wrong with the first of them.
    pub first_faults: Vec<String>,
}

impl Table {
    /// Rows in the table.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// A row's values, `[channel]`.
    pub fn row(&self, row: usize) -> &[f64] {
        let channels = self.channels.len();
        &self.values[row * channels..(row + 1) * channels]
    }

    /// A further column by name.
    pub fn extra(&self, name: &str) -> Option<&[f64]> {
        self.extra.iter().find(|(found, _)| found == name).map(|(_, values)| values.as_slice())
    }
}

/// Reads a whole file. Rows that cannot be used are counted and left out.
///
/// # Errors
/// If the file cannot be read, lacks a column, or has no row that can be used; for JSON lines, if no channels are given.
pub fn read_table(path: &Path, options: &TableOptions<'_>) -> Result<Table, FileError> {
    let TableOptions { input, channels, exclude, extra, series } = options;
    let channels = match channels {
        Some(channels) => channels.to_vec(),
        None => {
            let exclude: Vec<String> = exclude.iter().chain(*extra).cloned().collect();
            infer_channels(path, input, &exclude)?
        }
    };
    // To the reader the further columns are channels behind the others.
    let columns: Vec<String> = channels.iter().chain(*extra).cloned().collect();
    let own_name = series_keys(&[path.to_owned()]).remove(0);
    let mut readings = Readings::open(path, series.unwrap_or(&own_name), &columns, input, 0)?;
    let decoder = Decoder::new((*input).clone(), columns.iter().cloned());
    let mut table = Table {
        path: path.to_owned(),
        offsets: Vec::new(),
        times: Vec::new(),
        series: Vec::new(),
        values: Vec::new(),
        extra: extra.iter().map(|name| (name.clone(), Vec::new())).collect(),
        faults: 0,
        first_faults: Vec::new(),
        channels,
    };
    let topic: std::sync::Arc<str> = path.to_string_lossy().into();
    let mut values = vec![f64::NAN; columns.len()];
    while let Some(row) = readings.next()? {
        let position = Position { topic: topic.clone(), partition: 0, offset: row.offset };
        let record = Record { position, key: row.key, timestamp: None, payload: row.payload };
        let decoded = match &record.payload {
            Payload::Unreadable { error, .. } => Err(error.clone()),
            _ => decoder
                .decode(&record)
                .map_err(|error| format!("row {} of {}: {error}", row.offset + 1, path.display())),
        };
        let reading = match decoded {
            Ok(decoded) => decoded.reading,
            Err(fault) => {
                table.faults += 1;
                if table.first_faults.len() < FAULTS_KEPT {
                    table.first_faults.push(fault);
                }
                continue;
            }
        };
        values.fill(f64::NAN);
        for (column, value) in reading.values {
            values[column] = value;
        }
        table.offsets.push(row.offset);
        table.times.push(reading.time);
        table.series.push(reading.series);
        let (channel_values, extra_values) = values.split_at(table.channels.len());
        table.values.extend_from_slice(channel_values);
        for ((_, column), value) in table.extra.iter_mut().zip(extra_values) {
            column.push(*value);
        }
    }
    if table.times.is_empty() {
        let first = table.first_faults.first().cloned().unwrap_or_else(|| "there is none after the header".to_owned());
        return Err(FileError::NoReadableRow { path: path.to_owned(), rows: table.faults, first });
    }
    Ok(table)
}

/// A file's numeric columns that are neither time nor series nor in `exclude`, in the file's order. In CSV, a column is
/// numeric if it holds nothing but numbers, and at least one, in the first thousand rows; columns without a name do not
/// count.
///
/// # Errors
/// If the file cannot be read, has no time column, or holds JSON lines or rows of one reading each.
pub fn infer_channels(path: &Path, input: &InputSettings, exclude: &[String]) -> Result<Vec<String>, FileError> {
    if input.shape == Shape::Narrow {
        return Err(FileError::ChannelsUnknown { path: path.to_owned(), why: "rows of one reading each" });
    }
    let numeric = match FileFormat::of(path)? {
        FileFormat::Csv => numeric_columns(path, input)?,
        FileFormat::Parquet => parquet::channel_columns(path, &input.time_field)?,
        FileFormat::JsonLines => return Err(FileError::ChannelsUnknown { path: path.to_owned(), why: "JSON lines" }),
    };
    let series = series_columns(input);
    let channels =
        numeric.into_iter().filter(|name| !name.is_empty() && !exclude.contains(name) && !series.contains(name));
    Ok(channels.collect())
}

fn numeric_columns(path: &Path, input: &InputSettings) -> Result<Vec<String>, FileError> {
    let mut rows = CsvRows::open(path, input.bytes_max)?;
    let time = time_column(path, rows.columns(), &input.time_field)?;
    // (holds a number, holds something else)
    let mut seen = vec![(false, false); rows.columns().len()];
    for _ in 0..INFER_ROWS {
        let Some(row) = rows.next()? else { break };
        if row.is_ok() {
            for (column, cell) in rows.cells().iter().enumerate().filter(|(_, cell)| !cell.trim_ascii().is_empty()) {
                let number = number(cell);
                seen[column].0 |= number.is_some_and(|number| !number.is_nan());
                seen[column].1 |= number.is_none();
            }
        }
    }
    let columns = rows.columns().iter().enumerate();
    let columns = columns.filter(|(column, _)| *column != time && seen[*column] == (true, false));
    Ok(columns.map(|(_, name)| name.clone()).collect())
}
