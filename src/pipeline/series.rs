//! What is remembered of one series between batches, and how it is serialized.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PipelineSettings;
use crate::domain::alarm::AlarmState;
use crate::domain::align::Aligner;
use crate::domain::deviation::{Comparison, Deviation, Smoothed, measure};
use crate::domain::sensor::StuckDetector;
use crate::domain::threshold::History;
use crate::domain::unit::{Calibration, Generation};
use crate::domain::window::WindowBuffer;

/// Version of the serialized form.
const FORMAT: u8 = 1;

/// One series' state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SeriesState {
    /// The model whose deviations are in it.
    pub model: Arc<str>,
    /// Offset of the first record of the partition that is not part of this state.
    pub next_offset: i64,
    pub aligner: Aligner,
    pub stuck: StuckDetector,
    pub buffer: WindowBuffer,
    pub smoothed: Option<Smoothed>,
    pub history: History,
    pub alarm: AlarmState,
    /// A record was too late since the last window.
    pub late: bool,
    /// The next window is the first, or the first after a gap.
    pub fresh: bool,
    /// For `emit = "changes"`: what was last emitted, in short.
    pub last_emitted: String,
    /// Changed since the last checkpoint.
    #[serde(skip)]
    pub dirty: bool,
}

impl SeriesState {
    pub fn new(model: &Arc<str>, channels: usize, calibration: &Calibration, settings: &PipelineSettings) -> Self {
        Self {
            model: model.clone(),
            next_offset: i64::MIN,
            aligner: Aligner::new(channels),
            stuck: StuckDetector::new(channels),
            buffer: WindowBuffer::default(),
            smoothed: None,
            history: History::new(&calibration.deviations, settings.threshold.length),
            alarm: AlarmState::default(),
            late: false,
            fresh: true,
            last_emitted: String::new(),
            dirty: true,
        }
    }

    /// Forgets what a gap makes meaningless.
    pub fn interrupt(&mut self) {
        self.smoothed = None;
        self.alarm.interrupt();
    }

    /// The smoothed deviation of a window, and its parts.
    pub fn deviation(
        &mut self,
        typical: f32,
        settings: &PipelineSettings,
        generation: &Generation,
        comparison: &Comparison,
    ) -> (f32, Deviation) {
        let parts = measure(&settings.deviation, &generation.calibration.scales, comparison);
        let mut smoothed = self.smoothed.unwrap_or(Smoothed::new(typical));
        let value = smoothed.step(&settings.deviation, parts.value());
        self.smoothed = Some(smoothed);
        (value, parts)
    }

    pub fn threshold(&self, settings: &PipelineSettings) -> Option<f32> {
        self.history.threshold(&settings.threshold)
    }

    /// One format byte, a CRC-32, and the state.
    pub fn serialize(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("memory is the only thing that serialization needs");
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    pub fn deserialize(
        bytes: &[u8],
        settings: &PipelineSettings,
        model: &Arc<str>,
        channels: usize,
    ) -> Result<Self, String> {
        let Some((&[format, a, b, c, d], body)) = bytes.split_first_chunk::<5>() else {
            return Err("it is cut short".to_owned());
        };
        if format != FORMAT {
            return Err(format!("it has format {format}, this version of jamais reads {FORMAT}"));
        }
        if crc32fast::hash(body).to_le_bytes() != [a, b, c, d] {
            return Err("it does not match its checksum".to_owned());
        }
        let mut state: Self = postcard::from_bytes(body).map_err(|error| error.to_string())?;
        if state.model != *model || !state.aligner.fits(channels) {
            return Err(format!("it is of the model {}, and this one is {model}", state.model));
        }
        state.model = model.clone();
        state.history.shorten(settings.threshold.length);
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::unit::Scales;
    use crate::pipeline::tests::settings;

    #[test]
    fn a_state_survives_its_serialized_form_and_damage_and_other_models_are_found() {
        let scales = Scales { temperature: 1.0, distance: 1.0, channels: vec![1.0], residual: 1.0 };
        let (model, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let state = SeriesState::new(&model, 2, &Calibration { scales, deviations: vec![1.0, 2.0] }, &settings());
        let mut bytes = state.serialize();
        let read = |bytes: &[u8]| SeriesState::deserialize(bytes, &settings(), &model, 2);
        assert_eq!(SeriesState { dirty: true, ..read(&bytes).unwrap() }, state);
        assert!(SeriesState::deserialize(&bytes, &settings(), &other, 2).unwrap_err().contains("of the model"));
        bytes[9] ^= 4;
        assert!(read(&bytes).unwrap_err().contains("checksum"));
        assert!(read(&bytes[..3]).unwrap_err().contains("short"));
    }
}
