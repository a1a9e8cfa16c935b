//! The input: a member of a consumer group, and a bounded range for cold starts.
//!
//! Laws of the member:
//! 1. A rebalance is not answered in librdkafka's callback but handed to the runtime, which first restores or drains:
//!    until it has called `begin` or `release`, the assignment stays as it was.
//! 2. Offsets are committed by the runtime alone: last processed + 1.
//! 3. Every rebalance is answered, at the latest when the consumer is closed: librdkafka waits for it.
//! 4. No error is passed over, since librdkafka tells some only once and then reads no further: one that comes behind
//!    records is given by the next poll.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::{ANSWER, Met, ToTheEnd, client, failed, next_or_end, with_properties};
use crate::config::KafkaConfig;
use crate::domain::record::{EventTime, NextOffset, Payload, Position, Record};
use crate::ports::{PartitionId, Polled, PortError, Source};

/// A rebalance that waits for the runtime.
enum Change {
    Assigned(TopicPartitionList),
    Revoked(TopicPartitionList, bool),
}

/// Hands rebalances over.
#[derive(Default)]
struct Rebalances {
    /// In order; the first one stays until the runtime has answered it.
    waiting: Mutex<VecDeque<Change>>,
    /// The consumer is being closed: nobody will answer any more, and closing waits for an answer.
    closing: AtomicBool,
}

impl Rebalances {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Change>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            answer(consumer, list, error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
            return;
        }
        let change = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assigned(list.clone()),
            // Anything else takes partitions away; errors do so without a chance to commit.
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                Change::Revoked(list.clone(), consumer.assignment_lost())
            }
            _ => Change::Revoked(list.clone(), true),
        };
        self.lock().push_back(change);
    }
}

