//! Exact neighbors by matrix product: the oracle for every approximate index, and up to tens of thousands of units the
//! faster one (see `benches/neighbors.rs`).

use ndarray::{Array2, ArrayView2, s};

use crate::domain::model::Metric;
use crate::domain::neighbor::{Neighbor, distance, norm_squared};
use crate::ports::NeighborIndex;

/// Queries a block: the product's shape is the same for every block, so that a row's result does not depend on how many
/// rows come with it.
const QUERIES: usize = 16;

/// Units a block: at D = 128 they take half a megabyte, which stays in the second-level cache.
const UNITS: usize = 1024;

/// Units that are looked at together when the nearest are picked.
const LANES: usize = 32;

/// Beyond `k`, how many candidates of the rounded products are measured exactly.
const MARGIN: usize = 4;

/// Compares a query with every unit.
pub struct ExactIndex {
    metric: Metric,
    dimension: usize,
    /// The keys as given, `[unit, D]` flat.
    keys: Vec<f32>,
    /// `[D, unit]`, of length 1 each for the cosine metric.
    columns: Array2<f32>,
    /// What is added to -2 q·u (Euclidean: |u|^2) or -q·u (cosine: 0) to rank units.
    offsets: Vec<f32>,
}

impl ExactIndex {
    /// An index over `keys`, `[unit, D]`.
    pub fn new<'a>(metric: Metric, dimension: usize, keys: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut flat = Vec::new();
        let mut ranked = Vec::new();
        let mut offsets = Vec::new();
        for key in keys {
            assert_eq!(key.len(), dimension, "a unit's key has the encoder's dimension");
            flat.extend_from_slice(key);
            match metric {
                Metric::Euclidean => {
                    ranked.extend(key.iter().map(|value| -2.0 * value));
                    offsets.push(norm_squared(key));
                }
                Metric::Cosine => {
                    let norm = norm_squared(key).sqrt().max(f32::MIN_POSITIVE);
                    ranked.extend(key.iter().map(|value| -value / norm));
                    offsets.push(0.0);
                }
            }
        }
        let rows = ArrayView2::from_shape((offsets.len(), dimension), &ranked).expect("a row a unit was pushed");
        Self { metric, dimension, keys: flat, columns: rows.reversed_axes().as_standard_layout().into_owned(), offsets }
    }

    fn key(&self, unit: usize) -> &[f32] {
        &self.keys[unit * self.dimension..(unit + 1) * self.dimension]
    }

    /// Measures the candidates exactly and keeps the `k` nearest.
    fn rerank(&self, query: &[f32], candidates: &[(f32, usize)], k: usize) -> Vec<Neighbor> {
        let mut neighbors: Vec<Neighbor> = candidates
            .iter()
            .map(|&(_, unit)| Neighbor { unit, distance: distance(self.metric, query, self.key(unit)) })
            .collect();
        sort(&mut neighbors);
        neighbors.truncate(k);
        neighbors
    }
}

/// Nearest first, equal distances by ascending unit.
pub(crate) fn sort(neighbors: &mut [Neighbor]) {
    neighbors.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.unit.cmp(&b.unit)));
}

