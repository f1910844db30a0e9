//! What every protocol's request becomes, and what its answer is made of.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use uuid::Uuid;

use super::extras::{Explain, ExtraTensor, Extras};
use crate::engine::Output;
use crate::model::revision::Revision;
use crate::model::rules::Marks;
use crate::tensor::{DType, Shape, Tensors};

/// A decoded request, not yet checked against a model.
#[derive(Debug)]
pub struct InferRequest<'a> {
    pub slot: &'a str,
    /// A revision asked for by its id; `None` lets the slot's roles decide.
    pub revision: Option<u64>,
    pub tensors: Tensors<'a>,
    /// Names of the wanted outputs; empty for the model's default ones.
    pub outputs: Names<'a>,
    pub explain: Option<Explain>,
    /// The caller's own name for what is scored: its label may come back under it, and equal keys
    /// get the same share's revision. At most [`KEY_MAX`] bytes.
    pub key: Option<Cow<'a, str>>,
    /// When the answer is of no more use.
    pub deadline: Option<Instant>,
}

/// Names that a request gives: few, mostly none.
pub type Names<'a> = Vec<Cow<'a, str>>;

/// What a request gets, in the order to answer.
pub type Selected = SmallVec<[Wanted; 2]>;

/// The answer to a request.
#[derive(Debug)]
pub struct InferResponse {
    /// Who answered. Keeps the revision alive until the answer is encoded.
    pub revision: Arc<Revision>,
    pub rows: usize,
    /// `[rows, width]`, row-major.
    pub results: Vec<f64>,
    /// Values per row of results: the model's outputs, then the extras.
    pub width: usize,
    pub wanted: Selected,
    pub extras: Option<Arc<Extras>>,
    /// The id that a label may come back under, where the slot's predictions are recorded.
    pub prediction: Option<Prediction>,
    /// What the slot's rules found in its rows.
    pub marks: Marks,
    /// When the results were there: the start of their encoding.
    pub computed: Instant,
}

/// What a caller is told of a recorded prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Of the first row; with `.n` after it that of row `n`.
    pub id: Uuid,
    /// Whether the caller is asked to let it through whatever the score, so that its outcome is seen.
    pub holdout: bool,
}

/// A parameter of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    Id(Uuid),
    Flag(bool),
    Count(usize),
}

/// Bytes of a key.
pub const KEY_MAX: usize = 256;

/// A tensor that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Index into the signature's outputs.
    Output(usize),
    /// Index into [`Extras::tensors`].
    Extra(usize),
}

/// One tensor of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub name: &'a str,
    pub dtype: DType,
    /// As [`Output::labels`].
    pub labels: &'a [String],
    dims: Dims<'a>,
    offset: usize,
}

/// A shape without its first dimension, the rows.
#[derive(Clone, Copy, Debug)]
enum Dims<'a> {
    Columns(Option<usize>),
    Shape(&'a [usize]),
}

impl InferResponse {
    /// The tensors that were asked for, in the order to answer.
    pub fn answers(&self) -> impl Iterator<Item = Answer<'_>> {
        let tensor = |index: &usize| self.extras.as_ref()?.tensors.get(*index);
        self.wanted.iter().filter_map(move |wanted| match wanted {
            Wanted::Output(index) => {
                let output = self.revision.signature.outputs.get(*index)?;
                Some(Answer::from(output))
            }
            Wanted::Extra(index) => Some(self.extra(tensor(index)?)),
        })
    }

    /// What an answer says beside its tensors, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, Parameter)> {
        let id = self
            .prediction
            .map(|it| ("prediction_id", Parameter::Id(it.id)));
        let holdout = self.prediction.filter(|it| it.holdout);
        let holdout = holdout.map(|_| ("holdout", Parameter::Flag(true)));
        let count = |name, rows| (rows > 0).then_some((name, Parameter::Count(rows)));
        let flagged = count("flagged_rows", self.marks.flagged);
        let clamped = count("clamped_rows", self.marks.clamped);
        [id, holdout, flagged, clamped].into_iter().flatten()
    }

    fn extra<'a>(&'a self, tensor: &'a ExtraTensor) -> Answer<'a> {
        Answer {
            name: &tensor.name,
            dtype: tensor.dtype,
            labels: match tensor.dtype {
                DType::Bytes => self.revision.signature.names(),
                _ => &[],
            },
            dims: Dims::Shape(&tensor.shape),
            offset: tensor.offset,
        }
    }

    /// The shape of one of the answers, rows first.
    pub fn shape(&self, answer: &Answer) -> Shape {
        let rows = std::iter::once(self.rows);
        rows.chain(answer.dims()).collect()
    }

    /// Notes that the answer is encoded.
    pub fn encoded(&self) {
        self.revision.usage.encode.record(self.computed.elapsed());
    }

    /// The values of one of the answers, row-major.
    pub fn values(&self, answer: &Answer) -> impl Iterator<Item = f64> {
        let (start, end) = (answer.offset, answer.offset + answer.len());
        self.results
            .chunks_exact(self.width)
            .flat_map(move |row| row[start..end].iter().copied())
    }
}

impl Answer<'_> {
    /// The shape without its first dimension, the rows.
    pub fn dims(&self) -> impl DoubleEndedIterator<Item = usize> {
        let (column, shape) = match self.dims {
            Dims::Columns(columns) => (columns, &[][..]),
            Dims::Shape(shape) => (None, shape),
        };
        column.into_iter().chain(shape.iter().copied())
    }

    /// The columns in a row of results.
    pub fn columns(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    fn len(&self) -> usize {
        self.dims().product()
    }
}

impl<'a> From<&'a Output> for Answer<'a> {
    fn from(output: &'a Output) -> Answer<'a> {
        Answer {
            name: &output.name,
            dtype: output.dtype,
            labels: &output.labels,
            dims: Dims::Columns(output.columns),
            offset: output.offset,
        }
    }
}
