//! Values of a request, as JSON and as bytes, into tensors. Strict: a value that its datatype does
//! not hold is an error that names the tensor.

use super::json::{Kind, Reader};
use crate::error::Error;
use crate::tensor::{Cell, DType, Tensor, Values};

/// A nested or flat list of values, read before its datatype is known.
#[derive(Debug, Default)]
pub struct List {
    values: Scalars,
    /// Lengths of the lists at each depth.
    lengths: Vec<usize>,
    /// The depth that values lie at.
    depth: Option<usize>,
}

#[derive(Debug)]
enum Scalars {
    Numbers(Vec<f64>),
    Cells(Vec<Cell>),
}

/// The largest integer up to which 64-bit floats hold every one.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

impl Default for Scalars {
    fn default() -> Scalars {
        Scalars::Numbers(Vec::new())
    }
}

impl Scalars {
    fn push_number(&mut self, number: f64) {
        match self {
            Scalars::Numbers(numbers) => numbers.push(number),
            Scalars::Cells(cells) => cells.push(Cell::Number(number)),
        }
    }

    fn push_text(&mut self, text: String) {
        if let Scalars::Numbers(numbers) = self {
            *self = Scalars::Cells(numbers.drain(..).map(Cell::Number).collect());
        }
        if let Scalars::Cells(cells) = self {
            cells.push(Cell::Text(text));
        }
    }
}

impl List {
    /// Reads a list of any depth.
    ///
    /// # Errors
    /// Where it is ragged or not made of numbers, strings, booleans and nulls.
    pub fn read(reader: &mut Reader<'_>) -> Result<List, Error> {
        let mut list = List::default();
        list.read_level(reader, 0)?;
        Ok(list)
    }

    /// Its own shape.
    pub fn shape(&self) -> &[usize] {
        &self.lengths
    }

    fn read_level(&mut self, reader: &mut Reader<'_>, level: usize) -> Result<(), Error> {
        let mut count = 0;
        reader.array(|reader| {
            count += 1;
            if reader.kind()? == Kind::Array {
                if self.depth.is_some_and(|depth| level + 1 >= depth) {
                    return Err(reader.error("expected a value, got a list: the list is ragged"));
                }
                return self.read_level(reader, level + 1);
            }
            if *self.depth.get_or_insert(level + 1) != level + 1 {
                return Err(reader.error("expected a list, got a value: the list is ragged"));
            }
            self.read_scalar(reader)
        })?;
        if self.lengths.len() <= level {
            // Deeper levels were noted first.
            self.lengths.resize(level + 1, usize::MAX);
        }
        let known = &mut self.lengths[level];
        if *known != usize::MAX && *known != count {
            return Err(reader.error(&format!(
                "the list before it has {count} values, others have {known}: the list is ragged"
            )));
        }
        *known = count;
        Ok(())
    }

    fn read_scalar(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        match reader.kind()? {
            Kind::Number => self.values.push_number(reader.number()?),
            Kind::Text => match &*reader.text()? {
                "NaN" => self.values.push_number(f64::NAN),
                "Infinity" => self.values.push_number(f64::INFINITY),
                "-Infinity" => self.values.push_number(f64::NEG_INFINITY),
                text => self.values.push_text(text.to_string()),
            },
            Kind::Bool => self
                .values
                .push_number(f64::from(u8::from(reader.boolean()?))),
            Kind::Null => {
                reader.null()?;
                self.values.push_number(f64::NAN);
            }
            Kind::Object | Kind::Array => return Err(reader.error("expected a number or a string")),
        }
        Ok(())
    }

    /// The list as it is, of the rows dialect: numbers are 64-bit floats.
    pub fn into_tensor(self, name: String) -> Tensor {
        Tensor {
            name,
            dtype: DType::Fp64,
            shape: self.lengths,
            values: match self.values {
                Scalars::Numbers(numbers) => Values::F64(numbers),
                Scalars::Cells(cells) => Values::Cells(cells),
            },
        }
    }

