//! The demo's Kafka: a mock broker of its own, or topics of its own on somebody's.

use std::collections::BTreeMap;

use tokio::runtime::Runtime;

use super::plant::Line;
use crate::adapters::kafka::{MockBroker, create_topics, delete_topics};
use crate::config::KafkaConfig;

/// Partitions of every topic.
const PARTITIONS: i32 = 2;

/// A broker with every topic that the lines use.
pub(super) struct Broker {
    /// Whether topics were created on a real Kafka.
    real: bool,
    /// Ends when dropped.
    _mock: Option<MockBroker>,
    kafka: KafkaConfig,
    topics: Vec<String>,
}

impl Broker {
    /// Starts the mock broker, or finds the real one at `address`; creates the topics, and tells the lines where they are.
    pub fn start(address: Option<&str>, lines: &mut [Line], runtime: &Runtime) -> anyhow::Result<Self> {
        let mut topics = BTreeMap::new();
        for line in &*lines {
            let kafka = &line.settings.kafka;
            topics.extend(kafka.input_topics.iter().map(|topic| (topic.clone(), false)));
            topics.extend([(kafka.output_topic.clone(), false), (kafka.dead_letter_topic.clone(), false)]);
            topics.insert(kafka.state_topic.clone(), true);
        }
        let specs = || topics.iter().map(|(topic, compacted)| (topic.as_str(), PARTITIONS, *compacted));
        let mock = match address {
            Some(_) => None,
            None => {
                Some(MockBroker::start(&specs().map(|(topic, partitions, _)| (topic, partitions)).collect::<Vec<_>>())?)
            }
        };
        let address = mock.as_ref().map(MockBroker::address).or(address.map(str::to_owned)).unwrap_or_default();
        for line in &mut *lines {
            line.settings.kafka.brokers.clone_from(&address);
        }
        let kafka = lines[0].settings.kafka.clone();
        if mock.is_none() {
            runtime.block_on(create_topics(&kafka, &specs().collect::<Vec<_>>()))?;
        }
        Ok(Self { real: mock.is_none(), _mock: mock, kafka, topics: topics.into_keys().collect() })
    }

    /// What it is, and where.
    pub fn describe(&self) -> String {
        let what = if self.real { "Kafka" } else { "the built-in mock broker" };
        format!("{what} at {}", self.kafka.brokers)
    }

    /// Deletes the topics from a real Kafka.
    pub fn clean(self, runtime: &Runtime) -> anyhow::Result<()> {
        if self.real {
            let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
            runtime.block_on(delete_topics(&self.kafka, &names))?;
        }
        Ok(())
    }
}
