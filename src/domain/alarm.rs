//! `alarm`: turns flagged windows into alarms that an operator can live with: an alarm is raised once flags have lasted
//! for a minimum duration, and cleared once scores have stayed below a lower bound for the clear delay.
//!
//! It counts event time, never wall-clock time, and knows nothing of who is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::align::millis;
use super::record::EventTime;

/// When alarms are raised and cleared.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmSettings {
    /// How long flags must last before an alarm is raised; zero raises it at the first.
    pub raise_after: Duration,
    /// Scores below this clear the alarm; at most 1, the score at which windows are flagged (hysteresis).
    pub clear_below: f32,
    /// How long scores must stay below `clear_below`.
    pub clear_after: Duration,
}

/// What a window did to its series' alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// The alarm begins with this window.
    Raised,
    /// It goes on.
    Held,
    /// It ends with this window.
    Cleared,
}

/// The alarm that a window belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Event time at which the flags that led to it began: names the alarm within its series.
    pub since: EventTime,
    /// What this window did to it.
    pub transition: Transition,
}

/// A series' alarm state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmState {
    /// Nothing is wrong.
    #[default]
    Quiet,
    /// Flagged, not yet for long enough.
    Pending {
        /// End of the first flagged window.
        since: EventTime,
    },
    /// An alarm is on.
    Raised {
        /// End of the first flagged window.
        since: EventTime,
        /// End of the first window below the clear bound, of a run that still lasts.
        below_since: Option<EventTime>,
    },
}

impl AlarmState {
    /// Takes the window that ends at `end` in; `score` is NaN where the window could not be scored: it then neither
    /// raises nor clears.
    pub fn step(&mut self, settings: &AlarmSettings, end: EventTime, flagged: bool, score: f32) -> Option<Alarm> {
        let (state, alarm) = self.next(settings, end, flagged, score);
        *self = state;
        alarm
    }

    /// A gap in the series: what came before it says nothing of how long flags, or low scores, have lasted.
    pub fn interrupt(&mut self) {
        match self {
            Self::Quiet => {}
            Self::Pending { .. } => *self = Self::Quiet,
            Self::Raised { below_since, .. } => *below_since = None,
        }
    }

    fn next(&self, settings: &AlarmSettings, end: EventTime, flagged: bool, score: f32) -> (Self, Option<Alarm>) {
        let lasted = |since: EventTime, bound: Duration| end.millis() - since.millis() >= millis(bound);
        match *self {
            Self::Quiet | Self::Pending { .. } if flagged => {
                let since = if let Self::Pending { since } = *self { since } else { end };
                if lasted(since, settings.raise_after) {
                    (Self::Raised { since, below_since: None }, Some(Alarm { since, transition: Transition::Raised }))
                } else {
                    (Self::Pending { since }, None)
                }
            }
            Self::Pending { since } if score.is_nan() => (Self::Pending { since }, None),
            Self::Quiet | Self::Pending { .. } => (Self::Quiet, None),
            Self::Raised { since, below_since } => {
                let below_since = if flagged || score >= settings.clear_below {
                    None
                } else if score.is_nan() {
                    below_since
                } else {
                    below_since.or(Some(end))
                };
                let cleared = !score.is_nan() && below_since.is_some_and(|below| lasted(below, settings.clear_after));
                if cleared {
                    (Self::Quiet, Some(Alarm { since, transition: Transition::Cleared }))
                } else {
                    (Self::Raised { since, below_since }, Some(Alarm { since, transition: Transition::Held }))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character a second: scores in tenths (`x` is 1.5, `?` is NaN), `|` a gap before the next, to transitions (`R`, `h`,
    /// `C`, `.` none).
    fn check(scores: &str, expected: &str) {
        let settings = AlarmSettings {
            raise_after: Duration::from_secs(2),
            clear_below: 0.8,
            clear_after: Duration::from_secs(2),
        };
        let mut state = AlarmState::default();
        let trace: String = (0..)
            .zip(scores.chars())
            .filter_map(|(second, character)| {
                let score = match character {
                    '|' => {
                        state.interrupt();
                        return None;
                    }
                    'x' => 1.5,
                    '?' => f32::NAN,
                    digit => f32::from(u8::try_from(digit.to_digit(10).unwrap()).unwrap()) / 10.0,
                };
                let end = EventTime::from_millis(second * 1000);
                Some(match state.step(&settings, end, score > 1.0, score).map(|alarm| alarm.transition) {
                    None => '.',
                    Some(Transition::Raised) => 'R',
                    Some(Transition::Held) => 'h',
                    Some(Transition::Cleared) => 'C',
                })
            })
            .collect();
        assert_eq!(trace, expected, "for {scores}");
    }

    #[test]
    fn flags_must_last_before_an_alarm_is_raised() {
        check("xx5xx5", "......");
        check("xxxx", "..Rh");
    }

    #[test]
    fn an_alarm_is_cleared_only_after_scores_stay_below_the_lower_bound() {
        check("xxx555x5555", "..RhhC.....");
        check("xxx599955555", "..RhhhhhhC..");
    }

    #[test]
    fn a_gap_is_no_evidence_of_anything() {
        check("xx|xxx", "....R");
        check("xxx55|555", "..RhhhhC");
    }

    #[test]
    fn a_window_without_a_score_neither_raises_nor_clears() {
        check("xx?x", "...R");
        check("xxx5??5", "..RhhhC");
    }
}
