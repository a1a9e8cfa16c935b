//! `ort`: runs an ONNX encoder.
//!
//! Laws:
//! 1. A file from a stranger is read into memory, and held against its model card, before ONNX Runtime sees it: content
//!    hash, no external data, known opset; then names, shapes and dtype, before anything is run.
//! 2. The graph is then tried on a probe; one that gives anything that is not finite is refused.
//! 3. Every run has the batch shape of the card; short batches are padded. A row's embedding therefore does not depend
//!    on the rows that come with it.
//!
//! ONNX Runtime itself is a shared library, found by `ORT_DYLIB_PATH` (`make` sets it); it is opened only once it is
//! known to exist, since `ort` may hang on a missing one.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{TensorElementType, TensorRef, ValueType};
use prost::Message;

use crate::codec::onnx::tensor_proto::DataLocation;
use crate::codec::onnx::{AttributeProto, GraphProto, ModelProto, SparseTensorProto, TensorProto};
use crate::domain::event::content_hash;
use crate::domain::model::ModelCard;
use crate::ports::{Disposition, Encoder, PortError};

/// Opsets of the default domain that are accepted: those that ONNX Runtime 1.24 and later implement.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=24;

/// The environment variable that names ONNX Runtime's library.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Why an encoder could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file could not be read.
    #[error("cannot read the ONNX file {path}; model.path names a folder with encoder.onnx and model.toml")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// ONNX Runtime's library is not there.
    #[error(
        "ONNX Runtime's library {path:?} is not a file; set {LIBRARY_VARIABLE} to libonnxruntime.so (`make demo` fetches it)"
    )]
    NoLibrary {
        /// What the variable says.
        path: PathBuf,
    },
    /// ONNX Runtime's library could not be opened.
    #[error("cannot open ONNX Runtime's library {path:?}: {reason}; it must be version 1.24 or later")]
    Library {
        /// The library.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The file is not ONNX, or cut short.
    #[error("{path} is not a whole ONNX file; export or copy it again")]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: prost::DecodeError,
    },
    /// The file and its card do not fit.
    #[error("{path} does not fit its model card: {}", faults.join("; "))]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Everything that does not fit.
        faults: Vec<String>,
    },
    /// ONNX Runtime refuses the graph.
    #[error("ONNX Runtime refuses {path}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ort::Error,
    },
    /// The probe did not give what it should.
    #[error("{path}, tried on a probe: {fault}")]
    Probe {
        /// The file.
        path: PathBuf,
        /// What came.
        fault: String,
    },
}

/// An encoder run by ONNX Runtime on one thread.
pub struct OnnxEncoder {
    card: ModelCard,
    session: Session,
    /// One padded batch, `[batch, T, F]` flat.
    input: Vec<f32>,
}

impl OnnxEncoder {
    /// Loads `path`, checks it against `card`, and tries it.
    ///
    /// # Errors
    /// [`OnnxError`], with everything that does not fit.
    pub fn load(path: &Path, card: ModelCard) -> Result<Self, OnnxError> {
        let bytes = std::fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(path, &bytes, card)
    }

    /// As [`OnnxEncoder::load`], from bytes that are in memory already; `path` stands for them in messages.
    ///
    /// # Errors
    /// [`OnnxError`], with everything that does not fit.
    pub fn from_bytes(path: &Path, bytes: &[u8], card: ModelCard) -> Result<Self, OnnxError> {
        let refused = |source| OnnxError::Refused { path: path.to_owned(), source };
        let model = ModelProto::decode(bytes).map_err(|source| OnnxError::NotOnnx { path: path.to_owned(), source })?;
        let mut faults = file_faults(&model, bytes, &card);
        if !faults.is_empty() {
            return Err(OnnxError::Unfit { path: path.to_owned(), faults });
        }
        let session = Session::builder(environment()?)
            .and_then(|builder| Ok(builder.with_intra_threads(1)?))
            .and_then(|builder| Ok(builder.with_inter_threads(1)?))
            .and_then(|builder| Ok(builder.with_deterministic_compute(true)?))
            .and_then(|mut builder| builder.commit_from_memory(bytes))
            .map_err(refused)?;
        faults = graph_faults(&session, &card);
        if !faults.is_empty() {
            return Err(OnnxError::Unfit { path: path.to_owned(), faults });
        }
        let input = vec![0.0; card.encoder.batch * card.window.size * card.features()];
        let mut encoder = Self { card, session, input };
        encoder.probe().map_err(|error| OnnxError::Probe { path: path.to_owned(), fault: describe(&error) })?;
        Ok(encoder)
    }

