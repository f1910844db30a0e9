//! ONNX Runtime, loaded at run time: the engine for graphs that forest refuses, and the oracle for
//! those that it takes.
//!
//! Inputs are numbers per row, laid side by side as the columns of one row matrix; outputs are
//! numbers or class labels per row. The outputs' real shapes are those of a first run with one row
//! and with two.

mod graph;
mod library;
mod pool;
mod tensors;

use std::collections::HashMap;

use ort::session::{Session, SessionOutputs};
use ort::value::{TensorElementType, ValueType};

use super::{Engine, EngineError, Feature, Libraries, ModelFile, Outline, Output};
use crate::tensor::{Element, Rows};
use graph::Prepared;
pub use library::{present, version};
use pool::Pool;
use tensors::{Input, dtype_of, failed};

/// Far more columns than any table has; a dimension in a broken file must not fill the memory.
const COLUMNS_MAX: usize = 1 << 20;

/// A graph that ONNX Runtime computes.
#[derive(Debug)]
pub struct OnnxEngine {
    pool: Pool,
    outline: Outline,
    inputs: Vec<Input>,
    /// Per output, the name of its tensor.
    tensors: Vec<String>,
    /// Per label text, its index.
    texts: HashMap<String, f64>,
    /// Whether the graph takes one row at a time.
    single: bool,
}

/// Loads a model into ONNX Runtime.
///
/// # Errors
/// [`EngineError::Unavailable`] when the library is missing, [`EngineError::Malformed`] when it
/// cannot read the model, [`EngineError::Unsupported`] when inputs or outputs are not rows.
pub fn load(
    file: &ModelFile,
    libraries: &Libraries,
    refused: Option<String>,
) -> Result<Box<dyn Engine>, EngineError> {
    let environment = library::environment(libraries)?;
    let prepared = graph::prepare(&file.bytes)?;
    let pool = Pool::new(environment, prepared.bytes.clone())?;
    let (inputs, single) = pool.with(|session| inputs(session))??;
    let all_floats = inputs
        .iter()
        .all(|input| input.kind == TensorElementType::Float32);
    let element = if all_floats {
        Element::F32
    } else {
        Element::F64
    };
    let outline = Outline {
        engine: "onnxruntime",
        format: file.format,
        element,
        features: features(&inputs),
        outputs: Vec::new(),
        objective: String::new(),
        trees: None,
        library_version: prepared.producer.clone(),
        refused_by_forest: refused,
    };
    let texts = prepared.texts.iter().cloned().zip((0..).map(f64::from));
    let mut engine = OnnxEngine {
        pool,
        outline,
        inputs,
        tensors: Vec::new(),
        texts: texts.collect(),
        single,
    };
    engine.probe(&prepared)?;
    Ok(Box::new(engine))
}

fn features(inputs: &[Input]) -> Vec<Feature> {
    let mut features = Vec::new();
    for input in inputs {
        let name = (input.len() == 1).then(|| input.name.clone());
        let feature = Feature {
            name,
            ..Feature::default()
        };
        features.extend(std::iter::repeat_n(feature, input.len()));
    }
    features
}

/// The graph's inputs, and whether it takes one row at a time.
fn inputs(session: &Session) -> Result<(Vec<Input>, bool), EngineError> {
    let mut inputs = Vec::new();
    let mut offset = 0_usize;
    let mut single = false;
    for outlet in session.inputs() {
        let name = outlet.name();
        let refuse = |what: &str| {
            Err(EngineError::Unsupported(format!(
                "input \"{name}\" {what}; expected numbers of shape [n], [n, 1] or [n, k]"
            )))
        };
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return refuse("is not a tensor");
        };
        if *ty == TensorElementType::String || dtype_of(*ty).is_none() {
            return refuse(&format!("is of type {ty}"));
        }
        let (rows, columns) = match **shape {
            [rows] => (rows, None),
            [rows, columns] if columns >= 1 => (rows, Some(columns as usize)),
            [_, _] => return refuse("does not say how many columns it has"),
            _ => return refuse(&format!("has {} dimensions or none are known", shape.len())),
        };
        match rows {
            -1 => {}
            1 => single = true,
            _ => return refuse(&format!("takes {rows} rows at a time")),
        }
        let input = Input {
            name: name.to_string(),
            kind: *ty,
            columns,
            offset,
        };
        offset = offset.saturating_add(input.len());
        if offset > COLUMNS_MAX {
            return refuse("goes beyond 2^20 columns");
        }
        inputs.push(input);
    }
    if inputs.is_empty() {
        return Err(EngineError::Unsupported(
            "a graph without inputs".to_string(),
        ));
    }
    Ok((inputs, single))
}

