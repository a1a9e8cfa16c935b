//! A real Apache Kafka broker for tests: one KRaft node, broker and controller in one, in a temporary folder.
//!
//! Laws:
//! 1. A broker never outlives its test process, however that ends. The test process holds the write end of a pipe; a
//!    shell reads the other end, and kills the broker at end of file. Dropping [`KafkaBroker`] closes the pipe too, so
//!    there is one way to stop, and it is used every time.
//! 2. Where no broker can be had (no Java, no jars), a test says so on standard error and is skipped; with
//!    `JAMAIS_REQUIRE_BROKER=1` it fails. Any other fault fails the test, with the end of the broker's log.
//! 3. No fixed ports: two free ones are picked, and picked anew when another process takes one first.
//!
//! Deliberately absent: more than one broker, TLS, and any way to ask a broker for something that production code has
//! its own adapter for.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use std::{env, io};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tempfile::TempDir;

/// A record to produce: key, payload, partition (by the key's hash when `None`), timestamp in ms since the epoch.
pub type Record = (Option<Vec<u8>>, Vec<u8>, Option<i32>, i64);

/// How long one request to the broker may take: far more than it ever does, so that a loaded machine fails no test.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A start takes 4 seconds on two idle cores; the product of these two is the time allowed.
const READY_ATTEMPTS: u32 = 480;
const READY_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);
/// Starts, when each time another process takes a port between our look and the broker's.
const START_ATTEMPTS: u32 = 5;
/// A new topic reaches the broker's metadata within some milliseconds; each attempt is one request.
const TOPIC_ATTEMPTS: u32 = 10_000;
/// Records sent and not yet acknowledged.
const IN_FLIGHT_MAX: usize = 10_000;
/// Lines of the broker's log that a failure shows; after an error it logs 70 more while it shuts down.
const LOG_TAIL_LINES: usize = 100;
/// 16 bytes in base64, "jamais-test-brok".
const CLUSTER_ID: &str = "amFtYWlzLXRlc3QtYnJvaw";

