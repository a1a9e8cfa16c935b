//! Faults: what kinds there are, where they are injected, and what they do to a machine at one tick.
//!
//! Laws:
//! 1. Two faults of one asset never overlap; each is led in, and the last is followed, by [`LEAD_IN`] or more of normal
//!    operation.
//! 2. A fault draws from a stream of its own, and nothing of it stays behind after its end: outside [start, end) the
//!    asset's values are those it would have had without the fault.
//! 3. A fault is placed where the plan of the load lets it show, if such a place is found: the asset runs throughout, and
//!    while a sensor is stuck the load changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bearing::WARM_UP_S;
use super::load::LoadPlan;
use super::noise::{Random, Stream, Wander};
use super::{Asset, AssetClass, PlantSettings};
use crate::domain::record::{EventTime, SeriesKey};

/// Normal operation before and after every fault, at least.
pub const LEAD_IN: Duration = Duration::from_secs(20 * 60);
/// How many layouts of an asset's faults are tried, for the sake of law 3.
const LAYOUTS_MAX: usize = 400;
/// Grid steps that each fault takes beyond its length, since its times are rounded to ticks.
const ROUNDING_STEPS: u32 = 2;
/// A stuck sensor shows within the first half of the fault by a load change of this size, share of rated speed.
const TELLING_STEP: f64 = 0.12;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A bearing spalls: vibration grows and turns impulsive, the bearing runs hot.
    BearingWear,
    /// A pump's suction pressure falls until the liquid boils in the impeller.
    Cavitation,
    /// Part of the flow escapes before the flow meter.
    Leak,
    /// One channel repeats its last value.
    StuckSensor,
}

impl FaultKind {
    /// The kinds that a class can have, in the order in which they are handed out.
    pub fn of(class: AssetClass) -> &'static [Self] {
        match class {
            AssetClass::Pump => &[Self::BearingWear, Self::Cavitation, Self::Leak, Self::StuckSensor],
            AssetClass::Fan => &[Self::BearingWear, Self::Leak, Self::StuckSensor],
        }
    }

    /// What an operator would see.
    pub fn describe(self) -> &'static str {
        match self {
            Self::BearingWear => "bearing wear: vibration grows and turns impulsive, bearing temperature follows",
            Self::Cavitation => {
                "cavitation: suction pressure falls, flow and discharge pressure fluctuate, broadband vibration"
            }
            Self::Leak => "leak before the flow meter: less flow and pressure than the motor current accounts for",
            Self::StuckSensor => "stuck sensor: one channel repeats its last value exactly",
        }
    }

    /// Shortest and longest length, from onset to repair. Wear takes a fifth to a quarter of the live span, within
    /// 40 minutes and 8 hours.
    fn length(self, live: Duration) -> (Duration, Duration) {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        match self {
            Self::BearingWear => {
                let longest = (live / 4).clamp(minutes(50), minutes(480));
                (longest * 4 / 5, longest)
            }
            Self::Cavitation => (minutes(12), minutes(18)),
            Self::Leak => (minutes(18), minutes(26)),
            Self::StuckSensor => (minutes(12), minutes(20)),
        }
    }

    /// Share of the fault's length after which its severity is full.
    fn full_after(self) -> f64 {
        match self {
            Self::BearingWear => 0.8,
            Self::Cavitation => 0.2,
            Self::Leak => 0.25,
            Self::StuckSensor => 0.0,
        }
    }

    /// Severity at `progress` (0 at onset, 1 when full) as a share of the one reached.
    fn growth(self, progress: f64) -> f64 {
        match self {
            // Slow at first, then faster: vibration of a spalling bearing.
            Self::BearingWear => progress * (0.4 + 0.6 * progress),
            Self::Cavitation | Self::Leak => progress,
            Self::StuckSensor => 1.0,
        }
    }
}

/// Ground truth: one injected fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InjectedFault {
    /// The asset.
    pub asset: SeriesKey,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Onset: the first sample that may differ.
    pub start: EventTime,
    /// From here on severity is full.
    pub full: EventTime,
    /// Repair: from here on samples are normal again.
    pub end: EventTime,
    /// Severity reached, 0 to 1.
    pub severity: f64,
    /// The stuck channel, if it is one channel's fault.
    pub channel: Option<String>,
    /// For people.
    pub description: String,
}

