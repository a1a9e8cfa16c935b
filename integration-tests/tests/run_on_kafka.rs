//! `jamais run` on a real Apache Kafka, against `jamais score` on files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jamais::codec::wire::NarrowRecord;
use jamais::codec::{OutputFormat, deserialize_event};
use jamais::domain::event::{ReasonCode, ScoredEvent};
use jamais_integration_tests::kafka::{KafkaBroker, Record};
use jamais_integration_tests::plant::{PumpRecord, TrainedPlant, write_recordings};
use jamais_integration_tests::process::{jamais, success};
use prost::Message as _;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{Offset, TopicPartitionList};

/// Each watch reads from the beginning, in a group of its own.
static WATCHES: AtomicU32 = AtomicU32::new(0);

/// How long a worker may take for what a test waits for; far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything of one test on the broker it shares with others: topics and group of its own.
struct Lane<'a> {
    broker: &'a KafkaBroker,
    plant: &'a TrainedPlant,
    name: String,
    overrides: Vec<String>,
    format: OutputFormat,
}

impl<'a> Lane<'a> {
    fn new(broker: &'a KafkaBroker, plant: &'a TrainedPlant, name: &str, partitions: i32, overrides: &[&str]) -> Self {
        Self::with_topic(broker, plant, name, partitions, &[], overrides)
    }

    /// The input topic has settings of its own.
    fn with_topic(
        broker: &'a KafkaBroker,
        plant: &'a TrainedPlant,
        name: &str,
        partitions: i32,
        topic: &[(&str, &str)],
        overrides: &[&str],
    ) -> Self {
        broker.create_topic_with(&format!("{name}.in"), partitions, topic);
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        Self { broker, plant, name: name.to_owned(), overrides, format: OutputFormat::Json }
    }

    fn topic(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    fn produce(&self, records: impl IntoIterator<Item = Record>) {
        self.broker.produce(&self.topic("in"), records);
    }

    /// Starts `jamais run`.
    fn start(&self) -> Worker {
        let mut command = jamais(&["run"]);
        command.args(self.plant.flags());
        let settings = [
            format!("kafka.brokers={}", self.broker.bootstrap()),
            format!("kafka.group={}", self.name),
            format!("kafka.input_topics=[\"{}\"]", self.topic("in")),
            format!("kafka.output_topic={}", self.topic("scores")),
            format!("kafka.dead_letter_topic={}", self.topic("dead")),
            format!("kafka.state_topic={}", self.topic("state")),
            "kafka.create_topics=true".to_owned(),
            "align.lateness=0s".to_owned(),
        ];
        for setting in settings.iter().chain(&self.overrides) {
            command.args(["--set", setting]);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        Worker { child: command.stdout(Stdio::null()).stderr(log).spawn().unwrap(), log: self.log() }
    }

    fn log(&self) -> std::path::PathBuf {
        self.plant.path(&format!("{}.log", self.name))
    }

    /// Waits until so many different events are out, and gives all that are.
    fn wait_for(&self, count: usize) -> BTreeMap<String, ScoredEvent> {
        let mut config = self.broker.client_config();
        config
            .set("group.id", format!("{}-{}", self.topic("watch"), WATCHES.fetch_add(1, Ordering::Relaxed)))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "500");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.topic("scores")]).unwrap();
        let mut found: BTreeMap<String, ScoredEvent> = BTreeMap::new();
        let mut idle = Duration::ZERO;
        let step = Duration::from_millis(500);
        while found.len() < count {
            match consumer.poll(step) {
                Some(Ok(message)) => {
                    idle = Duration::ZERO;
                    let event = deserialize_event(self.format, message.payload().unwrap()).unwrap();
                    if let Some(twin) = found.get(&event.id) {
                        assert_eq!(twin.score, event.score, "the same id says the same");
                    }
                    found.insert(event.id.clone(), event);
                }
                // The topic may not be there yet.
                Some(Err(_)) | None => idle += step,
            }
            assert!(
                idle < PATIENCE,
                "{} of {count} events came; the worker's log:\n{}",
                found.len(),
                std::fs::read_to_string(self.log()).unwrap_or_default()
            );
        }
        found
    }

    /// Waits until the group has committed on so many partitions of the input.
    fn wait_for_commits(&self, partitions: i32) {
        let consumer: BaseConsumer = self.broker.client_config().set("group.id", &self.name).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic("in"), 0, partitions - 1);
        // Each look is a request.
        let committed = (0..10_000).any(|_| {
            let offsets = consumer.committed_offsets(list.clone(), PATIENCE).unwrap();
            offsets.elements().iter().all(|element| matches!(element.offset(), Offset::Offset(_)))
        });
        assert!(committed, "nothing was committed: {}", std::fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Everything on the output topic, duplicates too.
    fn all_events(&self) -> Vec<ScoredEvent> {
        let messages = self.broker.read_to_end(&self.topic("scores"));
        messages.iter().map(|message| deserialize_event(self.format, message.payload().unwrap()).unwrap()).collect()
    }
}

