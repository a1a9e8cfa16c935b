//! A bank: one generation of units with an index over their keys. Immutable: workers share it through an `Arc`.

use std::sync::Arc;

use crate::domain::deviation::{Comparison, compare};
use crate::domain::model::ModelCard;
use crate::domain::unit::Generation;
use crate::ports::NeighborIndex;

/// One generation, ready to be asked.
pub struct Bank {
    generation: Arc<Generation>,
    index: Box<dyn NeighborIndex>,
    features: usize,
    k: usize,
}

/// Windows compared at once: bounds what one request holds in memory.
const BLOCK: usize = 1024;

/// A generation that does not fit the model it is to be used with.
#[derive(Debug, thiserror::Error)]
#[error("memory generation {number} does not fit the model: {fault}; run `jamais prefill` with this model")]
pub struct Unfit {
    number: u64,
    fault: String,
}

impl Bank {
    /// Joins a generation and the index over its keys, for windows of `card`'s model.
    ///
    /// # Errors
    /// [`Unfit`] if the units are of another model, or have other dimensions, or numbers that are not finite.
    pub fn new(
        generation: Arc<Generation>,
        index: Box<dyn NeighborIndex>,
        card: &ModelCard,
        k: usize,
    ) -> Result<Self, Unfit> {
        if let Some(fault) = fault(&generation, card) {
            return Err(Unfit { number: generation.number, fault });
        }
        Ok(Self { generation, index, features: card.features(), k })
    }

    /// The generation.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// The index's name.
    pub fn index_name(&self) -> &'static str {
        self.index.name()
    }

    /// Compares normalised windows, `[n, T, F]` flat, whose embeddings are `[n, D]` flat, with their neighbors.
    pub fn compare(&self, windows: &[f32], embeddings: &[f32]) -> Vec<Comparison> {
        let generation = &self.generation;
        let (length, dimension) = (generation.units[0].value.len(), generation.units[0].key.len());
        let temperature = generation.calibration.scales.temperature;
        let mut comparisons = Vec::with_capacity(windows.len() / length);
        for (windows, embeddings) in windows.chunks(BLOCK * length).zip(embeddings.chunks(BLOCK * dimension)) {
            let found = self.index.neighbors(embeddings, self.k);
            comparisons.extend(windows.chunks(length).zip(found).map(|(window, neighbors)| {
                compare(window, self.features, neighbors, temperature, |unit| generation.units[unit].value.as_slice())
            }));
        }
        comparisons
    }
}

/// The first thing that does not fit; also what keeps NaN away from the index.
fn fault(generation: &Generation, card: &ModelCard) -> Option<String> {
    let model = card.identity();
    if generation.model != model {
        return Some(format!("its units were embedded by {}, the model is {model}", generation.model));
    }
    if generation.metric != card.encoder.metric {
        return Some(format!("its metric is {:?}, the model's is {:?}", generation.metric, card.encoder.metric));
    }
    if generation.units.is_empty() {
        return Some("it has no units".to_owned());
    }
    let scales = &generation.calibration.scales;
    let positive = |scale: f32| scale.is_finite() && scale > 0.0;
    if scales.channels.len() != card.features()
        || ![scales.temperature, scales.distance, scales.residual]
            .into_iter()
            .chain(scales.channels.iter().copied())
            .all(positive)
    {
        return Some("its calibration does not have one positive scale a feature".to_owned());
    }
    let (dimension, length) = (card.encoder.dimension, card.window.size * card.features());
    generation.units.iter().find_map(|unit| {
        if unit.key.len() != dimension || unit.value.len() != length {
            return Some(format!(
                "unit {} has a key of {} and a window of {} numbers, the model's have {dimension} and {length}",
                unit.id.0,
                unit.key.len(),
                unit.value.len()
            ));
        }
        let finite = unit.key.iter().chain(&unit.value).all(|value| value.is_finite());
        (!finite).then(|| format!("unit {} holds a number that is not finite", unit.id.0))
    })
}
