//! The model card: what the pipeline must know about an encoder to feed it and to read it.
//!
//! The card is a small TOML file beside the ONNX file; `docs/encoder.md` documents every key. This module holds the
//! checked values only: reading the file is `config`'s job, and holding card and graph against each other is
//! `adapters::onnx`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::align::millis;
use super::event::content_hash;

/// What an encoder expects and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Version of the card's own format.
    pub card_version: u32,
    /// A name for people.
    pub name: String,
    /// Which trainer made it, and how.
    pub trained_by: String,
    /// SHA-256 of the ONNX file, in hexadecimal.
    pub sha256: String,
    /// The graph's input and output.
    pub encoder: EncoderCard,
    /// The model's window.
    pub window: WindowCard,
    /// What the trainer measured on its own data with a bank of its own.
    pub calibration: Option<CalibrationCard>,
    /// Every channel that the model knows, in the order of the encoder's input.
    pub channel: Vec<ChannelCard>,
}

/// The graph's input and output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderCard {
    /// Input's name; its shape is `[batch, T, F]`, f32.
    pub input: String,
    /// Output's name; its shape is `[batch, D]`, f32.
    pub output: String,
    /// D.
    pub dimension: usize,
    /// Rows given to the encoder at once; short batches are padded, so that a row's result does not depend on how many
    /// came with it.
    pub batch: usize,
    /// How embeddings are compared.
    pub metric: Metric,
}

/// How embeddings are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Euclidean distance: for whitened embeddings.
    Euclidean,
    /// 1 - cosine similarity: for normalised embeddings.
    Cosine,
}

/// The model's window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowCard {
    /// T: samples a window.
    pub size: usize,
    /// Grid cells from one window to the next.
    pub stride: usize,
    /// The grid's step, ms.
    pub grid_ms: u64,
}

/// What the trainer measured out of neighbourhood (see `memory::calibration`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationCard {
    /// Windows that it was measured on.
    pub windows: usize,
    /// Median embedding distance to the nearest units.
    pub distance: f32,
    /// Median residual of each feature, in normalised units.
    pub residuals: Vec<f32>,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelCard {
    /// Its name in records.
    pub name: String,
    /// Normalised value = (raw - center) / scale.
    pub center: f64,
    /// See `center`; positive.
    pub scale: f64,
    /// What is done with it.
    pub treatment: Treatment,
    /// Why it is so, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Equal observed samples in a row beyond which the sensor counts as stuck; 0: never.
    pub stuck_after: u32,
}

/// What is done with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// Scaled and given to the encoder.
    Plain,
    /// Scaled, less its own median within the window, and given to the encoder: for slow drift whose level says nothing.
    Detrended,
    /// Known, watched for sensor faults, and not given to the encoder.
    LeftOut,
}

/// The card's format that this version writes and reads.
pub const CARD_VERSION: u32 = 1;

/// Normalised values are held within this many scales of the centre, so that a wild reading gives a large finite
/// deviation and neither an overflow nor the only thing that an average over channels shows.
pub const NORMALIZED_LIMIT: f64 = 20.0;

/// Bound on a window's size and stride, an embedding's length and a batch.
const SIZE_MAX: usize = 100_000;
/// Bound on the numbers of one batch: a quarter of a gigabyte.
const BATCH_NUMBERS_MAX: usize = 1 << 26;
/// Bound on the grid's step: a year.
const GRID_MS_MAX: u64 = 366 * 86_400_000;

impl ModelCard {
    /// The grid's step.
    pub fn grid(&self) -> Duration {
        Duration::from_millis(self.window.grid_ms)
    }

    /// The grid's step, ms.
    pub fn grid_ms(&self) -> i64 {
        millis(self.grid())
    }

