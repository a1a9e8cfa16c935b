//! The real binary on input that it must refuse, with an error that names the input and the remedy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use jamais_integration_tests::plant::TrainedPlant;
use jamais_integration_tests::process::{jamais, refusal, success};

#[test]
fn config_check_names_every_fault_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jamais.toml");
    std::fs::write(&path, "[memory]\nk = 0\nkk = 1\n[threshold]\nquantile = 7\n[alarm]\nclear_after = \"soon\"\n")
        .unwrap();
    let text = refusal(&["config", "check", "--config", path.to_str().unwrap()]);
    for expected in ["memory.k is 0", "memory.kk", "threshold.quantile", "alarm.clear_after is \"soon\"", "4 fault(s)"]
    {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
}

#[test]
fn the_shown_configuration_is_a_valid_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jamais.toml");
    std::fs::write(&path, success(&["config", "show"]).stdout).unwrap();
    success(&["config", "check", "--config", path.to_str().unwrap()]);
}

#[test]
fn a_variable_sets_a_key_and_a_flag_wins() {
    let output = jamais(&["config", "check", "--set", "memory.k=3"]).env("JAMAIS__MEMORY__K", "none").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("JAMAIS__MEMORY__K"), "{text}");
}

#[test]
fn no_broker_is_said_with_its_address() {
    let plant = TrainedPlant::new(2, Duration::from_secs(60));
    let flags = plant.flags();
    let mut arguments = vec!["run", "--set", "kafka.brokers=127.0.0.1:1"];
    arguments.extend(flags.iter().map(String::as_str));
    let text = refusal(&arguments);
    assert!(text.contains("no Kafka broker answers at 127.0.0.1:1") && text.contains("kafka.brokers"), "{text}");
}

#[test]
fn files_models_and_folders_that_cannot_be_used_are_named() {
    let plant = TrainedPlant::new(2, Duration::from_secs(60));
    let live = plant.write_lines("live.jsonl", &plant.live);
    let live = live.to_str().unwrap();
    let flags = plant.flags();
    let check = |arguments: &[&str], over: &[&str], expected: &[&str]| {
        let all: Vec<&str> =
            arguments.iter().copied().chain(flags.iter().map(String::as_str)).chain(over.iter().copied()).collect();
        let text = refusal(&all);
        for expected in expected {
            assert!(text.contains(expected), "{expected:?} is missing in {text}");
        }
    };
    let output = plant.path("out.jsonl");
    let score = ["score", live, "--output", output.to_str().unwrap()];
    check(&score, &["--set", "model.path=/nowhere"], &["/nowhere/model.toml", "jamais train"]);
    check(&score, &["--set", "memory.path=/nowhere"], &["no memory store at /nowhere", "jamais prefill"]);
    check(
        &["prefill", live],
        &["--set", "memory.path=/dev/null/memory"],
        &["cannot make the memory folder /dev/null/memory"],
    );
    check(&["score", "/nowhere.csv", "--output", output.to_str().unwrap()], &[], &["/nowhere.csv"]);
    check(&["train", live], &[], &["live.jsonl", "--channels"]);
    let model = plant.path("model").join("encoder.onnx");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    check(&score, &[], &["encoder.onnx", "not a whole ONNX file"]);
}

#[test]
fn bad_lines_are_dead_lettered_and_the_rest_is_scored() {
    let plant = TrainedPlant::new(2, Duration::from_secs(120));
    let mut records = plant.live.clone();
    for (at, json) in [
        (10, "{\"time\": \"2026-03-02T16:00:00Z\", \"values\": "),
        (50, "{\"series\": \"plant-1/pump-01\", \"time\": \"soon\", \"values\": {\"flow_m3_h\": 1}}"),
        (90, "{\"series\": \"plant-1/pump-01\", \"time\": \"1970-01-01T00:00:00Z\", \"values\": {\"flow_m3_h\": 1}}"),
        (130, "{\"series\": \"plant-1/pump-01\", \"time\": \"2026-03-02T16:00:00Z\", \"values\": {\"flow\": 1}}"),
    ] {
        let mut bad = records[0].clone();
        bad.json = json.to_owned();
        records.insert(at, bad);
    }
    let live = plant.write_lines("live.jsonl", &records);
    let output = plant.path("out.jsonl");
    plant.run(&["score", live.to_str().unwrap(), "--output", output.to_str().unwrap()]);
    let events = std::fs::read_to_string(&output).unwrap().lines().count();
    assert_eq!(events, 2 * (120 - 4), "every window of both pumps");
    let letters = std::fs::read_to_string(plant.path("out.dead-letters.jsonl")).unwrap();
    let letters: Vec<serde_json::Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> =
        letters.iter().map(|letter| (letter["offset"].as_i64().unwrap(), letter["kind"].as_str().unwrap())).collect();
    assert_eq!(found, [(10, "malformed"), (50, "bad_time"), (90, "time_too_early"), (130, "unknown_channel")]);
}
