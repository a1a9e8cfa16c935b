use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::alarm::{AlarmSettings, AlarmState};
use crate::domain::event::{
    AlarmEvidence, ChannelEvidence, NeighborEvidence, Reason, ReasonCode, ScoredEvent, SourceRange,
};
use crate::domain::record::{EventTime, SeriesKey};
use crate::domain::unit::{Admission, Provenance, UnitId};

/// 2026-03-02T16:00:00Z.
const START_S: i64 = 1_772_467_200;

fn at(second: i64) -> EventTime {
    EventTime::from_millis((START_S + second) * 1000)
}

fn member(series: &str) -> Member {
    Member { series: SeriesKey::new(series), class: "pumps".to_owned() }
}

fn fault(series: &str, kind: &str, start: i64, full: i64, end: i64) -> KnownFault {
    KnownFault { series: SeriesKey::new(series), kind: kind.to_owned(), start: at(start), full: at(full), end: at(end) }
}

fn event(series: &str, second: i64, score: f32) -> ScoredEvent {
    let anomaly = score > 1.0;
    let channel =
        |channel: &str, residual| ChannelEvidence { channel: channel.into(), observed: 4.1, expected: 2.35, residual };
    let nearest = || NeighborEvidence {
        unit: UnitId(17),
        distance: 2.0,
        similarity: 0.33,
        weight: 1.0,
        provenance: Provenance {
            series: SeriesKey::new("pump-9"),
            start: at(-7200),
            end: at(-7196),
            source: "normal.jsonl".to_owned(),
            offsets: (0, 4),
            admitted: Admission::Prefill,
        },
    };
    ScoredEvent {
        id: format!("{series}@{second}"),
        series: SeriesKey::new(series),
        window_start: at(second - 4),
        window_end: at(second),
        deviation: Some(score * 2.0),
        threshold: Some(2.0),
        score: Some(score),
        anomaly,
        alarm: None,
        channels: if anomaly { vec![channel("vibration_mm_s", 9.0), channel("flow_m3_h", 2.0)] } else { Vec::new() },
        neighbors: if anomaly { vec![nearest()] } else { Vec::new() },
        model: "c0ffee".into(),
        generation: 1,
        threshold_version: "q".into(),
        source: SourceRange { topic: "telemetry".into(), partition: 0, first_offset: second, last_offset: second },
        reasons: Vec::new(),
    }
}

/// Plays scores in tenths, a character a second (`x` is 2.0), through the real alarm rule into the fleet; gives the
/// turns: `R`, `C`, or `.`.
fn play(fleet: &mut Fleet, series: &str, scores: &str) -> String {
    let settings =
        AlarmSettings { raise_after: Duration::from_secs(2), clear_below: 0.8, clear_after: Duration::from_secs(2) };
    let mut state = AlarmState::default();
    (0..)
        .zip(scores.chars())
        .map(|(second, character)| {
            let score = match character {
                'x' => 2.0,
                digit => f32::from(u8::try_from(digit.to_digit(10).unwrap()).unwrap()) / 10.0,
            };
            let mut event = event(series, second, score);
            event.alarm = state.step(&settings, event.window_end, event.anomaly, score).map(|alarm| AlarmEvidence {
                id: format!("{series} {}", alarm.since),
                since: alarm.since,
                transition: alarm.transition,
            });
            match fleet.take(&event) {
                None => '.',
                Some(Turn::Raised(_)) => 'R',
                Some(Turn::Cleared(_)) => 'C',
            }
        })
        .collect()
}

const GRACE: Duration = Duration::from_secs(3);

fn fleet(faults: Vec<KnownFault>) -> Fleet {
    Fleet::new(vec![member("pump-1"), member("pump-2")], faults, GRACE)
}

fn facts(expected: [u64; 2]) -> Facts {
    Facts {
        windows_expected: BTreeMap::from([("pump-1".to_owned(), expected[0]), ("pump-2".to_owned(), expected[1])]),
        raise_after: Duration::from_secs(2),
        grace: GRACE,
        ..Facts::default()
    }
}

