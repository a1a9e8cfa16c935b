//! `simulate`: a plant of pumps and fans whose faults are known, for demonstrations, benchmarks and evaluation.
//!
//! Each asset follows its own plan of load changes, stops and start-ups; its channels follow from speed by the affinity
//! laws, from surroundings that drift, from slow ageing and from autocorrelated sensor noise. First comes a span of
//! normal operation, then a live span into which faults are injected.
//!
//! Laws:
//! 1. The samples are a function of the settings alone: no clock, no order of a hash map.
//! 2. Faults disturb nothing else: outside a fault's [start, end) every value is, bit for bit, the one that the plant
//!    has with `faults_per_kind = 0`.
//! 3. An asset's normal behavior depends on the seed, its class and its number alone, not on how many others there are.
//! 4. Every value is finite; no channel repeats a value for long unless its sensor is stuck.
//!
//! What it does not do: late, lost or repeated records, and assets that depend on each other, but for the weather and the hour.
//!
//! In reading order: `noise`, `load`, `bearing`, `pump`, `fan`, `fault`, and the plant here.

mod bearing;
mod fan;
mod fault;
mod load;
mod noise;
mod pump;

use std::fmt::Write as _;
use std::time::Duration;

pub use fault::{FaultKind, InjectedFault, LEAD_IN};

use crate::domain::record::{EventTime, SeriesKey};
use fault::{FaultCourse, FaultEffect, PlannedFault};
use load::{Day, Drive, LoadPlan};
use noise::{Random, Stream};

/// A plant has at most this many assets.
const ASSETS_MAX: usize = 100_000;
/// Each class has at most this many faults of each kind.
const FAULTS_PER_KIND_MAX: usize = 100;
/// A run lasts at most this long.
const SPAN_MAX: Duration = Duration::from_secs(366 * 86_400);
const DAY_MS: i64 = 86_400_000;

/// What kind of machine an asset is. All assets of a class have the same channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssetClass {
    /// A centrifugal pump.
    Pump,
    /// An axial fan.
    Fan,
}

impl AssetClass {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::Pump, Self::Fan];

    /// The class's name: `pumps` or `fans`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pump => "pumps",
            Self::Fan => "fans",
        }
    }

    /// The channels, in the order of a sample's values; each name ends with its unit.
    pub fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Pump => pump::CHANNELS,
            Self::Fan => fan::CHANNELS,
        }
    }

    /// Indices of the channels that follow the load within seconds, so that one shows that it is stuck.
    fn load_channels(self) -> &'static [usize] {
        match self {
            Self::Pump => &[0, 1, 3, 4],
            Self::Fan => &[0, 1, 2, 3, 5],
        }
    }
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its series, such as `plant-1/pump-03`.
    pub series: SeriesKey,
    /// Its class.
    pub class: AssetClass,
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct PlantSettings {
    /// Same seed, same samples.
    pub seed: u64,
    /// How many pumps.
    pub pumps: usize,
    /// How many fans.
    pub fans: usize,
    /// Event time of the first sample. Demand and ambient temperature follow its time of day.
    pub start: EventTime,
    /// Time between two samples of an asset.
    pub grid: Duration,
    /// History without faults, from `start`.
    pub normal: Duration,
    /// What follows it, with faults.
    pub live: Duration,
    /// How many faults of each kind each class gets; 0 for none.
    pub faults_per_kind: usize,
    /// Normal ageing: how much vibration grows in a day, as a share of that of a new machine. Current grows 0.3 times
    /// as much.
    pub ageing_per_day: f64,
}

impl Default for PlantSettings {
    /// The demonstration's plant: 6 pumps and 4 fans, 6 hours of normal history and 4 hours live at 1 Hz, hence 360,000
    /// samples, with two faults of each kind in each class. It starts at 10:00, so that the ambient temperature and the
    /// demand of the live hours have been seen in the history.
    fn default() -> Self {
        Self {
            seed: 1,
            pumps: 6,
            fans: 4,
            // 2026-03-02T10:00:00Z
            start: EventTime::from_millis(1_772_445_600_000),
            grid: Duration::from_secs(1),
            normal: Duration::from_secs(6 * 3600),
            live: Duration::from_secs(4 * 3600),
            faults_per_kind: 2,
            ageing_per_day: 0.05,
        }
    }
}

