//! What a request may ask for beside a model's outputs: contributions of features, reason codes and
//! leaves. They are further columns of its results, computed on compute threads only.

use crate::engine::{Engine, EngineError, Extra};
use crate::error::{Code, Error};
use crate::model::revision::Revision;
use crate::tensor::{DType, Rows};

/// How a request wants its rows explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// The contribution of every feature.
    All,
    /// The features with the largest contributions, this many.
    Top(u64),
}

/// The extra columns of a request's results, which follow those of the model's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extras {
    pub tensors: Vec<ExtraTensor>,
    /// How many reasons are wanted; 0 for none.
    top: usize,
    /// Values per row of results, the model's outputs included.
    pub result_width: usize,
}

/// One tensor among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraTensor {
    pub kind: Kind,
    pub name: String,
    pub dtype: DType,
    /// Without the first dimension, the rows.
    pub shape: Vec<usize>,
    /// Its first column in a row of results.
    pub offset: usize,
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Extra::Contributions`].
    Contributions,
    /// [`Extra::Leaves`].
    Leaves,
    /// Per raw score, the indices of the features with the largest contributions either way, the
    /// largest first, ties in the order of features.
    Reasons,
    /// Their contributions.
    ReasonContributions,
}

impl Kind {
    const ALL: [Kind; 4] = [
        Kind::Contributions,
        Kind::Leaves,
        Kind::Reasons,
        Kind::ReasonContributions,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Contributions => "contributions",
            Kind::Leaves => "leaves",
            Kind::Reasons => "reasons",
            Kind::ReasonContributions => "reason_contributions",
        }
    }

    fn extra(self) -> Extra {
        match self {
            Kind::Leaves => Extra::Leaves,
            _ => Extra::Contributions,
        }
    }

    /// What a request gets that asks for an explanation and names none of its tensors.
    fn of(explain: Explain) -> &'static [Kind] {
        match explain {
            Explain::All => &[Kind::Contributions],
            Explain::Top(_) => &[Kind::Reasons, Kind::ReasonContributions],
        }
    }

    /// The extra with this name, which no output of the model has.
    pub fn named(revision: &Revision, name: &str) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| free_name(revision, kind.name()) == name)
    }
}

impl Extras {
    /// The layout of the extras that a request names and those that `explain` asks for, in this
    /// order. `None` when there are none.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the model does not have them, or `explain` asks for more
    /// reasons than there are features.
    pub fn new(
        revision: &Revision,
        mut kinds: Vec<Kind>,
        explain: Option<Explain>,
    ) -> Result<Option<Extras>, Error> {
        let top = top(revision, explain)?;
        let of = explain.map_or(&[][..], Kind::of);
        if !kinds.iter().any(|kind| of.contains(kind)) {
            kinds.extend(of);
        }
        if kinds.is_empty() {
            return Ok(None);
        }
        let own = revision.signature.result_width();
        let mut extras = Extras {
            tensors: Vec::with_capacity(kinds.len()),
            top,
            result_width: own,
        };
        for kind in kinds {
            extras.add(revision, kind)?;
        }
        Ok(Some(extras))
    }

    fn add(&mut self, revision: &Revision, kind: Kind) -> Result<(), Error> {
        let name = free_name(revision, kind.name());
        let mut shape = revision
            .engine
            .extra_shape(kind.extra())
            .map_err(|error| failed(revision, &error))?;
        if matches!(kind, Kind::Reasons | Kind::ReasonContributions) {
            if self.top == 0 {
                return Err(Error::invalid(format!(
                    "output \"{name}\" needs the parameter \"explain\" with {}",
                    expected_top(revision)
                )));
            }
            shape.pop();
            shape.push(self.top);
        }
        let dtype = match kind {
            Kind::Leaves => DType::Int32,
            Kind::Reasons => DType::Bytes,
            Kind::Contributions | Kind::ReasonContributions => revision.signature.element.dtype(),
        };
        let offset = self.result_width;
        self.result_width += shape.iter().product::<usize>();
        self.tensors.push(ExtraTensor {
            kind,
            name,
            dtype,
            shape,
            offset,
        });
        Ok(())
    }

    /// Checks that a request with this many rows has no more extra values than `values_max`.
    ///
    /// # Errors
    /// [`Code::TooLarge`].
    pub fn check_values(&self, rows: usize, values_max: usize) -> Result<(), Error> {
        let first = self.tensors.first().map_or(0, |tensor| tensor.offset);
        let values = rows.saturating_mul(self.result_width - first);
        if values <= values_max {
            return Ok(());
        }
        Err(Error::new(
            Code::TooLarge,
            format!(
                "{values} contributions, reasons and leaves in one request; admission.extra_values_max is {values_max}"
            ),
        ))
    }

    /// Writes the extras of rows into their columns of `results`, `[rows, result_width]`.
    ///
    /// # Errors
    /// As [`Engine::extra`].
    pub fn fill(
        &self,
        engine: &dyn Engine,
        rows: &Rows,
        results: &mut [f64],
    ) -> Result<(), EngineError> {
        for extra in Extra::ALL {
            let wants = |tensor: &&ExtraTensor| tensor.kind.extra() == extra;
            if !self.tensors.iter().any(|tensor| wants(&tensor)) {
                continue;
            }
            let shape = engine.extra_shape(extra)?;
            let width: usize = shape.iter().product();
            let mut values = vec![0.0; rows.len() * width];
            engine.extra(extra, rows, &mut values)?;
            for (index, results) in results.chunks_exact_mut(self.result_width).enumerate() {
                let values = &values[index * width..(index + 1) * width];
                for tensor in self.tensors.iter().filter(wants) {
                    let len: usize = tensor.shape.iter().product();
                    let out = &mut results[tensor.offset..tensor.offset + len];
                    let columns = shape.last().copied().unwrap_or(0);
                    match tensor.kind {
                        Kind::Contributions | Kind::Leaves => out.copy_from_slice(values),
                        Kind::Reasons => self.reasons(values, columns, |at, index, _| {
                            out[at] = index as f64;
                        }),
                        Kind::ReasonContributions => {
                            self.reasons(values, columns, |at, _, value| out[at] = value);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives `put` the place, feature and contribution of each reason of one row.
    fn reasons(&self, values: &[f64], columns: usize, mut put: impl FnMut(usize, usize, f64)) {
        for (score, values) in values.chunks_exact(columns).enumerate() {
            // The last column is the mean, no feature.
            let features = &values[..columns - 1];
            let mut order: Vec<usize> = (0..features.len()).collect();
            // A stable sort: ties stay in the order of features.
            order.sort_by(|a, b| features[*b].abs().total_cmp(&features[*a].abs()));
            for (rank, feature) in order.iter().take(self.top).enumerate() {
                put(score * self.top + rank, *feature, features[*feature]);
            }
        }
    }
}

/// The error of a caller whom an engine refused or failed.
pub fn failed(revision: &Revision, error: &EngineError) -> Error {
    let message = format!(
        "model \"{}\", revision {}: {error}",
        revision.slot, revision.id
    );
    match error {
        EngineError::Unsupported(_) => Error::invalid(message),
        _ => Error::internal(message),
    }
}

/// The extras of a model that has them, with their shapes after the first dimension.
pub fn available(revision: &Revision) -> Vec<(String, DType, Vec<usize>)> {
    let alone = [Kind::Contributions, Kind::Leaves].into_iter();
    let extras = alone.filter_map(|kind| Extras::new(revision, vec![kind], None).ok().flatten());
    extras
        .flat_map(|extras| extras.tensors)
        .map(|tensor| (tensor.name, tensor.dtype, tensor.shape))
        .collect()
}

fn top(revision: &Revision, explain: Option<Explain>) -> Result<usize, Error> {
    let Some(Explain::Top(top)) = explain else {
        return Ok(0);
    };
    let features = revision.signature.columns.len();
    match usize::try_from(top) {
        Ok(top) if (1..=features).contains(&top) => Ok(top),
        _ => Err(Error::invalid(format!(
            "parameter \"explain\": expected \"all\" or {}",
            expected_top(revision)
        ))),
    }
}

fn expected_top(revision: &Revision) -> String {
    format!(
        "a number of features from 1 to {}",
        revision.signature.columns.len()
    )
}

/// The name, or with underscores after it where the model has an output of that name.
fn free_name(revision: &Revision, name: &str) -> String {
    let mut name = name.to_string();
    let outputs = &revision.signature.outputs;
    while outputs.iter().any(|output| output.name == name) {
        name.push('_');
    }
    name
}
