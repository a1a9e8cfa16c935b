//! Scored events as Protobuf: `proto/jamais/v1/scored_event.proto`.

use prost::Message;

use super::event::EventError;
use super::wire;
use crate::domain::alarm::Transition;
use crate::domain::event::{
    AlarmEvidence, ChannelEvidence, NeighborEvidence, Reason, ReasonCode, ScoredEvent, SourceRange,
};
use crate::domain::record::{EventTime, SeriesKey};
use crate::domain::unit::{Admission, Provenance, UnitId};

pub(super) fn serialize(event: &ScoredEvent) -> Vec<u8> {
    let message = wire::ScoredEvent {
        id: event.id.clone(),
        series: event.series.as_str().to_owned(),
        window_start_ms: event.window_start.millis(),
        window_end_ms: event.window_end.millis(),
        deviation: event.deviation,
        threshold: event.threshold,
        score: event.score,
        anomaly: event.anomaly,
        alarm: event.alarm.as_ref().map(|alarm| wire::Alarm {
            id: alarm.id.clone(),
            since_ms: alarm.since.millis(),
            transition: transition_to_wire(alarm.transition).into(),
        }),
        channels: event.channels.iter().map(channel_to_wire).collect(),
        neighbors: event.neighbors.iter().map(neighbor_to_wire).collect(),
        model: event.model.to_string(),
        generation: event.generation,
        threshold_version: event.threshold_version.to_string(),
        source: Some(wire::SourceRange {
            topic: event.source.topic.to_string(),
            partition: event.source.partition,
            first_offset: event.source.first_offset,
            last_offset: event.source.last_offset,
        }),
        reasons: event
            .reasons
            .iter()
            .map(|reason| wire::Reason {
                code: code_to_wire(reason.code).into(),
                channel: reason.channel.as_deref().map(str::to_owned),
            })
            .collect(),
    };
    message.encode_to_vec()
}

pub(super) fn deserialize(bytes: &[u8]) -> Result<ScoredEvent, EventError> {
    let message = wire::ScoredEvent::decode(bytes).map_err(EventError::Protobuf)?;
    let source = message.source.ok_or(EventError::MissingField { field: "source" })?;
    Ok(ScoredEvent {
        id: message.id,
        series: SeriesKey::new(&message.series),
        window_start: EventTime::from_millis(message.window_start_ms),
        window_end: EventTime::from_millis(message.window_end_ms),
        deviation: message.deviation,
        threshold: message.threshold,
        score: message.score,
        anomaly: message.anomaly,
        alarm: message.alarm.map(alarm_of_wire).transpose()?,
        channels: message.channels.into_iter().map(channel_of_wire).collect(),
        neighbors: message.neighbors.into_iter().map(neighbor_of_wire).collect::<Result<_, _>>()?,
        model: message.model.into(),
        generation: message.generation,
        threshold_version: message.threshold_version.into(),
        source: SourceRange {
            topic: source.topic.into(),
            partition: source.partition,
            first_offset: source.first_offset,
            last_offset: source.last_offset,
        },
        reasons: message.reasons.into_iter().map(reason_of_wire).collect::<Result<_, _>>()?,
    })
}

fn unknown(field: &'static str, number: i32) -> EventError {
    EventError::UnknownNumber { field, number }
}

fn transition_to_wire(transition: Transition) -> wire::Transition {
    match transition {
        Transition::Raised => wire::Transition::Raised,
        Transition::Held => wire::Transition::Held,
        Transition::Cleared => wire::Transition::Cleared,
    }
}

fn alarm_of_wire(alarm: wire::Alarm) -> Result<AlarmEvidence, EventError> {
    let transition = match wire::Transition::try_from(alarm.transition) {
        Ok(wire::Transition::Raised) => Transition::Raised,
        Ok(wire::Transition::Held) => Transition::Held,
        Ok(wire::Transition::Cleared) => Transition::Cleared,
        Ok(wire::Transition::Unspecified) | Err(_) => return Err(unknown("alarm.transition", alarm.transition)),
    };
    Ok(AlarmEvidence { id: alarm.id, since: EventTime::from_millis(alarm.since_ms), transition })
}

