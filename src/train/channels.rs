//! Per-channel choices, made from normal data alone: scale, treatment, and when a sensor counts as stuck.

use crate::domain::align::Mark;
use crate::domain::history::Segment;
use crate::domain::model::{ChannelCard, NORMALIZED_LIMIT, Treatment};

/// Rows a block of the drift test.
const BLOCK: usize = 20;
/// A channel is slow if its blocks' means carry more than this share of its variance over to the next block.
const PERSISTENCE_MAX: f64 = 0.25;
/// A slow channel that swung at least so often between its low and its high quarter, a segment, comes back: it follows a
/// load and does not drift. Any bound from 4 to 8 makes the same choices on steady pump telemetry and on a plant's loads.
const SWINGS_MIN: f64 = 5.0;
/// Fewer blocks than this decide nothing.
const BLOCKS_MIN: usize = 8;
/// A sensor counts as stuck after so many times its longest run of equal values in normal data.
const STUCK_FACTOR: u32 = 4;
/// It never counts as stuck before so many samples.
const STUCK_MIN: u32 = 30;
/// The interquartile range of a normal distribution, in standard deviations.
const IQR_OF_NORMAL: f64 = 1.349;

/// One channel's observed values, by segment.
type Columns = Vec<Vec<f64>>;

/// Fits every channel; tells `warnings` what a user should know.
pub(super) fn fit(names: &[String], segments: &[Segment], warnings: &mut Vec<String>) -> Vec<ChannelCard> {
    let columns: Vec<Columns> = (0..names.len()).map(|channel| observed(segments, channel)).collect();
    let mut drifts = Vec::with_capacity(names.len());
    let mut cards: Vec<ChannelCard> = names
        .iter()
        .zip(&columns)
        .map(|(name, columns)| {
            let (center, scale) = robust_scale(columns);
            let drift = drift(columns, center, scale);
            let mut card = ChannelCard {
                name: name.clone(),
                center,
                scale,
                treatment: Treatment::Plain,
                reason: String::new(),
                stuck_after: stuck_after(columns),
            };
            if columns.iter().all(Vec::is_empty) {
                card.treatment = Treatment::LeftOut;
                card.reason = "no value in the training data".to_owned();
                warnings.push(format!("channel {name:?} has no value in the training data: it is left out"));
            } else if is_constant(columns) {
                card.reason = "constant in the training data: any change is a large deviation".to_owned();
                warnings.push(format!("channel {name:?} is constant in the training data"));
            } else if drift.drifts() {
                card.treatment = Treatment::LeftOut;
                card.reason = format!(
                    "drifts: blocks of {BLOCK} samples carry {:.0} % of the variance on, and it swung only {:.1} times \
                     between low and high",
                    drift.persistence * 100.0,
                    drift.swings
                );
            }
            drifts.push(drift);
            card
        })
        .collect();
    keep_one(&mut cards, &columns, &drifts, warnings);
    cards
}

/// There must be something to look at: if every channel was left out, the least slow one is kept.
fn keep_one(cards: &mut [ChannelCard], columns: &[Columns], drifts: &[Drift], warnings: &mut Vec<String>) {
    if cards.iter().any(|card| card.treatment != Treatment::LeftOut) {
        return;
    }
    let seen = |channel: &usize| columns[*channel].iter().any(|column| !column.is_empty());
    let least = (0..cards.len())
        .filter(seen)
        .min_by(|&a, &b| drifts[a].persistence.total_cmp(&drifts[b].persistence))
        .unwrap_or(0);
    cards[least].treatment = Treatment::Plain;
    cards[least].reason = "every channel drifts; this one the least".to_owned();
    warnings.push(format!("every channel drifts in the training data; only {:?} is kept", cards[least].name));
}

fn observed(segments: &[Segment], channel: usize) -> Columns {
    let column = |segment: &Segment| {
        let observed =
            segment.samples.iter().filter(|sample| matches!(sample.marks[channel], Mark::Observed | Mark::Mixed));
        observed.map(|sample| sample.values[channel]).collect()
    };
    segments.iter().map(column).collect()
}

/// Median, and the larger of IQR / 1.349 and half the standard deviation: robust against outliers, and not nearly zero
/// for a channel that rests most of the time. A constant channel gets a thousandth of its level.
fn robust_scale(columns: &Columns) -> (f64, f64) {
    let mut values: Vec<f64> = columns.iter().flatten().copied().collect();
    if values.is_empty() {
        return (0.0, 1.0);
    }
    values.sort_by(f64::total_cmp);
    let center = quantile(&values, 0.5);
    let iqr = quantile(&values, 0.75) - quantile(&values, 0.25);
    let scale = (iqr / IQR_OF_NORMAL).max(0.5 * variance(&values).sqrt());
    if scale > 1e-9 * center.abs().max(1.0) { (center, scale) } else { (center, (1e-3 * center.abs()).max(1e-6)) }
}

