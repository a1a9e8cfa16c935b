//! From a simulated plant to a model and a memory a class, through the very commands that a user would type.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Command, FromArgMatches};

use super::super::{prefill, train};
use crate::config::{Origins, Settings, read_card};
use crate::dashboard::lasting;
use crate::domain::align::millis;
use crate::domain::model::{Treatment, WindowCard};
use crate::domain::record::EventTime;
use crate::simulate::{AssetClass, FaultKind, Plant};

/// One asset class on its way: its own model, memory, topic and consumer group.
pub(super) struct Line {
    pub class: AssetClass,
    pub settings: Settings,
}

impl Line {
    /// The topic with the class's telemetry.
    pub fn input_topic(&self) -> &str {
        &self.settings.kafka.input_topics[0]
    }
}

/// A minute's window every ten seconds.
const WINDOW: &str = "60";
const STRIDE: &str = "10";

/// What an operator would choose who would rather hear of a fault a minute later than of one that is none; the same for
/// every class and fault. Chosen on the plants of seeds 1 to 6; on those of seeds 7 to 12 they found 84 of 84 faults,
/// with 4 false alarms in 10 asset-days.
const CHOICES: &str = r#"
[input]
series = ["series"]                 # on Kafka the demo takes the record's key instead

[threshold]
history = 8640                      # a day of windows: a fault that grows for an hour does not become normal meanwhile
factor = 1.5

[alarm]
raise_after = "1m"
clear_after = "1m"

[telemetry]
log = "warn,jamais::runtime=error"  # the runtime warns of dead letters, which the dashboard counts
"#;

/// A line a class of the plant, with its settings file in `folder`.
pub(super) fn lines(
    plant: &Plant,
    folder: &Path,
    name: &str,
    shared_broker: bool,
    overrides: &[String],
) -> anyhow::Result<Vec<Line>> {
    let classes = AssetClass::ALL.into_iter().filter(|class| plant.assets().iter().any(|asset| asset.class == *class));
    // On a broker that others use too, topics need names of their own.
    let prefix = if shared_broker { format!("{name}.") } else { String::new() };
    classes.map(|class| line(class, folder, name, &prefix, overrides)).collect()
}

fn line(class: AssetClass, folder: &Path, name: &str, prefix: &str, overrides: &[String]) -> anyhow::Result<Line> {
    let class_name = class.name();
    let path = |what: &str| toml::Value::from(folder.join(format!("{class_name}.{what}")).display().to_string());
    let text = format!(
        "# jamais demo: settings for {class_name}\n\n[model]\npath = {}\n\n[memory]\npath = {}\n{CHOICES}",
        path("model"),
        path("memory")
    );
    let file = folder.join(format!("{class_name}.toml"));
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let topic = |topic: &str| format!("{prefix}{topic}");
    let kafka = [
        format!("kafka.group={name}.{class_name}"),
        format!("kafka.input_topics=[\"{}\"]", topic(&format!("telemetry.{class_name}"))),
        format!("kafka.output_topic={}", topic("jamais.scores")),
        format!("kafka.dead_letter_topic={}", topic("jamais.dead-letters")),
        format!("kafka.state_topic={}", topic(&format!("jamais.state.{class_name}"))),
    ];
    // The demo counts windows, names its series by keys, and runs several services in one process; its telemetry is
    // stamped when it is sent, whatever its event time.
    let own = ["output.emit=every_window", "input.series=[]", "telemetry.listen=", "input.time_ahead_max=87600h"];
    let settings = Settings::load(&Origins {
        file: Some(file),
        environment: std::env::vars_os().collect(),
        overrides: overrides.iter().cloned().chain(kafka).chain(own.map(str::to_owned)).collect(),
    })?;
    Ok(Line { class, settings })
}

/// The plant in words.
pub(super) fn introduce(plant: &Plant) -> String {
    let span = Span::of(plant);
    let assets: Vec<String> = AssetClass::ALL
        .into_iter()
        .map(|class| (class, plant.assets().iter().filter(|asset| asset.class == class).count()))
        .filter(|(_, number)| *number > 0)
        .map(|(class, number)| format!("{number} {}", class.name()))
        .collect();
    let lasts = |from: EventTime, to: EventTime| {
        lasting(Duration::from_millis(u64::try_from(to.millis() - from.millis()).unwrap_or(0)))
    };
    let mut kinds: BTreeMap<FaultKind, usize> = BTreeMap::new();
    for fault in plant.faults() {
        *kinds.entry(fault.kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, number)| format!("{number} {}", kind_name(*kind))).collect();
    format!(
        "a simulated plant of {}: {} of normal telemetry, then {} live with {} injected faults ({})",
        assets.join(" and "),
        lasts(span.begun, span.start),
        lasts(span.start, EventTime::from_millis(span.last.millis() + span.grid_ms)),
        plant.faults().len(),
        kinds.join(", ")
    )
}

/// A kind in words.
pub(super) fn kind_name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::BearingWear => "bearing wear",
        FaultKind::Cavitation => "cavitation",
        FaultKind::Leak => "leak",
        FaultKind::StuckSensor => "stuck sensor",
    }
}