#[test]
fn an_alarm_is_followed_from_raised_to_cleared() {
    let mut fleet = fleet(Vec::new());
    assert_eq!(play(&mut fleet, "pump-1", "55xxxx5555"), "....R...C.");
    assert_eq!((fleet.windows(), fleet.alarms().len()), (10, 1));
    let alarm = &fleet.alarms()[0];
    assert_eq!((alarm.since, alarm.raised, alarm.cleared), (at(2), at(4), Some(at(8))));
    assert_eq!(alarm.verdict, Verdict::False);
    assert_eq!(fleet.assets()[0].state, State::Normal);
    assert_eq!(fleet.assets()[0].evidence, None, "evidence goes when nothing is wrong any more");
    assert_eq!(fleet.assets()[1].state, State::Waiting);
    assert_eq!(fleet.reached(), None, "pump-2 has not begun");
}

#[test]
fn an_event_that_comes_twice_counts_once() {
    let mut fleet = fleet(Vec::new());
    for second in [1, 2, 2, 1, 3] {
        fleet.take(&event("pump-1", second, 0.5));
    }
    assert_eq!((fleet.windows(), fleet.repeated()), (3, 2));
    fleet.take(&event("pump-77", 1, 0.5));
    assert_eq!((fleet.windows(), fleet.strangers()), (3, 1));
}

/// The verdicts on the alarms under these scores, with a fault of pump-1 from second 1 to `end`.
fn check_verdicts(end: i64, scores: &str, expected: &[Verdict]) {
    let mut fleet = fleet(vec![fault("pump-2", "leak", 0, 1, 99), fault("pump-1", "leak", 1, 1, end)]);
    play(&mut fleet, "pump-1", scores);
    let verdicts: Vec<_> = fleet.alarms().iter().map(|alarm| alarm.verdict).collect();
    assert_eq!(verdicts, expected, "for {scores}");
    let found = expected.iter().filter(|verdict| matches!(verdict, Verdict::Fault(_))).count();
    assert_eq!(fleet.faults()[1].alarms.len(), found, "only an alarm during a fault finds it");
}

#[test]
fn alarms_are_judged_by_when_they_were_raised() {
    check_verdicts(20, "55xxx55555555xxx555", &[Verdict::Fault(1), Verdict::Fault(1)]);
    check_verdicts(3, "555xxx555555555xxx", &[Verdict::Recovery(1), Verdict::False]);
}

/// The reason given for a fault from second 5 to 15 under these scores.
fn check_missed(scores: &str, expected: &str) {
    let mut fleet = fleet(vec![fault("pump-1", "leak", 5, 8, 15)]);
    play(&mut fleet, "pump-1", scores);
    let text = Report::new(&fleet, &facts([scores.len() as u64, 0])).to_string();
    let line =
        text.lines().find(|line| line.contains("leak on pump-1")).unwrap_or_else(|| panic!("not missed: {text}"));
    assert!(line.contains(expected), "{line:?} does not say {expected:?}");
}

#[test]
fn a_missed_fault_is_listed_with_what_was_seen_of_it() {
    check_missed("55555", "no window was scored during it");
    check_missed("55555555855555555", "peak score 0.80 of the threshold, never flagged");
    check_missed(
        "5555555xx55x55555",
        "flagged for at most 1s on end, and an alarm takes 2s; largest residual vibration_mm_s, 9.0",
    );
    check_missed("5xxxxxxxxxxxxxxxx", "an alarm raised before it, at 16:00:03, was still on");
}

#[test]
fn delays_and_leads_are_medians_over_the_faults_found() {
    let mut fleet = fleet(vec![
        fault("pump-1", "leak", 2, 14, 18),
        fault("pump-2", "leak", 2, 3, 18),
        fault("pump-2", "stuck sensor", 30, 30, 40),
    ]);
    play(&mut fleet, "pump-1", "55xxx55555"); // Raised at 4: 2 s after onset, 10 s before it is full.
    play(&mut fleet, "pump-2", "555555xxx5"); // Raised at 8: 6 s after onset, 5 s after it was full.
    let report = Report::new(&fleet, &facts([10, 10]));
    let text = report.to_string();
    let row: Vec<&str> = text.lines().find(|line| line.starts_with("leak")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["leak", "2", "2", "4s", "2s"]);
    let row: Vec<&str> =
        text.lines().find(|line| line.starts_with("stuck sensor")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["stuck", "sensor", "1", "0", "-", "-"]);
    assert!(text.contains("2 raised: 2 for a fault, 0 again within it, 0 within 3s after one; 0 false"), "{text}");
    assert_eq!(report.shortfalls(), [""; 0]);
}

