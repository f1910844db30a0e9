//! Rows into a graph's inputs, and its outputs into columns of results.

use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef};

use crate::engine::EngineError;
use crate::tensor::{DType, Rows};

/// One input of a graph: columns of the row matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub name: String,
    pub kind: TensorElementType,
    /// `None`: its shape is `[n]`. `Some(k)`: `[n, k]`.
    pub columns: Option<usize>,
    /// Its first column in a row.
    pub offset: usize,
}

impl Input {
    /// Its number of columns.
    pub fn len(&self) -> usize {
        self.columns.unwrap_or(1)
    }

    /// The input's tensor of rows `from..to`.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when a value is not of the input's type: names input and row.
    pub fn tensor<'r>(
        &self,
        rows: &'r Rows,
        from: usize,
        to: usize,
    ) -> Result<SessionInputValue<'r>, EngineError> {
        let shape = match self.columns {
            Some(columns) => vec![(to - from) as i64, columns as i64],
            None => vec![(to - from) as i64],
        };
        if let (Rows::F32(matrix), TensorElementType::Float32) = (rows, self.kind)
            && matrix.width() == self.len()
        {
            let values = &matrix.values()[from * self.len()..to * self.len()];
            let view = TensorRef::from_array_view((shape, values)).map_err(failed)?;
            return Ok(view.into());
        }
        let values = self.values(rows, from, to);
        match self.kind {
            TensorElementType::Float32 => {
                let values = values.into_iter().map(|value| value as f32).collect();
                owned(shape, values)
            }
            TensorElementType::Float64 => owned(shape, values),
            TensorElementType::Int64 => self.whole::<i64>(shape, values, from),
            TensorElementType::Int32 => self.whole::<i32>(shape, values, from),
            TensorElementType::Int16 => self.whole::<i16>(shape, values, from),
            TensorElementType::Int8 => self.whole::<i8>(shape, values, from),
            TensorElementType::Uint64 => self.whole::<u64>(shape, values, from),
            TensorElementType::Uint32 => self.whole::<u32>(shape, values, from),
            TensorElementType::Uint16 => self.whole::<u16>(shape, values, from),
            TensorElementType::Uint8 => self.whole::<u8>(shape, values, from),
            TensorElementType::Bool => self.truths(shape, values, from),
            other => Err(EngineError::Failed(format!(
                "input \"{}\" is of type {other}",
                self.name
            ))),
        }
    }

    /// Its columns of rows `from..to`, row-major.
    fn values(&self, rows: &Rows, from: usize, to: usize) -> Vec<f64> {
        let own = self.offset..self.offset + self.len();
        let mut values = Vec::with_capacity((to - from) * self.len());
        match rows {
            Rows::F32(matrix) => {
                for row in matrix.rows().skip(from).take(to - from) {
                    values.extend(row[own.clone()].iter().map(|value| f64::from(*value)));
                }
            }
            Rows::F64(matrix) => {
                for row in matrix.rows().skip(from).take(to - from) {
                    values.extend_from_slice(&row[own.clone()]);
                }
            }
        }
        values
    }

    fn whole<T>(
        &self,
        shape: Vec<i64>,
        values: Vec<f64>,
        from: usize,
    ) -> Result<SessionInputValue<'static>, EngineError>
    where
        T: PrimitiveTensorElementType + TryFrom<i128> + std::fmt::Debug + Clone + 'static,
    {
        let whole = |(index, value): (usize, f64)| {
            // NaN fails the comparison; infinities are beyond every integer type.
            let whole = (value.trunc() == value).then_some(value as i128);
            whole
                .and_then(|whole| T::try_from(whole).ok())
                .ok_or_else(|| self.unfit(value, from + index / self.len()))
        };
        let whole: Vec<T> = values
            .into_iter()
            .enumerate()
            .map(whole)
            .collect::<Result<_, _>>()?;
        owned(shape, whole)
    }

    fn truths(
        &self,
        shape: Vec<i64>,
        values: Vec<f64>,
        from: usize,
    ) -> Result<SessionInputValue<'static>, EngineError> {
        let truth = |(index, value): (usize, f64)| match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            other => Err(self.unfit(other, from + index / self.len())),
        };
        let truths: Vec<bool> = values
            .into_iter()
            .enumerate()
            .map(truth)
            .collect::<Result<_, _>>()?;
        owned(shape, truths)
    }

    fn unfit(&self, value: f64, row: usize) -> EngineError {
        EngineError::Failed(format!(
            "input \"{}\", row {row}: expected a value of type {}, got {value}",
            self.name, self.kind
        ))
    }
}

