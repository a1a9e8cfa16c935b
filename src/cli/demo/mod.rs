//! `jamais demo`: everything at work on a simulated plant, beside what is known to be wrong with it.
//!
//! A plant is simulated; each asset class is trained and its memory filled by `jamais train` and `jamais prefill`; then
//! the workers of `jamais run` score the live telemetry over Kafka, a dashboard follows the scores topic, and the alarms
//! are held against the faults that were injected.

mod broker;
mod live;
mod plant;
mod screen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::runtime::Runtime;

use super::SettingsArgs;
use super::simulate::PlantArgs;
use crate::adapters::clock::SystemClock;
use crate::dashboard::{Facts, Report, alarm_list, grouped};
use crate::ports::Clock;
use crate::runtime::Shutdown;
use crate::simulate::Plant;
use broker::Broker;
use live::Live;
use plant::Line;
use screen::Screen;

/// What is shown, and where.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// A real Kafka instead of the built-in mock broker; topics of new names are created on it, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Keeps telemetry, models, memories and settings in this folder, and the topics on a real Kafka
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    plant: PlantArgs,
}

pub(super) fn run(args: &DemoArgs, settings: &SettingsArgs) -> anyhow::Result<()> {
    ensure!(
        settings.config.is_none(),
        "the demo writes settings of its own for each asset class; change single keys with --set SECTION.KEY=VALUE"
    );
    let plant = args.plant.plant()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let shutdown = Shutdown::default();
    runtime.spawn(stop_on_signal(shutdown.clone()));
    let name = format!("jamais-demo-{:016x}", random_number());
    let folder = Folder::new(args.keep.as_deref(), &name)?;
    let mut lines = plant::lines(&plant, &folder.path, &name, args.brokers.is_some(), &settings.overrides)?;
    crate::telemetry::init_logs(&lines[0].settings.telemetry);
    // First of all, since it is what may not be there.
    let broker = Broker::start(args.brokers.as_deref(), &mut lines, &runtime)?;
    let shown = show(&plant, &lines, &folder.path, &broker, &runtime, &shutdown);
    if args.keep.is_none() {
        let cleaned = broker.clean(&runtime);
        return shown.and(cleaned);
    }
    shown?;
    let (folder, class) = (folder.path.display(), lines[0].class.name());
    let example = format!("jamais score --config {folder}/{class}.toml {folder}/live-{class}.jsonl -o scores.jsonl");
    Screen::open().say(&format!("kept in {folder}; try {example}"))
}

/// From the plant to the summary.
fn show(
    plant: &Plant,
    lines: &[Line],
    folder: &Path,
    broker: &Broker,
    runtime: &Runtime,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let mut phases = Phases { clock: &clock, begun: Duration::ZERO, taken: Vec::new() };
    let screen = Screen::open();
    screen.say(&plant::introduce(plant))?;
    super::simulate::write(plant, folder)?;
    phases.end("simulate");
    for line in lines {
        ensure!(!shutdown.requested(), "stopped before anything was scored");
        screen.say(&plant::prepare(line, folder)?)?;
    }
    phases.end("train and prefill");
    ensure!(!shutdown.requested(), "stopped before anything was scored");
    screen.say(&format!("streaming the live telemetry over {}\n", broker.describe()))?;
    let live = live::stream(plant, lines, runtime, shutdown, &clock, screen)?;
    phases.end("stream and score");
    sum_up(live, phases.taken)
}

/// Prints the summary; fails if anything is missing.
fn sum_up(live: Live, phases: Vec<(String, Duration)>) -> anyhow::Result<()> {
    let Live { fleet, facts, stopped } = live;
    let screen = Screen::open();
    if stopped {
        let (windows, alarms) = (grouped(fleet.windows()), fleet.alarms().len());
        return screen.say(&format!(
            "stopped by a signal: workers have drained and committed; {windows} windows scored, {alarms} alarms raised"
        ));
    }
    if screen.is_terminal() {
        // The live view, which is gone, had room for the latest ones only.
        screen.say("alarms")?;
        alarm_list(&fleet).iter().try_for_each(|line| screen.say(line))?;
    }
    let report = Report::new(&fleet, &Facts { phases, ..facts });
    screen.say(&format!("\n{report}"))?;
    match report.shortfalls() {
        [] => Ok(()),
        shortfalls => bail!("the stream is incomplete: {}", shortfalls.join("; ")),
    }
}

/// Two signals within this time are one: a terminal, and what runs the demo in it, may both send it.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Asks for a clean end at the first signal; a second one does not wait for it.
async fn stop_on_signal(shutdown: Shutdown) {
    for already in [false, true] {
        if let Err(error) = super::run::wait_for_signal().await {
            tracing::error!(%error, "signals cannot be waited for");
            return;
        }
        if already {
            std::process::exit(130);
        }
        shutdown.request();
        tokio::time::sleep(SAME_SIGNAL).await;
    }
}

/// A number that no other demo has; nothing that is scored depends on it.
fn random_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Wall time, by what was done.
struct Phases<'a> {
    clock: &'a SystemClock,
    begun: Duration,
    taken: Vec<(String, Duration)>,
}

impl Phases<'_> {
    fn end(&mut self, name: &str) {
        let now = self.clock.now();
        self.taken.push((name.to_owned(), now - self.begun));
        self.begun = now;
    }
}

/// The demo's folder; removed at the end unless it is kept.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn new(keep: Option<&Path>, name: &str) -> anyhow::Result<Self> {
        let path = keep.map_or_else(|| std::env::temp_dir().join(name), Path::to_owned);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        let mut entries =
            std::fs::read_dir(&path).with_context(|| format!("cannot read the folder {}", path.display()))?;
        ensure!(entries.next().is_none(), "the folder {} is not empty; name a new one for --keep", path.display());
        Ok(Self { path: path.canonicalize()?, kept: keep.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "cannot be removed");
        }
    }
}
