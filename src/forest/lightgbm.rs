//! Reads LightGBM's text models, versions v2 to v4, as LightGBM 4.7 does.
//!
//! The header and the order of sections are here; trees, objectives, features and numbers have
//! their own files. Reads every byte a bounded number of times, trusts no size that the file
//! claims, and refuses what the library itself reads wrongly or reads out of bounds, so a text
//! that passed [`parse`] is safe to hand to the library.

mod features;
mod objective;
mod text;
mod tree;

use std::collections::HashMap;

use super::{Arithmetic, Base, Combine, Forest, Linear, ParseError, Parsed};
use text::{lines, malformed, whole};

/// Reads a text model into a forest that gives LightGBM's predictions to the last bit.
///
/// # Errors
/// [`ParseError::Unsupported`] for unknown objectives and unknown versions;
/// [`ParseError::Malformed`] for everything that is inconsistent, with the tree and the node.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let text = text::checked(bytes)?;
    let (fields, trees_start) = header(text)?;
    let shape = Shape::read(&fields)?;
    let objective = fields.get("objective").copied();
    let mut sets = Vec::new();
    let (blocks, trees_end) = tree::blocks(text, trees_start)?;
    if !blocks.len().is_multiple_of(shape.outputs) {
        return malformed(format!(
            "lightgbm: {} trees are no whole number of iterations of {} (num_tree_per_iteration)",
            blocks.len(),
            shape.outputs
        ));
    }
    let mut linear = Linear::default();
    let mut trees = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.iter().enumerate() {
        let fields = tree::Fields::read(index, block.text)?;
        if let Some(leaves) = fields.linear_leaves()? {
            linear.leaves.resize(index, Default::default());
            linear.leaves.push(leaves);
        }
        let mut tree = fields.tree(shape.features, &mut sets)?;
        tree.output = index % shape.outputs;
        trees.push(tree);
    }
    if !linear.is_empty() {
        linear.leaves.resize(trees.len(), Default::default());
    }
    // Last, since a tree's own fault says more than that its size changed.
    if let Some(sizes) = fields.get("tree_sizes") {
        tree::check_sizes(&blocks, trees_start, sizes)?;
    }
    let iterations = trees.len() / shape.outputs;
    let average = fields
        .contains_key("average_output")
        .then_some(iterations as f64);
    // Without trees, the header went on to the end.
    let rest = if trees.is_empty() { 0 } else { trees_end };
    let categorical = features::split_on(&trees, shape.features);
    let forest = Forest {
        features: shape.features,
        outputs: shape.outputs,
        arithmetic: Arithmetic::F64,
        trees,
        sets,
        // The library adds to a row of +0.0, which turns a sum of -0.0 into +0.0.
        base: vec![0.0; shape.outputs],
        base_order: Base::First,
        combine: Combine::Sum,
        link: objective::link(objective, shape.outputs, average)?,
        linear,
    };
    forest.check()?;
    Ok(Parsed {
        features: features::read(&fields, &text[rest..], categorical)?,
        forest,
        classes: Vec::new(),
        objective: objective.unwrap_or_default().to_string(),
        library_version: None,
        graph: None,
    })
}

/// The header's lines up to the first tree, by key, and where that tree starts.
fn header(text: &str) -> Result<(HashMap<&str, &str>, usize), ParseError> {
    let mut fields = HashMap::new();
    let mut first = true;
    for (at, line) in lines(text, 0) {
        if first && line != "tree" {
            let what = if text.trim().is_empty() {
                "the file is empty"
            } else {
                "expected \"tree\" on the first line"
            };
            return malformed(format!("not a lightgbm text model: {what}"));
        }
        first = false;
        if line.starts_with("Tree=") {
            check_version(&fields)?;
            return Ok((fields, at));
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if !line.is_empty() && fields.insert(key, value).is_some() {
            return malformed(format!("lightgbm: the header has \"{key}\" twice"));
        }
    }
    if first {
        return malformed("not a lightgbm text model: the file is empty");
    }
    check_version(&fields)?;
    Ok((fields, text.len()))
}

fn check_version(fields: &HashMap<&str, &str>) -> Result<(), ParseError> {
    match fields.get("version") {
        Some(&("v2" | "v3" | "v4")) => Ok(()),
        Some(version) => Err(ParseError::Unsupported(format!(
            "lightgbm: version \"{version}\", expected v2 to v4"
        ))),
        None => malformed("not a lightgbm text model: the header has no version"),
    }
}

/// The sizes that the header claims.
struct Shape {
    features: usize,
    outputs: usize,
}

impl Shape {
    fn read(fields: &HashMap<&str, &str>) -> Result<Shape, ParseError> {
        let number = |key: &str| match fields.get(key) {
            Some(value) => whole::<i32>(value)
                .ok_or_else(|| bad(format!("lightgbm: {key}=\"{value}\" is not a whole number"))),
            None => malformed(format!("lightgbm: the header has no {key}")),
        };
        let classes = number("num_class")?;
        let per_iteration = match fields.get("num_tree_per_iteration") {
            Some(_) => number("num_tree_per_iteration")?,
            None => classes,
        };
        if per_iteration < 1 {
            return malformed(format!(
                "lightgbm: num_tree_per_iteration is {per_iteration}, expected at least 1"
            ));
        }
        if per_iteration != classes {
            return malformed(format!(
                "lightgbm: num_tree_per_iteration is {per_iteration}, but num_class is {classes}"
            ));
        }
        let largest = number("max_feature_idx")?;
        let names = text::words(fields.get("feature_names").copied().unwrap_or_default()).count();
        if largest < 0 || names != largest as usize + 1 {
            return malformed(format!(
                "lightgbm: max_feature_idx is {largest}, but there are {names} feature_names"
            ));
        }
        Ok(Shape {
            features: names,
            outputs: per_iteration as usize,
        })
    }
}

fn bad(reason: String) -> ParseError {
    ParseError::Malformed(reason)
}

#[cfg(test)]
mod tests;
