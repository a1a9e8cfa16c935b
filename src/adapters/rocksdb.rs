//! `rocksdb`: keeps the generations of a bank on disk.
//!
//! | key | value |
//! | --- | --- |
//! | `unit/` + id, big-endian | the unit |
//! | `generation/` + number, big-endian | the generation, with its units' ids |
//! | `current` | the newest generation's number |
//!
//! Laws:
//! 1. A generation is visible only once all of its units are on disk: `current` is written last, synchronously.
//! 2. Every value carries its format's version and a CRC-32; a damaged one is an error, never a wrong unit.

use std::path::{Path, PathBuf};

use rocksdb::{DB, Options, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::domain::model::Metric;
use crate::domain::record::EventTime;
use crate::domain::unit::{Calibration, Generation, Unit, UnitId};
use crate::ports::{MemoryStore, PortError};

/// Version of the values' format.
const FORMAT: u8 = 1;
/// Units a batch: bounds what is held twice in memory.
const UNITS: usize = 1_000;
const CURRENT: &[u8] = b"current";

/// A bank's store in one folder.
pub struct RocksStore {
    path: PathBuf,
    db: DB,
}

/// A generation without its units' content.
#[derive(Serialize, Deserialize)]
struct StoredGeneration {
    number: u64,
    effective_from: EventTime,
    model: String,
    metric: Metric,
    calibration: Calibration,
    units: Vec<UnitId>,
}

impl RocksStore {
    /// Opens the folder for reading and writing, and makes it if it is not there. One process at a time may write.
    ///
    /// # Errors
    /// If the folder cannot be made, is in use, or does not hold a store.
    pub fn open(path: &Path) -> Result<Self, PortError> {
        std::fs::create_dir_all(path).map_err(|error| {
            PortError::fatal(format!(
                "cannot make the memory folder {}; set memory.path to a writable folder",
                path.display()
            ))
            .because(error)
        })?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_keep_log_file_num(4);
        let db = DB::open(&options, path).map_err(|error| {
            PortError::fatal(format!(
                "cannot open the memory store {} for writing; is it writable, and not in use by another prefill?",
                path.display()
            ))
            .because(error)
        })?;
        Ok(Self { path: path.to_owned(), db })
    }

    /// Opens the folder for reading; any number of processes may, also while one writes.
    ///
    /// # Errors
    /// If the folder does not hold a store.
    pub fn open_read_only(path: &Path) -> Result<Self, PortError> {
        if !path.join("CURRENT").is_file() {
            return Err(PortError::fatal(format!(
                "there is no memory store at {}; run `jamais prefill`, or correct memory.path",
                path.display()
            )));
        }
        let db = DB::open_for_read_only(&Options::default(), path, false).map_err(|error| {
            PortError::fatal(format!(
                "cannot read the memory store {}; if it is damaged, delete the folder and run `jamais prefill` again",
                path.display()
            ))
            .because(error)
        })?;
        Ok(Self { path: path.to_owned(), db })
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, PortError> {
        let name = String::from_utf8_lossy(key).into_owned();
        let damaged = |what: &str| {
            PortError::fatal(format!(
                "{what} ({name:?} in {}); delete the folder and run `jamais prefill` again",
                self.path.display()
            ))
        };
        let Some(bytes) =
            self.db.get(key).map_err(|error| damaged("the memory store cannot be read").because(error))?
        else {
            return Ok(None);
        };
        let (Some((&format, rest)), true) = (bytes.split_first(), bytes.len() > 5) else {
            return Err(damaged("a value of the memory store is cut short"));
        };
        if format != FORMAT {
            return Err(damaged(&format!(
                "the memory store has format {format}, this version of jamais reads {FORMAT}"
            )));
        }
        let (sum, body) = rest.split_at(4);
        if sum != crc32fast::hash(body).to_le_bytes() {
            return Err(damaged("a value of the memory store does not match its checksum"));
        }
        postcard::from_bytes(body)
            .map(Some)
            .map_err(|error| damaged("a value of the memory store is malformed").because(error))
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), PortError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|error| {
            PortError::fatal(format!("cannot write to the memory store {}; is the disk full?", self.path.display()))
                .because(error)
        })
    }
}

