//! The live view: a table of the fleet, a line an alarm, a line of progress.

use std::time::Duration;

use super::fleet::{AlarmTrack, Asset, Evidence, Fleet, State, Turn, Verdict};
use super::text::{clock, count, day_clock, grouped, hour_minute, lasting, value};
use crate::domain::record::EventTime;

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Of the stream's event time, 0 to 1.
    pub share: f64,
    /// Wall time since its start.
    pub elapsed: Duration,
    /// Dead letters seen.
    pub dead_letters: u64,
}

/// Characters of a score's bar; the middle is the threshold.
const BAR: usize = 20;
/// The score that fills the bar.
const BAR_SCORE: f32 = 2.0;
/// Alarms listed below the table.
const RECENT: usize = 6;

/// The live view, a text a line, at most `assets_max` assets; with more, those that need attention most are shown.
/// What matters most stands leftmost: lines may be cut at the terminal's edge.
pub fn frame(fleet: &Fleet, progress: &Progress, assets_max: usize, color: bool) -> Vec<String> {
    let paint = Paint(color);
    let mut lines = vec![paint.bold(&progress_line(fleet, progress)), String::new()];
    lines.push(paint.dim(&format!(
        "{:<18} {:<6} {:<8}  {:<BAR$}  {:>5} {:>9}  {}",
        "series", "class", "time", "score (bar's middle: 1)", "score", "threshold", "state"
    )));
    let (shown, hidden) = pick(fleet, assets_max);
    lines.extend(shown.iter().map(|asset| row(asset, paint)));
    if hidden > 0 {
        lines.push(paint.dim(&format!("and {hidden} more, with lower scores")));
    }
    // Below the table, so that its rows stay where they are.
    let unusual = shown.iter().filter_map(|asset| Some((asset, asset.evidence.as_ref()?)));
    let evidence: Vec<String> = unusual
        .map(|(asset, evidence)| format!("{:<18} {}", asset.member.series.as_str(), describe(evidence)))
        .collect();
    if !evidence.is_empty() {
        lines.push(String::new());
        lines.push(paint.dim("what is unusual now"));
        lines.extend(evidence);
    }
    if !fleet.alarms().is_empty() {
        lines.push(String::new());
        lines.push(paint.dim("latest alarms"));
        for alarm in fleet.alarms().iter().rev().take(RECENT) {
            lines.push(recent(fleet, alarm));
        }
    }
    lines
}

/// One line that says how far the stream is.
pub fn progress_line(fleet: &Fleet, progress: &Progress) -> String {
    let reached = fleet.reached().map_or_else(|| "--:--:--".to_owned(), clock);
    let on = fleet.assets().iter().filter(|asset| matches!(asset.state, State::Alarm { .. })).count();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, for people"
    )]
    let rate = (fleet.windows() as f64 / progress.elapsed.as_secs_f64().max(1e-3)) as u64;
    format!(
        "{:>3.0} %  event time {reached}  {} windows scored, {}/s  {} raised, {on} on  {}",
        (progress.share * 100.0).clamp(0.0, 100.0).floor(),
        grouped(fleet.windows()),
        grouped(rate),
        count(fleet.alarms().len(), "alarm", "alarms"),
        count(usize::try_from(progress.dead_letters).unwrap_or(usize::MAX), "dead letter", "dead letters"),
    )
}

/// The assets to show, in the fleet's order, and how many are not.
fn pick(fleet: &Fleet, assets_max: usize) -> (Vec<&Asset>, usize) {
    let mut order: Vec<usize> = (0..fleet.assets().len()).collect();
    if order.len() > assets_max {
        let urgency = |&index: &usize| {
            let asset = &fleet.assets()[index];
            let state = match asset.state {
                State::Alarm { .. } => 2,
                State::Anomaly => 1,
                State::Waiting | State::WarmingUp | State::Normal => 0,
            };
            (state, asset.score.unwrap_or(0.0))
        };
        order.sort_by(|a, b| {
            let (a, b) = (urgency(a), urgency(b));
            b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        order.truncate(assets_max);
        order.sort_unstable();
    }
    let hidden = fleet.assets().len() - order.len();
    (order.into_iter().map(|index| &fleet.assets()[index]).collect(), hidden)
}

fn row(asset: &Asset, paint: Paint) -> String {
    let state = match asset.state {
        State::Waiting => "waiting".to_owned(),
        State::WarmingUp => "warming up".to_owned(),
        State::Normal => "normal".to_owned(),
        State::Anomaly => "ANOMALY".to_owned(),
        State::Alarm { since } => format!("ALARM since {}", hour_minute(since)),
    };
    let text = format!(
        "{:<18} {:<6} {:<8}  {}  {:>5} {:>9}  {state}",
        asset.member.series.as_str(),
        asset.member.class,
        asset.newest.map_or_else(String::new, clock),
        bar(asset.score),
        asset.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}")),
        asset.threshold.map_or_else(|| "-".to_owned(), |threshold| format!("{threshold:.2}")),
    );
    match asset.state {
        State::Alarm { .. } => paint.red(&text),
        State::Anomaly => paint.yellow(&text),
        State::Waiting | State::WarmingUp | State::Normal => text,
    }
}

/// A score from 0 to 2 and more; `|` stands at 1, the threshold.
fn bar(score: Option<f32>) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a few characters; NaN and negative numbers give none"
    )]
    let filled = (score.unwrap_or(0.0).clamp(0.0, BAR_SCORE) / BAR_SCORE * BAR as f32).round() as usize;
    let character = |index: usize| match (index < filled, index == BAR / 2) {
        (true, _) => '#',
        (false, true) => '|',
        (false, false) => '.',
    };
    (0..BAR).map(character).collect()
}

