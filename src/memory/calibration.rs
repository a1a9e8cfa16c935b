//! Cold start: from embedded normal windows to a calibrated first set of units.
//!
//! Calibration is out of neighbourhood: a window is compared only with units of other series, or of its own at least one
//! window length away, since it would otherwise be measured against itself and the threshold would be far too low.

use crate::domain::deviation::{
    Comparison, DeviationSettings, Smoothed, compare, measure, power_mean, scaled_residuals,
};
use crate::domain::model::ModelCard;
use crate::domain::neighbor::Neighbor;
use crate::domain::record::{EventTime, SeriesKey};
use crate::domain::threshold::quantile;
use crate::domain::unit::{Calibration, Scales, Unit};
use crate::memory::exact::ExactIndex;
use crate::ports::NeighborIndex;

/// A normalised, embedded window of normal data.
#[derive(Clone, Debug)]
pub struct NormalWindow {
    /// Its series.
    pub series: SeriesKey,
    /// Event time of its first sample.
    pub start: EventTime,
    /// Event time of its last sample.
    pub end: EventTime,
    /// The log it was read from.
    pub source: String,
    /// Smallest and largest offset (or row) behind it.
    pub offsets: (i64, i64),
    /// `[time, feature]`.
    pub value: Vec<f32>,
    /// `[dimension]`.
    pub embedding: Vec<f32>,
}

/// What memory is read with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadSettings {
    /// Neighbors a window is compared with.
    pub k: usize,
    /// Softmax temperature, in median distances to the nearest unit.
    pub temperature: f32,
    /// Deviations kept for new series' histories.
    pub history: usize,
}

/// Too little normal data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{windows} normal windows leave too few neighbors out of neighbourhood (each needs {k} units at least one window \
     length of {length} samples away); give more normal data, or lower memory.k"
)]
pub struct TooFew {
    windows: usize,
    k: usize,
    length: usize,
}

/// The least temperature.
const TEMPERATURE_MIN: f32 = 1e-6;
/// The least distance and residual scale: of whitened embeddings and scaled residuals a typical value is about 1, and one
/// far below says that normal data repeats itself, not that a small deviation is rare.
const SCALE_MIN: f32 = 0.05;
/// The least scale of a channel's residual, in normalised units.
const CHANNEL_MIN: f32 = 0.02;
/// A quantised channel's median residual is 0 though its residuals are not: its scale is at least this share of their mean.
const MEAN_SHARE: f32 = 0.5;

/// Measures `windows`, in event-time order a series, against `units`.
///
/// The scales are medians with floors; the deviations are smoothed as they will be in service, and where there are more than
/// `settings.history` of them, evenly thinned.
///
/// # Errors
/// [`TooFew`] if fewer than half of the windows have `k` units out of neighbourhood.
pub fn calibrate(
    card: &ModelCard,
    settings: ReadSettings,
    deviation: &DeviationSettings,
    windows: &[NormalWindow],
    units: &[Unit],
) -> Result<Calibration, TooFew> {
    let found = out_of_neighbourhood(card, settings.k, windows, units);
    if found.iter().flatten().count() * 2 < windows.len().max(1) {
        return Err(TooFew { windows: windows.len(), k: settings.k, length: card.window.size });
    }
    let nearest = found.iter().flatten().map(|neighbors| neighbors[0].distance).collect();
    let temperature = (settings.temperature * median(nearest)).max(TEMPERATURE_MIN);
    let comparisons: Vec<Option<Comparison>> = windows
        .iter()
        .zip(found)
        .map(|(window, neighbors)| {
            let value_of = |unit: usize| units[unit].value.as_slice();
            Some(compare(&window.value, card.features(), neighbors?, temperature, value_of))
        })
        .collect();
    let scales = scales(card, temperature, deviation, &comparisons);
    let deviations = smoothed(card, deviation, windows, &comparisons, &scales);
    Ok(Calibration { scales, deviations: thinned(&deviations, settings.history) })
}