/// A running `jamais run`; killed if the test fails.
struct Worker {
    child: Child,
    log: std::path::PathBuf,
}

impl Worker {
    /// SIGTERM, and a graceful end.
    fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", std::fs::read_to_string(&self.log).unwrap_or_default());
    }
}

impl Worker {
    /// How it ends by itself.
    fn ended(mut self) -> ExitStatus {
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || done.send(self.child.wait()));
        ended.recv_timeout(PATIENCE).expect("the worker does not end").unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already gone after `terminate`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn record(record: &PumpRecord) -> Record {
    (Some(record.series.clone().into_bytes()), record.json.clone().into_bytes(), None, record.time.millis())
}

/// (series, window end) to (id, score), as `jamais score` says from a file.
fn scored_from_file(plant: &TrainedPlant, records: &[PumpRecord]) -> BTreeMap<(String, i64), (String, Option<f32>)> {
    let live = plant.write_lines("live.jsonl", records);
    let output = plant.path("scores.jsonl");
    let (live, output) = (live.display().to_string(), output.display().to_string());
    plant.run(&["score", &live, "--output", &output, "--overwrite", "--set", "align.lateness=0s"]);
    by_window(
        std::fs::read_to_string(&output)
            .unwrap()
            .lines()
            .map(|line| deserialize_event(OutputFormat::Json, line.as_bytes()).unwrap()),
    )
}

fn by_window(events: impl IntoIterator<Item = ScoredEvent>) -> BTreeMap<(String, i64), (String, Option<f32>)> {
    let entry = |event: ScoredEvent| ((event.series.to_string(), event.window_end.millis()), (event.id, event.score));
    events.into_iter().map(entry).collect()
}

/// What a stream without an end can say: all windows but those that wait for the watermark.
fn settled(
    mut scored: BTreeMap<(String, i64), (String, Option<f32>)>,
    records: &[PumpRecord],
) -> BTreeMap<(String, i64), (String, Option<f32>)> {
    for record in records {
        let newest = records.iter().filter(|it| it.series == record.series).map(|it| it.time.millis()).max();
        scored.remove(&(record.series.clone(), newest.unwrap_or_default()));
    }
    scored
}

fn assert_same(
    found: &BTreeMap<(String, i64), (String, Option<f32>)>,
    expected: &BTreeMap<(String, i64), (String, Option<f32>)>,
    what: &str,
) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}: the same windows");
    for (window, (id, score)) in expected {
        let (found_id, found_score) = &found[window];
        assert_eq!(found_id, id, "{what}: {window:?}");
        match (found_score, score) {
            (Some(found), Some(expected)) => {
                assert!(
                    (found - expected).abs() <= 1e-5 * expected.abs(),
                    "{what}: {window:?} {found} against {expected}"
                );
            }
            (found, expected) => assert_eq!(found, expected, "{what}: {window:?}"),
        }
    }
}

