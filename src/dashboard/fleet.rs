//! The fleet's state: what each asset's newest events say, every alarm, and how the alarms fare against known faults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::text::between;
use crate::domain::alarm::Transition;
use crate::domain::event::{ChannelEvidence, NeighborEvidence, ReasonCode, ScoredEvent};
use crate::domain::record::{EventTime, SeriesKey};

/// An asset that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its series.
    pub series: SeriesKey,
    /// Its asset class, for people.
    pub class: String,
}

/// Ground truth: what really was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFault {
    /// The asset.
    pub series: SeriesKey,
    /// What went wrong, for people.
    pub kind: String,
    /// Onset.
    pub start: EventTime,
    /// From here on it is as bad as it gets.
    pub full: EventTime,
    /// Repair.
    pub end: EventTime,
}

/// What an asset's newest event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There was none yet.
    Waiting,
    /// It was scored, but there is no threshold yet.
    WarmingUp,
    /// As remembered.
    Normal,
    /// Flagged, and no alarm yet.
    Anomaly,
    /// An alarm is on, flagged since then.
    Alarm {
        /// When its first flagged window ended.
        since: EventTime,
    },
}

/// Why a window is unusual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What the channels did and should have done, largest residual first.
    pub channels: Vec<ChannelEvidence>,
    /// The nearest unit.
    pub nearest: Option<NeighborEvidence>,
    /// Channels whose sensors are stuck or send no numbers.
    pub sensors: Vec<Arc<str>>,
    /// Memory has seen nothing like it.
    pub unknown_regime: bool,
}

/// How many channels evidence keeps.
const CHANNELS_KEPT: usize = 3;

impl Evidence {
    /// The event's evidence, if it has any.
    pub fn of(event: &ScoredEvent) -> Option<Self> {
        let coded = |code| event.reasons.iter().filter(move |reason| reason.code == code);
        let sensors: Vec<Arc<str>> =
            coded(ReasonCode::SensorFault).filter_map(|reason| reason.channel.clone()).collect();
        if event.channels.is_empty() && event.neighbors.is_empty() && sensors.is_empty() {
            return None;
        }
        Some(Self {
            channels: event.channels.iter().take(CHANNELS_KEPT).cloned().collect(),
            nearest: event.neighbors.first().cloned(),
            sensors,
            unknown_regime: coded(ReasonCode::UnknownRegime).next().is_some(),
        })
    }
}

/// One asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Asset {
    /// Which.
    pub member: Member,
    /// End of its first window.
    pub first: Option<EventTime>,
    /// End of its newest window.
    pub newest: Option<EventTime>,
    /// Windows scored.
    pub windows: u64,
    /// The newest score.
    pub score: Option<f32>,
    /// The newest threshold.
    pub threshold: Option<f32>,
    /// What the newest event says.
    pub state: State,
    /// The newest evidence of what is wrong now; none while nothing is.
    pub evidence: Option<Evidence>,
    /// The alarm that is on.
    alarm: Option<usize>,
}

/// What an alarm was for, as the ground truth says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was raised during this known fault.
    Fault(usize),
    /// It was raised so shortly after this one that windows and averages still held it.
    Recovery(usize),
    /// Nothing was wrong.
    False,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmTrack {
    /// Index into [`Fleet::assets`].
    pub asset: usize,
    /// Its stable name.
    pub id: String,
    /// When its first flagged window ended.
    pub since: EventTime,
    /// When it was raised.
    pub raised: EventTime,
    /// When it was cleared.
    pub cleared: Option<EventTime>,
    /// Its highest score.
    pub peak: f32,
    /// Why it was raised.
    pub evidence: Evidence,
    /// What it was for.
    pub verdict: Verdict,
}

/// A known fault, and what was seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultTrack {
    /// The fault.
    pub fault: KnownFault,
    /// Index of its asset.
    asset: Option<usize>,
    /// Windows scored from start to end.
    pub windows: u64,
    /// The highest score among them.
    pub peak: Option<f32>,
    /// Flagged windows among them.
    pub flagged: u64,
    /// The longest time that they were flagged without a pause.
    pub flagged_longest: Duration,
    flagged_since: Option<EventTime>,
    /// The channel with the largest residual among them, in units of what is typical of the channel; known of windows with evidence alone.
    pub residual: Option<(Arc<str>, f32)>,
    /// An alarm that was on before it began.
    pub masked_by: Option<usize>,
    /// The alarms raised during it, by index.
    pub alarms: Vec<usize>,
}

/// What an event did to an alarm, by the alarm's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Raised.
    Raised(usize),
    /// Cleared.
    Cleared(usize),
}

/// A fleet.
#[derive(Clone, Debug)]
pub struct Fleet {
    assets: Vec<Asset>,
    by_series: HashMap<SeriesKey, usize>,
    alarms: Vec<AlarmTrack>,
    faults: Vec<FaultTrack>,
    grace: Duration,
    windows: u64,
    repeated: u64,
    strangers: u64,
}

impl Fleet {
    /// A fleet of which nothing was heard yet. Alarms raised within `grace` after a fault's end still count as its own.
    pub fn new(members: Vec<Member>, faults: Vec<KnownFault>, grace: Duration) -> Self {
        let by_series: HashMap<_, _> =
            members.iter().enumerate().map(|(index, member)| (member.series.clone(), index)).collect();
        let asset = |member| Asset {
            member,
            first: None,
            newest: None,
            windows: 0,
            score: None,
            threshold: None,
            state: State::Waiting,
            evidence: None,
            alarm: None,
        };
        let track = |fault: KnownFault| FaultTrack {
            asset: by_series.get(&fault.series).copied(),
            fault,
            windows: 0,
            peak: None,
            flagged: 0,
            flagged_longest: Duration::ZERO,
            flagged_since: None,
            residual: None,
            masked_by: None,
            alarms: Vec::new(),
        };
        Self {
            assets: members.into_iter().map(asset).collect(),
            faults: faults.into_iter().map(track).collect(),
            by_series,
            alarms: Vec::new(),
            grace,
            windows: 0,
            repeated: 0,
            strangers: 0,
        }
    }

