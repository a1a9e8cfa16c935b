//! The real binary on files: the README's commands as they stand, every format, evaluation and simulation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use jamais::codec::{OutputFormat, deserialize_event};
use jamais_integration_tests::plant::TrainedPlant;
use jamais_integration_tests::process::{jamais, refusal, success};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The fenced blocks of a language in a Markdown text, in order.
fn blocks<'a>(markdown: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The commands of `jamais` in shell blocks, without what stands behind `#`.
fn commands(markdown: &str) -> Vec<Vec<&str>> {
    let lines = blocks(markdown, "sh").into_iter().flat_map(str::lines).map(|line| line.split('#').next().unwrap());
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter_map(|words| Some(words.strip_prefix(&["jamais"])?.to_vec())).collect()
}

/// CSV as the README shows it, of a plant's records from JSON.
fn csv_of(plant: &TrainedPlant) -> String {
    let parsed: Vec<serde_json::Value> =
        plant.live.iter().map(|record| serde_json::from_str(&record.json).unwrap()).collect();
    let channels: Vec<&String> = parsed[0]["values"].as_object().unwrap().keys().collect();
    let mut text = format!("time,asset,{}\n", channels.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(","));
    for (record, value) in plant.live.iter().zip(&parsed) {
        let cells: Vec<String> = channels.iter().map(|channel| value["values"][*channel].to_string()).collect();
        writeln!(text, "{},{},{}", record.time, record.series, cells.join(",")).unwrap();
    }
    text
}

#[test]
fn the_readmes_commands_work_as_they_stand() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let settings = blocks(&readme, "toml");
    write("pumps.toml", &settings.concat());
    let plant = TrainedPlant::new(2, Duration::from_secs(1500));
    let csv = csv_of(&plant);
    let rows: Vec<&str> = csv.lines().collect();
    write("normal.csv", &rows[..2001].join("\n"));
    write("today.csv", &format!("{}\n{}", rows[0], rows[2001..].join("\n")));
    let mut done = Vec::new();
    for words in commands(&readme) {
        // Brokers and benchmarks are not here; a help text still says whether the flags are known.
        let elsewhere = matches!(words[0], "run" | "evaluate") || words.contains(&"--from-topics");
        let mut command = jamais(&words);
        if elsewhere {
            command.arg("--help");
        }
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "jamais {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        done.push(words[0]);
    }
    for expected in ["train", "prefill", "score", "config", "run", "evaluate"] {
        assert!(done.contains(&expected), "the README shows no `jamais {expected}`: {done:?}");
    }
    let scored = std::fs::read_to_string(folder.path().join("scored.jsonl")).unwrap();
    assert!(scored.lines().count() > 900, "{} events", scored.lines().count());
}

#[test]
fn every_output_format_holds_the_same_events() {
    let plant = TrainedPlant::new(2, Duration::from_secs(120));
    let live = plant.write_lines("live.jsonl", &plant.live).display().to_string();
    let score = |name: &str| {
        let output = plant.path(name);
        plant.run(&["score", &live, "--output", output.to_str().unwrap()]);
        output
    };
    let text = std::fs::read_to_string(score("out.jsonl")).unwrap();
    let events: Vec<_> =
        text.lines().map(|line| deserialize_event(OutputFormat::Json, line.as_bytes()).unwrap()).collect();
    assert_eq!(events.len(), 2 * (120 - 4));
    let text = std::fs::read_to_string(score("out.csv")).unwrap();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| columns.iter().position(|found| *found == name).unwrap();
    for (line, event) in lines.by_ref().zip(&events) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[column("id")], event.id);
        assert_eq!(cells[column("score")].parse::<f32>().ok(), event.score);
    }
    assert_eq!(text.lines().count(), events.len() + 1);
    // Parquet, read back by the next command: a score is a channel as good as any.
    let parquet = score("out.parquet");
    let model = plant.path("model-of-scores");
    let arguments = ["train", parquet.to_str().unwrap(), "--channels", "score,deviation", "--output"];
    let settings = ["--grid", "1s", "--set", "input.time_field=window_end", "--set", "input.series=[\"series\"]"];
    success(&[&arguments[..], &[model.to_str().unwrap()], &settings].concat());
    let card = std::fs::read_to_string(model.join("model.toml")).unwrap();
    assert!(card.contains("name = \"score\"") && card.contains("name = \"deviation\""), "{card}");
}

