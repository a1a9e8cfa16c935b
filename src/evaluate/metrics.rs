//! Point-wise metrics over rows.

use serde::Serialize;

/// Rows by truth and verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Anomalous and flagged.
    pub hits: u64,
    /// Normal and flagged.
    pub false_alarms: u64,
    /// Anomalous and not flagged.
    pub misses: u64,
    /// Normal and not flagged.
    pub rejections: u64,
}

impl Confusion {
    /// Counts one row in.
    pub fn add(&mut self, truth: bool, flagged: bool) {
        let cell = match (truth, flagged) {
            (true, true) => &mut self.hits,
            (false, true) => &mut self.false_alarms,
            (true, false) => &mut self.misses,
            (false, false) => &mut self.rejections,
        };
        *cell += 1;
    }

    /// 2 hits / (2 hits + false alarms + misses); `None` where there is nothing to find and nothing was flagged.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)
    }

    /// False alarm rate: flagged normal rows among normal rows.
    pub fn far(&self) -> Option<f64> {
        ratio(self.false_alarms, self.false_alarms + self.rejections)
    }

    /// Missed alarm rate: unflagged anomalous rows among anomalous rows.
    pub fn mar(&self) -> Option<f64> {
        ratio(self.misses, self.misses + self.hits)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows are far fewer than 2^52")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// All metrics, as fractions; `null` in JSON where a metric has no meaning, as MAR without an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// See [`Confusion::f1`].
    pub f1: Option<f64>,
    /// See [`Confusion::far`].
    pub far: Option<f64>,
    /// See [`Confusion::mar`].
    pub mar: Option<f64>,
    /// See [`average_precision`].
    pub auc_pr: Option<f64>,
    /// Rows that were tested.
    pub rows: u64,
}

impl Metrics {
    /// Of rows given as (truth, flagged, score).
    pub fn of(rows: &[(bool, bool, f32)]) -> Self {
        let mut confusion = Confusion::default();
        for &(truth, flagged, _) in rows {
            confusion.add(truth, flagged);
        }
        let scored: Vec<(f32, bool)> = rows.iter().map(|&(truth, _, score)| (score, truth)).collect();
        Self {
            f1: confusion.f1(),
            far: confusion.far(),
            mar: confusion.mar(),
            auc_pr: average_precision(&scored),
            rows: rows.len() as u64,
        }
    }
}

/// Area under the precision-recall curve as average precision: the mean over anomalous rows of the precision at each one's
/// score, tied scores together; no interpolation (Davis and Goadrich 2006 say why). `None` without anomalous rows; NaN
/// scores rank lowest. Cost: O(n log n).
pub fn average_precision(rows: &[(f32, bool)]) -> Option<f64> {
    let mut ranked: Vec<(f32, bool)> =
        rows.iter().map(|&(score, truth)| (if score.is_nan() { f32::NEG_INFINITY } else { score }, truth)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut seen, mut area) = (0_u64, 0_u64, 0.0);
    for tied in ranked.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let found = tied.iter().filter(|(_, truth)| *truth).count() as u64;
        hits += found;
        seen += tied.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "rows are far fewer than 2^52")]
        let part = found as f64 * (hits as f64 / seen as f64);
        area += part;
    }
    #[expect(clippy::cast_precision_loss, reason = "rows are far fewer than 2^52")]
    let mean = (hits > 0).then(|| area / hits as f64);
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_precision_of_known_rankings() {
        // scikit-learn 1.x: average_precision_score([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) = 0.8333...
        let rows = [(0.9, true), (0.8, false), (0.7, true), (0.1, false)];
        assert!((average_precision(&rows).unwrap() - 5.0 / 6.0).abs() < 1e-12);
        // Constant scores: the prevalence.
        assert_eq!(average_precision(&[(1.0, true), (1.0, false)]), Some(0.5));
        assert_eq!(average_precision(&[(1.0, false)]), None);
    }

    #[test]
    fn rates_are_fractions_of_their_own_class() {
        let rows =
            [(true, true, 2.0), (true, false, 0.5), (false, false, 0.1), (false, true, 1.5), (false, false, 0.0)];
        let metrics = Metrics::of(&rows);
        assert_eq!(metrics.mar, Some(0.5));
        assert_eq!(metrics.far, Some(1.0 / 3.0));
        assert_eq!(metrics.f1, Some(0.5));
        assert_eq!(Metrics::of(&[(false, false, 0.0)]).f1, None);
    }
}
