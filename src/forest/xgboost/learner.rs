//! The part of a file above its trees: parameters, objective, base score, booster, features.

use super::tree::{self, TreeReader};
use super::value::Value;
use super::{Description, categories, iteration, malformed, unsupported};
use crate::forest::{
    Arithmetic, Base, Combine, Feature, FeatureKind, Forest, Linear, Link, ParseError, Parsed,
    Tree, Unknown,
};

/// More features or outputs than any real model has. They cost memory that the file's size does
/// not bound.
const WIDTH_MAX: usize = 1 << 20;

/// XGBoost 3.2 keeps a logistic base score this far away from 0 and 1.
const LOGIT_MARGIN: f32 = 1e-6;

/// How an objective turns a base score into a raw score, and a raw score into a prediction.
struct Objective {
    base: BaseScore,
    link: Link,
}

/// From a base score as the user gave it to a raw score.
#[derive(Clone, Copy)]
enum BaseScore {
    Plain,
    Logit,
    Log,
    /// As `Log`; zero and less is an error.
    LogPositive,
}

/// The booster's parts, wherever its kind keeps them.
enum Booster<'a> {
    Trees(TreeBooster<'a>),
    /// `gblinear`'s model.
    Linear(&'a Value),
}

/// `gbtree` and `dart`.
struct TreeBooster<'a> {
    /// With the trees and their outputs.
    model: &'a Value,
    /// DART's weights, one per tree.
    weights: Option<Vec<f32>>,
}

/// The forest of a document.
///
/// # Errors
/// [`ParseError`] as its variants say.
pub fn parse(document: &Value) -> Result<Parsed, ParseError> {
    let description = describe(document)?;
    let learner = document.member("learner")?;
    let parameters = learner.member("learner_model_param")?;
    let booster = Booster::new(learner.member("gradient_booster")?)?;
    let objective = Objective::new(&description.objective)?;
    let outputs = outputs(parameters)?;
    if matches!(objective.link, Link::Softmax32 | Link::Argmax32) && outputs < 2 {
        return unsupported(format!("{} with one class", description.objective));
    }
    let mut forest = Forest {
        features: description.features.len(),
        outputs,
        arithmetic: Arithmetic::F32,
        trees: Vec::new(),
        sets: Vec::new(),
        base: objective.base_scores(parameters.text("base_score")?, outputs)?,
        base_order: Base::First,
        combine: Combine::Sum,
        link: objective.link,
        linear: Linear::default(),
    };
    match booster {
        Booster::Trees(booster) => {
            let mut reader = TreeReader::new(outputs);
            let used = iteration::trees_used(learner, booster.model, outputs)?;
            forest.trees = booster.trees(&mut reader, used)?;
            forest.sets = reader.sets;
        }
        Booster::Linear(model) => set_weights(&mut forest, model)?,
    }
    forest.check()?;
    Ok(Parsed {
        forest,
        features: description.features,
        classes: Vec::new(),
        objective: description.objective,
        library_version: description.library_version,
        graph: None,
    })
}

/// What a document says above its trees.
///
/// # Errors
/// [`ParseError::Malformed`] with what was expected.
pub fn describe(document: &Value) -> Result<Description, ParseError> {
    let learner = document.member("learner")?;
    let booster = learner.member("gradient_booster")?;
    let model = match booster.get("gbtree") {
        Some(inner) => inner.member("model")?,
        None => booster.member("model")?,
    };
    let trees = match model.get("trees") {
        Some(_) => Some(model.list("trees")?.len()),
        None => None,
    };
    Ok(Description {
        features: features(learner, model)?,
        objective: learner.member("objective")?.text("name")?.to_string(),
        booster: booster.text("name")?.to_string(),
        trees,
        rounds: iteration::rounds_used(learner)?,
        old_vector_leaves: tree::has_old_vectors(model)?,
        library_version: version(document),
    })
}

