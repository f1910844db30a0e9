//! Compiles the protos, in pure Rust: no protoc needed.

use std::error::Error;
use std::path::PathBuf;

use protox::Compiler;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script its folder by a variable"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(["inference.proto", "hedgerow/v1.proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // What reflection answers from.
    std::fs::write(
        out.join("services.fds"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        // A raw tensor stays a slice of the request's buffer.
        .bytes(".inference")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
