//! `jamais run`.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::assemble;
use crate::adapters::clock::SystemClock;
use crate::adapters::kafka::{KafkaSink, KafkaSource, KafkaStateStore, prepare_topics};
use crate::config::{Settings, read_card};
use crate::memory::bank::Bank;
use crate::pipeline::Pipeline;
use crate::ports::PortError;
use crate::runtime::{Components, Shutdown, Worker};
use crate::telemetry::{Metrics, init_logs, serve};

/// Everything is in the settings.
#[derive(Debug, Args)]
pub(super) struct RunArgs {}

pub(super) fn run(_: &RunArgs, settings: &Settings) -> anyhow::Result<()> {
    init_logs(&settings.telemetry);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::default();
        let signals = shutdown.clone();
        tokio::spawn(async move {
            if let Err(error) = wait_for_signal().await {
                tracing::error!(%error, "signals cannot be waited for");
            }
            tracing::info!("stopping: draining, then committing");
            signals.request();
        });
        serve_topics(settings, Metrics::new(), &shutdown).await
    })
}

/// Runs the workers until they stop, with metrics and probes beside them.
pub(super) async fn serve_topics(
    settings: &Settings,
    metrics: Arc<Metrics>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    if let Some(address) = settings.telemetry.listen {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; set telemetry.listen to a free address, or to \"\"")
        })?;
        tracing::info!(address = %listener.local_addr()?, "serving /metrics, /livez and /readyz");
        tokio::spawn(serve(listener, metrics.clone()));
    }
    let card = read_card(&settings.model)?;
    let bank = assemble::stored_bank(settings, &card)?;
    describe(&bank, &metrics);
    let plan = prepare_topics(&settings.kafka).await?;
    tracing::info!(inputs = ?plan.inputs, workers = settings.runtime.workers, "starting");
    let pipelines =
        (0..settings.runtime.workers).map(|_| assemble::pipeline(settings, &bank)).collect::<Result<Vec<_>, _>>()?;
    let (settings, metrics, shutdown) = (settings.clone(), metrics.clone(), shutdown.clone());
    tokio::task::spawn_blocking(move || run_workers(&settings, &metrics, &shutdown, pipelines)).await?
}

fn describe(bank: &Bank, metrics: &Metrics) {
    let generation = bank.generation();
    metrics.memory_units.set(i64::try_from(generation.units.len()).unwrap_or(i64::MAX));
    metrics.memory_generation.set(i64::try_from(generation.number).unwrap_or(i64::MAX));
    tracing::info!(
        generation = generation.number,
        units = generation.units.len(),
        index = bank.index_name(),
        model = generation.model,
        "memory loaded"
    );
}

/// One thread a worker; the first failure stops all.
fn run_workers(
    settings: &Settings,
    metrics: &Metrics,
    shutdown: &Shutdown,
    pipelines: Vec<Pipeline>,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let (done, results) = sync_channel(pipelines.len());
        let workers = pipelines.len();
        for pipeline in pipelines {
            let done = done.clone();
            scope.spawn(move || {
                // However a worker ends, by an error or a panic too, the others drain and stop with it.
                let _stop = StopOnDrop(shutdown);
                let result = work(settings, metrics, shutdown, pipeline);
                // The receiver outlives every worker.
                let _ = done.send(result);
            });
        }
        drop(done);
        let finished: Vec<Result<(), PortError>> = results.iter().collect();
        anyhow::ensure!(finished.len() == workers, "a worker panicked; what is committed is out, restart");
        finished.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    })
}

/// Requests shutdown when it goes out of scope.
struct StopOnDrop<'a>(&'a Shutdown);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

fn work(settings: &Settings, metrics: &Metrics, shutdown: &Shutdown, pipeline: Pipeline) -> Result<(), PortError> {
    let mut source = KafkaSource::new(&settings.kafka)?;
    let mut sink = KafkaSink::new(&settings.kafka, settings.output_format)?;
    let mut states = KafkaStateStore::new(&settings.kafka)?;
    let clock = SystemClock::new();
    let components =
        Components { source: &mut source, sink: &mut sink, states: Some(&mut states), clock: &clock, metrics };
    Worker::new(components, pipeline, settings.runtime.clone()).run(shutdown)
}

/// Returns at SIGTERM or Ctrl-C.
pub(super) async fn wait_for_signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