const JVM_FLAGS: [&str; 5] = [
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

/// Runs the command after `$1` until it ends, or until standard input does. 137 is the status of the kill below: the
/// folder `$1` is then nobody's any more. After any other end the log in it is still wanted. The signals of a Ctrl-C
/// are left to the test process, whose end closes the pipe.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
folder=$1
shift
exec 3<&0
"$@" </dev/null 3<&- &
broker=$!
{ cat <&3 >/dev/null; kill -KILL "$broker"; } 2>/dev/null &
reader=$!
wait "$broker"
code=$?
kill -KILL "$reader" 2>/dev/null
[ "$code" -ne 137 ] || rm -rf -- "$folder"
exit "$code"
"#;

/// A running broker; stopped, and its folder removed, when dropped.
#[derive(Debug)]
pub struct KafkaBroker {
    bootstrap: String,
    version: String,
    process: BrokerProcess,
}

impl KafkaBroker {
    /// Starts a broker of this test's own, or says why `test_name` is skipped and returns `None`.
    ///
    /// # Panics
    /// When the broker does not start, or when there is none to start and `JAMAIS_REQUIRE_BROKER=1`.
    pub fn start_or_skip(test_name: &str) -> Option<KafkaBroker> {
        available_or_skip(test_name).map(KafkaBroker::start)
    }

    /// The broker that the tests of one process share, started by the first of them; tests keep apart by topic names.
    ///
    /// # Panics
    /// As [`KafkaBroker::start_or_skip`].
    pub fn shared(test_name: &str) -> Option<&'static KafkaBroker> {
        static SHARED: OnceLock<KafkaBroker> = OnceLock::new();
        let installation = available_or_skip(test_name)?;
        Some(SHARED.get_or_init(|| KafkaBroker::start(installation)))
    }

    /// `host:port`, as `bootstrap.servers` takes it.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The version of Apache Kafka, such as "4.4.0".
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A client configuration that names this broker and nothing else.
    pub fn client_config(&self) -> ClientConfig {
        client_config(&self.bootstrap)
    }

    /// Creates a topic, and returns once every partition of it has a leader.
    ///
    /// # Panics
    /// When the broker refuses, such as for a name already taken.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// As [`KafkaBroker::create_topic`], with settings of the topic's own: (key, value).
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client_config().create().expect("an admin client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT));
        let results = block_on(admin.create_topics([&topic], &options))
            .unwrap_or_else(|error| self.fail(&format!("creating topic {name}: {error}")));
        for result in results {
            if let Err((topic, code)) = result {
                self.fail(&format!("creating topic {topic}: {code}"));
            }
        }
        let wanted = usize::try_from(partitions).expect("a positive number of partitions");
        let ready = (0..TOPIC_ATTEMPTS).any(|_| {
            let metadata = admin
                .inner()
                .fetch_metadata(Some(name), REQUEST_TIMEOUT)
                .unwrap_or_else(|error| self.fail(&format!("metadata of topic {name}: {error}")));
            metadata.topics().iter().any(|topic| has_leaders(topic, wanted))
        });
        if !ready {
            self.fail(&format!("topic {name} was created, but has no leaders"));
        }
    }

    /// Produces the records, in order, and returns once the broker has acknowledged every one.
    ///
    /// # Panics
    /// When one of them is not delivered.
    pub fn produce(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        let producer: FutureProducer = self
            .client_config()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000")
            .create()
            .expect("a producer");
        let mut in_flight: VecDeque<DeliveryFuture> = VecDeque::new();
        for (key, payload, partition, timestamp) in records {
            if in_flight.len() == IN_FLIGHT_MAX {
                self.await_delivery(topic, in_flight.pop_front());
            }
            let mut record = FutureRecord::<[u8], [u8]>::to(topic).payload(&payload).timestamp(timestamp);
            record.key = key.as_deref();
            record.partition = partition;
            match producer.send_result(record) {
                Ok(delivery) => in_flight.push_back(delivery),
                Err((error, _)) => self.fail(&format!("producing to {topic}: {error}")),
            }
        }
        for delivery in in_flight {
            self.await_delivery(topic, Some(delivery));
        }
    }

    /// Every committed record of the topic, ordered by partition and offset.
    ///
    /// Each partition is read up to its end as the broker reports it, not up to a last record: the last offset may be
    /// a transaction's control record.
    ///
    /// # Panics
    /// When the topic does not exist, or when the broker stays silent before the end.
    pub fn read_to_end(&self, topic: &str) -> Vec<OwnedMessage> {
        let consumer: BaseConsumer = self
            .client_config()
            .set("group.id", "read-to-end")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .expect("a consumer");
        let mut unfinished = self.assign_from_beginning(&consumer, topic);
        let mut records = Vec::new();
        while !unfinished.is_empty() {
            match consumer.poll(REQUEST_TIMEOUT) {
                Some(Ok(message)) => records.push(message.detach()),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unfinished.remove(&partition);
                }
                Some(Err(error)) => self.fail(&format!("reading {topic}: {error}")),
                None => self.fail(&format!(
                    "reading {topic}: nothing for {REQUEST_TIMEOUT:?}, and partitions {unfinished:?} are not at their end"
                )),
            }
        }
        records.sort_by_key(|record| (record.partition(), record.offset()));
        records
    }

    /// Assigns every partition of the topic, and returns their numbers.
    fn assign_from_beginning(&self, consumer: &BaseConsumer, topic: &str) -> HashSet<i32> {
        let metadata = consumer
            .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
            .unwrap_or_else(|error| self.fail(&format!("metadata of topic {topic}: {error}")));
        let partitions: HashSet<i32> =
            metadata.topics().iter().flat_map(MetadataTopic::partitions).map(|partition| partition.id()).collect();
        if partitions.is_empty() {
            self.fail(&format!("there is no topic {topic}"));
        }
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            assignment
                .add_partition_offset(topic, *partition, Offset::Beginning)
                .expect("Offset::Beginning is valid in an assignment");
        }
        consumer.assign(&assignment).unwrap_or_else(|error| self.fail(&format!("assigning {topic}: {error}")));
        partitions
    }

    fn await_delivery(&self, topic: &str, delivery: Option<DeliveryFuture>) {
        let Some(delivery) = delivery else { return };
        match block_on(delivery) {
            Ok(Ok(_)) => {}
            Ok(Err((error, _))) => self.fail(&format!("producing to {topic}: {error}")),
            Err(_) => self.fail(&format!("producing to {topic}: the producer ended first")),
        }
    }

    fn start(installation: &Installation) -> KafkaBroker {
        for _ in 0..START_ATTEMPTS {
            match BrokerProcess::start(installation) {
                Ok((process, bootstrap)) => {
                    let version = installation.version.clone();
                    return KafkaBroker { bootstrap, version, process };
                }
                Err(StartFailure::PortTaken) => {}
                Err(StartFailure::Broken { what, log }) => {
                    panic!("the Kafka broker did not start: {what}\n{log}")
                }
            }
        }
        panic!("the Kafka broker lost its ports to other processes {START_ATTEMPTS} times in a row");
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.process.log_tail());
    }
}

