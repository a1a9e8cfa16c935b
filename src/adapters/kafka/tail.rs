//! What stands at either end of the service: a producer that feeds the input topics, and a reader that follows the
//! output topics from their beginning, without a group.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::BaseRecord;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::sink::Outbox;
use super::topics::new_topic;
use super::{ANSWER, client, failed, with_properties};
use crate::adapters::clock::SystemClock;
use crate::config::KafkaConfig;
use crate::ports::{Clock, Disposition, PortError};

/// Feeds input topics.
pub struct TopicFeed(Outbox);

impl TopicFeed {
    /// A feed with a producer of its own.
    ///
    /// # Errors
    /// If librdkafka refuses the properties.
    pub fn new(config: &KafkaConfig) -> Result<Self, PortError> {
        Outbox::new(config).map(Self)
    }

    /// Takes a record on; waits while the producer's queue is full. The record's timestamp is the time of this call.
    ///
    /// # Errors
    /// If a delivery has failed before, or the broker refuses the topic.
    pub fn send(&self, topic: &str, key: Option<&[u8]>, value: &[u8]) -> Result<(), PortError> {
        let mut record = BaseRecord::to(topic).payload(value);
        record.key = key;
        self.0.send(record)
    }

    /// How many records are not yet acknowledged; serves their acknowledgements.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    /// Returns once every record is acknowledged.
    ///
    /// # Errors
    /// If one was not.
    pub fn flush(&self) -> Result<(), PortError> {
        self.0.flush()
    }
}

/// What a tail has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tailed {
    /// A scored event, in bytes.
    Score(Vec<u8>),
    /// A dead letter of this kind.
    DeadLetter(String),
}

/// Follows the output and the dead-letter topic.
pub struct TopicTail {
    consumer: BaseConsumer,
    output_topic: String,
}

impl TopicTail {
    /// Begins at the beginning of both topics.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn new(config: &KafkaConfig) -> Result<Self, PortError> {
        let mut consumer = client(config);
        consumer
            .set("group.id", format!("{}.tail", config.group))
            .set("enable.auto.commit", "false")
            // What retention removed before it was read is a loss that must show.
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50");
        let consumer: BaseConsumer = with_properties(consumer, config)
            .create()
            .map_err(|error| failed("the Kafka consumer cannot be set up; correct kafka.properties", error))?;
        let mut list = TopicPartitionList::new();
        for topic in [&config.output_topic, &config.dead_letter_topic] {
            let cannot = |error| failed(format!("cannot read the topic {topic} at {}", config.brokers), error);
            let metadata = consumer.fetch_metadata(Some(topic), ANSWER).map_err(cannot)?;
            for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
                list.add_partition_offset(topic, partition.id(), Offset::Beginning).map_err(cannot)?;
            }
        }
        consumer.assign(&list).map_err(|error| failed("the assignment was refused", error))?;
        Ok(Self { consumer, output_topic: config.output_topic.clone() })
    }

    /// Waits for at most `timeout` for at most `max` records; what may be tried again counts as none.
    ///
    /// # Errors
    /// If the topics cannot be read any more, or retention has overtaken the tail.
    pub fn poll(&self, max: usize, timeout: Duration) -> Result<Vec<Tailed>, PortError> {
        let mut read = Vec::new();
        let mut timeout = timeout;
        while read.len() < max {
            match self.consumer.poll(timeout) {
                Some(Ok(message)) if message.topic() == self.output_topic => {
                    read.push(Tailed::Score(message.payload().unwrap_or_default().to_vec()));
                }
                Some(Ok(message)) => {
                    let headers = message.headers().into_iter().flat_map(Headers::iter);
                    let kind = headers.filter(|header| header.key == "jamais.kind").find_map(|header| header.value);
                    read.push(Tailed::DeadLetter(String::from_utf8_lossy(kind.unwrap_or_default()).into_owned()));
                }
                Some(Err(error)) => {
                    let error = failed("cannot read the output topics", error);
                    if error.disposition == Disposition::Fatal {
                        return Err(error);
                    }
                }
                None => break,
            }
            timeout = Duration::ZERO;
        }
        Ok(read)
    }
}

/// Creates topics, (name, partitions, compacted), and waits until they can be used. Their timestamps are those of the
/// broker.
///
/// # Errors
/// If one exists already or cannot be created.
pub async fn create_topics(config: &KafkaConfig, topics: &[(&str, i32, bool)]) -> Result<(), PortError> {
    let client = admin(config)?;
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|(topic, partitions, compacted)| {
            new_topic(topic, *partitions, *compacted).set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    let cannot = |error| {
        failed(format!("topics cannot be created at {}; is that a Kafka broker, and may you?", config.brokers), error)
    };
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    for result in client.create_topics(&new, &options).await.map_err(cannot)? {
        if let Err((topic, code)) = result {
            return Err(failed(format!("the topic {topic} cannot be created"), KafkaError::AdminOp(code)));
        }
    }
    // A broker answers before its own metadata knows of the topics.
    let clock = SystemClock::new();
    while clock.now() < ANSWER {
        let metadata = client.inner().fetch_metadata(None, ANSWER).map_err(cannot)?;
        let known = |(topic, partitions, _): &(&str, i32, bool)| {
            let found = metadata.topics().iter().find(|found| found.name() == *topic);
            found.is_some_and(|found| {
                i32::try_from(found.partitions().len()).is_ok_and(|count| count == *partitions)
                    && found.partitions().iter().all(|partition| partition.leader() >= 0)
            })
        };
        if topics.iter().all(known) {
            return Ok(());
        }
    }
    Err(PortError::fatal(format!(
        "topics that were created do not appear at {}; is the broker overloaded?",
        config.brokers
    )))
}

/// Deletes topics; those that are not there are no error.
///
/// # Errors
/// If one cannot be deleted.
pub async fn delete_topics(config: &KafkaConfig, topics: &[&str]) -> Result<(), PortError> {
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    let results = admin(config)?
        .delete_topics(topics, &options)
        .await
        .map_err(|error| failed(format!("topics cannot be deleted at {}", config.brokers), error))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, code)) => {
                return Err(failed(format!("the topic {topic} cannot be deleted"), KafkaError::AdminOp(code)));
            }
        }
    }
    Ok(())
}

fn admin(config: &KafkaConfig) -> Result<AdminClient<DefaultClientContext>, PortError> {
    with_properties(client(config), config)
        .create()
        .map_err(|error| failed("the Kafka client cannot be set up; correct kafka.properties", error))
}
