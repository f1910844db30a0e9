//! The engine of our own: a [`Kernel`] behind the [`Engine`] trait.
//!
//! Outputs: `predict` (the library's own prediction) and, on request, `raw` (scores before the
//! link). ONNX models keep the names of their graph's outputs.

use super::{Engine, EngineError, Format, ModelFile, Outline, Output};
use crate::forest::kernel::Kernel;
use crate::forest::{Arithmetic, ParseError, Parsed, lightgbm, onnx, xgboost};
use crate::tensor::{DType, Element, Matrix, Rows};

/// A forest that serves.
#[derive(Debug)]
pub struct ForestEngine {
    kernel: Kernel,
    outline: Outline,
    /// Columns of the prediction; the raw scores follow it.
    predicted: usize,
}

/// Parses a model file and packs it.
///
/// # Errors
/// As the format's parser.
pub fn load(file: &ModelFile) -> Result<ForestEngine, ParseError> {
    let parsed = match file.format {
        Format::XgboostJson => xgboost::parse_json(&file.bytes)?,
        Format::XgboostUbjson => xgboost::parse_ubjson(&file.bytes)?,
        Format::LightgbmText => lightgbm::parse(&file.bytes)?,
        Format::Onnx => onnx::parse(&file.bytes)?,
    };
    ForestEngine::new(parsed, file.format)
}

impl ForestEngine {
    fn new(parsed: Parsed, format: Format) -> Result<ForestEngine, ParseError> {
        let forest = &parsed.forest;
        let predicted = forest.link.width(forest.outputs);
        let (element, dtype) = match forest.arithmetic {
            Arithmetic::F32 => (Element::F32, DType::Fp32),
            Arithmetic::F64 => (Element::F64, DType::Fp64),
        };
        let columns = |count: usize| (count > 1).then_some(count);
        let outputs = vec![
            Output {
                name: "predict".to_string(),
                dtype,
                columns: columns(predicted),
                offset: 0,
                labels: parsed.classes.clone(),
                default: true,
            },
            Output {
                name: "raw".to_string(),
                dtype,
                columns: columns(forest.outputs),
                offset: predicted,
                labels: Vec::new(),
                default: false,
            },
        ];
        let outline = Outline {
            engine: "forest",
            format,
            element,
            features: parsed.features,
            outputs,
            objective: parsed.objective,
            trees: Some(forest.trees.len()),
            library_version: parsed.library_version,
            refused_by_forest: None,
        };
        let kernel = Kernel::new(parsed.forest)
            .ok_or_else(|| ParseError::Unsupported("2^31 nodes or more".to_string()))?;
        Ok(ForestEngine {
            kernel,
            outline,
            predicted,
        })
    }

    fn run<T: Copy + Into<f64>>(&self, rows: &Matrix<T>, out: &mut [f64]) {
        let width = self.outline.width();
        for (row, out) in rows.rows().zip(out.chunks_exact_mut(width)) {
            let (prediction, raw) = out.split_at_mut(self.predicted);
            self.kernel.raw_scores(row, raw);
            self.kernel.forest().link.apply(raw, prediction);
        }
    }
}

impl Engine for ForestEngine {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        super::check_shape(&self.outline, rows, out)?;
        match rows {
            Rows::F32(matrix) => self.run(matrix, out),
            Rows::F64(matrix) => self.run(matrix, out),
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.kernel.memory_bytes()
    }
}
