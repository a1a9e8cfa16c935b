//! `threshold`: what deviation is still normal for a series, from its own past.
//!
//! Laws:
//! 1. The threshold that judges a window comes from windows before it.
//! 2. A flagged window never enters the history, so a lasting fault cannot raise the threshold to its own level.
//! 3. The history is bounded: the newest `length` deviations.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The dynamic threshold's rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdSettings {
    /// Which quantile of the past deviations, between 0 and 1.
    pub quantile: f64,
    /// What it is multiplied by.
    pub factor: f32,
    /// How many past deviations are kept, a series.
    pub length: usize,
    /// How many are needed before windows are judged; below, events say `warming_up`.
    pub warm: usize,
}

/// The least quantile: 1 is a typical deviation, and a history below it says that a series repeats itself, not that a
/// typical deviation is rare.
const QUANTILE_MIN: f32 = 1.0;

/// A series' past unflagged deviations.
///
/// Cost: O(log n) comparisons and one move of at most `length` numbers a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Oldest first.
    recent: VecDeque<f32>,
    /// The same numbers, ascending.
    sorted: Vec<f32>,
}

impl History {
    /// A history that begins with `deviations`, oldest first; those that are not finite are left out.
    pub fn new(deviations: &[f32], length: usize) -> Self {
        let skip = deviations.len().saturating_sub(length);
        let recent: VecDeque<f32> =
            deviations[skip..].iter().copied().filter(|deviation| deviation.is_finite()).collect();
        let mut sorted: Vec<f32> = recent.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        Self { recent, sorted }
    }

    /// How many deviations are kept.
    pub fn len(&self) -> usize {
        self.recent.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }

    /// Forgets the oldest beyond `length`.
    pub fn shorten(&mut self, length: usize) {
        if self.recent.len() > length {
            let recent: Vec<f32> = self.recent.iter().copied().collect();
            *self = Self::new(&recent, length);
        }
    }

    /// `factor` x the `quantile` of the history; `None` while fewer than `warm` deviations are known.
    ///
    /// The quantile is interpolated between order statistics (Hyndman and Fan 1996, type 7).
    pub fn threshold(&self, settings: &ThresholdSettings) -> Option<f32> {
        if self.sorted.len() < settings.warm.max(1) {
            return None;
        }
        Some(quantile(&self.sorted, settings.quantile).max(QUANTILE_MIN) * settings.factor)
    }

    /// Adds an unflagged deviation, and forgets the oldest beyond `settings.length`.
    pub fn push(&mut self, settings: &ThresholdSettings, deviation: f32) {
        debug_assert!(deviation.is_finite(), "a deviation that is not finite was flagged");
        while self.recent.len() >= settings.length.max(1) {
            let Some(oldest) = self.recent.pop_front() else { break };
            let at = self.sorted.partition_point(|kept| kept.total_cmp(&oldest).is_lt());
            self.sorted.remove(at);
        }
        let at = self.sorted.partition_point(|kept| kept.total_cmp(&deviation).is_lt());
        self.sorted.insert(at, deviation);
        self.recent.push_back(deviation);
    }
}

/// The `quantile` (in [0, 1]) of ascending numbers, interpolated (Hyndman and Fan 1996, type 7).
///
/// # Panics
/// If `ascending` is empty.
pub fn quantile(ascending: &[f32], quantile: f64) -> f32 {
    assert!(!ascending.is_empty(), "the quantile of nothing");
    #[expect(clippy::cast_precision_loss, reason = "histories are far shorter than 2^52")]
    let rank = quantile.clamp(0.0, 1.0) * (ascending.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= rank < len")]
    let below = rank.floor() as usize;
    let above = (below + 1).min(ascending.len() - 1);
    #[expect(clippy::cast_possible_truncation, reason = "a fraction")]
    let share = rank.fract() as f32;
    ascending[below] + share * (ascending[above] - ascending[below])
}

impl Serialize for History {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recent.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let recent = Vec::<f32>::deserialize(deserializer)?;
        Ok(Self::new(&recent, recent.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: ThresholdSettings = ThresholdSettings { quantile: 0.5, factor: 2.0, length: 4, warm: 3 };

    #[test]
    fn there_is_no_threshold_before_the_history_is_warm() {
        assert_eq!(History::new(&[1.0, 2.0], 4).threshold(&SETTINGS), None);
        assert_eq!(History::new(&[1.0, 2.0, 9.0], 4).threshold(&SETTINGS), Some(4.0));
        assert_eq!(History::new(&[0.0; 4], 4).threshold(&SETTINGS), Some(2.0), "a history of nothing keeps a floor");
    }

    #[test]
    fn quantiles_interpolate_between_order_statistics() {
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.5) - 2.5).abs() < 1e-6);
        assert!((quantile(&[7.0], 0.995) - 7.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn a_rolled_history_equals_one_made_of_its_newest_numbers(deviations in proptest::collection::vec(0.0_f32..100.0, 1..60)) {
            let mut rolled = History::default();
            for &deviation in &deviations {
                rolled.push(&SETTINGS, deviation);
            }
            prop_assert_eq!(rolled, History::new(&deviations, SETTINGS.length));
        }
    }
}
