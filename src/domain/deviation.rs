//! `deviation`: how far a window is from what memory says it should have looked like.
//!
//! Two things are compared, since neither sees everything: the embedding with its nearest units' keys (an unseen relation
//! between channels), and the window with those units' windows (a level or gain that the embedding's metric may not see).
//! Each is measured in units of its own calibration, and the larger one counts.

use serde::{Deserialize, Serialize};

use super::neighbor::{Neighbor, weights};
use super::unit::Scales;

/// How a window's parts become one deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviationSettings {
    /// Exponent of the power mean over channels, at least 1.
    pub power: f32,
    /// Windows that the deviation is averaged over, exponentially: 1 is none.
    pub smoothing: u32,
}

/// A window beside its neighbors, in raw units.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Nearest first.
    pub neighbors: Vec<Neighbor>,
    /// Softmax weights, one a neighbor.
    pub weights: Vec<f32>,
    /// The weighted mean of the neighbors' distances.
    pub distance: f32,
    /// Mean over the window's time of (window - weighted neighbors), `[feature]`, in normalised units, with its sign.
    pub differences: Vec<f32>,
}

/// The largest deviation: keeps a running mean finite that a window without any neighbor has entered.
pub const DEVIATION_MAX: f32 = 1e6;

/// A window's deviation, in calibration units: 1 is typical of normal windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// The embedding's part.
    pub distance: f32,
    /// The input's part.
    pub residual: f32,
}

impl Deviation {
    /// The larger part, at most [`DEVIATION_MAX`], which is also what a part counts as that overflowed into NaN.
    pub fn value(self) -> f32 {
        let bounded = |part: f32| if part.is_nan() { DEVIATION_MAX } else { part.min(DEVIATION_MAX) };
        bounded(self.distance).max(bounded(self.residual))
    }
}

/// Sets a normalised window, `[time, feature]`, beside its neighbors' windows, which `value_of` gives by unit. With no
/// neighbors everything is infinitely far.
///
/// The residual is that of the window's means over time: noise within a window averages out before it is compared, where
/// a mean of absolute differences (as in the source article's reconstruction error) would keep it. Cost: O(k T F).
pub fn compare<'a>(
    window: &[f32],
    features: usize,
    neighbors: Vec<Neighbor>,
    temperature: f32,
    value_of: impl Fn(usize) -> &'a [f32],
) -> Comparison {
    let weights = weights(&neighbors, temperature);
    let mut differences = means(window, features);
    for (neighbor, weight) in neighbors.iter().zip(&weights) {
        for (difference, expected) in differences.iter_mut().zip(means(value_of(neighbor.unit), features)) {
            *difference -= weight * expected;
        }
    }
    let distance = if neighbors.is_empty() {
        f32::INFINITY
    } else {
        neighbors.iter().zip(&weights).map(|(neighbor, weight)| neighbor.distance * weight).sum()
    };
    Comparison { neighbors, weights, distance, differences }
}

/// Means over time of `[time, feature]`.
fn means(window: &[f32], features: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f32; features];
    for row in window.chunks_exact(features) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "windows are far shorter than 2^24")]
    let rows = (window.len() / features).max(1) as f32;
    sums.iter_mut().for_each(|sum| *sum /= rows);
    sums
}

/// A comparison in calibration units.
pub fn measure(settings: &DeviationSettings, scales: &Scales, comparison: &Comparison) -> Deviation {
    Deviation {
        distance: comparison.distance / scales.distance,
        residual: power_mean(&scaled_residuals(&scales.channels, comparison), settings.power) / scales.residual,
    }
}

/// Absolute differences in units of each feature's own calibration, `[feature]`.
pub fn scaled_residuals(channels: &[f32], comparison: &Comparison) -> Vec<f32> {
    comparison.differences.iter().zip(channels).map(|(difference, scale)| difference.abs() / scale).collect()
}

/// (mean of values^power)^(1/power), computed so that it cannot overflow; 0 for no values.
pub fn power_mean(values: &[f32], power: f32) -> f32 {
    let largest = values.iter().copied().fold(0.0_f32, f32::max);
    if largest <= 0.0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "channels are few")]
    let mean = values.iter().map(|value| (value / largest).powf(power)).sum::<f32>() / values.len() as f32;
    largest * mean.powf(1.0 / power)
}

/// A series' running mean of deviations: x <- x + (v - x) / smoothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothed(f32);

impl Smoothed {
    /// A series that begins at a typical deviation.
    pub const fn new(typical: f32) -> Self {
        Self(typical)
    }

    /// Takes a window's deviation in and gives the mean.
    pub fn step(&mut self, settings: &DeviationSettings, deviation: f32) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a handful of windows")]
        let share = 1.0 / settings.smoothing.max(1) as f32;
        self.0 += (deviation - self.0) * share;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scales() -> Scales {
        Scales { temperature: 1.0, distance: 2.0, channels: vec![0.5, 0.25], residual: 1.0 }
    }

    #[test]
    fn a_window_equal_to_its_neighbor_has_no_residual() {
        let window = [1.0, 2.0, 3.0, 4.0];
        let comparison = compare(&window, 2, vec![Neighbor { unit: 0, distance: 0.0 }], 1.0, |_| &window);
        assert_eq!(comparison.differences, [0.0, 0.0]);
    }

    #[test]
    fn a_pure_level_fault_shows_in_the_residual_and_names_its_channel() {
        let remembered = [1.0, 2.0, 1.0, 2.0];
        let window = [1.0, 5.0, 1.0, 5.0];
        let comparison = compare(&window, 2, vec![Neighbor { unit: 0, distance: 1.0 }], 1.0, |_| &remembered);
        assert_eq!(scaled_residuals(&scales().channels, &comparison), [0.0, 12.0]);
        let deviation = measure(&DeviationSettings { power: 1.0, smoothing: 1 }, &scales(), &comparison);
        assert_eq!(deviation, Deviation { distance: 0.5, residual: 6.0 });
        assert_eq!(deviation.value(), 6.0);
    }

    #[test]
    fn the_power_mean_neither_overflows_nor_divides_by_zero() {
        assert_eq!(power_mean(&[0.0, 0.0], 4.0), 0.0);
        assert_eq!(power_mean(&[], 4.0), 0.0);
        assert!(power_mean(&[1e30, 1e-30], 8.0).is_finite());
        assert!((power_mean(&[3.0, 3.0, 3.0], 4.0) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_overflows_is_as_far_as_can_be() {
        for part in [f32::NAN, f32::INFINITY, 1e30] {
            assert_eq!(Deviation { distance: part, residual: 1.0 }.value(), DEVIATION_MAX);
            assert_eq!(Deviation { distance: 1.0, residual: part }.value(), DEVIATION_MAX);
        }
    }

    #[test]
    fn smoothing_over_one_window_is_none() {
        let settings = DeviationSettings { power: 4.0, smoothing: 1 };
        assert_eq!(Smoothed::new(9.0).step(&settings, 2.0), 2.0);
    }
}
