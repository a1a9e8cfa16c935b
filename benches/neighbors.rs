//! Neighbors a second and recall of the exact and the HNSW index, on clustered keys, in one run.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures time")]

use std::time::Instant;

use jamais::adapters::hnsw::{HnswIndex, HnswSettings};
use jamais::domain::model::Metric;
use jamais::domain::neighbor::Neighbor;
use jamais::memory::exact::ExactIndex;
use jamais::ports::NeighborIndex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIMENSION: usize = 128;
const K: usize = 8;
const QUERIES: usize = 2_000;
const ROUNDS: usize = 5;

/// Keys and queries around the same centres: what windows of a fleet look like.
fn clustered(rng: &mut ChaCha8Rng, centers: &[f32], count: usize) -> Vec<f32> {
    (0..count)
        .flat_map(|_| {
            let center = rng.random_range(0..centers.len() / DIMENSION);
            let center = &centers[center * DIMENSION..(center + 1) * DIMENSION];
            center.iter().map(|value| value + rng.random_range(-0.5..0.5)).collect::<Vec<f32>>()
        })
        .collect()
}

/// Median queries a second over interleaved rounds, and what was found.
fn measure(indices: &[&dyn NeighborIndex], queries: &[f32]) -> Vec<(f64, Vec<Vec<Neighbor>>)> {
    let mut rates = vec![Vec::new(); indices.len()];
    let mut found = vec![Vec::new(); indices.len()];
    for _ in 0..ROUNDS {
        for (which, index) in indices.iter().enumerate() {
            let begun = Instant::now();
            found[which] = index.neighbors(queries, K);
            rates[which].push(QUERIES as f64 / begun.elapsed().as_secs_f64());
        }
    }
    rates
        .into_iter()
        .zip(found)
        .map(|(mut rates, found)| {
            rates.sort_by(f64::total_cmp);
            (rates[ROUNDS / 2], found)
        })
        .collect()
}

fn recall(exact: &[Vec<Neighbor>], found: &[Vec<Neighbor>]) -> f64 {
    let hits: usize = exact
        .iter()
        .zip(found)
        .map(|(exact, found)| exact.iter().filter(|wanted| found.iter().any(|it| it.unit == wanted.unit)).count())
        .sum();
    hits as f64 / (exact.len() * K) as f64
}

fn main() {
    println!(
        "neighbors: D = {DIMENSION}, k = {K}, {QUERIES} queries, one thread, median of {ROUNDS} interleaved rounds"
    );
    println!(
        "{:>8}  {:>14}  {:>12}  {:>8}  {:>16}  {:>9}  {:>9}",
        "units", "index", "queries/s", "recall@8", "ratio to exact", "ef_search", "build s"
    );
    for units in [1_000, 10_000, 100_000] {
        let mut rng = ChaCha8Rng::seed_from_u64(units as u64);
        let centers: Vec<f32> = (0..units / 50 * DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect();
        let keys = clustered(&mut rng, &centers, units);
        let queries = clustered(&mut rng, &centers, QUERIES);
        let begun = Instant::now();
        let exact = ExactIndex::new(Metric::Euclidean, DIMENSION, keys.chunks(DIMENSION));
        let exact_built = begun.elapsed().as_secs_f64();
        let ef_search = if units >= 100_000 { 64 } else { 32 };
        // Half of the default `ef_construction`, so that the largest graph is built in a minute or two.
        let settings = HnswSettings { m: 16, ef_construction: 100, ef_search };
        let begun = Instant::now();
        let graph = HnswIndex::new(Metric::Euclidean, DIMENSION, keys, settings);
        let graph_built = begun.elapsed().as_secs_f64();
        let measured = measure(&[&exact, &graph], &queries);
        let (oracle, truth) = &measured[0];
        for ((rate, found), (name, ef, built)) in
            measured.iter().zip([("exact", 0, exact_built), ("hnsw_rs", ef_search, graph_built)])
        {
            println!(
                "{units:>8}  {name:>14}  {rate:>12.0}  {:>8.4}  {:>16.2}  {ef:>9}  {built:>9.1}",
                recall(truth, found),
                rate / oracle
            );
        }
    }
}