impl OnnxEngine {
    /// Runs one row and two rows of zeros, and sets the outputs to what comes out.
    fn probe(&mut self, prepared: &Prepared) -> Result<(), EngineError> {
        let width = self.outline.features.len();
        let counts: &[usize] = if self.single { &[1] } else { &[1, 2] };
        for (index, count) in counts.iter().enumerate() {
            let zeros = vec![0.0; width * count];
            let rows = Rows::from_f64(zeros, width, self.outline.element)
                .ok_or_else(|| EngineError::Unsupported("a graph without columns".to_string()))?;
            let found = self.pool.with(|session| {
                let outputs = run(session, &self.inputs, &rows, 0..*count)?;
                shapes(&outputs, prepared, *count)
            })??;
            if index > 0 && found != self.outline.outputs {
                return Err(EngineError::Unsupported(
                    "outputs whose columns depend on the number of rows".to_string(),
                ));
            }
            self.outline.outputs = found;
        }
        let tensors = prepared.outputs.iter().map(|output| output.tensor.clone());
        self.tensors = tensors.collect();
        Ok(())
    }

    fn predict_rows(
        &self,
        session: &mut Session,
        rows: &Rows,
        range: std::ops::Range<usize>,
        out: &mut [f64],
    ) -> Result<(), EngineError> {
        let count = range.len();
        let width = self.outline.width();
        let values = run(session, &self.inputs, rows, range)?;
        for (output, tensor) in self.outline.outputs.iter().zip(&self.tensors) {
            let value = values.get(tensor).ok_or_else(|| {
                EngineError::Failed(format!("ONNX Runtime gave no output \"{tensor}\""))
            })?;
            let text = |text: &str| {
                self.texts.get(text).copied().ok_or_else(|| {
                    EngineError::Failed(format!(
                        "output \"{}\": unknown label \"{text}\"",
                        output.name
                    ))
                })
            };
            let numbers = tensors::numbers(value, output.dtype, text)?;
            if numbers.len() != count * output.len() {
                return Err(EngineError::Failed(format!(
                    "output \"{}\": expected {} values, got {}",
                    output.name,
                    count * output.len(),
                    numbers.len()
                )));
            }
            for (row, numbers) in numbers.chunks_exact(output.len()).enumerate() {
                let at = row * width + output.offset;
                out[at..at + output.len()].copy_from_slice(numbers);
            }
        }
        Ok(())
    }
}

/// One run of rows `range`.
fn run<'s>(
    session: &'s mut Session,
    inputs: &[Input],
    rows: &Rows,
    range: std::ops::Range<usize>,
) -> Result<SessionOutputs<'s>, EngineError> {
    let mut values = Vec::with_capacity(inputs.len());
    for input in inputs {
        let tensor = input.tensor(rows, range.start, range.end)?;
        values.push((input.name.as_str(), tensor));
    }
    session.run(values).map_err(failed)
}

/// The outputs as a run of `count` rows shaped them.
fn shapes(
    values: &SessionOutputs,
    prepared: &Prepared,
    count: usize,
) -> Result<Vec<Output>, EngineError> {
    let mut outputs = Vec::with_capacity(prepared.outputs.len());
    let mut offset = 0;
    for output in &prepared.outputs {
        let name = &output.name;
        let refuse = |what: String| {
            EngineError::Unsupported(format!(
                "output \"{name}\" {what}; expected numbers or labels of shape [n], [n, 1] or [n, k]"
            ))
        };
        let Some(value) = values.get(&output.tensor) else {
            return Err(refuse("is missing".to_string()));
        };
        let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
            return Err(refuse("is not a tensor".to_string()));
        };
        let dtype = dtype_of(*ty).ok_or_else(|| refuse(format!("is of type {ty}")))?;
        let columns = match **shape {
            [rows] if rows == count as i64 => None,
            [rows, columns] if rows == count as i64 && columns >= 1 => Some(columns as usize),
            _ => return Err(refuse(format!("has shape {:?} for {count} rows", &**shape))),
        };
        let labels = match (ty, columns) {
            (TensorElementType::String, _) => prepared.texts.clone(),
            (TensorElementType::Float32, Some(columns)) if output.labels.is_empty() => {
                prepared.classes_of(columns)
            }
            (_, Some(columns)) if columns == output.labels.len() => output.labels.clone(),
            _ => Vec::new(),
        };
        outputs.push(Output {
            name: name.clone(),
            dtype,
            columns,
            offset,
            labels,
            default: true,
        });
        offset += columns.unwrap_or(1);
    }
    Ok(outputs)
}

impl Engine for OnnxEngine {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        super::check_shape(&self.outline, rows, out)?;
        if rows.is_empty() {
            return Ok(());
        }
        if !self.single {
            return self
                .pool
                .with(|session| self.predict_rows(session, rows, 0..rows.len(), out))?;
        }
        self.pool.with(|session| {
            for (row, out) in out.chunks_exact_mut(self.outline.width()).enumerate() {
                self.predict_rows(session, rows, row..row + 1, out)?;
            }
            Ok(())
        })?
    }

    fn memory_bytes(&self) -> usize {
        self.pool.model_bytes()
    }
}
