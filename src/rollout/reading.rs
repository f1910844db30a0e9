//! From an engine's results to what gates and metrics need: which columns are the score, what kind
//! of task it is, and what one revision said of a row with a known label.

use super::score::{Scored, Task};
use super::{Kind, SlotSettings};
use crate::journal::labels::Values;
use crate::model::revision::Revision;
pub use crate::model::score::Columns;

/// Objectives whose single value is the probability of the positive class, as the libraries name
/// them.
const BINARY: [&str; 5] = ["logistic", "binary", "logloss", "cross", "xentropy"];

/// The task of a slot: what its settings say, or what its champion looks like.
pub fn task(settings: &SlotSettings, champion: &Revision) -> Task {
    let binary = Task::Binary {
        threshold: settings.threshold,
    };
    match settings.kind {
        Kind::Binary => return binary,
        Kind::Multiclass => return Task::Multiclass,
        Kind::Regression => return Task::Regression,
        Kind::Auto => {}
    }
    let outline = champion.outline();
    if Columns::of(champion).is_some_and(|it| it.classes() > 1) {
        return Task::Multiclass;
    }
    let objective = outline.objective.to_lowercase();
    let outputs = champion.signature.outputs.iter();
    let mut scores = outputs.filter(|output| output.default);
    let two = scores.any(|output| output.labels.len() == 2 || output.len() == 2);
    match two || BINARY.iter().any(|word| objective.contains(word)) {
        true => binary,
        false => Task::Regression,
    }
}

/// What a score says of a row with this label; `None`: the revision failed on it.
pub fn scored(task: &Task, scores: Option<&[f64]>, label: f64) -> Scored {
    let nothing = Scored {
        score: f64::NAN,
        right: false,
    };
    let Some(scores) = scores else { return nothing };
    match task {
        Task::Multiclass => {
            let Some(class) = class(label, scores.len()) else {
                return nothing;
            };
            let best = |best: usize, index: usize| match scores[index] > scores[best] {
                true => index,
                false => best,
            };
            Scored {
                score: scores[class],
                right: (0..scores.len()).fold(0, best) == class,
            }
        }
        _ => Scored {
            score: scores.first().copied().unwrap_or(f64::NAN),
            right: false,
        },
    }
}

/// What the labels of a task may say, of so many classes.
pub fn values(task: &Task, classes: usize) -> Values {
    match task {
        Task::Binary { .. } => Values::Binary,
        Task::Multiclass => Values::Classes(u32::try_from(classes).unwrap_or(u32::MAX)),
        Task::Regression => Values::Numbers,
    }
}

fn class(label: f64, classes: usize) -> Option<usize> {
    let whole = label.fract() == 0.0 && label >= 0.0;
    (whole && label < classes as f64).then_some(label as usize)
}
