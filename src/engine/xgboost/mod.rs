//! XGBoost's own library as an engine: for what forest refuses, and as the oracle that forest is
//! compared with.
//!
//! Outputs as [`super::forest`]: `predict` (the library's prediction) and, on request, `raw`
//! (the margin). Extras: the library's contributions and leaves, through its own matrix. The library validates nothing of a tree's indices, so a file that forest finds
//! broken never reaches it.

mod library;

use std::sync::{Mutex, OnceLock, PoisonError};

use super::{Engine, EngineError, Extra, Format, Libraries, ModelFile, Outline, Output};
use crate::forest::{ParseError, xgboost};
use crate::tensor::{DType, Element, Matrix, Rows};
use library::{Booster, Kind, Library};

/// A booster of the library.
#[derive(Debug)]
struct XgboostEngine {
    model: Model,
    outline: Outline,
    /// Columns of the prediction; the raw scores follow it.
    predicted: usize,
    /// Columns of [`Extra::ALL`], found out when they are first asked for.
    extras: [OnceLock<Result<usize, EngineError>>; 2],
    bytes: usize,
}

/// A booster and how rows reach it.
#[derive(Debug)]
struct Model {
    booster: Booster,
    path: Path,
    /// The library promises no thread safety for all boosters where rows come as its own matrix.
    matrix: Mutex<()>,
}

/// How rows reach a booster.
#[derive(Debug)]
enum Path {
    /// From our buffer: trees alone.
    InPlace,
    /// Through the library's own matrix, which takes no infinite values. Linear boosters know no
    /// other way, and DART's in-place sums round differently from what every caller of
    /// `Booster.predict` gets.
    Matrix,
}

/// Loads a model file into the library.
///
/// # Errors
/// [`EngineError::Unavailable`] when the library is missing, [`EngineError::Malformed`] when the
/// file is broken, else what the library says.
pub fn load(
    file: &ModelFile,
    libraries: &Libraries,
    refused_by_forest: Option<String>,
) -> Result<Box<dyn Engine>, EngineError> {
    let library = Library::open(libraries)?;
    let description = describe(file)?;
    if description.old_vector_leaves {
        return Err(EngineError::Unsupported(
            "vector leaves of a version before 3.2, which XGBoost 3.2 crashes on".to_string(),
        ));
    }
    let booster = Booster::load(library, &file.bytes, description.rounds)?;
    let features = description.features.len();
    if booster.features()? != features {
        return Err(EngineError::Failed(format!(
            "xgboost reads {} features where the file says {features}",
            booster.features()?
        )));
    }
    let path = match description.booster.as_str() {
        "gbtree" => Path::InPlace,
        _ => Path::Matrix,
    };
    let model = Model {
        booster,
        path,
        matrix: Mutex::new(()),
    };
    // The first calls configure the booster, so that later ones only read it.
    let probe = vec![f32::NAN; features];
    let predicted = model.width(Kind::Value, &probe)?;
    let raw = model.width(Kind::Margin, &probe)?;
    let columns = |count: usize| (count > 1).then_some(count);
    let output = |name: &str, width: usize, offset: usize| Output {
        name: name.to_string(),
        dtype: DType::Fp32,
        columns: columns(width),
        offset,
        labels: Vec::new(),
        default: offset == 0,
    };
    let outline = Outline {
        engine: "xgboost",
        format: file.format,
        element: Element::F32,
        features: description.features,
        outputs: vec![
            output("predict", predicted, 0),
            output("raw", raw, predicted),
        ],
        objective: description.objective,
        trees: description.trees,
        library_version: description.library_version,
        refused_by_forest,
    };
    Ok(Box::new(XgboostEngine {
        model,
        outline,
        predicted,
        extras: Default::default(),
        bytes: file.bytes.len(),
    }))
}

