//! Series state on a compacted topic, so that it moves with its partition from worker to worker.
//!
//! | key | value |
//! | --- | --- |
//! | group, 0x00, input topic, 0x00, partition, 0x00, series | that series' serialized state, which names the offset it is true for |
//! | group, 0x00, input topic, 0x00, partition, 0x00 | the offset that the checkpoint is true for, 8 bytes little-endian |
//!
//! Laws:
//! 1. The state of input partition n lies in partition n of the state topic.
//! 2. The checkpoint's own record is written once all of its series' records are acknowledged. After a crash in between,
//!    some series are ahead of it; the pipeline leaves out the records that they already hold.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::BaseRecord;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::sink::Outbox;
use super::{Met, STATE_BYTES_MAX, ToTheEnd, client, failed, next_or_end, producer, with_properties};
use crate::config::KafkaConfig;
use crate::domain::record::Position;
use crate::ports::{Checkpoint, PartitionId, PortError, StateStore};

/// Checkpoints on the state topic.
pub struct KafkaStateStore {
    outbox: Outbox,
    config: KafkaConfig,
    consumer: Option<BaseConsumer<ToTheEnd>>,
}

impl KafkaStateStore {
    /// A store with a producer of its own.
    ///
    /// # Errors
    /// If librdkafka refuses the properties.
    pub fn new(config: &KafkaConfig) -> Result<Self, PortError> {
        let mut producer = producer(config);
        producer.set("message.max.bytes", STATE_BYTES_MAX);
        Ok(Self { outbox: Outbox::with(producer, config)?, config: config.clone(), consumer: None })
    }

    fn key_prefix(&self, topic: &str, partition: i32) -> Vec<u8> {
        format!("{}\0{topic}\0{partition}\0", self.config.group).into_bytes()
    }

    /// The one consumer for all restores: connecting takes longer than reading a small partition.
    fn consumer(&mut self) -> Result<&BaseConsumer<ToTheEnd>, PortError> {
        if self.consumer.is_none() {
            let mut consumer = client(&self.config);
            consumer
                .set("group.id", format!("{}.state", self.config.group))
                .set("enable.auto.commit", "false")
                .set("auto.offset.reset", "error")
                .set("fetch.wait.max.ms", "10")
                .set("queued.max.messages.kbytes", "16384")
                .set("enable.partition.eof", "true");
            let consumer = with_properties(consumer, &self.config)
                .create_with_context(ToTheEnd)
                .map_err(|error| failed("the Kafka consumer cannot be set up; correct kafka.properties", error))?;
            self.consumer = Some(consumer);
        }
        Ok(self.consumer.as_ref().expect("it was just made"))
    }
}

/// A partition's position, and the newest state of every series.
type Read = (Option<i64>, BTreeMap<String, Vec<u8>>);

/// Reads the assigned partition to the end as it is when the end is reached: whoever had it before has flushed.
fn read_to_end(consumer: &BaseConsumer<ToTheEnd>, place: &str, prefix: &[u8]) -> Result<Read, PortError> {
    let mut read: Read = (None, BTreeMap::new());
    let what = format!("the checkpoint in {place}");
    loop {
        match next_or_end(consumer, &what)? {
            Met::Record(message) => {
                if let Some(name) = message.key().and_then(|key| key.strip_prefix(prefix)) {
                    take(&mut read, name, message.payload(), || format!("{place}@{}", message.offset()))?;
                }
            }
            Met::End(_) => return Ok(read),
        }
    }
}

/// Takes a record in: a series' state, or, without a name, the position. No value takes back what was there.
fn take(read: &mut Read, name: &[u8], value: Option<&[u8]>, place: impl Fn() -> String) -> Result<(), PortError> {
    match (name.is_empty(), value) {
        (true, None) => read.0 = None,
        (true, Some(value)) => {
            let bytes = <[u8; 8]>::try_from(value).map_err(|_| {
                PortError::fatal(format!("{} is not a checkpoint of jamais; use another kafka.state_topic", place()))
            })?;
            read.0 = Some(i64::from_le_bytes(bytes));
        }
        (false, value) => {
            let name = String::from_utf8_lossy(name).into_owned();
            match value {
                None => read.1.remove(&name),
                Some(value) => read.1.insert(name, value.to_vec()),
            };
        }
    }
    Ok(())
}

impl StateStore for KafkaStateStore {
    fn restore(&mut self, partition: &PartitionId) -> Result<Option<Checkpoint>, PortError> {
        let place = format!("{}-{}", self.config.state_topic, partition.1);
        let prefix = self.key_prefix(&partition.0, partition.1);
        let mut list = TopicPartitionList::new();
        let topic = self.config.state_topic.clone();
        let consumer = self.consumer()?;
        list.add_partition_offset(&topic, partition.1, Offset::Beginning)
            .and_then(|()| consumer.assign(&list))
            .map_err(|error| failed(format!("{place} cannot be read"), error))?;
        let read = read_to_end(consumer, &place, &prefix);
        // Else it would go on fetching what is saved from here on.
        consumer.unassign().map_err(|error| failed(format!("{place} cannot be given up"), error))?;
        let (next_offset, series) = read?;
        // Series without a checkpoint of their own are a first checkpoint that was cut short: they count from the start.
        Ok(next_offset.map(|offset| Checkpoint {
            next_offset: Position { topic: partition.0.clone(), partition: partition.1, offset: offset - 1 }.next(),
            series: series.into_iter().collect(),
        }))
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), PortError> {
        let next = &checkpoint.next_offset;
        let prefix = self.key_prefix(next.topic(), next.partition());
        let topic = self.config.state_topic.as_str();
        for (name, state) in &checkpoint.series {
            let key = [prefix.as_slice(), name.as_bytes()].concat();
            self.outbox.send(BaseRecord::to(topic).partition(next.partition()).key(&key[..]).payload(&state[..]))?;
        }
        self.outbox.flush()?;
        let position = next.offset().to_le_bytes();
        self.outbox.send(BaseRecord::to(topic).partition(next.partition()).key(&prefix[..]).payload(&position[..]))?;
        self.outbox.flush()
    }
}