impl PlantSettings {
    /// What is wrong with the settings, all of it at once; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let assets = self.pumps.saturating_add(self.fans);
        if assets == 0 {
            problems.push("the plant has no assets; set pumps or fans to 1 or more".to_owned());
        }
        if assets > ASSETS_MAX {
            problems.push(format!("the plant has {assets} assets, at most {ASSETS_MAX} are possible"));
        }
        let grid_ok = (Duration::from_millis(50)..=Duration::from_secs(10)).contains(&self.grid);
        if !grid_ok || !self.grid.subsec_nanos().is_multiple_of(1_000_000) {
            problems.push(format!("grid is {:?}, it must be whole milliseconds from 50 ms to 10 s", self.grid));
        }
        let span = self.normal.saturating_add(self.live);
        if span < self.grid {
            problems.push(format!("normal and live together last {span:?}, less than one grid step; lengthen them"));
        }
        if span > SPAN_MAX {
            problems.push(format!("normal and live together last {span:?}, at most {SPAN_MAX:?} is possible"));
        }
        if !(0.0..=1.0).contains(&self.ageing_per_day) {
            problems.push(format!("ageing_per_day is {}, it must be from 0 to 1", self.ageing_per_day));
        }
        if jiff::Timestamp::from_millisecond(self.start.millis().saturating_add(millis(span))).is_err()
            || jiff::Timestamp::from_millisecond(self.start.millis()).is_err()
        {
            problems.push(format!("start is {} and the run leaves the years -9999 to 9999", self.start));
        }
        if assets <= ASSETS_MAX && grid_ok {
            problems.extend(self.crowded());
        }
        problems
    }

    /// The classes whose faults don't fit in the live span.
    fn crowded(&self) -> Vec<String> {
        if self.faults_per_kind > FAULTS_PER_KIND_MAX {
            return vec![format!(
                "faults_per_kind is {}, at most {FAULTS_PER_KIND_MAX} are possible",
                self.faults_per_kind
            )];
        }
        let crowded = |(class, assets): (AssetClass, usize)| {
            let needed = fault::live_needed(self, class, assets);
            (needed > self.live).then(|| {
                format!(
                    "live is {} min, but {} faults of each kind on {assets} {} need {} min with {} min of normal \
                     operation around each; lengthen live or add {}",
                    self.live.as_secs() / 60,
                    self.faults_per_kind,
                    class.name(),
                    needed.as_secs().div_ceil(60),
                    LEAD_IN.as_secs() / 60,
                    class.name(),
                )
            })
        };
        [(AssetClass::Pump, self.pumps), (AssetClass::Fan, self.fans)].into_iter().filter_map(crowded).collect()
    }

    /// How many samples each asset gives.
    fn ticks(&self) -> u64 {
        u64::try_from((self.normal + self.live).as_millis() / self.grid.as_millis()).unwrap_or(u64::MAX)
    }

    fn time(&self, tick: u64) -> EventTime {
        let elapsed_ms = tick.saturating_mul(u64::try_from(self.grid.as_millis()).unwrap_or(u64::MAX));
        EventTime::from_millis(self.start.millis().saturating_add_unsigned(elapsed_ms))
    }
}

/// One asset's values at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedSample {
    /// Index into [`Plant::assets`].
    pub asset: usize,
    /// When it was measured.
    pub time: EventTime,
    /// A value a channel, in the order of [`AssetClass::channels`], each in the unit of its name; finite.
    pub values: Vec<f64>,
}

/// A plant: its assets and what will happen to them.
///
/// ```
/// use jamais::simulate::{Plant, PlantSettings};
/// let plant = Plant::new(PlantSettings::default());
/// let first = plant.samples().next().expect("a plant has samples");
/// assert_eq!(plant.assets()[first.asset].series.as_str(), "plant-1/pump-01");
/// assert_eq!(first.values.len(), plant.assets()[first.asset].class.channels().len());
/// ```
#[derive(Clone, Debug)]
pub struct Plant {
    settings: PlantSettings,
    assets: Vec<Asset>,
    /// A plan an asset.
    plans: Vec<LoadPlan>,
    planned: Vec<PlannedFault>,
    faults: Vec<InjectedFault>,
}