/// Answers a rebalance at once, while closing.
fn answer(consumer: &BaseConsumer<Rebalances>, list: &TopicPartitionList, assigned: bool) {
    let done = if assigned { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
    if let Err(error) = done {
        tracing::debug!(%error, "a rebalance while closing");
    }
}

/// A member of the consumer group.
pub struct KafkaSource {
    consumer: BaseConsumer<Rebalances>,
    topics: Topics,
    paused: bool,
    /// What came behind the records of the last poll.
    failed: Option<PortError>,
}

/// One shared name a topic, so that positions are cheap.
#[derive(Default)]
struct Topics(HashMap<String, Arc<str>>);

impl Topics {
    fn name(&mut self, topic: &str) -> Arc<str> {
        match self.0.get(topic) {
            Some(name) => name.clone(),
            None => self.0.entry(topic.to_owned()).or_insert_with(|| topic.into()).clone(),
        }
    }

    fn record(&mut self, message: &BorrowedMessage<'_>) -> Record {
        Record {
            position: Position {
                topic: self.name(message.topic()),
                partition: message.partition(),
                offset: message.offset(),
            },
            key: message.key().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis().map(EventTime::from_millis),
            payload: Payload::Serialized(message.payload().unwrap_or_default().to_vec()),
        }
    }

    fn ids(&mut self, list: &TopicPartitionList) -> Vec<PartitionId> {
        let mut ids: Vec<_> =
            list.elements().iter().map(|element| (self.name(element.topic()), element.partition())).collect();
        ids.sort();
        ids
    }
}

impl KafkaSource {
    /// Joins the group and subscribes to the input topics.
    ///
    /// # Errors
    /// If librdkafka refuses the properties.
    pub fn new(config: &KafkaConfig) -> Result<Self, PortError> {
        let mut consumer = client(config);
        consumer
            .set("group.id", &config.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", "16384");
        let consumer: BaseConsumer<Rebalances> = with_properties(consumer, config)
            .create_with_context(Rebalances::default())
            .map_err(|error| failed("the Kafka consumer cannot be set up; correct kafka.properties", error))?;
        let topics: Vec<&str> = config.input_topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| failed(format!("cannot subscribe to {topics:?}"), error))?;
        Ok(Self { consumer, topics: Topics::default(), paused: false, failed: None })
    }

    fn change(&mut self) -> Option<Polled> {
        Some(match self.consumer.context().lock().front()? {
            Change::Assigned(list) => Polled::Assigned(self.topics.ids(list)),
            Change::Revoked(list, false) => Polled::Revoked(self.topics.ids(list)),
            Change::Revoked(list, true) => Polled::Lost(self.topics.ids(list)),
        })
    }
}

fn list_of<'a>(partitions: impl IntoIterator<Item = &'a PartitionId>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

impl Drop for KafkaSource {
    /// Lets the consumer leave the group: closing it revokes what it still holds, which the runtime has drained by now.
    fn drop(&mut self) {
        let rebalances = self.consumer.context();
        rebalances.closing.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *rebalances.lock());
        for change in &waiting {
            match change {
                Change::Assigned(list) => answer(&self.consumer, list, true),
                Change::Revoked(list, _) => answer(&self.consumer, list, false),
            }
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Polled, PortError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut records = Vec::new();
        let mut timeout = timeout;
        while records.len() < max {
            // Records first: those that were fetched before a rebalance belong before its drain.
            match self.consumer.poll(timeout) {
                Some(Ok(message)) => records.push(self.topics.record(&message)),
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition))) => {
                    return Err(PortError::fatal(
                        "an input topic was deleted while it was read; restart with kafka.input_topics",
                    ));
                }
                Some(Err(error)) => {
                    let error = failed("cannot read the input topics", error);
                    if records.is_empty() {
                        return Err(error);
                    }
                    self.failed = Some(error);
                    break;
                }
                None => break,
            }
            timeout = Duration::ZERO;
        }
        if records.is_empty()
            && let Some(change) = self.change()
        {
            return Ok(change);
        }
        Ok(Polled::Records(records))
    }

    fn begin(&mut self, partitions: &[(PartitionId, Option<NextOffset>)]) -> Result<(), PortError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), start) in partitions {
            let offset = match start {
                None => Offset::Beginning,
                Some(next) => {
                    let (low, high) = self
                        .consumer
                        .fetch_watermarks(topic, *partition, ANSWER)
                        .map_err(|error| failed(format!("cannot ask for the offsets of {topic}-{partition}"), error))?;
                    if !(low..=high).contains(&next.offset()) {
                        return Err(PortError::fatal(format!(
                            "{topic}-{partition} is to be read from offset {}, but holds {low} to {high}: retention has \
                             removed it, or the topic was recreated; lengthen retention, or begin anew with a new \
                             kafka.group",
                            next.offset()
                        )));
                    }
                    Offset::Offset(next.offset())
                }
            };
            list.add_partition_offset(topic, *partition, offset)
                .map_err(|error| failed(format!("{topic}-{partition} cannot be assigned"), error))?;
        }
        self.consumer.incremental_assign(&list).map_err(|error| failed("the assignment was refused", error))?;
        self.consumer.context().lock().pop_front();
        // A partition that was paused when it was given up would else come back paused.
        let done = if self.paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        done.map_err(|error| failed("fetching cannot be paused or resumed", error))
    }

    fn release(&mut self, partitions: &[PartitionId]) -> Result<(), PortError> {
        self.consumer.context().lock().pop_front();
        self.consumer
            .incremental_unassign(&list_of(partitions))
            .map_err(|error| failed("partitions cannot be given up", error))
    }

    fn committed(&mut self, (topic, partition): &PartitionId) -> Result<Option<NextOffset>, PortError> {
        let list = list_of([&(topic.clone(), *partition)]);
        let committed = self
            .consumer
            .committed_offsets(list, ANSWER)
            .map_err(|error| failed(format!("cannot ask for the committed offset of {topic}-{partition}"), error))?;
        Ok(committed.elements().first().and_then(|element| match element.offset() {
            // NextOffset is last processed + 1, so it is made from the record before it.
            Offset::Offset(next) => {
                Some(Position { topic: topic.clone(), partition: *partition, offset: next - 1 }.next())
            }
            _ => None,
        }))
    }

    fn commit(&mut self, next_offsets: &[NextOffset]) -> Result<(), PortError> {
        let mut list = TopicPartitionList::new();
        for next in next_offsets {
            list.add_partition_offset(next.topic(), next.partition(), Offset::Offset(next.offset()))
                .map_err(|error| failed(format!("{}-{} cannot be committed", next.topic(), next.partition()), error))?;
        }
        match self.consumer.commit(&list, CommitMode::Sync) {
            // The group has moved on: whoever has the partition now commits for it.
            Err(KafkaError::ConsumerCommit(
                code @ (RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::AssignmentLost),
            )) => {
                tracing::warn!(%code, "offsets were not committed: the partitions are no longer ours");
                Ok(())
            }
            other => other.map_err(|error| failed("offsets cannot be committed", error)),
        }
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), PortError> {
        self.paused = paused;
        let assignment = self.consumer.assignment().map_err(|error| failed("the assignment is unknown", error))?;
        let done = if paused { self.consumer.pause(&assignment) } else { self.consumer.resume(&assignment) };
        done.map_err(|error| failed("fetching cannot be paused or resumed", error))
    }
}

