//! Writes encoders as ONNX files: weights inside, dynamic batch.

use prost::Message;

use super::whitened_linear::WhitenedLinear;
use crate::codec::onnx::attribute_proto::AttributeType;
use crate::codec::onnx::tensor_shape_proto::{Dimension, dimension};
use crate::codec::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// Input's name.
pub(super) const INPUT: &str = "window";
/// Output's name.
pub(super) const OUTPUT: &str = "embedding";
/// The oldest opset that has what is used, so that the file loads in old runtimes too.
const OPSET: i64 = 13;
/// The IR version that came with it (ONNX 1.8).
const IR_VERSION: i64 = 7;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;

/// The graph `embedding = mean over time (window) x matrix + bias`; input `[batch, T, F]`, output `[batch, D]`, f32.
pub fn write_whitened_linear(encoder: &WhitenedLinear, size: usize) -> Vec<u8> {
    let features = int(encoder.features);
    let mean = NodeProto {
        name: "mean_over_time".to_owned(),
        op_type: "ReduceMean".to_owned(),
        input: vec![INPUT.to_owned()],
        output: vec!["means".to_owned()],
        attribute: vec![
            AttributeProto {
                name: "axes".to_owned(),
                ints: vec![1],
                r#type: AttributeType::Ints.into(),
                ..AttributeProto::default()
            },
            AttributeProto {
                name: "keepdims".to_owned(),
                i: 0,
                r#type: AttributeType::Int.into(),
                ..AttributeProto::default()
            },
        ],
        domain: String::new(),
    };
    let whiten = NodeProto {
        name: "whiten".to_owned(),
        op_type: "Gemm".to_owned(),
        input: ["means", "matrix", "bias"].map(str::to_owned).to_vec(),
        output: vec![OUTPUT.to_owned()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: "whitened_linear".to_owned(),
        node: vec![mean, whiten],
        initializer: vec![
            tensor("matrix", &[features, features], &encoder.matrix),
            tensor("bias", &[features], &encoder.bias),
        ],
        input: vec![value(INPUT, &[int(size), features])],
        output: vec![value(OUTPUT, &[features])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "jamais".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        ..ModelProto::default()
    }
    .encode_to_vec()
}

fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// A tensor `[batch, dims...]`.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("batch".to_owned());
    let fixed = dims.iter().map(|&size| dimension::Value::DimValue(size));
    let dim = std::iter::once(batch).chain(fixed).map(|value| Dimension { value: Some(value) }).collect();
    let tensor = type_proto::Tensor { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)) }),
    }
}

fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