fn channel_to_wire(evidence: &ChannelEvidence) -> wire::Channel {
    wire::Channel {
        channel: evidence.channel.to_string(),
        observed: evidence.observed,
        expected: evidence.expected,
        residual: evidence.residual,
    }
}

fn channel_of_wire(channel: wire::Channel) -> ChannelEvidence {
    ChannelEvidence {
        channel: channel.channel.into(),
        observed: channel.observed,
        expected: channel.expected,
        residual: channel.residual,
    }
}

fn neighbor_to_wire(evidence: &NeighborEvidence) -> wire::Neighbor {
    let provenance = &evidence.provenance;
    let admitted = match provenance.admitted {
        Admission::Prefill => wire::Admission::Prefill,
    };
    wire::Neighbor {
        unit: evidence.unit.0,
        distance: evidence.distance,
        similarity: evidence.similarity,
        weight: evidence.weight,
        provenance: Some(wire::Provenance {
            series: provenance.series.as_str().to_owned(),
            start_ms: provenance.start.millis(),
            end_ms: provenance.end.millis(),
            source: provenance.source.clone(),
            first_offset: provenance.offsets.0,
            last_offset: provenance.offsets.1,
            admitted: admitted.into(),
        }),
    }
}

fn neighbor_of_wire(neighbor: wire::Neighbor) -> Result<NeighborEvidence, EventError> {
    let provenance = neighbor.provenance.ok_or(EventError::MissingField { field: "neighbors.provenance" })?;
    let admitted = match wire::Admission::try_from(provenance.admitted) {
        Ok(wire::Admission::Prefill) => Admission::Prefill,
        Ok(wire::Admission::Unspecified) | Err(_) => {
            return Err(unknown("neighbors.provenance.admitted", provenance.admitted));
        }
    };
    Ok(NeighborEvidence {
        unit: UnitId(neighbor.unit),
        distance: neighbor.distance,
        similarity: neighbor.similarity,
        weight: neighbor.weight,
        provenance: Provenance {
            series: SeriesKey::new(&provenance.series),
            start: EventTime::from_millis(provenance.start_ms),
            end: EventTime::from_millis(provenance.end_ms),
            source: provenance.source,
            offsets: (provenance.first_offset, provenance.last_offset),
            admitted,
        },
    })
}

fn code_to_wire(code: ReasonCode) -> wire::ReasonCode {
    match code {
        ReasonCode::WarmingUp => wire::ReasonCode::WarmingUp,
        ReasonCode::GapFilled => wire::ReasonCode::GapFilled,
        ReasonCode::Late => wire::ReasonCode::Late,
        ReasonCode::SensorFault => wire::ReasonCode::SensorFault,
        ReasonCode::ChannelMissing => wire::ReasonCode::ChannelMissing,
        ReasonCode::UnknownRegime => wire::ReasonCode::UnknownRegime,
    }
}

fn reason_of_wire(reason: wire::Reason) -> Result<Reason, EventError> {
    let code = match wire::ReasonCode::try_from(reason.code) {
        Ok(wire::ReasonCode::WarmingUp) => ReasonCode::WarmingUp,
        Ok(wire::ReasonCode::GapFilled) => ReasonCode::GapFilled,
        Ok(wire::ReasonCode::Late) => ReasonCode::Late,
        Ok(wire::ReasonCode::SensorFault) => ReasonCode::SensorFault,
        Ok(wire::ReasonCode::ChannelMissing) => ReasonCode::ChannelMissing,
        Ok(wire::ReasonCode::UnknownRegime) => ReasonCode::UnknownRegime,
        Ok(wire::ReasonCode::Unspecified) | Err(_) => return Err(unknown("reasons.code", reason.code)),
    };
    Ok(Reason { code, channel: reason.channel.map(Into::into) })
}
