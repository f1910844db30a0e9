//! The part of XGBoost's C interface (`include/xgboost/c_api.h`) that we call, loaded at run time.
//!
//! Nothing unsafe leaves this file: sizes are checked against buffers, results against their shape,
//! and results are only lent while the library keeps them.
#![expect(
    unsafe_code,
    reason = "the C interface of XGBoost takes and gives raw pointers"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_float, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};

use crate::engine::{EngineError, Libraries};

/// Where the library lies below [`Libraries::dir`]. It finds its OpenMP beside it.
const FILE: &str = "xgboost/lib/libxgboost.so";

/// `BoosterHandle`, `DMatrixHandle`.
type Handle = *mut c_void;
/// `bst_ulong`.
type Ulong = u64;

/// The library's functions. Lives as long as the process: the library keeps threads and
/// thread-local results, so it is never unloaded.
#[derive(Debug)]
pub struct Library {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int, *mut c_int),
    last_error: unsafe extern "C" fn() -> *const c_char,
    booster_create: unsafe extern "C" fn(*const Handle, Ulong, *mut Handle) -> c_int,
    booster_free: unsafe extern "C" fn(Handle) -> c_int,
    booster_set_param: unsafe extern "C" fn(Handle, *const c_char, *const c_char) -> c_int,
    booster_load: unsafe extern "C" fn(Handle, *const c_void, Ulong) -> c_int,
    booster_features: unsafe extern "C" fn(Handle, *mut Ulong) -> c_int,
    predict_dense: unsafe extern "C" fn(
        Handle,
        *const c_char,
        *const c_char,
        Handle,
        *mut *const Ulong,
        *mut Ulong,
        *mut *const c_float,
    ) -> c_int,
    predict_matrix: unsafe extern "C" fn(
        Handle,
        Handle,
        *const c_char,
        *mut *const Ulong,
        *mut Ulong,
        *mut *const c_float,
    ) -> c_int,
    matrix_create:
        unsafe extern "C" fn(*const c_float, Ulong, Ulong, c_float, *mut Handle) -> c_int,
    matrix_free: unsafe extern "C" fn(Handle) -> c_int,
}

/// What to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The prediction.
    Value,
    /// The raw score.
    Margin,
    /// SHAP values; through a matrix only.
    Contributions,
    /// Node ids of leaves; through a matrix only.
    Leaves,
}

/// A loaded model. Freed when dropped.
#[derive(Debug)]
pub struct Booster {
    library: &'static Library,
    handle: Handle,
    /// Rounds to use, from the first on; 0 for all.
    rounds: usize,
}

// SAFETY: a booster belongs to no thread; XGBoost lets any thread use and free it.
unsafe impl Send for Booster {}
// SAFETY: after the first prediction configured it (under the library's own lock), in-place
// prediction only reads a booster, and results lie in thread-local memory; XGBoost documents this
// path as thread safe. The engine serialises the other path.
unsafe impl Sync for Booster {}

/// A copy of rows in the library. Freed when dropped.
struct MatrixHandle {
    library: &'static Library,
    handle: Handle,
}

/// Where the library puts a result.
struct Outcome {
    shape: *const Ulong,
    dimensions: Ulong,
    values: *const c_float,
}

fn unavailable(path: &Path, reason: &str) -> EngineError {
    EngineError::Unavailable(format!("xgboost at {}: {reason}", path.display()))
}

