//! `jamais` watches industrial telemetry, remembers what normal looked like, and scores every new window by how unlike
//! anything remembered it is.
//!
//! ```text
//!  telemetry topic                                                      scores topic
//!       |                                                                    ^
//!    poll -> decode -> align -> window -> normalize -> embed -> neighbors -> deviation -> threshold -> alarm -> emit
//!       |       |                                        |          |
//!       |    dead-letter topic                      ONNX (ort)   memory bank (generation g, read-only)
//!       +--- committed offsets follow what has been emitted
//! ```
//!
//! Read it in this order: [`domain`] (what a record, a window, a deviation is), [`ports`] (what is needed from outside),
//! [`codec`] (bytes), [`memory`] (what normal looked like), [`pipeline`] (the path above, a line a step), [`config`] and
//! [`telemetry`], [`runtime`] (poll, pipeline, emit, commit), [`adapters`] (one foreign library each), [`train`],
//! [`evaluate`], [`simulate`] and [`dashboard`], and [`cli`], which joins them. `docs/architecture.md` says why.

pub mod domain;
pub mod ports;

pub mod codec;
pub mod memory;
pub mod pipeline;

pub mod config;
pub mod runtime;
pub mod telemetry;

pub mod adapters;
pub mod dashboard;
pub mod evaluate;
pub mod simulate;
pub mod train;

pub mod cli;
