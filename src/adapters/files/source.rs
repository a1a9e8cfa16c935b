//! `source`: files as a [`Source`], one partition after another: a file is assigned, read to its end and revoked before
//! the next is assigned, so that its series are finished first.
//!
//! Every file's header is checked before the first is read: a month of files does not fail at its last one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::readings::{Readings, Row};
use super::{FileError, expand, series_keys};
use crate::codec::InputSettings;
use crate::domain::record::{NextOffset, Position, Record, SeriesKey};
use crate::ports::{PartitionId, Polled, PortError, Source};

/// How long a poll waits that has nothing to give.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(10);

/// Reads files as if they were partitions.
pub struct FileSource {
    files: Vec<InputFile>,
    channels: Vec<String>,
    input: InputSettings,
    /// The file being read, or to be read next.
    current: usize,
    state: State,
    paused: bool,
    committed: BTreeMap<PartitionId, NextOffset>,
    finished_bytes: u64,
}

struct InputFile {
    path: PathBuf,
    topic: Arc<str>,
    series: SeriesKey,
    bytes: u64,
}

/// Where the current file stands.
enum State {
    /// Not yet assigned.
    Waiting,
    /// Assigned; `begin` has not been called.
    Assigned,
    /// Being read.
    Reading(Box<Readings>),
    /// At its end; not yet revoked.
    Ended,
    /// Revoked; `release` has not been called.
    Revoked,
}

impl FileSource {
    /// A source of the files that `paths` stand for (see [`expand`]), with readings of `channels` in their order.
    ///
    /// # Errors
    /// If a file cannot be opened, or lacks a column.
    pub fn new(paths: &[PathBuf], channels: &[String], input: &InputSettings) -> Result<Self, FileError> {
        let paths = expand(paths)?;
        let mut files = Vec::with_capacity(paths.len());
        for (path, series) in paths.iter().zip(series_keys(&paths)) {
            let open_error = |source| FileError::Open { path: path.clone(), source };
            let bytes = path.metadata().map_err(open_error)?.len();
            Readings::open(path, &series, channels, input, 0)?;
            files.push(InputFile { path: path.clone(), topic: path.to_string_lossy().into(), series, bytes });
        }
        Ok(Self {
            files,
            channels: channels.to_vec(),
            input: input.clone(),
            current: 0,
            state: State::Waiting,
            paused: false,
            committed: BTreeMap::new(),
            finished_bytes: 0,
        })
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes read so far; an estimate for Parquet.
    pub fn read_bytes(&self) -> u64 {
        let file = self.files.get(self.current).map_or(0, |file| file.bytes);
        let read = match &self.state {
            State::Waiting | State::Assigned => 0,
            // A file that is being written may have grown.
            State::Reading(readings) => readings.bytes().min(file),
            State::Ended | State::Revoked => file,
        };
        self.finished_bytes + read
    }

    fn partition(&self) -> Option<PartitionId> {
        self.files.get(self.current).map(|file| (file.topic.clone(), 0))
    }

    fn records(&mut self, max: usize) -> Result<Vec<Record>, FileError> {
        let State::Reading(readings) = &mut self.state else { return Ok(Vec::new()) };
        let topic = &self.files[self.current].topic;
        let mut records = Vec::new();
        while records.len() < max {
            let Some(Row { offset, key, payload }) = readings.next()? else {
                self.state = State::Ended;
                break;
            };
            let position = Position { topic: topic.clone(), partition: 0, offset };
            records.push(Record { position, key, timestamp: None, payload });
        }
        Ok(records)
    }
}

impl Source for FileSource {
    /// Order: `Assigned`, after `begin` the file's records, `Revoked`, after `release` the next file's, at last `End`,
    /// again and again.
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Polled, PortError> {
        let Some(partition) = self.partition() else { return Ok(Polled::End) };
        if matches!(self.state, State::Waiting) {
            self.state = State::Assigned;
            return Ok(Polled::Assigned(vec![partition]));
        }
        if self.paused || matches!(self.state, State::Assigned | State::Revoked) {
            std::thread::sleep(timeout.min(IDLE_WAIT_MAX));
            return Ok(Polled::Records(Vec::new()));
        }
        let records = self.records(max)?;
        if records.is_empty() && matches!(self.state, State::Ended) {
            self.state = State::Revoked;
            return Ok(Polled::Revoked(vec![partition]));
        }
        Ok(Polled::Records(records))
    }

    fn begin(&mut self, partitions: &[(PartitionId, Option<NextOffset>)]) -> Result<(), PortError> {
        for (partition, next_offset) in partitions {
            assert!(self.partition().as_ref() == Some(partition), "only the assigned file can be begun");
            let from = next_offset.as_ref().or_else(|| self.committed.get(partition)).map_or(0, NextOffset::offset);
            let InputFile { path, series, .. } = &self.files[self.current];
            let readings = Readings::open(path, series, &self.channels, &self.input, from)?;
            self.state = State::Reading(Box::new(readings));
        }
        Ok(())
    }

    fn release(&mut self, partitions: &[PartitionId]) -> Result<(), PortError> {
        for partition in partitions {
            assert!(self.partition().as_ref() == Some(partition), "only the assigned file can be released");
            self.finished_bytes += self.files[self.current].bytes;
            self.current += 1;
            self.state = State::Waiting;
        }
        Ok(())
    }

    /// What this source was told to commit; nothing is kept from one run to the next.
    fn committed(&mut self, partition: &PartitionId) -> Result<Option<NextOffset>, PortError> {
        Ok(self.committed.get(partition).cloned())
    }

    /// Only remembers.
    fn commit(&mut self, next_offsets: &[NextOffset]) -> Result<(), PortError> {
        for next_offset in next_offsets {
            self.committed.insert((next_offset.topic().into(), next_offset.partition()), next_offset.clone());
        }
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), PortError> {
        self.paused = paused;
        Ok(())
    }
}