/// Opened libraries by path. Paths come from the settings, so there are few.
static OPENED: Mutex<BTreeMap<PathBuf, &'static Library>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Whether the library's file is there; it is not opened.
    ///
    /// # Errors
    /// The path where it is not.
    pub fn find(libraries: &Libraries) -> Result<PathBuf, EngineError> {
        let path = libraries.dir.join(FILE);
        match path.is_file() {
            true => Ok(path),
            false => Err(unavailable(&path, "no such file")),
        }
    }

    /// Opens the library, once per process and path.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the path and what the loader says.
    pub fn open(libraries: &Libraries) -> Result<&'static Library, EngineError> {
        // Entries are complete or absent, so a panic elsewhere cannot have broken the map.
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = opened.get(&libraries.dir.join(FILE)) {
            return Ok(library);
        }
        let path = Library::find(libraries)?;
        // SAFETY: the file is XGBoost's library, whose initialisers have no preconditions.
        let opened_now = unsafe { libloading::Library::new(&path) };
        let file = opened_now.map_err(|error| unavailable(&path, &error.to_string()))?;
        let library =
            Library::bind(&file).map_err(|error| unavailable(&path, &error.to_string()))?;
        // Never unloaded, see the type.
        std::mem::forget(file);
        let library: &'static Library = Box::leak(Box::new(library));
        opened.insert(path, library);
        Ok(library)
    }

    fn bind(file: &libloading::Library) -> Result<Library, libloading::Error> {
        // SAFETY: the types are those of `c_api.h`, unchanged since XGBoost 1.4.
        unsafe {
            Ok(Library {
                version: *file.get(b"XGBoostVersion\0")?,
                last_error: *file.get(b"XGBGetLastError\0")?,
                booster_create: *file.get(b"XGBoosterCreate\0")?,
                booster_free: *file.get(b"XGBoosterFree\0")?,
                booster_set_param: *file.get(b"XGBoosterSetParam\0")?,
                booster_load: *file.get(b"XGBoosterLoadModelFromBuffer\0")?,
                booster_features: *file.get(b"XGBoosterGetNumFeature\0")?,
                predict_dense: *file.get(b"XGBoosterPredictFromDense\0")?,
                predict_matrix: *file.get(b"XGBoosterPredictFromDMatrix\0")?,
                matrix_create: *file.get(b"XGDMatrixCreateFromMat\0")?,
                matrix_free: *file.get(b"XGDMatrixFree\0")?,
            })
        }
    }

    /// E.g. `3.2.0`.
    pub fn version(&self) -> String {
        let (mut major, mut minor, mut patch) = (0, 0, 0);
        // SAFETY: three valid places for integers.
        unsafe { (self.version)(&mut major, &mut minor, &mut patch) };
        format!("{major}.{minor}.{patch}")
    }

    /// The error of a call that did not return 0: its first line, without place and stack.
    fn check(&self, status: c_int) -> Result<(), EngineError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: no arguments; the text is thread-local and ends with a zero.
        let text = unsafe { (self.last_error)() };
        let text = if text.is_null() {
            String::new()
        } else {
            // SAFETY: not null, ends with a zero, and is not changed before the next call of this
            // thread.
            unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .into_owned()
        };
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("unknown error");
        // `[12:00:00] /workspace/src/file.cc:12: what happened`
        let message = line
            .split_once(".cc:")
            .or_else(|| line.split_once(".h:"))
            .or_else(|| line.split_once(".cu:"))
            .and_then(|(_, rest)| rest.split_once(": "))
            .map_or(line, |(_, message)| message);
        Err(EngineError::Failed(format!(
            "xgboost: {}",
            message.trim().trim_end_matches(" :")
        )))
    }
}

impl Booster {
    /// Loads a model, JSON or UBJSON, to compute on the calling thread with its first `rounds`
    /// rounds, or with all.
    ///
    /// # Errors
    /// What the library says.
    pub fn load(
        library: &'static Library,
        bytes: &[u8],
        rounds: Option<usize>,
    ) -> Result<Booster, EngineError> {
        let mut handle = null_mut();
        // SAFETY: no matrices and a valid place for the handle.
        library.check(unsafe { (library.booster_create)(null(), 0, &mut handle) })?;
        if handle.is_null() {
            return Err(EngineError::Failed(
                "xgboost gave no booster and no error".to_string(),
            ));
        }
        let booster = Booster {
            library,
            handle,
            rounds: rounds.unwrap_or(0),
        };
        // Silent: what goes wrong comes back as an error.
        booster.set(c"verbosity", c"0")?;
        // SAFETY: the handle is valid and the buffer has that length.
        library.check(unsafe {
            (library.booster_load)(handle, bytes.as_ptr().cast(), bytes.len() as Ulong)
        })?;
        booster.set(c"nthread", c"1")?;
        Ok(booster)
    }

    fn set(&self, name: &CStr, value: &CStr) -> Result<(), EngineError> {
        // SAFETY: the handle is valid, both texts end with a zero.
        self.library.check(unsafe {
            (self.library.booster_set_param)(self.handle, name.as_ptr(), value.as_ptr())
        })
    }

    /// The number of features.
    ///
    /// # Errors
    /// What the library says.
    pub fn features(&self) -> Result<usize, EngineError> {
        let mut count = 0;
        // SAFETY: the handle is valid, and so is the place for the number.
        self.library
            .check(unsafe { (self.library.booster_features)(self.handle, &mut count) })?;
        Ok(count as usize)
    }

