//! Random numbers: one seeded stream a purpose, so that what one part draws never shifts what another sees.

use std::f64::consts::TAU;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for. Streams of one seed are independent of each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// The weather, shared by the plant.
    Ambient,
    /// Where the faults go.
    Schedule,
    /// How an asset differs from the others of its class; (class, number in the class).
    Traits(u8, u32),
    /// When an asset's load changes.
    Load(u8, u32),
    /// An asset's process and sensor noise.
    Noise(u8, u32),
    /// What an asset's faults add.
    Fault(u8, u32),
}

impl Stream {
    fn id(self) -> u64 {
        let of = |purpose: u64, class: u8, number: u32| purpose << 40 | u64::from(class) << 32 | u64::from(number);
        match self {
            Self::Ambient => 0,
            Self::Schedule => 1,
            Self::Traits(class, number) => of(1, class, number),
            Self::Load(class, number) => of(2, class, number),
            Self::Noise(class, number) => of(3, class, number),
            Self::Fault(class, number) => of(4, class, number),
        }
    }
}

/// A stream of uniform and of normal numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Random {
    /// The stream of this seed and purpose, from its beginning.
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream.id());
        Self { generator, spare: None }
    }

    /// Uniform in [low, high).
    pub(super) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.generator.random::<f64>()
    }

    /// Uniform in 0..bound; `bound` is above 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.generator.random_range(0..bound)
    }

    /// In a random order (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Standard normal (Box and Muller 1958): exactly two uniform numbers for every two normal ones.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.generator.random::<f64>()).ln()).sqrt();
        let (sine, cosine) = (TAU * self.generator.random::<f64>()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

/// An Ornstein-Uhlenbeck process of mean 0 and variance 1, sampled on the grid: AR(1), exact for any step.
#[derive(Clone, Debug)]
pub(super) struct Wander {
    value: f64,
    keep: f64,
    kick: f64,
}

impl Wander {
    /// Correlation time `tau_s` and grid `step_s`, both in seconds; begins in its stationary distribution.
    pub(super) fn new(tau_s: f64, step_s: f64, random: &mut Random) -> Self {
        let keep = (-step_s / tau_s).exp();
        Self { value: random.normal(), keep, kick: (1.0 - keep * keep).sqrt() }
    }

    /// One step on; gives the new value.
    pub(super) fn step(&mut self, random: &mut Random) -> f64 {
        self.value = self.keep * self.value + self.kick * random.normal();
        self.value
    }
}

/// A sensor's noise: an autocorrelated share and a white share.
#[derive(Clone, Debug)]
pub(super) struct SensorNoise {
    wander: Wander,
    correlated: f64,
    white: f64,
}

impl SensorNoise {
    /// Standard deviations of both shares, in whatever unit the caller multiplies with, and the correlation time in
    /// seconds.
    pub(super) fn new(correlated: f64, tau_s: f64, white: f64, step_s: f64, random: &mut Random) -> Self {
        Self { wander: Wander::new(tau_s, step_s, random), correlated, white }
    }

    /// The next value.
    pub(super) fn step(&mut self, random: &mut Random) -> f64 {
        self.correlated * self.wander.step(random) + self.white * random.normal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wander_has_mean_0_variance_1_and_the_correlation_time_asked_for() {
        let mut random = Random::new(7, Stream::Noise(0, 0));
        let mut wander = Wander::new(10.0, 1.0, &mut random);
        let values: Vec<f64> = (0..400_000).map(|_| wander.step(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64;
        let lagged = values.iter().zip(&values[10..]).map(|(a, b)| a * b).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
        assert!((lagged - (-1.0_f64).exp()).abs() < 0.05, "{lagged}");
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |stream| Random::new(1, stream).normal();
        let streams =
            [Stream::Ambient, Stream::Schedule, Stream::Noise(0, 0), Stream::Noise(1, 0), Stream::Fault(0, 0)];
        for (index, &stream) in streams.iter().enumerate() {
            assert_eq!(draw(stream), draw(stream));
            assert!(streams[..index].iter().all(|&other| draw(other) != draw(stream)));
        }
    }
}