/// A fault as the simulation uses it; times in ticks since the plant's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedFault {
    /// Index into the plant's assets.
    pub(super) asset: usize,
    kind: FaultKind,
    pub(super) start: u64,
    full: u64,
    pub(super) end: u64,
    severity: f64,
    /// The stuck channel's index.
    channel: usize,
}

impl PlannedFault {
    /// The ground truth of it.
    pub(super) fn injected(&self, assets: &[Asset], time: impl Fn(u64) -> EventTime) -> InjectedFault {
        let asset = &assets[self.asset];
        let channel = (self.kind == FaultKind::StuckSensor).then(|| asset.class.channels()[self.channel].to_owned());
        let description = match &channel {
            Some(channel) => format!("{}: {channel}", self.kind.describe()),
            None => format!("{}; severity {:.2}", self.kind.describe(), self.severity),
        };
        InjectedFault {
            asset: asset.series.clone(),
            kind: self.kind,
            start: time(self.start),
            full: time(self.full),
            end: time(self.end),
            severity: self.severity,
            channel,
            description,
        }
    }
}

/// Which kinds each of `assets` assets of a class gets: the kinds in turn, each to an asset with the fewest faults, if
/// possible one that does not have this kind yet.
fn hand_out(class: AssetClass, assets: usize, faults_per_kind: usize) -> Vec<Vec<FaultKind>> {
    let mut handed: Vec<Vec<FaultKind>> = vec![Vec::new(); assets];
    for _ in 0..faults_per_kind {
        for &kind in FaultKind::of(class) {
            let burden =
                |faults: &&mut Vec<FaultKind>| (faults.len(), faults.iter().filter(|&&other| other == kind).count());
            if let Some(least) = handed.iter_mut().min_by_key(burden) {
                least.push(kind);
            }
        }
    }
    handed
}

/// The shortest live span into which the faults of every asset of a class fit, whatever the seed.
pub(super) fn live_needed(settings: &PlantSettings, class: AssetClass, assets: usize) -> Duration {
    let lasts = |kinds: &Vec<FaultKind>| {
        let longest = |kind: &FaultKind| kind.length(settings.live).1 + LEAD_IN + ROUNDING_STEPS * settings.grid;
        let faults: Duration = kinds.iter().map(longest).sum();
        if kinds.is_empty() { Duration::ZERO } else { faults + LEAD_IN }
    };
    hand_out(class, assets, settings.faults_per_kind).iter().map(lasts).max().unwrap_or_default()
}

/// Places all faults; ordered by onset, then asset.
pub(super) fn schedule(settings: &PlantSettings, assets: &[Asset], plans: &[LoadPlan]) -> Vec<PlannedFault> {
    let mut random = Random::new(settings.seed, Stream::Schedule);
    let mut planned = Vec::new();
    for class in [AssetClass::Pump, AssetClass::Fan] {
        let mut members: Vec<usize> = (0..assets.len()).filter(|&asset| assets[asset].class == class).collect();
        random.shuffle(&mut members);
        let handed = hand_out(class, members.len(), settings.faults_per_kind);
        for (&asset, mut kinds) in members.iter().zip(handed) {
            random.shuffle(&mut kinds);
            planned.extend(place(settings, asset, class, &kinds, &plans[asset], &mut random));
        }
    }
    planned.sort_by_key(|fault| (fault.start, fault.asset));
    planned
}

