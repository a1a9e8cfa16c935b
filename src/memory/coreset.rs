//! Chooses which windows become units at cold start, so that a small memory still covers rare normal modes.

use crate::domain::model::Metric;
use crate::domain::neighbor::distance;

/// Indices of at most `count` embeddings such that every other one is near a chosen one, ascending: the greedy k-centre
/// rule (Gonzalez 1985), whose largest distance to a centre is at most twice the best possible. A mode that is rare but
/// apart gets its centre early; density does not matter.
///
/// `embeddings` is `[n, D]` flat, f32. Starts at the first embedding, so the same input gives the same choice; stops
/// early once every embedding coincides with a centre. Empty for no embeddings. Cost: O(n · count · D).
pub fn k_center_greedy(metric: Metric, embeddings: &[f32], dimension: usize, count: usize) -> Vec<usize> {
    let rows: Vec<&[f32]> = embeddings.chunks_exact(dimension).collect();
    if rows.is_empty() || count == 0 {
        return Vec::new();
    }
    let mut nearest = vec![f32::INFINITY; rows.len()];
    let mut chosen = vec![0];
    while chosen.len() < count.min(rows.len()) {
        let center = rows[chosen[chosen.len() - 1]];
        let mut farthest = (0, 0.0);
        for (index, (row, nearest)) in rows.iter().zip(&mut nearest).enumerate() {
            *nearest = nearest.min(distance(metric, row, center));
            if *nearest > farthest.1 {
                farthest = (index, *nearest);
            }
        }
        if farthest.1 <= 0.0 {
            break;
        }
        chosen.push(farthest.0);
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_mode_far_from_the_rest_is_kept() {
        let mut embeddings: Vec<f32> = (0_u8..200).map(|i| f32::from(i) * 1e-3).collect();
        embeddings[137] = 50.0;
        assert!(k_center_greedy(Metric::Euclidean, &embeddings, 1, 4).contains(&137));
    }

    #[test]
    fn duplicates_are_not_chosen_twice() {
        assert_eq!(k_center_greedy(Metric::Euclidean, &[1.0, 1.0, 2.0, 2.0], 1, 4), [0, 2]);
        assert_eq!(k_center_greedy(Metric::Euclidean, &[], 1, 4), [0; 0]);
    }
}