    /// The list as a tensor of a declared datatype and shape.
    ///
    /// # Errors
    /// When shape or values do not fit.
    pub fn into_typed(
        self,
        name: String,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<Tensor, Error> {
        let count = elements(&name, &shape)?;
        let held = match &self.values {
            Scalars::Numbers(numbers) => numbers.len(),
            Scalars::Cells(cells) => cells.len(),
        };
        if held != count || (self.lengths.len() > 1 && self.lengths != shape) {
            return Err(Error::invalid(format!(
                "input \"{name}\": shape {shape:?} means {count} values, the data has {held} in {:?}",
                self.lengths
            )));
        }
        let values = match (dtype, self.values) {
            (DType::Bytes, Scalars::Cells(cells)) => Values::Cells(cells),
            (DType::Bytes, Scalars::Numbers(numbers)) => {
                // Only missing values are numbers where text is expected.
                if numbers.iter().any(|number| !number.is_nan()) {
                    return Err(Error::invalid(format!(
                        "input \"{name}\": expected strings, got a number"
                    )));
                }
                Values::Cells(numbers.into_iter().map(Cell::Number).collect())
            }
            (_, Scalars::Cells(_)) => {
                return Err(Error::invalid(format!(
                    "input \"{name}\": expected {dtype} numbers, got a string"
                )));
            }
            (_, Scalars::Numbers(numbers)) => {
                for number in &numbers {
                    check_number(&name, dtype, *number)?;
                }
                typed(dtype, numbers)
            }
        };
        Ok(Tensor {
            name,
            dtype,
            shape,
            values,
        })
    }
}

/// How many values a shape means.
///
/// # Errors
/// When the product does not fit.
pub fn elements(name: &str, shape: &[usize]) -> Result<usize, Error> {
    shape
        .iter()
        .try_fold(1_usize, |product, length| product.checked_mul(*length))
        .ok_or_else(|| Error::invalid(format!("input \"{name}\": the shape is too large")))
}

fn typed(dtype: DType, numbers: Vec<f64>) -> Values {
    if dtype == DType::Fp32 {
        return Values::F32(numbers.into_iter().map(|number| number as f32).collect());
    }
    Values::F64(numbers)
}

fn check_number(name: &str, dtype: DType, number: f64) -> Result<(), Error> {
    let range = match dtype {
        DType::Bool => (0.0, 1.0),
        DType::Uint8 => (0.0, 255.0),
        DType::Uint16 => (0.0, 65_535.0),
        DType::Uint32 => (0.0, 4_294_967_295.0),
        DType::Uint64 => (0.0, INTEGER_MAX),
        DType::Int8 => (-128.0, 127.0),
        DType::Int16 => (-32_768.0, 32_767.0),
        DType::Int32 => (-2_147_483_648.0, 2_147_483_647.0),
        DType::Int64 => (-INTEGER_MAX, INTEGER_MAX),
        DType::Fp32 if number.is_finite() && (number as f32).is_infinite() => {
            return Err(Error::invalid(format!(
                "input \"{name}\": a number does not fit FP32"
            )));
        }
        DType::Fp16 if number.is_finite() && number.abs() >= 65_520.0 => {
            return Err(Error::invalid(format!(
                "input \"{name}\": a number does not fit FP16"
            )));
        }
        DType::Fp16 | DType::Fp32 | DType::Fp64 | DType::Bytes => return Ok(()),
    };
    // A missing value passes: models know it, integers do not.
    let fits = number.is_nan() || (number.fract() == 0.0 && number >= range.0 && number <= range.1);
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "input \"{name}\": expected {dtype}, a whole number from {} to {}",
        range.0, range.1
    )))
}

