//! `hnsw_rs`: approximate neighbors by a navigable small-world graph (Malkov and Yashunin 2020).
//!
//! `hnsw_rs` ends the process on some faults and panics on NaN distances, so nothing reaches it unchecked: parameters
//! are bounded, keys and queries are finite. Units are inserted one after the other in the generation's order, and its
//! level generator has a fixed seed, so the same generation gives the same graph. Graphs are never stored: they are
//! built from the store, which is the truth.

use hnsw_rs::prelude::{Distance, Hnsw};

use crate::domain::model::Metric;
use crate::domain::neighbor::{Neighbor, distance, norm_squared};
use crate::memory::exact::sort;
use crate::ports::NeighborIndex;

/// The graph's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HnswSettings {
    /// Edges a node and layer; 4 to 128.
    pub m: usize,
    /// Candidates looked at when a unit is inserted; at least `m`.
    pub ef_construction: usize,
    /// Candidates looked at in a search; at least `k`.
    pub ef_search: usize,
}

/// Layers of a graph, at most: what `hnsw_rs` supports.
const LAYERS: usize = 16;

/// Squared Euclidean distance in sixteen independent sums, which the compiler turns into vector instructions: at D = 128 about
/// three times as fast as the library's own scalar sum.
#[derive(Clone, Copy, Default)]
struct SquaredEuclidean;

impl Distance<f32> for SquaredEuclidean {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0_f32; 16];
        let (a_chunks, b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
        let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
        for (a, b) in a_chunks.zip(b_chunks) {
            for lane in 0..16 {
                let difference = a[lane] - b[lane];
                sums[lane] += difference * difference;
            }
        }
        sums.iter().sum::<f32>() + rest
    }
}

/// An approximate index over a generation's keys.
pub struct HnswIndex {
    graph: Hnsw<'static, f32, SquaredEuclidean>,
    settings: HnswSettings,
    metric: Metric,
    dimension: usize,
    /// The keys as given, `[unit, D]` flat.
    keys: Vec<f32>,
}

impl HnswIndex {
    /// Builds the graph over `keys`, `[unit, D]` flat and finite. Takes minutes for 100,000 units.
    pub fn new(metric: Metric, dimension: usize, keys: Vec<f32>, settings: HnswSettings) -> Self {
        assert!((4..=128).contains(&settings.m), "m is checked with the settings");
        assert!(keys.iter().all(|value| value.is_finite()), "keys are checked when they are stored");
        let graph = Hnsw::new(
            settings.m,
            (keys.len() / dimension).max(1),
            LAYERS,
            settings.ef_construction.max(settings.m),
            SquaredEuclidean,
        );
        for (unit, key) in keys.chunks_exact(dimension).enumerate() {
            graph.insert((&ranked(metric, key), unit));
        }
        Self { graph, settings, metric, dimension, keys }
    }
}

/// The vector whose Euclidean order is the metric's order: for cosine, the same direction with length 1.
fn ranked(metric: Metric, vector: &[f32]) -> Vec<f32> {
    let scale = match metric {
        Metric::Euclidean => 1.0,
        Metric::Cosine => norm_squared(vector).sqrt().max(f32::MIN_POSITIVE),
    };
    vector.iter().map(|value| value / scale).collect()
}

impl NeighborIndex for HnswIndex {
    fn neighbors(&self, queries: &[f32], k: usize) -> Vec<Vec<Neighbor>> {
        let find = |query: &[f32]| {
            assert!(query.iter().all(|value| value.is_finite()), "encoders give finite embeddings");
            let mut neighbors: Vec<Neighbor> = self
                .graph
                .search(&ranked(self.metric, query), k, self.settings.ef_search.max(k))
                .into_iter()
                .map(|found| {
                    let unit = found.get_origin_id();
                    let key = &self.keys[unit * self.dimension..(unit + 1) * self.dimension];
                    Neighbor { unit, distance: distance(self.metric, query, key) }
                })
                .collect();
            sort(&mut neighbors);
            neighbors
        };
        queries.chunks_exact(self.dimension).map(find).collect()
    }

    fn name(&self) -> &'static str {
        "hnsw"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::exact::ExactIndex;
    use rand::{RngExt, SeedableRng};

    fn check(metric: Metric) {
        let (units, dimension, k) = (2_000, 16, 8);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let keys: Vec<f32> = (0..units * dimension).map(|_| rng.random_range(-1.0..1.0)).collect();
        let queries: Vec<f32> = (0..50 * dimension).map(|_| rng.random_range(-1.0..1.0)).collect();
        let settings = HnswSettings { m: 16, ef_construction: 100, ef_search: 100 };
        let exact = ExactIndex::new(metric, dimension, keys.chunks(dimension)).neighbors(&queries, k);
        let graph = HnswIndex::new(metric, dimension, keys.clone(), settings).neighbors(&queries, k);
        let again = HnswIndex::new(metric, dimension, keys, settings).neighbors(&queries, k);
        assert_eq!(graph, again, "the same keys give the same graph");
        let found = exact
            .iter()
            .zip(&graph)
            .map(|(exact, graph)| exact.iter().filter(|neighbor| graph.contains(neighbor)).count())
            .sum::<usize>();
        assert!(found >= 50 * k * 95 / 100, "recall@{k} is {found} of {}", 50 * k);
    }

    #[test]
    fn the_graph_finds_the_exact_neighbors_and_is_the_same_every_time() {
        check(Metric::Euclidean);
        check(Metric::Cosine);
    }
}
