//! The parts of CatBoost's JSON that a forest is made of. Others are passed over.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The document.
#[derive(Debug, Deserialize)]
pub struct Model {
    pub features_info: FeaturesInfo,
    #[serde(default)]
    pub model_info: ModelInfo,
    #[serde(default)]
    pub oblivious_trees: Vec<Oblivious>,
    #[serde(default)]
    pub trees: Vec<Branch>,
    /// The factor of all sums, and what is added to them: one number per output.
    pub scale_and_bias: (f64, Vec<f64>),
}

#[derive(Debug, Deserialize)]
pub struct FeaturesInfo {
    #[serde(default)]
    pub float_features: Vec<FloatFeature>,
    #[serde(default)]
    pub categorical_features: Vec<IgnoredAny>,
    #[serde(default)]
    pub text_features: Vec<IgnoredAny>,
    #[serde(default)]
    pub embedding_features: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub struct FloatFeature {
    /// Its name; empty when it has none.
    #[serde(default)]
    pub feature_id: String,
    pub feature_index: usize,
    /// Its place in a row.
    pub flat_feature_index: usize,
    #[serde(default)]
    pub nan_value_treatment: NanTreatment,
}

/// Which answer a missing value gets from every split.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum NanTreatment {
    /// There were none in training: it compares as NaN does.
    #[default]
    #[serde(rename = "AsIs")]
    Unknown,
    #[serde(rename = "AsFalse")]
    False,
    #[serde(rename = "AsTrue")]
    True,
}

/// A tree that asks the same question of all nodes of a level.
#[derive(Debug, Deserialize)]
pub struct Oblivious {
    /// `[leaves, outputs]`, row-major.
    pub leaf_values: Vec<f64>,
    #[serde(default, deserialize_with = "some_or_none")]
    pub splits: Vec<Condition>,
}

/// A node of a tree of another growing policy: a split and two sides, or a value.
#[derive(Debug, Deserialize)]
pub struct Branch {
    split: Option<Condition>,
    left: Option<Box<Branch>>,
    right: Option<Box<Branch>>,
    value: Option<LeafValue>,
}

/// What a [`Branch`] is.
#[derive(Debug)]
pub enum Node<'a> {
    Split {
        split: &'a Condition,
        left: &'a Branch,
        right: &'a Branch,
    },
    Leaf(&'a [f64]),
}

/// A leaf's values: a number, or a list of one per output.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum LeafValue {
    One(f64),
    Many(Vec<f64>),
}

/// A split.
#[derive(Debug, Deserialize)]
pub struct Condition {
    pub split_type: String,
    pub float_feature_index: Option<usize>,
    pub border: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
pub struct ModelInfo {
    #[serde(default)]
    catboost_version_info: String,
    #[serde(default)]
    class_params: Option<ClassParams>,
    #[serde(default)]
    params: Option<Params>,
}

#[derive(Debug, Deserialize)]
struct ClassParams {
    #[serde(default)]
    class_names: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Params {
    loss_function: Option<Loss>,
}

#[derive(Debug, Deserialize)]
struct Loss {
    r#type: String,
}

impl Branch {
    /// What the node is; `None` when it has too few or too many parts.
    pub fn node(&self) -> Option<Node<'_>> {
        match (&self.split, &self.left, &self.right, &self.value) {
            (Some(split), Some(left), Some(right), None) => {
                Some(Node::Split { split, left, right })
            }
            (None, None, None, Some(LeafValue::One(value))) => {
                Some(Node::Leaf(std::slice::from_ref(value)))
            }
            (None, None, None, Some(LeafValue::Many(values))) => Some(Node::Leaf(values)),
            _ => None,
        }
    }
}

impl ModelInfo {
    /// The loss function's name; empty when the file does not say it.
    pub fn loss(&self) -> &str {
        let loss = self
            .params
            .as_ref()
            .and_then(|from| from.loss_function.as_ref());
        loss.map_or("", |loss| loss.r#type.as_str())
    }

    /// The classes in the order of the outputs; empty where there is not one for each.
    pub fn classes(&self, outputs: usize) -> Vec<String> {
        let names = self
            .class_params
            .as_ref()
            .map(|from| from.class_names.as_slice());
        let text = |name: &serde_json::Value| match name {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        names
            .filter(|names| names.len() == outputs)
            .map_or_else(Vec::new, |names| names.iter().map(text).collect())
    }

    /// E.g. `1.2.10`, out of a text about the build.
    pub fn version(&self) -> Option<String> {
        let (_, rest) = self.catboost_version_info.split_once("Branch: tags/v")?;
        rest.split_whitespace().next().map(str::to_string)
    }
}

/// A tree without splits has `null` for them.
fn some_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Condition>, D::Error> {
    Ok(Option::<Vec<Condition>>::deserialize(from)?.unwrap_or_default())
}
