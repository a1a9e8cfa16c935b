//! One labelled series through the real path: its first rows are learned, the rest is judged row by row, causally.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Decoder;
use crate::config::Settings;
use crate::domain::align::{AlignSettings, Late};
use crate::domain::history::HistoryBuilder;
use crate::domain::model::ModelCard;
use crate::domain::record::{EventTime, Payload, Position, Reading, Record, SeriesKey};
use crate::domain::unit::Generation;
use crate::memory::bank::Bank;
use crate::memory::prefill::{PrefillError, PrefillSettings, prefill};
use crate::pipeline::{Emit, Pipeline};
use crate::ports::{Encoder, PortError};
use crate::train::{TrainError, TrainSettings, TrainedModel, train};

/// A series with labels.
#[derive(Clone, Debug)]
pub struct LabelledSeries {
    /// Its name.
    pub name: String,
    /// Channel names.
    pub channels: Vec<String>,
    /// Event times, `[row]`.
    pub times: Vec<EventTime>,
    /// Raw values, `[row, channel]` flat.
    pub values: Vec<f64>,
    /// Whether each row is anomalous, `[row]`.
    pub labels: Vec<bool>,
    /// How many rows at the beginning are normal and may be learned from.
    pub learn: usize,
    /// The grid's step.
    pub grid: Duration,
}

/// What was said of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowScore {
    /// deviation / threshold; 0 where the row could not be judged.
    pub score: f32,
    /// Whether it was flagged.
    pub flagged: bool,
}

/// Why a series could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Its rows are not in order.
    #[error("a row is out of order")]
    Late(#[from] Late),
    /// The encoder could not be trained.
    #[error("the encoder could not be trained")]
    Train(#[from] TrainError),
    /// Memory could not be filled.
    #[error("memory could not be filled")]
    Prefill(#[from] PrefillError),
    /// The encoder failed.
    #[error("the encoder failed")]
    Encoder(#[from] PortError),
    /// A component could not be made.
    #[error("a component could not be made")]
    Component(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What an evaluation needs from outside.
pub trait Components {
    /// A model as an encoder.
    ///
    /// # Errors
    /// [`EvaluateError::Component`].
    fn encoder(&self, model: &TrainedModel) -> Result<Box<dyn Encoder>, EvaluateError>;

    /// A generation with an index.
    ///
    /// # Errors
    /// [`EvaluateError::Component`].
    fn bank(&self, card: &ModelCard, generation: Generation) -> Result<Arc<Bank>, EvaluateError>;
}

/// Trains on the first `series.learn` rows, fills and calibrates memory from them, and judges the rows after them. Gives
/// one score a row from `series.learn` on: that of the window that ends in the row's grid cell.
///
/// # Errors
/// [`EvaluateError`].
pub fn score_series(
    series: &LabelledSeries,
    settings: &Settings,
    train_settings: &TrainSettings,
    prefill_settings: &PrefillSettings,
    components: &dyn Components,
) -> Result<Vec<RowScore>, EvaluateError> {
    let align = settings.align.on_grid(series.grid, series.channels.len());
    let segments = history(series, &align)?;
    let model = train(train_settings, &series.channels, &segments)?;
    let mut encoder = components.encoder(&model)?;
    let generation = prefill(encoder.as_mut(), prefill_settings, &segments, None)?;
    let bank = components.bank(&model.card, generation)?;
    let mut pipeline_settings = settings.pipeline(&model.card);
    pipeline_settings.emit.emit = Emit::EveryWindow;
    let decoder = Decoder::new(settings.input.clone(), series.channels.iter().cloned());
    let mut pipeline = Pipeline::new(decoder, encoder, bank, pipeline_settings);
    // The first tested row's window reaches back into the learned rows.
    let begin = series.learn.saturating_sub(train_settings.window - 1);
    let records: Vec<Record> = (begin..series.times.len()).map(|row| series.record(row)).collect();
    let mut events = pipeline.process(&records)?.events;
    events.extend(pipeline.finish(&(series.name.as_str().into(), 0))?.events);
    let by_end: HashMap<i64, RowScore> = events
        .iter()
        .map(|event| {
            (event.window_end.millis(), RowScore { score: event.score.unwrap_or(0.0), flagged: event.anomaly })
        })
        .collect();
    let unjudged = RowScore { score: 0.0, flagged: false };
    Ok((series.learn..series.times.len())
        .map(|row| by_end.get(&align.cell(series.times[row]).millis()).copied().unwrap_or(unjudged))
        .collect())
}

fn history(series: &LabelledSeries, align: &AlignSettings) -> Result<Vec<crate::domain::history::Segment>, Late> {
    let mut history = HistoryBuilder::new(align.clone());
    for row in 0..series.learn.min(series.times.len()) {
        history.push(&series.name, i64::try_from(row).unwrap_or(i64::MAX), &series.reading(row))?;
    }
    Ok(history.finish())
}

impl LabelledSeries {
    fn reading(&self, row: usize) -> Reading {
        let channels = self.channels.len();
        let values = &self.values[row * channels..(row + 1) * channels];
        Reading::of_row(SeriesKey::new(&self.name), self.times[row], values)
    }

    fn record(&self, row: usize) -> Record {
        Record {
            position: Position {
                topic: self.name.as_str().into(),
                partition: 0,
                offset: i64::try_from(row).unwrap_or(i64::MAX),
            },
            key: None,
            timestamp: None,
            payload: Payload::Reading(self.reading(row)),
        }
    }
}