/// Streams the plant's live records through the broker in several ways, and holds each against `jamais score`.
fn check_every_way(broker: &KafkaBroker, plant: &TrainedPlant, what: &str) {
    let expected = settled(scored_from_file(plant, &plant.live), &plant.live);
    assert!(expected.len() > plant.live.len() / 2, "{} windows of {} rows", expected.len(), plant.live.len());
    for (way, partitions, overrides, processes) in [
        ("one-of-each", 1, ["runtime.batch_records_max=7", "runtime.workers=1"], 1),
        ("two-workers", 5, ["runtime.batch_records_max=1000", "runtime.workers=2"], 1),
        // One of the four workers has nothing to do and stands by.
        ("two-processes", 3, ["runtime.batch_records_max=64", "runtime.workers=2"], 2),
    ] {
        let name = format!("{what}-{way}");
        let lane = Lane::new(broker, plant, &name, partitions, &overrides);
        lane.produce(plant.live.iter().map(record));
        let workers: Vec<Worker> = (0..processes).map(|_| lane.start()).collect();
        let found = by_window(lane.wait_for(expected.len()).into_values());
        assert_same(&found, &expected, &name);
        workers.into_iter().for_each(Worker::terminate);
    }
}

#[test]
fn scores_equal_those_of_files_whatever_the_batch_the_partitions_and_the_workers() {
    let Some(broker) = KafkaBroker::shared("scores_equal_those_of_files") else { return };
    let plant = TrainedPlant::new(4, Duration::from_secs(400));
    check_every_way(broker, &plant, "simulated");
}

#[test]
fn recorded_pump_rows_give_the_same_scores_on_kafka_as_from_their_files() {
    let Some(broker) = KafkaBroker::shared("recorded_pump_rows") else { return };
    // Real recordings where there are some, else simulated ones in the same layout.
    let recordings = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("JAMAIS_SKAB").map_or_else(
        || {
            write_recordings(recordings.path(), 3, Duration::from_secs(300));
            recordings.path().to_owned()
        },
        std::path::PathBuf::from,
    );
    check_every_way(broker, &TrainedPlant::recorded(&folder, 400), "recorded");
}

#[test]
fn sigterm_in_mid_stream_loses_nothing_and_duplicates_have_the_same_id() {
    let Some(broker) = KafkaBroker::shared("sigterm_in_mid_stream") else { return };
    let plant = TrainedPlant::new(2, Duration::from_secs(1_500));
    let expected = settled(scored_from_file(&plant, &plant.live), &plant.live);
    let lane = Lane::new(broker, &plant, "sigterm", 2, &["runtime.batch_records_max=20"]);
    // The stream goes on while the worker is stopped, so that every window across a stop needs the state before it.
    for (part, records) in plant.live.chunks(plant.live.len() / 4 + 1).enumerate() {
        lane.produce(records.iter().map(record));
        let worker = lane.start();
        lane.wait_for(expected.len() * part / 4 + 50);
        worker.terminate();
    }
    let last = lane.start();
    assert_same(&by_window(lane.wait_for(expected.len()).into_values()), &expected, "after four stops");
    last.terminate();
    // Events of one id are equal, whatever was out before a stop.
    let mut seen: BTreeMap<String, Option<f32>> = BTreeMap::new();
    for event in lane.all_events() {
        assert_eq!(*seen.entry(event.id.clone()).or_insert(event.score), event.score, "{}", event.id);
    }
    assert_eq!(seen.len(), expected.len());
}

