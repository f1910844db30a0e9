//! Input tensors of a request, from typed or from raw contents. Checks a tensor against its own
//! datatype and shape, never against a model.

use std::collections::HashSet;

use bytes::{Buf, Bytes};
use half::f16;
use smallvec::SmallVec;

use super::pb::InferTensorContents as Contents;
use super::pb::model_infer_request::InferInputTensor;
use super::short;
use crate::error::{Code, Error};
use crate::tensor::{Cell, DType, RANK_MAX, Shape, Tensor, Tensors, Values};

/// The largest integer up to which every integer is a double.
const EXACT_MAX: u64 = 1 << 53;

/// Decodes all inputs. With `raw` not empty it holds their values, in the inputs' order:
/// little-endian, row-major, BYTES as u32 length and bytes.
///
/// # Errors
/// Names the tensor and what was expected.
pub fn tensors(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> Result<Tensors<'static>, Error> {
    check_inputs(&inputs, raw.len())?;
    let mut raw = raw.into_iter();
    let mut tensors = Tensors::new();
    for input in inputs {
        let name = input.name;
        let bytes = raw.next();
        match tensor(&input.datatype, &input.shape, input.contents, bytes) {
            Ok((dtype, shape, values)) => tensors.push(Tensor {
                name: name.into(),
                dtype,
                shape,
                values,
            }),
            Err(reason) => {
                let name = short(&name);
                return Err(Error::invalid(format!("input \"{name}\": {reason}")));
            }
        }
    }
    Ok(tensors)
}

/// What does not depend on a tensor's values.
fn check_inputs(inputs: &[InferInputTensor], raw: usize) -> Result<(), Error> {
    // A name cannot stand twice among one: no set for it.
    let mut names = HashSet::with_capacity(if inputs.len() > 1 { inputs.len() } else { 0 });
    for input in inputs {
        if inputs.len() > 1 && !names.insert(input.name.as_str()) {
            let name = short(&input.name);
            return Err(Error::invalid(format!("input \"{name}\" appears twice")));
        }
        if input.parameters.contains_key("shared_memory_region") {
            let name = short(&input.name);
            return Err(Error::new(
                Code::Unsupported,
                format!("input \"{name}\": parameter \"shared_memory_region\" is not served"),
            ));
        }
        if raw > 0
            && input
                .contents
                .as_ref()
                .is_some_and(|it| !used(it).is_empty())
        {
            let name = short(&input.name);
            return Err(Error::invalid(format!(
                "input \"{name}\": contents and raw_input_contents are both given; expected one of them"
            )));
        }
    }
    if raw > 0 && raw != inputs.len() {
        return Err(Error::invalid(format!(
            "raw_input_contents: expected one for each of the {} inputs, got {raw}",
            inputs.len()
        )));
    }
    Ok(())
}

fn tensor(
    datatype: &str,
    shape: &[i64],
    contents: Option<Contents>,
    raw: Option<Bytes>,
) -> Result<(DType, Shape, Values), String> {
    let Ok(dtype) = datatype.parse::<DType>() else {
        let names: Vec<&str> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
        return Err(format!("datatype: expected one of {}", names.join(", ")));
    };
    let (shape, count) = sized(shape)?;
    let values = match raw {
        Some(bytes) => from_raw(dtype, count, bytes)?,
        None => from_contents(dtype, contents.unwrap_or_default())?,
    };
    if values.len() != count {
        return Err(format!(
            "expected {count} values for shape {shape:?}, got {}",
            values.len()
        ));
    }
    Ok((dtype, shape, values))
}

/// The shape, and how many values it asks for.
fn sized(shape: &[i64]) -> Result<(Shape, usize), String> {
    if shape.len() > RANK_MAX {
        let got = shape.len();
        return Err(format!(
            "shape: expected at most {RANK_MAX} dimensions, got {got}"
        ));
    }
    let mut sizes = Shape::new();
    let mut count: usize = 1;
    for size in shape {
        let size = usize::try_from(*size)
            .map_err(|_negative| "shape: expected dimensions that are not negative".to_string())?;
        count = count
            .checked_mul(size)
            .ok_or("shape: the number of values is beyond any limit")?;
        sizes.push(size);
    }
    Ok((sizes, count))
}

