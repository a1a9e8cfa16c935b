//! poll -> pipeline -> emit -> commit, on a worker's own thread.
//!
//! Laws:
//! 1. At least once: offsets are committed only after everything that came of the records before them is out. What is
//!    delivered twice after a crash has the same event id.
//! 2. A checkpoint is saved after the events it knows of are out, and before the offsets it covers are committed; recovery
//!    begins at the newest one and reprocesses what was committed since without giving its events again. A partition
//!    without one gets it with its first commit: what is committed can always be recovered.
//! 3. Revoked partitions are drained, checkpointed and committed before they are given up; lost ones are forgotten.
//! 4. Every queue is bounded: above `in_flight_max` unacknowledged events fetching pauses, while polls go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::RuntimeConfig;
use crate::domain::alarm::Transition;
use crate::domain::record::NextOffset;
use crate::pipeline::{Outcome, Pipeline};
use crate::ports::{Clock, Disposition, PartitionId, Polled, PortError, Sink, Source, StateStore};
use crate::telemetry::Metrics;

/// Tells workers to drain and stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// Asks for it; returns at once.
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How long what may be tried again may go on failing: less than `max.poll.interval.ms` (5 min), after which the group would
/// give the partitions to others.
const PATIENCE: Duration = Duration::from_secs(240);
/// The pause after a first failure; it doubles with each further one, up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(10);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Failures in a row: one that goes on until something succeeds.
#[derive(Clone, Copy, Debug, Default)]
struct Retries {
    failures: u32,
    /// When the row began.
    since: Duration,
}

impl Retries {
    /// Lets what may be tried again pass, after a pause.
    ///
    /// # Errors
    /// The error itself, if it is fatal, or the row has gone on for longer than [`PATIENCE`].
    fn tolerate(&mut self, error: PortError, clock: &dyn Clock) -> Result<(), PortError> {
        let now = clock.now();
        if self.failures == 0 {
            self.since = now;
        }
        match error.disposition {
            Disposition::Retry if now - self.since < PATIENCE => {
                tracing::warn!(error = &error as &dyn std::error::Error, failures = self.failures + 1, "trying again");
                clock.wait((BACKOFF * (1 << self.failures.min(16))).min(BACKOFF_MAX));
                self.failures += 1;
                Ok(())
            }
            Disposition::Retry | Disposition::Fatal => Err(error),
        }
    }
}

/// What a worker works with.
pub struct Components<'a> {
    /// Where records come from.
    pub source: &'a mut dyn Source,
    /// Where events go.
    pub sink: &'a mut dyn Sink,
    /// Where checkpoints are kept; none for files, which are read whole.
    pub states: Option<&'a mut dyn StateStore>,
    /// Time for intervals.
    pub clock: &'a dyn Clock,
    /// Counters.
    pub metrics: &'a Metrics,
}

/// One worker.
pub struct Worker<'a> {
    components: Components<'a>,
    pipeline: Pipeline,
    settings: RuntimeConfig,
    /// Processed and not yet committed.
    uncommitted: BTreeMap<PartitionId, NextOffset>,
    /// What is committed, by partition: reprocessing from a checkpoint must not commit what lies before it.
    committed: BTreeMap<PartitionId, NextOffset>,
    /// The position of the last checkpoint, by partition.
    checkpointed: BTreeMap<PartitionId, NextOffset>,
    committed_at: Duration,
    checkpointed_at: Duration,
    paused: bool,
    poll_retries: Retries,
    commit_retries: Retries,
    /// The group has given an assignment, if only an empty one.
    member: bool,
    /// What this worker has added to the gauges that all share: series, events in flight.
    gauged: (i64, i64),
}

impl<'a> Worker<'a> {
    /// A worker that holds nothing.
    pub fn new(components: Components<'a>, pipeline: Pipeline, settings: RuntimeConfig) -> Self {
        let now = components.clock.now();
        Self {
            components,
            pipeline,
            settings,
            uncommitted: BTreeMap::new(),
            committed: BTreeMap::new(),
            checkpointed: BTreeMap::new(),
            committed_at: now,
            checkpointed_at: now,
            paused: false,
            poll_retries: Retries::default(),
            commit_retries: Retries::default(),
            member: false,
            gauged: (0, 0),
        }
    }

