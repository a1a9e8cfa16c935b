//! `emit`: which windows give an event, and what the event says.

use std::sync::Arc;

use serde::Deserialize;

use crate::domain::alarm::{Alarm, Transition};
use crate::domain::deviation::{Comparison, Deviation, scaled_residuals};
use crate::domain::event::{
    AlarmEvidence, ChannelEvidence, NeighborEvidence, Reason, ReasonCode, ScoredEvent, SourceRange, stable_id,
};
use crate::domain::model::{Metric, ModelCard};
use crate::domain::record::SeriesKey;
use crate::domain::threshold::ThresholdSettings;
use crate::domain::unit::Generation;
use crate::domain::window::Window;
use crate::ports::PartitionId;

/// Which windows give an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// All.
    EveryWindow,
    /// Every n-th, and anomalies and alarms' turns.
    EveryNth,
    /// Those at which the flag, the alarm or the reasons change.
    Changes,
    /// Flagged ones, and alarms' turns.
    Anomalies,
}

/// Which windows give an event, and how much evidence.
#[derive(Clone, Debug)]
pub struct EmitSettings {
    /// Which windows.
    pub emit: Emit,
    /// For [`Emit::EveryNth`].
    pub every: u32,
    /// How often full evidence is given without an anomaly; 0: never.
    pub evidence_every: u32,
}

/// Everything that was found out about a window.
pub(super) struct Judgement {
    pub deviation: Option<(f32, Deviation)>,
    pub threshold: Option<f32>,
    pub score: Option<f32>,
    pub anomaly: bool,
    pub alarm: Option<Alarm>,
    pub late: bool,
    pub comparison: Option<Comparison>,
}

/// A channel is stuck, or sent nothing but NaN and infinities for a whole window.
pub(super) fn dead_sensor(card: &ModelCard, window: &Window) -> bool {
    window.quality.iter().any(|quality| quality.stuck > 0 || quality.invalid as usize >= card.window.size)
}

/// The window's number: counts strides in event time, so that sampling does not depend on where a series begins.
fn number(card: &ModelCard, window: &Window) -> i64 {
    let stride = i64::try_from(card.window.stride).unwrap_or(i64::MAX);
    window.end.millis().div_euclid(card.grid_ms()).div_euclid(stride)
}

fn every(number: i64, n: u32) -> bool {
    n > 0 && number.rem_euclid(i64::from(n)) == 0
}

impl EmitSettings {
    /// Whether the window gives an event. `last` is what was last emitted for the series, in short.
    pub(super) fn wants(&self, card: &ModelCard, window: &Window, judgement: &Judgement, last: &mut String) -> bool {
        let turning = judgement.alarm.is_some_and(|alarm| alarm.transition != Transition::Held);
        match self.emit {
            Emit::EveryWindow => true,
            Emit::EveryNth => judgement.anomaly || turning || every(number(card, window), self.every),
            Emit::Anomalies => judgement.anomaly || turning,
            Emit::Changes => {
                let codes: Vec<_> = reasons(card, window, judgement)
                    .into_iter()
                    .map(|reason| format!("{}:{}", reason.code.as_str(), reason.channel.as_deref().unwrap_or_default()))
                    .collect();
                let now = format!("{} {} {}", judgement.anomaly, judgement.alarm.is_some(), codes.join(","));
                let changed = turning || *last != now;
                *last = now;
                changed
            }
        }
    }
}

fn reasons(card: &ModelCard, window: &Window, judgement: &Judgement) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |code, channel: Option<&str>| reasons.push(Reason { code, channel: channel.map(Arc::from) });
    if judgement.threshold.is_none() {
        add(ReasonCode::WarmingUp, None);
    }
    if judgement.late {
        add(ReasonCode::Late, None);
    }
    if let (Some((_, parts)), Some(threshold)) = (judgement.deviation, judgement.threshold)
        && judgement.anomaly
        && parts.distance > threshold
    {
        add(ReasonCode::UnknownRegime, None);
    }
    for (channel, quality) in card.channel.iter().zip(&window.quality) {
        let name = Some(channel.name.as_str());
        if quality.filled > 0 {
            add(ReasonCode::GapFilled, name);
        }
        if quality.invalid > 0 || quality.mixed > 0 || quality.stuck > 0 {
            add(ReasonCode::SensorFault, name);
        }
        if quality.missing > 0 {
            add(ReasonCode::ChannelMissing, name);
        }
    }
    reasons
}