/// Sets the weights of a linear booster, and its biases on the base scores.
fn set_weights(forest: &mut Forest, model: &Value) -> Result<(), ParseError> {
    let weights = model.floats("weights")?;
    let (features, outputs) = (forest.features, forest.outputs);
    let expected = (features + 1).saturating_mul(outputs);
    if weights.len() != expected {
        return malformed(format!(
            "\"weights\": expected {features} weights and a bias for each of {outputs} outputs, got {}",
            weights.len()
        ));
    }
    let (weights, biases) = weights.split_at(features * outputs);
    forest.linear.weights = weights.iter().map(|weight| f64::from(*weight)).collect();
    // The library adds the first output's base score to every output here.
    let base = forest.base[0] as f32;
    forest.base = biases.iter().map(|bias| f64::from(bias + base)).collect();
    Ok(())
}

impl<'a> Booster<'a> {
    fn new(booster: &'a Value) -> Result<Booster<'a>, ParseError> {
        match booster.text("name")? {
            "gbtree" => Ok(Booster::Trees(TreeBooster {
                model: booster.member("model")?,
                weights: None,
            })),
            "dart" => Ok(Booster::Trees(TreeBooster {
                model: booster.member("gbtree")?.member("model")?,
                weights: Some(booster.floats("weight_drop")?.into_owned()),
            })),
            "gblinear" => Ok(Booster::Linear(booster.member("model")?)),
            name => unsupported(format!("unknown booster \"{name}\"")),
        }
    }
}

impl TreeBooster<'_> {
    /// The first `used` trees. All are checked: the library engine relies on it.
    fn trees(&self, reader: &mut TreeReader, used: usize) -> Result<Vec<Tree>, ParseError> {
        let trees = self.model.list("trees")?;
        let groups = self.model.integers("tree_info")?;
        let parameters = self.model.member("gbtree_model_param")?;
        let expected = parameters.count("num_trees")?.unwrap_or(trees.len());
        let weights = self.weights.as_ref().map_or(trees.len(), Vec::len);
        let lengths = [
            ("trees", trees.len()),
            ("tree_info", groups.len()),
            ("weight_drop", weights),
        ];
        for (name, length) in lengths {
            if length != expected {
                return malformed(format!(
                    "\"{name}\": expected one value for each of {expected} trees, got {length}"
                ));
            }
        }
        let mut read = Vec::with_capacity(trees.len());
        for (index, (tree, group)) in trees.iter().zip(groups).enumerate() {
            let output = match usize::try_from(*group) {
                Ok(output) if output < reader.outputs => output,
                _ => {
                    return malformed(format!(
                        "\"tree_info\", tree {index}: output {group} is outside the model's {}",
                        reader.outputs
                    ));
                }
            };
            let weight = self.weights.as_ref().map(|weights| weights[index]);
            match reader.read(tree, output, weight) {
                Ok(tree) => read.push(tree),
                Err(ParseError::Malformed(reason)) => {
                    return malformed(format!("tree {index}: {reason}"));
                }
                Err(refused) => return Err(refused),
            }
        }
        read.truncate(used);
        Ok(read)
    }
}

impl Objective {
    fn new(name: &str) -> Result<Objective, ParseError> {
        let (base, link) = match name {
            "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:pseudohubererror"
            | "reg:absoluteerror"
            | "reg:quantileerror"
            | "rank:pairwise"
            | "rank:ndcg"
            | "rank:map"
            // Unlike binary:logistic, its base score is a raw score already.
            | "binary:logitraw" => (BaseScore::Plain, Link::Identity),
            "reg:logistic" | "binary:logistic" => (BaseScore::Logit, Link::Sigmoid32),
            "binary:hinge" => (BaseScore::Plain, Link::Step32),
            "reg:gamma" => (BaseScore::LogPositive, Link::Exp32),
            "count:poisson" | "reg:tweedie" | "survival:cox" => (BaseScore::Log, Link::Exp32),
            "survival:aft" => (BaseScore::Log, Link::ExpRounded32),
            "multi:softprob" => (BaseScore::Plain, Link::Softmax32),
            "multi:softmax" => (BaseScore::Plain, Link::Argmax32),
            _ => return unsupported(format!("unknown objective \"{name}\"")),
        };
        Ok(Objective { base, link })
    }

