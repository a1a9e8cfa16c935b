//! What can go wrong with a file: which, why and what to do. The cause is kept apart from the text.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::ports::PortError;

/// Something that makes a whole file useless. A single bad row is no such thing: it becomes a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or listed.
    #[error("cannot open {}: {}", path.display(), remedy(source))]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Reading it failed part way.
    #[error("cannot read {}; is its disk or share still there?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its name does not say what it is.
    #[error("{} has no extension that says how to {verb} it; name it {known}", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        verb: &'static str,
        /// The extensions that would do.
        known: &'static str,
    },
    /// A folder without anything to read.
    #[error("the folder {} holds no file named {known}; name the files, or another folder", path.display())]
    NothingToRead {
        /// The folder.
        path: PathBuf,
        /// The extensions that would do.
        known: &'static str,
    },
    /// The same file twice.
    #[error("{} was given twice; give each file once", path.display())]
    GivenTwice {
        /// The file.
        path: PathBuf,
    },
    /// Its first line cannot be a header.
    #[error("{} has no header to read columns from: {why}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What its beginning looks like, and what to do.
        why: String,
    },
    /// One JSON array instead of a JSON object a line.
    #[error("{} is a JSON array, and one object a line is needed; convert it, say with jq -c '.[]'", path.display())]
    NotLines {
        /// The file.
        path: PathBuf,
    },
    /// Columns that are needed are not there.
    #[error(
        "{} lacks {what} {}; it has {}; rename its columns, or name them in the settings",
        path.display(),
        listed(missing),
        listed(found)
    )]
    MissingColumns {
        /// The file.
        path: PathBuf,
        /// Which kind of column.
        what: &'static str,
        /// Everything that is missing.
        missing: Vec<String>,
        /// Everything that is there.
        found: Vec<String>,
    },
    /// A needed name stands over two columns.
    #[error("{} has two columns named \"{column}\"; rename one", path.display())]
    AmbiguousColumn {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// A Parquet column has a type that cannot be what it is needed for.
    #[error("column \"{column}\" of {} is of type {found}, and {wanted} is needed; cast it", path.display())]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// A Parquet file that is damaged, or none at all.
    #[error("cannot read {} as Parquet; write it anew", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: parquet::errors::ParquetError,
    },
    /// A Parquet column that cannot be converted.
    #[error("cannot convert column \"{column}\" of {}; cast it when writing the file", path.display())]
    Convert {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The cause.
        source: arrow_schema::ArrowError,
    },
    /// A checkpoint names a row that the file does not have.
    #[error(
        "{} has {rows} rows, but is to be read from row {offset} on: it is not the file that the checkpoint was made \
         with; restore the file, or delete the checkpoint",
        path.display()
    )]
    RowGone {
        /// The file.
        path: PathBuf,
        /// First row to read, from 0.
        offset: i64,
        /// Rows that the file has.
        rows: i64,
    },
    /// A file that is wanted as a table, without a single good row.
    #[error("no row of {} can be read ({rows} tried); the first: {first}", path.display())]
    NoReadableRow {
        /// The file.
        path: PathBuf,
        /// Rows tried.
        rows: usize,
        /// What is wrong with the first, or why there is none.
        first: String,
    },
    /// A file without a column for each channel is wanted as a table without channel names.
    #[error("the channels of {} cannot be inferred from {why}; name them with --channels", path.display())]
    ChannelsUnknown {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        why: &'static str,
    },
    /// An output is there already.
    #[error("{} exists; choose another output, or allow overwriting", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Another run writes the same output.
    #[error("{} is being written by another run; wait for it, or choose another output", path.display())]
    Busy {
        /// The unfinished output.
        path: PathBuf,
    },
    /// An output cannot be written.
    #[error("cannot write {}: {}", path.display(), remedy(source))]
    Write {
        /// The output.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An output cannot be written as Parquet.
    #[error("cannot write {} as Parquet", path.display())]
    WriteParquet {
        /// The output.
        path: PathBuf,
        /// The cause.
        source: parquet::errors::ParquetError,
    },
    /// A write failed before, so what was written is not whole.
    #[error("{} stays unfinished, because a write to it failed; mend that and run again", path.display())]
    Unfinished {
        /// The unfinished output.
        path: PathBuf,
    },
}

impl FileError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(super) fn parquet(path: &Path, source: parquet::errors::ParquetError) -> Self {
        Self::Parquet { path: path.to_owned(), source }
    }

    /// The error for a failed Parquet write; what the disk said comes out from under the library's own error.
    pub(super) fn write_parquet(path: &Path, source: parquet::errors::ParquetError) -> Self {
        use parquet::errors::ParquetError::External;
        let path = path.to_owned();
        match source {
            External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => Self::Write { path, source: *source },
                Err(inner) => Self::WriteParquet { path, source: External(inner) },
            },
            source => Self::WriteParquet { path, source },
        }
    }

    fn into_cause(self) -> Option<Box<dyn Error + Send + Sync>> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => Some(source.into()),
            Self::Parquet { source, .. } | Self::WriteParquet { source, .. } => Some(source.into()),
            Self::Convert { source, .. } => Some(source.into()),
            _ => None,
        }
    }
}

/// Every fault of a file is fatal: a disk does not mend itself while one waits.
impl From<FileError> for PortError {
    fn from(error: FileError) -> Self {
        let port_error = Self::fatal(error.to_string());
        match error.into_cause() {
            Some(cause) => port_error.because(cause),
            None => port_error,
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder; check the path",
        io::ErrorKind::PermissionDenied => "permission denied; check the rights of the file and its folder",
        io::ErrorKind::ReadOnlyFilesystem => "its disk is read-only; choose another folder",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full; free space or choose another",
        io::ErrorKind::BrokenPipe => "whoever was reading it has gone",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => "a file is wanted here and a folder there",
        _ => "the system refused it, see the cause",
    }
}

/// Names in quotes, at most thirty-two of them.
fn listed(names: &[String]) -> String {
    const NAMES_MAX: usize = 32;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = names.iter().take(NAMES_MAX).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_error_keeps_the_cause_and_does_not_repeat_it() {
        let cause = io::Error::new(io::ErrorKind::StorageFull, "os says no");
        let error = PortError::from(FileError::write(Path::new("out.jsonl"), cause));
        assert_eq!(error.to_string(), "cannot write out.jsonl: the disk is full; free space or choose another");
        assert_eq!(error.source().expect("a cause").to_string(), "os says no");
    }

    #[test]
    fn a_full_disk_under_parquet_is_a_full_disk() {
        let cause = io::Error::new(io::ErrorKind::StorageFull, "os says no");
        let error = FileError::write_parquet(Path::new("out.parquet"), cause.into());
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }

    #[test]
    fn long_lists_of_columns_are_cut() {
        let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
        assert!(listed(&names).ends_with("\"c31\" and 8 more"));
        assert_eq!(listed(&[]), "nothing");
    }
}
