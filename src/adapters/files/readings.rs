//! `readings`: a file's rows as payloads with row numbers, whatever the file's format.
//!
//! Laws:
//! 1. A row's offset is its number from 0, counting good and bad rows alike; in JSON lines, blank lines too.
//! 2. A row that cannot be used is a payload of its own ([`Payload::Unreadable`]), never an error.
//! 3. Where `input.shape` is narrow, a table's row is one reading: a column names its channel, another holds its value.
//! 4. An empty cell, or a Parquet null, is no observation: the reading leaves the channel out, and the gap policy decides.
//!    What a cell says in words (`NaN`, `NA`, `null`) is what the sensor sent: NaN, as in JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::columns::{Layout, no_number, no_time, number};
use super::csv::{BadRow, CsvRows};
use super::lines::{Line, Lines};
use super::parquet::{ParquetRow, ParquetRows};
use super::{FileError, FileFormat};
use crate::codec::{InputSettings, SeriesFrom, Shape, UnknownChannels};
use crate::domain::record::{Payload, Reading, SeriesKey};

/// Reads one file.
pub(super) struct Readings {
    rows: Rows,
    series: Series,
    next: i64,
    /// Rows of channels that the model does not know and the settings ignore.
    ignored: u64,
}

enum Rows {
    Csv { rows: CsvRows, layout: Layout, columns: Columns, input: InputSettings },
    Parquet { rows: ParquetRows, columns: Columns },
    JsonLines { path: PathBuf, lines: Lines<BufReader<File>>, bytes_max: usize },
}

/// A table's columns beside its time.
struct Columns {
    /// Columns that name the series, and last the one that names the channel where there is one.
    texts: Vec<String>,
    /// Columns of numbers: the channels, or the one that holds every channel's value.
    numbers: Vec<String>,
    /// How many of `texts` name the series.
    series: usize,
    narrow: Option<Narrow>,
}

/// One reading a row.
struct Narrow {
    channels: HashMap<String, usize>,
    ignore_unknown: bool,
}

impl Columns {
    fn of(channels: &[String], input: &InputSettings) -> Self {
        let mut texts = series_columns(input).to_vec();
        let series = texts.len();
        if input.shape == Shape::Wide {
            return Self { texts, numbers: channels.to_vec(), series, narrow: None };
        }
        texts.push(input.channel_field.clone());
        let channels = channels.iter().cloned().enumerate().map(|(index, name)| (name, index)).collect();
        let ignore_unknown = input.unknown_channels == UnknownChannels::Ignore;
        let narrow = Some(Narrow { channels, ignore_unknown });
        Self { texts, numbers: vec![input.value_field.clone()], series, narrow }
    }

    /// The columns that name the series.
    fn series(&self) -> &[String] {
        &self.texts[..self.series]
    }

    /// A row's values: `value` gives the number in a column of numbers, `channel` what the channel's column says. `None` for a
    /// channel that is unknown and ignored.
    fn values<'a>(
        &self,
        value: impl Fn(usize) -> Result<Option<f64>, String>,
        channel: impl FnOnce() -> Option<Cow<'a, str>>,
    ) -> Result<Option<Vec<(usize, f64)>>, String> {
        let Some(narrow) = &self.narrow else {
            let mut values = Vec::with_capacity(self.numbers.len());
            for index in 0..self.numbers.len() {
                values.extend(value(index)?.map(|value| (index, value)));
            }
            return Ok(Some(values));
        };
        let column = &self.texts[self.series];
        let name = channel().ok_or_else(|| format!("column \"{column}\" names no channel; fill it"))?;
        match narrow.channels.get(name.trim()) {
            Some(&index) => Ok(Some(value(0)?.map(|value| (index, value)).into_iter().collect())),
            None if narrow.ignore_unknown => Ok(None),
            None => Err(format!(
                "channel \"{}\" is unknown to the model; correct column \"{column}\", or set input.unknown_channels = \
                 \"ignore\"",
                name.trim()
            )),
        }
    }
}

/// What the next row came to.
enum Read {
    Row(Payload),
    /// A channel that the model does not know and the settings ignore.
    Ignored,
    End,
}

/// A row with its number.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) offset: i64,
    /// The series that the whole file is, for rows that only the codec can read.
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Payload,
}

/// The columns that name a row's series; none where the file as a whole is one.
pub(super) fn series_columns(input: &InputSettings) -> &[String] {
    match &input.series {
        SeriesFrom::Key => &[],
        SeriesFrom::Fields(fields) => fields,
    }
}

