//! Our engine against what the original libraries answered, bit for bit: the cases that `make.py`
//! wrote. Usage: `cargo test --test differential -- DIR`. Ends with an error when a bit differs,
//! naming seed, row and both numbers, or when there is no case.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hedgerow::engine::{Choice, Engine, Format, Libraries, ModelFile, load};
use hedgerow::tensor::Rows;
use serde::Deserialize;

/// Differences that are printed in full.
const SHOWN: usize = 20;

/// What `case.json` says.
#[derive(Deserialize)]
struct Case {
    seed: u64,
    library: String,
    file: String,
    rows_width: usize,
    predict_width: usize,
    raw_width: usize,
    /// How far a prediction may be away, in units of its last place: the library's own exponential
    /// is not the C library's.
    #[serde(default)]
    predict_ulps: u64,
}

fn main() -> ExitCode {
    match std::env::args().nth(1) {
        None => {
            eprintln!("differential: expected the folder that make.py wrote");
            ExitCode::FAILURE
        }
        Some(folder) => run(Path::new(&folder)),
    }
}

fn run(folder: &Path) -> ExitCode {
    let cases = match cases(folder) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("differential: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut rows, mut failed) = (0, 0);
    for case in &cases {
        match compare(case) {
            Ok(compared) => rows += compared,
            Err(difference) => {
                failed += 1;
                if failed <= SHOWN {
                    eprintln!("{}: {difference}", case.display());
                }
            }
        }
    }
    eprintln!(
        "differential: {} models, {rows} rows equal, {failed} models differ",
        cases.len()
    );
    if failed > 0 || cases.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn cases(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut cases: Vec<PathBuf> = entries.iter().map(|entry| entry.path()).collect();
    cases.sort();
    Ok(cases)
}

/// The number of rows on which all answers are equal.
fn compare(dir: &Path) -> Result<usize, String> {
    let text = std::fs::read(dir.join("case.json")).map_err(|error| error.to_string())?;
    let case: Case = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let path = dir.join(&case.file);
    let file = ModelFile {
        format: format_of(&case.file)?,
        bytes: std::fs::read(&path).map_err(|error| error.to_string())?,
        path,
    };
    let libraries = Libraries { dir: dir.into() };
    let place = format!("seed {}, {}", case.seed, case.library);
    let engine =
        load(&file, Choice::Forest, &libraries).map_err(|error| format!("{place}: {error}"))?;
    let values = numbers(&dir.join("rows"))?;
    let rows = Rows::from_f64(values, case.rows_width, engine.outline().element)
        .ok_or_else(|| format!("{place}: no whole rows"))?;
    let (predict, raw) = (numbers(&dir.join("predict"))?, numbers(&dir.join("raw"))?);
    let together = answers(engine.as_ref(), &rows)?;
    let width = engine.outline().width();
    if width != case.predict_width + case.raw_width || raw.len() != rows.len() * case.raw_width {
        return Err(format!(
            "{place}: {width} columns, the library has {} and {}",
            case.predict_width, case.raw_width
        ));
    }
    for index in 0..rows.len() {
        let row = rows.select(&[index]);
        let alone = answers(engine.as_ref(), &row)?;
        let ours = &together[index * width..][..width];
        let theirs = [
            &predict[index * case.predict_width..][..case.predict_width],
            &raw[index * case.raw_width..][..case.raw_width],
        ]
        .concat();
        for column in 0..width {
            let ulps = match column < case.predict_width {
                true => case.predict_ulps,
                false => 0,
            };
            for (how, got) in [("in the batch", ours[column]), ("alone", alone[column])] {
                if !equal(got, theirs[column], ulps) {
                    return Err(format!(
                        "{place}, row {index} {how}, column {column}: forest {got:e} ({:#018x}), the library {:e} ({:#018x}); {row:?}",
                        got.to_bits(),
                        theirs[column],
                        theirs[column].to_bits()
                    ));
                }
            }
        }
    }
    Ok(rows.len())
}

fn format_of(file: &str) -> Result<Format, String> {
    Ok(match file {
        "model.json" => Format::XgboostJson,
        "model.ubj" => Format::XgboostUbjson,
        "model.txt" => Format::LightgbmText,
        "catboost.json" => Format::CatboostJson,
        other => return Err(format!("unknown model file \"{other}\"")),
    })
}

fn numbers(path: &Path) -> Result<Vec<f64>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (chunks, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(format!("{}: no whole numbers", path.display()));
    }
    Ok(chunks.iter().copied().map(f64::from_le_bytes).collect())
}

fn answers(engine: &dyn Engine, rows: &Rows) -> Result<Vec<f64>, String> {
    let mut out = vec![0.0; rows.len() * engine.outline().width()];
    engine
        .predict(rows, &mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// Whether two numbers are the same bits, or at most `ulps` away from each other; all NaN are one.
fn equal(a: f64, b: f64, ulps: u64) -> bool {
    let close = a.is_sign_negative() == b.is_sign_negative()
        && a.to_bits().abs_diff(b.to_bits()) <= ulps
        && a.is_finite()
        && b.is_finite();
    a.to_bits() == b.to_bits() || close || (a.is_nan() && b.is_nan())
}