#[test]
fn bad_records_become_dead_letters_with_their_position_and_the_stream_goes_on() {
    let Some(broker) = KafkaBroker::shared("bad_records") else { return };
    let plant = TrainedPlant::new(1, Duration::from_secs(60));
    // The key names the series; the producers' topic takes what is far too large.
    let lane =
        Lane::with_topic(broker, &plant, "bad-records", 1, &[("max.message.bytes", "20000000")], &["input.series=[]"]);
    let good: Vec<Record> = plant.live.iter().map(record).collect();
    let time = plant.live[30].time;
    let bad =
        |key: Option<&str>, payload: Vec<u8>| (key.map(|key| key.as_bytes().to_vec()), payload, Some(0), time.millis());
    let at = |time: &str, values: &str| format!("{{\"time\": \"{time}\", \"values\": {{{values}}}}}").into_bytes();
    let values = |values: &str| at(&time.to_string(), values);
    let padded = |bytes: usize| [b"{\"pad\": \"".as_slice(), &vec![b'x'; bytes], b"\"}"].concat();
    let flow = "\"flow_m3_h\": 1";
    let long_key = "k".repeat(700_000);
    let cases = [
        (bad(Some("x"), b"{\"time\":".to_vec()), "malformed"),
        (bad(Some("x"), vec![0xff, 0xfe, 0x00]), "malformed"),
        (bad(Some("x"), values("\"flow\": 1")), "unknown_channel"),
        (bad(Some("x"), values("\"flow_m3_h\": \"high\"")), "wrong_type"),
        (bad(None, values(flow)), "no_key"),
        (bad(Some("x"), at("1970-01-01T00:00:10Z", flow)), "time_too_early"),
        (bad(Some("x"), at("2199-01-01T00:00:00Z", flow)), "time_too_late"),
        (bad(Some("x"), at("2099-01-01T00:00:00Z", flow)), "time_too_far_ahead"),
        (bad(Some("x"), padded(10_000_000)), "too_large"),
        (bad(Some(&long_key), values(flow)), "series_too_long"),
        (bad(Some(&long_key), padded(700_000)), "too_large"),
    ];
    lane.produce(good[..30].iter().cloned());
    lane.produce(cases.iter().map(|(record, _)| record.clone()));
    // What a failed sensor sends is no bad record.
    lane.produce([bad(
        Some(&plant.live[0].series),
        values("\"flow_m3_h\": \"NaN\", \"motor_current_a\": \"-Infinity\""),
    )]);
    lane.produce(good[31..].iter().cloned());
    let worker = lane.start();
    let events = lane.wait_for(60 - 5);
    worker.terminate();
    let faulty = events.values().filter(|event| event.reasons.iter().any(|it| it.code == ReasonCode::SensorFault));
    assert_eq!(faulty.count(), 5, "the windows that hold the NaN");
    let letters = broker.read_to_end(&lane.topic("dead"));
    let header = |message: &rdkafka::message::OwnedMessage, name: &str| -> Option<String> {
        let headers = message.headers().expect("dead letters have headers");
        let header = headers.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())
    };
    let found: Vec<_> = letters
        .iter()
        .map(|message| {
            assert_eq!(header(message, "jamais.topic"), Some(lane.topic("in")));
            assert!(header(message, "jamais.error").is_some_and(|error| error.len() > 20));
            (header(message, "jamais.offset").unwrap(), header(message, "jamais.kind").unwrap())
        })
        .collect();
    let expected: Vec<_> =
        (30..).zip(&cases).map(|(offset, (_, kind))| (offset.to_string(), (*kind).to_owned())).collect();
    assert_eq!(found, expected);
    for (letter, ((key, payload, ..), _)) in letters.iter().zip(&cases).take(8) {
        assert_eq!((letter.key(), letter.payload()), (key.as_deref(), Some(payload.as_slice())), "as it was sent");
    }
    assert_eq!(header(&letters[8], "jamais.payload_bytes").as_deref(), Some("10000011"));
    assert_eq!(header(&letters[10], "jamais.key_bytes").as_deref(), Some("700000"));
    let log = std::fs::read_to_string(lane.log()).unwrap();
    assert!(log.contains("dead letters") && log.contains("bad-records.in-0@30"), "{log}");
}

