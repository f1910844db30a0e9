//! The engine: outline from our parser, numbers from the library.
//!
//! Outputs: `predict` and `raw`, as forest names them. Extras: the library's contributions and leaves.

use super::library::{Booster, Kind};
use crate::engine::{
    Engine, EngineError, Extra, Format, ModelFile, Outline, Output, check_room, check_shape,
};
use crate::forest::lightgbm::parse;
use crate::forest::{ParseError, Parsed};
use crate::tensor::{DType, Element, Rows};

/// A model in LightGBM's library.
#[derive(Debug)]
pub struct LightgbmEngine {
    booster: Booster,
    outline: Outline,
    /// Whether leaves hold linear models, of which the library gives no contributions.
    linear: bool,
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
            linear: !forest.linear.is_empty(),
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

    fn extra_shape(&self, extra: Extra) -> Result<Vec<usize>, EngineError> {
        if self.linear && extra == Extra::Contributions {
            return Err(EngineError::Unsupported(
                "contributions: lightgbm gives none for linear trees".to_string(),
            ));
        }
        let columns = self.booster.columns(kind_of(extra))?;
        Ok(match extra {
            Extra::Contributions if self.columns > 1 => vec![self.columns, columns / self.columns],
            _ => vec![columns],
        })
    }

    fn extra(&self, extra: Extra, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        let width = self.extra_shape(extra)?.iter().product();
        check_room(&self.outline, rows, width, out)?;
        let Rows::F64(matrix) = rows else {
            return Err(EngineError::Failed("expected 64-bit rows".to_string()));
        };
        self.booster
            .predict_seldom(kind_of(extra), matrix.rows(), out)
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

fn kind_of(extra: Extra) -> Kind {
    match extra {
        Extra::Contributions => Kind::Contributions,
        Extra::Leaves => Kind::Leaves,
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