/// A tensor of bytes as the binary tensor extension lays it out: little-endian, row-major; `BYTES`
/// as a 32-bit length before each value.
///
/// # Errors
/// When the bytes are not exactly the shape's values.
pub fn from_bytes(
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<Tensor, Error> {
    let count = elements(&name, &shape)?;
    if let Some(size) = dtype.size()
        && count.checked_mul(size) != Some(bytes.len())
    {
        return Err(Error::invalid(format!(
            "input \"{name}\": shape {shape:?} of {dtype} needs {count} × {size} bytes, got {}",
            bytes.len()
        )));
    }
    let values = match dtype {
        DType::Fp32 => Values::F32(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        ),
        DType::Fp64 => Values::F64(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect(),
        ),
        DType::Bytes => Values::Cells(texts(&name, count, bytes)?),
        _ => Values::F64(narrow(&name, dtype, bytes)?),
    };
    Ok(Tensor {
        name,
        dtype,
        shape,
        values,
    })
}

fn narrow(name: &str, dtype: DType, bytes: &[u8]) -> Result<Vec<f64>, Error> {
    let numbers: Vec<f64> = match dtype {
        DType::Bool | DType::Uint8 => bytes.iter().map(|b| f64::from(*b)).collect(),
        DType::Int8 => bytes.iter().map(|b| f64::from(b.cast_signed())).collect(),
        DType::Uint16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(u16::from_le_bytes(*b)))
            .collect(),
        DType::Int16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(i16::from_le_bytes(*b)))
            .collect(),
        DType::Fp16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| half::f16::from_le_bytes(*b).to_f64())
            .collect(),
        DType::Uint32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(u32::from_le_bytes(*b)))
            .collect(),
        DType::Int32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(i32::from_le_bytes(*b)))
            .collect(),
        DType::Uint64 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| u64::from_le_bytes(*b) as f64)
            .collect(),
        DType::Int64 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b) as f64)
            .collect(),
        DType::Fp32 | DType::Fp64 | DType::Bytes => Vec::new(),
    };
    for number in &numbers {
        check_number(name, dtype, *number)?;
    }
    Ok(numbers)
}

fn texts(name: &str, count: usize, bytes: &[u8]) -> Result<Vec<Cell>, Error> {
    let broken = |what: &str| Error::invalid(format!("input \"{name}\": {what}"));
    let mut rest = bytes;
    let mut cells = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((text, after)) = after.split_at_checked(length) else {
            return Err(broken("a BYTES value is longer than the data"));
        };
        let text = std::str::from_utf8(text).map_err(|_| broken("a BYTES value is not UTF-8"))?;
        cells.push(Cell::Text(text.to_string()));
        rest = after;
    }
    if !rest.is_empty() || cells.len() != count {
        return Err(broken(&format!(
            "expected {count} BYTES values, got {}",
            cells.len()
        )));
    }
    Ok(cells)
}

/// Appends values of an output as the binary tensor extension lays them out.
pub fn write_bytes(
    out: &mut Vec<u8>,
    dtype: DType,
    labels: &[String],
    values: impl Iterator<Item = f64>,
) {
    for value in values {
        match dtype {
            DType::Fp64 => out.extend_from_slice(&value.to_le_bytes()),
            DType::Int64 => out.extend_from_slice(&(value as i64).to_le_bytes()),
            DType::Int32 => out.extend_from_slice(&(value as i32).to_le_bytes()),
            DType::Bool => out.push(u8::from(value != 0.0)),
            DType::Bytes => {
                let label = labels.get(value as usize).map_or("", String::as_str);
                out.extend_from_slice(&(label.len() as u32).to_le_bytes());
                out.extend_from_slice(label.as_bytes());
            }
            _ => out.extend_from_slice(&(value as f32).to_le_bytes()),
        }
    }
}

