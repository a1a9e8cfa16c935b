//! A centrifugal pump on a variable-speed drive, in a closed circuit without static head.
//!
//! With speed `n` as a share of rated speed, the affinity laws follow from the two quadratics: the pump gives
//! `head = shut_off n^2 - droop flow^2`, the circuit takes `head = resistance flow^2`; so flow ~ n, head ~ n^2 and
//! power ~ n^3 while the circuit's resistance stays. The resistance wanders (valves, fouling).

use super::bearing::Bearing;
use super::fault::FaultEffect;
use super::noise::{Random, SensorNoise, Wander};

/// Channels, in the order of [`Pump::step`].
pub(super) const CHANNELS: &[&str] = &[
    "vibration_mm_s",
    "discharge_pressure_bar",
    "suction_pressure_bar",
    "flow_m3_h",
    "motor_current_a",
    "bearing_temp_c",
];

/// Flow at rated speed and best efficiency, m3/h.
const RATED_M3_H: f64 = 120.0;
/// Head at rated speed: shut off, and lost inside the pump at rated flow, bar.
const SHUT_OFF_BAR: f64 = 6.0;
const DROOP_BAR: f64 = 1.5;
/// Current drawn at rated load and at rest, A.
const RATED_A: f64 = 46.0;
const STANDBY_A: f64 = 1.2;

/// Where a pump works, noise apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperatingPoint {
    /// Flow through the pump, share of rated flow.
    pub(super) flow: f64,
    /// Pressure the pump adds, bar.
    pub(super) head_bar: f64,
    /// Shaft power, share of rated power.
    pub(super) power: f64,
}

/// One pump.
#[derive(Clone, Debug)]
pub(super) struct Pump {
    shut_off_bar: f64,
    resistance_bar: f64,
    meter_gain: f64,
    current_gain: f64,
    bearing: Bearing,
    resistance: Wander,
    tank_level: Wander,
    flow_noise: SensorNoise,
    discharge_noise: SensorNoise,
    suction_noise: SensorNoise,
    current_noise: SensorNoise,
}

impl Pump {
    /// A pump that differs a little from others.
    pub(super) fn draw(step_s: f64, traits: &mut Random, noise: &mut Random) -> Self {
        Self {
            shut_off_bar: SHUT_OFF_BAR * traits.uniform(0.985, 1.015),
            resistance_bar: (SHUT_OFF_BAR - DROOP_BAR) * traits.uniform(0.96, 1.04),
            meter_gain: traits.uniform(0.993, 1.007),
            current_gain: traits.uniform(0.985, 1.015),
            bearing: Bearing::draw(2.3, 34.0, step_s, traits, noise),
            resistance: Wander::new(600.0, step_s, noise),
            tank_level: Wander::new(1200.0, step_s, noise),
            flow_noise: SensorNoise::new(0.008, 4.0, 0.005, step_s, noise),
            discharge_noise: SensorNoise::new(0.02, 3.0, 0.012, step_s, noise),
            suction_noise: SensorNoise::new(0.008, 4.0, 0.006, step_s, noise),
            current_noise: SensorNoise::new(0.007, 8.0, 0.005, step_s, noise),
        }
    }

    /// The operating point at `speed` (share of rated) against `resistance_bar` (lost at rated flow, bar).
    pub(super) fn operating_point(&self, speed: f64, resistance_bar: f64) -> OperatingPoint {
        let flow_at_rated_speed = (self.shut_off_bar / (DROOP_BAR + resistance_bar)).sqrt();
        let head_at_rated_speed = resistance_bar * flow_at_rated_speed * flow_at_rated_speed;
        let off_best = flow_at_rated_speed - 1.0;
        let efficiency = 1.0 - 0.8 * off_best * off_best;
        let hydraulic = head_at_rated_speed * flow_at_rated_speed / (SHUT_OFF_BAR - DROOP_BAR) / efficiency;
        OperatingPoint {
            flow: flow_at_rated_speed * speed,
            head_bar: head_at_rated_speed * speed * speed,
            power: (0.92 * hydraulic + 0.08) * speed * speed * speed,
        }
    }

