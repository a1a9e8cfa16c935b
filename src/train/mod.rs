//! Training on normal data alone: from segments on the grid to an ONNX encoder and its model card.

mod channels;
mod onnx;
mod whitened_linear;

use std::path::{Path, PathBuf};

pub use onnx::write_whitened_linear;
pub use whitened_linear::WhitenedLinear;

use crate::config::{CARD_FILE, ENCODER_FILE};
use crate::domain::event::content_hash;
use crate::domain::history::Segment;
use crate::domain::model::{CARD_VERSION, EncoderCard, Metric, ModelCard, Treatment, WindowCard};

/// What is trained.
#[derive(Clone, Debug)]
pub struct TrainSettings {
    /// A name for people.
    pub name: String,
    /// T: samples a window.
    pub window: usize,
    /// Grid cells from one window to the next.
    pub stride: usize,
    /// The grid's step, ms.
    pub grid_ms: u64,
    /// Windows that the encoder gets at once.
    pub batch: usize,
}

/// A trained encoder.
#[derive(Clone, Debug)]
pub struct TrainedModel {
    /// Its card.
    pub card: ModelCard,
    /// Its ONNX file.
    pub onnx: Vec<u8>,
    /// The same computation in Rust.
    pub encoder: WhitenedLinear,
    /// What the user should know of the data.
    pub warnings: Vec<String>,
}

/// Why training is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// No channels.
    #[error("the training data has no channels; name them with --channels")]
    NoChannels,
    /// Too little data.
    #[error(
        "the training data gives {windows} whole windows of {size} samples, at least {needed} are needed; give more \
         normal data, a larger align.gap_cells_max, or a shorter --window"
    )]
    TooFewWindows {
        /// Windows found.
        windows: usize,
        /// T.
        size: usize,
        /// The least.
        needed: usize,
    },
    /// A file could not be written.
    #[error("cannot write {path}; is the folder writable?")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// The least number of windows a channel that whitening is tried on: a covariance of fewer says little.
const WINDOWS_A_CHANNEL: usize = 5;

/// Trains the whitened linear encoder: robust scaling, the choice of channels, and shrinkage whitening of window means.
///
/// `segments` hold `[channel]` samples in the order of `channels`. The same data gives the same model. Cost: O(n F^2).
///
/// # Errors
/// [`TrainError`] if there is too little data.
pub fn train(settings: &TrainSettings, channels: &[String], segments: &[Segment]) -> Result<TrainedModel, TrainError> {
    if channels.is_empty() {
        return Err(TrainError::NoChannels);
    }
    let mut warnings = Vec::new();
    let channel = channels::fit(channels, segments, &mut warnings);
    let mut card = ModelCard {
        card_version: CARD_VERSION,
        name: settings.name.clone(),
        trained_by: format!("jamais {} train --encoder whitened-linear", env!("CARGO_PKG_VERSION")),
        sha256: String::new(),
        encoder: EncoderCard {
            input: onnx::INPUT.to_owned(),
            output: onnx::OUTPUT.to_owned(),
            dimension: channel.iter().filter(|channel| channel.treatment != Treatment::LeftOut).count(),
            batch: settings.batch,
            metric: Metric::Euclidean,
        },
        window: WindowCard { size: settings.window, stride: settings.stride, grid_ms: settings.grid_ms },
        calibration: None,
        channel,
    };
    let features = card.features();
    let windows: Vec<f32> =
        segments.iter().flat_map(|segment| segment.windows(&card).flat_map(|window| window.value)).collect();
    let (found, needed) = (windows.len() / (settings.window * features), WINDOWS_A_CHANNEL * features.max(2));
    if found < needed {
        return Err(TrainError::TooFewWindows { windows: found, size: settings.window, needed });
    }
    let encoder = WhitenedLinear::fit(&windows, settings.window, features);
    let onnx = write_whitened_linear(&encoder, settings.window);
    card.sha256 = content_hash(&onnx);
    Ok(TrainedModel { card, onnx, encoder, warnings })
}

/// Writes a model into a folder: the ONNX file first, then the card that names its hash.
///
/// # Errors
/// [`TrainError::Write`].
pub fn save(model: &Path, card: &ModelCard, onnx: &[u8]) -> Result<(), TrainError> {
    let failed = |path: &Path, source| TrainError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(model).map_err(|error| failed(model, error))?;
    let text = toml::to_string(card).expect("a card has only what TOML can say");
    for (name, bytes) in [(ENCODER_FILE, onnx), (CARD_FILE, text.as_bytes())] {
        let path = model.join(name);
        let temporary = model.join(format!("{name}.tmp"));
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
