//! The exported encoder in ONNX Runtime against the trainer's own computation, and files that must be refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use jamais::adapters::onnx::OnnxEncoder;
use jamais::codec::onnx::tensor_proto::DataLocation;
use jamais::codec::onnx::{ModelProto, StringStringEntryProto};
use jamais::domain::align::{Mark, Sample};
use jamais::domain::event::content_hash;
use jamais::domain::history::Segment;
use jamais::domain::model::ModelCard;
use jamais::domain::record::{EventTime, SeriesKey};
use jamais::ports::Encoder;
use jamais::train::{TrainSettings, TrainedModel, train};
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn trained() -> TrainedModel {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let samples = (0..600)
        .map(|second| {
            let load: f64 = rng.random_range(0.0..1.0);
            Sample {
                time: EventTime::from_millis(second * 1000),
                values: (0..8).map(|channel| 100.0 * load + f64::from(channel) * rng.random_range(0.0..1.0)).collect(),
                marks: vec![Mark::Observed; 8],
                offsets: (second, second),
            }
        })
        .collect();
    let segment = Segment { series: SeriesKey::new("pump-7"), source: "test".to_owned(), samples };
    let settings = TrainSettings { name: "test".to_owned(), window: 5, stride: 1, grid_ms: 1000, batch: 16 };
    let channels: Vec<String> = (0..8).map(|channel| format!("channel-{channel}")).collect();
    train(&settings, &channels, &[segment]).unwrap()
}

fn load(bytes: &[u8], card: ModelCard) -> Result<OnnxEncoder, String> {
    OnnxEncoder::from_bytes(Path::new("encoder.onnx"), bytes, card).map_err(|error| error.to_string())
}

fn windows(model: &TrainedModel, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    (0..count * 5 * model.card.features()).map(|_| rng.random_range(-5.0..5.0)).collect()
}

#[test]
fn onnx_runtime_agrees_with_the_trainer() {
    let model = trained();
    let windows = windows(&model, 100);
    let embedded = load(&model.onnx, model.card.clone()).unwrap().embed(&windows).unwrap();
    let length = 5 * model.card.features();
    for (window, embedding) in windows.chunks(length).zip(embedded.chunks(model.card.encoder.dimension)) {
        let expected = model.encoder.embed(window);
        let size = expected.iter().map(|value| value.abs()).fold(1.0_f32, f32::max);
        for (found, expected) in embedding.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * size, "{found} against {expected}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_companions_bit_for_bit() {
    let model = trained();
    let windows = windows(&model, 37);
    let mut encoder = load(&model.onnx, model.card.clone()).unwrap();
    let together = encoder.embed(&windows).unwrap();
    let alone: Vec<f32> =
        windows.chunks(5 * model.card.features()).flat_map(|window| encoder.embed(window).unwrap()).collect();
    assert_eq!(together, alone);
}

/// What is said of a file and card that were changed.
fn refused(change: impl Fn(&mut Vec<u8>, &mut ModelCard), expected: &str) {
    let TrainedModel { mut onnx, mut card, .. } = trained();
    change(&mut onnx, &mut card);
    let error = load(&onnx, card).err().expect("it must be refused");
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

/// Changes the graph, and lets the card follow with its hash.
fn edited(edit: impl Fn(&mut ModelProto)) -> impl Fn(&mut Vec<u8>, &mut ModelCard) {
    move |onnx, card| {
        let mut model = ModelProto::decode(onnx.as_slice()).unwrap();
        edit(&mut model);
        *onnx = model.encode_to_vec();
        card.sha256 = content_hash(onnx);
    }
}

#[test]
fn a_truncated_file_is_refused() {
    refused(|onnx, _| onnx.truncate(onnx.len() / 2), "is not a whole ONNX file");
}

#[test]
fn a_file_of_another_model_is_refused() {
    refused(|_, card| card.sha256 = "0".repeat(64), "one of them is of another model");
}

#[test]
fn a_card_that_does_not_fit_is_refused_with_every_fault() {
    refused(|_, card| card.encoder.dimension = 3, "the card's [batch, D] is [16, 3]");
    refused(|_, card| card.window.size = 7, "the card's [batch, T, F]");
    refused(|_, card| card.encoder.input = "x".to_owned(), "it has no input \"x\", only [\"window\"]");
    refused(|_, card| card.encoder.output = "y".to_owned(), "it has no output \"y\"");
    refused(|_, card| card.channel[0].scale = 0.0, "scale positive");
}

#[test]
fn external_data_old_opsets_and_empty_files_are_refused() {
    let external = edited(|model| {
        let weights = &mut model.graph.as_mut().unwrap().initializer[0];
        weights.data_location = DataLocation::External.into();
        weights
            .external_data
            .push(StringStringEntryProto { key: "location".to_owned(), value: "/etc/passwd".to_owned() });
    });
    refused(external, "keeps weights in another file");
    refused(edited(|model| model.opset_import[0].version = 3), "its opset is 3, supported are 7 to 24");
    refused(edited(|model| model.graph = None), "holds no graph");
    refused(
        edited(|model| model.graph.as_mut().unwrap().node[1].op_type = "Nonsense".to_owned()),
        "ONNX Runtime refuses",
    );
}

#[test]
fn weights_that_are_not_finite_are_found_by_the_probe() {
    let infinite = edited(|model| {
        model.graph.as_mut().unwrap().initializer[1].raw_data = f32::NAN.to_le_bytes().repeat(8);
    });
    refused(infinite, "not finite");
}
