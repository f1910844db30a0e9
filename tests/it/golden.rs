//! Every golden row of every fixture and sample model, against the engine that serves it.
//!
//! A fixture that says `refused` must be refused by forest with that word; one that says
//! `"engine": "onnx"` must be refused by forest and served by ONNX Runtime.

use std::path::{Path, PathBuf};

use hedgerow::engine::{Choice, Engine, EngineError, Format, Libraries, ModelFile, load};
use hedgerow::model::golden::Golden;

fn libraries() -> Libraries {
    Libraries {
        dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("native"),
    }
}

fn model_file(dir: &Path) -> Option<ModelFile> {
    let formats = [
        ("model.json", Format::XgboostJson),
        ("model.ubj", Format::XgboostUbjson),
        ("model.txt", Format::LightgbmText),
        ("model.onnx", Format::Onnx),
        ("catboost.json", Format::CatboostJson),
    ];
    let (name, format) = formats
        .into_iter()
        .find(|(name, _)| dir.join(name).exists())?;
    let path = dir.join(name);
    let bytes = std::fs::read(&path).unwrap();
    Some(ModelFile {
        format,
        path,
        bytes,
    })
}

/// Every folder below `root` that holds a golden.json, in order.
fn cases(root: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(root)];
    while let Some(dir) = open.pop() {
        if dir.join("golden.json").exists() {
            found.push(dir);
            continue;
        }
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no golden rows below {root}");
    found
}

fn check(dir: &Path, choice: Choice) -> Result<usize, String> {
    let file = model_file(dir).ok_or("no model file")?;
    let text = std::fs::read_to_string(dir.join("golden.json")).map_err(|e| e.to_string())?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if let Some(word) = json["refused"].as_str() {
        return match load(&file, Choice::Forest, &libraries()) {
            Err(EngineError::Unsupported(reason)) if reason.contains(word) => Ok(0),
            other => Err(format!("expected a refusal with \"{word}\", got {other:?}")),
        };
    }
    let by_library = json["engine"].as_str() == Some("onnx");
    let choice = if by_library { Choice::Library } else { choice };
    let engine: Box<dyn Engine> =
        load(&file, choice, &libraries()).map_err(|error| error.to_string())?;
    Golden::parse(text.as_bytes())?.verify(engine.as_ref())
}

fn check_all(prefix: &str, choice: Choice) {
    let mut failures = Vec::new();
    let mut rows = 0;
    for dir in cases("tests/golden") {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with(prefix) {
            continue;
        }
        match check(&dir, choice) {
            Ok(compared) => rows += compared,
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(rows > 0, "no rows compared for {prefix}");
}

#[test]
fn xgboost_fixtures_give_the_librarys_bits() {
    check_all("xgb", Choice::Forest);
}

#[test]
fn lightgbm_fixtures_give_the_librarys_bits() {
    check_all("lgb", Choice::Forest);
}

#[test]
fn catboost_fixtures_give_the_librarys_numbers() {
    check_all("cat", Choice::Forest);
}

#[test]
fn onnx_fixtures_give_onnxruntimes_numbers() {
    check_all("onnx", Choice::Forest);
}

#[test]
fn sample_models_reproduce_their_golden_rows() {
    for dir in cases("models") {
        check(&dir, Choice::Auto).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
}
