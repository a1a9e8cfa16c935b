//! `align`: puts a series' readings, which arrive out of order and at their own times, onto the model's grid.
//!
//! Laws:
//! 1. Out-of-order readings within the lateness bound give the same samples as ordered ones (with `interpolate`,
//!    where the next observation also lies within that bound).
//! 2. A sample, once given out, never changes; what arrives for it later is [`Late`].
//! 3. Every value that was not observed in its own grid cell says so by its [`Mark`]; nothing is filled silently.
//! 4. The work a reading causes is bounded by `gap_max / grid`, however far it jumps in time.
//!
//! It reads no clock: the watermark is the largest event time seen in the series, less the lateness bound.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{EventTime, Reading};

/// What stands in for a grid cell without an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapPolicy {
    /// The last observed value, for at most `gap_max`.
    Hold,
    /// The straight line to the next observation if it is at most `gap_max` away; held where there is none yet.
    Interpolate,
    /// Nothing: the window starts anew after the gap.
    Break,
}

/// How a series is put onto the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignSettings {
    /// The grid's step; cell `t` holds the mean of the observations in `(t - grid, t]`.
    pub grid: Duration,
    /// How far behind the newest reading of its series a reading may be.
    pub lateness: Duration,
    /// What fills a cell without an observation.
    pub gap: GapPolicy,
    /// The longest time that is filled.
    pub gap_max: Duration,
    /// Channels in the model.
    pub channels: usize,
}

impl AlignSettings {
    /// The end of the grid cell that a time falls in.
    pub fn cell(&self, time: EventTime) -> EventTime {
        EventTime::from_millis(cell_of(time.millis(), millis(self.grid)))
    }
}

/// How a value came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Measured within its grid cell: the mean of what was.
    Observed,
    /// The last observed value, repeated.
    Held,
    /// On the line between two observations.
    Interpolated,
    /// The sensor sent NaN or an infinity; the value is the last good one, or NaN.
    Invalid,
    /// Observed, but the same value for longer than the sensor ever repeats itself in normal data.
    Stuck,
    /// No value: NaN.
    Missing,
    /// Measured within its grid cell, where the sensor also sent NaN or an infinity.
    Mixed,
}

/// One time step of a series, all channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The grid cell's end.
    pub time: EventTime,
    /// Raw values, `[channel]`, in each channel's own unit; NaN where the mark is `Missing`.
    pub values: Vec<f64>,
    /// How each value came to be, `[channel]`.
    pub marks: Vec<Mark>,
    /// Smallest and largest offset of the records that had been seen for it.
    pub offsets: (i64, i64),
}

/// What `align` gives out, in event-time order.
#[derive(Clone, Debug, PartialEq)]
pub enum Aligned {
    /// The next grid cell.
    Sample(Sample),
    /// No channel had a value for too long: the window starts anew.
    Break,
}

/// A reading behind the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event time {time} is behind the series' watermark {watermark}; raise align.lateness if such delays are normal"
)]
pub struct Late {
    /// The reading's event time.
    pub time: EventTime,
    /// The series' watermark when it arrived.
    pub watermark: EventTime,
}

/// One observed instant that is not yet given out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Observation {
    /// (channel, value), the last value where a channel was sent twice for one time.
    values: Vec<(usize, f64)>,
    offsets: (i64, i64),
}

/// A series' alignment state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aligner {
    /// Largest event time seen, ms.
    newest_ms: Option<i64>,
    /// The next cell to give out, ms.
    next_ms: Option<i64>,
    /// Observations not yet given out, by event time in ms.
    pending: BTreeMap<i64, Observation>,
    /// The last good observation a channel: (time in ms, value).
    last: Vec<Option<(i64, f64)>>,
    /// Offsets of the records behind the last observation.
    last_offsets: (i64, i64),
}

impl Aligner {
    /// A series that has seen nothing.
    pub fn new(channels: usize) -> Self {
        Self {
            newest_ms: None,
            next_ms: None,
            pending: BTreeMap::new(),
            last: vec![None; channels],
            last_offsets: (0, 0),
        }
    }

    /// Whether the state is of series with so many channels.
    pub fn fits(&self, channels: usize) -> bool {
        self.last.len() == channels
    }

