//! What came of it in the end: alarms against known faults, and whether everything was scored.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fleet::{AlarmTrack, FaultTrack, Fleet, Verdict};
use super::table::describe;
use super::text::{between, clock, count, grouped, hour_minute, lasting};

/// What the fleet itself cannot know.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Windows that the stream should have given, a series.
    pub windows_expected: BTreeMap<String, u64>,
    /// Records that were sent.
    pub records: u64,
    /// Records that were made unusable.
    pub malformed: u64,
    /// Dead letters that were read, by kind.
    pub dead_letters: BTreeMap<String, u64>,
    /// How long flags must last before an alarm.
    pub raise_after: Duration,
    /// How long after a fault its alarms still count as its own.
    pub grace: Duration,
    /// Wall time from the first record that was sent to the last score that was read.
    pub streaming: Duration,
    /// Wall time of everything, by what was done, in that order.
    pub phases: Vec<(String, Duration)>,
}

/// One kind of fault.
#[derive(Clone, Debug, PartialEq)]
struct KindRow {
    kind: String,
    injected: usize,
    found: usize,
    /// Median time from onset to alarm.
    delay: Option<Duration>,
    /// Median time from alarm to full severity, s; negative where the alarm came later.
    lead_s: Option<i64>,
}

/// The end of a demonstration, as text through [`fmt::Display`].
#[derive(Clone, Debug)]
pub struct Report {
    kinds: Vec<KindRow>,
    missed: Vec<String>,
    alarms: Vec<String>,
    totals: Vec<(&'static str, String)>,
    shortfalls: Vec<String>,
}

impl Report {
    /// Sums up. A fault counts as found if an alarm was raised on its asset between its start and its end.
    pub fn new(fleet: &Fleet, facts: &Facts) -> Self {
        let missed = fleet.faults().iter().filter(|track| track.alarms.is_empty());
        let mut report = Self {
            kinds: kinds(fleet),
            missed: missed.map(|track| missed_line(fleet, track, facts.raise_after)).collect(),
            alarms: false_alarms(fleet),
            totals: Vec::new(),
            shortfalls: shortfalls(fleet, facts),
        };
        report.totals = vec![
            ("alarms", alarms(fleet, facts.grace)),
            ("windows scored", windows(fleet, facts)),
            ("dead letters", dead_letters(facts)),
            ("wall time", phases(facts)),
        ];
        report
    }

    /// What is not as it must be, whatever was detected: windows or dead letters that did not arrive. Empty if the run
    /// worked.
    pub fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>8} {:>6} {:>20} {:>28}",
            "fault", "injected", "found", "alarm after onset", "alarm before full severity"
        )?;
        for row in &self.kinds {
            let delay = row.delay.map_or_else(|| "-".to_owned(), lasting);
            let lead = row.lead_s.map_or_else(|| "-".to_owned(), signed);
            writeln!(f, "{:<16} {:>8} {:>6} {delay:>20} {lead:>28}", row.kind, row.injected, row.found)?;
        }
        writeln!(f, "(times are medians over the faults found, in event time; negative: after it)")?;
        for (title, lines) in [("missed", &self.missed), ("false alarms", &self.alarms)] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}")?;
                lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        writeln!(f)?;
        for (name, text) in &self.totals {
            writeln!(f, "{name:<16} {text}")?;
        }
        self.shortfalls.iter().try_for_each(|line| writeln!(f, "INCOMPLETE       {line}"))
    }
}

