//! What memory holds: units, and the immutable generations that they form.

use serde::{Deserialize, Serialize};

use super::model::Metric;
use super::record::{EventTime, SeriesKey};

/// Names a unit within its bank, for ever: it is not used again after the unit is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub u64);

/// Where a unit was learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The series that it comes from.
    pub series: SeriesKey,
    /// Event time of its window's first sample.
    pub start: EventTime,
    /// Event time of its window's last sample.
    pub end: EventTime,
    /// The log it was read from: a topic and partition, or a file.
    pub source: String,
    /// Smallest and largest offset (or row) of the records behind it.
    pub offsets: (i64, i64),
    /// Why it was admitted.
    pub admitted: Admission,
}

/// Why a unit was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Chosen from historical normal data at cold start.
    Prefill,
}

/// One key-value entry of memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub id: UnitId,
    /// The embedding, `[dimension]`, f32.
    pub key: Vec<f32>,
    /// The normalised window that it stands for, `[time, feature]`, f32.
    pub value: Vec<f32>,
    /// Where it was learned.
    pub provenance: Provenance,
}

/// The units in which a deviation's parts are measured: medians over normal windows, out of neighbourhood. All positive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scales {
    /// Softmax temperature, in the metric's own unit.
    pub temperature: f32,
    /// Embedding distance to the neighbors, weighted.
    pub distance: f32,
    /// Residual of each feature, `[feature]`, in normalised units.
    pub channels: Vec<f32>,
    /// Power mean of the scaled residuals over the features.
    pub residual: f32,
}

/// What was measured on normal windows that do not overlap the units they are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Units of the deviation's parts.
    pub scales: Scales,
    /// Deviations in event-time order: what a new series' threshold history begins with.
    pub deviations: Vec<f32>,
}

/// An immutable version of a bank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Counts up from 1.
    pub number: u64,
    /// The event time after its newest window. Not used yet: the newest generation judges everything.
    pub effective_from: EventTime,
    /// The model whose embeddings are its keys: `ModelCard::identity`.
    pub model: String,
    /// How keys are compared.
    pub metric: Metric,
    /// What it was calibrated to.
    pub calibration: Calibration,
    /// The units, by ascending id.
    pub units: Vec<Unit>,
}