/// A topic's partitions, each with its first offset and the one after its last.
type Ranges = BTreeMap<i32, (i64, i64)>;

/// Reads what lies on topics between two event-log times, without a group, one topic after the other, and ends: for cold
/// starts.
pub struct RangeSource {
    consumer: BaseConsumer<ToTheEnd>,
    topics: Topics,
    /// The topics still to be read.
    waiting: VecDeque<(String, Ranges)>,
    /// The topic being read: its open partitions, each with the offset after its last.
    open: BTreeMap<i32, i64>,
}

impl RangeSource {
    /// From the first record at or after `from` (record timestamp; `None`: the beginning) to the first at or after `to`
    /// (`None`: what the topic holds now).
    ///
    /// # Errors
    /// If the topics cannot be read.
    pub fn new(config: &KafkaConfig, from: Option<EventTime>, to: Option<EventTime>) -> Result<Self, PortError> {
        let mut consumer: ClientConfig = client(config);
        consumer
            .set("group.id", format!("{}.range", config.group))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer<ToTheEnd> = with_properties(consumer, config)
            .create_with_context(ToTheEnd)
            .map_err(|error| failed("the Kafka consumer cannot be set up; correct kafka.properties", error))?;
        let mut waiting = VecDeque::new();
        for topic in &config.input_topics {
            let cannot = || format!("cannot read the topic {topic} at {}", config.brokers);
            let metadata = consumer.fetch_metadata(Some(topic), ANSWER).map_err(|error| failed(cannot(), error))?;
            let mut ranges = Ranges::new();
            for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
                let id = partition.id();
                let (low, high) =
                    consumer.fetch_watermarks(topic, id, ANSWER).map_err(|error| failed(cannot(), error))?;
                let at = |time: Option<EventTime>, default: i64| match time {
                    None => Ok(default),
                    Some(time) => offset_at(&consumer, topic, id, time, high),
                };
                let (first, last) = (at(from, low)?, at(to, high)?);
                if first < last {
                    ranges.insert(id, (first, last));
                }
            }
            waiting.push_back((topic.clone(), ranges));
        }
        Ok(Self { consumer, topics: Topics::default(), waiting, open: BTreeMap::new() })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// If the topics cannot be read.
    pub fn read(&mut self) -> Result<Option<Record>, PortError> {
        loop {
            if self.open.is_empty() && !self.begin_topic()? {
                return Ok(None);
            }
            match next_or_end(&self.consumer, "the topic range")? {
                Met::Record(message) => {
                    let id = message.partition();
                    // A partition that is done may still give what was fetched before.
                    let Some(&last) = self.open.get(&id) else { continue };
                    if message.offset() + 1 >= last {
                        self.open.remove(&id);
                    }
                    if message.offset() < last {
                        return Ok(Some(self.topics.record(&message)));
                    }
                }
                // An end may be a control record: a partition is done when there is nothing more to read in it.
                Met::End(id) => {
                    self.open.remove(&id);
                }
            }
        }
    }

    /// Assigns the next topic; false if there is none.
    fn begin_topic(&mut self) -> Result<bool, PortError> {
        let Some((topic, ranges)) = self.waiting.pop_front() else { return Ok(false) };
        let mut list = TopicPartitionList::new();
        for (id, (first, _)) in &ranges {
            list.add_partition_offset(&topic, *id, Offset::Offset(*first))
                .map_err(|error| failed(format!("{topic}-{id} cannot be assigned"), error))?;
        }
        self.consumer.assign(&list).map_err(|error| failed("the assignment was refused", error))?;
        self.open = ranges.into_iter().map(|(id, (_, last))| (id, last)).collect();
        Ok(true)
    }
}

fn offset_at(
    consumer: &BaseConsumer<ToTheEnd>,
    topic: &str,
    partition: i32,
    time: EventTime,
    high: i64,
) -> Result<i64, PortError> {
    let cannot = || format!("cannot find the offset of {time} in {topic}-{partition}");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(time.millis()))
        .map_err(|error| failed(cannot(), error))?;
    let found = consumer.offsets_for_times(list, ANSWER).map_err(|error| failed(cannot(), error))?;
    Ok(match found.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset) {
        Some(Offset::Offset(offset)) => offset,
        _ => high,
    })
}
