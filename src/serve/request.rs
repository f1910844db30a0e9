//! What every protocol's request becomes, and what its answer is made of.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::Output;
use crate::model::revision::Revision;
use crate::model::usage::Protocol;
use crate::tensor::Tensor;

/// A decoded request, not yet checked against a model.
#[derive(Debug)]
pub struct InferRequest {
    pub slot: String,
    /// A revision asked for by its id; `None` lets the slot's roles decide.
    pub revision: Option<u64>,
    pub tensors: Vec<Tensor>,
    /// Names of the wanted outputs; empty for the model's default ones.
    pub outputs: Vec<String>,
    /// When the answer is of no more use.
    pub deadline: Option<Instant>,
    pub protocol: Protocol,
    /// When the first byte of the request was there: the start of its measured time.
    pub received: Instant,
}

/// The answer to a request.
#[derive(Debug)]
pub struct InferResponse {
    /// Who answered. Keeps the revision alive until the answer is encoded.
    pub revision: Arc<Revision>,
    pub rows: usize,
    /// `[rows, revision.signature.result_width()]`, row-major.
    pub results: Vec<f64>,
    /// Indices of the wanted outputs in `revision.signature.outputs`, in the order to answer.
    pub outputs: Vec<usize>,
}

impl InferResponse {
    /// The wanted outputs, in the order to answer.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        let all = &self.revision.signature.outputs;
        self.outputs.iter().filter_map(|index| all.get(*index))
    }

    /// The shape of one of the outputs: `[rows]` or `[rows, columns]`.
    pub fn shape(&self, output: &Output) -> Vec<usize> {
        match output.columns {
            None => vec![self.rows],
            Some(columns) => vec![self.rows, columns],
        }
    }

    /// The values of one of the outputs, row-major.
    pub fn values(&self, output: &Output) -> impl Iterator<Item = f64> {
        let (start, end) = (output.offset, output.offset + output.len());
        self.results
            .chunks_exact(self.revision.signature.result_width())
            .flat_map(move |row| row[start..end].iter().copied())
    }
}