/// Each window's `k` nearest units that do not share its stretch of its series; `None` where fewer are left.
fn out_of_neighbourhood(
    card: &ModelCard,
    k: usize,
    windows: &[NormalWindow],
    units: &[Unit],
) -> Vec<Option<Vec<Neighbor>>> {
    let index =
        ExactIndex::new(card.encoder.metric, card.encoder.dimension, units.iter().map(|unit| unit.key.as_slice()));
    let length_ms = card.grid_ms() * i64::try_from(card.window.size).unwrap_or(i64::MAX);
    // Ends less than two lengths apart leave less than one length between. At most so many units of one series do.
    let near = 4 * card.window.size.div_ceil(card.window.stride) + 1;
    let mut found = Vec::with_capacity(windows.len());
    for block in windows.chunks(1024) {
        let queries: Vec<f32> = block.iter().flat_map(|window| window.embedding.iter().copied()).collect();
        for (window, mut neighbors) in block.iter().zip(index.neighbors(&queries, k + near)) {
            neighbors.retain(|neighbor| {
                let unit = &units[neighbor.unit].provenance;
                unit.series != window.series || (unit.end.millis() - window.end.millis()).abs() >= 2 * length_ms
            });
            neighbors.truncate(k);
            found.push((neighbors.len() == k).then_some(neighbors));
        }
    }
    found
}

fn scales(
    card: &ModelCard,
    temperature: f32,
    deviation: &DeviationSettings,
    comparisons: &[Option<Comparison>],
) -> Scales {
    let each = || comparisons.iter().flatten();
    let channels: Vec<f32> = (0..card.features())
        .map(|feature| {
            let residuals: Vec<f32> = each().map(|comparison| comparison.differences[feature].abs()).collect();
            let mean = residuals.iter().sum::<f32>() / count(&residuals);
            median(residuals).max(MEAN_SHARE * mean).max(CHANNEL_MIN)
        })
        .collect();
    let residual = each().map(|comparison| power_mean(&scaled_residuals(&channels, comparison), deviation.power));
    Scales {
        temperature,
        distance: median(each().map(|comparison| comparison.distance).collect()).max(SCALE_MIN),
        residual: median(residual.collect()).max(SCALE_MIN),
        channels,
    }
}

/// Deviations as service will smooth them: a running mean a series, begun anew at a typical value after a gap.
fn smoothed(
    card: &ModelCard,
    settings: &DeviationSettings,
    windows: &[NormalWindow],
    comparisons: &[Option<Comparison>],
    scales: &Scales,
) -> Vec<f32> {
    let step_ms = card.grid_ms() * i64::try_from(card.window.stride).unwrap_or(i64::MAX);
    let measured: Vec<(&NormalWindow, f32)> = windows
        .iter()
        .zip(comparisons)
        .filter_map(|(window, comparison)| Some((window, measure(settings, scales, comparison.as_ref()?).value())))
        .collect();
    let typical = median(measured.iter().map(|(_, value)| *value).collect());
    let mut running: Option<(&NormalWindow, Smoothed)> = None;
    let mut deviations = Vec::with_capacity(measured.len());
    for (window, value) in measured {
        let mut smoothed = match running {
            Some((before, smoothed))
                if before.series == window.series && window.end.millis() - before.end.millis() <= step_ms =>
            {
                smoothed
            }
            _ => Smoothed::new(typical),
        };
        deviations.push(smoothed.step(settings, value));
        running = Some((window, smoothed));
    }
    deviations
}

/// At most `count` of them, evenly spread, in order.
fn thinned(deviations: &[f32], count: usize) -> Vec<f32> {
    if deviations.len() <= count {
        return deviations.to_vec();
    }
    (0..count).map(|index| deviations[index * deviations.len() / count]).collect()
}

fn count(values: &[f32]) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than f32")]
    let count = values.len().max(1) as f32;
    count
}

fn median(mut values: Vec<f32>) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f32::total_cmp);
    quantile(&values, 0.5)
}