/// Appends values of an output as JSON, without brackets. What JSON has no number for is a string.
pub fn write_json(
    out: &mut Vec<u8>,
    dtype: DType,
    labels: &[String],
    values: impl Iterator<Item = f64>,
) {
    let mut floats = zmij::Buffer::new();
    let mut integers = itoa::Buffer::new();
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let text = match dtype {
            DType::Bytes => {
                let label = labels.get(value as usize).map_or("", String::as_str);
                out.extend_from_slice(serde_json::Value::from(label).to_string().as_bytes());
                continue;
            }
            _ if value.is_nan() => "\"NaN\"",
            _ if value == f64::INFINITY => "\"Infinity\"",
            _ if value == f64::NEG_INFINITY => "\"-Infinity\"",
            DType::Fp64 => floats.format_finite(value),
            DType::Fp32 | DType::Fp16 => floats.format_finite(value as f32),
            DType::Bool if value == 0.0 => "false",
            DType::Bool => "true",
            _ => integers.format(value as i64),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed_list(text: &str, dtype: DType, shape: &[usize]) -> Result<Values, String> {
        let read = List::read(&mut Reader::new(text.as_bytes()));
        let tensor = read.and_then(|list| list.into_typed("x".to_string(), dtype, shape.to_vec()));
        tensor
            .map(|tensor| tensor.values)
            .map_err(|error| error.message)
    }

    #[test]
    fn nested_and_flat_data_are_the_same_tensor() {
        let expected = Ok(Values::F32(vec![1.0, 2.5, 3.0, 4.0]));
        assert_eq!(typed_list("[1,2.5,3,4]", DType::Fp32, &[2, 2]), expected);
        assert_eq!(
            typed_list("[[1,2.5],[3,4]]", DType::Fp32, &[2, 2]),
            expected
        );
        let missing = typed_list("[null,NaN,\"NaN\"]", DType::Fp32, &[3]).unwrap();
        assert!(
            matches!(missing, Values::F32(values) if values.iter().all(|value| value.is_nan()))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, dtype, shape, expected) in [
            ("[[1,2],[3]]", DType::Fp32, [2, 2], "ragged"),
            ("[[1,2],3]", DType::Fp32, [2, 2], "ragged"),
            ("[1,[2,3]]", DType::Fp32, [2, 2], "ragged"),
            (
                "[1,2,3]",
                DType::Fp32,
                [2, 2],
                "means 4 values, the data has 3",
            ),
            ("[[1,2,3,4]]", DType::Fp32, [2, 2], "means 4 values"),
            ("[1,2,3,\"a\"]", DType::Fp32, [2, 2], "got a string"),
            ("[1,2,3,1e39]", DType::Fp32, [2, 2], "does not fit FP32"),
            ("[1,2,3,1.5]", DType::Int32, [2, 2], "expected INT32"),
            ("[1,2,3,256]", DType::Uint8, [2, 2], "expected UINT8"),
            (
                "[1,2,3,9007199254740994]",
                DType::Int64,
                [2, 2],
                "expected INT64",
            ),
            ("[\"a\",\"b\",\"c\",1]", DType::Fp64, [2, 2], "got a string"),
            ("[1,1,1,1]", DType::Bytes, [2, 2], "expected strings"),
            ("[{}]", DType::Fp32, [1, 1], "expected a number or a string"),
        ] {
            let error = typed_list(text, dtype, &shape).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let huge = [usize::MAX, 2];
        assert!(
            typed_list("[1]", DType::Fp32, &huge)
                .unwrap_err()
                .contains("too large")
        );
    }

    #[test]
    fn bytes_read_back_as_they_were_written() {
        for dtype in [
            DType::Fp32,
            DType::Fp64,
            DType::Int64,
            DType::Int32,
            DType::Bool,
        ] {
            let mut bytes = Vec::new();
            write_bytes(&mut bytes, dtype, &[], [1.0, 0.0].into_iter());
            let tensor = from_bytes("x".to_string(), dtype, vec![2], &bytes).unwrap();
            let expected = match dtype {
                DType::Fp32 => Values::F32(vec![1.0, 0.0]),
                _ => Values::F64(vec![1.0, 0.0]),
            };
            assert_eq!(tensor.values, expected, "{dtype}");
            let short = from_bytes("x".to_string(), dtype, vec![3], &bytes).unwrap_err();
            assert!(short.message.contains("needs 3"), "{short}");
        }
        let labels = ["no".to_string(), "yes".to_string()];
        let mut bytes = Vec::new();
        write_bytes(&mut bytes, DType::Bytes, &labels, [1.0, 0.0].into_iter());
        let texts = from_bytes("x".to_string(), DType::Bytes, vec![2], &bytes).unwrap();
        assert_eq!(
            texts.values,
            Values::Cells(vec![Cell::Text("yes".into()), Cell::Text("no".into())])
        );
        for broken in [
            &bytes[..bytes.len() - 1],
            &bytes[..2],
            &[255, 255, 255, 255, 1],
        ] {
            assert!(from_bytes("x".to_string(), DType::Bytes, vec![2], broken).is_err());
        }
    }

    #[test]
    fn floats_are_written_shortest() {
        let mut out = Vec::new();
        let values = [f64::from(0.1_f32), 1.0, f64::NAN, f64::INFINITY];
        write_json(&mut out, DType::Fp32, &[], values.into_iter());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "0.1,1.0,\"NaN\",\"Infinity\""
        );
    }
}
