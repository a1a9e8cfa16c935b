//! `rdkafka`: input, output and state topics on Kafka. At least once: events are acknowledged by all in-sync replicas
//! before the offsets that led to them are committed.

mod mock;
mod sink;
mod source;
mod state;
mod tail;
mod topics;

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

pub use mock::MockBroker;
pub use sink::KafkaSink;
pub use source::{KafkaSource, RangeSource};
pub use state::KafkaStateStore;
pub use tail::{Tailed, TopicFeed, TopicTail, create_topics, delete_topics};
pub use topics::{TopicPlan, prepare_topics};

use crate::adapters::clock::SystemClock;
use crate::config::KafkaConfig;
use crate::ports::{Clock, Disposition, PortError};

/// Reads to the end of partitions: an end is no error to be logged.
struct ToTheEnd;

impl ClientContext for ToTheEnd {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "Kafka client");
        }
    }
}

impl ConsumerContext for ToTheEnd {}

/// What a read towards the end meets.
enum Met<'a> {
    Record(BorrowedMessage<'a>),
    /// The end of this partition, as it is now.
    End(i32),
}

/// The next record, or end of a partition, of a consumer that reads to the end; waits out what may pass, for [`ANSWER`]. A
/// failed connection may be of days ago, since nobody polls such a consumer between two reads. What has not passed by then
/// may be tried again as a whole.
fn next_or_end<'a>(consumer: &'a BaseConsumer<ToTheEnd>, what: &str) -> Result<Met<'a>, PortError> {
    let clock = SystemClock::new();
    loop {
        let error = match consumer.poll(PATIENCE) {
            Some(Ok(message)) => return Ok(Met::Record(message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => return Ok(Met::End(partition)),
            Some(Err(error)) => failed(format!("cannot read {what}"), error),
            None => PortError {
                disposition: Disposition::Retry,
                ..PortError::fatal(format!("{what} gave nothing for {} s; is the broker up?", ANSWER.as_secs()))
            },
        };
        if error.disposition == Disposition::Fatal || clock.now() >= ANSWER {
            return Err(error);
        }
        tracing::debug!(error = &error as &dyn std::error::Error, "waiting");
    }
}

/// How long a broker has to answer a request outside the stream.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);
/// How long one poll outside the stream waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long deliveries may take before they have failed.
const DELIVERY: Duration = Duration::from_secs(120);

/// What every client has in common.
fn client(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers).set("client.id", "jamais").set("log.connection.close", "false");
    client
}

/// The user's properties win over ours.
fn with_properties(mut client: ClientConfig, config: &KafkaConfig) -> ClientConfig {
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client
}

/// What every producer has in common; the user's own properties come on top.
fn producer(config: &KafkaConfig) -> ClientConfig {
    let mut producer = client(config);
    producer
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.kbytes", "65536")
        .set("delivery.timeout.ms", DELIVERY.as_millis().to_string());
    producer
}

/// The largest record of the state topic. A series' state holds its threshold history and the readings that alignment holds
/// back: 17 kB with the default settings.
const STATE_BYTES_MAX: &str = "8388608";

/// Maps Kafka's errors to what is to be done about them: the only place that does.
pub(crate) fn failed(what: impl Into<String>, error: KafkaError) -> PortError {
    let disposition = match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::NotCoordinator
            | RDKafkaErrorCode::NotEnoughReplicas
            | RDKafkaErrorCode::NotEnoughReplicasAfterAppend
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::PollExceeded
            | RDKafkaErrorCode::PreviousInProgress
            | RDKafkaErrorCode::QueueFull
            | RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::WaitingForCoordinator,
        ) => Disposition::Retry,
        _ => Disposition::Fatal,
    };
    PortError { what: what.into(), disposition, source: Some(Box::new(error)) }
}