impl NeighborIndex for ExactIndex {
    fn neighbors(&self, queries: &[f32], k: usize) -> Vec<Vec<Neighbor>> {
        let units = self.offsets.len();
        let keep = (k + MARGIN).min(units);
        let mut found = Vec::with_capacity(queries.len() / self.dimension);
        let mut block = Array2::<f32>::zeros((QUERIES, self.dimension));
        let mut products = Array2::<f32>::zeros((QUERIES, UNITS));
        for chunk in queries.chunks(QUERIES * self.dimension) {
            let rows = chunk.len() / self.dimension;
            block.fill(0.0);
            block.as_slice_mut().expect("standard layout")[..chunk.len()].copy_from_slice(chunk);
            let mut nearest = vec![Nearest::new(keep); rows];
            for first in (0..units).step_by(UNITS) {
                let last = (first + UNITS).min(units);
                let mut products = products.slice_mut(s![.., ..last - first]);
                ndarray::linalg::general_mat_mul(
                    1.0,
                    &block,
                    &self.columns.slice(s![.., first..last]),
                    0.0,
                    &mut products,
                );
                for (nearest, products) in nearest.iter_mut().zip(products.rows()) {
                    let products = products.to_slice().expect("a row of a block is contiguous");
                    nearest.offer_all(first, products, &self.offsets[first..last]);
                }
            }
            for (query, nearest) in chunk.chunks(self.dimension).zip(&nearest) {
                found.push(self.rerank(query, &nearest.kept, k));
            }
        }
        found
    }

    fn name(&self) -> &'static str {
        "exact"
    }
}

/// The few smallest of many numbers; the first offered wins among equals.
#[derive(Clone)]
struct Nearest {
    keep: usize,
    /// Ascending.
    kept: Vec<(f32, usize)>,
    /// What a number must be below to get in.
    bound: f32,
}

impl Nearest {
    fn new(keep: usize) -> Self {
        let bound = if keep == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        Self { keep, kept: Vec::with_capacity(keep + 1), bound }
    }

    /// Offers product + offset of the units from `first` on. Whether any of [`LANES`] gets in is asked at once, in vector
    /// instructions: after the first few units hardly any does.
    fn offer_all(&mut self, first: usize, products: &[f32], offsets: &[f32]) {
        let lanes = products.chunks(LANES).zip(offsets.chunks(LANES));
        for (unit, (products, offsets)) in (first..).step_by(LANES).zip(lanes) {
            let values = products.iter().zip(offsets).map(|(product, offset)| product + offset);
            if values.clone().fold(false, |any, value| any | (value < self.bound)) {
                for (unit, value) in (unit..).zip(values) {
                    if value < self.bound {
                        self.insert(value, unit);
                    }
                }
            }
        }
    }

    fn insert(&mut self, value: f32, unit: usize) {
        let at = self.kept.partition_point(|(kept, _)| *kept <= value);
        self.kept.insert(at, (value, unit));
        self.kept.truncate(self.keep);
        if self.kept.len() == self.keep {
            self.bound = self.kept[self.keep - 1].0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn neighbors_are_those_of_a_plain_scan(
            keys in proptest::collection::vec(proptest::collection::vec(-3.0_f32..3.0, 5), 1..60),
            queries in proptest::collection::vec(-3.0_f32..3.0, 5 * 20),
            cosine: bool,
        ) {
            let metric = if cosine { Metric::Cosine } else { Metric::Euclidean };
            let index = ExactIndex::new(metric, 5, keys.iter().map(Vec::as_slice));
            for (query, found) in queries.chunks(5).zip(index.neighbors(&queries, 3)) {
                let mut scanned: Vec<_> = keys
                    .iter()
                    .enumerate()
                    .map(|(unit, key)| Neighbor { unit, distance: distance(metric, query, key) })
                    .collect();
                sort(&mut scanned);
                scanned.truncate(3);
                prop_assert_eq!(found.iter().map(|n| n.distance).collect::<Vec<_>>(), scanned.iter().map(|n| n.distance).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_result_does_not_depend_on_its_companions(queries in proptest::collection::vec(-3.0_f32..3.0, 4 * 40)) {
            let keys: Vec<Vec<f32>> = queries.chunks(4).map(|query| query.iter().map(|value| value * 0.9).collect()).collect();
            let index = ExactIndex::new(Metric::Euclidean, 4, keys.iter().map(Vec::as_slice));
            let together = index.neighbors(&queries, 3);
            let alone: Vec<_> = queries.chunks(4).flat_map(|query| index.neighbors(query, 3)).collect();
            prop_assert_eq!(together, alone);
        }
    }
}
