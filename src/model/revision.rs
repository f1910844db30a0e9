//! One loaded model, immutable: engine, signature, digest, measured cost. [`prepare`] makes it of
//! an artifact: parse, check golden rows, compare with the library when asked to, measure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::artifact::Artifact;
use super::rules::{self, Rules, defaults};
use super::signature::Signature;
use super::slot::Named;
use super::usage::Usage;
use crate::drift::bins::{Bins, Column, Reading};
use crate::drift::profile::{self, Broken, Profile};
use crate::engine::{self, Choice, Engine, EngineError, FeatureKind, Libraries, Outline};
use crate::tensor::{Element, Rows};

/// One loaded model. Never changes; dropped when the last request that uses it ends.
#[derive(Debug)]
pub struct Revision {
    /// The name of its slot.
    pub slot: String,
    /// The name of its folder.
    pub id: u64,
    /// Unique in this process: a folder loaded twice gives two revisions.
    pub uid: u64,
    pub engine: Box<dyn Engine>,
    pub signature: Signature,
    /// SHA-256 of its files, hex.
    pub digest: String,
    pub cost: Cost,
    pub reference: Reference,
    /// Golden rows that were compared when it was prepared.
    pub golden_rows: usize,
    /// Random and golden rows that were compared with the library; 0 when that was not asked for.
    pub verified_rows: usize,
    pub prepared_at: SystemTime,
    pub usage: Usage,
    /// What its slot asks of rows.
    pub rules: Rules,
}

/// What live rows of a revision are compared with.
#[derive(Clone, Debug)]
pub enum Reference {
    /// It came without a profile.
    None,
    /// Its profile is broken, or is one of another model: why.
    Refused(String),
    Ready(Arc<Bins>),
}

/// What a prediction costs, measured on this machine when the revision was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// A call with one row.
    pub row_ns: u64,
    /// Each row of a call with 64 rows.
    pub batch_row_ns: u64,
}

/// How revisions are prepared.
#[derive(Clone, Debug)]
pub struct Settings {
    pub engine: Choice,
    /// Compare with the format's library on golden and random rows, and refuse what differs.
    pub verify: bool,
    /// Limit of a revision's files together, in bytes.
    pub bytes_max: u64,
    pub libraries: Libraries,
    pub rules: rules::Settings,
}

/// Rows of the timed batch: the block that kernels take at a time.
pub const BATCH: usize = 64;
/// Random rows that a revision is compared with its library on.
const VERIFY_ROWS: usize = 256;
/// Time given to each of the two measurements; the fastest call counts, so few are enough.
const MEASURE: Duration = Duration::from_millis(1);

/// Characters of [`Revision::mark`].
const MARK: usize = 16;

impl Revision {
    /// The first 16 characters of its digest: what the journal knows it by.
    pub fn mark(&self) -> &str {
        self.digest.get(..MARK).unwrap_or(&self.digest)
    }

    /// Its id and its mark.
    pub fn named(&self) -> Named {
        Named {
            id: self.id,
            mark: self.mark().to_string(),
        }
    }

    /// What its engine takes and gives.
    pub fn outline(&self) -> &Outline {
        self.engine.outline()
    }
}

impl Reference {
    /// A profile made ready for a model.
    pub fn of(profile: Result<Profile, Broken>, signature: &Signature) -> Reference {
        let bins = profile.and_then(|profile| Bins::new(profile, &columns(signature)));
        match bins {
            Ok(bins) => Reference::Ready(Arc::new(bins)),
            Err(Broken(reason)) => Reference::Refused(format!("profile.json: {reason}")),
        }
    }

    /// The profile, where it is one of this model.
    pub fn profile(&self) -> Option<&Profile> {
        match self {
            Reference::Ready(bins) => Some(bins.profile()),
            Reference::None | Reference::Refused(_) => None,
        }
    }

