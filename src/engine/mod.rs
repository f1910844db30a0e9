//! What computes: the [`Engine`] trait, its implementations, and the choice between them.
//!
//! [`forest`] is ours and the default; the library engines serve what forest refuses and are the
//! oracle that a revision can be verified against.

mod extra;
pub mod forest;
pub mod lightgbm;
pub mod onnx;
pub mod xgboost;

use std::fmt;
use std::path::PathBuf;

use crate::forest::ParseError;
pub use crate::forest::kernel::{Layouts, Measured};
pub use crate::forest::{Category, Feature, FeatureKind, Unknown};
use crate::tensor::{DType, Element, Rows};
pub use extra::Extra;

/// A loaded model that answers rows.
///
/// Synchronous and shared by all threads. Two calls with the same row give the same bits, alone or
/// in a batch with any other rows, at the same time or one after the other.
pub trait Engine: Send + Sync + fmt::Debug {
    /// What the model takes and gives. Never changes.
    fn outline(&self) -> &Outline;

    /// Writes what the model says of each row.
    ///
    /// `rows` is `[n, outline.features.len()]` with `outline.element` as its type; `out` is
    /// `[n, outline.width()]`, row-major, where [`Output::offset`] says which columns belong to
    /// which output. 32-bit results are widened without loss. On an error `out` is unspecified.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the library fails, or when rows or `out` have another shape or
    /// type than the outline says.
    fn predict(&self, rows: &Rows, out: &mut [f64]) -> Result<(), EngineError>;

    /// The shape of an extra after its first dimension, the rows. Costs no more than a look-up,
    /// but for a library's first call.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] with why this model does not have it.
    fn extra_shape(&self, extra: Extra) -> Result<Vec<usize>, EngineError> {
        extra::unsupported(extra, self.outline().engine)
    }

    /// Writes an extra of each row. `rows` as in [`Engine::predict`]; `out` is `[n]` and then
    /// [`Engine::extra_shape`], row-major. Costs up to a thousand times a prediction, and the first
    /// call more than that. On an error `out` is unspecified.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where only the work itself could tell, else as
    /// [`Engine::predict`].
    fn extra(&self, extra: Extra, _rows: &Rows, _out: &mut [f64]) -> Result<(), EngineError> {
        extra::unsupported(extra, self.outline().engine)
    }

    /// Bytes that the model holds in memory, roughly.
    fn memory_bytes(&self) -> usize;

    /// How its trees are laid out, where that is ours to say.
    fn layouts(&self) -> Option<Layouts> {
        None
    }
}

/// What a model takes and gives, as its file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// Which engine computes: `forest`, `xgboost`, `lightgbm` or `onnxruntime`.
    pub engine: &'static str,
    pub format: Format,
    /// The type of row values.
    pub element: Element,
    /// One per row value, in row order.
    pub features: Vec<Feature>,
    /// The outputs, in the order that metadata lists them. Their columns do not overlap and fill
    /// `0..width()`.
    pub outputs: Vec<Output>,
    /// The objective as the file writes it; empty when it has none.
    pub objective: String,
    /// The number of trees, where the model is an ensemble of them.
    pub trees: Option<usize>,
    /// The library's version that wrote the file, where it says so.
    pub library_version: Option<String>,
    /// Why forest did not take the model, when a library engine computes.
    pub refused_by_forest: Option<String>,
}

/// One output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name, e.g. `predict`.
    pub name: String,
    /// The datatype that clients see.
    pub dtype: DType,
    /// `None`: one value per row, shape `[n]`. `Some(k)`: shape `[n, k]`.
    pub columns: Option<usize>,
    /// Its first column in a row of results.
    pub offset: usize,
    /// For `BYTES`: the strings that the values (indices) stand for. For class scores: the class of
    /// each column. Empty when neither.
    pub labels: Vec<String>,
    /// Whether a request that names no outputs gets this one.
    pub default: bool,
}

/// The formats of model files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    XgboostJson,
    XgboostUbjson,
    LightgbmText,
    Onnx,
    CatboostJson,
}

/// A model file in memory.
#[derive(Clone, Debug)]
pub struct ModelFile {
    pub format: Format,
    /// Where it was read, for messages and for libraries that want a path.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Where the optional native libraries lie, as `scripts/native.sh` lays them out. A library is
/// opened on first use and stays open.
#[derive(Clone, Debug)]
pub struct Libraries {
    pub dir: PathBuf,
}

/// Which engine is to compute a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// Forest where it can, else the format's library.
    #[default]
    Auto,
    /// Forest, or an error.
    Forest,
    /// The format's library, or an error.
    Library,
}

/// Why a model cannot be loaded or cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The model's file is broken.
    #[error("{0}")]
    Malformed(String),
    /// No engine that is present can serve the model.
    #[error("{0}")]
    Unsupported(String),
    /// The engine that the model needs is missing from this binary or this machine.
    #[error("engine unavailable: {0}")]
    Unavailable(String),
    /// The engine failed on a call.
    #[error("{0}")]
    Failed(String),
}

impl Outline {
    /// Values per row of results: all outputs' columns.
    pub fn width(&self) -> usize {
        self.outputs
            .iter()
            .map(|output| output.offset + output.len())
            .max()
            .unwrap_or(0)
    }
}

impl Output {
    /// Its number of columns.
    pub fn len(&self) -> usize {
        self.columns.unwrap_or(1)
    }

    /// Whether it has no columns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FeatureKind {
    /// The value that an engine reads for a client's number. For a categorical feature whose
    /// categories are numbers, that is the category's code; else the number itself.
    ///
    /// # Errors
    /// When the library refuses a category that is not in the list.
    pub fn value_of_number(&self, number: f64) -> Result<f64, UnknownCategory> {
        match self {
            FeatureKind::Category {
                categories,
                unknown,
            } if matches!(categories.first(), Some(Category::Number(_))) && !number.is_nan() => {
                code_of(categories, *unknown, |category| {
                    *category == Category::Number(number)
                })
            }
            _ => Ok(number),
        }
    }