enum StartFailure {
    PortTaken,
    Broken { what: String, log: String },
}

/// The shell of [`WATCHDOG`] with the broker below it, and the folder of both.
#[derive(Debug)]
struct BrokerProcess {
    shell: Child,
    folder: TempDir,
}

impl BrokerProcess {
    /// Formats a folder, starts a broker on it, and returns it with its address once it answers.
    fn start(installation: &Installation) -> Result<(BrokerProcess, String), StartFailure> {
        let folder = TempDir::with_prefix("jamais-kafka-").expect("a temporary folder");
        let (broker_port, controller_port) = free_ports();
        let settings = folder.path().join("server.properties");
        let data = folder.path().join("data");
        fs::write(&settings, server_properties(&data, broker_port, controller_port))
            .expect("server.properties can be written");
        format_storage(installation, &settings);

        let log = File::create(folder.path().join("broker.log")).expect("broker.log");
        let shell = watchdog(folder.path())
            .arg(&installation.java)
            .args(JVM_FLAGS)
            .arg("-cp")
            .arg(installation.libs.join("*"))
            .arg("kafka.Kafka")
            .arg(&settings)
            .stdout(log.try_clone().expect("a second handle of broker.log"))
            .stderr(log)
            .spawn()
            .expect("sh starts");
        let mut process = BrokerProcess { shell, folder };
        let bootstrap = format!("127.0.0.1:{broker_port}");
        process.await_ready(&bootstrap)?;
        Ok((process, bootstrap))
    }

    fn await_ready(&mut self, bootstrap: &str) -> Result<(), StartFailure> {
        let consumer: BaseConsumer = client_config(bootstrap)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "100")
            .create()
            .expect("a consumer");
        for _ in 0..READY_ATTEMPTS {
            let metadata = consumer.fetch_metadata(None, READY_ATTEMPT_TIMEOUT);
            if metadata.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
                return Ok(());
            }
            if let Some(status) = self.shell.try_wait().expect("the shell can be asked") {
                return Err(self.ended_early(&format!("it ended with {status}")));
            }
        }
        let waited = READY_ATTEMPT_TIMEOUT * READY_ATTEMPTS;
        Err(self.ended_early(&format!("no answer from {bootstrap} within {waited:?}")))
    }

    fn ended_early(&self, what: &str) -> StartFailure {
        if self.log().contains("Address already in use") {
            return StartFailure::PortTaken;
        }
        StartFailure::Broken { what: what.to_owned(), log: self.log_tail() }
    }

    fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("broker.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!("the end of the broker's log:\n{}", tail.join("\n"))
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing to be done about a shell that can't be waited for, and a panic in a drop would hide the test's own.
        let _ = self.shell.wait();
    }
}

/// Where Java and Kafka's jars are.
#[derive(Debug)]
struct Installation {
    java: PathBuf,
    libs: PathBuf,
    version: String,
}

impl Installation {
    /// Looks for both; the error says what is missing and how to get it.
    fn find() -> Result<Installation, String> {
        let java = find_java()?;
        let libs = match env::var_os("JAMAIS_KAFKA_LIBS") {
            Some(libs) => PathBuf::from(libs),
            None => default_libs()?,
        };
        let version = kafka_version(&libs).ok_or_else(|| {
            format!(
                "no kafka_2.13-*.jar in {}; run scripts/setup test (make test does), \
                 or point JAMAIS_KAFKA_LIBS at the libs folder of an Apache Kafka 4",
                libs.display()
            )
        })?;
        Ok(Installation { java, libs, version })
    }
}

