//! The live hours: a producer, the workers of `jamais run`, and the dashboard that follows the scores topic.
//!
//! The producer may run only a bounded event time ahead of the scores that have been read: the mock broker keeps little,
//! and nobody wants alarms of hours ago.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;

use super::super::run::serve_topics;
use super::plant::{Line, Span, kind_name};
use super::screen::Screen;
use crate::adapters::clock::SystemClock;
use crate::adapters::kafka::{Tailed, TopicFeed, TopicTail};
use crate::codec::deserialize_event;
use crate::config::read_card;
use crate::dashboard::{Facts, Fleet, KnownFault, Member, Progress, alarm_line, frame, progress_line};
use crate::domain::align::millis;
use crate::domain::model::ModelCard;
use crate::domain::record::EventTime;
use crate::ports::Clock;
use crate::runtime::Shutdown;
use crate::simulate::{Asset, Plant, wide_json};
use crate::telemetry::Metrics;

/// The stream as it went.
pub(super) struct Live {
    pub fleet: Fleet,
    /// All but the phases.
    pub facts: Facts,
    /// A signal ended it.
    pub stopped: bool,
}

/// Without a new score for so long, something is broken.
const STALLED: Duration = Duration::from_secs(60);
/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(250);
/// Records read at once.
const BATCH: usize = 1000;
/// How long a look for scores waits.
const WAIT: Duration = Duration::from_millis(50);
/// Assets that a terminal's table has room for.
const ASSETS_SHOWN: usize = 14;
/// Records sent and not scored, at most: with all evidence, an event has 3 kB, and the mock broker keeps 5 MB.
const AHEAD_RECORDS_MAX: i64 = 3000;
/// Records that are made unusable, one at the end of each such part of the stream.
const MALFORMED: u64 = 5;

/// Streams the plant's live telemetry through the lines' workers, and follows the scores to the end.
pub(super) fn stream(
    plant: &Plant,
    lines: &[Line],
    runtime: &tokio::runtime::Runtime,
    shutdown: &Shutdown,
    clock: &SystemClock,
    screen: Screen,
) -> anyhow::Result<Live> {
    let cards = lines.iter().map(|line| read_card(&line.settings.model)).collect::<Result<Vec<_>, _>>()?;
    let tail = TopicTail::new(&lines[0].settings.kafka)?;
    let services: Vec<JoinHandle<anyhow::Result<()>>> = lines
        .iter()
        .map(|line| {
            let (settings, shutdown) = (line.settings.clone(), shutdown.clone());
            runtime.spawn(async move { serve_topics(&settings, Metrics::new(), &shutdown).await })
        })
        .collect();
    let span = Span::of(plant);
    let lead = Lead::new(span.start, lead_ms(plant, &span, lines, &cards));
    let mut dashboard = Dashboard::new(plant, lines, &cards, screen, span);
    // A scope's thread is joined whatever happens; this makes sure that it ends.
    let followed = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let produced = produce(plant, lines, &span, &lead, shutdown);
            if produced.is_err() {
                shutdown.request();
            }
            produced
        });
        let broken = || shutdown.requested() || services.iter().any(JoinHandle::is_finished);
        let followed = dashboard.follow(&tail, &lead, clock, broken);
        let stopped = shutdown.requested();
        shutdown.request();
        let produced = producer.join().unwrap_or_else(|_| anyhow::bail!("the producer panicked"));
        followed.and(produced).map(|records| (stopped, records))
    });
    shutdown.request();
    for service in services {
        runtime.block_on(service).context("a service panicked")??;
    }
    let (stopped, records) = followed?;
    let Dashboard { fleet, facts, .. } = dashboard;
    let facts = Facts { records, ..facts };
    Ok(Live { fleet, facts, stopped })
}

