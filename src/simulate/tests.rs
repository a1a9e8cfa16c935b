//! The plant's laws, on the demonstration's plant and smaller ones.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A plant that is quick to simulate: one hour of history, two and a half live.
fn small(seed: u64) -> PlantSettings {
    PlantSettings {
        seed,
        pumps: 4,
        fans: 3,
        normal: 60 * MINUTE,
        live: 150 * MINUTE,
        faults_per_kind: 1,
        ..PlantSettings::default()
    }
}

fn samples(settings: &PlantSettings) -> (Plant, Vec<SimulatedSample>) {
    let plant = Plant::new(settings.clone());
    let samples = plant.samples().collect();
    (plant, samples)
}

/// The fault that `sample` falls in, if any.
fn fault_of<'a>(plant: &'a Plant, sample: &SimulatedSample) -> Option<&'a InjectedFault> {
    let series = &plant.assets()[sample.asset].series;
    plant.faults().iter().find(|fault| fault.asset == *series && (fault.start..fault.end).contains(&sample.time))
}

#[test]
fn the_same_seed_gives_the_same_samples_and_faults_and_another_seed_others() {
    let ((first, a), (second, b), (third, c)) = (samples(&small(1)), samples(&small(1)), samples(&small(2)));
    assert_eq!(first.faults(), second.faults());
    assert!(a == b);
    assert_ne!(first.faults(), third.faults());
    let differing = a.iter().zip(&c).filter(|(a, c)| a.values != c.values).count();
    assert_eq!(differing, a.len());
}

#[test]
fn samples_come_in_event_time_order_and_all_assets_of_a_tick_together() {
    let plant = Plant::new(PlantSettings { grid: MINUTE / 30, ..small(3) });
    let assets = plant.assets().len();
    let mut count = 0;
    for (index, sample) in plant.samples().enumerate() {
        assert_eq!(sample.asset, index % assets);
        let elapsed_ms = i64::try_from(index / assets).unwrap() * 2000;
        assert_eq!(sample.time.millis(), plant.settings.start.millis() + elapsed_ms);
        assert_eq!(sample.values.len(), plant.assets()[sample.asset].class.channels().len());
        count += 1;
    }
    assert_eq!(count, plant.sample_count());
    assert_eq!(count, 7 * 210 * 30);
}

#[test]
fn outside_its_faults_every_value_is_that_of_the_plant_without_faults() {
    let settings = small(4);
    let (plant, faulty) = samples(&settings);
    let (healthy_plant, healthy) = samples(&PlantSettings { faults_per_kind: 0, ..settings });
    assert!(healthy_plant.faults().is_empty());
    let mut changed = vec![0_usize; plant.faults().len()];
    for (faulty, healthy) in faulty.iter().zip(&healthy) {
        match fault_of(&plant, faulty) {
            None => assert_eq!(faulty, healthy),
            Some(fault) if faulty.values != healthy.values => {
                changed[plant.faults().iter().position(|other| other == fault).unwrap()] += 1;
            }
            Some(_) => {}
        }
    }
    for (fault, changed) in plant.faults().iter().zip(changed) {
        let ticks = usize::try_from((fault.end.millis() - fault.start.millis()) / 1000).unwrap();
        assert!(changed > ticks * 9 / 10, "{fault:?} changes {changed} of {ticks} samples");
    }
}

#[test]
fn one_more_pump_leaves_the_others_as_they_were() {
    let few = PlantSettings { faults_per_kind: 0, normal: 20 * MINUTE, live: MINUTE, ..small(5) };
    let (_, more) = samples(&PlantSettings { pumps: few.pumps + 1, ..few.clone() });
    let (plant, few) = samples(&few);
    let pumps = plant.settings.pumps;
    let shared = more.into_iter().filter(|sample| sample.asset != pumps);
    for (few, more) in few.iter().zip(shared) {
        assert_eq!((few.time, &few.values), (more.time, &more.values));
    }
}

