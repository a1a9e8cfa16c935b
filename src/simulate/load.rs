//! What every asset is asked to do: the plant's day, and an asset's plan of load changes, stops and start-ups.

use super::noise::{Random, Wander};

const DAY_S: f64 = 86_400.0;
/// Set points lie between these shares of rated speed, before the day's profile.
const SET_POINT: (f64, f64) = (0.58, 0.97);
/// Smallest change between two set points, share of rated speed.
const STEP_MIN: f64 = 0.08;
/// How long a set point is held, s.
const HOLD_S: (f64, f64) = (300.0, 1080.0);
/// Running time between two stops, s.
const BETWEEN_STOPS_S: (f64, f64) = (2700.0, 6000.0);
/// How long a stop lasts, the run-down included, s.
const IDLE_S: (f64, f64) = (240.0, 600.0);

/// The plant's day: demand follows the clock (UTC), the air a daily wave and the weather.
#[derive(Clone, Debug)]
pub(super) struct Day {
    weather: Wander,
    random: Random,
}

/// What the plant's surroundings are at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Factor on every set point, 0.97 to 1.03; highest at 14:00.
    pub(super) demand: f64,
    /// Temperature of the air, degree Celsius; highest at 15:00.
    pub(super) ambient_c: f64,
}

impl Day {
    pub(super) fn new(step_s: f64, mut random: Random) -> Self {
        Self { weather: Wander::new(3600.0, step_s, &mut random), random }
    }

    /// One step on; `since_midnight_s` is the time of day in seconds.
    pub(super) fn step(&mut self, since_midnight_s: f64) -> Surroundings {
        let wave = |peak_h: f64| (std::f64::consts::TAU * (since_midnight_s / DAY_S - peak_h / 24.0)).cos();
        Surroundings {
            demand: 1.0 + 0.03 * wave(14.0),
            ambient_c: 19.0 + 4.0 * wave(15.0) + 0.8 * self.weather.step(&mut self.random),
        }
    }
}

/// From `at_s` on the asset is asked for `speed`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    /// Seconds since the plant's start.
    at_s: f64,
    /// Share of rated speed; 0 is a stop.
    speed: f64,
    /// How fast the drive follows, share of rated speed a second.
    rate_per_s: f64,
}

/// An asset's changes, in time order; the first is at 0.
#[derive(Clone, Debug)]
pub(super) struct LoadPlan {
    changes: Vec<Change>,
}

impl LoadPlan {
    /// Draws the plan of one asset for `span_s` seconds.
    pub(super) fn draw(span_s: f64, random: &mut Random) -> Self {
        let mut speed = random.uniform(SET_POINT.0, SET_POINT.1);
        let mut changes = vec![Change { at_s: 0.0, speed, rate_per_s: 0.01 }];
        let mut at_s = random.uniform(0.2, 1.0) * HOLD_S.1;
        let mut stop_s = random.uniform(0.3, 1.0) * BETWEEN_STOPS_S.1;
        while at_s < span_s {
            if at_s >= stop_s {
                changes.push(Change { at_s, speed: 0.0, rate_per_s: random.uniform(0.015, 0.03) });
                at_s += random.uniform(IDLE_S.0, IDLE_S.1);
                stop_s = at_s + random.uniform(BETWEEN_STOPS_S.0, BETWEEN_STOPS_S.1);
                speed = random.uniform(SET_POINT.0, SET_POINT.1);
                changes.push(Change { at_s, speed, rate_per_s: random.uniform(0.01, 0.02) });
            } else {
                speed = other_set_point(speed, random);
                changes.push(Change { at_s, speed, rate_per_s: random.uniform(0.004, 0.015) });
            }
            at_s += random.uniform(HOLD_S.0, HOLD_S.1);
        }
        Self { changes }
    }

    /// The changes that are in force somewhere in [from_s, to_s).
    fn in_force(&self, from_s: f64, to_s: f64) -> &[Change] {
        let first = self.changes.partition_point(|change| change.at_s <= from_s).saturating_sub(1);
        let end = self.changes.partition_point(|change| change.at_s < to_s);
        &self.changes[first..end.max(first)]
    }

