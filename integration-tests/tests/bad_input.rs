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
    let text = plant.refusal(&["run", "--set", "kafka.brokers=127.0.0.1:1"]);
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

#[test]
fn a_training_that_fails_leaves_the_model_as_it_was() {
    let plant = TrainedPlant::new(2, Duration::from_secs(60));
    let before = std::fs::read(plant.path("model/model.toml")).unwrap();
    let normal = std::fs::read_to_string(plant.path("normal.csv")).unwrap();
    let short = plant.path("short.csv");
    // Windows enough to fit, but not to be calibrated out of neighbourhood.
    let of_one_pump = |line: &&str| line.starts_with("time,") || line.contains("pump-01");
    let lines: Vec<&str> = normal.lines().filter(of_one_pump).take(40).collect();
    std::fs::write(&short, lines.join("\n")).unwrap();
    let text = plant.refusal(&["train", short.to_str().unwrap(), "--grid", "1s", "--set", "memory.k=40"]);
    assert!(text.contains("normal windows leave too few neighbors"), "{text}");
    assert_eq!(std::fs::read(plant.path("model/model.toml")).unwrap(), before);
}

#[test]
fn sizes_in_a_card_that_nothing_could_hold_are_refused() {
    let plant = TrainedPlant::new(2, Duration::from_secs(60));
    let live = plant.write_lines("live.jsonl", &plant.live);
    let card = plant.path("model/model.toml");
    let text = std::fs::read_to_string(&card).unwrap();
    let output = plant.path("out.jsonl");
    let score = ["score", live.to_str().unwrap(), "--output", output.to_str().unwrap()];
    for (from, to, expected) in [
        ("batch = 16", "batch = 9223372036854775807", "encoder.batch is 9223372036854775807"),
        ("batch = 16", "batch = 0", "encoder.batch is 0"),
        ("grid_ms = 1000", "grid_ms = 9223372036854775807", "window.grid_ms is 9223372036854775807"),
        ("size = 5", "size = 99999999", "window.size is 99999999"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&card, text.replacen(from, to, 1)).unwrap();
        let said = plant.refusal(&score);
        assert!(said.contains("model.toml") && said.contains(expected), "{said}");
    }
    // Another scale is another model: what was remembered by the old one is refused.
    let scale = text.lines().find(|line| line.starts_with("scale = ")).unwrap();
    std::fs::write(&card, text.replacen(scale, "scale = 7.5", 1)).unwrap();
    let said = plant.refusal(&score);
    assert!(said.contains("does not fit the model") && said.contains("jamais prefill"), "{said}");
    assert!(!output.exists() && !plant.path("out.jsonl.partial").exists(), "nothing is begun");
}

#[test]
fn flags_that_make_no_sense_are_refused_with_what_would() {
    let check = |arguments: &[&str], expected: &str| {
        let output = jamais(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    };
    for grid in ["0s", "1500us", "-1s", "soon"] {
        check(&["train", "a.csv", &format!("--grid={grid}")], "--grid");
    }
    check(&["prefill", "--from", "yesterday", "--from-topics"], "2026-03-01T00:00:00Z");
    check(&["--config", "jamais.toml", "run"], "--config");
}

#[cfg(unix)]
#[test]
fn variables_of_other_programs_may_hold_anything_and_ours_must_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff");
    let check = |name: &str| jamais(&["config", "check"]).env(name, bytes).output().unwrap();
    assert!(check("OTHER").status.success());
    let output = check("JAMAIS__KAFKA__GROUP");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("JAMAIS__KAFKA__GROUP is not UTF-8"), "{text}");
}

#[test]
fn excluding_a_column_that_is_not_there_is_refused() {
    let plant = TrainedPlant::new(2, Duration::from_secs(60));
    let path = plant.path("normal.csv");
    let text = plant.refusal(&["train", path.to_str().unwrap(), "--exclude", "lable"]);
    assert!(text.contains("--exclude lable") && text.contains("flow_m3_h"), "{text}");
}