#[test]
fn a_stuck_channel_repeats_one_value_exactly_and_nothing_else_ever_does() {
    let (plant, samples) = samples(&small(6));
    for (index, asset) in plant.assets().iter().enumerate() {
        let of_asset: Vec<&SimulatedSample> = samples.iter().filter(|sample| sample.asset == index).collect();
        for (channel, name) in asset.class.channels().iter().enumerate() {
            let (mut repeats, mut repeats_max) = (0, 0);
            for pair in of_asset.windows(2) {
                let stuck = fault_of(&plant, pair[1]).is_some_and(|fault| fault.channel.as_deref() == Some(*name));
                let same = pair[0].values[channel] == pair[1].values[channel];
                assert!(!stuck || same, "{name} of {} moved at {}", asset.series, pair[1].time);
                repeats = if same && !stuck { repeats + 1 } else { 0 };
                repeats_max = repeats_max.max(repeats);
            }
            assert_eq!(repeats_max, 0, "{name} of {}", asset.series);
        }
    }
    let stuck: Vec<_> = plant.faults().iter().filter(|fault| fault.kind == FaultKind::StuckSensor).collect();
    assert_eq!(stuck.len(), 2);
    assert!(stuck.iter().all(|fault| fault.channel.is_some() && fault.start == fault.full));
}

#[test]
fn faults_never_overlap_and_normal_operation_leads_in_and_out() {
    let lead_in_ms = millis(LEAD_IN);
    for seed in 0..200 {
        let plant = Plant::new(PlantSettings { seed, ..PlantSettings::default() });
        let end_ms = plant.live_start().millis() + millis(plant.settings.live);
        for asset in plant.assets() {
            let mut free_from = plant.live_start().millis();
            for fault in plant.faults().iter().filter(|fault| fault.asset == asset.series) {
                assert!(fault.start.millis() >= free_from + lead_in_ms, "seed {seed}: {fault:?}");
                assert!(fault.start <= fault.full && fault.full < fault.end, "seed {seed}: {fault:?}");
                assert!((0.8..=1.0).contains(&fault.severity));
                free_from = fault.end.millis();
            }
            assert!(free_from == plant.live_start().millis() || free_from + lead_in_ms <= end_ms, "seed {seed}");
        }
    }
}

#[test]
fn every_kind_is_injected_as_often_as_asked() {
    let plant = Plant::new(PlantSettings::default());
    for class in AssetClass::ALL {
        let faults = plant
            .faults()
            .iter()
            .filter(|fault| plant.assets().iter().any(|asset| asset.series == fault.asset && asset.class == class));
        let kinds: Vec<FaultKind> = faults.map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), 2 * FaultKind::of(class).len());
        for kind in FaultKind::of(class) {
            assert_eq!(kinds.iter().filter(|other| *other == kind).count(), 2, "{} {kind:?}", class.name());
        }
    }
}

#[test]
fn values_are_finite_and_in_physical_ranges() {
    let (plant, samples) = samples(&small(8));
    let ranges: [&[(f64, f64)]; 2] = [
        &[(0.0, 25.0), (0.7, 7.5), (0.6, 2.0), (-2.0, 140.0), (0.5, 60.0), (5.0, 90.0)],
        &[(0.0, 25.0), (-1.0, 30.0), (-15.0, 1200.0), (0.5, 80.0), (5.0, 80.0), (-6.0, 1600.0)],
    ];
    for sample in &samples {
        let class = plant.assets()[sample.asset].class;
        for ((value, channel), (low, high)) in
            sample.values.iter().zip(class.channels()).zip(ranges[usize::from(class == AssetClass::Fan)])
        {
            assert!(value.is_finite() && (low..=high).contains(&value), "{channel} is {value} at {}", sample.time);
        }
    }
}

#[test]
fn in_normal_operation_current_grows_with_the_cube_of_the_flow() {
    let settings = PlantSettings { faults_per_kind: 0, pumps: 1, fans: 1, ageing_per_day: 0.0, ..small(9) };
    let (plant, samples) = samples(&settings);
    for (index, asset) in plant.assets().iter().enumerate() {
        let at = |name| asset.class.channels().iter().position(|channel| *channel == name).unwrap();
        let flow = at(if asset.class == AssetClass::Pump { "flow_m3_h" } else { "airflow_m3_s" });
        let (current, rated_flow) = (at("motor_current_a"), if index == 0 { 120.0 } else { 24.0 });
        let of_asset = samples.iter().filter(|sample| sample.asset == index);
        let running = of_asset.filter(|sample| sample.values[flow] > 0.5 * rated_flow);
        let (x, y): (Vec<f64>, Vec<f64>) =
            running.map(|sample| (sample.values[flow].ln(), (sample.values[current] - 1.4).ln())).unzip();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mean_x, mean_y) = (mean(&x), mean(&y));
        let covariance: f64 = x.iter().zip(&y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let slope = covariance / x.iter().map(|x| (x - mean_x).powi(2)).sum::<f64>();
        assert!((2.6..3.2).contains(&slope), "{}: exponent {slope}", asset.series);
    }
}

