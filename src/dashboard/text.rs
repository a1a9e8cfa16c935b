//! Numbers and times as people read them.

use std::time::Duration;

use crate::domain::record::EventTime;

/// A time of day, UTC: `17:20:05`.
pub(super) fn clock(time: EventTime) -> String {
    format_time(time, "%H:%M:%S")
}

/// Without seconds: `17:20`.
pub(super) fn hour_minute(time: EventTime) -> String {
    format_time(time, "%H:%M")
}

/// With its day: `2 Mar 17:20`.
pub(super) fn day_clock(time: EventTime) -> String {
    format_time(time, "%-d %b %H:%M")
}

fn format_time(time: EventTime, pattern: &str) -> String {
    jiff::Timestamp::from_millisecond(time.millis())
        .map_or_else(|_| time.to_string(), |timestamp| timestamp.strftime(pattern).to_string())
}

/// A duration to the second: `48s`, `12m 30s`, `1h 02m`; milliseconds, where it is shorter than a second.
pub fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{}ms", duration.as_millis()),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

/// A whole number with its thousands apart: `144,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A measured value to about four digits.
pub(super) fn value(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `1 alarm`, `2 alarms`.
pub(super) fn count(number: usize, singular: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { singular } else { plural })
}

/// Time from `from` to `to`; zero if `to` is earlier.
pub(super) fn between(from: EventTime, to: EventTime) -> Duration {
    Duration::from_millis(u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or(0))
}
