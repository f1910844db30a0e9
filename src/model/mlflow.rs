//! MLflow model folders: the `MLmodel` file names the model file and its columns, and
//! `serving_input_example.json` is a row to try.

use serde::Deserialize;
use serde_json::Value;
use smallvec::smallvec;

use super::signature::{Declared, DeclaredFeature, DeclaredKind, Signature};
use crate::engine::{Engine, Format, Outline};
use crate::tensor::{Cell, DType, Tensor, Tensors, Values};

/// What an `MLmodel` file says.
#[derive(Clone, Debug)]
pub struct MlModel {
    /// The model file's name in the folder.
    pub model_file: String,
    pub format: Format,
    /// The signature's inputs; empty when there are none, or some have no name.
    pub columns: Vec<MlColumn>,
    /// The contents of `serving_input_example.json`.
    pub example: Option<Vec<u8>>,
}

/// A named input of an MLflow signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlColumn {
    pub name: String,
    /// Its type is one of whole numbers.
    pub whole: bool,
    /// It says that it is never missing.
    pub required: bool,
}

#[derive(Deserialize)]
struct Yaml {
    flavors: Flavors,
    signature: Option<YamlSignature>,
}

#[derive(Deserialize)]
struct Flavors {
    xgboost: Option<Flavor>,
    lightgbm: Option<Flavor>,
    catboost: Option<Flavor>,
    onnx: Option<Flavor>,
}

#[derive(Deserialize)]
struct Flavor {
    data: String,
}

#[derive(Deserialize)]
struct YamlSignature {
    inputs: Option<String>,
}

#[derive(Deserialize)]
struct Input {
    name: Option<String>,
    /// A name; tensors have an object here or nothing.
    #[serde(rename = "type")]
    kind: Option<Value>,
    required: Option<bool>,
}

#[derive(Deserialize)]
struct Example {
    dataframe_split: Option<Split>,
}

#[derive(Deserialize)]
struct Split {
    columns: Vec<String>,
    data: Vec<Vec<serde_json::Value>>,
}

/// Reads an `MLmodel` file.
///
/// # Errors
/// When it is not one, or its flavor is one that cannot be served; says what to save instead.
pub fn parse(bytes: &[u8]) -> Result<MlModel, String> {
    let yaml: Yaml =
        serde_yaml_ng::from_slice(bytes).map_err(|error| format!("MLmodel: {error}"))?;
    let flavors = yaml.flavors;
    let (data, format) = if let Some(flavor) = flavors.xgboost {
        let json = flavor.data.ends_with(".json");
        let format = if json {
            Format::XgboostJson
        } else {
            Format::XgboostUbjson
        };
        (flavor.data, format)
    } else if let Some(flavor) = flavors.lightgbm {
        (flavor.data, Format::LightgbmText)
    } else if let Some(flavor) = flavors.onnx {
        (flavor.data, Format::Onnx)
    } else if flavors.catboost.is_some() {
        return Err("MLmodel: a CatBoost model in its own format; save it as ONNX".to_string());
    } else {
        return Err("MLmodel: no xgboost, lightgbm or onnx flavor".to_string());
    };
    if data.ends_with(".skops") || data.ends_with(".pkl") {
        return Err(format!(
            "MLmodel: \"{data}\" is a Python object, not a model file; log the Booster (e.g. model.booster_) instead of the scikit-learn wrapper"
        ));
    }
    if data.contains(['/', '\\']) || data.starts_with('.') {
        return Err(format!("MLmodel: \"{data}\" is not a file of this folder"));
    }
    let inputs = yaml.signature.and_then(|signature| signature.inputs);
    let inputs: Vec<Input> = match inputs {
        Some(inputs) => serde_json::from_str(&inputs)
            .map_err(|error| format!("MLmodel: signature.inputs: {error}"))?,
        None => Vec::new(),
    };
    let named: Option<Vec<MlColumn>> = inputs.into_iter().map(Input::named).collect();
    Ok(MlModel {
        model_file: data,
        format,
        columns: named.unwrap_or_default(),
        example: None,
    })
}

impl Input {
    fn named(self) -> Option<MlColumn> {
        Some(MlColumn {
            name: self.name?,
            whole: self.kind.is_some_and(|it| it == "integer" || it == "long"),
            required: self.required.unwrap_or(false),
        })
    }
}

impl MlModel {
    /// The column names as a declared signature, for a model whose own file has no names.
    pub fn declared(&self, outline: &Outline) -> Option<Declared> {
        let unnamed = outline
            .features
            .iter()
            .all(|feature| feature.name.is_none());
        if !unnamed || self.columns.len() != outline.features.len() {
            return None;
        }
        let features = self.columns.iter().map(|column| DeclaredFeature {
            name: column.name.clone(),
            kind: DeclaredKind::Number,
            categories: Vec::new(),
        });
        Some(Declared {
            features: Some(features.collect()),
            ..Declared::default()
        })
    }

