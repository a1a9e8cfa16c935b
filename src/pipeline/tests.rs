//! The path over a fake encoder: window means as embeddings, a memory of one flat window.

use std::time::Duration;

use super::*;
use crate::codec::UnknownChannels;
use crate::config::Settings;
use crate::domain::alarm::Transition;
use crate::domain::event::ReasonCode;
use crate::domain::model::{CARD_VERSION, ChannelCard, EncoderCard, Metric, Treatment, WindowCard};
use crate::domain::record::{EventTime, Payload};
use crate::domain::unit::{Admission, Calibration, Generation, Provenance, Scales, Unit, UnitId};
use crate::memory::exact::ExactIndex;

struct Means(ModelCard);

impl Encoder for Means {
    fn card(&self) -> &ModelCard {
        &self.0
    }
    fn embed(&mut self, windows: &[f32]) -> Result<Vec<f32>, PortError> {
        let (size, features) = (self.0.window.size, self.0.features());
        Ok(windows
            .chunks(size * features)
            .flat_map(|window| {
                (0..features)
                    .map(move |feature| window.iter().skip(feature).step_by(features).sum::<f32>() / size as f32)
            })
            .collect())
    }
}

pub(crate) fn card() -> ModelCard {
    let channel = |name: &str| ChannelCard {
        name: name.to_owned(),
        center: 0.0,
        scale: 1.0,
        treatment: Treatment::Plain,
        reason: String::new(),
        stuck_after: 20,
    };
    ModelCard {
        card_version: CARD_VERSION,
        name: "means".to_owned(),
        trained_by: "hand".to_owned(),
        sha256: "a".repeat(64),
        encoder: EncoderCard {
            input: "window".to_owned(),
            output: "embedding".to_owned(),
            dimension: 2,
            batch: 4,
            metric: Metric::Euclidean,
        },
        window: WindowCard { size: 3, stride: 1, grid_ms: 1000 },
        calibration: None,
        channel: vec![channel("flow"), channel("current")],
    }
}

pub(crate) fn settings() -> PipelineSettings {
    let mut settings = Settings::defaults();
    settings.align.lateness = Duration::ZERO;
    settings.deviation.smoothing = 1;
    settings.threshold.warm = 4;
    settings.alarm.clear_after = Duration::from_secs(2);
    settings.emit.evidence_every = 0;
    settings.pipeline(&card())
}

pub(crate) fn pipeline(settings: PipelineSettings) -> Pipeline {
    let unit = Unit {
        id: UnitId(7),
        key: vec![0.0, 0.0],
        value: vec![0.0; 6],
        provenance: Provenance {
            series: SeriesKey::new("pump-0"),
            start: EventTime::from_millis(0),
            end: EventTime::from_millis(2000),
            source: "history".to_owned(),
            offsets: (0, 2),
            admitted: Admission::Prefill,
        },
    };
    let generation = Generation {
        number: 3,
        effective_from: EventTime::from_millis(0),
        model: card().identity(),
        metric: Metric::Euclidean,
        calibration: Calibration {
            scales: Scales { temperature: 1.0, distance: 1.0, channels: vec![1.0; 2], residual: 1.0 },
            deviations: vec![1.0; 8],
        },
        units: vec![unit],
    };
    let index = ExactIndex::new(Metric::Euclidean, 2, generation.units.iter().map(|unit| unit.key.as_slice()));
    let bank = Bank::new(Arc::new(generation), Box::new(index), &card(), 1).unwrap();
    let mut input = Settings::defaults().input;
    input.unknown_channels = UnknownChannels::Ignore;
    Pipeline::new(Decoder::new(input, ["flow", "current"]), Box::new(Means(card())), Arc::new(bank), settings)
}

const START: i64 = 1_700_000_000;

fn record(partition: i32, offset: i64, key: &str, second: i64, values: &str) -> Record {
    let text = format!("{{\"time\": {}, \"values\": {{{values}}}}}", START + second);
    Record {
        position: Position { topic: "telemetry".into(), partition, offset },
        key: Some(key.as_bytes().to_vec()),
        timestamp: None,
        payload: Payload::Serialized(text.into_bytes()),
    }
}

