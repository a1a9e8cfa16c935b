//! `window`: the last T samples of a series, every `stride` grid cells.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::align::{Mark, Sample};
use super::record::EventTime;

/// A stretch of one series: T samples with no break between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Event time of the first sample.
    pub start: EventTime,
    /// Event time of the last sample.
    pub end: EventTime,
    /// Raw values, `[time, channel]`, oldest first.
    pub values: Vec<f64>,
    /// The samples whose mark differs from `Observed`: how many of each, `[channel]`.
    pub quality: Vec<ChannelQuality>,
    /// Smallest and largest offset of the records behind the samples.
    pub offsets: (i64, i64),
}

/// How many of a channel's values in a window were not plainly observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelQuality {
    /// Held or interpolated.
    pub filled: u32,
    /// NaN or an infinity arrived, and nothing else.
    pub invalid: u32,
    /// NaN or an infinity arrived beside good readings.
    pub mixed: u32,
    /// Part of a run that is longer than in any normal data.
    pub stuck: u32,
    /// Without any value.
    pub missing: u32,
}

/// A series' last samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowBuffer {
    samples: VecDeque<Sample>,
}

impl WindowBuffer {
    /// Adds a sample, and gives the window that ends with it if `size` samples are there and the grid cell's number
    /// (event time / grid) is a multiple of `stride`: so which windows exist depends on event time alone.
    pub fn push(&mut self, sample: Sample, size: usize, stride: usize, grid_ms: i64) -> Option<Window> {
        while self.samples.len() >= size {
            self.samples.pop_front();
        }
        let cell = sample.time.millis().div_euclid(grid_ms);
        self.samples.push_back(sample);
        let stride = i64::try_from(stride).unwrap_or(i64::MAX);
        (self.samples.len() == size && cell.rem_euclid(stride) == 0).then(|| self.window())
    }

    /// Forgets the samples: there was a gap.
    pub fn reset(&mut self) {
        self.samples.clear();
    }

    fn window(&self) -> Window {
        let (first, last) = (&self.samples[0], &self.samples[self.samples.len() - 1]);
        let channels = first.values.len();
        let mut values = Vec::with_capacity(self.samples.len() * channels);
        let mut quality = vec![ChannelQuality::default(); channels];
        let mut offsets = first.offsets;
        for sample in &self.samples {
            values.extend_from_slice(&sample.values);
            offsets = (offsets.0.min(sample.offsets.0), offsets.1.max(sample.offsets.1));
            for (quality, mark) in quality.iter_mut().zip(&sample.marks) {
                match mark {
                    Mark::Observed => {}
                    Mark::Held | Mark::Interpolated => quality.filled += 1,
                    Mark::Invalid => quality.invalid += 1,
                    Mark::Mixed => quality.mixed += 1,
                    Mark::Stuck => quality.stuck += 1,
                    Mark::Missing => quality.missing += 1,
                }
            }
            for (quality, value) in quality.iter_mut().zip(&sample.values) {
                // A channel whose very first value was invalid has nothing to stand in for it.
                quality.missing += u32::from(value.is_nan() && quality.missing == 0);
            }
        }
        Window { start: first.time, end: last.time, values, quality, offsets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64) -> Sample {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let value = second as f64;
        Sample {
            time: EventTime::from_millis(second * 1000),
            values: vec![value],
            marks: vec![Mark::Observed],
            offsets: (second, second),
        }
    }

    #[test]
    fn windows_end_on_multiples_of_the_stride_wherever_the_series_begins() {
        for start in 0..5 {
            let mut buffer = WindowBuffer::default();
            let ends: Vec<_> = (start..20)
                .filter_map(|second| buffer.push(sample(second), 3, 4, 1000))
                .map(|window| window.end.millis() / 1000)
                .collect();
            let expected: Vec<_> = [4, 8, 12, 16].into_iter().filter(|end| *end >= start + 2).collect();
            assert_eq!(ends, expected);
        }
    }

    #[test]
    fn a_window_holds_its_samples_oldest_first_with_their_offsets() {
        let mut buffer = WindowBuffer::default();
        let window = (5..8).find_map(|second| buffer.push(sample(second), 3, 1, 1000)).unwrap();
        assert_eq!(window.values, [5.0, 6.0, 7.0]);
        assert_eq!(window.offsets, (5, 7));
        assert_eq!((window.start.millis(), window.end.millis()), (5000, 7000));
    }
}