    /// `none`, `refused` or `ready`.
    pub fn name(&self) -> &'static str {
        match self {
            Reference::None => "none",
            Reference::Refused(_) => "refused",
            Reference::Ready(_) => "ready",
        }
    }
}

/// How a model reads its features, as drift counts them.
pub fn columns(signature: &Signature) -> Vec<Column<'_>> {
    let single = signature.element == Element::F32;
    let each = signature.columns.iter().map(|column| Column {
        name: &column.name,
        reading: match &column.kind {
            FeatureKind::Number => Reading::Number { single },
            FeatureKind::Category { categories, .. } if categories.is_empty() => Reading::Code,
            FeatureKind::Category { categories, .. } => {
                Reading::Coded(categories.iter().map(named).collect())
            }
        },
    });
    each.collect()
}

fn named(category: &engine::Category) -> profile::Category {
    match category {
        engine::Category::Text(text) => profile::Category::Text(text.clone()),
        engine::Category::Number(number) => profile::Category::Number(*number),
    }
}

impl Cost {
    /// The expected time of a call with this many rows, in nanoseconds: row by row, or as whole
    /// batches, whichever is less. Engines take few rows one by one, and a part of a batch costs what
    /// all of it does.
    pub fn of(&self, rows: usize) -> u64 {
        let one_by_one = self.row_ns.saturating_mul(rows as u64);
        let whole = (rows.div_ceil(BATCH) * BATCH) as u64;
        one_by_one.min(self.batch_row_ns.saturating_mul(whole))
    }
}

/// Loads an artifact. Takes milliseconds to seconds and blocks: not for serving threads.
///
/// # Errors
/// The reason why the revision must not serve, for people.
pub fn prepare(
    slot: &str,
    id: u64,
    artifact: Artifact,
    settings: &Settings,
) -> Result<Revision, String> {
    static UID: AtomicU64 = AtomicU64::new(1);
    let engine = engine::load(&artifact.model, settings.engine, &settings.libraries)
        .map_err(|error| error.to_string())?;
    let declared = match (&artifact.declared, &artifact.mlflow) {
        (Some(declared), _) => Some(declared.clone()),
        (None, Some(mlflow)) => mlflow.declared(engine.outline()),
        (None, None) => None,
    };
    let signature =
        Signature::new(engine.outline(), declared.as_ref()).map_err(|error| error.reason)?;
    let golden_rows = match &artifact.golden {
        Some(golden) => golden.verify(engine.as_ref())?,
        None => 0,
    };
    if let Some(mlflow) = &artifact.mlflow {
        mlflow.smoke_test(&signature, engine.as_ref())?;
    }
    let verified_rows = if settings.verify {
        verify(&artifact, engine.as_ref(), settings)?
    } else {
        0
    };
    let reference = match artifact.profile {
        None => Reference::None,
        Some(profile) => Reference::of(profile, &signature),
    };
    let written = settings.rules.of(slot);
    let implied = match written.defaults {
        None => Vec::new(),
        Some(action) => defaults::of(reference.profile(), artifact.mlflow.as_ref(), action),
    };
    let rules = Rules::new(written, &implied, &signature);
    let cost = measure(engine.as_ref()).map_err(|error| format!("warm-up: {error}"))?;
    Ok(Revision {
        slot: slot.to_string(),
        id,
        uid: UID.fetch_add(1, Ordering::Relaxed),
        engine,
        signature,
        digest: artifact.digest,
        cost,
        reference,
        golden_rows,
        verified_rows,
        prepared_at: SystemTime::now(),
        usage: Usage::default(),
        rules,
    })
}

