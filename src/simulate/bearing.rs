//! What pumps and fans share: a rotor on bearings that warm up slowly, vibrate with speed and wear out.

use super::fault::FaultEffect;
use super::noise::{Random, SensorNoise};

/// How fast a bearing warms up: the time constant of its first-order lag, s.
pub(super) const WARM_UP_S: f64 = 480.0;
/// Vibration of a machine at rest, carried over from its neighbors, mm/s RMS.
const AT_REST_MM_S: f64 = 0.2;

/// One machine's bearings.
#[derive(Clone, Debug)]
pub(super) struct Bearing {
    /// Vibration at rated speed, mm/s RMS.
    pub(super) rated_mm_s: f64,
    /// Share of rated speed at which the foundation resonates.
    pub(super) resonance: f64,
    /// Rise over ambient at rated load, K.
    pub(super) rise_k: f64,
    /// Temperature, degree Celsius; `None` before the first step, which begins in balance.
    temperature_c: Option<f64>,
    vibration_noise: SensorNoise,
    temperature_noise: SensorNoise,
}

impl Bearing {
    /// A bearing that differs a little from others of its kind; vibration in mm/s RMS, rise in K, both at rated load.
    pub(super) fn draw(rated_mm_s: f64, rise_k: f64, step_s: f64, traits: &mut Random, noise: &mut Random) -> Self {
        Self {
            rated_mm_s: rated_mm_s * traits.uniform(0.92, 1.08),
            resonance: traits.uniform(0.74, 0.80),
            rise_k: rise_k * traits.uniform(0.97, 1.03),
            temperature_c: None,
            vibration_noise: SensorNoise::new(0.035, 6.0, 0.03, step_s, noise),
            temperature_noise: SensorNoise::new(0.12, 40.0, 0.05, step_s, noise),
        }
    }

    /// Vibration, mm/s RMS, above 0.
    ///
    /// `speed` is a share of rated speed, `rough` a factor for what the flow adds, `age` the factor of slow ageing.
    pub(super) fn vibration(
        &mut self,
        speed: f64,
        rough: f64,
        age: f64,
        effect: &FaultEffect,
        random: &mut Random,
    ) -> f64 {
        let detuning = (speed - self.resonance) / 0.04;
        let resonance = 1.0 + 0.12 / (1.0 + detuning * detuning);
        let rotor = self.rated_mm_s * (0.25 * speed + 0.75 * speed * speed) * resonance * rough * age;
        // ISO 10816-3: around 2 mm/s is zone A or B; worn bearings reach zone C or D, above 4.5 mm/s.
        let worn = 1.0 + 0.9 * effect.bearing_wear + effect.impulse;
        let noise = (1.0 + self.vibration_noise.step(random)).max(0.5);
        (AT_REST_MM_S + rotor * worn) * noise
    }

    /// Temperature, degree Celsius, one step of `step_s` seconds on.
    pub(super) fn temperature(
        &mut self,
        speed: f64,
        ambient_c: f64,
        step_s: f64,
        effect: &FaultEffect,
        random: &mut Random,
    ) -> f64 {
        let balance = ambient_c + self.rise_k * (0.3 * speed + 0.7 * speed * speed);
        let before = self.temperature_c.unwrap_or(balance);
        let after = before + (balance - before) * (1.0 - (-step_s / WARM_UP_S).exp());
        self.temperature_c = Some(after);
        after + effect.heat_k + self.temperature_noise.step(random)
    }
}