    /// True if the asset is asked to run throughout [from_s, to_s).
    pub(super) fn runs_throughout(&self, from_s: f64, to_s: f64) -> bool {
        self.in_force(from_s, to_s).iter().all(|change| change.speed > 0.0)
    }

    /// The largest change between two set points that begins within [from_s, to_s), share of rated speed.
    pub(super) fn largest_step(&self, from_s: f64, to_s: f64) -> f64 {
        let steps = self.in_force(from_s, to_s).windows(2).map(|pair| (pair[1].speed - pair[0].speed).abs());
        steps.fold(0.0, f64::max)
    }

    #[cfg(test)]
    pub(super) fn stops(&self, from_s: f64, to_s: f64) -> usize {
        self.in_force(from_s, to_s).iter().filter(|change| change.speed == 0.0).count()
    }
}

/// A set point at least [`STEP_MIN`] away from `speed`.
fn other_set_point(speed: f64, random: &mut Random) -> f64 {
    let (below, above) = ((speed - STEP_MIN - SET_POINT.0).max(0.0), (SET_POINT.1 - speed - STEP_MIN).max(0.0));
    let draw = random.uniform(0.0, below + above);
    if draw < below { SET_POINT.0 + draw } else { speed + STEP_MIN + draw - below }
}

/// A drive that follows its plan.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    plan: LoadPlan,
    next: usize,
    speed: f64,
    /// The process controller's small corrections.
    trim: Wander,
}

impl Drive {
    pub(super) fn new(plan: LoadPlan, step_s: f64, random: &mut Random) -> Self {
        let speed = plan.changes[0].speed;
        Self { plan, next: 1, speed, trim: Wander::new(45.0, step_s, random) }
    }

    /// One step on; gives the share of rated speed, 0 to 1.03.
    pub(super) fn step(&mut self, at_s: f64, step_s: f64, demand: f64, random: &mut Random) -> f64 {
        while self.plan.changes.get(self.next).is_some_and(|change| change.at_s <= at_s) {
            self.next += 1;
        }
        let change = self.plan.changes[self.next - 1];
        let trim = 0.004 * self.trim.step(random).clamp(-3.0, 3.0);
        let target = if change.speed > 0.0 { demand * change.speed + trim } else { 0.0 };
        let reach = change.rate_per_s * step_s;
        self.speed += (target - self.speed).clamp(-reach, reach);
        self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::Stream;
    use super::*;

    #[test]
    fn six_hours_hold_several_stops_and_many_load_changes() {
        for number in 0..50 {
            let plan = LoadPlan::draw(6.0 * 3600.0, &mut Random::new(3, Stream::Load(0, number)));
            let stops = plan.stops(0.0, 6.0 * 3600.0);
            assert!((3..=7).contains(&stops), "{stops} stops");
            assert!(plan.changes.len() > 20, "{} changes", plan.changes.len());
            assert!(plan.changes.is_sorted_by(|a, b| a.at_s < b.at_s));
            for pair in plan.changes.windows(2) {
                assert!((pair[0].speed - pair[1].speed).abs() >= STEP_MIN - 1e-9);
                assert!(pair[1].speed == 0.0 || (SET_POINT.0..=SET_POINT.1).contains(&pair[1].speed));
            }
        }
    }

    #[test]
    fn a_drive_stops_idles_and_comes_back_at_its_rate() {
        let change = |at_s, speed| Change { at_s, speed, rate_per_s: 0.01 };
        let plan = LoadPlan { changes: vec![change(0.0, 0.8), change(100.0, 0.0), change(300.0, 0.7)] };
        assert!(plan.runs_throughout(0.0, 100.0) && !plan.runs_throughout(50.0, 101.0));
        assert!((plan.largest_step(0.0, 150.0) - 0.8).abs() < 1e-12);
        let mut random = Random::new(1, Stream::Noise(0, 0));
        let mut drive = Drive::new(plan, 1.0, &mut random);
        let speeds: Vec<f64> = (0..500).map(|tick| drive.step(f64::from(tick), 1.0, 1.0, &mut random)).collect();
        assert!(speeds[200..300].iter().all(|&speed| speed == 0.0));
        assert!((speeds[450] - 0.7).abs() < 0.02);
        assert!(speeds.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.0101));
    }
}
