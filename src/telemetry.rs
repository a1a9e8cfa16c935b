//! Logs, metrics and probes. Every metric's name is here: `jamais_<noun>_<unit>[_total]`, in base units, and no label
//! whose values grow with the fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::TelemetryConfig;

/// A dead letter's kind: one of the few words of `codec`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: String,
}

/// What a process counts.
pub struct Metrics {
    registry: Registry,
    /// Records polled.
    pub records: Counter,
    /// Records that could not be used.
    pub dead_letters: Family<Kind, Counter>,
    /// Values of unknown channels that were ignored.
    pub unknown_channel_values: Counter,
    /// Windows judged.
    pub windows: Counter,
    /// Events given to the sink.
    pub events: Counter,
    /// Events flagged.
    pub anomalies: Counter,
    /// Alarms raised.
    pub alarms_raised: Counter,
    /// Commits of input offsets.
    pub commits: Counter,
    /// Time that a batch takes through the pipeline.
    pub batch_duration: Histogram,
    /// Time that a commit takes, with its flush, and its checkpoint if it has one.
    pub commit_duration: Histogram,
    /// Series held.
    pub series: Gauge<i64, AtomicI64>,
    /// Events not yet acknowledged, as last seen.
    pub in_flight_events: Gauge<i64, AtomicI64>,
    /// Units in memory.
    pub memory_units: Gauge<i64, AtomicI64>,
    /// The memory generation in force.
    pub memory_generation: Gauge<i64, AtomicI64>,
    /// Workers that have an assignment, if only an empty one.
    members: AtomicUsize,
    /// Workers that are restoring partitions.
    restoring: AtomicUsize,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Arc<Self> {
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 18));
        let mut metrics = Self {
            registry: Registry::with_prefix("jamais"),
            records: Counter::default(),
            dead_letters: Family::default(),
            unknown_channel_values: Counter::default(),
            windows: Counter::default(),
            events: Counter::default(),
            anomalies: Counter::default(),
            alarms_raised: Counter::default(),
            commits: Counter::default(),
            batch_duration: seconds(),
            commit_duration: seconds(),
            series: Gauge::default(),
            in_flight_events: Gauge::default(),
            memory_units: Gauge::default(),
            memory_generation: Gauge::default(),
            members: AtomicUsize::new(0),
            restoring: AtomicUsize::new(0),
        };
        let registry = &mut metrics.registry;
        registry.register("records", "Records polled", metrics.records.clone());
        registry.register("dead_letters", "Records that could not be used, by kind", metrics.dead_letters.clone());
        let unknown = metrics.unknown_channel_values.clone();
        registry.register("unknown_channel_values", "Values of unknown channels that were ignored", unknown);
        registry.register("windows", "Windows judged", metrics.windows.clone());
        registry.register("events", "Events given to the sink", metrics.events.clone());
        registry.register("anomalies", "Events flagged", metrics.anomalies.clone());
        registry.register("alarms_raised", "Alarms raised", metrics.alarms_raised.clone());
        registry.register("commits", "Commits of input offsets", metrics.commits.clone());
        registry.register("batch_duration_seconds", "A batch through the pipeline", metrics.batch_duration.clone());
        registry.register("commit_duration_seconds", "A commit with its flush", metrics.commit_duration.clone());
        registry.register("series", "Series held", metrics.series.clone());
        registry.register("in_flight_events", "Events not yet acknowledged", metrics.in_flight_events.clone());
        registry.register("memory_units", "Units in memory", metrics.memory_units.clone());
        registry.register("memory_generation", "Memory generation in force", metrics.memory_generation.clone());
        Arc::new(metrics)
    }

    /// Counts a dead letter.
    pub fn dead_letter(&self, kind: &str) {
        self.dead_letters.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    /// A worker begins (`true`) or ends restoring partitions.
    pub fn restoring(&self, begins: bool) {
        if begins {
            self.restoring.fetch_add(1, Ordering::Relaxed);
        } else {
            self.restoring.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A worker has been given an assignment (`true`), or has lost its place in the group.
    pub fn member(&self, is: bool) {
        if is {
            self.members.fetch_add(1, Ordering::Relaxed);
        } else {
            self.members.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a worker has an assignment, and none is being restored. Where there are more members than partitions, an empty
    /// one counts: such a process stands by.
    pub fn ready(&self) -> bool {
        self.members.load(Ordering::Relaxed) > 0 && self.restoring.load(Ordering::Relaxed) == 0
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a String takes any text");
        text
    }
}

/// Serves `/metrics`, `/livez` and `/readyz` until the process ends.
///
/// # Errors
/// If the server stops.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready_page))
        .with_state(metrics);
    axum::serve(listener, routes).await
}

async fn metrics_page(State(metrics): State<Arc<Metrics>>) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}

async fn ready_page(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    if metrics.ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

/// Sends logs to standard error, by `cli`; only the first call counts.
pub fn init_logs(config: &TelemetryConfig) {
    let filter: Targets = config.log.parse().unwrap_or_default();
    let registry = tracing_subscriber::registry().with(filter);
    // A second call, as in the demo, keeps the first one's.
    let _ = if config.log_json {
        registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).try_init()
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_appear_with_their_units_and_kinds() {
        let metrics = Metrics::new();
        metrics.records.inc_by(3);
        metrics.dead_letter("late");
        let text = metrics.encode();
        assert!(text.contains("jamais_records_total 3"), "{text}");
        assert!(text.contains("jamais_dead_letters_total{kind=\"late\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn ready_means_having_an_assignment_and_restoring_none() {
        let metrics = Metrics::new();
        assert!(!metrics.ready());
        metrics.restoring(true);
        assert!(!metrics.ready());
        metrics.restoring(false);
        metrics.member(true);
        assert!(metrics.ready());
        metrics.member(false);
        assert!(!metrics.ready());
    }
}
