//! Cold start: a first generation from historical normal data.

use crate::domain::deviation::DeviationSettings;
use crate::domain::history::Segment;
use crate::domain::record::EventTime;
use crate::domain::unit::{Admission, Generation, Provenance, Unit, UnitId};
use crate::memory::calibration::{NormalWindow, ReadSettings, TooFew, calibrate};
use crate::memory::coreset::k_center_greedy;
use crate::ports::{Encoder, PortError};

/// How a memory is filled.
#[derive(Clone, Debug)]
pub struct PrefillSettings {
    /// Units, at most.
    pub units: usize,
    /// What memory will be read with.
    pub read: ReadSettings,
    /// What deviations will be made with.
    pub deviation: DeviationSettings,
}

/// Why a memory cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum PrefillError {
    /// There is no whole window.
    #[error(
        "the data gives no whole window of {size} samples; give more, or check align.gap_cells_max and the channels"
    )]
    NoWindows {
        /// T.
        size: usize,
    },
    /// There are too few.
    #[error(transparent)]
    TooFew(#[from] TooFew),
    /// The encoder failed.
    #[error(transparent)]
    Encoder(#[from] PortError),
}

/// Windows embedded at once: bounds what is held beside the result.
const BLOCK: usize = 1024;

/// Embeds every window of `segments`, chooses units by a coreset, and calibrates out of neighbourhood.
///
/// Numbers go on from `previous`: a generation's number and a unit's id are never used twice. The same data gives the
/// same generation.
///
/// # Errors
/// [`PrefillError`].
pub fn prefill(
    encoder: &mut dyn Encoder,
    settings: &PrefillSettings,
    segments: &[Segment],
    previous: Option<&Generation>,
) -> Result<Generation, PrefillError> {
    let windows = embed_windows(encoder, segments)?;
    let card = encoder.card();
    let Some(last) = windows.iter().map(|window| window.end).max() else {
        return Err(PrefillError::NoWindows { size: card.window.size });
    };
    let embeddings: Vec<f32> = windows.iter().flat_map(|window| window.embedding.iter().copied()).collect();
    let chosen = k_center_greedy(card.encoder.metric, &embeddings, card.encoder.dimension, settings.units);
    let first_id = previous.and_then(|previous| previous.units.last()).map_or(0, |unit| unit.id.0 + 1);
    let units: Vec<Unit> = (first_id..).zip(chosen).map(|(id, index)| unit(id, &windows[index])).collect();
    let calibration = calibrate(card, settings.read, &settings.deviation, &windows, &units)?;
    Ok(Generation {
        number: previous.map_or(1, |previous| previous.number + 1),
        effective_from: EventTime::from_millis(last.millis() + 1),
        model: card.identity(),
        metric: card.encoder.metric,
        calibration,
        units,
    })
}

fn unit(id: u64, window: &NormalWindow) -> Unit {
    Unit {
        id: UnitId(id),
        key: window.embedding.clone(),
        value: window.value.clone(),
        provenance: Provenance {
            series: window.series.clone(),
            start: window.start,
            end: window.end,
            source: window.source.clone(),
            offsets: window.offsets,
            admitted: Admission::Prefill,
        },
    }
}

fn embed_windows(encoder: &mut dyn Encoder, segments: &[Segment]) -> Result<Vec<NormalWindow>, PortError> {
    let card = encoder.card().clone();
    let mut windows: Vec<NormalWindow> = segments
        .iter()
        .flat_map(|segment| segment.windows(&card))
        .map(|window| NormalWindow {
            series: window.segment.series.clone(),
            start: window.start,
            end: window.end,
            source: window.segment.source.clone(),
            offsets: window.offsets,
            value: window.value,
            embedding: Vec::new(),
        })
        .collect();
    for block in windows.chunks_mut(BLOCK) {
        let values: Vec<f32> = block.iter().flat_map(|window| window.value.iter().copied()).collect();
        let embeddings = encoder.embed(&values)?;
        for (window, embedding) in block.iter_mut().zip(embeddings.chunks(card.encoder.dimension)) {
            window.embedding = embedding.to_vec();
        }
    }
    Ok(windows)
}