/// The fields of `contents` that hold values.
fn used(contents: &Contents) -> SmallVec<[&'static str; 8]> {
    let fields = [
        ("bool_contents", contents.bool_contents.is_empty()),
        ("int_contents", contents.int_contents.is_empty()),
        ("int64_contents", contents.int64_contents.is_empty()),
        ("uint_contents", contents.uint_contents.is_empty()),
        ("uint64_contents", contents.uint64_contents.is_empty()),
        ("fp32_contents", contents.fp32_contents.is_empty()),
        ("fp64_contents", contents.fp64_contents.is_empty()),
        ("bytes_contents", contents.bytes_contents.is_empty()),
    ];
    let used = fields.into_iter().filter(|(_, empty)| !empty);
    used.map(|(name, _)| name).collect()
}

/// The field that belongs to a datatype; none for FP16.
fn field(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::Bool => Some("bool_contents"),
        DType::Int8 | DType::Int16 | DType::Int32 => Some("int_contents"),
        DType::Int64 => Some("int64_contents"),
        DType::Uint8 | DType::Uint16 | DType::Uint32 => Some("uint_contents"),
        DType::Uint64 => Some("uint64_contents"),
        DType::Fp16 => None,
        DType::Fp32 => Some("fp32_contents"),
        DType::Fp64 => Some("fp64_contents"),
        DType::Bytes => Some("bytes_contents"),
    }
}

fn from_contents(dtype: DType, contents: Contents) -> Result<Values, String> {
    let Some(expected) = field(dtype) else {
        return Err(format!("expected raw_input_contents for {dtype}"));
    };
    for got in used(&contents) {
        if got != expected {
            return Err(format!("expected {expected} for {dtype}, got {got}"));
        }
    }
    match dtype {
        DType::Bool => Ok(singles(contents.bool_contents, |value| {
            f32::from(u8::from(value))
        })),
        DType::Int8 | DType::Int16 => {
            let (min, max) = match dtype {
                DType::Int8 => (i32::from(i8::MIN), i32::from(i8::MAX)),
                _ => (i32::from(i16::MIN), i32::from(i16::MAX)),
            };
            let values = contents.int_contents;
            check_range(dtype, &values, |value| (min..=max).contains(&value))?;
            // Sixteen bits: exact in 24 bits of significand.
            Ok(singles(values, |value| value as f32))
        }
        DType::Int32 => Ok(doubles(contents.int_contents, f64::from)),
        DType::Int64 => from_i64(contents.int64_contents),
        DType::Uint8 | DType::Uint16 => {
            let max = match dtype {
                DType::Uint8 => u32::from(u8::MAX),
                _ => u32::from(u16::MAX),
            };
            let values = contents.uint_contents;
            check_range(dtype, &values, |value| value <= max)?;
            Ok(singles(values, |value| value as f32))
        }
        DType::Uint32 => Ok(doubles(contents.uint_contents, f64::from)),
        DType::Uint64 => from_u64(contents.uint64_contents),
        DType::Fp16 | DType::Fp32 => Ok(Values::F32(contents.fp32_contents)),
        DType::Fp64 => Ok(Values::F64(contents.fp64_contents)),
        DType::Bytes => texts(contents.bytes_contents),
    }
}

