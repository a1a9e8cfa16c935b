//! `csv`: rows of delimited text, in bounded memory.
//!
//! Laws:
//! 1. The delimiter is whichever of `,` `;` tab `|` stands most often in the header line, outside quotes.
//! 2. A row is a line; a quoted cell may run over several, but over no more than [`QUOTED_LINES_MAX`] and no further than
//!    the byte bound. Where it would, the quote is a slip: its line alone is bad, and reading goes on with the next. Line
//!    ends within a cell read as `\n`.
//! 3. Lines without anything on them are no rows. Line numbers are the file's own, from 1.
//!
//! It looks at no cell: `columns` does.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::FileError;
use super::lines::{Line, Lines, PREFIX_BYTES};

/// Most lines that one row may take.
pub(super) const QUOTED_LINES_MAX: usize = 64;

/// Reads the rows of one file.
pub(super) struct CsvRows {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    bytes_max: usize,
    delimiter: u8,
    columns: Vec<String>,
    cells: ByteRecord,
    text: Vec<u8>,
    continued: Vec<u8>,
    line: u64,
}

/// A row that is none.
#[derive(Debug)]
pub(super) struct BadRow {
    /// Its text, or the beginning of it.
    pub(super) bytes: Vec<u8>,
    /// What is wrong with it, and what to do.
    pub(super) error: String,
}

impl CsvRows {
    /// Opens a file and reads its header.
    pub(super) fn open(path: &Path, bytes_max: usize) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|source| FileError::Open { path: path.to_owned(), source })?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, file), bytes_max);
        let no_header = |why: &str| FileError::Header { path: path.to_owned(), why: why.to_owned() };
        let mut text = Vec::new();
        loop {
            match lines.next(&mut text).map_err(|error| FileError::read(path, error))? {
                None => return Err(no_header("it is empty; leave it out")),
                Some(Line::TooLong) => return Err(no_header("its first line has no end; is it text at all?")),
                Some(Line::Whole) => {}
            }
            if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
                return Err(no_header("it is UTF-16; save it as UTF-8"));
            }
            if text.starts_with(b"\xef\xbb\xbf") {
                text.drain(..3);
            }
            if !text.trim_ascii().is_empty() {
                break;
            }
        }
        let header = std::str::from_utf8(&text).map_err(|_| no_header("it is not UTF-8; save it as UTF-8"))?;
        let delimiter = delimiter(header.as_bytes());
        let mut cells = ByteRecord::new();
        split(&text, delimiter, &mut cells);
        let columns = cells.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        let path = path.to_owned();
        Ok(Self { path, lines, bytes_max, delimiter, columns, cells, text, continued: Vec::new(), line: 0 })
    }

    /// The header's names, trimmed.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// The cells of the row read last, as many as there are columns.
    pub(super) fn cells(&self) -> &ByteRecord {
        &self.cells
    }

    /// Reads the next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Result<(), BadRow>>, FileError> {
        match self.next_text()? {
            None => return Ok(None),
            Some(Some(fault)) => return Ok(Some(Err(self.bad_row(&fault)))),
            Some(None) => {}
        }
        split(&self.text, self.delimiter, &mut self.cells);
        if self.cells.len() != self.columns.len() {
            let fault = format!("{} cells under {} column names", self.cells.len(), self.columns.len());
            return Ok(Some(Err(self.bad_row(&format!("{fault}; mend or remove the row")))));
        }
        Ok(Some(Ok(())))
    }

    /// Skips a row without looking at its cells; false at the end of the file.
    pub(super) fn skip(&mut self) -> Result<bool, FileError> {
        Ok(self.next_text()?.is_some())
    }

    /// The row read last as a bad one.
    pub(super) fn bad_row(&self, fault: &str) -> BadRow {
        BadRow { bytes: self.text.clone(), error: format!("line {} of {}: {fault}", self.line, self.path.display()) }
    }

    /// Reads the next row's text; gives what is wrong with it as a whole, if anything is.
    fn next_text(&mut self) -> Result<Option<Option<String>>, FileError> {
        loop {
            match self.lines.next(&mut self.text).map_err(|error| FileError::read(&self.path, error))? {
                None => return Ok(None),
                Some(Line::Whole) if self.text.trim_ascii().is_empty() => {}
                outcome => {
                    self.line = self.lines.line();
                    if outcome == Some(Line::TooLong) {
                        let fault = format!("longer than {} bytes, only its beginning is kept", self.bytes_max);
                        return Ok(Some(Some(format!("{fault}; split it, or raise input.bytes_max"))));
                    }
                    break;
                }
            }
        }
        let mut quotes = Quotes::default();
        quotes.scan(&self.text, self.delimiter);
        if !quotes.open() {
            return Ok(Some(None));
        }
        let first = self.text.len();
        for _ in 1..QUOTED_LINES_MAX {
            let outcome = self.lines.next(&mut self.continued).map_err(|error| FileError::read(&self.path, error))?;
            if outcome.is_none() {
                break;
            }
            self.text.push(b'\n');
            self.text.extend_from_slice(&self.continued);
            if outcome == Some(Line::TooLong) || self.text.len() > self.bytes_max {
                break;
            }
            quotes.scan(&self.continued, self.delimiter);
            if !quotes.open() {
                return Ok(Some(None));
            }
        }
        if self.text.len() > first {
            let mut behind = self.text.split_off(first);
            behind.remove(0);
            behind.push(b'\n');
            self.lines.unread(&behind);
        }
        Ok(Some(Some("a quote is opened and never closed; close or remove it".to_owned())))
    }
}