fn quantile(ascending: &[f64], quantile: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 rows")]
    let rank = quantile * (ascending.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= rank < len")]
    let below = rank.floor() as usize;
    let above = (below + 1).min(ascending.len() - 1);
    ascending[below] + rank.fract() * (ascending[above] - ascending[below])
}

fn is_constant(columns: &Columns) -> bool {
    let mut values = columns.iter().flatten();
    values.next().is_some_and(|first| values.all(|value| value == first))
}

/// How a channel moves over times longer than a block.
#[derive(Clone, Copy, Debug)]
struct Drift {
    /// Covariance of neighbouring blocks' means, as a share of the channel's variance.
    persistence: f64,
    /// How often the blocks' means went from their lowest to their highest quarter or back, a segment.
    swings: f64,
}

impl Drift {
    /// Slow alone is no fault of a channel: one that follows the load is slow too, but comes back to where it was.
    fn drifts(self) -> bool {
        self.persistence > PERSISTENCE_MAX && self.swings < SWINGS_MIN
    }
}

/// Both parts of the drift test over blocks of [`BLOCK`] rows.
fn drift(columns: &Columns, center: f64, scale: f64) -> Drift {
    let scaled = |value: &f64| ((value - center) / scale).clamp(-NORMALIZED_LIMIT, NORMALIZED_LIMIT);
    let block = |rows: &[f64]| mean(&rows.iter().map(scaled).collect::<Vec<_>>());
    let blocks: Vec<Vec<f64>> = columns.iter().map(|column| column.chunks_exact(BLOCK).map(block).collect()).collect();
    let all: Vec<f64> = columns.iter().flatten().map(scaled).collect();
    let total = variance(&all);
    let means: Vec<f64> = blocks.iter().flatten().copied().collect();
    if means.len() < BLOCKS_MIN || total <= 0.0 {
        return Drift { persistence: 0.0, swings: 0.0 };
    }
    let center = mean(&means);
    let products: Vec<f64> = blocks
        .iter()
        .flat_map(|blocks| blocks.windows(2).map(|pair| (pair[0] - center) * (pair[1] - center)))
        .collect();
    let long: Vec<f64> =
        blocks.iter().filter(|blocks| blocks.len() >= BLOCKS_MIN).map(|blocks| swings(blocks)).collect();
    // Where every segment is short, they are looked at as one.
    let swings = if long.is_empty() { swings(&means) } else { mean(&long) };
    Drift { persistence: mean(&products) / total, swings }
}

/// How often the numbers went from their lowest quarter to their highest or back.
fn swings(blocks: &[f64]) -> f64 {
    let mut ascending = blocks.to_vec();
    ascending.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&ascending, 0.25), quantile(&ascending, 0.75));
    let mut last = None;
    let mut swings = 0_u32;
    for block in blocks.iter().filter(|block| **block <= low || **block >= high) {
        let is_high = *block >= high;
        swings += u32::from(last.is_some_and(|last| last != is_high));
        last = Some(is_high);
    }
    f64::from(swings)
}

/// Samples after which equal values mean a stuck sensor; 0 (never) for a channel that mostly repeats itself anyway.
fn stuck_after(columns: &Columns) -> u32 {
    let (mut longest, mut repeats, mut pairs) = (1_u32, 0_usize, 0_usize);
    for column in columns {
        let mut run = 1_u32;
        for pair in column.windows(2) {
            let equal = pair[0].to_bits() == pair[1].to_bits();
            run = if equal { run.saturating_add(1) } else { 1 };
            longest = longest.max(run);
            repeats += usize::from(equal);
            pairs += 1;
        }
    }
    if pairs == 0 || repeats * 2 > pairs { 0 } else { longest.saturating_mul(STUCK_FACTOR).max(STUCK_MIN) }
}

/// 0 for no values.
fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 rows")]
    let count = values.len().max(1) as f64;
    values.iter().sum::<f64>() / count
}

/// Population variance; 0 for no values.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 rows")]
    let count = values.len().max(1) as f64;
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn noise(rows: usize) -> Vec<f64> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        (0..rows).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn drifts(column: impl Fn(usize, f64) -> f64) -> bool {
        let columns = vec![noise(800).into_iter().enumerate().map(|(row, noise)| column(row, noise)).collect()];
        let (center, scale) = robust_scale(&columns);
        drift(&columns, center, scale).drifts()
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn a_ramp_drifts_but_noise_and_a_returning_load_do_not() {
        assert!(drifts(|row, noise| row as f64 * 0.02 + noise), "a ramp");
        assert!(!drifts(|_, noise| noise), "noise");
        assert!(
            !drifts(|row, noise| 10.0 * f64::from(u8::from(row / 100 % 2 == 0)) + noise),
            "a load that comes and goes"
        );
    }

    #[test]
    fn a_sensor_that_never_repeats_is_stuck_soon_and_one_that_always_does_never() {
        assert_eq!(stuck_after(&vec![noise(100)]), STUCK_MIN);
        assert_eq!(stuck_after(&vec![vec![4.0; 100]]), 0);
    }

    #[test]
    fn a_constant_channel_has_a_positive_scale() {
        assert_eq!(robust_scale(&vec![vec![5.0; 9]]), (5.0, 0.005));
        assert_eq!(robust_scale(&vec![vec![]]), (0.0, 1.0));
    }
}