impl Readings {
    /// Opens a file, to be read from row `from` on. `series` is its name as a series, unless columns name it.
    pub(super) fn open(
        path: &Path,
        series: &SeriesKey,
        channels: &[String],
        input: &InputSettings,
        from: i64,
    ) -> Result<Self, FileError> {
        let columns = Columns::of(channels, input);
        let series = Series { whole_file: columns.series().is_empty().then(|| series.clone()), last: series.clone() };
        let rows = match FileFormat::of(path)? {
            FileFormat::Csv => {
                let rows = CsvRows::open(path, input.bytes_max)?;
                let layout = Layout::of(path, rows.columns(), &input.time_field, &columns.texts, &columns.numbers)?;
                Rows::Csv { rows, layout, columns, input: input.clone() }
            }
            FileFormat::Parquet => {
                let (field, format) = (&input.time_field, &input.time_format);
                let rows = ParquetRows::open(path, field, format, &columns.texts, &columns.numbers, from)?;
                Rows::Parquet { rows, columns }
            }
            FileFormat::JsonLines => {
                let file = File::open(path).map_err(|source| FileError::Open { path: path.to_owned(), source })?;
                let lines = Lines::new(BufReader::with_capacity(1 << 16, file), input.bytes_max);
                Rows::JsonLines { path: path.to_owned(), lines, bytes_max: input.bytes_max }
            }
        };
        let mut readings = Self { rows, series, next: 0, ignored: 0 };
        readings.skip_to(path, from)?;
        Ok(readings)
    }

