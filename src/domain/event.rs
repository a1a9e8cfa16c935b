//! What comes out: scored events.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::alarm::Transition;
use super::record::{EventTime, SeriesKey};
use super::unit::{Provenance, UnitId};

/// What the pipeline says of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredEvent {
    /// Stable: a function of series, window, model and memory generation alone, so a duplicate has the same id.
    pub id: String,
    /// The series.
    pub series: SeriesKey,
    /// Event time of the window's first sample.
    pub window_start: EventTime,
    /// Event time of the window's last sample.
    pub window_end: EventTime,
    /// How far the window is from what memory says it should have looked like, in calibration units (1 is typical of
    /// normal windows); `None` if a channel without any value kept it from being judged.
    pub deviation: Option<f32>,
    /// The dynamic threshold; `None` while the series' history is too short.
    pub threshold: Option<f32>,
    /// deviation / threshold.
    pub score: Option<f32>,
    /// The score is above 1, or a sensor fault was found and counts as an anomaly.
    pub anomaly: bool,
    /// The alarm that the window belongs to.
    pub alarm: Option<AlarmEvidence>,
    /// What each encoded channel did and should have done, largest residual first; empty without full evidence.
    pub channels: Vec<ChannelEvidence>,
    /// The nearest units, nearest first; empty without full evidence.
    pub neighbors: Vec<NeighborEvidence>,
    /// The model: `ModelCard::identity`.
    pub model: Arc<str>,
    /// The memory generation that judged it.
    pub generation: u64,
    /// The rule behind the threshold, as text: quantile, factor and history length.
    pub threshold_version: Arc<str>,
    /// The records behind the window.
    pub source: SourceRange,
    /// Whatever qualifies the judgement.
    pub reasons: Vec<Reason>,
}

/// The alarm that a window belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmEvidence {
    /// Stable name of the alarm: one for all windows from raised to cleared.
    pub id: String,
    /// End of the first flagged window.
    pub since: EventTime,
    /// What this window did to it.
    pub transition: Transition,
}

/// One channel's part in a deviation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelEvidence {
    /// The channel's name.
    pub channel: Arc<str>,
    /// Mean raw value over the window, in the channel's unit.
    pub observed: f64,
    /// What memory says that mean should have been, in the channel's unit.
    pub expected: f64,
    /// Absolute difference of the two, in units of what is typical of the channel in normal windows.
    pub residual: f32,
}

/// One unit that a window was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighborEvidence {
    /// The unit.
    pub unit: UnitId,
    /// Its distance from the window's embedding.
    pub distance: f32,
    /// 1 - distance for cosine, in [-1, 1]; 1 / (1 + distance) for Euclidean, in (0, 1].
    pub similarity: f32,
    /// Its softmax weight.
    pub weight: f32,
    /// Where it was learned.
    pub provenance: Provenance,
}

/// The records behind a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRange {
    /// Topic, or a file's path.
    pub topic: Arc<str>,
    /// Partition; 0 for a file.
    pub partition: i32,
    /// Smallest offset (or row).
    pub first_offset: i64,
    /// Largest offset (or row).
    pub last_offset: i64,
}

/// Something that qualifies a judgement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// What.
    pub code: ReasonCode,
    /// The channel concerned, if it is about one.
    pub channel: Option<Arc<str>>,
}

/// The reasons that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The history is too short for a threshold: nothing is flagged by score yet.
    WarmingUp,
    /// Some values of the channel were held or interpolated.
    GapFilled,
    /// Records of the series arrived too late for their sample since the window before this one.
    Late,
    /// The channel sent NaN or an infinity, or repeats one value for longer than it ever did in normal data.
    SensorFault,
    /// The channel had no value at all for part of the window; if it is an encoded one, the window was not judged.
    ChannelMissing,
    /// The embedding alone is further from every unit than the threshold allows: memory has seen nothing like it.
    UnknownRegime,
}

impl ReasonCode {
    /// The word for it on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WarmingUp => "warming_up",
            Self::GapFilled => "gap_filled",
            Self::Late => "late",
            Self::SensorFault => "sensor_fault",
            Self::ChannelMissing => "channel_missing",
            Self::UnknownRegime => "unknown_regime",
        }
    }
}

/// A stable name: the first 128 bits of SHA-256 over length-prefixed parts, in hexadecimal.
pub fn stable_id(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize()[..16])
}

/// SHA-256 in hexadecimal.
pub fn content_hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_parts_apart() {
        assert_ne!(stable_id(&[b"ab", b"c"]), stable_id(&[b"a", b"bc"]));
        assert_eq!(stable_id(&[b"ab", b"c"]).len(), 32);
    }
}