    /// Takes an event in, in order a series.
    pub fn take(&mut self, event: &ScoredEvent) -> Option<Turn> {
        let Some(&index) = self.by_series.get(&event.series) else {
            self.strangers += 1;
            return None;
        };
        let asset = &mut self.assets[index];
        if asset.newest.is_some_and(|newest| newest >= event.window_end) {
            self.repeated += 1;
            return None;
        }
        self.windows += 1;
        asset.windows += 1;
        asset.first = asset.first.or(Some(event.window_end));
        asset.newest = Some(event.window_end);
        asset.score = event.score;
        asset.threshold = event.threshold;
        let raised = event.alarm.as_ref().filter(|alarm| alarm.transition != Transition::Cleared);
        asset.state = match (raised, event.anomaly, event.threshold) {
            (Some(alarm), _, _) => State::Alarm { since: alarm.since },
            (None, true, _) => State::Anomaly,
            (None, false, None) => State::WarmingUp,
            (None, false, Some(_)) => State::Normal,
        };
        match asset.state {
            State::Anomaly | State::Alarm { .. } => asset.evidence = Evidence::of(event).or(asset.evidence.take()),
            State::Waiting | State::WarmingUp | State::Normal => asset.evidence = None,
        }
        let before = self.assets[index].alarm;
        let turn = self.follow_alarm(index, event);
        self.watch_faults(index, event, before);
        turn
    }

    /// Opens, follows and closes the alarm that the event belongs to.
    fn follow_alarm(&mut self, index: usize, event: &ScoredEvent) -> Option<Turn> {
        let alarm = event.alarm.as_ref()?;
        let known = self.assets[index].alarm.filter(|&known| self.alarms[known].id == alarm.id);
        let (track, raised) = match known {
            Some(track) => (track, false),
            // Without its first event, as with a tail that begins in the middle, it counts from where it was seen.
            None => {
                let verdict = self.verdict(index, event.window_end);
                self.alarms.push(AlarmTrack {
                    asset: index,
                    id: alarm.id.clone(),
                    since: alarm.since,
                    raised: event.window_end,
                    cleared: None,
                    peak: 0.0,
                    evidence: Evidence::of(event).unwrap_or_default(),
                    verdict,
                });
                let track = self.alarms.len() - 1;
                if let Verdict::Fault(fault) = verdict {
                    self.faults[fault].alarms.push(track);
                }
                (track, true)
            }
        };
        self.alarms[track].peak = event.score.unwrap_or(0.0).max(self.alarms[track].peak);
        self.assets[index].alarm = Some(track);
        if alarm.transition == Transition::Cleared {
            self.alarms[track].cleared = Some(event.window_end);
            self.assets[index].alarm = None;
            return Some(Turn::Cleared(track));
        }
        raised.then_some(Turn::Raised(track))
    }

    /// What an alarm of the asset that is raised at `time` is for.
    fn verdict(&self, index: usize, time: EventTime) -> Verdict {
        let faults = || self.faults.iter().enumerate().filter(|(_, track)| track.asset == Some(index));
        let during = faults().find(|(_, track)| (track.fault.start..=track.fault.end).contains(&time));
        let after =
            || faults().find(|(_, track)| track.fault.end < time && between(track.fault.end, time) <= self.grace);
        match (during, after()) {
            (Some((fault, _)), _) => Verdict::Fault(fault),
            (None, Some((fault, _))) => Verdict::Recovery(fault),
            (None, None) => Verdict::False,
        }
    }

    /// Notes what is seen of the asset's faults; `before` is the alarm that was on before the event.
    fn watch_faults(&mut self, index: usize, event: &ScoredEvent, before: Option<usize>) {
        let end = event.window_end;
        for track in self.faults.iter_mut().filter(|track| track.asset == Some(index)) {
            if !(track.fault.start..=track.fault.end).contains(&end) {
                continue;
            }
            if track.windows == 0 {
                track.masked_by = before.filter(|&alarm| self.alarms[alarm].cleared.is_none());
            }
            track.windows += 1;
            track.peak = event.score.map(|score| score.max(track.peak.unwrap_or(0.0))).or(track.peak);
            if event.anomaly {
                track.flagged += 1;
                let since = *track.flagged_since.get_or_insert(end);
                track.flagged_longest = track.flagged_longest.max(between(since, end));
            } else {
                track.flagged_since = None;
            }
            if let Some(largest) = event.channels.first()
                && track.residual.as_ref().is_none_or(|(_, residual)| largest.residual > *residual)
            {
                track.residual = Some((largest.channel.clone(), largest.residual));
            }
        }
    }

    /// The assets, as they were named.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// Every alarm, in the order in which they were seen.
    pub fn alarms(&self) -> &[AlarmTrack] {
        &self.alarms
    }

    /// The known faults, as they were given.
    pub fn faults(&self) -> &[FaultTrack] {
        &self.faults
    }

    /// Windows scored.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Events that came once more.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Events of series that are no assets of the fleet.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// The event time that every asset has reached; `None` while one has not begun.
    pub fn reached(&self) -> Option<EventTime> {
        self.assets.iter().map(|asset| asset.newest).min().flatten()
    }
}
