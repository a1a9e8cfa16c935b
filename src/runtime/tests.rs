//! A worker over fakes that write down what they are told, in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::*;
use crate::config::Settings;
use crate::domain::event::ScoredEvent;
use crate::domain::record::{DeadLetter, Record};
use crate::pipeline::tests::{pipeline, settings, stream};
use crate::ports::Checkpoint;

#[derive(Default)]
struct Log(RefCell<Vec<String>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }
}

/// Plays a script of polls; every commit fails as often as `commits_fail` says.
struct Script<'a> {
    log: &'a Log,
    polls: VecDeque<Result<Polled, PortError>>,
    committed: Option<NextOffset>,
    commits_fail: u32,
}

impl Source for Script<'_> {
    fn poll(&mut self, _max: usize, _timeout: Duration) -> Result<Polled, PortError> {
        self.polls.pop_front().unwrap_or(Ok(Polled::End))
    }
    fn begin(&mut self, partitions: &[(PartitionId, Option<NextOffset>)]) -> Result<(), PortError> {
        let starts: Vec<_> = partitions.iter().map(|(_, start)| start.as_ref().map(NextOffset::offset)).collect();
        self.log.note(format!("begin {starts:?}"));
        Ok(())
    }
    fn release(&mut self, _partitions: &[PartitionId]) -> Result<(), PortError> {
        self.log.note("release");
        Ok(())
    }
    fn committed(&mut self, _partition: &PartitionId) -> Result<Option<NextOffset>, PortError> {
        Ok(self.committed.clone())
    }
    fn commit(&mut self, next_offsets: &[NextOffset]) -> Result<(), PortError> {
        if self.commits_fail > 0 {
            self.commits_fail -= 1;
            return Err(retry());
        }
        self.log.note(format!("commit {}", next_offsets[0].offset()));
        Ok(())
    }
    fn set_paused(&mut self, paused: bool) -> Result<(), PortError> {
        self.log.note(if paused { "pause" } else { "resume" });
        Ok(())
    }
}

struct Out<'a> {
    log: &'a Log,
    in_flight: VecDeque<usize>,
}

impl Sink for Out<'_> {
    fn emit(&mut self, events: &[ScoredEvent], _dead_letters: &[DeadLetter]) -> Result<(), PortError> {
        self.log.note(format!("emit {}", events.len()));
        Ok(())
    }
    fn in_flight(&mut self) -> usize {
        self.in_flight.pop_front().unwrap_or(0)
    }
    fn flush(&mut self) -> Result<(), PortError> {
        self.log.note("flush");
        Ok(())
    }
}

struct States<'a> {
    log: &'a Log,
    held: Option<Checkpoint>,
    restores_fail: u32,
}

impl StateStore for States<'_> {
    fn restore(&mut self, _partition: &PartitionId) -> Result<Option<Checkpoint>, PortError> {
        if self.restores_fail > 0 {
            self.restores_fail -= 1;
            return Err(retry());
        }
        Ok(self.held.clone())
    }
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), PortError> {
        self.log.note(format!("save {}", checkpoint.next_offset.offset()));
        self.held = Some(checkpoint.clone());
        Ok(())
    }
}

/// A second passes between any two looks, and as long as it is told to wait.
#[derive(Default)]
struct Seconds {
    now: Cell<Duration>,
    waited: Cell<Duration>,
}

// The worker under test runs on the test's own thread.
struct Shared(std::sync::Mutex<Seconds>);

impl Clock for Shared {
    fn now(&self) -> Duration {
        let seconds = self.0.lock().unwrap();
        seconds.now.set(seconds.now.get() + Duration::from_secs(1));
        seconds.now.get()
    }
    fn wait(&self, time: Duration) {
        let seconds = self.0.lock().unwrap();
        seconds.now.set(seconds.now.get() + time);
        seconds.waited.set(seconds.waited.get() + time);
    }
}

fn retry() -> PortError {
    PortError { disposition: Disposition::Retry, ..PortError::fatal("not now") }
}

fn partition() -> PartitionId {
    ("telemetry".into(), 0)
}

fn records(range: std::ops::Range<usize>) -> Result<Polled, PortError> {
    Ok(Polled::Records(all()[range].to_vec()))
}

fn all() -> Vec<Record> {
    stream(60, 99, 0.0)
}

fn assigned() -> Result<Polled, PortError> {
    Ok(Polled::Assigned(vec![partition()]))
}

/// What the fakes begin with.
#[derive(Default)]
struct Setup {
    polls: Vec<Result<Polled, PortError>>,
    in_flight: Vec<usize>,
    commits_fail: u32,
    restores_fail: u32,
    held: Option<Checkpoint>,
    committed: Option<NextOffset>,
}

/// Runs a worker that commits after every poll, and gives what was noted, how it ended, and how long it waited.
fn run(setup: Setup) -> (Vec<String>, Result<(), PortError>, Duration) {
    let log = Log::default();
    let Setup { polls, in_flight, commits_fail, restores_fail, held, committed } = setup;
    let mut source = Script { log: &log, polls: polls.into(), committed, commits_fail };
    let mut sink = Out { log: &log, in_flight: in_flight.into() };
    let mut states = States { log: &log, held, restores_fail };
    let clock = Shared(std::sync::Mutex::default());
    let metrics = Metrics::new();
    let mut runtime = Settings::defaults().runtime;
    runtime.commit_interval = Duration::ZERO;
    runtime.checkpoint_interval = Duration::from_secs(1_000_000);
    runtime.in_flight_max = 10;
    let components = Components {
        source: &mut source,
        sink: &mut sink,
        states: Some(&mut states),
        clock: &clock,
        metrics: &metrics,
    };
    let ended = Worker::new(components, pipeline(settings()), runtime).run(&Shutdown::default());
    let waited = clock.0.lock().unwrap().waited.get();
    (log.0.into_inner(), ended, waited)
}

