//! The broker fixture itself: what the broker tests stand on.

use std::collections::HashSet;
use std::time::Duration;

use jamais_integration_tests::kafka::KafkaBroker;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn records_come_back_as_they_were_produced() {
    let Some(broker) = KafkaBroker::shared("records_come_back_as_they_were_produced") else {
        return;
    };
    eprintln!("Apache Kafka {} at {}", broker.version(), broker.bootstrap());
    broker.create_topic("round-trip", 3);
    broker.produce(
        "round-trip",
        (0..100).map(|i| {
            let key = (i % 4 != 0).then(|| format!("pump-{}", i % 7).into_bytes());
            let payload = format!("payload {i}").into_bytes();
            (key, payload, Some(i % 3), 1_700_000_000_000 + i64::from(i))
        }),
    );

    let read = broker.read_to_end("round-trip");

    assert_eq!(read.len(), 100);
    for partition in 0..3 {
        let offsets: Vec<i64> = read.iter().filter(|r| r.partition() == partition).map(Message::offset).collect();
        let expected = if partition == 0 { 34 } else { 33 };
        assert_eq!(offsets, (0..expected).collect::<Vec<_>>(), "partition {partition}");
    }
    for record in &read {
        let i = i64::from(record.partition()) + 3 * record.offset();
        let key = (i % 4 != 0).then(|| format!("pump-{}", i % 7));
        assert_eq!(record.payload(), Some(format!("payload {i}").as_bytes()));
        assert_eq!(record.key(), key.as_deref().map(str::as_bytes));
        assert_eq!(record.timestamp().to_millis(), Some(1_700_000_000_000 + i));
    }
}

#[test]
fn records_without_a_partition_go_by_their_key() {
    let Some(broker) = KafkaBroker::shared("records_without_a_partition_go_by_their_key") else {
        return;
    };
    broker.create_topic("by-key", 3);
    let record = |i: i64| (Some(b"pump-1".to_vec()), i.to_string().into_bytes(), None, i);
    broker.produce("by-key", (0..20).map(record));

    let read = broker.read_to_end("by-key");

    let partitions: HashSet<i32> = read.iter().map(Message::partition).collect();
    assert_eq!(partitions.len(), 1);
    let payloads: Vec<&[u8]> = read.iter().filter_map(Message::payload).collect();
    let expected: Vec<String> = (0..20).map(|i: i64| i.to_string()).collect();
    assert_eq!(payloads, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
}

#[test]
fn an_empty_topic_reads_as_no_records() {
    let Some(broker) = KafkaBroker::shared("an_empty_topic_reads_as_no_records") else {
        return;
    };
    broker.create_topic("empty", 2);
    assert!(broker.read_to_end("empty").is_empty());
}

/// An aborted record and two control records lie at the end: reading stops at the end all the same.
#[test]
fn an_aborted_transaction_is_not_read() {
    let Some(broker) = KafkaBroker::shared("an_aborted_transaction_is_not_read") else {
        return;
    };
    broker.create_topic("transactions", 1);
    let producer: FutureProducer =
        broker.client_config().set("transactional.id", "fixture").create().expect("a transactional producer");
    let send = |payload: &str| {
        let record = FutureRecord::<str, str>::to("transactions").payload(payload);
        producer.send_result(record).map_err(|(error, _)| error).expect("a free queue")
    };
    producer.init_transactions(TIMEOUT).expect("init_transactions");
    producer.begin_transaction().expect("a first transaction");
    send("committed");
    producer.commit_transaction(TIMEOUT).expect("commit_transaction");
    producer.begin_transaction().expect("a second transaction");
    let delivery = send("aborted");
    // On the broker before the abort: an abort would drop a record that is still in the queue.
    producer.flush(TIMEOUT).expect("flush");
    drop(delivery);
    producer.abort_transaction(TIMEOUT).expect("abort_transaction");

    let read = broker.read_to_end("transactions");

    let payloads: Vec<Option<&[u8]>> = read.iter().map(Message::payload).collect();
    assert_eq!(payloads, [Some(b"committed".as_slice())]);
    let consumer: BaseConsumer = broker.client_config().create().expect("a consumer");
    let (_, end) = consumer.fetch_watermarks("transactions", 0, TIMEOUT).expect("watermarks");
    assert_eq!(end, 4, "a record and a marker for each transaction");
}
