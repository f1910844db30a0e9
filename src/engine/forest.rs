//! The engine of our own: a [`Kernel`] behind the [`Engine`] trait.
//!
//! Outputs: `predict` (the library's own prediction) and, on request, `raw` (scores before the
//! link). ONNX models keep the names of their graph's outputs. Extras: contributions and leaves of
//! XGBoost's and LightGBM's models; what contributions need is computed by the first call that asks.

use std::sync::OnceLock;

use super::{Engine, EngineError, Extra, Format, Layouts, ModelFile, Outline, Output};
use crate::forest::kernel::{Kernel, Scores};
use crate::forest::onnx::{GraphOutputs, Label, LabelValues, OutputKind};
use crate::forest::reference;
use crate::forest::shap::{Explainer, NotExplained};
use crate::forest::{Arithmetic, ParseError, Parsed, catboost, lightgbm, onnx, xgboost};
use crate::tensor::{DType, Element, Matrix, Rows};

/// A forest that serves.
#[derive(Debug)]
pub struct ForestEngine {
    kernel: Kernel,
    outline: Outline,
    /// What to write into a row of results, apart from the raw scores at its end.
    columns: Vec<Column>,
    /// The label of an ONNX classifier.
    label: Option<Label>,
    /// Whether values are integers by the model's own declaration.
    whole_numbers: bool,
    /// Whether the forest has what contributions need.
    explained: Result<(), NotExplained>,
    explainer: OnceLock<Result<Explainer, NotExplained>>,
}

/// One output's place in a row of results.
#[derive(Clone, Copy, Debug)]
struct Column {
    kind: OutputKind,
    offset: usize,
    len: usize,
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
        Format::CatboostJson => catboost::parse_json(&file.bytes)?,
    };
    ForestEngine::new(parsed, file.format)
}

impl ForestEngine {
    fn new(parsed: Parsed, format: Format) -> Result<ForestEngine, ParseError> {
        let forest = &parsed.forest;
        let (element, dtype) = match forest.arithmetic {
            Arithmetic::F32 => (Element::F32, DType::Fp32),
            Arithmetic::F64 => (Element::F64, DType::Fp64),
        };
        let several = |count: usize| (count > 1).then_some(count);
        let predicted = forest.link.width(forest.outputs);
        let mut outputs = match &parsed.graph {
            Some(graph) => graph_outputs(graph, predicted, &parsed.classes),
            None => vec![Output {
                name: "predict".to_string(),
                dtype,
                columns: several(predicted),
                offset: 0,
                labels: parsed.classes.clone(),
                default: true,
            }],
        };
        let columns = outputs
            .iter()
            .enumerate()
            .map(|(index, output)| Column {
                kind: parsed
                    .graph
                    .as_ref()
                    .map_or(OutputKind::Scores, |graph| graph.outputs[index].kind),
                offset: output.offset,
                len: output.len(),
            })
            .collect();
        outputs.push(Output {
            name: raw_name(&outputs),
            dtype,
            columns: several(forest.outputs),
            offset: outputs.iter().map(Output::len).sum(),
            labels: Vec::new(),
            default: false,
        });
        let outline = Outline {
            engine: "forest",
            format,
            element,
            features: parsed.features,
            outputs,
            objective: parsed.objective,
            trees: forest
                .linear
                .weights
                .is_empty()
                .then_some(forest.trees.len()),
            library_version: parsed.library_version,
            refused_by_forest: None,
        };
        let (label, whole_numbers) = match parsed.graph {
            Some(graph) => (graph.label, graph.whole_numbers),
            None => (None, false),
        };
        let explained = Explainer::check(&parsed.forest);
        let kernel = Kernel::new(parsed.forest)
            .ok_or_else(|| ParseError::Unsupported("2^31 nodes or more".to_string()))?;
        Ok(ForestEngine {
            kernel,
            outline,
            columns,
            label,
            whole_numbers,
            explained,
            explainer: OnceLock::new(),
        })
    }

    /// Raw scores go to the end of each row of results first; the outputs before them are of those.
    fn run(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        let width = self.outline.width();
        let before_raw = width - self.kernel.forest().outputs;
        if rows.is_empty() {
            return Ok(());
        }
        let mut scores = Scores::new(&mut out[before_raw..], width);
        match rows {
            Rows::F32(matrix) => {
                self.check_whole(matrix)?;
                self.kernel.raw_scores_f32(matrix.values(), &mut scores);
            }
            Rows::F64(matrix) => {
                self.check_whole(matrix)?;
                self.kernel.raw_scores_f64(matrix.values(), &mut scores);
            }
        }
        let link = &self.kernel.forest().link;
        for out in out.chunks_exact_mut(width) {
            let (outputs, raw) = out.split_at_mut(before_raw);
            for column in &self.columns {
                let out = &mut outputs[column.offset..column.offset + column.len];
                match (column.kind, &self.label) {
                    (OutputKind::Label, Some(label)) => out.fill(label.of(raw)),
                    _ => link.apply(raw, out),
                }
            }
        }
        Ok(())
    }