#[test]
fn every_asset_idles_now_and_then_in_the_history() {
    let (plant, samples) =
        samples(&PlantSettings { live: Duration::ZERO, faults_per_kind: 0, ..PlantSettings::default() });
    for (index, asset) in plant.assets().iter().enumerate() {
        let current = asset.class.channels().iter().position(|channel| *channel == "motor_current_a").unwrap();
        let idle: Vec<bool> =
            samples.iter().filter(|sample| sample.asset == index).map(|sample| sample.values[current] < 2.5).collect();
        let stops = idle.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let share = idle.iter().filter(|&&idle| idle).count() as f64 / idle.len() as f64;
        assert!(stops >= 3, "{}: {stops} stops", asset.series);
        assert!((0.01..0.2).contains(&share), "{}: idle for {share} of the time", asset.series);
    }
}

#[test]
fn ageing_raises_vibration_by_its_rate_and_no_more() {
    let fresh = PlantSettings { faults_per_kind: 0, pumps: 2, fans: 0, ageing_per_day: 0.0, ..small(10) };
    let mean = |settings: &PlantSettings| {
        let (_, samples) = samples(settings);
        samples.iter().map(|sample| sample.values[0]).sum::<f64>() / samples.len() as f64
    };
    let grown = mean(&PlantSettings { ageing_per_day: 1.0, ..fresh.clone() }) / mean(&fresh) - 1.0;
    // On average over 3.5 hours, a little less for the share that a machine at rest has too.
    let expected = 0.5 * 3.5 / 24.0;
    assert!((0.7 * expected..expected).contains(&grown), "{grown} against {expected}");
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_remedy() {
    let check = |settings: PlantSettings, expected: &str| {
        let problems = settings.problems();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    };
    let fine = PlantSettings::default();
    assert_eq!(fine.problems(), Vec::<String>::new());
    check(PlantSettings { pumps: 0, fans: 0, ..fine.clone() }, "no assets");
    check(PlantSettings { live: 60 * MINUTE, ..fine.clone() }, "lengthen live");
    check(PlantSettings { fans: 1, faults_per_kind: 9, ..fine.clone() }, "on 1 fans need");
    check(PlantSettings { grid: MINUTE, ..fine.clone() }, "grid is 60s");
    check(PlantSettings { ageing_per_day: f64::NAN, ..fine.clone() }, "ageing_per_day is NaN");
    check(PlantSettings { normal: Duration::MAX, ..fine.clone() }, "at most");
    check(PlantSettings { start: EventTime::from_millis(i64::MAX), ..fine.clone() }, "years");
    check(PlantSettings { normal: Duration::ZERO, live: Duration::ZERO, ..fine }, "less than one grid step");
}

#[test]
fn a_wide_record_has_rfc_3339_time_and_five_significant_digits() {
    let asset = Asset { series: SeriesKey::new("plant-1/\"fan\""), class: AssetClass::Fan };
    let sample = SimulatedSample {
        asset: 0,
        time: EventTime::from_millis(1_772_445_600_500),
        values: vec![1.234_567, -0.000_123_456_78, 849.987_6, 60.0, 0.0, 123_456.7],
    };
    assert_eq!(
        wide_json(&asset, &sample),
        r#"{"series":"plant-1/\"fan\"","time":"2026-03-02T10:00:00.5Z","values":{"vibration_mm_s":1.2346,"airflow_m3_s":-0.00012346,"pressure_pa":849.99,"motor_current_a":60,"bearing_temp_c":0,"speed_rpm":123460}}"#
    );
}
