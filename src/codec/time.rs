//! `time`: event times as producers write them, and as events carry them.
//!
//! Laws:
//! 1. A text without a zone is UTC.
//! 2. What is finer than a millisecond is rounded to the nearest one, halves up.
//! 3. A unit is guessed only by `auto`, and from the number alone: the same number always means the same time.
//! 4. Every time that is read lies on the calendar, in years -9999 to 9999.
//!
//! It does not judge whether a time is plausible; the decoder does.

use std::fmt;
use std::str::FromStr;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde::{Deserialize, Serialize};

use super::error::quoted;
use crate::domain::record::EventTime;

/// How an event time is written.
///
/// ```
/// use jamais::codec::TimeFormat;
/// let format: TimeFormat = "%d/%m/%Y %H:%M:%S".parse()?;
/// assert_eq!(format.read_text("14/11/2023 22:13:20")?.millis(), 1_700_000_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TimeFormat {
    /// `auto`. A text is RFC 3339 as below, or a number. A number's unit follows from its magnitude: below 1e11 it is
    /// seconds (until the year 5138), below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds. So times
    /// before March 1973 need an explicit format unless they are seconds.
    Auto,
    /// `rfc3339`: `2023-11-14T22:13:20.5Z`, or `2023-11-14 22:13:20.5`, which is UTC.
    Rfc3339,
    /// `unix_s`: seconds since the Unix epoch, also with a fraction.
    UnixSeconds,
    /// `unix_ms`: milliseconds since the Unix epoch.
    UnixMillis,
    /// `unix_us`: microseconds since the Unix epoch.
    UnixMicros,
    /// `unix_ns`: nanoseconds since the Unix epoch. Write them without a fraction or an exponent, which have too few
    /// digits for nanoseconds.
    UnixNanos,
    /// A `strptime` pattern, such as `%d/%m/%Y %H:%M:%S%.f`.
    Strftime(String),
}

/// A time that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} is no time in the format {format:?}")]
pub struct TimeError {
    /// What was found.
    pub found: String,
    /// The format.
    pub format: String,
}

/// A text that names no [`TimeFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeFormatError {
    /// Neither a known word nor a pattern.
    #[error(
        "{0} is no time format; use auto, rfc3339, unix_s, unix_ms, unix_us, unix_ns or a pattern such as \
         \"%d/%m/%Y %H:%M:%S\""
    )]
    Unknown(String),
    /// A pattern that cannot be read back to a time.
    #[error(
        "{0} is no pattern that a date and time can be read with: {1}; use strptime's directives, year, month and day \
         among them"
    )]
    Pattern(String, String),
}

impl FromStr for TimeFormat {
    type Err = TimeFormatError;

    fn from_str(text: &str) -> Result<Self, TimeFormatError> {
        Ok(match text {
            "auto" => Self::Auto,
            "rfc3339" => Self::Rfc3339,
            "unix_s" => Self::UnixSeconds,
            "unix_ms" => Self::UnixMillis,
            "unix_us" => Self::UnixMicros,
            "unix_ns" => Self::UnixNanos,
            pattern if pattern.contains('%') => {
                check_pattern(pattern).map_err(|error| TimeFormatError::Pattern(quoted(text), error))?;
                Self::Strftime(pattern.to_owned())
            }
            _ => return Err(TimeFormatError::Unknown(quoted(text))),
        })
    }
}

impl TryFrom<String> for TimeFormat {
    type Error = TimeFormatError;

    fn try_from(text: String) -> Result<Self, TimeFormatError> {
        text.parse()
    }
}

impl From<TimeFormat> for String {
    fn from(format: TimeFormat) -> Self {
        format.to_string()
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Rfc3339 => "rfc3339",
            Self::UnixSeconds => "unix_s",
            Self::UnixMillis => "unix_ms",
            Self::UnixMicros => "unix_us",
            Self::UnixNanos => "unix_ns",
            Self::Strftime(pattern) => pattern,
        })
    }
}