#[test]
fn one_reading_a_row_gives_the_same_model_as_a_column_a_channel() {
    let plant = TrainedPlant::new(2, Duration::from_secs(60));
    let wide = std::fs::read_to_string(plant.path("normal.csv")).unwrap();
    let mut lines = wide.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut narrow = "time,series,tag,reading\n".to_owned();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        for (channel, cell) in columns.iter().zip(&cells).skip(2) {
            writeln!(narrow, "{},{},{channel},{cell}", cells[0], cells[1]).unwrap();
        }
    }
    let path = plant.path("narrow.csv");
    std::fs::write(&path, narrow).unwrap();
    let model = plant.path("narrow-model");
    let shape = ["input.shape=narrow", "input.channel_field=tag", "input.value_field=reading"];
    let shape: Vec<&str> = shape.iter().flat_map(|setting| ["--set", setting]).collect();
    let channels = columns[2..].join(",");
    let train = ["train", path.to_str().unwrap(), "--channels", &channels, "--grid", "1s", "--output"];
    plant.run(&[&train[..], &[model.to_str().unwrap()], &shape].concat());
    let bytes = |folder: std::path::PathBuf| std::fs::read(folder.join("encoder.onnx")).unwrap();
    assert_eq!(bytes(model), bytes(plant.path("model")));
    // A tag that the model does not know is a bad row, or ignored, as the settings say.
    let unknown = plant.path("unknown.csv");
    let rows = "time,series,tag,reading\n2026-03-02T10:00:00Z,p,flow_m3_h,1\n2026-03-02T10:00:01Z,p,flow,1\n";
    std::fs::write(&unknown, rows).unwrap();
    let output = plant.path("narrow.jsonl");
    let arguments = ["score", unknown.to_str().unwrap(), "--overwrite", "--output", output.to_str().unwrap()];
    for (setting, letters) in [("dead_letter", 1), ("ignore", 0)] {
        let setting = format!("input.unknown_channels={setting}");
        plant.run(&[&arguments[..], &shape, &["--set", &setting]].concat());
        let text = std::fs::read_to_string(plant.path("narrow.dead-letters.jsonl")).unwrap_or_default();
        assert_eq!(text.matches("channel \\\"flow\\\" is unknown").count(), letters, "{setting}: {text}");
    }
    // Without names a column of tags cannot be told from any other.
    let all = [&["train", path.to_str().unwrap(), "--set", "input.series=[\"series\"]"][..], &shape].concat();
    let text = refusal(&all);
    assert!(text.contains("narrow.csv") && text.contains("--channels"), "{text}");
}

/// A machine at rest: noise on 4 channels, of which the first rises by `fault` from row 700 to 800; SKAB's layout.
fn recording(seed: u64, fault: f64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut text = "datetime;a;b;c;d;anomaly;changepoint\n".to_owned();
    for row in 0..1000 {
        let faulty = (700..800).contains(&row);
        let mut values: Vec<f64> = (0..4).map(|_| rng.random_range(-1.0..1.0)).collect();
        values[0] += if faulty { fault } else { 0.0 };
        let time = format!("2020-03-09 10:{:02}:{:02}", row / 60, row % 60);
        let label = f64::from(u8::from(faulty));
        let cells: Vec<String> = values.iter().map(ToString::to_string).collect();
        writeln!(text, "{time};{};{label:.1};0.0", cells.join(";")).unwrap();
    }
    text
}

#[test]
fn evaluation_gives_fractions_over_all_files_and_for_each() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("0.csv", 1), ("1.csv", 2)] {
        std::fs::write(folder.path().join(name), recording(seed, 5.0)).unwrap();
    }
    let evaluate = |path: &Path, layout: &str| -> serde_json::Value {
        let output = success(&["evaluate", "--layout", layout, path.to_str().unwrap(), "--output", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let report = evaluate(folder.path(), "skab");
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
    for metrics in [&report, &report["files"]["0"], &report["files"]["1"]] {
        assert!(number(metrics, "f1") > 0.8, "{report:#}");
        assert!(number(metrics, "far") < 0.1 && number(metrics, "mar") < 0.1 && number(metrics, "auc_pr") > 0.9);
    }
    assert_eq!((report["rows"].as_u64(), report["files"].as_object().unwrap().len()), (Some(1200), 2));
    // A fault that is none is not found: the figures can fail.
    std::fs::write(folder.path().join("1.csv"), recording(2, 0.0)).unwrap();
    assert!(number(&evaluate(folder.path(), "skab")["files"]["1"], "f1") < 0.2);

    let nab = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(nab.path().join("data/group")).unwrap();
    std::fs::create_dir_all(nab.path().join("labels")).unwrap();
    let univariate = recording(3, 5.0).lines().enumerate().fold(String::new(), |mut text, (row, line)| {
        let cells: Vec<&str> = line.split(';').collect();
        let (time, value) = if row == 0 { ("timestamp", "value") } else { (cells[0], cells[1]) };
        writeln!(text, "{time},{value}").unwrap();
        text
    });
    std::fs::write(nab.path().join("data/group/a.csv"), univariate).unwrap();
    let windows = r#"{"group/a.csv": [["2020-03-09 10:11:40.000000", "2020-03-09 10:13:19.000000"]]}"#;
    std::fs::write(nab.path().join("labels/combined_windows.json"), windows).unwrap();
    let report = evaluate(nab.path(), "nab");
    assert!(number(&report["files"]["group/a.csv"], "auc_pr") > 0.8, "{report:#}");
    assert_eq!(report["rows"].as_u64(), Some(850), "the first 15 % are learned");
}

#[test]
fn a_file_that_would_shift_its_labels_is_not_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.csv");
    for (from, to, expected) in [(";0.0;0.0\n", ";;0.0\n", "has no label"), ("2020-03-09 10:05:00", "soon", "soon")] {
        std::fs::write(&path, recording(1, 5.0).replacen(from, to, 1)).unwrap();
        let text = refusal(&["evaluate", "--layout", "skab", path.to_str().unwrap()]);
        assert!(text.contains("0.csv") && text.contains(expected), "{text}");
    }
}

#[test]
fn the_same_seed_simulates_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let simulate = |name: &str, seed: &str| -> Vec<(String, Vec<u8>)> {
        let output = folder.path().join(name);
        let plant = ["--pumps", "4", "--fans", "3", "--normal", "10m", "--live", "3h"];
        success(&[&["simulate", output.to_str().unwrap(), "--seed", seed][..], &plant].concat());
        let mut files: Vec<_> = std::fs::read_dir(output)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = simulate("first", "5");
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["faults.json", "live-fans.jsonl", "live-pumps.jsonl", "normal-fans.jsonl", "normal-pumps.jsonl"];
    assert_eq!(names, expected);
    assert_eq!(first, simulate("second", "5"));
    assert_ne!(first, simulate("third", "6"));
}
