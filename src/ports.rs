//! What the pipeline and the runtime need from the outside world. Each trait is a contract; `adapters` fulfils it with
//! one foreign library each, and tests with fakes.

use std::time::Duration;

use crate::domain::event::ScoredEvent;
use crate::domain::model::ModelCard;
use crate::domain::neighbor::Neighbor;
use crate::domain::record::{DeadLetter, NextOffset, Record};
use crate::domain::unit::Generation;

/// What is to be done about a runtime error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again, with backoff, a bounded number of times.
    Retry,
    /// Nothing can go on: exit; a restart begins at the last commit.
    Fatal,
}

/// What went wrong at a port, with the foreign library's error as its source.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct PortError {
    /// What failed, with which input, where, and what to do.
    pub what: String,
    /// What is to be done about it.
    pub disposition: Disposition,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error after which nothing can go on.
    pub fn fatal(what: impl Into<String>) -> Self {
        Self { what: what.into(), disposition: Disposition::Fatal, source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// An ONNX encoder, or what stands in for it.
///
/// Deterministic: a row's embedding depends on that row alone, bit for bit, whatever rows come with it.
pub trait Encoder: Send {
    /// What it expects and gives.
    fn card(&self) -> &ModelCard;

    /// Embeds normalised windows, `[n, T, F]` flat, into `[n, D]` flat, f32. Blocks until done.
    ///
    /// # Errors
    /// If the foreign library fails, or gives something that is not finite.
    fn embed(&mut self, windows: &[f32]) -> Result<Vec<f32>, PortError>;
}

/// Finds the units nearest to a query.
pub trait NeighborIndex: Send + Sync {
    /// The `k` nearest units (all, where there are fewer) to each query, nearest first, equal distances by ascending
    /// unit. `queries` is `[n, D]` flat and finite. Exact indices give the true neighbors, approximate ones most of them.
    fn neighbors(&self, queries: &[f32], k: usize) -> Vec<Vec<Neighbor>>;

    /// A word for logs and benches.
    fn name(&self) -> &'static str;
}

/// Keeps generations of a bank. Blocking.
pub trait MemoryStore {
    /// The newest generation, or `None` for a store that has none.
    ///
    /// # Errors
    /// If the store cannot be read, or what it holds is damaged.
    fn load(&self) -> Result<Option<Generation>, PortError>;

    /// Writes a generation, all or nothing; once this returns, it survives a crash.
    ///
    /// # Errors
    /// If it cannot be written; the store is then unchanged.
    fn publish(&mut self, generation: &Generation) -> Result<(), PortError>;
}

/// (topic, partition).
pub type PartitionId = (std::sync::Arc<str>, i32);

/// What a poll brought.
#[derive(Debug)]
pub enum Polled {
    /// Records, in offset order a partition; none if the wait ran out.
    Records(Vec<Record>),
    /// These partitions are ours now: restore their state, then call [`Source::begin`].
    Assigned(Vec<PartitionId>),
    /// These are to be given up: finish and commit, then call [`Source::release`].
    Revoked(Vec<PartitionId>),
    /// These are no longer ours: forget them without a commit, then call [`Source::release`].
    Lost(Vec<PartitionId>),
    /// There is nothing more, ever: a file has ended.
    End,
}

/// Where records come from. Blocking; used from one thread.
pub trait Source {
    /// Waits for at most `timeout` for at most `max` records, or for a change of assignment.
    ///
    /// # Errors
    /// By disposition.
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Polled, PortError>;

    /// Starts reading assigned partitions, each where it is told, or else at its beginning.
    ///
    /// # Errors
    /// If a position is no longer on the log, or the broker does not answer.
    fn begin(&mut self, partitions: &[(PartitionId, Option<NextOffset>)]) -> Result<(), PortError>;

    /// Gives revoked or lost partitions up.
    ///
    /// # Errors
    /// By disposition.
    fn release(&mut self, partitions: &[PartitionId]) -> Result<(), PortError>;

    /// The group's committed offset of a partition, if it has one.
    ///
    /// # Errors
    /// By disposition.
    fn committed(&mut self, partition: &PartitionId) -> Result<Option<NextOffset>, PortError>;

    /// Commits; idempotent. Call it only after everything that came of the records before has been flushed.
    ///
    /// # Errors
    /// By disposition; a lost partition's offsets are not committed, and that is no error.
    fn commit(&mut self, next_offsets: &[NextOffset]) -> Result<(), PortError>;

    /// Stops or resumes fetching while polls go on, so that a slow sink does not cost the group membership.
    ///
    /// # Errors
    /// By disposition.
    fn set_paused(&mut self, paused: bool) -> Result<(), PortError>;
}

/// Where events and dead letters go. Blocking; used from one thread.
pub trait Sink {
    /// Takes events and dead letters on, in order a series. They may not be out yet when this returns.
    ///
    /// # Errors
    /// By disposition; what was taken on before stays.
    fn emit(&mut self, events: &[ScoredEvent], dead_letters: &[DeadLetter]) -> Result<(), PortError>;

    /// How many events and dead letters were taken on and are not known to be out.
    fn in_flight(&mut self) -> usize;

    /// Returns once everything that was taken on is out, durably.
    ///
    /// # Errors
    /// If anything could not be delivered.
    fn flush(&mut self) -> Result<(), PortError>;
}

/// A partition's series state, true for one position of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The partition and the first record that is not part of the state.
    pub next_offset: NextOffset,
    /// (series key, that series' serialized state).
    pub series: Vec<(String, Vec<u8>)>,
}

/// Keeps checkpoints. Blocking; used from one thread.
pub trait StateStore {
    /// The newest complete state of a partition: every series that was ever saved, newest version each.
    ///
    /// # Errors
    /// If it cannot be read whole.
    fn restore(&mut self, partition: &PartitionId) -> Result<Option<Checkpoint>, PortError>;

    /// Saves the series that changed since the last save; complete once this returns.
    ///
    /// # Errors
    /// If it could not be written; the state before stays restorable.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), PortError>;
}

/// Time, for intervals and metrics; never for scores.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Returns once so much time has passed.
    fn wait(&self, time: Duration);
}
