//! From the `objective` line to the link that LightGBM's `ConvertOutput` applies.

use super::ParseError;
use super::text::{malformed, parameter, whole, words};
use crate::forest::Link;
use crate::forest::link::AfterMean;

/// The link of an objective for a model with this many outputs. `average` is the number of
/// iterations that the raw scores are divided by before the objective sees them (random forests).
///
/// # Errors
/// [`ParseError::Unsupported`] for an objective that the library does not know,
/// [`ParseError::Malformed`] when a parameter is missing or does not fit the outputs.
pub fn link(
    objective: Option<&str>,
    outputs: usize,
    average: Option<f64>,
) -> Result<Link, ParseError> {
    let after = match objective {
        Some(objective) => transform(objective, outputs)?,
        None => AfterMean::Identity,
    };
    Ok(match average {
        Some(count) => Link::Mean64 { count, after },
        None => after.link(),
    })
}

fn transform(objective: &str, outputs: usize) -> Result<AfterMean, ParseError> {
    let objective = alias(objective.trim());
    let name = words(objective).next().unwrap_or_default();
    let multiclass = matches!(name, "multiclass" | "multiclassova");
    if multiclass && setting(objective, "num_class").and_then(whole) != Some(outputs) {
        return malformed(format!(
            "lightgbm: objective \"{objective}\" does not have the model's num_class ({outputs})"
        ));
    }
    if !multiclass && name != "custom" && outputs != 1 {
        return malformed(format!(
            "lightgbm: objective \"{objective}\" has one output, but num_class is {outputs}"
        ));
    }
    Ok(match name {
        "regression" | "regression_l1" | "quantile" | "fair" | "mape" => {
            if words(objective).any(|word| word == "sqrt") {
                AfterMean::SignedSquare
            } else {
                AfterMean::Identity
            }
        }
        // The library turns `sqrt` off for huber.
        "huber" | "lambdarank" | "rank_xendcg" | "custom" => AfterMean::Identity,
        "poisson" | "gamma" | "tweedie" => AfterMean::Exp,
        "binary" | "multiclassova" => AfterMean::Sigmoid {
            slope: slope(objective)?,
        },
        "cross_entropy" => AfterMean::Sigmoid { slope: 1.0 },
        "cross_entropy_lambda" => AfterMean::Log1pExp,
        "multiclass" => AfterMean::Softmax,
        _ => {
            return Err(ParseError::Unsupported(format!(
                "lightgbm: unknown objective \"{objective}\""
            )));
        }
    })
}

/// LightGBM's `ParseObjectiveAlias`: it knows whole lines only, without parameters.
fn alias(objective: &str) -> &str {
    match objective {
        "regression_l2"
        | "mean_squared_error"
        | "mse"
        | "l2"
        | "l2_root"
        | "root_mean_squared_error"
        | "rmse" => "regression",
        "mean_absolute_error" | "l1" | "mae" => "regression_l1",
        "xentropy" => "cross_entropy",
        "xentlambda" => "cross_entropy_lambda",
        "mean_absolute_percentage_error" => "mape",
        "xendcg" | "xe_ndcg" | "xe_ndcg_mart" | "xendcg_mart" => "rank_xendcg",
        "none" | "null" | "na" => "custom",
        other => other,
    }
}

/// The value of `key:value` among an objective's words; the last one counts.
fn setting<'a>(objective: &'a str, key: &str) -> Option<&'a str> {
    words(objective)
        .filter_map(|word| word.split_once(':'))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .last()
}

fn slope(objective: &str) -> Result<f64, ParseError> {
    match setting(objective, "sigmoid").and_then(parameter) {
        Some(slope) if slope > 0.0 && slope.is_finite() => Ok(slope),
        _ => malformed(format!(
            "lightgbm: objective \"{objective}\" needs a sigmoid parameter greater than zero"
        )),
    }
}