    /// Takes one reading and appends to `out` what it completes.
    ///
    /// # Errors
    /// [`Late`] if the reading is behind the watermark; the state is then unchanged.
    pub fn push(
        &mut self,
        settings: &AlignSettings,
        reading: &Reading,
        offset: i64,
        out: &mut Vec<Aligned>,
    ) -> Result<(), Late> {
        let time = reading.time.millis();
        if let Some(newest) = self.newest_ms {
            let watermark = newest - millis(settings.lateness);
            if time < watermark {
                return Err(Late { time: reading.time, watermark: EventTime::from_millis(watermark) });
            }
        }
        let observation = self.pending.entry(time).or_insert_with(|| Observation {
            values: Vec::with_capacity(reading.values.len()),
            offsets: (offset, offset),
        });
        observation.offsets = (observation.offsets.0.min(offset), observation.offsets.1.max(offset));
        for &(channel, value) in &reading.values {
            match observation.values.iter_mut().find(|(seen, _)| *seen == channel) {
                Some(slot) => slot.1 = value,
                None => observation.values.push((channel, value)),
            }
        }
        let newest = self.newest_ms.map_or(time, |newest| newest.max(time));
        self.newest_ms = Some(newest);
        self.advance(settings, newest - millis(settings.lateness), out);
        Ok(())
    }

    /// Gives out everything that is pending, as if the watermark had passed it: the input has ended.
    pub fn finish(&mut self, settings: &AlignSettings, out: &mut Vec<Aligned>) {
        if let Some((&last, _)) = self.pending.last_key_value() {
            self.advance(settings, cell_of(last, millis(settings.grid)) + 1, out);
        }
    }

    /// Gives out every cell that ends before `watermark` (ms).
    fn advance(&mut self, settings: &AlignSettings, watermark: i64, out: &mut Vec<Aligned>) {
        let grid = millis(settings.grid);
        let fill = match settings.gap {
            GapPolicy::Break => 0,
            GapPolicy::Hold | GapPolicy::Interpolate => millis(settings.gap_max),
        };
        loop {
            let Some((&first, _)) = self.pending.first_key_value() else { return };
            let first_cell = cell_of(first, grid);
            let next = self.next_ms.unwrap_or(first_cell);
            if next >= watermark {
                return;
            }
            let filled_until = self.last.iter().flatten().map(|(time, _)| cell_of(*time, grid) + fill).max();
            if first_cell > next && filled_until.is_none_or(|until| next > until) {
                // Nothing to fill this cell with: the gap is too long. Go on at the next observation.
                out.push(Aligned::Break);
                self.last.fill(None);
                self.next_ms = None;
                continue;
            }
            let sample = self.cell(settings, next, fill);
            out.push(Aligned::Sample(sample));
            self.next_ms = Some(next + grid);
        }
    }

    /// Takes the pending observations of the cell that ends at `end` (ms) and makes its sample.
    fn cell(&mut self, settings: &AlignSettings, end: i64, fill: i64) -> Sample {
        let channels = settings.channels;
        let mut sums = vec![(0.0_f64, 0_u32); channels];
        let mut invalid = vec![false; channels];
        let mut last_good: Vec<Option<(i64, f64)>> = vec![None; channels];
        let mut offsets: Option<(i64, i64)> = None;
        while let Some(entry) = self.pending.first_entry() {
            if *entry.key() > end {
                break;
            }
            let (time, observation) = entry.remove_entry();
            let (low, high) = offsets.unwrap_or(observation.offsets);
            offsets = Some((low.min(observation.offsets.0), high.max(observation.offsets.1)));
            for (channel, value) in observation.values {
                if value.is_finite() {
                    sums[channel].0 += value;
                    sums[channel].1 += 1;
                    last_good[channel] = Some((time, value));
                } else {
                    invalid[channel] = true;
                }
            }
        }
        self.last_offsets = offsets.unwrap_or(self.last_offsets);
        let mut values = Vec::with_capacity(channels);
        let mut marks = Vec::with_capacity(channels);
        for channel in 0..channels {
            let (sum, count) = sums[channel];
            let mean = sum / f64::from(count.max(1));
            let (value, mark) = if count > 0 && mean.is_finite() {
                (mean, if invalid[channel] { Mark::Mixed } else { Mark::Observed })
            } else if count > 0 || invalid[channel] {
                (self.filled(settings, channel, end, fill).0, Mark::Invalid)
            } else {
                self.filled(settings, channel, end, fill)
            };
            if let Some(observed) = last_good[channel] {
                self.last[channel] = Some(observed);
            }
            values.push(value);
            marks.push(mark);
        }
        Sample { time: EventTime::from_millis(end), values, marks, offsets: self.last_offsets }
    }

