//! `normalize`: a raw window into the numbers that the encoder was trained on.

use super::model::{ModelCard, NORMALIZED_LIMIT, Treatment};
use super::window::Window;

/// Scales a raw window, `[time, channel]` over every channel of the card, into `[time, feature]` over the encoded ones,
/// f32: (raw - center) / scale, within ±[`NORMALIZED_LIMIT`]; a detrended channel also loses its own median.
///
/// A missing value (NaN) becomes 0, the channel's centre, so that the encoder stays finite: the window's quality says
/// which channels that touched, and such a window is not judged. A constant channel gives a constant. Cost: O(T F), and
/// a sort a detrended channel.
pub fn normalize(card: &ModelCard, window: &Window) -> Vec<f32> {
    let channels = card.channel.len();
    let features: Vec<usize> = card.encoded().collect();
    let rows = window.values.len() / channels;
    let mut normalized = vec![0.0_f32; rows * features.len()];
    let mut column = Vec::with_capacity(rows);
    for (feature, &channel) in features.iter().enumerate() {
        let card = &card.channel[channel];
        column.clear();
        column.extend((0..rows).map(|row| scaled(window.values[row * channels + channel], card.center, card.scale)));
        if card.treatment == Treatment::Detrended {
            let mut ascending = column.clone();
            ascending.sort_by(f64::total_cmp);
            let median = f64::midpoint(ascending[(rows - 1) / 2], ascending[rows / 2]);
            column.iter_mut().for_each(|value| *value -= median);
        }
        for (row, &value) in column.iter().enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "f32 is the encoder's precision, and values are bounded"
            )]
            let value = value as f32;
            normalized[row * features.len() + feature] = value;
        }
    }
    normalized
}

fn scaled(raw: f64, center: f64, scale: f64) -> f64 {
    if raw.is_nan() { 0.0 } else { ((raw - center) / scale).clamp(-NORMALIZED_LIMIT, NORMALIZED_LIMIT) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{CARD_VERSION, ChannelCard, EncoderCard, Metric, WindowCard};
    use crate::domain::record::EventTime;

    fn check(treatment: Treatment, raw: &[f64], expected: &[f32]) {
        let channel = |name: &str, treatment| ChannelCard {
            name: name.to_owned(),
            center: 10.0,
            scale: 2.0,
            treatment,
            reason: String::new(),
            stuck_after: 0,
        };
        let card = ModelCard {
            card_version: CARD_VERSION,
            name: "test".to_owned(),
            trained_by: "hand".to_owned(),
            sha256: "0".repeat(64),
            encoder: EncoderCard {
                input: "window".to_owned(),
                output: "embedding".to_owned(),
                dimension: 1,
                batch: 1,
                metric: Metric::Euclidean,
            },
            window: WindowCard { size: raw.len(), stride: 1, grid_ms: 1000 },
            calibration: None,
            channel: vec![channel("aside", Treatment::LeftOut), channel("judged", treatment)],
        };
        assert_eq!(card.faults(), Vec::<String>::new());
        let window = Window {
            start: EventTime::from_millis(0),
            end: EventTime::from_millis(0),
            values: raw.iter().flat_map(|&value| [99.0, value]).collect(),
            quality: Vec::new(),
            offsets: (0, 0),
        };
        assert_eq!(normalize(&card, &window), expected);
    }

    #[test]
    fn values_are_scaled_and_left_out_channels_are_gone() {
        check(Treatment::Plain, &[10.0, 12.0, 8.0], &[0.0, 1.0, -1.0]);
    }

    #[test]
    fn a_detrended_channel_loses_its_median() {
        check(Treatment::Detrended, &[20.0, 22.0, 24.0, 24.0], &[-1.5, -0.5, 0.5, 0.5]);
    }

    #[test]
    fn what_comes_out_is_finite_whatever_goes_in() {
        check(Treatment::Plain, &[f64::NAN, f64::INFINITY, -1e300], &[0.0, 20.0, -20.0]);
    }
}