    /// Works until the source ends or `shutdown` is requested; then drains, checkpoints and commits.
    ///
    /// # Errors
    /// The first error that is fatal, or was tried again too often. What is committed is out.
    pub fn run(mut self, shutdown: &Shutdown) -> Result<(), PortError> {
        loop {
            if shutdown.requested() {
                return self.commit(true);
            }
            let polled = self.components.source.poll(self.settings.batch_records_max, self.settings.poll_timeout);
            if polled.is_ok() {
                self.poll_retries = Retries::default();
            }
            match polled {
                Ok(Polled::Records(records)) => {
                    if !records.is_empty() {
                        let begun = self.components.clock.now();
                        self.components.metrics.records.inc_by(records.len() as u64);
                        let outcome = self.pipeline.process(&records)?;
                        let taken = self.components.clock.now() - begun;
                        self.components.metrics.batch_duration.observe(taken.as_secs_f64());
                        self.emit(outcome)?;
                    }
                }
                Ok(Polled::Assigned(partitions)) => self.assigned(&partitions, shutdown)?,
                Ok(Polled::Revoked(partitions)) => self.revoked(&partitions)?,
                Ok(Polled::Lost(partitions)) => {
                    tracing::warn!(?partitions, "partitions were lost; what is not committed will be done by others");
                    self.forget(&partitions);
                    self.belong(false);
                    self.components.source.release(&partitions)?;
                }
                Ok(Polled::End) => return self.commit(true),
                Err(error) => self.poll_retries.tolerate(error, self.components.clock)?,
            }
            self.breathe()?;
            if self.components.clock.now() - self.committed_at >= self.settings.commit_interval {
                let checkpoint =
                    self.components.clock.now() - self.checkpointed_at >= self.settings.checkpoint_interval;
                self.commit(checkpoint)?;
            }
        }
    }

