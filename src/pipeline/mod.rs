//! The path of a record: one synchronous function over a bounded batch.
//!
//! Laws:
//! 1. What comes out is a function of the records, the state before, the model and the memory generation. No clock, no
//!    network, no disk.
//! 2. Nothing observable depends on how records are cut into batches, or on how series are spread over workers.
//! 3. Per-series order is kept.
//! 4. No record makes it panic or stop: what cannot be used becomes a dead letter.
//!
//! It does not commit, retry or wait: that is `runtime`.

mod emit;
mod series;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use emit::Judgement;
pub use emit::{Emit, EmitSettings};
use series::SeriesState;

use crate::codec::{Decoder, dead_letter};
use crate::domain::alarm::AlarmSettings;
use crate::domain::align::{AlignSettings, Aligned};
use crate::domain::deviation::{Comparison, DeviationSettings};
use crate::domain::event::ScoredEvent;
use crate::domain::model::ModelCard;
use crate::domain::normalize::normalize;
use crate::domain::record::{DeadLetter, NextOffset, Position, Reading, Record, SeriesKey};
use crate::domain::threshold::{ThresholdSettings, quantile};
use crate::domain::window::Window;
use crate::memory::bank::Bank;
use crate::ports::{Checkpoint, Encoder, PartitionId, PortError};

/// How windows are made and judged.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// How series are put onto the grid.
    pub align: AlignSettings,
    /// How a window's parts become one deviation.
    pub deviation: DeviationSettings,
    /// The dynamic threshold.
    pub threshold: ThresholdSettings,
    /// Alarms.
    pub alarm: AlarmSettings,
    /// Whether a stuck or dead sensor counts as an anomaly.
    pub sensor_faults: bool,
    /// Which windows give an event, and how much evidence.
    pub emit: EmitSettings,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Scored events, in order a series.
    pub events: Vec<ScoredEvent>,
    /// Records that could not be used.
    pub dead_letters: Vec<DeadLetter>,
    /// One a partition: what may be committed once everything above is out.
    pub next_offsets: Vec<NextOffset>,
    /// Windows that were judged, emitted or not.
    pub windows: usize,
    /// Values of channels that the model does not know, and that were ignored.
    pub unknown_channels: u64,
}

/// Windows that wait to be judged together: bounds what is held on the way to these and one record's, which may complete
/// many.
const WINDOWS: usize = 4096;

/// Everything that one worker knows: its partitions' series, and what they are judged by.
pub struct Pipeline {
    decoder: Decoder,
    encoder: Box<dyn Encoder>,
    bank: Arc<Bank>,
    settings: PipelineSettings,
    card: Arc<ModelCard>,
    /// What the model is named by.
    model: Arc<str>,
    stuck_after: Vec<u32>,
    /// A typical deviation: what a series' running mean begins with.
    typical: f32,
    names: emit::Names,
    partitions: BTreeMap<PartitionId, Partition>,
    /// Empty between records; keeps its room.
    aligned: Vec<Aligned>,
}

/// One partition's series.
#[derive(Default)]
struct Partition {
    series: HashMap<SeriesKey, SeriesState>,
    next_offset: Option<NextOffset>,
    /// Records before this offset were committed in an earlier life: their events are out already.
    silent_until: i64,
}

/// A decoded reading with the record that it comes from.
struct Placed<'a> {
    record: &'a Record,
    reading: Reading,
}

/// A window on its way through the batch.
struct Ready {
    partition: PartitionId,
    series: SeriesKey,
    window: Window,
    /// Records of the series were too late since the window before.
    late: bool,
    /// The window begins anew after a gap.
    fresh: bool,
    silent: bool,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(decoder: Decoder, encoder: Box<dyn Encoder>, bank: Arc<Bank>, settings: PipelineSettings) -> Self {
        let card = Arc::new(encoder.card().clone());
        let model: Arc<str> = card.identity().into();
        let mut deviations = bank.generation().calibration.deviations.clone();
        deviations.sort_by(f32::total_cmp);
        Self {
            decoder,
            stuck_after: card.stuck_after(),
            typical: if deviations.is_empty() { 1.0 } else { quantile(&deviations, 0.5) },
            names: emit::Names::new(model.clone(), &card, &settings.threshold),
            model,
            encoder,
            bank,
            settings,
            card,
            partitions: BTreeMap::new(),
            aligned: Vec::new(),
        }
    }

    /// Takes a batch through the path. Records of one partition come in offset order.
    ///
    /// # Errors
    /// If the encoder fails; the state is then undefined, and the worker must restart from its last checkpoint.
    pub fn process(&mut self, records: &[Record]) -> Result<Outcome, PortError> {
        let mut outcome = Outcome::default();
        let readings = self.decode(records, &mut outcome);
        let mut windows = Vec::new();
        for reading in readings {
            self.align_and_window(reading, &mut windows, &mut outcome);
            if windows.len() >= WINDOWS {
                self.judge_all(&mut windows, &mut outcome)?;
            }
        }
        self.judge_all(&mut windows, &mut outcome)?;
        outcome.dead_letters.sort_by(|a, b| a.position.cmp(&b.position));
        Ok(outcome)
    }