/// How far in event time the producer may run ahead: so far that its records and their scores fit on the broker, but no
/// less than it takes for a first score to come out.
fn lead_ms(plant: &Plant, span: &Span, lines: &[Line], cards: &[ModelCard]) -> i64 {
    let assets = i64::try_from(plant.assets().len()).unwrap_or(i64::MAX);
    let fits = AHEAD_RECORDS_MAX / assets * span.grid_ms;
    let needed = lines.iter().zip(cards).map(|(line, card)| {
        let window = i64::try_from(card.window.size + 2 * card.window.stride).unwrap_or(i64::MAX);
        2 * (window * card.grid_ms() + millis(line.settings.align.lateness))
    });
    needed.max().unwrap_or(0).max(fits)
}

/// Holds the producer back.
struct Lead {
    reached: Mutex<EventTime>,
    moved: Condvar,
    ahead_ms: i64,
}

impl Lead {
    fn new(start: EventTime, ahead_ms: i64) -> Self {
        Self { reached: Mutex::new(start), moved: Condvar::new(), ahead_ms }
    }

    /// Every asset has been scored up to `time`.
    fn reach(&self, time: EventTime) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = time;
        self.moved.notify_all();
    }

    /// Waits until a record of `time` may be sent; false if that will not be.
    fn may_send(&self, time: EventTime, shutdown: &Shutdown) -> bool {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        while !shutdown.requested() && time.millis() - reached.millis() > self.ahead_ms {
            reached = self.moved.wait_timeout(reached, WAIT).unwrap_or_else(PoisonError::into_inner).0;
        }
        !shutdown.requested()
    }
}

/// Sends the live samples in event-time order, and a few malformed records among them; gives the number of records.
fn produce(plant: &Plant, lines: &[Line], span: &Span, lead: &Lead, shutdown: &Shutdown) -> anyhow::Result<u64> {
    let feed = TopicFeed::new(&lines[0].settings.kafka)?;
    let topics: BTreeMap<_, _> = lines.iter().map(|line| (line.class, line.input_topic())).collect();
    let (mut records, mut malformed) = (0, 0);
    for sample in plant.samples().skip_while(|sample| sample.time < span.start) {
        if !lead.may_send(sample.time, shutdown) {
            return Ok(records);
        }
        let asset = &plant.assets()[sample.asset];
        let (topic, key) = (topics[&asset.class], asset.series.as_str().as_bytes());
        let json = wide_json(asset, &sample);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let due = malformed < MALFORMED && span.share(sample.time) >= (malformed as f64 + 0.5) / MALFORMED as f64;
        if due && spoiled_asset(plant, malformed) == asset {
            let (keyed, text) = spoil(malformed, &json);
            feed.send(topic, keyed.then_some(key), text.as_bytes())?;
            malformed += 1;
            records += 1;
        }
        feed.send(topic, Some(key), json.as_bytes())?;
        records += 1;
        if sample.asset == 0 {
            feed.in_flight();
        }
    }
    feed.flush()?;
    Ok(records)
}

/// Which asset sends the malformed record: another one each time.
fn spoiled_asset(plant: &Plant, number: u64) -> &Asset {
    let assets = plant.assets();
    let step = assets.len() as u64 / 2 + 1;
    &assets[usize::try_from(number * step % assets.len() as u64).unwrap_or(0)]
}

/// A record as it should not be, in a different way each time: (with its key, its text).
fn spoil(number: u64, json: &str) -> (bool, String) {
    match number % MALFORMED {
        0 => (true, json.chars().take(json.chars().count() / 2).collect()),
        1 => (true, json.replacen("\"time\"", "\"when\"", 1)),
        2 => (true, json.replacen("\"time\":\"", "\"time\":\"around ", 1)),
        3 => (false, json.to_owned()),
        _ => (true, format!("[{json}]")),
    }
}

/// The fleet on the screen.
struct Dashboard {
    fleet: Fleet,
    facts: Facts,
    screen: Screen,
    span: Span,
    format: crate::codec::OutputFormat,
    /// Tenths of the stream that were announced.
    tenths: u64,
    began: Duration,
    drawn: Duration,
    /// When the last score came.
    news: Duration,
}