    /// Bytes read so far; an estimate for Parquet.
    pub(super) fn bytes(&self) -> u64 {
        match &self.rows {
            Rows::Csv { rows, .. } => rows.bytes(),
            Rows::Parquet { rows, .. } => rows.bytes(),
            Rows::JsonLines { lines, .. } => lines.bytes(),
        }
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Row>, FileError> {
        loop {
            let mut key = None;
            let read = match &mut self.rows {
                Rows::Csv { rows, layout, columns, input } => read_csv(rows, layout, columns, input, &mut self.series)?,
                Rows::Parquet { rows, columns } => rows.next()?.map_or(Read::End, |row| {
                    let reading = parquet_reading(&row, columns, &mut self.series);
                    read(reading.map_err(|fault| row.bad_row(&fault)))
                }),
                Rows::JsonLines { path, lines, bytes_max } => {
                    key = self.series.whole_file.as_ref().map(|series| series.as_str().as_bytes().to_vec());
                    json_payload(path, lines, *bytes_max, &mut self.next)?.map_or(Read::End, Read::Row)
                }
            };
            match read {
                Read::Row(payload) => {
                    let offset = self.next;
                    self.next += 1;
                    return Ok(Some(Row { offset, key, payload }));
                }
                Read::Ignored => {
                    self.next += 1;
                    self.ignored += 1;
                }
                Read::End => {
                    let rows = std::mem::take(&mut self.ignored);
                    if rows > 0 {
                        tracing::warn!(rows, "rows of channels that the model does not know were ignored");
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn skip_to(&mut self, path: &Path, from: i64) -> Result<(), FileError> {
        let mut unused = Vec::new();
        while self.next < from {
            let any = match &mut self.rows {
                Rows::Csv { rows, .. } => rows.skip()?,
                Rows::JsonLines { lines, .. } => {
                    lines.next(&mut unused).map_err(|error| FileError::read(path, error))?.is_some()
                }
                // It was opened there.
                Rows::Parquet { .. } => {
                    self.next = from;
                    break;
                }
            };
            if !any {
                return Err(FileError::RowGone { path: path.to_owned(), offset: from, rows: self.next });
            }
            self.next += 1;
        }
        Ok(())
    }
}

fn read(reading: Result<Option<Reading>, BadRow>) -> Read {
    match reading {
        Ok(Some(reading)) => Read::Row(Payload::Reading(reading)),
        Ok(None) => Read::Ignored,
        Err(BadRow { bytes, error }) => Read::Row(Payload::Unreadable { bytes, error }),
    }
}

/// A row's series; neighbouring rows of one series share one key.
struct Series {
    whole_file: Option<SeriesKey>,
    last: SeriesKey,
}

impl Series {
    /// The key of a row whose columns say `parts`.
    fn key<'a>(
        &mut self,
        columns: &[String],
        part: impl Fn(usize) -> Option<Cow<'a, str>>,
    ) -> Result<SeriesKey, String> {
        if let Some(series) = &self.whole_file {
            return Ok(series.clone());
        }
        let mut name = String::new();
        for (column, title) in columns.iter().enumerate() {
            let part = part(column).filter(|part| !part.trim().is_empty());
            let part = part.ok_or_else(|| {
                format!("column \"{title}\" is empty and so names no series; fill it, or correct input.series")
            })?;
            if column > 0 {
                name.push('/');
            }
            name.push_str(part.trim());
        }
        if self.last.as_str() != name {
            self.last = SeriesKey::new(&name);
        }
        Ok(self.last.clone())
    }
}

fn read_csv(
    rows: &mut CsvRows,
    layout: &Layout,
    columns: &Columns,
    input: &InputSettings,
    series: &mut Series,
) -> Result<Read, FileError> {
    let reading = match rows.next()? {
        None => return Ok(Read::End),
        Some(Err(bad_row)) => Err(bad_row),
        Some(Ok(())) => csv_reading(rows, layout, columns, input, series).map_err(|fault| rows.bad_row(&fault)),
    };
    Ok(read(reading))
}

fn csv_reading(
    rows: &CsvRows,
    layout: &Layout,
    columns: &Columns,
    input: &InputSettings,
    series: &mut Series,
) -> Result<Option<Reading>, String> {
    let cells = rows.cells();
    let text = String::from_utf8_lossy(&cells[layout.time]);
    let time = input.time_format.read_text(text.trim());
    let time = time.map_err(|error| no_time(&rows.columns()[layout.time], error))?;
    // Two names that differ in bytes which are not UTF-8 must not become one.
    for (column, title) in layout.series.iter().zip(&columns.texts) {
        if std::str::from_utf8(&cells[*column]).is_err() {
            return Err(format!("column \"{title}\" is not UTF-8; convert the file, for instance with iconv"));
        }
    }
    let text = |column: usize| Some(String::from_utf8_lossy(&cells[layout.series[column]]));
    let series = series.key(columns.series(), text)?;
    let value = |index: usize| {
        let column = layout.channels[index];
        let cell = &cells[column];
        if cell.trim_ascii().is_empty() {
            return Ok(None);
        }
        number(cell).map(Some).ok_or_else(|| no_number(&rows.columns()[column], cell))
    };
    let values = columns.values(value, || text(columns.series))?;
    Ok(values.map(|values| Reading { series, time, values }))
}

fn parquet_reading(row: &ParquetRow<'_>, columns: &Columns, series: &mut Series) -> Result<Option<Reading>, String> {
    let time = row.time()?;
    let text = |column: usize| row.series(column).map(Cow::Borrowed);
    let series = series.key(columns.series(), text)?;
    let values = columns.values(|index| Ok(row.value(index)), || text(columns.series))?;
    Ok(values.map(|values| Reading { series, time, values }))
}

fn json_payload(
    path: &Path,
    lines: &mut Lines<BufReader<File>>,
    bytes_max: usize,
    offset: &mut i64,
) -> Result<Option<Payload>, FileError> {
    let mut bytes = Vec::new();
    loop {
        let Some(outcome) = lines.next(&mut bytes).map_err(|error| FileError::read(path, error))? else {
            return Ok(None);
        };
        if lines.line() == 1 {
            refuse_array(path, &mut bytes)?;
        }
        if outcome == Line::TooLong {
            let (line, path) = (lines.line(), path.display());
            let fault = format!("longer than {bytes_max} bytes, only its beginning is kept");
            let error = format!("line {line} of {path}: {fault}; split it, or raise input.bytes_max");
            return Ok(Some(Payload::Unreadable { bytes, error }));
        }
        if !bytes.trim_ascii().is_empty() {
            return Ok(Some(Payload::Serialized(bytes)));
        }
        *offset += 1;
    }
}

/// Takes a byte-order mark off the first line, and refuses a file that is one JSON array: every line of it would be a
/// dead letter.
fn refuse_array(path: &Path, first_line: &mut Vec<u8>) -> Result<(), FileError> {
    if first_line.starts_with(b"\xef\xbb\xbf") {
        first_line.drain(..3);
    }
    if first_line.trim_ascii_start().starts_with(b"[") {
        return Err(FileError::NotLines { path: path.to_owned() });
    }
    Ok(())
}