    /// Predicts rows of `width` values out of `values`, and lends the result, `[rows, columns]`, to
    /// `take`. Trees only.
    ///
    /// # Errors
    /// What the library or `take` says.
    pub fn predict_in_place(
        &self,
        kind: Kind,
        values: &[f32],
        width: usize,
        take: impl FnOnce(&[f32]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let rows = values.len() / width.max(1);
        let array = CString::new(format!(
            r#"{{"data":[{},true],"shape":[{rows},{width}],"typestr":"<f4","version":3}}"#,
            values.as_ptr() as usize
        ))
        .map_err(|_| EngineError::Failed("a zero in an array's address".to_string()))?;
        let config = kind.config(self.rounds)?;
        let mut result = Outcome::EMPTY;
        // SAFETY: the handle is valid; the array's description gives an address and a shape that
        // together are at most `values`, which outlives the call; the other places are valid.
        self.library.check(unsafe {
            (self.library.predict_dense)(
                self.handle,
                array.as_ptr(),
                config.as_ptr(),
                null_mut(),
                &mut result.shape,
                &mut result.dimensions,
                &mut result.values,
            )
        })?;
        // SAFETY: the call succeeded on this thread, and `take` makes no other.
        take(unsafe { result.values(rows) }?)
    }

    /// As [`Booster::predict_in_place`], through a matrix of the library: any booster, but no
    /// infinite values. Not to be called by two threads at once.
    ///
    /// # Errors
    /// What the library or `take` says.
    pub fn predict_matrix(
        &self,
        kind: Kind,
        values: &[f32],
        width: usize,
        take: impl FnOnce(&[f32]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let rows = values.len() / width.max(1);
        let matrix = MatrixHandle::new(self.library, values, rows, width)?;
        let config = kind.config(self.rounds)?;
        let mut result = Outcome::EMPTY;
        // SAFETY: both handles and all places are valid.
        self.library.check(unsafe {
            (self.library.predict_matrix)(
                self.handle,
                matrix.handle,
                config.as_ptr(),
                &mut result.shape,
                &mut result.dimensions,
                &mut result.values,
            )
        })?;
        // SAFETY: the call succeeded on this thread, the matrix is alive, and `take` makes no other
        // call.
        take(unsafe { result.values(rows) }?)
    }
}

impl Drop for Booster {
    fn drop(&mut self) {
        // SAFETY: the handle is valid and used no more. A failure leaves nothing to do.
        unsafe { (self.library.booster_free)(self.handle) };
    }
}

impl MatrixHandle {
    fn new(
        library: &'static Library,
        values: &[f32],
        rows: usize,
        width: usize,
    ) -> Result<MatrixHandle, EngineError> {
        let mut handle = null_mut();
        // SAFETY: rows × width is at most the length of `values`, which the library copies.
        library.check(unsafe {
            (library.matrix_create)(
                values.as_ptr(),
                rows as Ulong,
                width as Ulong,
                f32::NAN,
                &mut handle,
            )
        })?;
        if handle.is_null() {
            return Err(EngineError::Failed(
                "xgboost gave no matrix and no error".to_string(),
            ));
        }
        Ok(MatrixHandle { library, handle })
    }
}

impl Drop for MatrixHandle {
    fn drop(&mut self) {
        // SAFETY: the handle is valid and used no more. A failure leaves nothing to do.
        unsafe { (self.library.matrix_free)(self.handle) };
    }
}

impl Outcome {
    const EMPTY: Outcome = Outcome {
        shape: null(),
        dimensions: 0,
        values: null(),
    };

    /// The values, `[rows, columns]`.
    ///
    /// # Safety
    /// The fields are as a call that succeeded on this thread left them, and no other call is made
    /// on this thread while the slice lives.
    unsafe fn values<'a>(&self, rows: usize) -> Result<&'a [f32], EngineError> {
        let broken = |reason: String| Err(EngineError::Failed(format!("xgboost gave {reason}")));
        if self.shape.is_null() || self.values.is_null() {
            return broken("no result and no error".to_string());
        }
        // SAFETY: not null, and the library says how many dimensions it wrote.
        let shape = unsafe { std::slice::from_raw_parts(self.shape, self.dimensions as usize) };
        let count = shape
            .iter()
            .try_fold(1_usize, |count, size| count.checked_mul(*size as usize));
        match count {
            // SAFETY: not null, and the shape says how many values the library wrote.
            Some(count) if shape.first() == Some(&(rows as Ulong)) => {
                Ok(unsafe { std::slice::from_raw_parts(self.values, count) })
            }
            _ => broken(format!("a result of shape {shape:?} for {rows} rows")),
        }
    }
}

impl Kind {
    /// `rounds` is 0 for all trees; the shape is always `[rows, columns]`. A matrix knows by itself
    /// what is missing.
    fn config(self, rounds: usize) -> Result<CString, EngineError> {
        let kind = match self {
            Kind::Value => 0,
            Kind::Margin => 1,
            Kind::Contributions => 2,
            Kind::Leaves => 6,
        };
        CString::new(format!(
            r#"{{"type":{kind},"training":false,"iteration_begin":0,"iteration_end":{rounds},"strict_shape":true,"cache_id":0,"missing":NaN}}"#
        ))
        .map_err(|_| EngineError::Failed("a zero in a configuration".to_string()))
    }
}