    /// The card.
    pub fn card_ref(&self) -> &ModelCard {
        &self.card
    }

    /// Embeds a window of zeros, one of ones and a ramp.
    fn probe(&mut self) -> Result<(), PortError> {
        let length = self.card.window.size * self.card.features();
        #[expect(clippy::cast_precision_loss, reason = "a ramp")]
        let ramp = (0..length).map(|index| index as f32 / length as f32 - 0.5);
        let probe: Vec<f32> =
            std::iter::repeat_n(0.0, length).chain(std::iter::repeat_n(1.0, length)).chain(ramp).collect();
        self.embed(&probe).map(drop)
    }

    /// Runs the padded batch and appends its first `rows` embeddings.
    fn run(&mut self, rows: usize, embeddings: &mut Vec<f32>) -> Result<(), PortError> {
        let card = &self.card;
        let shape = [card.encoder.batch, card.window.size, card.features()];
        let failed =
            |error: ort::Error| PortError::fatal(format!("the encoder {} could not be run", card.name)).because(error);
        let tensor = TensorRef::from_array_view((shape, self.input.as_slice())).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![card.encoder.input.as_str() => tensor]).map_err(failed)?;
        let (shape, values) = outputs[card.encoder.output.as_str()].try_extract_tensor::<f32>().map_err(failed)?;
        let (batch, dimension) = (card.encoder.batch, card.encoder.dimension);
        if values.len() != batch * dimension {
            return Err(PortError::fatal(format!(
                "the encoder {} gave shape {shape:?} where its card says [{batch}, {dimension}]; correct encoder.dimension",
                card.name
            )));
        }
        let values = &values[..rows * dimension];
        if let Some(row) = values.chunks(dimension).position(|row| row.iter().any(|value| !value.is_finite())) {
            return Err(PortError::fatal(format!(
                "the encoder {} gave an embedding that is not finite (row {row} of its batch); retrain or export it again",
                card.name
            )));
        }
        embeddings.extend_from_slice(values);
        Ok(())
    }
}

impl Encoder for OnnxEncoder {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn embed(&mut self, windows: &[f32]) -> Result<Vec<f32>, PortError> {
        let length = self.card.window.size * self.card.features();
        assert_eq!(windows.len() % length, 0, "whole windows of T x F");
        let mut embeddings = Vec::with_capacity(windows.len() / length * self.card.encoder.dimension);
        for batch in windows.chunks(self.card.encoder.batch * length) {
            self.input[..batch.len()].copy_from_slice(batch);
            self.input[batch.len()..].fill(0.0);
            self.run(batch.len() / length, &mut embeddings)?;
        }
        Ok(embeddings)
    }
}

/// ONNX Runtime, opened once a process.
fn environment() -> Result<&'static Environment, OnnxError> {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    static OPENING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // The lock serialises first use; a poisoned one only says that an earlier attempt panicked.
    let _opening = OPENING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let path = PathBuf::from(std::env::var_os(LIBRARY_VARIABLE).unwrap_or_default());
    if !path.is_file() {
        return Err(OnnxError::NoLibrary { path });
    }
    let library = |reason: String| OnnxError::Library { path: path.clone(), reason };
    let environment = ort::init_from(&path)
        .map_err(|error| library(error.to_string()))?
        .with_telemetry(false)
        .build()
        .map_err(|error| library(error.to_string()))?;
    environment.set_log_level(ort::logging::LogLevel::Error);
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