    /// Predicts the rows of the folder's input example, where it is a data frame.
    ///
    /// # Errors
    /// When the model does not take its own example.
    pub fn smoke_test(&self, signature: &Signature, engine: &dyn Engine) -> Result<(), String> {
        let Some(bytes) = &self.example else {
            return Ok(());
        };
        let failed = |reason: String| format!("serving_input_example.json: {reason}");
        let text = without_bare_nan(&String::from_utf8_lossy(bytes));
        let example: Example =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let Some(split) = example.dataframe_split else {
            return Ok(());
        };
        let tensors = split.tensors().map_err(failed)?;
        let rows = signature
            .check(tensors)
            .map_err(|error| failed(error.reason))?;
        let mut out = vec![0.0; rows.len() * engine.outline().width()];
        engine
            .predict(&rows, &mut out)
            .map_err(|error| failed(error.to_string()))
    }
}

impl Split {
    fn tensors(self) -> Result<Tensors<'static>, String> {
        let rows = self.data.len();
        let mut columns: Vec<Vec<Cell>> = vec![Vec::with_capacity(rows); self.columns.len()];
        for (index, row) in self.data.into_iter().enumerate() {
            if row.len() != columns.len() {
                return Err(format!("row {index}: expected {} values", columns.len()));
            }
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(match value {
                    Value::Null => Cell::Number(f64::NAN),
                    Value::Bool(flag) => Cell::Number(f64::from(u8::from(flag))),
                    Value::Number(number) => Cell::Number(number.as_f64().unwrap_or(f64::NAN)),
                    Value::String(text) => Cell::Text(text),
                    _ => return Err(format!("row {index}: expected numbers and strings")),
                });
            }
        }
        let tensor = |(name, cells): (String, Vec<Cell>)| Tensor {
            name: name.into(),
            dtype: DType::Fp64,
            shape: smallvec![rows],
            values: Values::Cells(cells),
        };
        Ok(self.columns.into_iter().zip(columns).map(tensor).collect())
    }
}

/// MLflow writes missing values as bare `NaN`, which is not JSON: `null` stands for them.
fn without_bare_nan(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quoted = false;
    let mut escaped = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if !quoted && rest.starts_with("NaN") {
            out.push_str("null");
            rest = &rest[3..];
            continue;
        }
        quoted ^= next == '"' && !escaped;
        escaped = quoted && next == '\\' && !escaped;
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: Result<(&str, usize), &str>) {
        match (parse(yaml.as_bytes()), expected) {
            (Ok(model), Ok((file, columns))) => {
                assert_eq!(
                    (model.model_file.as_str(), model.columns.len()),
                    (file, columns)
                );
            }
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_flavor_names_the_file() {
        check(
            "flavors: {xgboost: {data: model.ubj}}\nsignature: {inputs: '[{\"type\": \"double\", \"name\": \"a\"}]'}",
            Ok(("model.ubj", 1)),
        );
        check("flavors: {onnx: {data: model.onnx}}", Ok(("model.onnx", 0)));
        check(
            "flavors: {lightgbm: {data: model.skops}}",
            Err("log the Booster"),
        );
        check(
            "flavors: {catboost: {data: model.cb}}",
            Err("save it as ONNX"),
        );
        check(
            "flavors: {xgboost: {data: ../../secret}}",
            Err("not a file of this folder"),
        );
        check("flavors: {}", Err("no xgboost"));
        check("[", Err("MLmodel: "));
    }

    #[test]
    fn columns_say_whether_they_are_whole_and_required() {
        let inputs = r#"[{"type": "long", "name": "a", "required": true}, {"type": "double", "name": "b", "required": false}, {"type": "integer", "name": "c"}]"#;
        let yaml =
            format!("flavors: {{onnx: {{data: m.onnx}}}}\nsignature: {{inputs: '{inputs}'}}");
        let columns = parse(yaml.as_bytes()).unwrap().columns;
        let of = |column: &MlColumn| (column.name.clone(), column.whole, column.required);
        let expected = [("a", true, true), ("b", false, false), ("c", true, false)];
        let expected = expected.map(|(name, whole, required)| (name.to_string(), whole, required));
        assert_eq!(columns.iter().map(of).collect::<Vec<_>>(), expected);
        let tensor =
            r#"[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]"#;
        let yaml =
            format!("flavors: {{onnx: {{data: m.onnx}}}}\nsignature: {{inputs: '{tensor}'}}");
        assert!(parse(yaml.as_bytes()).unwrap().columns.is_empty());
    }

    #[test]
    fn bare_nan_becomes_null_outside_strings() {
        assert_eq!(
            without_bare_nan(r#"[NaN, "NaN", "\"NaN"]"#),
            r#"[null, "NaN", "\"NaN"]"#
        );
    }
}