fn from_raw(dtype: DType, count: usize, bytes: Bytes) -> Result<Values, String> {
    let Some(size) = dtype.size() else {
        return texts(strings(count, bytes)?);
    };
    if count.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "expected {count} values of {size} bytes for {dtype}, got {} bytes",
            bytes.len()
        ));
    }
    match dtype {
        DType::Bool => {
            let values = bytes.to_vec();
            check_range(dtype, &values, |value| value <= 1)?;
            Ok(singles(values, f32::from))
        }
        DType::Uint8 => Ok(singles(bytes.to_vec(), f32::from)),
        DType::Int8 => Ok(singles(fixed(&bytes, i8::from_le_bytes), f32::from)),
        DType::Uint16 => Ok(singles(fixed(&bytes, u16::from_le_bytes), f32::from)),
        DType::Int16 => Ok(singles(fixed(&bytes, i16::from_le_bytes), f32::from)),
        DType::Fp16 => Ok(singles(fixed(&bytes, f16::from_le_bytes), f32::from)),
        DType::Uint32 => Ok(doubles(fixed(&bytes, u32::from_le_bytes), f64::from)),
        DType::Int32 => Ok(doubles(fixed(&bytes, i32::from_le_bytes), f64::from)),
        DType::Fp32 => Ok(Values::F32(fixed(&bytes, f32::from_le_bytes))),
        DType::Uint64 => from_u64(fixed(&bytes, u64::from_le_bytes)),
        DType::Int64 => from_i64(fixed(&bytes, i64::from_le_bytes)),
        DType::Fp64 => Ok(Values::F64(fixed(&bytes, f64::from_le_bytes))),
        DType::Bytes => Err("expected lengths and bytes".to_string()),
    }
}

/// Values of `N` bytes each; a remainder is left out, and there is none.
fn fixed<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (values, _rest) = bytes.as_chunks::<N>();
    values.iter().map(|value| read(*value)).collect()
}

/// Strings with a u32 length before each.
fn strings(count: usize, mut bytes: Bytes) -> Result<Vec<Bytes>, String> {
    // A length takes four bytes: a larger count cannot be there, and nothing is reserved for it.
    let mut strings = Vec::with_capacity(count.min(bytes.len() / 4));
    while !bytes.is_empty() {
        let index = strings.len();
        let broken = || format!("value {index}: expected a 4-byte length and that many bytes");
        let len = bytes.try_get_u32_le().map_err(|_short| broken())?;
        let len = usize::try_from(len).map_err(|_large| broken())?;
        if len > bytes.len() {
            return Err(broken());
        }
        strings.push(bytes.split_to(len));
    }
    Ok(strings)
}

fn texts(strings: Vec<Bytes>) -> Result<Values, String> {
    let mut cells = Vec::with_capacity(strings.len());
    for (index, string) in strings.into_iter().enumerate() {
        let text = String::from_utf8(string.into())
            .map_err(|_broken| format!("value {index}: expected UTF-8"))?;
        cells.push(Cell::Text(text));
    }
    Ok(Values::Cells(cells))
}

fn from_i64(values: Vec<i64>) -> Result<Values, String> {
    check_exact(&values, |value| value.unsigned_abs())?;
    Ok(doubles(values, |value| value as f64))
}

fn from_u64(values: Vec<u64>) -> Result<Values, String> {
    check_exact(&values, |value| value)?;
    Ok(doubles(values, |value| value as f64))
}

fn check_exact<T: Copy>(values: &[T], magnitude: impl Fn(T) -> u64) -> Result<(), String> {
    match values.iter().position(|it| magnitude(*it) > EXACT_MAX) {
        None => Ok(()),
        Some(index) => Err(format!("value {index}: expected at most 2^53 either way")),
    }
}

fn check_range<T: Copy>(
    dtype: DType,
    values: &[T],
    fits: impl Fn(T) -> bool,
) -> Result<(), String> {
    match values.iter().position(|value| !fits(*value)) {
        None => Ok(()),
        Some(index) => Err(format!("value {index} is out of the range of {dtype}")),
    }
}

fn singles<T>(values: Vec<T>, convert: impl Fn(T) -> f32) -> Values {
    Values::F32(values.into_iter().map(convert).collect())
}

fn doubles<T>(values: Vec<T>, convert: impl Fn(T) -> f64) -> Values {
    Values::F64(values.into_iter().map(convert).collect())
}

#[cfg(test)]
mod tests;