/// Places one asset's faults, in this order, in the live span.
fn place(
    settings: &PlantSettings,
    asset: usize,
    class: AssetClass,
    kinds: &[FaultKind],
    plan: &LoadPlan,
    random: &mut Random,
) -> Vec<PlannedFault> {
    let grid_s = settings.grid.as_secs_f64();
    let lengths_s: Vec<f64> = kinds
        .iter()
        .map(|kind| {
            let (shortest, longest) = kind.length(settings.live);
            random.uniform(shortest.as_secs_f64(), longest.as_secs_f64())
        })
        .collect();
    let lead_in_s = LEAD_IN.as_secs_f64();
    let used_s =
        lengths_s.iter().map(|length_s| length_s + lead_in_s + f64::from(ROUNDING_STEPS) * grid_s).sum::<f64>()
            + lead_in_s;
    let slack_s = (settings.live.as_secs_f64() - used_s).max(0.0);
    let mut best: Option<(usize, Vec<f64>)> = None;
    for _ in 0..LAYOUTS_MAX {
        let mut cuts: Vec<f64> = kinds.iter().map(|_| random.uniform(0.0, slack_s)).collect();
        cuts.sort_by(f64::total_cmp);
        let mut starts_s = Vec::with_capacity(kinds.len());
        let mut busy_s = settings.normal.as_secs_f64();
        for (cut, length_s) in cuts.iter().zip(&lengths_s) {
            busy_s += lead_in_s + grid_s;
            starts_s.push(busy_s + cut);
            busy_s += length_s + grid_s;
        }
        let layout = kinds.iter().zip(&starts_s).zip(&lengths_s);
        let score = layout.filter(|&((&kind, &start_s), &length_s)| shows(plan, kind, start_s, length_s)).count();
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, starts_s));
        }
        if best.as_ref().is_some_and(|(most, _)| *most == kinds.len()) {
            break;
        }
    }
    let starts_s = best.map(|(_, starts_s)| starts_s).unwrap_or_default();
    let faults = kinds.iter().zip(starts_s).zip(lengths_s);
    faults
        .map(|((&kind, start_s), length_s)| PlannedFault {
            asset,
            kind,
            start: tick(start_s, grid_s),
            full: tick(start_s + kind.full_after() * length_s, grid_s),
            end: tick(start_s + length_s, grid_s),
            severity: if kind == FaultKind::StuckSensor { 1.0 } else { (random.uniform(80.0, 100.0)).round() / 100.0 },
            channel: {
                let telling = class.load_channels();
                telling[random.below(telling.len())]
            },
        })
        .collect()
}

/// True if the load lets a fault show that begins at `start_s` and lasts `length_s`, both in seconds.
fn shows(plan: &LoadPlan, kind: FaultKind, start_s: f64, length_s: f64) -> bool {
    plan.runs_throughout(start_s - 180.0, start_s + length_s)
        && (kind != FaultKind::StuckSensor
            || plan.largest_step(start_s + 60.0, start_s + 0.5 * length_s) >= TELLING_STEP)
}

/// The first tick at or after `at_s`, seconds since the plant's start.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "settings bound the span far below 2^53 ticks"
)]
fn tick(at_s: f64, grid_s: f64) -> u64 {
    (at_s / grid_s).ceil() as u64
}

/// What faults do to a machine at one tick; all zero without a fault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FaultEffect {
    /// Severity of the wear, 0 to 1.
    pub(super) bearing_wear: f64,
    /// The shocks of a worn bearing in this tick, share of the vibration without wear.
    pub(super) impulse: f64,
    /// What the wear adds to the bearing's temperature, K.
    pub(super) heat_k: f64,
    /// Severity of the cavitation, 0 to 1.
    pub(super) cavitation: f64,
    /// How unsteady the flow is now; around 0, standard deviation 1.
    pub(super) flutter: f64,
    /// How loud the collapsing bubbles are now; around 0, standard deviation 1, at least -1.
    pub(super) hiss: f64,
    /// Severity of the leak, 0 to 1.
    pub(super) leak: f64,
}

/// One asset's faults as time goes on.
#[derive(Clone, Debug)]
pub(super) struct FaultCourse {
    /// In time order.
    faults: Vec<PlannedFault>,
    next: usize,
    random: Random,
    flutter: Wander,
    heat_k: f64,
}

impl FaultCourse {
    /// The course of an asset's `faults`, in time order.
    pub(super) fn new(faults: Vec<PlannedFault>, step_s: f64, mut random: Random) -> Self {
        Self { faults, next: 0, flutter: Wander::new(2.0, step_s, &mut random), random, heat_k: 0.0 }
    }

