//! Historical normal data on the grid: what training and prefill learn from.

use std::collections::BTreeMap;

use super::align::{AlignSettings, Aligned, Aligner, Late, Sample};
use super::model::ModelCard;
use super::normalize::normalize;
use super::record::{EventTime, Reading, SeriesKey};
use super::window::WindowBuffer;

/// A stretch of one series without a break.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The series.
    pub series: SeriesKey,
    /// The log it was read from.
    pub source: String,
    /// Its samples, one a grid cell.
    pub samples: Vec<Sample>,
}

/// A normalised window of a segment.
#[derive(Clone, Debug)]
pub struct SegmentWindow<'a> {
    /// The segment.
    pub segment: &'a Segment,
    /// Event time of the first sample.
    pub start: EventTime,
    /// Event time of the last sample.
    pub end: EventTime,
    /// Smallest and largest offset (or row) behind it.
    pub offsets: (i64, i64),
    /// `[time, feature]`.
    pub value: Vec<f32>,
}

impl Segment {
    /// Every window of the segment in which no encoded channel is without a value, in event-time order.
    pub fn windows<'a>(&'a self, card: &'a ModelCard) -> impl Iterator<Item = SegmentWindow<'a>> + 'a {
        let mut buffer = WindowBuffer::default();
        let grid_ms = card.grid_ms();
        self.samples.iter().filter_map(move |sample| {
            let window = buffer.push(sample.clone(), card.window.size, card.window.stride, grid_ms)?;
            if card.encoded().any(|channel| window.quality[channel].missing > 0) {
                return None;
            }
            Some(SegmentWindow {
                segment: self,
                start: window.start,
                end: window.end,
                offsets: window.offsets,
                value: normalize(card, &window),
            })
        })
    }
}

/// Collects readings into segments.
pub struct HistoryBuilder {
    settings: AlignSettings,
    open: BTreeMap<(SeriesKey, String), (Aligner, Vec<Aligned>)>,
}

impl HistoryBuilder {
    /// A history that has seen nothing.
    pub fn new(settings: AlignSettings) -> Self {
        Self { settings, open: BTreeMap::new() }
    }

    /// Takes a reading of `source` in.
    ///
    /// # Errors
    /// [`Late`] if it is further behind than the lateness bound; it is then left out.
    pub fn push(&mut self, source: &str, offset: i64, reading: &Reading) -> Result<(), Late> {
        let key = (reading.series.clone(), source.to_owned());
        let channels = self.settings.channels;
        let (aligner, out) = self.open.entry(key).or_insert_with(|| (Aligner::new(channels), Vec::new()));
        aligner.push(&self.settings, reading, offset, out)
    }

    /// All segments, by series and source, each in event-time order.
    pub fn finish(self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for ((series, source), (mut aligner, mut out)) in self.open {
            aligner.finish(&self.settings, &mut out);
            let mut samples = Vec::new();
            for aligned in out.into_iter().chain([Aligned::Break]) {
                match aligned {
                    Aligned::Sample(sample) => samples.push(sample),
                    Aligned::Break if samples.is_empty() => {}
                    Aligned::Break => segments.push(Segment {
                        series: series.clone(),
                        source: source.clone(),
                        samples: std::mem::take(&mut samples),
                    }),
                }
            }
        }
        segments
    }
}