#[test]
fn windows_and_dead_letters_that_did_not_arrive_are_named() {
    let mut fleet = fleet(Vec::new());
    play(&mut fleet, "pump-1", "5555");
    let mut facts = facts([5, 0]);
    facts.malformed = 2;
    facts.dead_letters = BTreeMap::from([("malformed".to_owned(), 1)]);
    let report = Report::new(&fleet, &facts);
    assert_eq!(
        report.shortfalls(),
        ["pump-1: 4 windows of 5 arrived, the last of 16:00", "1 dead letter arrived for 2 malformed records"]
    );
    assert!(report.to_string().contains("INCOMPLETE"));
}

#[test]
fn false_alarms_are_counted_by_the_asset_day() {
    let mut fleet = fleet(Vec::new());
    fleet.take(&event("pump-2", -43_200, 0.5));
    fleet.take(&event("pump-2", 0, 0.5));
    play(&mut fleet, "pump-1", "xxxx");
    let text = Report::new(&fleet, &facts([4, 2])).to_string();
    assert!(text.contains("1 false, 2.00 an asset-day over 0.50 asset-days"), "{text}");
    assert!(
        text.contains("pump-1, 16:00:02 still on, peak score 2.00: vibration_mm_s 4.100, expected 2.350"),
        "{text}"
    );
}

#[test]
fn the_table_shows_state_and_evidence_and_keeps_what_needs_attention() {
    let progress = Progress { share: 0.5, elapsed: Duration::from_secs(2), dead_letters: 1 };
    let mut fleet = fleet(Vec::new());
    play(&mut fleet, "pump-1", "5555");
    play(&mut fleet, "pump-2", "5xxx");
    let lines = frame(&fleet, &progress, 10, false);
    let row = |series: &str| lines.iter().position(|line| line.starts_with(series)).unwrap();
    assert!(lines[row("pump-1")].ends_with("normal"), "{}", lines[row("pump-1")]);
    assert!(lines[row("pump-2")].ends_with("ALARM since 16:00"), "{}", lines[row("pump-2")]);
    assert!(lines[row("pump-2")].contains("####################   2.00      2.00"), "{}", lines[row("pump-2")]);
    assert!(lines[row("pump-1")].contains("#####.....|"), "{}", lines[row("pump-1")]);
    let unusual = lines.iter().position(|line| line == "what is unusual now").unwrap();
    let evidence = &lines[unusual + 1];
    assert!(evidence.starts_with("pump-2 "), "{evidence}");
    assert!(evidence.contains("nearest unit 17 (similarity 0.33), learned from pump-9 on 2 Mar 14:00"), "{evidence}");
    assert!(
        lines[0].starts_with(" 50 %  event time 16:00:03  8 windows scored, 4/s  1 alarm raised, 1 on"),
        "{}",
        lines[0]
    );
    let lines = frame(&fleet, &progress, 1, false);
    assert!(lines.iter().any(|line| line.starts_with("pump-2")), "the one with the alarm is shown");
    assert!(lines.iter().any(|line| line.starts_with("and 1 more")));
    assert!(frame(&fleet, &progress, 1, true).iter().any(|line| line.contains("\u{1b}[1;31mpump-2")));
}

#[test]
fn a_stuck_sensor_is_named_first() {
    let mut stuck = event("pump-1", 1, 2.0);
    stuck.reasons = vec![Reason { code: ReasonCode::SensorFault, channel: Some(Arc::from("pressure_bar")) }];
    let mut fleet = fleet(Vec::new());
    fleet.take(&stuck);
    let lines = frame(&fleet, &Progress { share: 0.0, elapsed: Duration::ZERO, dead_letters: 0 }, 9, false);
    assert!(
        lines.iter().any(
            |line| line.starts_with("pump-1             pressure_bar is stuck or sends no numbers; vibration_mm_s")
        )
    );
}

#[test]
fn numbers_and_durations_read_as_people_write_them() {
    assert_eq!([0, 999, 1000, 143_900, 1_234_567].map(grouped), ["0", "999", "1,000", "143,900", "1,234,567"]);
    let lasting = |millis| super::lasting(Duration::from_millis(millis));
    assert_eq!([250, 48_000, 750_000, 3_720_000].map(lasting), ["250ms", "48s", "12m 30s", "1h 02m"]);
}