impl MemoryStore for RocksStore {
    fn load(&self) -> Result<Option<Generation>, PortError> {
        let Some(number) = self.get::<u64>(CURRENT)? else { return Ok(None) };
        let missing = |what: String| {
            PortError::fatal(format!("{what} is missing from {}; run `jamais prefill` again", self.path.display()))
        };
        let stored: StoredGeneration =
            self.get(&generation_key(number))?.ok_or_else(|| missing(format!("generation {number}")))?;
        let units = stored
            .units
            .iter()
            .map(|&id| self.get::<Unit>(&unit_key(id))?.ok_or_else(|| missing(format!("unit {}", id.0))))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Generation {
            number: stored.number,
            effective_from: stored.effective_from,
            model: stored.model,
            metric: stored.metric,
            calibration: stored.calibration,
            units,
        }))
    }

    fn publish(&mut self, generation: &Generation) -> Result<(), PortError> {
        for units in generation.units.chunks(UNITS) {
            let mut batch = WriteBatch::default();
            for unit in units {
                batch.put(unit_key(unit.id), sealed(unit)?);
            }
            self.write(batch, false)?;
        }
        let stored = StoredGeneration {
            number: generation.number,
            effective_from: generation.effective_from,
            model: generation.model.clone(),
            metric: generation.metric,
            calibration: generation.calibration.clone(),
            units: generation.units.iter().map(|unit| unit.id).collect(),
        };
        let mut batch = WriteBatch::default();
        batch.put(generation_key(generation.number), sealed(&stored)?);
        batch.put(CURRENT, sealed(&generation.number)?);
        self.write(batch, true)
    }
}

fn unit_key(id: UnitId) -> Vec<u8> {
    [b"unit/".as_slice(), &id.0.to_be_bytes()].concat()
}

fn generation_key(number: u64) -> Vec<u8> {
    [b"generation/".as_slice(), &number.to_be_bytes()].concat()
}

/// A value with its format's version and checksum.
fn sealed<T: Serialize>(value: &T) -> Result<Vec<u8>, PortError> {
    let body =
        postcard::to_stdvec(value).map_err(|error| PortError::fatal("a unit cannot be serialized").because(error))?;
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::SeriesKey;
    use crate::domain::unit::{Admission, Provenance, Scales};

    fn generation(number: u64, units: u64) -> Generation {
        let unit = |id: u64| Unit {
            id: UnitId(id),
            #[expect(clippy::cast_precision_loss, reason = "small")]
            key: vec![id as f32, 0.5],
            value: vec![0.25; 6],
            provenance: Provenance {
                series: SeriesKey::new("pump-7"),
                start: EventTime::from_millis(0),
                end: EventTime::from_millis(2000),
                source: "telemetry-0".to_owned(),
                offsets: (0, 2),
                admitted: Admission::Prefill,
            },
        };
        Generation {
            number,
            effective_from: EventTime::from_millis(0),
            model: "0".repeat(64),
            metric: Metric::Euclidean,
            calibration: Calibration {
                scales: Scales { temperature: 0.5, distance: 1.0, channels: vec![0.5; 2], residual: 2.0 },
                deviations: vec![1.0, 1.5],
            },
            units: (0..units).map(unit).collect(),
        }
    }

    #[test]
    fn the_newest_generation_is_read_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = RocksStore::open(folder.path()).unwrap();
        assert_eq!(store.load().unwrap(), None);
        for number in 1..=2 {
            store.publish(&generation(number, 2_500)).unwrap();
        }
        drop(store);
        let store = RocksStore::open_read_only(folder.path()).unwrap();
        assert_eq!(store.load().unwrap(), Some(generation(2, 2_500)));
    }

    #[test]
    fn a_damaged_unit_is_an_error_that_names_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = RocksStore::open(folder.path()).unwrap();
        store.publish(&generation(1, 3)).unwrap();
        let mut bytes = store.db.get(unit_key(UnitId(1))).unwrap().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        store.db.put(unit_key(UnitId(1)), bytes).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("checksum") && error.contains("jamais prefill"), "{error}");
    }

    #[test]
    fn a_folder_without_a_store_is_an_error_that_names_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error = RocksStore::open_read_only(folder.path()).err().unwrap().to_string();
        assert!(error.contains("jamais prefill"), "{error}");
    }
}