/// A wave that never repeats a value, with a fault of `level` from `onset` on.
pub(crate) fn stream(seconds: i64, onset: i64, level: f64) -> Vec<Record> {
    (0..seconds)
        .map(|second| {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let wave = (second as f64 * 0.7).sin() * 0.5;
            let flow = if second >= onset { wave + level } else { wave };
            record(0, second, "pump-7", second, &format!("\"flow\": {flow}, \"current\": {wave}"))
        })
        .collect()
}

fn events(pipeline: &mut Pipeline, records: &[Record], batch: usize) -> Vec<ScoredEvent> {
    records.chunks(batch).flat_map(|records| pipeline.process(records).unwrap().events).collect()
}

#[test]
fn a_level_fault_raises_one_alarm_with_its_channel_first_and_its_neighbor_named() {
    let events = events(&mut pipeline(settings()), &stream(60, 40, 30.0), 7);
    let raised: Vec<_> = events
        .iter()
        .filter(|event| event.alarm.as_ref().is_some_and(|alarm| alarm.transition == Transition::Raised))
        .collect();
    assert_eq!(raised.len(), 1);
    let event = raised[0];
    assert_eq!(event.window_end.millis() / 1000 - START, 40);
    assert_eq!(&*event.channels[0].channel, "flow");
    assert_eq!(event.neighbors[0].unit, UnitId(7));
    assert_eq!((event.generation, event.source.last_offset), (3, 40));
    assert!(event.score.unwrap() > 1.0 && event.anomaly);
    assert!(event.reasons.iter().any(|reason| reason.code == ReasonCode::UnknownRegime));
}