    /// Judges what a partition's series still hold back, as if their watermarks had passed: its input has ended.
    ///
    /// # Errors
    /// As [`Pipeline::process`].
    pub fn finish(&mut self, partition: &PartitionId) -> Result<Outcome, PortError> {
        let mut outcome = Outcome::default();
        let mut windows = Vec::new();
        if let Some(held) = self.partitions.get_mut(partition) {
            let mut keys: Vec<_> = held.series.keys().cloned().collect();
            keys.sort();
            for key in keys {
                let Some(state) = held.series.get_mut(&key) else { continue };
                let mut aligned = Vec::new();
                state.aligner.finish(&self.settings.align, &mut aligned);
                let silent = false;
                window(&self.card, &self.stuck_after, state, aligned, |window, late, fresh| {
                    let (partition, series) = (partition.clone(), key.clone());
                    windows.push(Ready { partition, series, window, late, fresh, silent });
                });
            }
        }
        self.judge_all(&mut windows, &mut outcome)?;
        Ok(outcome)
    }

    /// decode: bytes to readings.
    fn decode<'a>(&mut self, records: &'a [Record], outcome: &mut Outcome) -> Vec<Placed<'a>> {
        let mut readings = Vec::with_capacity(records.len());
        for record in records {
            let partition = partition_of(&mut self.partitions, &record.position);
            partition.next_offset = Some(record.position.next());
            let silent = record.position.offset < partition.silent_until;
            match self.decoder.decode(record) {
                Ok(decoded) => {
                    outcome.unknown_channels += u64::from(decoded.unknown_channels);
                    if !decoded.is_ignored() {
                        readings.push(Placed { record, reading: decoded.reading });
                    }
                }
                Err(_) if silent => {}
                Err(error) => outcome.dead_letters.push(dead_letter(record, error.kind(), &error)),
            }
        }
        let touched = records.iter().map(|record| (&record.position.topic, record.position.partition));
        let touched: std::collections::BTreeSet<_> = touched.collect();
        outcome.next_offsets = touched
            .into_iter()
            .filter_map(|(topic, partition)| self.partitions[&(topic.clone(), partition)].next_offset.clone())
            .collect();
        readings
    }

    /// align and window: a reading to samples on the grid, and samples to windows.
    fn align_and_window(&mut self, placed: Placed<'_>, windows: &mut Vec<Ready>, outcome: &mut Outcome) {
        let Placed { record, reading } = placed;
        let position = &record.position;
        let partition = partition_of(&mut self.partitions, position);
        let silent = position.offset < partition.silent_until;
        let state = match partition.series.get_mut(&reading.series) {
            Some(state) => state,
            None => partition.series.entry(reading.series.clone()).or_insert_with(|| {
                let calibration = &self.bank.generation().calibration;
                SeriesState::new(&self.model, self.card.channel.len(), calibration, &self.settings)
            }),
        };
        if position.offset < state.next_offset {
            return; // A checkpoint of this series already holds it.
        }
        state.next_offset = position.offset + 1;
        state.dirty = true;
        let mut aligned = std::mem::take(&mut self.aligned);
        match state.aligner.push(&self.settings.align, &reading, position.offset, &mut aligned) {
            Ok(()) => window(&self.card, &self.stuck_after, state, aligned.drain(..), |window, late, fresh| {
                let id = (position.topic.clone(), position.partition);
                windows.push(Ready { partition: id, series: reading.series.clone(), window, late, fresh, silent });
            }),
            Err(late) => {
                state.late = true;
                if !silent {
                    outcome.dead_letters.push(dead_letter(record, "late", &late));
                }
            }
        }
        self.aligned = aligned;
    }

    /// normalize, embed, neighbors: all windows of the batch at once; then deviation, threshold, alarm and emit: one window
    /// after the other, since each moves its series' state.
    fn judge_all(&mut self, windows: &mut Vec<Ready>, outcome: &mut Outcome) -> Result<(), PortError> {
        outcome.windows += windows.len();
        let complete = |ready: &Ready| self.card.encoded().all(|channel| ready.window.quality[channel].missing == 0);
        let complete: Vec<bool> = windows.iter().map(complete).collect();
        let normalized: Vec<f32> = windows
            .iter()
            .zip(&complete)
            .filter(|(_, complete)| **complete)
            .flat_map(|(ready, _)| normalize(&self.card, &ready.window))
            .collect();
        let embeddings = self.encoder.embed(&normalized)?;
        let mut comparisons = self.bank.compare(&normalized, &embeddings).into_iter();
        for (ready, complete) in windows.drain(..).zip(complete) {
            let comparison = if complete { comparisons.next() } else { None };
            self.judge(&ready, comparison, outcome);
        }
        Ok(())
    }

    /// deviation, threshold, alarm, emit.
    fn judge(&mut self, ready: &Ready, comparison: Option<Comparison>, outcome: &mut Outcome) {
        let generation = self.bank.generation();
        let partition = self.partitions.get_mut(&ready.partition);
        let state = partition.and_then(|partition| partition.series.get_mut(&ready.series));
        let state = state.expect("a window comes from a series that is held");
        if ready.fresh {
            state.interrupt();
        }
        let deviation =
            comparison.as_ref().map(|comparison| state.deviation(self.typical, &self.settings, generation, comparison));
        let sensor_fault = self.settings.sensor_faults && emit::dead_sensor(&self.card, &ready.window);
        let threshold = state.threshold(&self.settings);
        let score = deviation.zip(threshold).map(|((value, _), threshold)| value / threshold);
        let anomaly = sensor_fault || score.is_some_and(|score| score > 1.0);
        if let (Some((value, _)), false) = (deviation, anomaly) {
            state.history.push(&self.settings.threshold, value);
        }
        let alarm = state.alarm.step(&self.settings.alarm, ready.window.end, anomaly, score.unwrap_or(f32::NAN));
        let judgement = Judgement { deviation, threshold, score, anomaly, alarm, late: ready.late, comparison };
        let wanted = self.settings.emit.wants(&self.card, &ready.window, &judgement, &mut state.last_emitted);
        if wanted && !ready.silent {
            let names = &self.names;
            outcome.events.push(names.event(
                &self.settings.emit,
                &self.card,
                generation,
                &ready.series,
                &ready.partition,
                &ready.window,
                judgement,
            ));
        }
    }

    /// Begins a partition, with the state of a checkpoint if there is one. Events of records before `silent_until` are
    /// out already and are not given again.
    ///
    /// # Errors
    /// If a series' state is damaged, or of another version or model.
    pub fn restore(
        &mut self,
        partition: &PartitionId,
        checkpoint: Option<&Checkpoint>,
        silent_until: i64,
    ) -> Result<(), PortError> {
        let mut restored = Partition { silent_until, ..Partition::default() };
        for (key, bytes) in checkpoint.iter().flat_map(|checkpoint| &checkpoint.series) {
            let channels = self.card.channel.len();
            let state = SeriesState::deserialize(bytes, &self.settings, &self.model, channels).map_err(|error| {
                PortError::fatal(format!(
                    "the checkpoint of series {key:?} ({}-{}) cannot be used: {error}; use a new kafka.state_topic to go \
                     on at the committed offset, or a new kafka.group to begin anew",
                    partition.0, partition.1
                ))
            })?;
            restored.series.insert(SeriesKey::new(key), state);
        }
        restored.next_offset = checkpoint.map(|checkpoint| checkpoint.next_offset.clone());
        self.partitions.insert(partition.clone(), restored);
        Ok(())
    }

    /// What changed in a partition since the last checkpoint; `None` if neither a checkpoint nor a record has come yet.
    pub fn checkpoint(&mut self, partition: &PartitionId) -> Option<Checkpoint> {
        let held = self.partitions.get_mut(partition)?;
        let next_offset = held.next_offset.clone()?;
        let mut series: Vec<_> = held
            .series
            .iter_mut()
            .filter_map(|(key, state)| {
                std::mem::take(&mut state.dirty).then(|| (key.as_str().to_owned(), state.serialize()))
            })
            .collect();
        series.sort();
        Some(Checkpoint { next_offset, series })
    }

    /// Forgets a partition.
    pub fn forget(&mut self, partition: &PartitionId) {
        self.partitions.remove(partition);
    }

    /// How many series are held.
    pub fn series_count(&self) -> usize {
        self.partitions.values().map(|partition| partition.series.len()).sum()
    }

    /// The partitions that are held.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionId> {
        self.partitions.keys()
    }
}

/// The partition of a position; made if it is new, as for records that no assignment announced.
fn partition_of<'a>(partitions: &'a mut BTreeMap<PartitionId, Partition>, position: &Position) -> &'a mut Partition {
    partitions.entry((position.topic.clone(), position.partition)).or_default()
}

/// Marks stuck sensors, buffers samples, and gives each window that they complete: (window, late, fresh).
fn window(
    card: &ModelCard,
    stuck_after: &[u32],
    state: &mut SeriesState,
    aligned: impl IntoIterator<Item = Aligned>,
    mut take: impl FnMut(Window, bool, bool),
) {
    for aligned in aligned {
        match aligned {
            Aligned::Break => {
                state.stuck.reset();
                state.buffer.reset();
                state.fresh = true;
            }
            Aligned::Sample(mut sample) => {
                state.stuck.mark(&mut sample, stuck_after);
                if let Some(window) = state.buffer.push(sample, card.window.size, card.window.stride, card.grid_ms()) {
                    take(window, std::mem::take(&mut state.late), std::mem::take(&mut state.fresh));
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