/// The kinds in the order in which they first occur.
fn kinds(fleet: &Fleet) -> Vec<KindRow> {
    let mut names: Vec<&str> = fleet.faults().iter().map(|track| track.fault.kind.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let row = |kind: &str| {
        let tracks: Vec<&FaultTrack> = fleet.faults().iter().filter(|track| track.fault.kind == kind).collect();
        let first = |track: &&FaultTrack| track.alarms.first().map(|&alarm| fleet.alarms()[alarm].raised);
        let found: Vec<_> = tracks.iter().filter_map(|track| first(track).map(|raised| (track, raised))).collect();
        let delays = found.iter().map(|(track, raised)| (raised.millis() - track.fault.start.millis()) / 1000);
        let leads = found.iter().map(|(track, raised)| (track.fault.full.millis() - raised.millis()) / 1000);
        KindRow {
            kind: kind.to_owned(),
            injected: tracks.len(),
            found: found.len(),
            delay: median(delays.collect()).map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
            lead_s: median(leads.collect()),
        }
    };
    names.into_iter().map(row).collect()
}

/// The middle one; the mean of the two in the middle, where there are two.
fn median(mut numbers: Vec<i64>) -> Option<i64> {
    numbers.sort_unstable();
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        odd if !odd.is_multiple_of(2) => Some(numbers[middle]),
        _ => Some(i64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}

fn signed(seconds: i64) -> String {
    let text = lasting(Duration::from_secs(seconds.unsigned_abs()));
    match seconds {
        0 => "0s".to_owned(),
        ..0 => format!("-{text}"),
        _ => text,
    }
}

fn missed_line(fleet: &Fleet, track: &FaultTrack, raise_after: Duration) -> String {
    let fault = &track.fault;
    format!(
        "{} on {}, {} to {}: {}",
        fault.kind,
        fault.series,
        clock(fault.start),
        clock(fault.end),
        why_missed(fleet, track, raise_after)
    )
}

/// Why no alarm was raised, from what was seen.
fn why_missed(fleet: &Fleet, track: &FaultTrack, raise_after: Duration) -> String {
    if track.windows == 0 {
        return "no window was scored during it".to_owned();
    }
    if let Some(alarm) = track.masked_by {
        let alarm = &fleet.alarms()[alarm];
        return format!("an alarm raised before it, at {}, was still on", clock(alarm.raised));
    }
    let residual = track.residual.as_ref().map_or_else(String::new, |(channel, residual)| {
        format!("; largest residual {channel}, {residual:.1} times what is typical")
    });
    let peak = match track.peak {
        None => return format!("none of its windows could be scored{residual}"),
        Some(peak) => format!("peak score {peak:.2} of the threshold"),
    };
    if track.flagged == 0 {
        return format!("{peak}, never flagged{residual}");
    }
    format!(
        "{peak}, flagged for at most {} on end, and an alarm takes {}{residual}",
        lasting(track.flagged_longest),
        lasting(raise_after)
    )
}

fn false_alarms(fleet: &Fleet) -> Vec<String> {
    let line = |alarm: &AlarmTrack| {
        let series = &fleet.assets()[alarm.asset].member.series;
        let until = alarm.cleared.map_or_else(|| "still on".to_owned(), |cleared| format!("to {}", clock(cleared)));
        let evidence = describe(&alarm.evidence);
        format!("{series}, {} {until}, peak score {:.2}: {evidence}", clock(alarm.raised), alarm.peak)
    };
    fleet.alarms().iter().filter(|alarm| alarm.verdict == Verdict::False).map(line).collect()
}

fn alarms(fleet: &Fleet, grace: Duration) -> String {
    let of = |wanted: fn(&Verdict) -> bool| fleet.alarms().iter().filter(|alarm| wanted(&alarm.verdict)).count();
    let found = fleet.faults().iter().filter(|track| !track.alarms.is_empty()).count();
    let again = of(|verdict| matches!(verdict, Verdict::Fault(_))) - found;
    let recovering = of(|verdict| matches!(verdict, Verdict::Recovery(_)));
    let wrong = of(|verdict| *verdict == Verdict::False);
    let watched: f64 = fleet
        .assets()
        .iter()
        .filter_map(|asset| Some(between(asset.first?, asset.newest?).as_secs_f64() / 86_400.0))
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let rate = if watched > 0.0 { wrong as f64 / watched } else { 0.0 };
    format!(
        "{} raised: {found} for a fault, {again} again within it, {recovering} within {} after one; {} false, {rate:.2} \
         an asset-day over {watched:.2} asset-days",
        fleet.alarms().len(),
        lasting(grace),
        wrong,
    )
}

fn windows(fleet: &Fleet, facts: &Facts) -> String {
    let expected: u64 = facts.windows_expected.values().sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, for people"
    )]
    let rate = |number: u64| (number as f64 / facts.streaming.as_secs_f64().max(1e-3)) as u64;
    let repeated = match fleet.repeated() {
        0 => String::new(),
        repeated => format!(", {} came twice", grouped(repeated)),
    };
    format!(
        "{} of {} expected{repeated}, from {} records in {:.1} s: {} windows/s, {} records/s",
        grouped(fleet.windows()),
        grouped(expected),
        grouped(facts.records),
        facts.streaming.as_secs_f64(),
        grouped(rate(fleet.windows())),
        grouped(rate(facts.records))
    )
}

fn dead_letters(facts: &Facts) -> String {
    let found: u64 = facts.dead_letters.values().sum();
    let kinds: Vec<String> = facts.dead_letters.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    format!("{found} of {} that were put among the records{kinds}", count_malformed(facts.malformed))
}

fn count_malformed(malformed: u64) -> String {
    count(usize::try_from(malformed).unwrap_or(usize::MAX), "malformed record", "malformed records")
}

fn phases(facts: &Facts) -> String {
    let total: Duration = facts.phases.iter().map(|(_, took)| *took).sum();
    let each: Vec<String> =
        facts.phases.iter().map(|(name, took)| format!("{name} {:.1} s", took.as_secs_f64())).collect();
    format!("{:.1} s: {}", total.as_secs_f64(), each.join(", "))
}

/// What did not arrive, or came unasked.
fn shortfalls(fleet: &Fleet, facts: &Facts) -> Vec<String> {
    let mut shortfalls = Vec::new();
    for asset in fleet.assets() {
        let series = asset.member.series.as_str();
        let expected = facts.windows_expected.get(series).copied().unwrap_or(0);
        if asset.windows != expected {
            let newest = asset.newest.map_or_else(|| "none".to_owned(), hour_minute);
            shortfalls.push(format!(
                "{series}: {} windows of {} arrived, the last of {newest}",
                grouped(asset.windows),
                grouped(expected)
            ));
        }
    }
    if fleet.strangers() > 0 {
        shortfalls.push(format!("{} events of unknown series arrived", grouped(fleet.strangers())));
    }
    let found: u64 = facts.dead_letters.values().sum();
    if found != facts.malformed {
        let expected = count_malformed(facts.malformed);
        shortfalls.push(format!(
            "{} arrived for {expected}",
            count(usize::try_from(found).unwrap_or(usize::MAX), "dead letter", "dead letters")
        ));
    }
    shortfalls
}