/// The delimiter of a header line; a comma where there is none of the known ones.
fn delimiter(header: &[u8]) -> u8 {
    let mut best = (0, b',');
    for candidate in [b',', b';', b'\t', b'|'] {
        let mut quoted = false;
        let mut count = 0;
        for byte in header {
            match *byte {
                b'"' => quoted = !quoted,
                byte if byte == candidate && !quoted => count += 1,
                _ => {}
            }
        }
        if count > best.0 {
            best = (count, candidate);
        }
    }
    best.1
}

/// Replaces `cells` by the cells of one row.
fn split(row: &[u8], delimiter: u8, cells: &mut ByteRecord) {
    cells.clear();
    if !row.contains(&b'"') {
        row.split(|byte| *byte == delimiter).for_each(|cell| cells.push_field(cell));
        return;
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .buffer_capacity(row.len())
        .from_reader(row);
    // Reading from memory cannot fail, and a flexible reader of bytes refuses nothing.
    if reader.read_byte_record(cells).is_err() {
        cells.clear();
    }
}

/// Whether a row's last cell is quoted and still open: a quote opens a cell only as its first byte, and two within a
/// quoted cell stand for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quotes {
    #[default]
    CellStart,
    Plain,
    Quoted,
    QuotedThenQuote,
}

impl Quotes {
    fn scan(&mut self, text: &[u8], delimiter: u8) {
        if *self != Self::Quoted && !text.contains(&b'"') {
            *self = Self::Plain;
            return;
        }
        for byte in text {
            *self = match (*self, *byte) {
                (Self::Quoted, b'"') => Self::QuotedThenQuote,
                (Self::Quoted, _) => Self::Quoted,
                (Self::CellStart | Self::QuotedThenQuote, b'"') => Self::Quoted,
                (_, byte) if byte == delimiter => Self::CellStart,
                _ => Self::Plain,
            };
        }
    }

    fn open(self) -> bool {
        self == Self::Quoted
    }
}

/// At most sixty-four characters of a cell, for a message.
pub(super) fn shown(cell: &[u8]) -> String {
    let text = String::from_utf8_lossy(&cell[..cell.len().min(PREFIX_BYTES)]);
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All rows of a file: cells, or the fault.
    fn rows(content: &[u8]) -> Vec<Result<Vec<String>, String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        std::fs::write(&path, content).unwrap();
        let Ok(mut rows) = CsvRows::open(&path, 1000) else { return Vec::new() };
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let cells = || rows.cells().iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
            all.push(row.map(|()| cells()).map_err(|row| row.error));
        }
        all
    }

    fn check(header: &str, expected: u8) {
        assert_eq!(delimiter(header.as_bytes()) as char, expected as char, "{header}");
    }

    #[test]
    fn the_delimiter_is_what_stands_most_often_outside_quotes() {
        check("time,a,b", b',');
        check("time;flow, left;flow, right;c", b';');
        check("\"a,b,c\"|d", b'|');
        check("a\tb", b'\t');
        check("alone", b',');
    }

    proptest! {
        #[test]
        fn what_another_writer_wrote_reads_back(
            table in prop::collection::vec(prop::collection::vec("[ab\",; \n]{0,6}", 3), 0..12),
        ) {
            let mut writer = ::csv::Writer::from_writer(Vec::new());
            writer.write_record(["x", "y", "z"]).unwrap();
            for row in &table {
                writer.write_record(row).unwrap();
            }
            let expected: Vec<_> = table.into_iter().map(Ok).collect();
            prop_assert_eq!(rows(&writer.into_inner().unwrap()), expected);
        }

        #[test]
        fn nothing_makes_it_panic_and_every_line_is_accounted_for(
            lines in prop::collection::vec("[1\",]{1,5}", 0..200),
        ) {
            let content = format!("x,y\n{}", lines.join("\n"));
            let rows = rows(content.as_bytes());
            prop_assert!(rows.len() <= lines.len());
            // Every line is a row of its own, or part of a cell of the row before.
            let inside = rows.iter().flatten().flatten().map(|cell| cell.matches('\n').count()).sum::<usize>();
            let ragged = rows.iter().filter(|row| row.is_err()).count();
            prop_assert!(ragged > 0 || rows.len() + inside == lines.len());
        }
    }
}
