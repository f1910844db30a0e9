//! A safe wrapper of the few calls of LightGBM's C API that serving needs.
//!
//! It loads only text that [`crate::forest::lightgbm::parse`] found consistent; it checks every
//! length against what the library itself computes; and it predicts through `FastConfig`s only,
//! because they are made under the booster's exclusive lock and used under its shared one, while
//! the library's other prediction calls write into the booster without a lock.

#![expect(unsafe_code, reason = "LightGBM has a C interface")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use lightgbm3_sys as sys;

use crate::engine::EngineError;

/// What `lightgbm3-sys` bundles. The C API does not say.
pub const VERSION: &str = "4.7.0";

/// One thread per call; no early stopping; rows must have the model's width.
const PARAMETERS: &CStr = c"num_threads=1 predict_disable_shape_check=false verbosity=-1";

/// What to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// After the objective's transform.
    Prediction,
    /// Sums of leaves.
    Raw,
    /// SHAP values.
    Contributions,
    /// Indices of leaves.
    Leaves,
}

/// A loaded model, and the predictors that no thread uses at the moment.
#[derive(Debug)]
pub struct Booster {
    handle: sys::BoosterHandle,
    features: usize,
    outputs: usize,
    /// At most as many as there were calls at the same time.
    idle: Mutex<Vec<Pair>>,
}

// SAFETY: the handle is used by `Booster::make` and on drop only. `make` takes the booster's own
// exclusive lock inside the library, and on drop nobody else has it.
unsafe impl Send for Booster {}
// SAFETY: as above; everything else of it is `Sync`.
unsafe impl Sync for Booster {}

/// A predictor of each kind. Points into the booster that made it.
#[derive(Debug)]
struct Pair {
    prediction: sys::FastConfigHandle,
    raw: sys::FastConfigHandle,
}

// SAFETY: a FastConfig has no ties to a thread; it is used by one at a time, under the booster's
// shared lock.
unsafe impl Send for Pair {}

/// A pair of predictors on loan to one call.
#[derive(Debug)]
pub struct Predictors<'a> {
    booster: &'a Booster,
    /// `None` only while it is given back.
    pair: Option<Pair>,
}

impl Booster {
    /// Loads a text that our parser found consistent, with this many features and outputs.
    ///
    /// # Errors
    /// What the library says, or that it reads other sizes from the text than we do.
    pub fn load(text: &[u8], features: usize, outputs: usize) -> Result<Booster, EngineError> {
        let text = CString::new(text)
            .map_err(|_| EngineError::Malformed("lightgbm: the text has a nul".to_string()))?;
        let mut handle = ptr::null_mut();
        let mut iterations = 0;
        silence();
        // SAFETY: the text ends with a nul, and both results outlive the call.
        check(unsafe {
            sys::LGBM_BoosterLoadModelFromString(text.as_ptr(), &mut iterations, &mut handle)
        })?;
        let booster = Booster {
            handle,
            features,
            outputs,
            idle: Mutex::new(Vec::new()),
        };
        booster.check_sizes()?;
        // The first predictors now, so that what can fail fails at load.
        drop(booster.predictors()?);
        Ok(booster)
    }

    /// Predictors for one call: idle ones, or new ones where all are in use.
    ///
    /// # Errors
    /// What the library says.
    pub fn predictors(&self) -> Result<Predictors<'_>, EngineError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let pair = match idle {
            Some(pair) => pair,
            None => self.make_pair()?,
        };
        Ok(Predictors {
            booster: self,
            pair: Some(pair),
        })
    }

    /// How many values the library gives for one row.
    ///
    /// # Errors
    /// What the library says.
    pub fn columns(&self, kind: Kind) -> Result<usize, EngineError> {
        let mut length = 0;
        // SAFETY: the handle is alive, and the result outlives the call.
        check(unsafe {
            sys::LGBM_BoosterCalcNumPredict(self.handle, 1, code(kind), 0, -1, &mut length)
        })?;
        usize::try_from(length)
            .map_err(|_| EngineError::Failed("lightgbm: a negative number of results".to_string()))
    }

    /// Predicts rows with a predictor made for this call: for kinds that are seldom asked for.
    /// `rows` are `[features]` each, NaN = missing; `out` is `[rows, columns(kind)]`.
    ///
    /// # Errors
    /// When a length is wrong, or what the library says.
    pub fn predict_seldom<'a>(
        &self,
        kind: Kind,
        rows: impl Iterator<Item = &'a [f64]>,
        out: &mut [f64],
    ) -> Result<(), EngineError> {
        let columns = self.columns(kind)?;
        if columns == 0 {
            return Ok(());
        }
        silence();
        let config = Seldom(self.make(kind)?);
        for (row, out) in rows.zip(out.chunks_exact_mut(columns)) {
            if row.len() != self.features {
                return Err(EngineError::Failed(format!(
                    "lightgbm: {} values, expected {}",
                    row.len(),
                    self.features
                )));
            }
            let mut written = 0;
            // SAFETY: the config belongs to the booster, which is alive; it was made for rows of
            // `features` 64-bit floats, and writes `columns` of them by the library's own count.
            check(unsafe {
                sys::LGBM_BoosterPredictForMatSingleRowFast(
                    config.0,
                    row.as_ptr().cast(),
                    &mut written,
                    out.as_mut_ptr(),
                )
            })?;
        }
        Ok(())
    }

    /// The library's own sizes are those that we allocate for.
    fn check_sizes(&self) -> Result<(), EngineError> {
        let (mut features, mut classes, mut per_iteration) = (0, 0, 0);
        // SAFETY: the handle is alive, and the results outlive the calls.
        unsafe {
            check(sys::LGBM_BoosterGetNumFeature(self.handle, &mut features))?;
            check(sys::LGBM_BoosterGetNumClasses(self.handle, &mut classes))?;
            check(sys::LGBM_BoosterNumModelPerIteration(
                self.handle,
                &mut per_iteration,
            ))?;
        }
        let (predicted, raw) = (self.columns(Kind::Prediction)?, self.columns(Kind::Raw)?);
        let same = i64::from(features) == self.features as i64
            && [i64::from(classes), i64::from(per_iteration)]
                .iter()
                .all(|count| *count == self.outputs as i64)
            && [predicted, raw] == [self.outputs; 2];
        if !same {
            return Err(EngineError::Failed(format!(
                "lightgbm: expected {} features and {} outputs, the library read {features} and {classes}",
                self.features, self.outputs
            )));
        }
        Ok(())
    }

    fn make_pair(&self) -> Result<Pair, EngineError> {
        silence();
        let prediction = self.make(Kind::Prediction)?;
        match self.make(Kind::Raw) {
            Ok(raw) => Ok(Pair { prediction, raw }),
            Err(error) => {
                free(prediction);
                Err(error)
            }
        }
    }

    fn make(&self, kind: Kind) -> Result<sys::FastConfigHandle, EngineError> {
        let columns = i32::try_from(self.features)
            .map_err(|_| EngineError::Failed("lightgbm: 2^31 features or more".to_string()))?;
        let mut config = ptr::null_mut();
        // SAFETY: the handle is alive, the parameters end with a nul, the result outlives the call.
        check(unsafe {
            sys::LGBM_BoosterPredictForMatSingleRowFastInit(
                self.handle,
                code(kind),
                0,
                -1,
                sys::C_API_DTYPE_FLOAT64 as c_int,
                columns,
                PARAMETERS.as_ptr(),
                &mut config,
            )
        })?;
        Ok(config)
    }
}

