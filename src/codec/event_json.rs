//! Scored events as JSON. The names are an interface: none changes or goes, new ones may come.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::event::EventError;
use super::time::{TimeFormat, rfc3339};
use crate::domain::alarm::Transition;
use crate::domain::event::{
    AlarmEvidence, ChannelEvidence, NeighborEvidence, Reason, ReasonCode, ScoredEvent, SourceRange,
};
use crate::domain::record::{EventTime, SeriesKey};
use crate::domain::unit::{Admission, Provenance, UnitId};

pub(super) fn serialize(event: &ScoredEvent) -> Vec<u8> {
    serde_json::to_vec(&EventJson::of(event)).expect("texts and numbers under names are always JSON")
}

pub(super) fn deserialize(bytes: &[u8]) -> Result<ScoredEvent, EventError> {
    let json: EventJson<'_> = serde_json::from_slice(bytes).map_err(EventError::Json)?;
    Ok(json.into_event())
}

#[derive(Serialize, Deserialize)]
struct EventJson<'a> {
    id: Cow<'a, str>,
    series: Cow<'a, str>,
    window_start: TimeJson,
    window_end: TimeJson,
    deviation: Option<f32>,
    threshold: Option<f32>,
    score: Option<f32>,
    anomaly: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm: Option<AlarmJson<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    channels: Vec<ChannelJson<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    neighbors: Vec<NeighborJson<'a>>,
    model: Cow<'a, str>,
    generation: u64,
    threshold_version: Cow<'a, str>,
    source: SourceJson<'a>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<ReasonJson<'a>>,
}

#[derive(Serialize, Deserialize)]
struct AlarmJson<'a> {
    id: Cow<'a, str>,
    since: TimeJson,
    transition: Transition,
}

#[derive(Serialize, Deserialize)]
struct ChannelJson<'a> {
    channel: Cow<'a, str>,
    #[serde(deserialize_with = "nan_if_null")]
    observed: f64,
    #[serde(deserialize_with = "nan_if_null")]
    expected: f64,
    #[serde(deserialize_with = "nan_if_null")]
    residual: f32,
}

#[derive(Serialize, Deserialize)]
struct NeighborJson<'a> {
    unit: u64,
    #[serde(deserialize_with = "nan_if_null")]
    distance: f32,
    #[serde(deserialize_with = "nan_if_null")]
    similarity: f32,
    #[serde(deserialize_with = "nan_if_null")]
    weight: f32,
    provenance: ProvenanceJson<'a>,
}

#[derive(Serialize, Deserialize)]
struct ProvenanceJson<'a> {
    series: Cow<'a, str>,
    start: TimeJson,
    end: TimeJson,
    source: Cow<'a, str>,
    first_offset: i64,
    last_offset: i64,
    admitted: Admission,
}

#[derive(Serialize, Deserialize)]
struct SourceJson<'a> {
    topic: Cow<'a, str>,
    partition: i32,
    first_offset: i64,
    last_offset: i64,
}

#[derive(Serialize, Deserialize)]
struct ReasonJson<'a> {
    code: ReasonCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<Cow<'a, str>>,
}

/// RFC 3339; a time that the calendar has no name for is a number, in ms, so that an event can always be written.
struct TimeJson(EventTime);

impl Serialize for TimeJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match rfc3339(self.0) {
            Some(text) => serializer.serialize_str(&text),
            None => serializer.serialize_i64(self.0.millis()),
        }
    }
}

impl<'de> Deserialize<'de> for TimeJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a time as RFC 3339, or in ms since the Unix epoch")]
        enum Written<'a> {
            Millis(i64),
            Text(Cow<'a, str>),
        }
        match Written::deserialize(deserializer)? {
            Written::Millis(millis) => Ok(Self(EventTime::from_millis(millis))),
            Written::Text(text) => TimeFormat::Rfc3339.read_text(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

fn nan_if_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + From<f32>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_else(|| T::from(f32::NAN)))
}

