//! How many trees of an early-stopped model answer.
//!
//! XGBoost keeps every tree in the file and the best round as an attribute, which its C interface
//! and Python's `Booster.predict` and `inplace_predict` never look at: they use all trees. The
//! scikit-learn wrappers' `predict` uses the trees up to the best round, and their `save_model`
//! leaves a mark. So a file with that mark is cut at the best round and any other is not: each
//! answers as the object that wrote it does after loading it again.

use super::malformed;
use super::value::Value;
use crate::forest::ParseError;

/// The rounds to use of a file, where they are not all.
///
/// # Errors
/// [`ParseError::Malformed`] when the best round is no number.
pub fn rounds_used(learner: &Value) -> Result<Option<usize>, ParseError> {
    let Some(attributes) = learner.get("attributes") else {
        return Ok(None);
    };
    // The wrappers ignore the best round of a linear booster.
    let linear = learner.member("gradient_booster")?.text("name")? == "gblinear";
    if linear || attributes.get("scikit_learn").is_none() {
        return Ok(None);
    }
    Ok(attributes.count("best_iteration")?.map(|best| best + 1))
}

/// The number of trees to use of a tree booster, from the first on: a round has
/// `num_parallel_tree` trees for each output, or one vector-leaf tree for all.
///
/// # Errors
/// [`ParseError::Malformed`] when the best round is beyond the last.
pub fn trees_used(learner: &Value, model: &Value, outputs: usize) -> Result<usize, ParseError> {
    let trees = model.list("trees")?.len();
    let Some(rounds) = rounds_used(learner)? else {
        return Ok(trees);
    };
    let used = match model.get("iteration_indptr") {
        Some(_) => {
            let starts = model.integers("iteration_indptr")?;
            starts
                .get(rounds)
                .and_then(|end| usize::try_from(*end).ok())
        }
        None => {
            let parallel = model
                .member("gbtree_model_param")?
                .count("num_parallel_tree")?;
            rounds.checked_mul(parallel.unwrap_or(1).max(1).saturating_mul(outputs))
        }
    };
    match used.filter(|used| *used <= trees) {
        Some(used) => Ok(used),
        None => malformed(format!(
            "\"best_iteration\": round {rounds} is beyond the file's {trees} trees"
        )),
    }
}
