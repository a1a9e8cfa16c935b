//! `output`: a file that has its final name only once it is whole.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::FileError;

/// A file under its temporary name, locked against other runs for as long as it is open.
pub struct OutputFile {
    path: PathBuf,
    pub(super) temporary: PathBuf,
    file: File,
}

impl OutputFile {
    /// Begins the file at `path`, anew where a run that died has left its beginning.
    ///
    /// # Errors
    /// If it cannot be written, or another run is writing it.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".partial");
        let temporary = PathBuf::from(temporary);
        let write_error = |error| FileError::write(path, error);
        let file = match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a run that died, unless that run is still alive and holds its lock.
                lock(&File::open(&temporary).map_err(write_error)?, &temporary)?;
                match fs::remove_file(&temporary) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write_error(error)),
                    _ => File::create_new(&temporary),
                }
            }
            result => result,
        }
        .map_err(write_error)?;
        lock(&file, &temporary)?;
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    /// A handle to write through.
    ///
    /// # Errors
    /// If the system has none left.
    pub fn handle(&self) -> Result<File, FileError> {
        self.file.try_clone().map_err(|error| FileError::write(&self.path, error))
    }

    /// Gives the file its final name; everything has been written by now.
    ///
    /// # Errors
    /// If it cannot be synced or renamed, or something lies there that may not be overwritten.
    pub fn complete(self, overwrite: bool) -> Result<(), FileError> {
        let Self { path, temporary, file } = self;
        let write_error = |error| FileError::write(&path, error);
        file.sync_all().map_err(write_error)?;
        // Something may have come to lie there while the run went on.
        refuse_existing(&path, overwrite)?;
        fs::rename(&temporary, &path).map_err(write_error)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Not every file system lets a folder be synced; the rename itself has succeeded.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

fn lock(file: &File, path: &Path) -> Result<(), FileError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(FileError::Busy { path: path.to_owned() }),
        // A file system without locks: two runs at once are then not told apart.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

pub(super) fn refuse_existing(path: &Path, overwrite: bool) -> Result<(), FileError> {
    if !overwrite && path.symlink_metadata().is_ok() {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    Ok(())
}