impl<'a> EventJson<'a> {
    fn of(event: &'a ScoredEvent) -> Self {
        Self {
            id: Cow::Borrowed(&event.id),
            series: Cow::Borrowed(event.series.as_str()),
            window_start: TimeJson(event.window_start),
            window_end: TimeJson(event.window_end),
            deviation: event.deviation,
            threshold: event.threshold,
            score: event.score,
            anomaly: event.anomaly,
            alarm: event.alarm.as_ref().map(|alarm| AlarmJson {
                id: Cow::Borrowed(&alarm.id),
                since: TimeJson(alarm.since),
                transition: alarm.transition,
            }),
            channels: event.channels.iter().map(ChannelJson::of).collect(),
            neighbors: event.neighbors.iter().map(NeighborJson::of).collect(),
            model: Cow::Borrowed(&event.model),
            generation: event.generation,
            threshold_version: Cow::Borrowed(&event.threshold_version),
            source: SourceJson {
                topic: Cow::Borrowed(&event.source.topic),
                partition: event.source.partition,
                first_offset: event.source.first_offset,
                last_offset: event.source.last_offset,
            },
            reasons: event
                .reasons
                .iter()
                .map(|reason| ReasonJson { code: reason.code, channel: reason.channel.as_deref().map(Cow::Borrowed) })
                .collect(),
        }
    }

    fn into_event(self) -> ScoredEvent {
        ScoredEvent {
            id: self.id.into_owned(),
            series: SeriesKey::new(&self.series),
            window_start: self.window_start.0,
            window_end: self.window_end.0,
            deviation: self.deviation,
            threshold: self.threshold,
            score: self.score,
            anomaly: self.anomaly,
            alarm: self.alarm.map(|alarm| AlarmEvidence {
                id: alarm.id.into_owned(),
                since: alarm.since.0,
                transition: alarm.transition,
            }),
            channels: self.channels.into_iter().map(ChannelJson::into_evidence).collect(),
            neighbors: self.neighbors.into_iter().map(NeighborJson::into_evidence).collect(),
            model: self.model.into(),
            generation: self.generation,
            threshold_version: self.threshold_version.into(),
            source: SourceRange {
                topic: self.source.topic.into(),
                partition: self.source.partition,
                first_offset: self.source.first_offset,
                last_offset: self.source.last_offset,
            },
            reasons: self
                .reasons
                .into_iter()
                .map(|reason| Reason { code: reason.code, channel: reason.channel.map(Into::into) })
                .collect(),
        }
    }
}

impl<'a> ChannelJson<'a> {
    fn of(evidence: &'a ChannelEvidence) -> Self {
        Self {
            channel: Cow::Borrowed(&evidence.channel),
            observed: evidence.observed,
            expected: evidence.expected,
            residual: evidence.residual,
        }
    }

    fn into_evidence(self) -> ChannelEvidence {
        ChannelEvidence {
            channel: self.channel.into(),
            observed: self.observed,
            expected: self.expected,
            residual: self.residual,
        }
    }
}

impl<'a> NeighborJson<'a> {
    fn of(evidence: &'a NeighborEvidence) -> Self {
        let provenance = &evidence.provenance;
        Self {
            unit: evidence.unit.0,
            distance: evidence.distance,
            similarity: evidence.similarity,
            weight: evidence.weight,
            provenance: ProvenanceJson {
                series: Cow::Borrowed(provenance.series.as_str()),
                start: TimeJson(provenance.start),
                end: TimeJson(provenance.end),
                source: Cow::Borrowed(&provenance.source),
                first_offset: provenance.offsets.0,
                last_offset: provenance.offsets.1,
                admitted: provenance.admitted,
            },
        }
    }

    fn into_evidence(self) -> NeighborEvidence {
        let provenance = self.provenance;
        NeighborEvidence {
            unit: UnitId(self.unit),
            distance: self.distance,
            similarity: self.similarity,
            weight: self.weight,
            provenance: Provenance {
                series: SeriesKey::new(&provenance.series),
                start: provenance.start.0,
                end: provenance.end.0,
                source: provenance.source.into_owned(),
                offsets: (provenance.first_offset, provenance.last_offset),
                admitted: provenance.admitted,
            },
        }
    }
}
