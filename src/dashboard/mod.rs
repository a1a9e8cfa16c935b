//! `dashboard`: a fleet as its scored events show it, and as people want to read it.
//!
//! Laws:
//! 1. [`Fleet`] is a function of the events it was given, in their order a series; an event that comes twice counts
//!    once.
//! 2. What is known of injected faults never changes what a table says of an asset's state: it only judges the alarms.
//! 3. Nothing here reads a clock, a terminal or a topic, or writes anything: tables and lines are returned as text.
//!
//! In reading order: `fleet` (the state), `table` (the live view and a line an alarm), `report` (what came of it in the
//! end), `text` (numbers and times).

mod fleet;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use fleet::{AlarmTrack, Asset, Evidence, FaultTrack, Fleet, KnownFault, Member, State, Turn, Verdict};
pub use report::{Facts, Report};
pub use table::{Progress, alarm_line, alarm_list, frame, progress_line};
pub use text::{grouped, lasting};