/// Texts that every event shares.
pub(super) struct Names {
    model: Arc<str>,
    threshold_version: Arc<str>,
    channels: Vec<Arc<str>>,
}

impl Names {
    pub fn new(model: Arc<str>, card: &ModelCard, threshold: &ThresholdSettings) -> Self {
        Self {
            model,
            threshold_version: format!("q{} x {} of {}", threshold.quantile, threshold.factor, threshold.length).into(),
            channels: card.channel.iter().map(|channel| channel.name.as_str().into()).collect(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "everything that an event says comes together here, once")]
    pub fn event(
        &self,
        settings: &EmitSettings,
        card: &ModelCard,
        generation: &Generation,
        series: &SeriesKey,
        partition: &PartitionId,
        window: &Window,
        judgement: Judgement,
    ) -> ScoredEvent {
        let full =
            judgement.anomaly || judgement.alarm.is_some() || every(number(card, window), settings.evidence_every);
        let comparison = judgement.comparison.as_ref().filter(|_| full);
        let alarm = judgement.alarm.map(|alarm| AlarmEvidence {
            id: stable_id(&[series.as_str().as_bytes(), &alarm.since.millis().to_le_bytes(), self.model.as_bytes()]),
            since: alarm.since,
            transition: alarm.transition,
        });
        ScoredEvent {
            id: stable_id(&[
                series.as_str().as_bytes(),
                &window.start.millis().to_le_bytes(),
                &window.end.millis().to_le_bytes(),
                self.model.as_bytes(),
                &generation.number.to_le_bytes(),
            ]),
            series: series.clone(),
            window_start: window.start,
            window_end: window.end,
            deviation: judgement.deviation.map(|(value, _)| value),
            threshold: judgement.threshold,
            score: judgement.score,
            anomaly: judgement.anomaly,
            alarm,
            channels: comparison
                .map(|comparison| self.channels(card, generation, window, comparison))
                .unwrap_or_default(),
            neighbors: comparison.map(|comparison| neighbors(generation, comparison)).unwrap_or_default(),
            model: self.model.clone(),
            generation: generation.number,
            threshold_version: self.threshold_version.clone(),
            source: SourceRange {
                topic: partition.0.clone(),
                partition: partition.1,
                first_offset: window.offsets.0,
                last_offset: window.offsets.1,
            },
            reasons: reasons(card, window, &judgement),
        }
    }

    /// Largest residual first; equal ones in the model's channel order.
    fn channels(
        &self,
        card: &ModelCard,
        generation: &Generation,
        window: &Window,
        comparison: &Comparison,
    ) -> Vec<ChannelEvidence> {
        let count = card.channel.len();
        let residuals = scaled_residuals(&generation.calibration.scales.channels, comparison);
        let mut evidence: Vec<ChannelEvidence> = card
            .encoded()
            .zip(residuals)
            .zip(&comparison.differences)
            .map(|((channel, residual), difference)| {
                let column = window.values.iter().skip(channel).step_by(count);
                #[expect(clippy::cast_precision_loss, reason = "windows are short")]
                let observed = column.sum::<f64>() / card.window.size as f64;
                ChannelEvidence {
                    channel: self.channels[channel].clone(),
                    observed,
                    expected: observed - f64::from(*difference) * card.channel[channel].scale,
                    residual,
                }
            })
            .collect();
        evidence.sort_by(|a, b| b.residual.total_cmp(&a.residual));
        evidence
    }
}

fn neighbors(generation: &Generation, comparison: &Comparison) -> Vec<NeighborEvidence> {
    comparison
        .neighbors
        .iter()
        .zip(&comparison.weights)
        .map(|(neighbor, &weight)| {
            let unit = &generation.units[neighbor.unit];
            NeighborEvidence {
                unit: unit.id,
                distance: neighbor.distance,
                similarity: match generation.metric {
                    Metric::Cosine => 1.0 - neighbor.distance,
                    Metric::Euclidean => 1.0 / (1.0 + neighbor.distance),
                },
                weight,
                provenance: unit.provenance.clone(),
            }
        })
        .collect()
}