    /// Restores what is ours now, and starts reading it.
    fn assigned(&mut self, partitions: &[PartitionId], shutdown: &Shutdown) -> Result<(), PortError> {
        self.components.metrics.restoring(true);
        let mut starts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let checkpoint = match &mut self.components.states {
                Some(states) => patiently(self.components.clock, shutdown, || states.restore(partition))?,
                None => None,
            };
            let committed = patiently(self.components.clock, shutdown, || self.components.source.committed(partition))?;
            self.committed.extend(committed.clone().map(|next| (partition.clone(), next)));
            let silent_until = committed.as_ref().map_or(0, NextOffset::offset);
            if checkpoint.is_none() && silent_until > 0 && self.components.states.is_some() {
                tracing::warn!(?partition, silent_until, "no checkpoint: its series begin anew");
            }
            self.pipeline.restore(partition, checkpoint.as_ref(), silent_until)?;
            let checkpointed = checkpoint.map(|checkpoint| checkpoint.next_offset);
            self.checkpointed.extend(checkpointed.clone().map(|next| (partition.clone(), next)));
            starts.push((partition.clone(), checkpointed.or(committed)));
        }
        patiently(self.components.clock, shutdown, || self.components.source.begin(&starts))?;
        self.components.metrics.restoring(false);
        self.belong(true);
        tracing::info!(partitions = partitions.len(), series = self.pipeline.series_count(), "assigned");
        Ok(())
    }

    /// Finishes, checkpoints and commits what is to be given up.
    fn revoked(&mut self, partitions: &[PartitionId]) -> Result<(), PortError> {
        if self.components.states.is_none() {
            // A file has ended: what its series still hold back will not be completed by anything.
            for partition in partitions {
                let outcome = self.pipeline.finish(partition)?;
                self.emit(outcome)?;
            }
        }
        self.commit(true)?;
        self.forget(partitions);
        self.components.source.release(partitions)?;
        tracing::info!(partitions = partitions.len(), "revoked");
        Ok(())
    }

    fn forget(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.pipeline.forget(partition);
            self.uncommitted.remove(partition);
            self.committed.remove(partition);
            self.checkpointed.remove(partition);
        }
    }

    /// Notes whether the group counts this worker in.
    fn belong(&mut self, member: bool) {
        if self.member != member {
            self.components.metrics.member(member);
            self.member = member;
        }
    }

    fn emit(&mut self, outcome: Outcome) -> Result<(), PortError> {
        let metrics = self.components.metrics;
        metrics.windows.inc_by(outcome.windows as u64);
        metrics.unknown_channel_values.inc_by(outcome.unknown_channels);
        metrics.events.inc_by(outcome.events.len() as u64);
        for event in outcome.events.iter().filter(|event| event.anomaly) {
            metrics.anomalies.inc();
            if event.alarm.as_ref().is_some_and(|alarm| alarm.transition == Transition::Raised) {
                metrics.alarms_raised.inc();
                tracing::info!(series = %event.series, window_end = %event.window_end, score = event.score, "alarm raised");
            }
        }
        for letter in &outcome.dead_letters {
            metrics.dead_letter(letter.kind);
            tracing::debug!(position = %letter.position, kind = letter.kind, error = %letter.error, "dead letter");
        }
        if let Some(first) = outcome.dead_letters.first() {
            let count = outcome.dead_letters.len();
            tracing::warn!(count, position = %first.position, kind = first.kind, error = %first.error, "dead letters");
        }
        self.components.sink.emit(&outcome.events, &outcome.dead_letters)?;
        for next in outcome.next_offsets {
            let partition = (next.topic().into(), next.partition());
            if self.committed.get(&partition).is_none_or(|committed| committed.offset() < next.offset()) {
                self.uncommitted.insert(partition, next);
            }
        }
        Ok(())
    }

    /// Pauses fetching while the sink is behind, and resumes once it has caught up by half.
    fn breathe(&mut self) -> Result<(), PortError> {
        let in_flight = self.components.sink.in_flight();
        let change = change(&mut self.gauged.1, in_flight);
        self.components.metrics.in_flight_events.inc_by(change);
        let max = self.settings.in_flight_max;
        let paused = if self.paused { in_flight > max / 2 } else { in_flight > max };
        if paused != self.paused {
            self.components.source.set_paused(paused)?;
            self.paused = paused;
            tracing::debug!(paused, in_flight, "backpressure");
        }
        Ok(())
    }

    /// Flushes, saves a checkpoint if wanted, and commits.
    fn commit(&mut self, checkpoint: bool) -> Result<(), PortError> {
        let begun = self.components.clock.now();
        self.committed_at = begun;
        let change = change(&mut self.gauged.0, self.pipeline.series_count());
        self.components.metrics.series.inc_by(change);
        // What is committed must be recoverable, so a first commit never goes without a checkpoint.
        let first = self.uncommitted.keys().any(|partition| !self.checkpointed.contains_key(partition));
        let checkpoint = checkpoint || first;
        if checkpoint {
            self.checkpointed_at = begun;
        }
        if self.uncommitted.is_empty() && !checkpoint {
            return Ok(());
        }
        self.components.sink.flush()?;
        if let (true, Some(states)) = (checkpoint, &mut self.components.states) {
            let partitions: Vec<_> = self.pipeline.partitions().cloned().collect();
            for partition in partitions {
                let Some(checkpoint) = self.pipeline.checkpoint(&partition) else { continue };
                // Also without a changed series: the position itself must go on, or retention overtakes it.
                if self.checkpointed.get(&partition) != Some(&checkpoint.next_offset) {
                    states.save(&checkpoint)?;
                    self.checkpointed.insert(partition, checkpoint.next_offset);
                }
            }
        }
        let next_offsets: Vec<_> = self.uncommitted.values().cloned().collect();
        if next_offsets.is_empty() {
            return Ok(());
        }
        match self.components.source.commit(&next_offsets) {
            Ok(()) => {
                self.commit_retries = Retries::default();
                self.committed.append(&mut self.uncommitted);
                self.components.metrics.commits.inc();
                self.components.metrics.commit_duration.observe((self.components.clock.now() - begun).as_secs_f64());
                Ok(())
            }
            Err(error) => self.commit_retries.tolerate(error, self.components.clock),
        }
    }
}

/// What has changed since the last call with this `before`.
fn change(before: &mut i64, now: usize) -> i64 {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    now - std::mem::replace(before, now)
}

/// Tries until it succeeds, fails for good, has failed for too long, or shutdown is requested.
fn patiently<T>(
    clock: &dyn Clock,
    shutdown: &Shutdown,
    mut attempt: impl FnMut() -> Result<T, PortError>,
) -> Result<T, PortError> {
    let mut retries = Retries::default();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if shutdown.requested() => return Err(error),
            Err(error) => retries.tolerate(error, clock)?,
        }
    }
}

#[cfg(test)]
mod tests;