impl Plant {
    /// Lays out the plant and places its faults.
    ///
    /// # Panics
    /// If the settings have [`problems`](PlantSettings::problems): check them first.
    pub fn new(settings: PlantSettings) -> Self {
        let problems = settings.problems();
        assert!(problems.is_empty(), "settings with problems: {}", problems.join("; "));
        let asset = |class: AssetClass, singular: &str, number: usize| Asset {
            series: SeriesKey::new(&format!("plant-1/{singular}-{:02}", number + 1)),
            class,
        };
        let pumps = (0..settings.pumps).map(|number| asset(AssetClass::Pump, "pump", number));
        let fans = (0..settings.fans).map(|number| asset(AssetClass::Fan, "fan", number));
        let assets: Vec<Asset> = pumps.chain(fans).collect();
        let span_s = (settings.normal + settings.live).as_secs_f64();
        let plans: Vec<LoadPlan> = (0..assets.len())
            .map(|asset| LoadPlan::draw(span_s, &mut stream(&settings, asset, Stream::Load)))
            .collect();
        let planned = fault::schedule(&settings, &assets, &plans);
        let faults = planned.iter().map(|fault| fault.injected(&assets, |tick| settings.time(tick))).collect();
        Self { settings, assets, plans, planned, faults }
    }

    /// The assets: pumps, then fans.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// The ground truth, ordered by onset.
    pub fn faults(&self) -> &[InjectedFault] {
        &self.faults
    }

    /// When the live span begins: the first event time at which faults are possible.
    pub fn live_start(&self) -> EventTime {
        EventTime::from_millis(self.settings.start.millis() + millis(self.settings.normal))
    }

    /// How many samples [`samples`](Self::samples) gives.
    pub fn sample_count(&self) -> u64 {
        self.settings.ticks() * self.assets.len() as u64
    }

    /// All samples in event-time order; those of one time together, in the order of the assets.
    ///
    /// Cost: about 1 microsecond a sample; memory does not grow with time.
    pub fn samples(&self) -> impl Iterator<Item = SimulatedSample> + '_ {
        let step_s = self.settings.grid.as_secs_f64();
        let runs = (0..self.assets.len()).map(|asset| Run::new(self, asset, step_s)).collect();
        Samples {
            plant: self,
            step_s,
            day: Day::new(step_s, Random::new(self.settings.seed, Stream::Ambient)),
            runs,
            tick: 0,
            ticks: self.settings.ticks(),
            ready: Vec::new().into_iter(),
        }
    }
}

/// The stream of random numbers of one asset for one purpose.
fn stream(settings: &PlantSettings, asset: usize, purpose: fn(u8, u32) -> Stream) -> Random {
    let (class, number) = if asset < settings.pumps { (0, asset) } else { (1, asset - settings.pumps) };
    Random::new(settings.seed, purpose(class, u32::try_from(number).unwrap_or(u32::MAX)))
}

/// What an asset is.
#[derive(Clone, Debug)]
enum Machine {
    Pump(pump::Pump),
    Fan(fan::Fan),
}

/// One asset as time goes on.
#[derive(Clone, Debug)]
struct Run {
    machine: Machine,
    drive: Drive,
    course: FaultCourse,
    noise: Random,
    /// The values it gave last.
    last: Vec<f64>,
}

impl Run {
    fn new(plant: &Plant, asset: usize, step_s: f64) -> Self {
        let settings = &plant.settings;
        let (mut traits, mut noise) = (stream(settings, asset, Stream::Traits), stream(settings, asset, Stream::Noise));
        let machine = match plant.assets[asset].class {
            AssetClass::Pump => Machine::Pump(pump::Pump::draw(step_s, &mut traits, &mut noise)),
            AssetClass::Fan => Machine::Fan(fan::Fan::draw(step_s, &mut traits, &mut noise)),
        };
        let faults = plant.planned.iter().filter(|fault| fault.asset == asset).copied().collect();
        Self {
            machine,
            drive: Drive::new(plant.plans[asset].clone(), step_s, &mut noise),
            course: FaultCourse::new(faults, step_s, stream(settings, asset, Stream::Fault)),
            noise,
            last: Vec::new(),
        }
    }