    /// The value that an engine reads for a client's text: the code of the category with this name.
    ///
    /// # Errors
    /// When the feature has no names, or the library refuses a category that is not in the list.
    pub fn value_of_text(&self, text: &str) -> Result<f64, UnknownCategory> {
        match self {
            FeatureKind::Category {
                categories,
                unknown,
            } if !categories.is_empty() => code_of(
                categories,
                *unknown,
                |category| matches!(category, Category::Text(name) if name == text),
            ),
            _ => Err(UnknownCategory),
        }
    }
}

/// A category that the model does not know and does not take as missing, or a text where no
/// category has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCategory;

fn code_of(
    categories: &[Category],
    unknown: Unknown,
    is_it: impl Fn(&Category) -> bool,
) -> Result<f64, UnknownCategory> {
    match (categories.iter().position(is_it), unknown) {
        (Some(code), _) => Ok(code as f64),
        (None, Unknown::Missing) => Ok(f64::NAN),
        (None, Unknown::Refused) => Err(UnknownCategory),
    }
}

impl Format {
    /// The platform string of the Open Inference Protocol's model metadata.
    pub fn platform(self) -> &'static str {
        match self {
            Format::XgboostJson => "xgboost_json",
            Format::XgboostUbjson => "xgboost_ubj",
            Format::LightgbmText => "lightgbm_text",
            Format::Onnx => "onnx",
            Format::CatboostJson => "catboost_json",
        }
    }

    /// The library whose format this is.
    pub fn library(self) -> &'static str {
        match self {
            Format::XgboostJson | Format::XgboostUbjson => "xgboost",
            Format::LightgbmText => "lightgbm",
            Format::Onnx => "onnxruntime",
            Format::CatboostJson => "catboost",
        }
    }
}

/// Loads a model file into the engine that `choice` asks for.
///
/// # Errors
/// The reason of forest and, where `choice` lets a library try, of the library.
pub fn load(
    file: &ModelFile,
    choice: Choice,
    libraries: &Libraries,
) -> Result<Box<dyn Engine>, EngineError> {
    if choice == Choice::Library {
        return load_library(file, libraries, None);
    }
    match forest::load(file) {
        Ok(engine) => Ok(Box::new(engine)),
        Err(ParseError::Malformed(reason)) => Err(EngineError::Malformed(reason)),
        Err(ParseError::Unsupported(reason)) if choice == Choice::Forest => {
            Err(EngineError::Unsupported(reason))
        }
        Err(ParseError::Unsupported(reason)) => load_library(file, libraries, Some(reason)),
    }
}

/// Loads a model file into its format's library. `refused_by_forest` goes into the outline, and
/// into the error when the library is missing.
///
/// # Errors
/// [`EngineError::Unavailable`] when the library is missing, else what the library says.
pub fn load_library(
    file: &ModelFile,
    libraries: &Libraries,
    refused_by_forest: Option<String>,
) -> Result<Box<dyn Engine>, EngineError> {
    let loaded = match file.format {
        Format::XgboostJson | Format::XgboostUbjson => {
            xgboost::load(file, libraries, refused_by_forest.clone())
        }
        Format::LightgbmText => lightgbm::load(file, refused_by_forest.clone()),
        Format::Onnx => onnx::load(file, libraries, refused_by_forest.clone()),
        Format::CatboostJson => Err(EngineError::Unavailable(
            "there is no engine of CatBoost's library here; export the model to onnx".to_string(),
        )),
    };
    match (loaded, refused_by_forest) {
        (Err(EngineError::Unavailable(missing)), Some(refused)) => Err(EngineError::Unavailable(
            format!("{missing}; it is needed because forest does not serve this model: {refused}"),
        )),
        (loaded, _) => loaded,
    }
}

/// The engines of this binary and whether each can be used here: name, and version or reason.
pub fn available(libraries: &Libraries) -> Vec<(&'static str, Result<String, String>)> {
    vec![
        ("forest", Ok(env!("CARGO_PKG_VERSION").to_string())),
        ("xgboost", xgboost::version(libraries)),
        ("lightgbm", lightgbm::version()),
        ("onnxruntime", onnx::version(libraries)),
    ]
}

/// The same as far as files show it: no library is opened, which takes tens of milliseconds and
/// megabytes.
pub fn present(libraries: &Libraries) -> Vec<(&'static str, Result<(), String>)> {
    vec![
        ("forest", Ok(())),
        ("xgboost", xgboost::present(libraries)),
        ("lightgbm", lightgbm::version().map(drop)),
        ("onnxruntime", onnx::present(libraries)),
    ]
}

/// The first lines of every engine's `predict`: rows and results have the outline's shape and type.
fn check_shape(outline: &Outline, rows: &Rows, out: &[f64]) -> Result<(), EngineError> {
    check_room(outline, rows, outline.width(), out)
}

/// The same for `width` results per row.
fn check_room(
    outline: &Outline,
    rows: &Rows,
    width: usize,
    out: &[f64],
) -> Result<(), EngineError> {
    if rows.width() != outline.features.len() || rows.element() != outline.element {
        return Err(EngineError::Failed(format!(
            "expected rows of {} {} values, got {} {}",
            outline.features.len(),
            outline.element.dtype(),
            rows.width(),
            rows.element().dtype()
        )));
    }
    if out.len() != rows.len() * width {
        return Err(EngineError::Failed(format!(
            "expected room for {} results, got {}",
            rows.len() * width,
            out.len()
        )));
    }
    Ok(())
}