impl Dashboard {
    fn new(plant: &Plant, lines: &[Line], cards: &[ModelCard], screen: Screen, span: Span) -> Self {
        let member = |asset: &Asset| Member { series: asset.series.clone(), class: asset.class.name().to_owned() };
        let known = |fault: &crate::simulate::InjectedFault| KnownFault {
            series: fault.asset.clone(),
            kind: kind_name(fault.kind).to_owned(),
            start: fault.start,
            full: fault.full,
            end: fault.end,
        };
        let windows = |asset: &Asset| {
            let (line, card) = lines.iter().zip(cards).find(|(line, _)| line.class == asset.class)?;
            Some((asset.series.as_str().to_owned(), span.windows(&card.window, line.settings.align.lateness)))
        };
        let raise_after = lines.iter().map(|line| line.settings.alarm.raise_after).max().unwrap_or_default();
        // After a repair windows and averages still hold the fault, and flags from then take so long to be an alarm.
        let settle = lines.iter().zip(cards).map(|(line, card)| {
            let windows = card.window.size + 4 * line.settings.deviation.smoothing as usize * card.window.stride;
            card.grid() * u32::try_from(windows).unwrap_or(u32::MAX)
        });
        let grace = raise_after + settle.max().unwrap_or_default();
        let facts = Facts {
            windows_expected: plant.assets().iter().filter_map(windows).collect(),
            malformed: MALFORMED,
            raise_after,
            grace,
            ..Facts::default()
        };
        let members = plant.assets().iter().map(member).collect();
        Self {
            fleet: Fleet::new(members, plant.faults().iter().map(known).collect(), grace),
            facts,
            screen,
            span,
            format: lines[0].settings.output_format,
            tenths: 0,
            began: Duration::ZERO,
            drawn: Duration::ZERO,
            news: Duration::ZERO,
        }
    }

    /// Reads scores until all are there, none come any more, or something has broken.
    fn follow(
        &mut self,
        tail: &TopicTail,
        lead: &Lead,
        clock: &SystemClock,
        broken: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        self.began = clock.now();
        self.news = self.began;
        while !broken() && !self.complete() {
            let read = tail.poll(BATCH, WAIT)?;
            let now = clock.now();
            if !read.is_empty() {
                self.news = now;
            } else if now - self.news > STALLED {
                break;
            }
            for tailed in read {
                self.take(tailed)?;
            }
            if let Some(reached) = self.fleet.reached() {
                lead.reach(reached);
            }
            self.facts.streaming = self.news - self.began;
            self.show(now)?;
        }
        Ok(())
    }

    /// As many windows and dead letters as there should be.
    fn complete(&self) -> bool {
        let expected: u64 = self.facts.windows_expected.values().sum();
        let dead_letters: u64 = self.facts.dead_letters.values().sum();
        self.fleet.windows() >= expected && dead_letters >= self.facts.malformed
    }

    fn take(&mut self, tailed: Tailed) -> anyhow::Result<()> {
        match tailed {
            Tailed::DeadLetter(kind) => *self.facts.dead_letters.entry(kind).or_default() += 1,
            Tailed::Score(bytes) => {
                let turn = self.fleet.take(&deserialize_event(self.format, &bytes)?);
                if let (Some(turn), false) = (turn, self.screen.is_terminal()) {
                    self.screen.say(&alarm_line(&self.fleet, turn))?;
                }
            }
        }
        Ok(())
    }

    /// Draws, where that can be done and it is time; else says each tenth.
    fn show(&mut self, now: Duration) -> anyhow::Result<()> {
        let progress = Progress {
            share: self.fleet.reached().map_or(0.0, |reached| self.span.share(reached)),
            elapsed: now - self.began,
            dead_letters: self.facts.dead_letters.values().sum(),
        };
        if self.screen.is_terminal() {
            if now - self.drawn >= REDRAW || self.complete() {
                self.drawn = now;
                self.screen.draw(&frame(&self.fleet, &progress, ASSETS_SHOWN, self.screen.color()))?;
            }
            return Ok(());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
        let tenths = (progress.share * 10.0).floor() as u64;
        if tenths > self.tenths {
            self.tenths = tenths;
            self.screen.say(&progress_line(&self.fleet, &progress))?;
        }
        Ok(())
    }
}