#[test]
fn neither_the_batch_size_nor_the_company_of_other_series_changes_anything() {
    let alone = events(&mut pipeline(settings()), &stream(60, 40, 30.0), 1);
    assert_eq!(alone.len(), 57, "windows of 3 samples; the last sample waits for the watermark");
    for batch in [2, 5, 64] {
        assert_eq!(events(&mut pipeline(settings()), &stream(60, 40, 30.0), batch), alone, "in batches of {batch}");
    }
    let mut mixed = Vec::new();
    for (index, mut own) in (0_i64..).zip(stream(60, 40, 30.0)) {
        mixed.push(record(0, 2 * index, "pump-8", index, "\"flow\": 5, \"current\": -5"));
        own.position.offset = 2 * index + 1;
        mixed.push(own);
    }
    let among: Vec<_> = events(&mut pipeline(settings()), &mixed, 16)
        .into_iter()
        .filter(|event| event.series.as_str() == "pump-7")
        .map(|event| (event.id, event.score))
        .collect();
    assert_eq!(among, alone.into_iter().map(|event| (event.id, event.score)).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_continues_bit_for_bit_and_committed_records_are_silent() {
    let records = stream(60, 40, 30.0);
    let whole = events(&mut pipeline(settings()), &records, 8);
    let mut first = pipeline(settings());
    let mut resumed: Vec<_> = events(&mut first, &records[..30], 8);
    let partition: PartitionId = ("telemetry".into(), 0);
    let checkpoint = first.checkpoint(&partition).unwrap();
    assert_eq!(checkpoint.next_offset.offset(), 30);
    // Committed up to 45, but the checkpoint is of 30.
    resumed.extend(events(&mut first, &records[30..45], 8));
    let mut second = pipeline(settings());
    second.restore(&partition, Some(&checkpoint), 45).unwrap();
    resumed.extend(events(&mut second, &records[30..], 8));
    assert_eq!(resumed, whole);
}

#[test]
fn a_series_that_is_ahead_of_its_partitions_checkpoint_leaves_known_records_out() {
    let records = stream(60, 40, 30.0);
    let whole = events(&mut pipeline(settings()), &records, 8);
    let mut first = pipeline(settings());
    let before = events(&mut first, &records[..35], 8);
    let partition: PartitionId = ("telemetry".into(), 0);
    let mut torn = first.checkpoint(&partition).unwrap();
    torn.next_offset = records[19].position.next();
    let mut second = pipeline(settings());
    second.restore(&partition, Some(&torn), 0).unwrap();
    let after = events(&mut second, &records[20..], 8);
    assert_eq!([before, after].concat(), whole);
}

#[test]
fn bad_records_become_dead_letters_and_the_stream_goes_on() {
    let mut records = stream(20, 99, 0.0);
    let bad = |offset: i64, key: Option<&str>, payload: &str| Record {
        position: Position { topic: "telemetry".into(), partition: 0, offset },
        key: key.map(|key| key.as_bytes().to_vec()),
        timestamp: Some(EventTime::from_millis(START * 1000)),
        payload: Payload::Serialized(payload.as_bytes().to_vec()),
    };
    records.push(bad(20, Some("pump-7"), "{\"time\": "));
    records.push(bad(21, None, &format!("{{\"time\": {START}, \"values\": {{\"flow\": 1}}}}")));
    records.push(bad(22, Some("pump-7"), &format!("{{\"time\": {}, \"values\": {{\"flow\": 1}}}}", START + 900_000)));
    records.push(bad(23, Some("pump-7"), "{\"time\": 3, \"values\": {\"flow\": 1}}"));
    records.push(bad(24, Some("pump-7"), &format!("{{\"time\": {START}, \"values\": {{\"flow\": 1}}}}")));
    records.push(bad(25, Some("pump-7"), &format!("{{\"time\": {START}, \"values\": {{\"flow\": \"high\"}}}}")));
    let outcome = pipeline(settings()).process(&records).unwrap();
    let kinds: Vec<_> = outcome.dead_letters.iter().map(|letter| (letter.position.offset, letter.kind)).collect();
    assert_eq!(
        kinds,
        [
            (20, "malformed"),
            (21, "no_key"),
            (22, "time_too_far_ahead"),
            (23, "time_too_early"),
            (24, "late"),
            (25, "wrong_type"),
        ]
    );
    assert_eq!(outcome.events.len(), 17);
    assert_eq!(outcome.next_offsets[0].offset(), 26);
}

#[test]
fn what_was_not_measured_is_marked() {
    let wave = |second: i64| format!("\"flow\": {}, \"current\": {}", second as f64 * 0.01, second as f64 * -0.01);
    let mut records: Vec<_> = (0..10).map(|second| record(0, second, "p", second, &wave(second))).collect();
    records.push(record(0, 10, "p", 12, &wave(12)));
    records.push(record(0, 11, "p", 13, "\"flow\": \"NaN\", \"current\": 0.1"));
    records.extend((14..60).map(|second| {
        record(0, second, "p", second, &format!("\"flow\": 0.5, \"current\": {}", second as f64 * 0.01))
    }));
    let events = events(&mut pipeline(settings()), &records, 64);
    let codes = |second: i64| -> Vec<_> {
        let event = events.iter().find(|event| event.window_end.millis() / 1000 - START == second).unwrap();
        event.reasons.iter().map(|reason| (reason.code, reason.channel.as_deref().map(str::to_owned))).collect()
    };
    let flow = || Some("flow".to_owned());
    assert_eq!(codes(9), []);
    assert_eq!(codes(11), [(ReasonCode::GapFilled, flow()), (ReasonCode::GapFilled, Some("current".to_owned()))]);
    assert!(codes(13).contains(&(ReasonCode::SensorFault, flow())));
    assert_eq!(codes(50), [(ReasonCode::SensorFault, flow())], "the same value for longer than 20 samples");
    assert!(events.iter().find(|event| event.window_end.millis() / 1000 - START == 50).unwrap().anomaly);
}

#[test]
fn only_changes_are_emitted_where_that_is_wanted() {
    let mut wanted = settings();
    wanted.emit.emit = Emit::Changes;
    let events = events(&mut pipeline(wanted), &stream(60, 40, 30.0), 16);
    let seconds: Vec<_> = events.iter().map(|event| event.window_end.millis() / 1000 - START).collect();
    assert_eq!(seconds[0], 2);
    assert!(seconds.contains(&40) && seconds.len() < 6, "{seconds:?}");
}

#[test]
fn a_series_without_history_says_that_it_is_warming_up() {
    let mut cold = settings();
    cold.threshold.warm = 30;
    let events = events(&mut pipeline(cold), &stream(60, 50, 30.0), 16);
    assert!(events[0].score.is_none() && !events[0].anomaly);
    assert_eq!(events[0].reasons[0].code, ReasonCode::WarmingUp);
    assert!(events.last().unwrap().score.is_some());
}