/// What can be said against a file without running it.
fn file_faults(model: &ModelProto, bytes: &[u8], card: &ModelCard) -> Vec<String> {
    let mut faults = card.faults();
    let hash = content_hash(bytes);
    if !hash.eq_ignore_ascii_case(&card.sha256) {
        faults.push(format!("its SHA-256 is {hash}, the card says {}: one of them is of another model", card.sha256));
    }
    let opset = model.opset_import.iter().find(|opset| opset.domain.is_empty() || opset.domain == "ai.onnx");
    match opset {
        Some(opset) if OPSETS.contains(&opset.version) => {}
        Some(opset) => faults.push(format!(
            "its opset is {}, supported are {} to {}; export it again",
            opset.version,
            OPSETS.start(),
            OPSETS.end()
        )),
        None => faults.push("it names no opset; export it again".to_owned()),
    }
    if model.graph.is_none() {
        faults.push("it holds no graph".to_owned());
    }
    let training = model.training_info.iter().flat_map(|it| it.initialization.iter().chain(&it.algorithm));
    let functions = || model.functions.iter();
    if model.graph.iter().chain(training).any(has_external_data)
        || functions().flat_map(|function| &function.node).any(|node| node.attribute.iter().any(is_external_attribute))
        || functions().flat_map(|function| &function.attribute_proto).any(is_external_attribute)
    {
        faults.push("it keeps weights in another file; export it with the weights inside".to_owned());
    }
    faults
}

fn has_external_data(graph: &GraphProto) -> bool {
    graph.initializer.iter().any(is_external)
        || graph.sparse_initializer.iter().any(is_external_sparse)
        || graph.node.iter().any(|node| node.attribute.iter().any(is_external_attribute))
}

fn is_external_attribute(attribute: &AttributeProto) -> bool {
    attribute.t.iter().chain(&attribute.tensors).any(is_external)
        || attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).any(is_external_sparse)
        || attribute.g.iter().chain(&attribute.graphs).any(has_external_data)
}

fn is_external_sparse(sparse: &SparseTensorProto) -> bool {
    sparse.values.iter().chain(&sparse.indices).any(is_external)
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == i32::from(DataLocation::External) || !tensor.external_data.is_empty()
}

/// How the graph's input and output differ from the card.
fn graph_faults(session: &Session, card: &ModelCard) -> Vec<String> {
    let int = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let batch = int(card.encoder.batch);
    let input = [batch, int(card.window.size), int(card.features())];
    let output = [batch, int(card.encoder.dimension)];
    let mut faults = Vec::new();
    if session.inputs().len() != 1 {
        faults.push(format!("it has {} inputs, an encoder has one", session.inputs().len()));
    }
    for (kind, outlets, name, shape, letters) in [
        ("input", session.inputs(), &card.encoder.input, input.as_slice(), "[batch, T, F]"),
        ("output", session.outputs(), &card.encoder.output, output.as_slice(), "[batch, D]"),
    ] {
        let Some(outlet) = outlets.iter().find(|outlet| outlet.name() == name) else {
            let names: Vec<_> = outlets.iter().map(|outlet| outlet.name()).collect();
            faults.push(format!("it has no {kind} {name:?}, only {names:?}; correct encoder.{kind}"));
            continue;
        };
        match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape: found, .. } => {
                let fits = found.len() == shape.len()
                    && found.iter().zip(shape).all(|(&found, &wanted)| found < 0 || found == wanted);
                if !fits {
                    faults.push(format!(
                        "{kind} {name:?} has shape {:?} (-1: any), the card's {letters} is {shape:?}; correct the card or retrain",
                        found.iter().collect::<Vec<_>>()
                    ));
                }
            }
            other => faults.push(format!("{kind} {name:?} is {other}, an encoder's is an f32 tensor")),
        }
    }
    faults
}

/// An error and its causes, on one line.
fn describe(error: &PortError) -> String {
    debug_assert_eq!(error.disposition, Disposition::Fatal);
    match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
