//! `lines`: a file's lines, one at a time, in bounded memory.
//!
//! Laws:
//! 1. No line takes more than `bytes_max` bytes of memory; of a longer one only the first [`PREFIX_BYTES`] are kept.
//! 2. Every line of the file is counted exactly once, whatever its length and whether `\n` or `\r\n` ends it.
//!
//! It knows nothing of what the lines mean.

use std::io::{self, BufRead};

/// What is kept of a line that is too long.
pub(super) const PREFIX_BYTES: usize = 256;

/// A line just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it, without its end.
    Whole,
    /// It is longer than allowed: its beginning.
    TooLong,
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: R,
    bytes_max: usize,
    bytes: u64,
    line: u64,
    /// Lines that were read too far and are to be read again, each ended by `\n`; `returned_from` is the first byte left.
    returned: Vec<u8>,
    returned_from: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader, bytes_max, bytes: 0, line: 0, returned: Vec::new(), returned_from: 0 }
    }

    /// Bytes taken from the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of the line read last, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Replaces `into` by the next line; `None` at the end of the file.
    pub(super) fn next(&mut self, into: &mut Vec<u8>) -> io::Result<Option<Line>> {
        into.clear();
        let mut outcome = Line::Whole;
        let mut any = false;
        loop {
            let returned = self.returned_from < self.returned.len();
            let chunk = if returned { &self.returned[self.returned_from..] } else { self.reader.fill_buf()? };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let text = &chunk[..end.unwrap_or(chunk.len())];
            // One byte more: a `\r` that belongs to the line's end.
            if into.len() + text.len() > self.bytes_max + 1 {
                outcome = Line::TooLong;
                into.truncate(PREFIX_BYTES);
            }
            let kept = match outcome {
                Line::Whole => text.len(),
                Line::TooLong => text.len().min(PREFIX_BYTES - into.len()),
            };
            into.extend_from_slice(&text[..kept]);
            let taken = text.len() + usize::from(end.is_some());
            if returned {
                self.returned_from += taken;
            } else {
                self.reader.consume(taken);
                self.bytes += taken as u64;
            }
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.line += 1;
        if outcome == Line::Whole {
            if into.last() == Some(&b'\r') {
                into.pop();
            }
            if into.len() > self.bytes_max {
                into.truncate(PREFIX_BYTES);
                outcome = Line::TooLong;
            }
        }
        Ok(Some(outcome))
    }

    /// Gives lines back, each ended by `\n`, to be read again.
    pub(super) fn unread(&mut self, text: &[u8]) {
        let count = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(count <= self.line, "more lines given back than were read");
        self.line -= count;
        let mut returned = Vec::with_capacity(text.len() + self.returned.len() - self.returned_from);
        returned.extend_from_slice(text);
        returned.extend_from_slice(&self.returned[self.returned_from..]);
        self.returned = returned;
        self.returned_from = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, bytes_max: usize, expected: &[(&str, Line)]) {
        // The smallest buffers cut lines at every place.
        for capacity in [1, 2, 3, 7, 8192] {
            let reader = std::io::BufReader::with_capacity(capacity, input.as_bytes());
            let mut lines = Lines::new(reader, bytes_max);
            let mut line = Vec::new();
            let mut actual = Vec::new();
            while let Some(outcome) = lines.next(&mut line).unwrap() {
                actual.push((String::from_utf8(line.clone()).unwrap(), outcome));
            }
            let expected: Vec<_> = expected.iter().map(|(text, outcome)| ((*text).to_owned(), *outcome)).collect();
            assert_eq!(actual, expected, "capacity {capacity}");
            assert_eq!(lines.bytes(), input.len() as u64);
            assert_eq!(lines.line(), expected.len() as u64);
        }
    }

    #[test]
    fn both_line_ends_and_a_missing_last_one_are_read() {
        check("a\nb\r\n\nc", 9, &[("a", Line::Whole), ("b", Line::Whole), ("", Line::Whole), ("c", Line::Whole)]);
        check("", 9, &[]);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_bound_and_no_longer() {
        check("abcd\nx", 4, &[("abcd", Line::Whole), ("x", Line::Whole)]);
        check("abcd\r\nx", 4, &[("abcd", Line::Whole), ("x", Line::Whole)]);
        check("abcde\nx", 4, &[("abcde", Line::TooLong), ("x", Line::Whole)]);
        let long = "y".repeat(5_000);
        check(&format!("{long}\nx"), 300, &[(&long[..PREFIX_BYTES], Line::TooLong), ("x", Line::Whole)]);
    }

    #[test]
    fn lines_given_back_are_read_and_counted_again() {
        let mut lines = Lines::new("a\nb\nc".as_bytes(), 9);
        let mut line = Vec::new();
        for _ in 0..3 {
            lines.next(&mut line).unwrap();
        }
        lines.unread(b"b\nc\n");
        assert_eq!(lines.line(), 1);
        lines.next(&mut line).unwrap();
        lines.unread(b"b\n");
        for expected in ["b", "c"] {
            lines.next(&mut line).unwrap();
            assert_eq!(line, expected.as_bytes());
        }
        assert_eq!(lines.next(&mut line).unwrap(), None);
        assert_eq!((lines.line(), lines.bytes()), (3, 5));
    }
}
