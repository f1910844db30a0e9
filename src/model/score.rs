//! Which values of a row of results are a revision's score.

use super::revision::Revision;
use crate::tensor::DType;

/// Which values of a row of results are a revision's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    start: usize,
    /// 1, or the number of classes.
    len: usize,
}

impl Columns {
    /// The score's columns: the first output of numbers that is answered by default. Two columns are
    /// the two classes of a binary model, of which the second is the positive one.
    pub fn of(revision: &Revision) -> Option<Columns> {
        let outputs = revision.signature.outputs.iter();
        let mut scores = outputs.filter(|output| {
            output.default && !matches!(output.dtype, DType::Int64 | DType::Bytes)
        });
        let output = scores.next()?;
        Some(match output.len() {
            2 => Columns {
                start: output.offset + 1,
                len: 1,
            },
            len => Columns {
                start: output.offset,
                len,
            },
        })
    }

    /// The number of classes; 1 for a score that is one number.
    pub fn classes(self) -> usize {
        self.len
    }

    /// A row's score.
    pub fn read(self, results: &[f64]) -> Vec<f64> {
        let end = self.start + self.len;
        results.get(self.start..end).unwrap_or_default().to_vec()
    }

    /// A row's score as one number: of several classes the score of the likeliest; NaN where there is
    /// none.
    pub fn single(self, results: &[f64]) -> f64 {
        let scores = results.get(self.start..self.start + self.len);
        scores
            .unwrap_or_default()
            .iter()
            .copied()
            .fold(f64::NAN, f64::max)
    }
}
