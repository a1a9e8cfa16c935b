//! Checks, before anything is consumed, that a broker answers and that every topic is there and fits.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;

use super::{ANSWER, STATE_BYTES_MAX, client, failed, with_properties};
use crate::config::KafkaConfig;
use crate::ports::PortError;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// (input topic, its partitions).
    pub inputs: Vec<(String, i32)>,
}

/// Finds the input topics, and the output, dead-letter and state topics; makes the latter where they are missing and
/// `kafka.create_topics` is set.
///
/// # Errors
/// If no broker answers, a topic is missing, or the state topic has too few partitions.
pub async fn prepare_topics(config: &KafkaConfig) -> Result<TopicPlan, PortError> {
    let client: AdminClient<DefaultClientContext> = with_properties(client(config), config)
        .create()
        .map_err(|error| failed("the Kafka client cannot be set up; correct kafka.properties", error))?;
    let metadata = client.inner().fetch_metadata(None, ANSWER).map_err(|error| {
        let seconds = ANSWER.as_secs();
        let what = format!("no Kafka broker answers at {} within {seconds} s; correct kafka.brokers", config.brokers);
        PortError::fatal(what).because(error)
    })?;
    let mut inputs = Vec::new();
    for topic in &config.input_topics {
        match partitions(&metadata, topic) {
            Some(count) => inputs.push((topic.clone(), count)),
            None => {
                return Err(PortError::fatal(format!(
                    "the input topic {topic} does not exist on {}; create it, or correct kafka.input_topics",
                    config.brokers
                )));
            }
        }
    }
    let widest = inputs.iter().map(|(_, count)| *count).max().unwrap_or(1);
    for (key, topic, compacted) in [
        ("kafka.output_topic", &config.output_topic, false),
        ("kafka.dead_letter_topic", &config.dead_letter_topic, false),
        ("kafka.state_topic", &config.state_topic, true),
    ] {
        match partitions(&metadata, topic) {
            Some(count) if compacted && count < widest => {
                return Err(PortError::fatal(format!(
                    "the state topic {topic} has {count} partitions, an input topic has {widest}; set {key} to a new \
                     topic with at least {widest}"
                )));
            }
            Some(_) if compacted => must_compact(&client, key, topic).await?,
            Some(_) => {}
            None if config.create_topics => create(&client, topic, widest, compacted).await?,
            None => {
                let cleanup = if compacted { ", cleanup.policy=compact" } else { "" };
                return Err(PortError::fatal(format!(
                    "the topic {topic} ({key}) does not exist; create it ({widest} partitions{cleanup}), or set \
                     kafka.create_topics = true"
                )));
            }
        }
    }
    Ok(TopicPlan { inputs })
}

/// Refuses a state topic that forgets: where old records are deleted, a series that has been quiet for long loses its state.
async fn must_compact(client: &AdminClient<DefaultClientContext>, key: &str, topic: &str) -> Result<(), PortError> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let described = client.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let resource = match described.map(|resources| resources.into_iter().next()) {
        Ok(Some(Ok(resource))) => resource,
        // Some brokers do not tell, or not everybody.
        other => {
            let error = format!("{other:?}");
            tracing::debug!(topic, error, "the topic's cleanup.policy is not known");
            return Ok(());
        }
    };
    let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone());
    match policy {
        Some(policy) if policy != "compact" => Err(PortError::fatal(format!(
            "the state topic {topic} ({key}) has cleanup.policy={policy}, which forgets the state of quiet series; set it to \
             compact"
        ))),
        _ => Ok(()),
    }
}

/// A topic to be made; a compacted one is for state: it has small segments and an early cleaner, since a restore reads a
/// partition whole and its newest segment is never compacted.
pub(super) fn new_topic(topic: &str, partitions: i32, compacted: bool) -> NewTopic<'_> {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    if !compacted {
        return new;
    }
    new.set("cleanup.policy", "compact")
        .set("segment.bytes", "67108864")
        .set("min.cleanable.dirty.ratio", "0.1")
        .set("max.message.bytes", STATE_BYTES_MAX)
}

async fn create(
    client: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
    compacted: bool,
) -> Result<(), PortError> {
    let new = new_topic(topic, partitions, compacted);
    let cannot = || format!("the topic {topic} cannot be created; create it yourself ({partitions} partitions)");
    let results = client
        .create_topics([&new], &AdminOptions::new().operation_timeout(Some(ANSWER)))
        .await
        .map_err(|error| failed(cannot(), error))?;
    for result in results {
        match result {
            // Another instance was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failed(cannot(), rdkafka::error::KafkaError::AdminOp(code))),
        }
    }
    tracing::info!(topic, partitions, compacted, "created topic");
    Ok(())
}

fn partitions(metadata: &Metadata, topic: &str) -> Option<i32> {
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none())?;
    i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)
}