/// The datatype that clients see for a tensor of this type; `None` for types that are not served.
pub fn dtype_of(kind: TensorElementType) -> Option<DType> {
    Some(match kind {
        TensorElementType::Float32 => DType::Fp32,
        TensorElementType::Float64 => DType::Fp64,
        TensorElementType::Int64 => DType::Int64,
        TensorElementType::Int32 => DType::Int32,
        TensorElementType::Int16 => DType::Int16,
        TensorElementType::Int8 => DType::Int8,
        TensorElementType::Uint64 => DType::Uint64,
        TensorElementType::Uint32 => DType::Uint32,
        TensorElementType::Uint16 => DType::Uint16,
        TensorElementType::Uint8 => DType::Uint8,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::String => DType::Bytes,
        _ => return None,
    })
}

/// All values of an output as doubles; strings as what `text` makes of them.
///
/// # Errors
/// [`EngineError::Failed`] for integers that no double holds, and what `text` says.
pub fn numbers(
    value: &DynValue,
    kind: DType,
    text: impl Fn(&str) -> Result<f64, EngineError>,
) -> Result<Vec<f64>, EngineError> {
    match kind {
        DType::Fp32 => plain::<f32>(value),
        DType::Fp64 => plain::<f64>(value),
        DType::Int32 => plain::<i32>(value),
        DType::Int16 => plain::<i16>(value),
        DType::Int8 => plain::<i8>(value),
        DType::Uint32 => plain::<u32>(value),
        DType::Uint16 => plain::<u16>(value),
        DType::Uint8 => plain::<u8>(value),
        DType::Int64 => long::<i64>(value),
        DType::Uint64 => long::<u64>(value),
        DType::Bool => {
            let (_, values) = value.try_extract_tensor::<bool>().map_err(failed)?;
            Ok(values.iter().map(|x| f64::from(u8::from(*x))).collect())
        }
        DType::Bytes => {
            let (_, values) = value.try_extract_strings().map_err(failed)?;
            values.iter().map(|value| text(value)).collect()
        }
        DType::Fp16 => Err(EngineError::Failed("half precision".to_string())),
    }
}

fn plain<T: PrimitiveTensorElementType + Copy + Into<f64>>(
    value: &DynValue,
) -> Result<Vec<f64>, EngineError> {
    let (_, values) = value.try_extract_tensor::<T>().map_err(failed)?;
    Ok(values.iter().map(|value| (*value).into()).collect())
}

/// Integers of 64 bits, where a double holds them.
fn long<T: PrimitiveTensorElementType + Copy + Into<i128>>(
    value: &DynValue,
) -> Result<Vec<f64>, EngineError> {
    let (_, values) = value.try_extract_tensor::<T>().map_err(failed)?;
    let exact = |value: &T| {
        let value: i128 = (*value).into();
        let double = value as f64;
        (double as i128 == value)
            .then_some(double)
            .ok_or_else(|| EngineError::Failed(format!("the output {value} is beyond 2^53")))
    };
    values.iter().map(exact).collect()
}

fn owned<T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
    shape: Vec<i64>,
    values: Vec<T>,
) -> Result<SessionInputValue<'static>, EngineError> {
    Ok(Tensor::from_array((shape, values)).map_err(failed)?.into())
}

/// An error of ONNX Runtime.
pub fn failed(error: ort::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}
