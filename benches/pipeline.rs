//! Windows a second through the whole pipeline against the bare encoder, in one run.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "a bench prints and measures time, from top to bottom"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jamais::adapters::onnx::OnnxEncoder;
use jamais::codec::{Decoder, SeriesFrom};
use jamais::config::Settings;
use jamais::domain::history::HistoryBuilder;
use jamais::domain::record::{EventTime, Payload, Position, Reading, Record};
use jamais::memory::bank::Bank;
use jamais::memory::calibration::ReadSettings;
use jamais::memory::exact::ExactIndex;
use jamais::memory::prefill::{PrefillSettings, prefill};
use jamais::pipeline::{Emit, Pipeline};
use jamais::ports::Encoder;
use jamais::simulate::{AssetClass, Plant, PlantSettings, wide_json};
use jamais::train::{TrainSettings, train};

const ROUNDS: usize = 5;
const BATCH: usize = 1024;

fn main() {
    let plant = Plant::new(PlantSettings {
        pumps: 20,
        fans: 0,
        normal: Duration::from_secs(3 * 3600),
        live: Duration::from_secs(3600),
        faults_per_kind: 0,
        ..PlantSettings::default()
    });
    let mut settings = Settings::defaults();
    settings.input.series = SeriesFrom::Key;
    let channels: Vec<String> = AssetClass::Pump.channels().iter().map(|name| (*name).to_owned()).collect();
    let align = settings.align.on_grid(Duration::from_secs(1), channels.len());
    let mut history = HistoryBuilder::new(align);
    let mut live = Vec::new();
    for (offset, sample) in (0_i64..).zip(plant.samples()) {
        let asset = &plant.assets()[sample.asset];
        if sample.time < plant.live_start() {
            let reading = Reading {
                series: asset.series.clone(),
                time: sample.time,
                values: sample.values.into_iter().enumerate().collect(),
            };
            history.push("plant", offset, &reading).unwrap();
        } else {
            live.push(Record {
                position: Position { topic: Arc::from("telemetry"), partition: 0, offset },
                key: Some(asset.series.as_str().as_bytes().to_vec()),
                timestamp: Some(EventTime::from_millis(sample.time.millis())),
                payload: Payload::Serialized(wide_json(asset, &sample).into_bytes()),
            });
        }
    }
    let segments = history.finish();
    let train_settings = TrainSettings { name: "bench".to_owned(), window: 5, stride: 1, grid_ms: 1000, batch: 16 };
    let model = train(&train_settings, &channels, &segments).unwrap();
    let encoder = || OnnxEncoder::from_bytes(Path::new("bench"), &model.onnx, model.card.clone()).unwrap();
    let fill = PrefillSettings {
        units: settings.memory.units,
        read: ReadSettings {
            k: settings.memory.k,
            temperature: settings.memory.temperature,
            history: settings.threshold.length,
        },
        deviation: settings.deviation.clone(),
    };
    let generation = Arc::new(prefill(&mut encoder(), &fill, &segments, None).unwrap());
    let windows: Vec<f32> = segments
        .iter()
        .flat_map(|segment| segment.windows(&model.card))
        .take(live.len())
        .flat_map(|it| it.value)
        .collect();
    let length = model.card.window.size * model.card.features();
    let pipeline = |emit: Emit| {
        let keys = generation.units.iter().map(|unit| unit.key.as_slice());
        let index = ExactIndex::new(generation.metric, model.card.encoder.dimension, keys);
        let bank = Bank::new(generation.clone(), Box::new(index), &model.card, settings.memory.k).unwrap();
        let mut pipeline_settings = settings.pipeline(&model.card);
        pipeline_settings.emit.emit = emit;
        let decoder = Decoder::new(settings.input.clone(), channels.clone());
        Pipeline::new(decoder, Box::new(encoder()), Arc::new(bank), pipeline_settings)
    };
    println!(
        "pipeline: {} records of {} series, {} channels, T = {}, {} units, one thread, median of {ROUNDS} interleaved rounds",
        live.len(),
        plant.assets().len(),
        channels.len(),
        model.card.window.size,
        generation.units.len()
    );
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let mut bare = encoder();
        let begun = Instant::now();
        for batch in windows.chunks(BATCH * length) {
            bare.embed(batch).unwrap();
        }
        rates[0].push((windows.len() / length) as f64 / begun.elapsed().as_secs_f64());
        for (which, emit) in [(1, Emit::EveryWindow), (2, Emit::Anomalies)] {
            let mut pipeline = pipeline(emit);
            let begun = Instant::now();
            let judged: usize = live.chunks(BATCH).map(|records| pipeline.process(records).unwrap().windows).sum();
            rates[which].push(judged as f64 / begun.elapsed().as_secs_f64());
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let [bare, every, anomalies] = rates.each_mut().map(median);
    println!("{:<44}  {:>12}  {:>22}", "", "windows/s", "ratio to bare encoder");
    for (name, rate) in [
        ("bare encoder (ort, batches of 16)", bare),
        ("decode to emit, an event every window", every),
        ("decode to emit, events on anomalies only", anomalies),
    ] {
        println!("{name:<44}  {rate:>12.0}  {:>22.2}", rate / bare);
    }
}
