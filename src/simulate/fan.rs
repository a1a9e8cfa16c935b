//! An axial fan on a variable-speed drive, blowing through a duct with a filter.
//!
//! As for the pump, two quadratics give the affinity laws; pressure and power are also proportional to the density of
//! the air, hence fall as it warms.

use super::bearing::Bearing;
use super::fault::FaultEffect;
use super::noise::{Random, SensorNoise, Wander};

/// Channels, in the order of [`Fan::step`].
pub(super) const CHANNELS: &[&str] =
    &["vibration_mm_s", "airflow_m3_s", "pressure_pa", "motor_current_a", "bearing_temp_c", "speed_rpm"];

/// Rated speed, 1/min.
pub(super) const RATED_RPM: f64 = 1480.0;
/// Airflow at rated speed, m3/s.
const RATED_M3_S: f64 = 24.0;
/// Pressure rise at rated speed: shut off, and lost inside the fan at rated airflow, Pa.
const SHUT_OFF_PA: f64 = 1250.0;
const DROOP_PA: f64 = 400.0;
/// Current drawn at rated load and at rest, A.
const RATED_A: f64 = 60.0;
const STANDBY_A: f64 = 1.5;

/// One fan.
#[derive(Clone, Debug)]
pub(super) struct Fan {
    shut_off_pa: f64,
    resistance_pa: f64,
    meter_gain: f64,
    current_gain: f64,
    bearing: Bearing,
    resistance: Wander,
    draft: Wander,
    airflow_noise: SensorNoise,
    pressure_noise: SensorNoise,
    current_noise: SensorNoise,
    speed_noise: SensorNoise,
}

impl Fan {
    /// A fan that differs a little from others.
    pub(super) fn draw(step_s: f64, traits: &mut Random, noise: &mut Random) -> Self {
        Self {
            shut_off_pa: SHUT_OFF_PA * traits.uniform(0.985, 1.015),
            resistance_pa: (SHUT_OFF_PA - DROOP_PA) * traits.uniform(0.96, 1.04),
            meter_gain: traits.uniform(0.993, 1.007),
            current_gain: traits.uniform(0.985, 1.015),
            bearing: Bearing::draw(1.9, 26.0, step_s, traits, noise),
            resistance: Wander::new(900.0, step_s, noise),
            draft: Wander::new(30.0, step_s, noise),
            airflow_noise: SensorNoise::new(0.012, 3.0, 0.008, step_s, noise),
            pressure_noise: SensorNoise::new(0.010, 3.0, 0.007, step_s, noise),
            current_noise: SensorNoise::new(0.007, 8.0, 0.005, step_s, noise),
            speed_noise: SensorNoise::new(0.8, 3.0, 0.6, step_s, noise),
        }
    }

    /// One step on, at `speed` (share of rated); gives a value a channel.
    pub(super) fn step(
        &mut self,
        speed: f64,
        ambient_c: f64,
        age: f64,
        step_s: f64,
        effect: &FaultEffect,
        random: &mut Random,
    ) -> Vec<f64> {
        let density = 293.15 / (273.15 + ambient_c);
        let wandering = self.resistance_pa * (1.0 + 0.04 * self.resistance.step(random));
        // A torn filter or duct before the flow station: part of the air escapes, and the fan works against less.
        let kept = 1.0 - 0.18 * effect.leak;
        let resistance = wandering * kept * kept;
        let moved = (self.shut_off_pa / (DROOP_PA + resistance)).sqrt();
        let rise = resistance * moved * moved;
        let off_best = moved - 1.0;
        let aerodynamic = rise * moved / (SHUT_OFF_PA - DROOP_PA) / (1.0 - 0.8 * off_best * off_best);
        let power = (0.93 * aerodynamic * density + 0.07)
            * (speed * speed * speed)
            * (1.0 + 0.03 * effect.bearing_wear)
            * (1.0 + 0.3 * (age - 1.0));
        let airflow_m3_s =
            RATED_M3_S * self.meter_gain * kept * moved * speed * (1.0 + self.airflow_noise.step(random))
                + 0.08 * self.draft.step(random)
                + 0.05 * random.normal();
        let pressure_pa =
            rise * density * speed * speed * (1.0 + self.pressure_noise.step(random)) + 2.0 * random.normal();
        let current_a = RATED_A * self.current_gain * power * (1.0 + self.current_noise.step(random))
            + STANDBY_A
            + 0.05 * random.normal();
        let speed_rpm = RATED_RPM * speed + self.speed_noise.step(random);
        vec![
            self.bearing.vibration(speed, 1.0 + 2.0 * off_best * off_best, age, effect, random),
            airflow_m3_s,
            pressure_pa,
            current_a,
            self.bearing.temperature(speed, ambient_c, step_s, effect, random),
            speed_rpm,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::Stream;
    use super::*;

    /// Mean of each channel over ten minutes at one speed, without faults or ageing.
    fn means(speed: f64) -> Vec<f64> {
        let mut random = Random::new(5, Stream::Traits(1, 0));
        let mut fan = Fan::draw(1.0, &mut random.clone(), &mut random);
        let mut sums = vec![0.0; CHANNELS.len()];
        for _ in 0..600 {
            let values = fan.step(speed, 20.0, 1.0, 1.0, &FaultEffect::default(), &mut random);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value / 600.0);
        }
        sums
    }

    #[test]
    fn airflow_pressure_and_current_follow_the_affinity_laws() {
        let (slow, fast) = (means(0.6), means(0.9));
        let ratio: f64 = 0.9 / 0.6;
        assert!((fast[1] / slow[1] / ratio - 1.0).abs() < 0.02, "airflow {}", fast[1] / slow[1]);
        assert!((fast[2] / slow[2] / ratio.powi(2) - 1.0).abs() < 0.03, "pressure {}", fast[2] / slow[2]);
        let power = (fast[3] - STANDBY_A) / (slow[3] - STANDBY_A);
        assert!((power / ratio.powi(3) - 1.0).abs() < 0.03, "power {power}");
        assert!((fast[5] / slow[5] / ratio - 1.0).abs() < 0.005, "speed {}", fast[5] / slow[5]);
    }
}