    /// The value that stands in for `channel` at `end` (ms), by the gap policy.
    fn filled(&self, settings: &AlignSettings, channel: usize, end: i64, fill: i64) -> (f64, Mark) {
        let Some((last_time, last_value)) = self.last[channel] else {
            return (f64::NAN, Mark::Missing);
        };
        let latest = last_time.saturating_add(fill);
        if settings.gap == GapPolicy::Interpolate && latest > end {
            let next = self.pending.range(end..=latest).find_map(|(&time, observation)| {
                let value = observation.values.iter().find(|(seen, value)| *seen == channel && value.is_finite())?.1;
                Some((time, value))
            });
            if let Some((time, value)) = next {
                #[expect(clippy::cast_precision_loss, reason = "both spans are below gap_max")]
                let share = (end - last_time) as f64 / (time - last_time) as f64;
                return (last_value + share * (value - last_value), Mark::Interpolated);
            }
        }
        let held = end - cell_of(last_time, millis(settings.grid)) <= fill;
        if held { (last_value, Mark::Held) } else { (f64::NAN, Mark::Missing) }
    }
}

/// The end of the grid cell that `time` (ms) falls in: cells are `(end - grid, end]`.
fn cell_of(time: i64, grid: i64) -> i64 {
    time.div_euclid(grid) * grid + if time.rem_euclid(grid) == 0 { 0 } else { grid }
}