    /// The values of one tick.
    fn step(&mut self, tick: &Tick) -> Vec<f64> {
        let speed = self.drive.step(tick.at_s, tick.step_s, tick.surroundings.demand, &mut self.noise);
        let (effect, stuck) = self.course.step(tick.number, tick.step_s);
        let mut values = self.machine.step(speed, tick, &effect, &mut self.noise);
        if let Some(channel) = stuck
            && let Some(&held) = self.last.get(channel)
        {
            values[channel] = held;
        }
        self.last.clone_from(&values);
        values
    }
}

impl Machine {
    fn step(&mut self, speed: f64, tick: &Tick, effect: &FaultEffect, random: &mut Random) -> Vec<f64> {
        let ambient_c = tick.surroundings.ambient_c;
        match self {
            Self::Pump(pump) => pump.step(speed, ambient_c, tick.age, tick.step_s, effect, random),
            Self::Fan(fan) => fan.step(speed, ambient_c, tick.age, tick.step_s, effect, random),
        }
    }
}

/// What all assets share at one time.
#[derive(Clone, Copy, Debug)]
struct Tick {
    /// Ticks since the plant's start.
    number: u64,
    /// Seconds since the plant's start.
    at_s: f64,
    /// Seconds a tick.
    step_s: f64,
    surroundings: load::Surroundings,
    /// Factor of normal ageing on vibration.
    age: f64,
}

struct Samples<'a> {
    plant: &'a Plant,
    step_s: f64,
    day: Day,
    runs: Vec<Run>,
    tick: u64,
    ticks: u64,
    /// The samples of the last tick that have not been given out.
    ready: std::vec::IntoIter<SimulatedSample>,
}

impl Samples<'_> {
    #[expect(clippy::cast_precision_loss, reason = "ticks and the milliseconds of a day are far below 2^53")]
    fn simulate(&mut self) {
        let settings = &self.plant.settings;
        let time = settings.time(self.tick);
        let at_s = self.tick as f64 * self.step_s;
        let tick = Tick {
            number: self.tick,
            at_s,
            step_s: self.step_s,
            surroundings: self.day.step(time.millis().rem_euclid(DAY_MS) as f64 / 1000.0),
            age: 1.0 + settings.ageing_per_day * at_s / 86_400.0,
        };
        let runs = self.runs.iter_mut().enumerate();
        let samples: Vec<_> =
            runs.map(|(asset, run)| SimulatedSample { asset, time, values: run.step(&tick) }).collect();
        self.ready = samples.into_iter();
        self.tick += 1;
    }
}

impl Iterator for Samples<'_> {
    type Item = SimulatedSample;

    fn next(&mut self) -> Option<SimulatedSample> {
        if self.ready.len() == 0 && self.tick < self.ticks {
            self.simulate();
        }
        self.ready.next()
    }
}

/// A sample as a wide record: `{"series": ..., "time": RFC 3339 in UTC, "values": {channel: value, ...}}`, values
/// rounded to five significant digits, channels in the class's order.
pub fn wide_json(asset: &Asset, sample: &SimulatedSample) -> String {
    let mut json = String::with_capacity(240);
    let series = serde_json::Value::from(asset.series.as_str());
    // Writing to a `String` does not fail.
    let _ = write!(json, r#"{{"series":{series},"time":"{}","values":{{"#, sample.time);
    for (index, (channel, &value)) in asset.class.channels().iter().zip(&sample.values).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(json, r#"{comma}"{channel}":{}"#, rounded(value));
    }
    json.push_str("}}");
    json
}

/// `value`, which is finite, to five significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is from -324 to 309")]
    let digits = 4 - value.abs().log10().floor() as i32;
    if digits >= 0 {
        let scale = 10_f64.powi(digits.min(22));
        (value * scale).round() / scale
    } else {
        let scale = 10_f64.powi(-digits);
        (value / scale).round() * scale
    }
}

/// Whole milliseconds; settings are checked to fit.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
