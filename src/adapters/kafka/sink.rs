//! The output: scored events and dead letters, through one idempotent producer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{DELIVERY, failed, producer, with_properties};
use crate::adapters::clock::SystemClock;
use crate::codec::{OutputFormat, dead_letter_headers, serialize_event};
use crate::config::KafkaConfig;
use crate::domain::event::ScoredEvent;
use crate::domain::record::DeadLetter;
use crate::ports::{Clock, PortError, Sink};

/// Remembers the first delivery that failed.
#[derive(Clone, Default)]
pub(super) struct Deliveries(Arc<Mutex<Option<String>>>);

impl Deliveries {
    /// The first failure since the last call.
    pub fn take_failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| format!("{} refused a record: {error}", message.topic()));
        }
    }
}

/// A producer that waits when its queue is full, and fails when a delivery has failed.
pub(super) struct Outbox {
    producer: BaseProducer<Deliveries>,
    deliveries: Deliveries,
}

impl Outbox {
    pub fn new(config: &KafkaConfig) -> Result<Self, PortError> {
        Self::with(producer(config), config)
    }

    /// The user's properties win.
    pub fn with(producer: ClientConfig, config: &KafkaConfig) -> Result<Self, PortError> {
        let deliveries = Deliveries::default();
        let producer = with_properties(producer, config)
            .create_with_context(deliveries.clone())
            .map_err(|error| failed("the Kafka producer cannot be set up; correct kafka.properties", error))?;
        Ok(Self { producer, deliveries })
    }

    pub fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), PortError> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.check()?;
                    self.producer.poll(Duration::from_millis(100));
                    record = back;
                }
                Err((error, record)) => {
                    return Err(failed(format!("cannot write to the topic {}", record.topic), error));
                }
            }
        }
    }

    /// Serves delivery reports.
    pub fn in_flight(&self) -> usize {
        self.producer.poll(Duration::ZERO);
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Looks every millisecond: rdkafka's own flush waits for whole tenths of a second, however soon the last delivery comes,
    /// and its poll does not wait at all for less than two milliseconds (it cuts the rest of them off).
    pub fn flush(&self) -> Result<(), PortError> {
        let clock = SystemClock::new();
        loop {
            match self.producer.flush(Duration::ZERO) {
                Ok(()) => return self.check(),
                Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) if clock.now() < DELIVERY => {
                    clock.wait(Duration::from_millis(1));
                    self.producer.poll(Duration::ZERO);
                }
                Err(error) => return Err(failed("the output topics do not acknowledge", error)),
            }
        }
    }

    fn check(&self) -> Result<(), PortError> {
        match self.deliveries.take_failure() {
            None => Ok(()),
            Some(failure) => {
                Err(PortError::fatal(format!("{failure}; nothing after the last commit is lost: restart")))
            }
        }
    }
}

/// A dead letter's payload beyond this many bytes is cut off, and a key beyond [`DEAD_LETTER_KEY_MAX`] left out, so that a
/// record which was too large to be used is not too large for the dead-letter topic as well (producers and brokers take
/// 1 MB by default); its position says where the whole of it lies.
const DEAD_LETTER_MAX: usize = 512 * 1024;
/// See [`DEAD_LETTER_MAX`].
const DEAD_LETTER_KEY_MAX: usize = 64 * 1024;

/// Events keyed by series, dead letters with their provenance as headers.
pub struct KafkaSink {
    outbox: Outbox,
    format: OutputFormat,
    output_topic: String,
    dead_letter_topic: String,
}

impl KafkaSink {
    /// A sink with a producer of its own.
    ///
    /// # Errors
    /// If librdkafka refuses the properties.
    pub fn new(config: &KafkaConfig, format: OutputFormat) -> Result<Self, PortError> {
        Ok(Self {
            outbox: Outbox::new(config)?,
            format,
            output_topic: config.output_topic.clone(),
            dead_letter_topic: config.dead_letter_topic.clone(),
        })
    }
}

impl Sink for KafkaSink {
    fn emit(&mut self, events: &[ScoredEvent], dead_letters: &[DeadLetter]) -> Result<(), PortError> {
        for event in events {
            let payload = serialize_event(self.format, event);
            let record =
                BaseRecord::to(&self.output_topic).key(event.series.as_str().as_bytes()).payload(payload.as_slice());
            self.outbox.send(record)?;
        }
        for letter in dead_letters {
            let mut headers = OwnedHeaders::new();
            for (key, value) in dead_letter_headers(letter) {
                headers = headers.insert(Header { key, value: Some(&value) });
            }
            let kept = letter.payload.len().min(DEAD_LETTER_MAX);
            if kept < letter.payload.len() {
                let whole = letter.payload.len().to_string();
                headers = headers.insert(Header { key: "jamais.payload_bytes", value: Some(&whole) });
            }
            let key = letter.key.as_deref().filter(|key| key.len() <= DEAD_LETTER_KEY_MAX);
            if let (Some(whole), None) = (&letter.key, key) {
                let whole = whole.len().to_string();
                headers = headers.insert(Header { key: "jamais.key_bytes", value: Some(&whole) });
            }
            let mut record = BaseRecord::to(&self.dead_letter_topic).payload(&letter.payload[..kept]).headers(headers);
            record.key = key;
            self.outbox.send(record)?;
        }
        Ok(())
    }

    fn in_flight(&mut self) -> usize {
        self.outbox.in_flight()
    }

    fn flush(&mut self) -> Result<(), PortError> {
        self.outbox.flush()
    }
}