    /// One step on, at `speed` (share of rated); appends a value a channel.
    pub(super) fn step(
        &mut self,
        speed: f64,
        ambient_c: f64,
        age: f64,
        step_s: f64,
        effect: &FaultEffect,
        random: &mut Random,
    ) -> Vec<f64> {
        let wandering = self.resistance_bar * (1.0 + 0.04 * self.resistance.step(random));
        // A leak before the meter: of what the pump moves, the circuit gets a share, and takes less head.
        let kept = 1.0 - 0.24 * effect.leak;
        let point = self.operating_point(speed, wandering * kept * kept);
        // Vapor in the eye of the impeller costs head and flow, unsteadily.
        let vapor = effect.cavitation * (1.0 + 0.5 * effect.flutter);
        let flow = point.flow * (1.0 - 0.08 * vapor);
        let head_bar = point.head_bar * (1.0 - 0.09 * vapor);
        let inlet_bar = 1.5 + 0.04 * self.tank_level.step(random);
        let suction_bar = inlet_bar - 0.25 * flow * flow - 0.25 * effect.cavitation * (0.3 + 0.7 * speed)
            + 0.02 * effect.cavitation * effect.flutter;
        let flow_m3_h =
            RATED_M3_H * self.meter_gain * kept * flow * (1.0 + self.flow_noise.step(random)) + 0.3 * random.normal();
        let discharge_bar = suction_bar + head_bar + (0.25 + 0.75 * speed) * self.discharge_noise.step(random);
        let suction_read = suction_bar + self.suction_noise.step(random);
        let power = point.power * (1.0 - 0.05 * vapor) * (1.0 + 0.03 * effect.bearing_wear) * (1.0 + 0.3 * (age - 1.0));
        let current_a = RATED_A * self.current_gain * power * (1.0 + self.current_noise.step(random))
            + STANDBY_A
            + 0.05 * random.normal();
        let off_best = if speed > 0.0 { point.flow / speed - 1.0 } else { 0.0 };
        let rough = (1.0 + 2.0 * off_best * off_best) * (1.0 + 0.5 * effect.cavitation * (1.0 + 0.4 * effect.hiss));
        vec![
            self.bearing.vibration(speed, rough, age, effect, random),
            discharge_bar,
            suction_read,
            flow_m3_h,
            current_a,
            self.bearing.temperature(speed, ambient_c, step_s, effect, random),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::Stream;
    use super::*;

    #[test]
    fn flow_head_and_power_follow_the_affinity_laws() {
        let mut random = Random::new(5, Stream::Traits(0, 0));
        let pump = Pump::draw(1.0, &mut random.clone(), &mut random);
        let at = |speed| pump.operating_point(speed, pump.resistance_bar);
        let (slow, fast) = (at(0.6), at(0.9));
        let ratio: f64 = 0.9 / 0.6;
        assert!((fast.flow / slow.flow - ratio).abs() < 1e-9);
        assert!((fast.head_bar / slow.head_bar - ratio.powi(2)).abs() < 1e-9);
        assert!((fast.power / slow.power - ratio.powi(3)).abs() < 1e-9);
        assert!((at(1.0).flow - 1.0).abs() < 0.05 && (at(1.0).power - 1.0).abs() < 0.08);
    }

    #[test]
    fn more_resistance_means_more_head_and_less_flow() {
        let mut random = Random::new(5, Stream::Traits(0, 0));
        let pump = Pump::draw(1.0, &mut random.clone(), &mut random);
        let (open, throttled) = (pump.operating_point(0.9, 4.0), pump.operating_point(0.9, 5.0));
        assert!(throttled.flow < open.flow && throttled.head_bar > open.head_bar);
    }
}
