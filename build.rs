//! Compiles the Protobuf files to Rust, without `protoc`: `protox` reads them, `prost-build` writes into `OUT_DIR`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["jamais/v1/telemetry.proto", "jamais/v1/scored_event.proto", "onnx/onnx.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new()
        // A map's order must not depend on a random hash: whatever is made of a record is a function of its bytes.
        .btree_map([".jamais"])
        // Comments in a foreign format's file are for its readers; indented ones would be taken for doc tests.
        .disable_comments([".onnx"])
        .compile_fds(descriptors)?;
    Ok(())
}