/// What an alarm did, with its evidence and what the ground truth says of it.
pub fn alarm_line(fleet: &Fleet, turn: Turn) -> String {
    let alarms = fleet.alarms();
    match turn {
        Turn::Raised(index) => {
            let alarm = &alarms[index];
            let truth = truth(fleet, alarm);
            format!(
                "{}  ALARM    {:<18} score {:.2}  {}  [{truth}]",
                clock(alarm.raised),
                series(fleet, alarm),
                alarm.peak,
                describe(&alarm.evidence)
            )
        }
        Turn::Cleared(index) => {
            let alarm = &alarms[index];
            let at = alarm.cleared.unwrap_or(alarm.raised);
            format!(
                "{}  cleared  {:<18} after {}, peak score {:.2}",
                clock(at),
                series(fleet, alarm),
                lasting(super::text::between(alarm.raised, at)),
                alarm.peak
            )
        }
    }
}

/// Every alarm in a line of its own, by when they were raised.
pub fn alarm_list(fleet: &Fleet) -> Vec<String> {
    let mut alarms: Vec<&AlarmTrack> = fleet.alarms().iter().collect();
    alarms.sort_by_key(|alarm| (alarm.raised, alarm.asset));
    alarms.into_iter().map(|alarm| recent(fleet, alarm)).collect()
}

fn recent(fleet: &Fleet, alarm: &AlarmTrack) -> String {
    let until = alarm.cleared.map_or_else(|| "still on".to_owned(), |cleared| format!("to {}", clock(cleared)));
    format!(
        "{} {until:<11}  {:<18} peak {:>5.2}  [{}]",
        clock(alarm.raised),
        series(fleet, alarm),
        alarm.peak,
        truth(fleet, alarm)
    )
}

fn series<'a>(fleet: &'a Fleet, alarm: &AlarmTrack) -> &'a str {
    fleet.assets()[alarm.asset].member.series.as_str()
}

/// What the ground truth says of an alarm.
fn truth(fleet: &Fleet, alarm: &AlarmTrack) -> String {
    let told = |index: usize, time: fn(&Fleet, usize) -> EventTime, word: &str| {
        format!("{} {word} {}", fleet.faults()[index].fault.kind, hour_minute(time(fleet, index)))
    };
    match alarm.verdict {
        Verdict::Fault(index) => told(index, |fleet, index| fleet.faults()[index].fault.start, "since"),
        Verdict::Recovery(index) => told(index, |fleet, index| fleet.faults()[index].fault.end, "until"),
        Verdict::False => "false alarm".to_owned(),
    }
}

/// Evidence in a line: sensors, channels beside what memory expects, and the nearest unit.
pub(super) fn describe(evidence: &Evidence) -> String {
    let mut parts = Vec::new();
    for sensor in &evidence.sensors {
        parts.push(format!("{sensor} is stuck or sends no numbers"));
    }
    let channels = evidence.channels.iter().take(2);
    parts.extend(channels.map(|channel| {
        format!("{} {}, expected {}", channel.channel, value(channel.observed), value(channel.expected))
    }));
    if let Some(nearest) = &evidence.nearest {
        parts.push(format!(
            "nearest unit {} (similarity {:.2}), learned from {} on {}",
            nearest.unit.0,
            nearest.similarity,
            nearest.provenance.series,
            day_clock(nearest.provenance.end)
        ));
    }
    if evidence.unknown_regime {
        parts.push("unknown regime".to_owned());
    }
    parts.join("; ")
}

/// ANSI colors, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }
}