    /// Indices of the channels that the encoder gets, in its order.
    pub fn encoded(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.channel.len()).filter(|&channel| self.channel[channel].treatment != Treatment::LeftOut)
    }

    /// F: how many channels the encoder gets.
    pub fn features(&self) -> usize {
        self.encoded().count()
    }

    /// `stuck_after`, a channel.
    pub fn stuck_after(&self) -> Vec<u32> {
        self.channel.iter().map(|channel| channel.stuck_after).collect()
    }

    /// Channel indices by name.
    pub fn channel_index(&self) -> BTreeMap<String, usize> {
        self.channel.iter().enumerate().map(|(index, channel)| (channel.name.clone(), index)).collect()
    }

    /// What events, memories and states name the model by: SHA-256 over what decides what windows and embeddings are, as
    /// text: the ONNX file's hash, the metric and batch, the window, and each channel's name, scaling and treatment.
    pub fn identity(&self) -> String {
        let Self { encoder, window, .. } = self;
        let mut text = format!(
            "{} {:?} {} {}",
            self.sha256.to_ascii_lowercase(),
            encoder.metric,
            encoder.dimension,
            encoder.batch
        );
        text += &format!(" {} {} {}", window.size, window.stride, window.grid_ms);
        for ChannelCard { name, center, scale, treatment, .. } in &self.channel {
            text += &format!("\n{name:?} {:x} {:x} {treatment:?}", center.to_bits(), scale.to_bits());
        }
        content_hash(text.as_bytes())
    }

    /// Everything that is wrong with the card by itself; empty if it may be used.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        expect(
            self.card_version == CARD_VERSION,
            format!("card_version is {}, this version of jamais reads {CARD_VERSION}", self.card_version),
        );
        let sizes = [
            ("window.size", self.window.size, SIZE_MAX, "the number of samples a window"),
            ("window.stride", self.window.stride, SIZE_MAX, "the number of samples from one window to the next"),
            ("encoder.dimension", self.encoder.dimension, SIZE_MAX, "the embedding's length"),
            ("encoder.batch", self.encoder.batch, SIZE_MAX, "the windows that the encoder gets at once; 16 suits most"),
        ];
        for (key, found, max, meaning) in sizes {
            expect((1..=max).contains(&found), format!("{key} is {found}; it is {meaning}, 1 to {max}"));
        }
        expect(
            (1..=GRID_MS_MAX).contains(&self.window.grid_ms),
            format!(
                "window.grid_ms is {}; it is the time between samples in milliseconds, 1 to {GRID_MS_MAX}",
                self.window.grid_ms
            ),
        );
        let product = self.window.size.checked_mul(self.encoder.batch).and_then(|it| it.checked_mul(self.features()));
        expect(
            product.is_some_and(|product| product <= BATCH_NUMBERS_MAX),
            format!("encoder.batch x window.size x features is above {BATCH_NUMBERS_MAX} numbers; use a smaller batch"),
        );
        expect(self.features() > 0, "every channel is left out; at least one must be given to the encoder".to_owned());
        expect(
            self.sha256.len() == 64 && self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()),
            format!("sha256 is {:?}; it is the ONNX file's SHA-256 in 64 hexadecimal digits", self.sha256),
        );
        for channel in &self.channel {
            expect(
                channel.scale.is_finite() && channel.scale > 0.0 && channel.center.is_finite(),
                format!(
                    "channel {:?}: center {} and scale {} must be finite, and scale positive",
                    channel.name, channel.center, channel.scale
                ),
            );
        }
        let mut names: Vec<_> = self.channel.iter().map(|channel| &channel.name).collect();
        names.sort();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            expect(false, format!("channel {:?} is listed twice", pair[0]));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        let channel = |name: &str, treatment| ChannelCard {
            name: name.to_owned(),
            center: 1.5,
            scale: 0.1,
            treatment,
            reason: "because".to_owned(),
            stuck_after: 30,
        };
        ModelCard {
            card_version: CARD_VERSION,
            name: "test".to_owned(),
            trained_by: "hand".to_owned(),
            sha256: "a".repeat(64),
            encoder: EncoderCard {
                input: "window".to_owned(),
                output: "embedding".to_owned(),
                dimension: 1,
                batch: 16,
                metric: Metric::Euclidean,
            },
            window: WindowCard { size: 5, stride: 1, grid_ms: 1000 },
            calibration: None,
            channel: vec![channel("flow", Treatment::Plain), channel("temperature", Treatment::LeftOut)],
        }
    }

    #[test]
    fn the_identity_stays_what_it_is() {
        // Memories and states on disk name models by it: another value needs a way to read those.
        assert_eq!(card().identity(), "290d5d1d945beda5a620462de030431c6d4c41ec20e4328f28b0d63c15cde1bb");
    }

    #[test]
    fn the_identity_follows_what_is_judged_and_nothing_else() {
        let changed = |change: fn(&mut ModelCard)| {
            let mut card = card();
            change(&mut card);
            card.identity() != self::card().identity()
        };
        let judged: [fn(&mut ModelCard); 8] = [
            |card| card.sha256 = "b".repeat(64),
            |card| card.window.stride = 2,
            |card| card.window.grid_ms = 2000,
            |card| card.encoder.batch = 8,
            |card| card.encoder.metric = Metric::Cosine,
            |card| card.channel.swap(0, 1),
            |card| card.channel[0].scale = 0.2,
            |card| card.channel[1].treatment = Treatment::Detrended,
        ];
        assert!(judged.into_iter().all(changed));
        let other: [fn(&mut ModelCard); 4] = [
            |card| card.name = "other".to_owned(),
            |card| card.channel[0].reason.clear(),
            |card| card.channel[0].stuck_after = 90,
            |card| card.sha256 = "A".repeat(64),
        ];
        assert!(!other.into_iter().any(changed));
    }
}
