//! The engine: outline from our parser, numbers from the library.
//!
//! Outputs: `predict` and `raw`, as forest names them.

use super::library::{Booster, Kind};
use crate::engine::{Engine, EngineError, Format, ModelFile, Outline, Output, check_shape};
use crate::forest::lightgbm::parse;
use crate::forest::{ParseError, Parsed};
use crate::tensor::{DType, Element, Rows};

/// A model in LightGBM's library.
#[derive(Debug)]
pub struct LightgbmEngine {
    booster: Booster,
    outline: Outline,
    /// Columns of each of the two outputs.
    columns: usize,
    /// The text's size, which is about what the library keeps of it.
    memory_bytes: usize,
}

impl LightgbmEngine {
    /// Checks the text with our parser and loads it into the library.
    pub fn new(file: &ModelFile, refused: Option<String>) -> Result<LightgbmEngine, EngineError> {
        let parsed = parse(&file.bytes).map_err(|error| match error {
            ParseError::Malformed(reason) => EngineError::Malformed(reason),
            ParseError::Unsupported(reason) => EngineError::Unsupported(reason),
        })?;
        let forest = &parsed.forest;
        let booster = Booster::load(&file.bytes, forest.features, forest.outputs)?;
        Ok(LightgbmEngine {
            booster,
            columns: forest.outputs,
            memory_bytes: file.bytes.len(),
            outline: outline(parsed, refused),
        })
    }
}

impl Engine for LightgbmEngine {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        check_shape(&self.outline, rows, out)?;
        let Rows::F64(matrix) = rows else {
            return Err(EngineError::Failed("expected 64-bit rows".to_string()));
        };
        let mut predictors = self.booster.predictors()?;
        for (row, out) in matrix.rows().zip(out.chunks_exact_mut(2 * self.columns)) {
            let (prediction, raw) = out.split_at_mut(self.columns);
            predictors.predict(Kind::Prediction, row, prediction)?;
            predictors.predict(Kind::Raw, row, raw)?;
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

fn outline(parsed: Parsed, refused_by_forest: Option<String>) -> Outline {
    let columns = parsed.forest.outputs;
    let output = |name: &str, offset: usize, default: bool| Output {
        name: name.to_string(),
        dtype: DType::Fp64,
        columns: (columns > 1).then_some(columns),
        offset,
        labels: Vec::new(),
        default,
    };
    Outline {
        engine: "lightgbm",
        format: Format::LightgbmText,
        element: Element::F64,
        outputs: vec![output("predict", 0, true), output("raw", columns, false)],
        features: parsed.features,
        objective: parsed.objective,
        trees: Some(parsed.forest.trees.len()),
        library_version: parsed.library_version,
        refused_by_forest,
    }
}
