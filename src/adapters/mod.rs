//! One foreign library each, behind a port.

pub mod clock;
pub mod files;
pub mod hnsw;
pub mod kafka;
pub mod onnx;
pub mod rocksdb;