impl Predictors<'_> {
    /// Predicts one row. `row` is `[features]`, NaN = missing; `out` is `[outputs]`.
    ///
    /// # Errors
    /// When a length is wrong, or what the library says.
    pub fn predict(&mut self, kind: Kind, row: &[f64], out: &mut [f64]) -> Result<(), EngineError> {
        let fits = row.len() == self.booster.features && out.len() == self.booster.outputs;
        let (true, Some(pair)) = (fits, &self.pair) else {
            return Err(EngineError::Failed(format!(
                "lightgbm: {} values and room for {} results, expected {} and {}",
                row.len(),
                out.len(),
                self.booster.features,
                self.booster.outputs
            )));
        };
        let config = match kind {
            Kind::Prediction => pair.prediction,
            _ => pair.raw,
        };
        let mut written = 0;
        // SAFETY: the config belongs to the booster, which is alive; it was made for rows of
        // `features` 64-bit floats, and writes `outputs` of them, which `check_sizes` compared.
        check(unsafe {
            sys::LGBM_BoosterPredictForMatSingleRowFast(
                config,
                row.as_ptr().cast(),
                &mut written,
                out.as_mut_ptr(),
            )
        })?;
        if written != out.len() as i64 {
            return Err(EngineError::Failed(format!(
                "lightgbm: expected {} results, got {written}",
                out.len()
            )));
        }
        Ok(())
    }
}

/// A predictor of one call. Freed when dropped.
struct Seldom(sys::FastConfigHandle);

impl Drop for Seldom {
    fn drop(&mut self) {
        free(self.0);
    }
}

impl Drop for Predictors<'_> {
    fn drop(&mut self) {
        let mut idle = self
            .booster
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.pair.take());
    }
}

impl Drop for Booster {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        for pair in idle.drain(..) {
            free(pair.prediction);
            free(pair.raw);
        }
        // SAFETY: loans borrow the booster, so all predictors were idle and are gone; the handle
        // is freed once.
        unsafe { sys::LGBM_BoosterFree(self.handle) };
    }
}

fn code(kind: Kind) -> c_int {
    match kind {
        Kind::Prediction => sys::C_API_PREDICT_NORMAL as c_int,
        Kind::Raw => sys::C_API_PREDICT_RAW_SCORE as c_int,
        Kind::Contributions => sys::C_API_PREDICT_CONTRIB as c_int,
        Kind::Leaves => sys::C_API_PREDICT_LEAF_INDEX as c_int,
    }
}

fn free(config: sys::FastConfigHandle) {
    // SAFETY: every caller owns the config and forgets it.
    unsafe { sys::LGBM_FastConfigFree(config) };
}

/// Keeps the library's messages off this thread's standard output. Its errors come back as results.
fn silence() {
    unsafe extern "C" fn discard(_message: *const c_char) {}
    // SAFETY: the callback lives as long as the program and touches nothing.
    unsafe { sys::LGBM_RegisterLogCallback(Some(discard)) };
}

/// The library's message of a failed call.
fn check(code: c_int) -> Result<(), EngineError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the message is this thread's own, ends with a nul, and is copied before the next call.
    let message = unsafe { CStr::from_ptr(sys::LGBM_GetLastError()) };
    Err(EngineError::Failed(format!(
        "lightgbm: {}",
        message.to_string_lossy()
    )))
}