fn available_or_skip(test_name: &str) -> Option<&'static Installation> {
    static FOUND: OnceLock<Result<Installation, String>> = OnceLock::new();
    match FOUND.get_or_init(Installation::find) {
        Ok(installation) => Some(installation),
        Err(reason) if env::var("JAMAIS_REQUIRE_BROKER").is_ok_and(|value| value == "1") => {
            panic!("{test_name} needs a Kafka broker, and JAMAIS_REQUIRE_BROKER=1: {reason}")
        }
        Err(reason) => {
            // Not eprintln: the test runner swallows it in a test that passes, and a skipped one passes. In one piece, so that
            // what other tests print does not get between.
            let line = format!("\nSKIPPED: {test_name} needs a Kafka broker: {reason}\n");
            let _ = io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

fn find_java() -> Result<PathBuf, String> {
    let wanted = pinned("JAVA_VERSION_MIN");
    let java = match env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let remedy = format!("install Java {wanted} or newer (Debian: default-jdk-headless), or set JAVA_HOME to one");
    let output = Command::new(&java)
        .arg("-version")
        .output()
        .map_err(|error| format!("{} does not run ({error}); {remedy}", java.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let major = said.split_once("version \"").map_or("", |(_, rest)| leading_digits(rest));
    match (major.parse::<u32>(), wanted.parse::<u32>()) {
        (Ok(found), Ok(wanted)) if found >= wanted => Ok(java),
        _ => Err(format!("{} says \"{}\"; {remedy}", java.display(), said.lines().next().unwrap_or_default())),
    }
}

fn leading_digits(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_ascii_digit());
    &text[..end.unwrap_or(text.len())]
}

/// The folder that scripts/setup fills, as the Makefile names it.
fn default_libs() -> Result<PathBuf, String> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("JAMAIS_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("jamais")))
        .or_else(|| Some(folder("HOME")?.join(".cache/jamais")))
        .ok_or("neither JAMAIS_KAFKA_LIBS nor JAMAIS_CACHE nor HOME is set; set JAMAIS_KAFKA_LIBS")?;
    Ok(cache.join(format!("kafka-{}", pinned("KAFKA_VERSION"))).join("libs"))
}

/// The version in the name of the broker's own jar, `kafka_2.13-4.4.0.jar`.
fn kafka_version(libs: &Path) -> Option<String> {
    fs::read_dir(libs).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name();
        let version = name.to_str()?.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?;
        version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
    })
}

/// A value of scripts/versions.
fn pinned(name: &str) -> &'static str {
    include_str!("../../scripts/versions")
        .lines()
        .filter_map(|line| line.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .unwrap_or_else(|| panic!("scripts/versions has no {name}"))
}

/// [`WATCHDOG`] over `folder`, without its command yet.
fn watchdog(folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCHDOG, "kafka-watchdog"]).arg(folder).stdin(Stdio::piped());
    shell
}

/// Two ports that were free a moment ago; both are held while they are picked, so that they differ.
fn free_ports() -> (u16, u16) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
    let port = |listener: &TcpListener| listener.local_addr().expect("a bound address").port();
    let (broker, controller) = (listen(), listen());
    (port(&broker), port(&controller))
}

fn server_properties(data: &Path, broker_port: u16, controller_port: u16) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# Records carry event times of months ago: retention would remove them half a minute after the start.
log.retention.ms=-1
# One node can't replicate.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Few files, quick to make.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
log.cleaner.dedupe.buffer.size=8388608
# Tests do not wait for a group to fill, nor ten seconds for a dead member's session or transaction.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=100
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
",
        data = data.display()
    )
}

fn format_storage(installation: &Installation, settings: &Path) {
    let output = Command::new(&installation.java)
        .args(JVM_FLAGS)
        .arg("-cp")
        .arg(installation.libs.join("*"))
        .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c"])
        .arg(settings)
        .stdin(Stdio::null())
        .output()
        .expect("Java ran a moment ago");
    assert!(
        output.status.success(),
        "Kafka's StorageTool failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn client_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn has_leaders(topic: &MetadataTopic, partitions: usize) -> bool {
    topic.error().is_none()
        && topic.partitions().len() == partitions
        && topic.partitions().iter().all(|partition| partition.leader() >= 0)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread. rdkafka's futures complete from its own threads and need no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn the_watchdog_kills_its_command_and_removes_the_folder_when_the_pipe_closes() {
        let folder = TempDir::new().expect("a temporary folder");
        let mut shell = watchdog(folder.path())
            .args(["sh", "-c", "echo started; exec sleep 600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let mut output = BufReader::new(shell.stdout.take().expect("a piped output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a first line");
        assert_eq!(line, "started\n");

        drop(shell.stdin.take());

        assert_eq!(shell.wait().expect("the shell ends").code(), Some(137));
        assert!(!folder.path().exists());
        // End of file: nothing that the shell started still has the output open.
        assert_eq!(output.read_line(&mut line).expect("the end of the output"), 0);
    }

    #[test]
    fn the_watchdog_ends_with_its_command_and_leaves_the_log_to_be_read() {
        let folder = TempDir::new().expect("a temporary folder");
        let mut shell = watchdog(folder.path()).args(["sh", "-c", "exit 3"]).spawn().expect("sh starts");
        let pipe = shell.stdin.take();
        assert_eq!(shell.wait().expect("the shell ends").code(), Some(3));
        assert!(folder.path().exists());
        drop(pipe);
    }

    #[test]
    fn the_two_ports_differ() {
        let (broker, controller) = free_ports();
        assert_ne!(broker, controller);
    }
}