impl TimeFormat {
    /// The time that a text says. A number may be written as text too.
    ///
    /// # Errors
    /// [`TimeError`] if it is no time in this format.
    pub fn read_text(&self, text: &str) -> Result<EventTime, TimeError> {
        let read = match self {
            Self::Rfc3339 => read_rfc3339(text),
            Self::Strftime(pattern) => read_pattern(pattern, text).ok().and_then(nearest_millisecond),
            Self::Auto | Self::UnixSeconds | Self::UnixMillis | Self::UnixMicros | Self::UnixNanos => {
                if let Ok(integer) = text.parse::<i64>() {
                    self.integer(integer)
                } else if let Ok(float) = text.parse::<f64>() {
                    self.float(float)
                } else if *self == Self::Auto {
                    read_rfc3339(text)
                } else {
                    None
                }
            }
        };
        read.ok_or_else(|| self.error(quoted(text)))
    }

    /// The time that a whole number says.
    ///
    /// # Errors
    /// [`TimeError`] if this format is one of texts, or the time is off the calendar.
    pub fn read_integer(&self, number: i64) -> Result<EventTime, TimeError> {
        self.integer(number).ok_or_else(|| self.error(format!("the number {number}")))
    }

    /// The time that a number says.
    ///
    /// # Errors
    /// [`TimeError`] if this format is one of texts, or the time is off the calendar.
    pub fn read_float(&self, number: f64) -> Result<EventTime, TimeError> {
        self.float(number).ok_or_else(|| self.error(format!("the number {number}")))
    }

    fn error(&self, found: String) -> TimeError {
        TimeError { found, format: self.to_string() }
    }

    fn integer(&self, number: i64) -> Option<EventTime> {
        let magnitude = number.unsigned_abs();
        let millis = match self.unit(|bound| magnitude < bound)? {
            Unit::Seconds => number.checked_mul(1000)?,
            Unit::Millis => number,
            Unit::Micros => divided(number, 1000),
            Unit::Nanos => divided(number, 1_000_000),
        };
        on_calendar(millis)
    }

    fn float(&self, number: f64) -> Option<EventTime> {
        #[expect(clippy::cast_precision_loss, reason = "the bounds are powers of ten below 2^57")]
        let unit = self.unit(|bound| number.abs() < bound as f64)?;
        let millis = match unit {
            Unit::Seconds => number * 1e3,
            Unit::Millis => number,
            Unit::Micros => number / 1e3,
            Unit::Nanos => number / 1e6,
        };
        // Far beyond the calendar, far below what i64 holds; NaN fails it too.
        if millis.abs() > 1e15 || millis.is_nan() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 1e15")]
        on_calendar((millis + 0.5).floor() as i64)
    }

    /// The unit of a number of which only `is_below(bound)` is known; `None` for a format of texts.
    fn unit(&self, is_below: impl Fn(u64) -> bool) -> Option<Unit> {
        Some(match self {
            Self::Rfc3339 | Self::Strftime(_) => return None,
            Self::UnixSeconds => Unit::Seconds,
            Self::UnixMillis => Unit::Millis,
            Self::UnixMicros => Unit::Micros,
            Self::UnixNanos => Unit::Nanos,
            Self::Auto if is_below(100_000_000_000) => Unit::Seconds,
            Self::Auto if is_below(100_000_000_000_000) => Unit::Millis,
            Self::Auto if is_below(100_000_000_000_000_000) => Unit::Micros,
            Self::Auto => Unit::Nanos,
        })
    }
}

enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// `number / unit`, to the nearest whole number, halves up.
fn divided(number: i64, unit: i64) -> i64 {
    number.div_euclid(unit) + i64::from(number.rem_euclid(unit) >= unit / 2)
}

fn nearest_millisecond(timestamp: Timestamp) -> Option<EventTime> {
    let millis = (timestamp.as_nanosecond() + 500_000).div_euclid(1_000_000);
    on_calendar(i64::try_from(millis).ok()?)
}

/// The time, if it lies in years -9999 to 9999.
pub(super) fn on_calendar(millis: i64) -> Option<EventTime> {
    Timestamp::from_millisecond(millis).ok().map(|_| EventTime::from_millis(millis))
}

fn read_rfc3339(text: &str) -> Option<EventTime> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        // As a civil time, jiff would read over a zone in brackets; such a time is not UTC.
        Err(_) if text.bytes().skip(10).any(|byte| b"+-Zz[".contains(&byte)) || text.len() <= 10 => return None,
        Err(_) => TimeZone::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok()?,
    };
    nearest_millisecond(timestamp)
}