    fn contributions<T: Copy + Into<f64>>(
        &self,
        rows: &Matrix<T>,
        out: &mut [f64],
    ) -> Result<(), EngineError> {
        let forest = self.kernel.forest();
        match self.explainer.get_or_init(|| Explainer::new(forest)) {
            Ok(explainer) => explainer.contributions(forest, rows.values(), out),
            Err(reason) => return not_explained(reason),
        }
        Ok(())
    }

    fn leaves<T: Copy + Into<f64>>(&self, rows: &Matrix<T>, out: &mut [f64]) {
        let forest = self.kernel.forest();
        for (row, out) in rows.rows().zip(out.chunks_exact_mut(forest.trees.len())) {
            for (tree, out) in forest.trees.iter().zip(out) {
                let leaf = reference::leaf_of(forest, tree, row);
                *out = match tree.leaf_ids.get(leaf) {
                    Some(id) => f64::from(*id),
                    None => leaf as f64,
                };
            }
        }
    }

    fn check_whole<T: Copy + Into<f64>>(&self, rows: &Matrix<T>) -> Result<(), EngineError> {
        if !self.whole_numbers {
            return Ok(());
        }
        for (index, row) in rows.rows().enumerate() {
            for (feature, value) in row.iter().enumerate() {
                let value: f64 = (*value).into();
                if value.trunc() != value || value.abs() >= TWO_TO_63 {
                    return Err(EngineError::Failed(format!(
                        "feature {feature}, row {index}: expected a 64-bit integer, got {value}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Integers from here on do not fit 64 bits with a sign.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// The outputs of an ONNX graph, under its names.
fn graph_outputs(graph: &GraphOutputs, predicted: usize, classes: &[String]) -> Vec<Output> {
    let mut offset = 0;
    let mut outputs = Vec::with_capacity(graph.outputs.len() + 1);
    for named in &graph.outputs {
        let label = graph.label.as_ref().map(|label| &label.values);
        let (dtype, columns, labels) = match (named.kind, label) {
            (OutputKind::Label, Some(LabelValues::Texts(texts))) => {
                (DType::Bytes, None, texts.clone())
            }
            (OutputKind::Label, _) => (DType::Int64, None, Vec::new()),
            (OutputKind::Scores, _) => (DType::Fp32, Some(predicted), classes.to_vec()),
        };
        outputs.push(Output {
            name: named.name.clone(),
            dtype,
            columns,
            offset,
            labels,
            default: true,
        });
        offset += columns.unwrap_or(1);
    }
    outputs
}

/// `raw`, or with underscores after it where the graph has an output of that name.
fn raw_name(outputs: &[Output]) -> String {
    let mut name = "raw".to_string();
    while outputs.iter().any(|output| output.name == name) {
        name.push('_');
    }
    name
}

impl Engine for ForestEngine {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        super::check_shape(&self.outline, rows, out)?;
        self.run(rows, out)
    }

    fn extra_shape(&self, extra: Extra) -> Result<Vec<usize>, EngineError> {
        let forest = self.kernel.forest();
        if matches!(self.outline.format, Format::Onnx | Format::CatboostJson) {
            let format = self.outline.format.platform();
            return Err(EngineError::Unsupported(match extra {
                Extra::Contributions => format!(
                    "contributions need to know how much training data came to each node, which {format} models do not say"
                ),
                Extra::Leaves => format!("leaves have no numbers in {format} models"),
            }));
        }
        if extra == Extra::Leaves && !forest.linear.weights.is_empty() {
            return Err(EngineError::Unsupported(
                "leaves: a linear booster has none".to_string(),
            ));
        }
        match extra {
            Extra::Leaves => Ok(vec![forest.trees.len()]),
            Extra::Contributions => match &self.explained {
                Ok(()) if forest.outputs > 1 => Ok(vec![forest.outputs, forest.features + 1]),
                Ok(()) => Ok(vec![forest.features + 1]),
                Err(reason) => not_explained(reason),
            },
        }
    }

    fn extra(&self, extra: Extra, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        let width = self.extra_shape(extra)?.iter().product();
        super::check_room(&self.outline, rows, width, out)?;
        match (extra, rows) {
            (_, _) if width == 0 => {}
            (Extra::Contributions, Rows::F32(matrix)) => return self.contributions(matrix, out),
            (Extra::Contributions, Rows::F64(matrix)) => return self.contributions(matrix, out),
            (Extra::Leaves, Rows::F32(matrix)) => self.leaves(matrix, out),
            (Extra::Leaves, Rows::F64(matrix)) => self.leaves(matrix, out),
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        let explainer = self.explainer.get().and_then(|built| built.as_ref().ok());
        self.kernel.memory_bytes() + explainer.map_or(0, Explainer::memory_bytes)
    }

    fn layouts(&self) -> Option<Layouts> {
        Some(self.kernel.layouts())
    }
}

fn not_explained<T>(reason: &NotExplained) -> Result<T, EngineError> {
    Err(EngineError::Unsupported(format!("contributions: {reason}")))
}
