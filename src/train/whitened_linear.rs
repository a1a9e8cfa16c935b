//! The whitened linear encoder: window means, decorrelated and scaled to unit variance.
//!
//! Distances between whitened vectors are Mahalanobis distances of what was put in, so a broken relation between channels
//! counts as much as it is rare, whatever its size.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// The least variance that is scaled up to 1, in squared normal scales.
const VARIANCE_MIN: f64 = 1e-4;

/// An affine map of window means.
#[derive(Clone, Debug, PartialEq)]
pub struct WhitenedLinear {
    /// F, which is also D.
    pub features: usize,
    /// `[feature, dimension]`, row-major.
    pub matrix: Vec<f32>,
    /// `[dimension]`.
    pub bias: Vec<f32>,
}

impl WhitenedLinear {
    /// Fits to normalised windows, `[n, T, F]` flat, f32: embedding = (mean - mu) S^(-1/2), where S is the covariance of
    /// the window means, shrunk towards a multiple of the identity by the factor that is optimal for their number (Ledoit
    /// and Wolf 2004, theorem 3.2 with the estimators of section 3.3), and the square root is the symmetric one.
    ///
    /// Constant features end up with the shrinkage target's variance, so the result is finite for any finite input.
    pub fn fit(windows: &[f32], size: usize, features: usize) -> Self {
        let means = window_means(windows, size, features);
        let (rows, columns) = (means.nrows(), means.ncols());
        let mu = means.row_mean();
        let centered = DMatrix::from_fn(rows, columns, |row, column| means[(row, column)] - mu[column]);
        let covariance = ledoit_wolf(&centered);
        let eigen = SymmetricEigen::new(covariance);
        let inverse_roots = eigen.eigenvalues.iter().map(|value| 1.0 / value.max(VARIANCE_MIN).sqrt());
        let inverse_roots = DVector::from_iterator(columns, inverse_roots);
        let whitening = &eigen.eigenvectors * DMatrix::from_diagonal(&inverse_roots) * eigen.eigenvectors.transpose();
        let bias = -(mu * &whitening);
        #[expect(clippy::cast_possible_truncation, reason = "f32 is the encoder's precision")]
        let narrow = |value: &f64| *value as f32;
        Self {
            features,
            matrix: whitening.transpose().iter().map(narrow).collect(),
            bias: bias.iter().map(narrow).collect(),
        }
    }

    /// Embeds one window, `[T, F]` flat, into `[D]`: the oracle that the exported graph is tested against.
    pub fn embed(&self, window: &[f32]) -> Vec<f32> {
        let means = window_means(window, window.len() / self.features, self.features);
        (0..self.features)
            .map(|dimension| {
                let products = (0..self.features)
                    .map(|feature| means[(0, feature)] * f64::from(self.matrix[feature * self.features + dimension]));
                #[expect(clippy::cast_possible_truncation, reason = "f32 is the encoder's precision")]
                let value = (products.sum::<f64>() + f64::from(self.bias[dimension])) as f32;
                value
            })
            .collect()
    }
}

/// `[n, F]`.
fn window_means(windows: &[f32], size: usize, features: usize) -> DMatrix<f64> {
    let rows = windows.len() / (size * features);
    #[expect(clippy::cast_precision_loss, reason = "windows are short")]
    let size_f64 = size as f64;
    DMatrix::from_fn(rows, features, |row, feature| {
        let window = &windows[row * size * features..(row + 1) * size * features];
        window.iter().skip(feature).step_by(features).map(|&value| f64::from(value)).sum::<f64>() / size_f64
    })
}

/// The shrunk covariance of centred rows, `[n, p]`: (1 - rho) S + rho nu I.
fn ledoit_wolf(centered: &DMatrix<f64>) -> DMatrix<f64> {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 rows")]
    let (n, p) = (centered.nrows() as f64, centered.ncols() as f64);
    let sample = centered.tr_mul(centered) / n;
    let nu = sample.trace() / p;
    let target = DMatrix::identity(centered.ncols(), centered.ncols()) * nu;
    let dispersion = (&sample - &target).norm_squared() / p;
    let fourth: f64 = centered.row_iter().map(|row| row.norm_squared().powi(2)).sum();
    let error = ((fourth / n - sample.norm_squared()) / n / p).clamp(0.0, dispersion);
    let rho = if dispersion > 0.0 { error / dispersion } else { 1.0 };
    if nu <= 0.0 {
        return DMatrix::identity(centered.ncols(), centered.ncols());
    }
    sample * (1.0 - rho) + target * rho
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn embeddings_of_the_training_windows_are_nearly_white() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let windows: Vec<f32> = (0..4000)
            .flat_map(|_| {
                let shared: f32 = rng.random_range(-3.0..3.0);
                [shared, shared * 2.0 + rng.random_range(-3.0..3.0), 5.0 + rng.random_range(-2.0..2.0)]
            })
            .collect();
        let encoder = WhitenedLinear::fit(&windows, 1, 3);
        let embedded = DMatrix::from_row_iterator(4000, 3, windows.chunks(3).flat_map(|window| encoder.embed(window)));
        let covariance = embedded.tr_mul(&embedded) / 4000.0_f32;
        for (row, column, value) in [(0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (0, 1, 0.0), (0, 2, 0.0), (1, 2, 0.0)] {
            assert!(
                (covariance[(row, column)] - value).abs() < 0.1,
                "covariance {row},{column} is {}",
                covariance[(row, column)]
            );
        }
    }

    #[test]
    fn constant_windows_give_a_finite_encoder() {
        let encoder = WhitenedLinear::fit(&[1.0; 24], 2, 3);
        assert!(encoder.embed(&[1.0; 6]).iter().all(|value| value.abs() < 1e-6));
        assert!(encoder.embed(&[2.0; 6]).iter().all(|value| value.is_finite()));
    }
}