/// The library's version, or why it cannot be used.
///
/// # Errors
/// The path that is missing, or what the loader says of it.
pub fn version(libraries: &Libraries) -> Result<String, String> {
    match Library::open(libraries) {
        Ok(library) => Ok(library.version()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the library's file is there.
///
/// # Errors
/// Where it was looked for.
pub fn present(libraries: &Libraries) -> Result<(), String> {
    Library::find(libraries)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Checks the file as far as forest can read it, and describes it.
fn describe(file: &ModelFile) -> Result<xgboost::Description, EngineError> {
    let (parsed, description) = match file.format {
        Format::XgboostJson => (
            xgboost::parse_json(&file.bytes).map(drop),
            xgboost::describe_json(&file.bytes),
        ),
        Format::XgboostUbjson => (
            xgboost::parse_ubjson(&file.bytes).map(drop),
            xgboost::describe_ubjson(&file.bytes),
        ),
        Format::LightgbmText | Format::Onnx | Format::CatboostJson => {
            return Err(EngineError::Unsupported(
                "xgboost reads its own files only".to_string(),
            ));
        }
    };
    if let Err(ParseError::Malformed(reason)) = parsed {
        return Err(EngineError::Malformed(reason));
    }
    description.map_err(|error| EngineError::Malformed(error.to_string()))
}

impl Model {
    /// How many values the booster gives for one row.
    fn width(&self, kind: Kind, row: &[f32]) -> Result<usize, EngineError> {
        let mut width = 0;
        self.run(kind, row, row.len(), |values| {
            width = values.len();
            Ok(())
        })?;
        match width {
            0 => Err(EngineError::Failed("xgboost gives no values".to_string())),
            width => Ok(width),
        }
    }

    /// Predicts rows of `width` values and hands the result to `take`.
    fn run(
        &self,
        kind: Kind,
        values: &[f32],
        width: usize,
        take: impl FnOnce(&[f32]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match &self.path {
            Path::InPlace => self.booster.predict_in_place(kind, values, width, take),
            Path::Matrix => self.run_matrix(kind, values, width, take),
        }
    }

    fn run_matrix(
        &self,
        kind: Kind,
        values: &[f32],
        width: usize,
        take: impl FnOnce(&[f32]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        // The lock guards no data of ours, so a panic elsewhere cannot have broken any.
        let _alone = self.matrix.lock().unwrap_or_else(PoisonError::into_inner);
        self.booster.predict_matrix(kind, values, width, take)
    }
}

impl XgboostEngine {
    /// The library refuses some extras of some boosters, and says so only when it is asked.
    fn extra_columns(&self, extra: Extra) -> Result<usize, EngineError> {
        let probe = || {
            let row = vec![f32::NAN; self.outline.features.len()];
            let mut columns = 0;
            let take = |values: &[f32]| {
                columns = values.len();
                Ok(())
            };
            let asked = self.model.run_matrix(kind_of(extra), &row, row.len(), take);
            match asked {
                Ok(()) => Ok(columns),
                Err(error) => Err(EngineError::Unsupported(format!("{extra}: {error}"))),
            }
        };
        let [contributions, leaves] = &self.extras;
        let known = match extra {
            Extra::Contributions => contributions,
            Extra::Leaves => leaves,
        };
        known.get_or_init(probe).clone()
    }

    /// Predicts and writes the result to the columns from `offset` on.
    fn fill(
        &self,
        rows: &Matrix<f32>,
        kind: Kind,
        offset: usize,
        out: &mut [f64],
    ) -> Result<(), EngineError> {
        let width = self.outline.width();
        let columns = match kind {
            Kind::Value => self.predicted,
            _ => width - self.predicted,
        };
        let take = |values: &[f32]| {
            check_count(rows.len() * columns, values)?;
            for (out, values) in out
                .chunks_exact_mut(width)
                .zip(values.chunks_exact(columns))
            {
                for (out, value) in out[offset..].iter_mut().zip(values) {
                    *out = f64::from(*value);
                }
            }
            Ok(())
        };
        self.model.run(kind, rows.values(), rows.width(), take)
    }
}

fn kind_of(extra: Extra) -> Kind {
    match extra {
        Extra::Contributions => Kind::Contributions,
        Extra::Leaves => Kind::Leaves,
    }
}

fn check_count(expected: usize, values: &[f32]) -> Result<(), EngineError> {
    if values.len() == expected {
        return Ok(());
    }
    Err(EngineError::Failed(format!(
        "expected {expected} values from xgboost, got {}",
        values.len()
    )))
}

impl Engine for XgboostEngine {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        super::check_shape(&self.outline, rows, out)?;
        let Rows::F32(rows) = rows else {
            return Err(EngineError::Failed("expected 32-bit rows".to_string()));
        };
        if rows.is_empty() {
            return Ok(());
        }
        self.fill(rows, Kind::Value, 0, out)?;
        self.fill(rows, Kind::Margin, self.predicted, out)
    }

    fn extra_shape(&self, extra: Extra) -> Result<Vec<usize>, EngineError> {
        let columns = self.extra_columns(extra)?;
        let raw = self.outline.width() - self.predicted;
        Ok(match extra {
            Extra::Contributions if raw > 1 => vec![raw, columns / raw],
            _ => vec![columns],
        })
    }

    fn extra(&self, extra: Extra, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError> {
        let width = self.extra_columns(extra)?;
        super::check_room(&self.outline, rows, width, out)?;
        let Rows::F32(rows) = rows else {
            return Err(EngineError::Failed("expected 32-bit rows".to_string()));
        };
        if rows.is_empty() {
            return Ok(());
        }
        let take = |values: &[f32]| {
            for (out, value) in out.iter_mut().zip(values) {
                *out = f64::from(*value);
            }
            check_count(out.len(), values)
        };
        self.model
            .run_matrix(kind_of(extra), rows.values(), rows.width(), take)
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_missing_library_is_unavailable_and_named() {
        let libraries = Libraries {
            dir: PathBuf::from("/nowhere"),
        };
        let reason = version(&libraries).unwrap_err();
        assert!(
            reason.starts_with("engine unavailable: ")
                && reason.contains("/nowhere/xgboost/lib/libxgboost.so"),
            "{reason}"
        );
    }
}
