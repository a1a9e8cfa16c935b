//! librdkafka's mock cluster: a broker within this process, for demonstrations without a Kafka at hand.
//!
//! It speaks the real protocol over real sockets, but keeps only about 5 MB a partition, in memory, and knows no abort
//! markers: whoever fills a topic must not run far ahead of those who read it, and it proves nothing about exactly-once.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::failed;
use crate::ports::PortError;

/// One mock broker; gone with everything on it when dropped.
pub struct MockBroker(MockCluster<'static, DefaultProducerContext>);

impl MockBroker {
    /// A broker with these topics, (name, partitions).
    ///
    /// # Errors
    /// If librdkafka cannot open a socket, or refuses a topic's name.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, PortError> {
        let cluster =
            MockCluster::new(1).map_err(|error| failed("the built-in mock broker cannot be started", error))?;
        for (topic, partitions) in topics {
            cluster
                .create_topic(topic, *partitions, 1)
                .map_err(|error| failed(format!("the built-in mock broker refuses the topic {topic}"), error))?;
        }
        Ok(Self(cluster))
    }

    /// Its address, host:port.
    pub fn address(&self) -> String {
        self.0.bootstrap_servers()
    }
}
