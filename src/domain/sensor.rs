//! Stuck sensors: a channel that repeats one value for longer than it ever did in normal data.

use serde::{Deserialize, Serialize};

use super::align::{Mark, Sample};

/// Run length of equal observed values, a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StuckDetector {
    /// (the value's bits, how many samples in a row had it).
    runs: Vec<(u64, u32)>,
}

impl StuckDetector {
    /// A detector that has seen nothing.
    pub fn new(channels: usize) -> Self {
        Self { runs: vec![(0, 0); channels] }
    }

    /// Counts the sample in, and marks as [`Mark::Stuck`] each channel whose run of measured values is longer than
    /// `stuck_after[channel]` samples (0: never). Filled values neither lengthen nor end a run.
    pub fn mark(&mut self, sample: &mut Sample, stuck_after: &[u32]) {
        for (channel, run) in self.runs.iter_mut().enumerate() {
            if !matches!(sample.marks[channel], Mark::Observed | Mark::Mixed) {
                continue;
            }
            let bits = sample.values[channel].to_bits();
            *run = if run.1 > 0 && run.0 == bits { (bits, run.1.saturating_add(1)) } else { (bits, 1) };
            if stuck_after[channel] > 0 && run.1 > stuck_after[channel] {
                sample.marks[channel] = Mark::Stuck;
            }
        }
    }

    /// Forgets the runs: there was a gap.
    pub fn reset(&mut self) {
        self.runs.fill((0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::EventTime;

    #[test]
    fn a_channel_is_stuck_once_its_run_passes_its_own_bound() {
        let mut detector = StuckDetector::new(2);
        let values = [1.0, 1.0, 1.0, 1.0, 2.0];
        // A NaN among good readings does not hide that those never change.
        let given = [Mark::Observed, Mark::Mixed, Mark::Mixed, Mark::Observed, Mark::Observed];
        let marks: Vec<_> = values
            .into_iter()
            .zip(given)
            .map(|(value, mark)| {
                let mut sample = Sample {
                    time: EventTime::from_millis(0),
                    values: vec![value, value],
                    marks: vec![mark; 2],
                    offsets: (0, 0),
                };
                detector.mark(&mut sample, &[2, 0]);
                sample.marks
            })
            .collect();
        let expected = [Mark::Observed, Mark::Mixed, Mark::Stuck, Mark::Stuck, Mark::Observed];
        assert_eq!(marks.iter().map(|marks| marks[0]).collect::<Vec<_>>(), expected);
        assert!(marks.iter().all(|marks| marks[1] != Mark::Stuck), "a bound of 0 never fires");
    }
}