    /// One raw score per output from `"5E-1"`, which holds for all outputs, or `"[5E-1,2E-1]"`.
    fn base_scores(&self, text: &str, outputs: usize) -> Result<Vec<f64>, ParseError> {
        let text = text.trim();
        let list = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        let mut scores = Vec::new();
        for text in list.split(',') {
            match text.trim().parse::<f32>() {
                Ok(score) if !score.is_nan() => scores.push(f64::from(self.raw_score(score)?)),
                _ => {
                    return malformed(format!(
                        "\"base_score\": expected a number, got \"{}\"",
                        text.trim()
                    ));
                }
            }
        }
        if let [score] = scores[..] {
            return Ok(vec![score; outputs]);
        }
        if scores.len() != outputs {
            return malformed(format!(
                "\"base_score\": expected one number or {outputs}, got {}",
                scores.len()
            ));
        }
        Ok(scores)
    }

    fn raw_score(&self, score: f32) -> Result<f32, ParseError> {
        match self.base {
            BaseScore::Plain => Ok(score),
            BaseScore::Logit if (0.0..=1.0).contains(&score) => {
                let score = score.clamp(LOGIT_MARGIN, 1.0 - LOGIT_MARGIN);
                Ok(-(1.0 / score - 1.0).ln())
            }
            BaseScore::Logit => malformed(format!(
                "\"base_score\": expected a probability, got {score}"
            )),
            BaseScore::LogPositive if score <= 0.0 => malformed(format!(
                "\"base_score\": expected a positive number, got {score}"
            )),
            BaseScore::Log if score < 0.0 => malformed(format!(
                "\"base_score\": expected no negative number, got {score}"
            )),
            BaseScore::Log | BaseScore::LogPositive => Ok(score.ln()),
        }
    }
}

/// Raw scores per row: one per class or per target.
fn outputs(parameters: &Value) -> Result<usize, ParseError> {
    let classes = parameters.count("num_class")?.unwrap_or(0).max(1);
    let targets = parameters.count("num_target")?.unwrap_or(1).max(1);
    if classes > 1 && targets > 1 {
        return malformed(format!(
            "expected several classes or several targets, got {classes} and {targets}"
        ));
    }
    let outputs = classes.max(targets);
    if outputs > WIDTH_MAX {
        return unsupported(format!(
            "\"num_class\", \"num_target\": more than {WIDTH_MAX} outputs"
        ));
    }
    Ok(outputs)
}

fn features(learner: &Value, model: &Value) -> Result<Vec<Feature>, ParseError> {
    let parameters = learner.member("learner_model_param")?;
    let Some(count) = parameters.count("num_feature")? else {
        return malformed("\"num_feature\" is missing");
    };
    if count == 0 || count > WIDTH_MAX {
        return malformed(format!(
            "\"num_feature\": expected 1 to {WIDTH_MAX} features, got {count}"
        ));
    }
    let names = learner.texts("feature_names")?;
    let types = learner.texts("feature_types")?;
    for (list, texts) in [("feature_names", &names), ("feature_types", &types)] {
        if !texts.is_empty() && texts.len() != count {
            return malformed(format!(
                "\"{list}\": expected one for each of {count} features, got {}",
                texts.len()
            ));
        }
    }
    let mut named = categories::read(model, count)?.unwrap_or_default();
    let mut features = Vec::with_capacity(count);
    for index in 0..count {
        let categories = named.get_mut(index).map_or_else(Vec::new, std::mem::take);
        let kind = if types.get(index) == Some(&"c") || !categories.is_empty() {
            FeatureKind::Category {
                categories,
                unknown: Unknown::Refused,
            }
        } else {
            FeatureKind::Number
        };
        let name = names.get(index).map(|name| name.to_string());
        features.push(Feature { name, kind });
    }
    Ok(features)
}

/// `[3, 2, 0]` as `3.2.0`.
fn version(document: &Value) -> Option<String> {
    let Some(Value::Integers(parts)) = document.get("version") else {
        return None;
    };
    let parts: Vec<String> = parts.iter().map(i64::to_string).collect();
    Some(parts.join("."))
}