#[test]
fn events_are_flushed_then_state_is_saved_then_offsets_are_committed() {
    let (log, ended, _) = run(Setup { polls: vec![assigned(), records(0..10), records(10..20)], ..Setup::default() });
    ended.unwrap();
    let expected = [
        "begin [None]",
        "emit 7",
        "flush",
        "save 10",
        "commit 10", // a first commit never goes without a checkpoint
        "emit 10",
        "flush",
        "commit 20",
        "flush",
        "save 20", // at the end
    ];
    assert_eq!(log, expected);
}

#[test]
fn a_restart_begins_at_the_checkpoint_and_does_not_commit_behind_what_is_committed() {
    let (first, ended, _) = run(Setup { polls: vec![assigned(), records(0..10)], ..Setup::default() });
    ended.unwrap();
    assert!(first.contains(&"save 10".to_owned()));
    let mut before = pipeline(settings());
    before.process(&all()[..10]).unwrap();
    let held = before.checkpoint(&partition());
    let committed = Some(all()[19].position.next());
    let polls = vec![assigned(), records(10..15), records(15..25)];
    let (log, ended, _) = run(Setup { polls, held, committed, ..Setup::default() });
    ended.unwrap();
    let expected = ["begin [Some(10)]", "emit 0", "emit 5", "flush", "commit 25", "flush", "save 25"];
    assert_eq!(log, expected, "offsets 10 to 19 are out already");
}

#[test]
fn what_is_revoked_is_committed_first_and_what_is_lost_is_not() {
    let revoked = Ok(Polled::Revoked(vec![partition()]));
    let (log, ended, _) = run(Setup { polls: vec![assigned(), records(0..10), revoked], ..Setup::default() });
    ended.unwrap();
    assert_eq!(log[log.len() - 2..], ["release", "flush"], "nothing is left to commit at the end: {log:?}");
    let lost = Ok(Polled::Lost(vec![partition()]));
    let polls = vec![assigned(), records(0..10), lost];
    let (log, ended, _) = run(Setup { polls, commits_fail: 9, ..Setup::default() });
    ended.unwrap();
    assert!(log.iter().all(|line| !line.starts_with("commit")), "{log:?}");
}

#[test]
fn fetching_pauses_above_the_bound_and_goes_on_below_half_of_it() {
    let polls = vec![assigned(), records(0..10), records(10..11), records(11..12), records(12..13)];
    let (log, ended, _) = run(Setup { polls, in_flight: vec![0, 11, 9, 6, 5], ..Setup::default() });
    ended.unwrap();
    let turns: Vec<_> = log.iter().filter(|line| *line == "pause" || *line == "resume").collect();
    assert_eq!(turns, ["pause", "resume"]);
    let at = |what: &str| log.iter().position(|line| line == what).unwrap();
    assert!(at("pause") < at("commit 11") && at("resume") > at("commit 12"), "{log:?}");
}

#[test]
fn what_may_be_tried_again_is_with_growing_pauses_and_not_for_ever() {
    let polls = vec![assigned(), Err(retry()), records(0..10)];
    let (log, ended, waited) = run(Setup { polls, restores_fail: 3, ..Setup::default() });
    ended.unwrap();
    assert!(log.contains(&"commit 10".to_owned()));
    assert_eq!(waited, BACKOFF * (1 + 2 + 4) + BACKOFF);
    let (_, ended, waited) = run(Setup { polls: (0..999).map(|_| Err(retry())).collect(), ..Setup::default() });
    assert_eq!(ended.unwrap_err().what, "not now");
    assert!(waited < PATIENCE, "the looks at the clock between take a second each");
    let (_, ended, waited) = run(Setup { polls: vec![Err(PortError::fatal("broken"))], ..Setup::default() });
    assert_eq!((ended.unwrap_err().what.as_str(), waited), ("broken", Duration::ZERO));
}

#[test]
fn failures_with_successes_between_them_are_no_row() {
    let polls = (0..999).map(|at| if at % 2 == 0 { Err(retry()) } else { Ok(Polled::Records(Vec::new())) });
    run(Setup { polls: polls.collect(), ..Setup::default() }).1.unwrap();
}

#[test]
fn commits_that_fail_do_not_hide_behind_records_that_come() {
    let polls = || std::iter::once(assigned()).chain((0..60).map(|i| records(i..i + 1))).collect();
    let (log, ended, _) = run(Setup { polls: polls(), commits_fail: 5, ..Setup::default() });
    ended.unwrap();
    assert!(log.contains(&"commit 6".to_owned()), "the next commit makes up for it: {log:?}");
    let (_, ended, _) = run(Setup { polls: polls(), commits_fail: 999, ..Setup::default() });
    assert_eq!(ended.unwrap_err().what, "not now");
}