    /// The effect at `tick`, which is one after the last, and the channel that is stuck, if one is.
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
    pub(super) fn step(&mut self, tick: u64, step_s: f64) -> (FaultEffect, Option<usize>) {
        while self.faults.get(self.next).is_some_and(|fault| fault.end <= tick) {
            self.next += 1;
            self.heat_k = 0.0;
        }
        let mut effect = FaultEffect::default();
        let Some(fault) = self.faults.get(self.next).filter(|fault| fault.start <= tick) else {
            return (effect, None);
        };
        let ramp = (fault.full - fault.start).max(1) as f64;
        let progress = ((tick - fault.start) as f64 / ramp).min(1.0);
        let level = fault.severity * fault.kind.growth(progress);
        match fault.kind {
            FaultKind::BearingWear => {
                effect.bearing_wear = level;
                if self.random.uniform(0.0, 1.0) < 0.3 * level {
                    // Shocks of a mean of 0.6 of the healthy vibration, exponentially distributed.
                    effect.impulse = -0.6 * level * (1.0 - self.random.uniform(0.0, 1.0)).ln().max(-5.0);
                }
                self.heat_k += (8.0 * level - self.heat_k) * (1.0 - (-step_s / WARM_UP_S).exp());
                effect.heat_k = self.heat_k;
            }
            FaultKind::Cavitation => {
                effect.cavitation = level;
                effect.flutter = self.flutter.step(&mut self.random).clamp(-3.0, 3.0);
                effect.hiss = self.random.normal().max(-1.0);
            }
            FaultKind::Leak => effect.leak = level,
            FaultKind::StuckSensor => return (effect, Some(fault.channel)),
        }
        (effect, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Plant;
    use super::*;

    #[test]
    fn every_kind_is_handed_out_as_often_as_asked_and_spread_over_the_assets() {
        for assets in 1..12 {
            for class in [AssetClass::Pump, AssetClass::Fan] {
                let handed = hand_out(class, assets, 2);
                let all: Vec<FaultKind> = handed.iter().flatten().copied().collect();
                for kind in FaultKind::of(class) {
                    assert_eq!(all.iter().filter(|other| *other == kind).count(), 2);
                }
                let counts = || handed.iter().map(Vec::len);
                assert!(counts().max().unwrap() - counts().min().unwrap() <= 1, "{assets} {handed:?}");
                let twice = |kinds: &Vec<FaultKind>| kinds.len() > 1 && kinds[0] == kinds[1];
                assert!(![2, 4, 6].contains(&assets) || !handed.iter().any(twice), "{assets} {handed:?}");
            }
        }
    }

    #[test]
    fn nearly_every_fault_is_placed_where_the_load_lets_it_show() {
        let (mut showing, mut all) = (0, 0);
        for seed in 0..100 {
            let plant = Plant::new(PlantSettings { seed, ..PlantSettings::default() });
            for fault in &plant.planned {
                let (start_s, end_s) = (fault.start as f64, fault.end as f64);
                showing += usize::from(shows(&plant.plans[fault.asset], fault.kind, start_s, end_s - start_s));
                all += 1;
            }
        }
        assert!(showing * 100 >= all * 95, "{showing} of {all}");
    }

    #[test]
    fn wear_is_half_grown_well_before_it_is_full_and_never_shrinks() {
        let growth = |progress| FaultKind::BearingWear.growth(progress);
        assert_eq!((growth(0.0), growth(1.0)), (0.0, 1.0));
        assert!(growth(0.75) > 0.5);
        assert!((0..100).all(|step| growth(f64::from(step + 1) / 100.0) > growth(f64::from(step) / 100.0)));
    }

    #[test]
    fn ground_truth_survives_json_with_kinds_in_snake_case() {
        let fault = InjectedFault {
            asset: SeriesKey::new("plant-1/fan-01"),
            kind: FaultKind::StuckSensor,
            start: EventTime::from_millis(1000),
            full: EventTime::from_millis(1000),
            end: EventTime::from_millis(9000),
            severity: 1.0,
            channel: Some("pressure_pa".to_owned()),
            description: FaultKind::StuckSensor.describe().to_owned(),
        };
        let json = serde_json::to_string(&fault).unwrap();
        assert!(json.contains("\"stuck_sensor\"") && json.contains("\"plant-1/fan-01\""), "{json}");
        assert_eq!(serde_json::from_str::<InjectedFault>(&json).unwrap(), fault);
    }
}
