//! `files`: telemetry from CSV, Parquet and JSON-lines files, scored events into files.
//!
//! Laws:
//! 1. A file is one partition: its topic is the path as given, its partition 0, its offsets are row numbers from 0.
//! 2. Memory is bounded whatever the file: rows come one at a time, Parquet in batches, and nothing that is longer than
//!    the settings' `bytes_max` is held. Only [`read_table`] holds a whole file, for training and evaluation.
//! 3. A row that cannot be used becomes a dead letter with its text (a late row: its reading as JSON); a file that
//!    cannot be used is a [`FileError`] that names it, what is wrong and what to do.
//! 4. An output that has its final name is whole ([`OutputFile`]).
//!
//! In reading order: [`expand`] finds files, `readings` makes readings of rows (by way of `csv`, `parquet`, `lines` and
//! `columns`), [`FileSource`] and [`read_table`] hand them on, [`FileSink`] writes. It keeps no progress across runs: a
//! file is read anew unless a checkpoint says where to begin.

mod columns;
mod csv;
mod error;
mod lines;
mod output;
mod parquet;
mod readings;
mod sink;
mod source;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::domain::record::SeriesKey;

pub use columns::TIME_COLUMNS;
pub use error::FileError;
pub use output::OutputFile;
pub use sink::{FileSink, OUTPUT_EXTENSIONS, ROW_GROUP_ROWS, Written};
pub use source::FileSource;
pub use table::{Table, TableOptions, infer_channels, read_table};

/// Extensions that an input may have.
pub const INPUT_EXTENSIONS: &str = "*.csv, *.tsv, *.txt, *.parquet, *.jsonl, *.ndjson or *.json";

/// What a file is, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileFormat {
    Csv,
    Parquet,
    JsonLines,
}

impl FileFormat {
    fn of(path: &Path) -> Result<Self, FileError> {
        match extension(path).as_str() {
            "csv" | "tsv" | "txt" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            "jsonl" | "ndjson" | "json" => Ok(Self::JsonLines),
            _ => Err(FileError::Extension { path: path.to_owned(), verb: "read", known: INPUT_EXTENSIONS }),
        }
    }
}

/// In lower case; empty if there is none.
fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// The files that paths stand for, in their order: a file for itself, a folder for the files in it that have a known
/// extension and do not begin with a dot, sorted by name, folders within it left out.
///
/// # Errors
/// If a path is not there or cannot be listed, a file has no known extension or was given twice, or a folder holds none.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for path in paths {
        let open_error = |source| FileError::Open { path: path.clone(), source };
        if !path.metadata().map_err(open_error)?.is_dir() {
            FileFormat::of(path)?;
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in path.read_dir().map_err(open_error)? {
            let file = entry.map_err(open_error)?.path();
            let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && FileFormat::of(&file).is_ok() && !file.is_dir() {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(FileError::NothingToRead { path: path.clone(), known: INPUT_EXTENSIONS });
        }
        inside.sort();
        files.append(&mut inside);
    }
    let mut seen = BTreeSet::new();
    match files.iter().find(|file| !seen.insert(file.components().collect::<PathBuf>())) {
        Some(twice) => Err(FileError::GivenTwice { path: twice.clone() }),
        None => Ok(files),
    }
}

/// The series that each file is where no column names one: its name without the extension, preceded by as many of its
/// folders as tell files of one name apart (`valve1/0` and `valve2/0`).
pub fn series_keys(files: &[PathBuf]) -> Vec<SeriesKey> {
    let names: Vec<Vec<String>> = files.iter().map(|file| name_parts(file)).collect();
    let mut depths = vec![1; files.len()];
    loop {
        let keys: Vec<String> = names.iter().zip(&depths).map(|(parts, depth)| tail(parts, *depth)).collect();
        let mut owners: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (file, key) in keys.iter().enumerate() {
            owners.entry(key).or_default().push(file);
        }
        let mut deepened = false;
        for file in owners.values().filter(|files| files.len() > 1).flatten() {
            if depths[*file] < names[*file].len() {
                depths[*file] += 1;
                deepened = true;
            }
        }
        if !deepened {
            return keys.iter().map(|key| SeriesKey::new(key)).collect();
        }
    }
}

/// Folders, then the file's name without its extension.
fn name_parts(file: &Path) -> Vec<String> {
    let folders = file.parent().into_iter().flat_map(Path::components).filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        Component::ParentDir => Some("..".to_owned()),
        _ => None,
    });
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    folders.chain([stem]).collect()
}

fn tail(parts: &[String], depth: usize) -> String {
    parts[parts.len() - depth..].join("/")
}

#[cfg(test)]
mod tests;
