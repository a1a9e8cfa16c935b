//! `columns`: which of a table's columns are time, series and channels, and what their cells say.

use std::path::Path;

use super::FileError;
use super::csv::shown;

/// Names that a time column goes by where the settings name none, in order of preference.
pub const TIME_COLUMNS: [&str; 6] = ["time", "timestamp", "datetime", "date", "ts", "event_time"];

/// Where everything lies in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) time: usize,
    /// Empty where the whole file is one series.
    pub(super) series: Vec<usize>,
    pub(super) channels: Vec<usize>,
}

impl Layout {
    /// Finds the columns that are needed among those that were found.
    pub(super) fn of(
        path: &Path,
        found: &[String],
        time_field: &str,
        series: &[String],
        channels: &[String],
    ) -> Result<Self, FileError> {
        let time = time_column(path, found, time_field)?;
        let wanted = || series.iter().chain(channels);
        let missing: Vec<String> = wanted().filter(|name| !found.contains(name)).cloned().collect();
        if !missing.is_empty() {
            let (path, found) = (path.to_owned(), found.to_vec());
            return Err(FileError::MissingColumns { path, what: "the column(s)", missing, found });
        }
        let column = |name: &String| the_one(path, found, |found| found == name).map(|column| column.unwrap_or(0));
        Ok(Self {
            time,
            series: series.iter().map(column).collect::<Result<_, _>>()?,
            channels: channels.iter().map(column).collect::<Result<_, _>>()?,
        })
    }
}

/// The time column: the one that the settings name, or else the first of [`TIME_COLUMNS`] that is there.
pub(super) fn time_column(path: &Path, found: &[String], time_field: &str) -> Result<usize, FileError> {
    let wanted: &[&str] = if time_field.is_empty() { &TIME_COLUMNS } else { &[time_field] };
    for name in wanted {
        let same = |found: &str| if time_field.is_empty() { found.eq_ignore_ascii_case(name) } else { found == *name };
        if let Some(column) = the_one(path, found, same)? {
            return Ok(column);
        }
    }
    Err(FileError::MissingColumns {
        path: path.to_owned(),
        what: if time_field.is_empty() { "a time column, any of" } else { "the time column" },
        missing: wanted.iter().map(|name| (*name).to_owned()).collect(),
        found: found.to_vec(),
    })
}

fn the_one(path: &Path, found: &[String], same: impl Fn(&str) -> bool) -> Result<Option<usize>, FileError> {
    let mut columns = (0..found.len()).filter(|column| same(&found[*column]));
    let column = columns.next();
    if columns.next().is_some() {
        let column = found[column.unwrap_or(0)].clone();
        return Err(FileError::AmbiguousColumn { path: path.to_owned(), column });
    }
    Ok(column)
}

/// What a channel's cell says: a number with a decimal point, `inf` and `NaN` in any case; NaN too for `NA`, `N/A`,
/// `null` and `none`, which say that the sensor gave nothing usable. Anything else is an error.
pub(super) fn number(cell: &[u8]) -> Option<f64> {
    const NOT_AVAILABLE: [&str; 5] = ["NA", "N/A", "#N/A", "null", "none"];
    let cell = cell.trim_ascii();
    match std::str::from_utf8(cell).ok()?.parse() {
        Ok(number) => Some(number),
        Err(_) => NOT_AVAILABLE.iter().any(|word| cell.eq_ignore_ascii_case(word.as_bytes())).then_some(f64::NAN),
    }
}

/// What is wrong with a row whose time cannot be read.
pub(super) fn no_time(column: &str, fault: impl std::fmt::Display) -> String {
    format!("column \"{column}\": {fault}; correct input.time_format, or the row")
}

/// What is wrong with a row in which a channel's cell is no number.
pub(super) fn no_number(column: &str, bytes: &[u8]) -> String {
    let text = shown(bytes);
    let pointed = text.replacen(',', ".", 1);
    let remedy = match number(pointed.as_bytes()) {
        Some(_) => format!("write it with a decimal point, {}", pointed.trim()),
        None => "mend the cell, or leave the column out".to_owned(),
    };
    format!("column \"{column}\" holds \"{text}\", which is no number; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Option<f64>) {
        // NaN is not equal to itself, its bits are.
        assert_eq!(number(input.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits), "{input:?}");
    }

    #[test]
    fn cells_are_numbers_or_none() {
        check(" 1.5 ", Some(1.5));
        check("-2e-3", Some(-0.002));
        check("-Inf", Some(f64::NEG_INFINITY));
        check("infinity", Some(f64::INFINITY));
        for nothing in ["nan", "NA", "n/a", "NULL", "None"] {
            check(nothing, Some(f64::NAN));
        }
        for text in ["", "abc", "0,5", "1 2", "0x10", "\u{2212}3"] {
            check(text, None);
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_time_column_is_found_by_its_usual_names() {
        let path = Path::new("a.csv");
        assert_eq!(time_column(path, &names(&["x", "DateTime", "Date"]), "").unwrap(), 1);
        assert_eq!(time_column(path, &names(&["x", "when", "time"]), "when").unwrap(), 1);
        let error = time_column(path, &names(&["x", "Time"]), "time").unwrap_err().to_string();
        assert!(error.contains("a.csv lacks the time column \"time\"; it has \"x\", \"Time\""), "{error}");
        let error = time_column(path, &names(&["time", "TIME"]), "").unwrap_err().to_string();
        assert!(error.contains("two columns named \"time\""), "{error}");
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let found = names(&["time", "b"]);
        let error =
            Layout::of(Path::new("a.csv"), &found, "", &names(&["unit"]), &names(&["a", "b", "c"])).unwrap_err();
        let expected = "a.csv lacks the column(s) \"unit\", \"a\", \"c\"; it has \"time\", \"b\"";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_decimal_comma_is_pointed_at() {
        assert!(no_number("p", b"0,5").ends_with("write it with a decimal point, 0.5"));
        assert!(no_number("p", b"broken").ends_with("leave the column out"));
    }
}
