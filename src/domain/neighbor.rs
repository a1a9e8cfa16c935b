//! Neighbors: the units nearest to an embedding, and how much each one counts.

use super::model::Metric;

/// One unit near a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// The unit's place in its generation's order.
    pub unit: usize,
    /// Its distance from the query, in the bank's metric; not negative, never NaN.
    pub distance: f32,
}

/// The distance of two embeddings, `[dimension]` each, f32: Euclidean, or 1 - cosine similarity in [0, 2], where a zero
/// vector is as far as possible without being opposite: 1.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    match metric {
        Metric::Euclidean => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt(),
        Metric::Cosine => {
            let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let norms = (norm_squared(a) * norm_squared(b)).sqrt();
            if norms > 0.0 { (1.0 - dot / norms).max(0.0) } else { 1.0 }
        }
    }
}

/// The squared length of a vector.
pub fn norm_squared(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum()
}

/// Softmax weights of neighbors: proportional to exp(-distance / temperature), summing to 1. Sharp reads (few neighbors,
/// a low temperature) keep memory from rebuilding an anomaly out of many units (MemAE, Gong et al. 2019, section 3.3,
/// shrinks small weights to the same end).
///
/// Empty for no neighbors. A temperature at or near 0 puts all weight on the nearest, and so do infinite distances.
pub fn weights(neighbors: &[Neighbor], temperature: f32) -> Vec<f32> {
    let nearest = neighbors.iter().map(|neighbor| neighbor.distance).fold(f32::INFINITY, f32::min);
    if nearest.is_infinite() {
        return (0..neighbors.len()).map(|rank| if rank == 0 { 1.0 } else { 0.0 }).collect();
    }
    let temperature = temperature.max(f32::MIN_POSITIVE);
    let mut weights: Vec<f32> =
        neighbors.iter().map(|neighbor| (-(neighbor.distance - nearest) / temperature).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cold_read_is_the_nearest_unit_alone() {
        let neighbors = [Neighbor { unit: 3, distance: 1.0 }, Neighbor { unit: 5, distance: 1.1 }];
        assert_eq!(weights(&neighbors, 0.0), [1.0, 0.0]);
        assert_eq!(weights(&[], 1.0), Vec::<f32>::new());
        let infinite = [Neighbor { unit: 3, distance: f32::INFINITY }, Neighbor { unit: 5, distance: f32::INFINITY }];
        assert_eq!(weights(&infinite, 1.0), [1.0, 0.0]);
    }

    proptest! {
        #[test]
        fn weights_are_finite_and_sum_to_one(distances in proptest::collection::vec(0.0_f32..1e6, 1..20), temperature in 0.0_f32..10.0) {
            let neighbors: Vec<_> = distances.iter().map(|&distance| Neighbor { unit: 0, distance }).collect();
            let sum: f32 = weights(&neighbors, temperature).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }

        #[test]
        fn distances_are_symmetric_and_vanish_on_the_diagonal(a in proptest::collection::vec(-10.0_f32..10.0, 4), b in proptest::collection::vec(-10.0_f32..10.0, 4)) {
            for metric in [Metric::Euclidean, Metric::Cosine] {
                prop_assert!((distance(metric, &a, &b) - distance(metric, &b, &a)).abs() < 1e-5);
            }
            prop_assert!(distance(Metric::Euclidean, &a, &a) == 0.0);
        }
    }
}