/// The same readings, one channel a record, in Protobuf.
fn narrow_records(plant: &TrainedPlant) -> Vec<Record> {
    let mut records = Vec::new();
    for record in &plant.live {
        let json: serde_json::Value = serde_json::from_str(&record.json).unwrap();
        for (channel, value) in json["values"].as_object().unwrap() {
            let message = NarrowRecord {
                series: record.series.clone(),
                event_time_ms: Some(record.time.millis()),
                channel: channel.clone(),
                value: value.as_f64(),
            };
            let key = Some(record.series.clone().into_bytes());
            records.push((key, message.encode_to_vec(), None, record.time.millis()));
        }
    }
    records
}

#[test]
fn readings_one_by_one_in_protobuf_give_the_scores_of_wide_json() {
    let Some(broker) = KafkaBroker::shared("readings_one_by_one") else { return };
    let plant = TrainedPlant::new(2, Duration::from_secs(120));
    let expected = settled(scored_from_file(&plant, &plant.live), &plant.live);
    let overrides = ["input.format=protobuf", "input.shape=narrow", "output.format=protobuf"];
    let mut lane = Lane::new(broker, &plant, "narrow-protobuf", 2, &overrides);
    lane.format = OutputFormat::Protobuf;
    lane.produce(narrow_records(&plant));
    let worker = lane.start();
    assert_same(&by_window(lane.wait_for(expected.len()).into_values()), &expected, "narrow Protobuf");
    worker.terminate();
}

#[test]
fn memory_filled_from_topics_scores_as_the_one_filled_from_the_same_files() {
    let Some(broker) = KafkaBroker::shared("memory_filled_from_topics") else { return };
    let plant = TrainedPlant::new(2, Duration::from_secs(120));
    let expected = scored_from_file(&plant, &plant.live);
    let normal = std::fs::read_to_string(plant.path("normal.csv")).unwrap();
    let mut lines = normal.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let lane = Lane::new(broker, &plant, "history", 3, &[]);
    let mut times = Vec::new();
    lane.produce(lines.map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let values: Vec<String> =
            columns.iter().zip(&cells).skip(2).map(|(name, it)| format!("\"{name}\":{it}")).collect();
        let json =
            format!("{{\"series\":\"{}\",\"time\":\"{}\",\"values\":{{{}}}}}", cells[1], cells[0], values.join(","));
        let time: jiff::Timestamp = cells[0].parse().unwrap();
        times.push(time);
        (Some(cells[1].as_bytes().to_vec()), json.into_bytes(), None, time.as_millisecond())
    }));
    // Live telemetry lies behind it on the topic, and is left out by its time.
    lane.produce(plant.live.iter().map(record));
    let memory = plant.path("memory-of-topics");
    let to = jiff::Timestamp::from_millisecond(times.last().unwrap().as_millisecond() + 1).unwrap().to_string();
    let brokers = format!("kafka.brokers={}", broker.bootstrap());
    let topics = format!("kafka.input_topics=[\"{}\"]", lane.topic("in"));
    let settings = [brokers, topics].map(|setting| ["--set".to_owned(), setting]).concat();
    let mut arguments = vec!["prefill".to_owned(), "--from-topics".to_owned(), "--to".to_owned(), to];
    arguments.extend(settings);
    arguments.extend(plant.flags());
    arguments.extend(["--set".to_owned(), format!("memory.path={}", memory.display())]);
    success(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let other = plant.with_memory(memory);
    assert_same(&scored_from_file(&other, &plant.live), &expected, "filled from topics");
}