/// Compares a forest with its format's library, on random and golden rows.
fn verify(artifact: &Artifact, engine: &dyn Engine, settings: &Settings) -> Result<usize, String> {
    if engine.outline().engine != "forest" {
        return Ok(0);
    }
    let library = engine::load_library(&artifact.model, &settings.libraries, None)
        .map_err(|error| format!("verify: {error}"))?;
    let (ours, theirs) = (engine.outline(), library.outline());
    let mut rows = random_rows(ours.features.len(), VERIFY_ROWS, ours.element)
        .ok_or("verify: the model has no features")?;
    if let Some(golden) = &artifact.golden {
        rows.append(&golden.rows(engine)?);
    }
    let mut got = vec![0.0; rows.len() * ours.width()];
    let mut expected = vec![0.0; rows.len() * theirs.width()];
    let failed = |error: EngineError| format!("verify: {error}");
    engine.predict(&rows, &mut got).map_err(failed)?;
    library.predict(&rows, &mut expected).map_err(failed)?;
    // ONNX Runtime may add in another order; XGBoost and LightGBM must agree to the last bit.
    let exact = theirs.engine != "onnxruntime";
    for output in &theirs.outputs {
        let Some(mine) = ours.outputs.iter().find(|mine| mine.name == output.name) else {
            continue;
        };
        for row in 0..rows.len() {
            let a = &got[row * ours.width() + mine.offset..][..mine.len()];
            let b = &expected[row * theirs.width() + output.offset..][..output.len()];
            if !agree(a, b, exact) {
                return Err(format!(
                    "verify: output \"{}\", row {row}: forest gives {a:?}, {} gives {b:?}",
                    output.name, theirs.engine
                ));
            }
        }
    }
    Ok(rows.len())
}

fn agree(a: &[f64], b: &[f64], exact: bool) -> bool {
    let close = |a: f64, b: f64| {
        a.to_bits() == b.to_bits()
            || (a.is_nan() && b.is_nan())
            || (!exact && (a - b).abs() <= 1e-5 * b.abs().max(1.0))
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(*a, *b))
}

/// Rows of values from -4 to 4, small whole numbers and missing values, the same for every call.
fn random_rows(width: usize, count: usize, element: Element) -> Option<Rows> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let values = (0..width * count)
        .map(|_| {
            let unit = (next() >> 11) as f64 / (1_u64 << 53) as f64;
            match next() % 8 {
                0 => f64::NAN,
                1 | 2 => (unit * 12.0).floor(),
                _ => unit * 8.0 - 4.0,
            }
        })
        .collect();
    Rows::from_f64(values, width, element)
}

/// The cost of one row and of a batch: the fastest of repeated calls, after one to warm up.
fn measure(engine: &dyn Engine) -> Result<Cost, EngineError> {
    let outline = engine.outline();
    let batch = random_rows(outline.features.len(), BATCH, outline.element)
        .ok_or_else(|| EngineError::Failed("the model has no features".to_string()))?;
    let row = batch.select(&[0]);
    let row_ns = fastest(engine, &row)?;
    let batch_ns = fastest(engine, &batch)?;
    Ok(Cost {
        row_ns,
        batch_row_ns: batch_ns.div_ceil(BATCH as u64),
    })
}

fn fastest(engine: &dyn Engine, rows: &Rows) -> Result<u64, EngineError> {
    let mut out = vec![0.0; rows.len() * engine.outline().width()];
    engine.predict(rows, &mut out)?;
    let end = Instant::now() + MEASURE;
    let mut best = u64::MAX;
    loop {
        let start = Instant::now();
        engine.predict(rows, &mut out)?;
        let elapsed = start.elapsed();
        best = best.min(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        if start + elapsed >= end {
            return Ok(best.max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_its_rows_one_by_one_or_as_whole_batches() {
        let cost = Cost {
            row_ns: 10,
            batch_row_ns: 2,
        };
        assert_eq!(cost.of(0), 0);
        assert_eq!(cost.of(3), 30);
        assert_eq!(cost.of(20), 128);
        assert_eq!(cost.of(65), 256);
        let slow = Cost {
            row_ns: u64::MAX,
            batch_row_ns: u64::MAX,
        };
        assert_eq!(slow.of(usize::MAX / 64), u64::MAX);
    }
}