/// Trains the class's encoder and fills its memory; says what came of it.
pub(super) fn prepare(line: &Line, folder: &Path) -> anyhow::Result<String> {
    let class = line.class.name();
    let mut settings = line.settings.clone();
    // A file of several assets has no keys.
    settings.input.series = crate::codec::SeriesFrom::Fields(vec!["series".to_owned()]);
    let normal = folder.join(format!("normal-{class}.jsonl")).display().to_string();
    let channels = line.class.channels().join(",");
    let arguments =
        ["train", &normal, "--channels", &channels, "--window", WINDOW, "--stride", STRIDE, "--name", class];
    train::run(&parsed(&arguments)?, &settings)?;
    prefill::run(&parsed(&["prefill", &normal])?, &settings)?;
    let card = read_card(&settings.model)?;
    let mut text = format!(
        "{class}: trained on normal telemetry; windows of {} samples every {}; {} of {} channels judged",
        card.window.size,
        card.window.stride,
        card.features(),
        card.channel.len()
    );
    for channel in card.channel.iter().filter(|channel| channel.treatment == Treatment::LeftOut) {
        // Writing to a `String` does not fail.
        let _ = write!(text, "\n  left out: {} ({})", channel.name, channel.reason);
    }
    Ok(text)
}

/// A command's arguments as if they had been typed, so that every default is the command's own.
fn parsed<A: Args + FromArgMatches>(arguments: &[&str]) -> anyhow::Result<A> {
    let matches = A::augment_args(Command::new("jamais")).try_get_matches_from(arguments)?;
    Ok(A::from_arg_matches(&matches)?)
}

/// The live hours in event time.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// The first sample of the history.
    pub begun: EventTime,
    /// The first live sample.
    pub start: EventTime,
    /// The last sample's time.
    pub last: EventTime,
    /// Time between an asset's samples.
    pub grid_ms: i64,
}

impl Span {
    pub fn of(plant: &Plant) -> Self {
        let assets = plant.assets().len();
        let mut firsts = plant.samples().step_by(assets).map(|sample| sample.time.millis());
        let begun = firsts.next().unwrap_or(0);
        let grid_ms = firsts.next().map_or(1, |second| second - begun);
        let ticks = i64::try_from(plant.sample_count() / assets as u64).unwrap_or(i64::MAX);
        let last = EventTime::from_millis(begun + grid_ms * (ticks - 1));
        Self { begun: EventTime::from_millis(begun), start: plant.live_start(), last, grid_ms }
    }

    /// How much of it has passed at `time`, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn share(&self, time: EventTime) -> f64 {
        let whole = (self.last.millis() - self.start.millis()).max(1);
        ((time.millis() - self.start.millis()) as f64 / whole as f64).clamp(0.0, 1.0)
    }

    /// How many windows an asset gives that sends a sample a grid cell: those of whole length whose last cell lies
    /// before the watermark that the last sample sets.
    pub fn windows(&self, window: &WindowCard, lateness: Duration) -> u64 {
        let grid = i64::try_from(window.grid_ms).unwrap_or(i64::MAX);
        let cells = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 2);
        let (size, stride) = (cells(window.size), cells(window.stride));
        let first = self.start.millis().div_euclid(grid) + size - 1;
        // The last cell that ends before the watermark.
        let last = (self.last.millis() - millis(lateness) - 1).div_euclid(grid);
        // Windows end on multiples of the stride.
        u64::try_from(last.div_euclid(stride) - (first - 1).div_euclid(stride)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::align::{AlignSettings, Aligned, Aligner, GapPolicy};
    use crate::domain::record::{Reading, SeriesKey};
    use crate::domain::window::WindowBuffer;

    /// The windows that the pipeline's own parts make of a sample a second, for 100 seconds from `start_s`.
    fn counted(start_s: i64, size: usize, stride: usize, lateness: Duration) -> u64 {
        let grid = Duration::from_secs(1);
        let align =
            AlignSettings { grid, lateness, gap: GapPolicy::Hold, gap_max: Duration::from_secs(10), channels: 1 };
        let (mut aligner, mut buffer, mut windows) = (Aligner::new(1), WindowBuffer::default(), 0);
        for second in start_s..start_s + 100 {
            let mut aligned = Vec::new();
            let reading = Reading {
                series: SeriesKey::new("pump-1"),
                time: EventTime::from_millis(second * 1000),
                values: vec![(0, 1.0)],
            };
            aligner.push(&align, &reading, second, &mut aligned).unwrap();
            for aligned in aligned {
                if let Aligned::Sample(sample) = aligned {
                    windows += u64::from(buffer.push(sample, size, stride, 1000).is_some());
                }
            }
        }
        windows
    }

    #[test]
    fn the_windows_that_are_expected_are_those_that_the_pipeline_makes() {
        for (start_s, size, stride, lateness_ms) in
            [(0, 5, 1, 5000), (3, 60, 10, 5000), (7, 60, 10, 0), (1_772_445_600, 16, 7, 4500), (11, 99, 3, 5000)]
        {
            let span = Span {
                begun: EventTime::from_millis(start_s * 1000),
                start: EventTime::from_millis(start_s * 1000),
                last: EventTime::from_millis((start_s + 99) * 1000),
                grid_ms: 1000,
            };
            let lateness = Duration::from_millis(lateness_ms);
            let expected = counted(start_s, size, stride, lateness);
            let window = crate::domain::model::WindowCard { size, stride, grid_ms: 1000 };
            assert_eq!(span.windows(&window, lateness), expected, "{start_s} {size} {stride} {lateness_ms}");
        }
    }
}