/// A GET: status line and body.
fn get(port: u16, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

#[test]
fn probes_and_metrics_tell_what_happens() {
    let Some(broker) = KafkaBroker::shared("probes_and_metrics") else { return };
    let plant = TrainedPlant::new(1, Duration::from_secs(60));
    let lane = Lane::new(broker, &plant, "probes", 1, &["telemetry.listen=127.0.0.1:0"]);
    lane.produce(plant.live.iter().map(record));
    let time = plant.live[0].time.millis();
    lane.produce([(Some(b"x".to_vec()), b"{".to_vec(), None, time), (Some(b"x".to_vec()), b"[]".to_vec(), None, time)]);
    let worker = lane.start();
    lane.wait_for(60 - 5);
    let log = std::fs::read_to_string(lane.log()).unwrap();
    let (_, address) = log.split_once("address=127.0.0.1:").expect("the log says where it listens");
    let port = address.split(char::is_whitespace).next().unwrap().parse().unwrap();
    assert_eq!(get(port, "/livez").unwrap().0, "HTTP/1.1 200 OK");
    assert_eq!(get(port, "/readyz").unwrap().0, "HTTP/1.1 200 OK");
    let (status, metrics) = get(port, "/metrics").unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    for line in [
        "jamais_records_total 62",
        "jamais_events_total 55",
        "jamais_dead_letters_total{kind=\"malformed\"} 1",
        "jamais_dead_letters_total{kind=\"not_an_object\"} 1",
        "jamais_memory_generation 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    worker.terminate();
}

#[test]
fn a_state_topic_that_forgets_is_refused() {
    let Some(broker) = KafkaBroker::shared("a_state_topic_that_forgets") else { return };
    let plant = TrainedPlant::new(1, Duration::from_secs(60));
    for policy in ["delete", "compact,delete"] {
        let name = format!("forgetful-{}", policy.len());
        let lane = Lane::new(broker, &plant, &name, 1, &[]);
        broker.create_topic_with(&lane.topic("state"), 1, &[("cleanup.policy", policy)]);
        assert_eq!(lane.start().ended().code(), Some(1));
        let log = std::fs::read_to_string(lane.log()).unwrap();
        assert!(log.contains(&format!("{name}.state")) && log.contains("set it to compact"), "{log}");
    }
}

#[test]
fn a_crash_before_the_first_regular_checkpoint_loses_no_window() {
    let Some(broker) = KafkaBroker::shared("a_crash_before_the_first_checkpoint") else { return };
    let plant = TrainedPlant::new(2, Duration::from_secs(300));
    let expected = settled(scored_from_file(&plant, &plant.live), &plant.live);
    let lane = Lane::new(broker, &plant, "early-crash", 1, &["kafka.properties.session.timeout.ms=6000"]);
    let half = plant.live.len() / 2;
    lane.produce(plant.live[..half].iter().map(record));
    let worker = lane.start();
    lane.wait_for(expected.len() / 2 - 10);
    lane.wait_for_commits(1);
    drop(worker); // kill -9
    lane.produce(plant.live[half..].iter().map(record));
    let worker = lane.start();
    assert_same(&by_window(lane.wait_for(expected.len()).into_values()), &expected, "after a crash");
    worker.terminate();
}

#[test]
fn the_demo_finds_its_faults_on_a_real_broker_and_cleans_up() {
    let Some(broker) = KafkaBroker::shared("the_demo_on_a_real_broker") else { return };
    let plant = ["--pumps", "4", "--fans", "3", "--normal", "1h", "--live", "3h"];
    let output = success(&[&["demo", "--brokers", broker.bootstrap()][..], &plant].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in
        ["over Kafka at", "fault            injected", "stuck sensor", "dead letters     5 of 5", "wall time"]
    {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    let consumer: BaseConsumer = broker.client_config().create().unwrap();
    // The broker's metadata follows what its controller has answered; each look is a request.
    let left = |_| {
        let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
        metadata.topics().iter().any(|topic| topic.name().starts_with("jamais-demo"))
    };
    assert!((0..10_000).any(|look| !left(look)), "topics were left behind");
}