/// A pattern is good if a time that it writes can be read back, and an afternoon does not read as a morning.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let read_back = |hour: i64| {
        let time = Timestamp::from_second(hour * 3600).map(|time| time.to_zoned_datetime(TimeZone::UTC));
        time.and_then(|time| strtime::format(pattern, &time)).and_then(|text| read_pattern(pattern, &text))
    };
    let (morning, afternoon) = (read_back(1).map_err(|e| e.to_string())?, read_back(13).map_err(|e| e.to_string())?);
    let twelve_hours = ["%I", "%l", "%_I", "%-I", "%_l", "%-l"].iter().any(|hour| pattern.contains(hour));
    if twelve_hours && morning == afternoon {
        return Err("hours of a twelve-hour clock need %p beside them".to_owned());
    }
    Ok(())
}

fn read_pattern(pattern: &str, text: &str) -> Result<Timestamp, jiff::Error> {
    let parts = strtime::parse(pattern, text)?;
    if parts.iana_time_zone().is_some() {
        Ok(parts.to_zoned_datetime()?.timestamp())
    } else if parts.offset().is_some() || parts.timestamp().is_some() {
        parts.to_timestamp()
    } else {
        TimeZone::UTC.to_timestamp(parts.to_datetime()?)
    }
}

/// RFC 3339, UTC, with milliseconds; `None` for a time off the calendar.
pub(super) fn rfc3339(time: EventTime) -> Option<String> {
    Timestamp::from_millisecond(time.millis()).ok().map(|timestamp| format!("{timestamp:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `value` is a text, or a number where it begins with `#`; `expected` is in ms, or `None` where it is no time.
    fn check(format: &str, value: &str, expected: Option<i64>) {
        let format: TimeFormat = format.parse().unwrap();
        let read = match value.strip_prefix('#') {
            Some(number) if number.contains(['.', 'e']) => format.read_float(number.parse().unwrap()),
            Some(number) => format.read_integer(number.parse().unwrap()),
            None => format.read_text(value),
        };
        assert_eq!(read.ok().map(EventTime::millis), expected, "{value} as {format}");
    }

    #[test]
    fn texts_are_read_with_their_zone_and_as_utc_without_one() {
        for format in ["auto", "rfc3339"] {
            check(format, "2023-11-14T22:13:20Z", Some(1_700_000_000_000));
            check(format, "2023-11-14T22:13:20.123456Z", Some(1_700_000_000_123));
            check(format, "2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500));
            check(format, "2023-11-14 22:13:20", Some(1_700_000_000_000));
            check(format, "2023-11-14 22:13:20.25", Some(1_700_000_000_250));
            check(format, "2023-11-14T22:13:20", Some(1_700_000_000_000));
        }
    }

    #[test]
    fn a_twelve_hour_clock_needs_its_half_of_the_day() {
        assert!("%d/%m/%Y %I:%M".parse::<TimeFormat>().unwrap_err().to_string().contains("%p"));
        check("%d/%m/%Y %I:%M %p", "14/11/2023 10:13 PM", Some(1_699_999_980_000));
    }

    #[test]
    fn a_text_that_is_no_time_is_refused() {
        for format in ["auto", "rfc3339", "unix_ms", "%F %T"] {
            for text in ["", "yesterday", "2023-13-14T22:13:20Z", "14.11.2023", "NaN", "inf", "\u{661}\u{662}"] {
                check(format, text, None);
            }
        }
        check("rfc3339", "2023-11-14", None);
        check("rfc3339", "1700000000", None);
    }

    #[test]
    fn a_zone_that_cannot_be_applied_is_not_read_over() {
        check("rfc3339", "2023-11-14T22:13:20[Europe/Berlin]", None);
        check("rfc3339", "2023-11-14T23:13:20+01:00[Europe/Berlin]", Some(1_700_000_000_000));
    }

    #[test]
    fn numbers_are_read_in_their_unit() {
        check("unix_s", "#1700000000", Some(1_700_000_000_000));
        check("unix_s", "#1700000000.1235", Some(1_700_000_000_124));
        check("unix_s", "1700000000.5", Some(1_700_000_000_500));
        check("unix_ms", "#1700000000123", Some(1_700_000_000_123));
        check("unix_ms", "#1700000000123.0", Some(1_700_000_000_123));
        check("unix_us", "#1700000000123456", Some(1_700_000_000_123));
        check("unix_ns", "#1700000000123500000", Some(1_700_000_000_124));
        check("unix_ns", "#-1500000", Some(-1));
        check("rfc3339", "#1700000000", None);
        check("%s", "1700000000", Some(1_700_000_000_000));
        check("%s", "#1700000000", None);
    }

    #[test]
    fn auto_guesses_the_unit_by_magnitude() {
        check("auto", "#99999999999", Some(99_999_999_999_000));
        check("auto", "#100000000000", Some(100_000_000_000));
        check("auto", "#99999999999999", Some(99_999_999_999_999));
        check("auto", "#100000000000000", Some(100_000_000_000));
        check("auto", "#99999999999999999", Some(100_000_000_000_000));
        check("auto", "#100000000000000000", Some(100_000_000_000));
        check("auto", "#1.7e9", Some(1_700_000_000_000));
        check("auto", "1700000000000", Some(1_700_000_000_000));
    }

    #[test]
    fn a_number_off_the_calendar_is_refused() {
        check("unix_s", "#9223372036854775807", None);
        check("unix_ms", "#9223372036854775807", None);
        check("unix_ms", "#-9223372036854775808", None);
        check("unix_s", "#1e300", None);
        check("auto", "#1e300", None);
    }

    #[test]
    fn patterns_are_read_with_their_zone_and_as_utc_without_one() {
        check("%d/%m/%Y %H:%M:%S", "14/11/2023 22:13:20", Some(1_700_000_000_000));
        check("%d/%m/%Y %H:%M:%S%.f", "14/11/2023 22:13:20.75", Some(1_700_000_000_750));
        check("%Y-%m-%d %H:%M:%S %z", "2023-11-14 23:13:20 +0100", Some(1_700_000_000_000));
        check("%Y-%m-%d %H:%M:%S %Q", "2023-11-14 23:13:20 Europe/Berlin", Some(1_700_000_000_000));
        check("%d/%m/%Y %H:%M:%S", "14/11/2023", None);
    }

    #[test]
    fn a_format_says_what_is_wrong_with_it() {
        let error = "rfc_3339".parse::<TimeFormat>().unwrap_err().to_string();
        assert!(error.contains("\"rfc_3339\"") && error.contains("unix_ms"), "{error}");
        for pattern in ["%", "%H:%M:%S", "%J", "%Y-%m"] {
            let error = pattern.parse::<TimeFormat>().unwrap_err().to_string();
            assert!(error.contains(pattern) && error.contains("strptime"), "{error}");
        }
    }

    #[test]
    fn a_format_is_written_as_it_was_read() {
        for text in ["auto", "rfc3339", "unix_s", "unix_ms", "unix_us", "unix_ns", "%F %T"] {
            let json = serde_json::to_string(text).unwrap();
            let format: TimeFormat = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&format).unwrap(), json);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in -62_000_000_000_000_i64..253_000_000_000_000) {
            let time = EventTime::from_millis(millis);
            prop_assert_eq!(TimeFormat::Rfc3339.read_text(&rfc3339(time).unwrap()), Ok(time));
            prop_assert_eq!(TimeFormat::UnixMillis.read_integer(millis), Ok(time));
        }

        #[test]
        fn no_text_or_number_makes_it_panic(text in ".*", integer: i64, float: f64) {
            for format in ["auto", "rfc3339", "unix_s", "unix_ms", "unix_us", "unix_ns", "%F %T %z"] {
                let format: TimeFormat = format.parse().unwrap();
                for time in [format.read_text(&text), format.read_integer(integer), format.read_float(float)] {
                    prop_assert!(time.is_err() || on_calendar(time.unwrap().millis()).is_some());
                }
            }
        }

        #[test]
        fn no_pattern_makes_it_panic(pattern in "%?[-_0^#]?[0-9]{0,3}[a-zA-Z%.:]{0,6}") {
            let _ = pattern.parse::<TimeFormat>();
        }
    }
}