/// Whole milliseconds; settings are checked to fit.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::SeriesKey;
    use proptest::prelude::*;

    fn settings(gap: GapPolicy, lateness_ms: u64) -> AlignSettings {
        AlignSettings {
            grid: Duration::from_secs(1),
            lateness: Duration::from_millis(lateness_ms),
            gap,
            gap_max: Duration::from_secs(3),
            channels: 2,
        }
    }

    fn reading(time: i64, values: &[(usize, f64)]) -> Reading {
        Reading { series: SeriesKey::new("pump-7"), time: EventTime::from_millis(time), values: values.to_vec() }
    }

    fn align(settings: &AlignSettings, readings: &[Reading]) -> Vec<Aligned> {
        let mut aligner = Aligner::new(settings.channels);
        let mut out = Vec::new();
        for (offset, reading) in readings.iter().enumerate() {
            aligner.push(settings, reading, i64::try_from(offset).unwrap(), &mut out).unwrap();
        }
        aligner.finish(settings, &mut out);
        out
    }

    /// `time: value mark, ...` a sample, in a short notation.
    fn trace(aligned: &[Aligned]) -> Vec<String> {
        aligned
            .iter()
            .map(|aligned| match aligned {
                Aligned::Break => "break".to_owned(),
                Aligned::Sample(sample) => {
                    let cells: Vec<_> = sample
                        .values
                        .iter()
                        .zip(&sample.marks)
                        .map(|(value, mark)| format!("{value} {mark:?}"))
                        .collect();
                    format!("{}: {}", sample.time.millis(), cells.join(", "))
                }
            })
            .collect()
    }

    #[test]
    fn a_gap_is_held_and_marked_until_gap_max_and_then_breaks() {
        let both = |time: i64, value: f64| reading(time, &[(0, value), (1, value)]);
        let aligned = align(&settings(GapPolicy::Hold, 0), &[both(1000, 1.0), both(3000, 3.0), both(60_000, 9.0)]);
        assert_eq!(
            trace(&aligned),
            [
                "1000: 1 Observed, 1 Observed",
                "2000: 1 Held, 1 Held",
                "3000: 3 Observed, 3 Observed",
                "4000: 3 Held, 3 Held",
                "5000: 3 Held, 3 Held",
                "6000: 3 Held, 3 Held",
                "break",
                "60000: 9 Observed, 9 Observed",
            ]
        );
    }

    #[test]
    fn interpolation_uses_the_next_observation_within_the_lateness_bound() {
        let aligned = align(
            &settings(GapPolicy::Interpolate, 2000),
            &[reading(1000, &[(0, 1.0), (1, 5.0)]), reading(3000, &[(0, 3.0)]), reading(4000, &[(0, 4.0), (1, 8.0)])],
        );
        assert_eq!(
            trace(&aligned),
            [
                "1000: 1 Observed, 5 Observed",
                "2000: 2 Interpolated, 6 Interpolated",
                "3000: 3 Observed, 7 Interpolated",
                "4000: 4 Observed, 8 Observed",
            ]
        );
    }

    #[test]
    fn narrow_readings_of_one_time_meet_in_one_sample_and_their_mean_is_taken() {
        let aligned = align(
            &settings(GapPolicy::Hold, 0),
            &[
                reading(1000, &[(0, 1.0)]),
                reading(1000, &[(1, 2.0)]),
                reading(1400, &[(0, 10.0)]),
                reading(1600, &[(0, 20.0)]),
            ],
        );
        assert_eq!(trace(&aligned), ["1000: 1 Observed, 2 Observed", "2000: 15 Observed, 2 Held"]);
    }

    #[test]
    fn nan_is_marked_invalid_and_a_channel_never_seen_is_missing() {
        let aligned = align(
            &settings(GapPolicy::Hold, 0),
            &[reading(1000, &[(0, 1.0)]), reading(2000, &[(0, f64::NAN)]), reading(3000, &[(0, f64::INFINITY)])],
        );
        assert_eq!(
            trace(&aligned),
            ["1000: 1 Observed, NaN Missing", "2000: 1 Invalid, NaN Missing", "3000: 1 Invalid, NaN Missing"]
        );
    }

    #[test]
    fn nan_among_good_readings_of_a_cell_is_marked_and_their_mean_kept() {
        let aligned = align(
            &settings(GapPolicy::Hold, 0),
            &[
                reading(1200, &[(0, 1.0), (1, f64::MAX)]),
                reading(1500, &[(0, f64::NAN), (1, f64::MAX)]),
                reading(1800, &[(0, 3.0)]),
            ],
        );
        assert_eq!(trace(&aligned), ["2000: 2 Mixed, NaN Invalid"], "what overflows is no value");
    }

    #[test]
    fn cells_are_filled_as_often_wherever_in_its_cell_a_reading_lies() {
        for within in [1, 400, 999, 1000] {
            let ends = [reading(within, &[(0, 1.0)]), reading(9_000 + within, &[(0, 2.0)])];
            let aligned = align(&settings(GapPolicy::Hold, 0), &ends);
            let held = aligned.iter().filter(|it| matches!(it, Aligned::Sample(it) if it.marks[0] == Mark::Held));
            assert_eq!(held.count(), 3, "a reading {within} ms into its cell");
        }
    }

    #[test]
    fn a_reading_behind_the_watermark_is_late_and_changes_nothing() {
        let settings = settings(GapPolicy::Hold, 2000);
        let mut aligner = Aligner::new(2);
        let mut out = Vec::new();
        aligner.push(&settings, &reading(10_000, &[(0, 1.0)]), 0, &mut out).unwrap();
        let before = aligner.clone();
        let late = aligner.push(&settings, &reading(7_999, &[(0, 1.0)]), 1, &mut out).unwrap_err();
        assert_eq!(late.watermark, EventTime::from_millis(8_000));
        assert_eq!(aligner, before);
    }

    #[test]
    fn a_jump_of_a_century_costs_no_more_than_the_gap_bound() {
        let century = 100 * 365 * 86_400 * 1000_i64;
        let aligned =
            align(&settings(GapPolicy::Hold, 0), &[reading(1000, &[(0, 1.0)]), reading(century, &[(0, 2.0)])]);
        assert_eq!(aligned.len(), 6);
    }

    proptest! {
        #[test]
        fn order_within_the_lateness_bound_does_not_matter(
            times in proptest::collection::btree_set(0_i64..20_000, 1..40),
            seed in proptest::collection::vec(0_i64..5_000, 40),
        ) {
            let settings = settings(GapPolicy::Hold, 5_000);
            let ordered: Vec<_> = times.iter().map(|&time| reading(time, &[(0, time as f64), (1, -time as f64)])).collect();
            let mut delayed: Vec<_> = ordered.iter().cloned().zip(&seed).collect();
            delayed.sort_by_key(|(reading, delay)| reading.time.millis() + *delay);
            let delayed: Vec<_> = delayed.into_iter().map(|(reading, _)| reading).collect();
            let strip = |aligned: Vec<Aligned>| trace(&aligned);
            prop_assert_eq!(strip(align(&settings, &ordered)), strip(align(&settings, &delayed)));
        }
    }
}
