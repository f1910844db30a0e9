//! Values of a request, as JSON and as bytes, into tensors. Strict: a value that its datatype does
//! not hold is an error that names the tensor.

use std::borrow::Cow;

use super::json::{Kind, Reader};
use crate::error::Error;
use crate::tensor::{Cell, DType, Shape, Tensor, Values};

/// A nested or flat list of values.
#[derive(Debug)]
pub struct List {
    values: Values,
    /// Lengths of the lists at each depth.
    lengths: Shape,
    /// The depth that values lie at.
    depth: Option<usize>,
    /// A finite number was read that 32 bits do not hold.
    overflow: bool,
}

/// The largest integer up to which 64-bit floats hold every one.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Values that memory is taken for before any is read. A shape is only what a client says.
const RESERVED_MAX: usize = 1 << 16;

impl List {
    /// Reads a list of any depth, of about `count` values. With `dtype` FP32 its numbers are
    /// rounded to 32 bits at once, to what the nearest double rounds to.
    ///
    /// # Errors
    /// Where it is ragged or not made of numbers, strings, booleans and nulls.
    pub fn read(reader: &mut Reader<'_>, dtype: DType, count: usize) -> Result<List, Error> {
        // A value takes two bytes at the least, with its comma.
        let count = count.min(RESERVED_MAX).min(reader.left() / 2);
        let mut list = List {
            values: match dtype {
                DType::Fp32 => Values::F32(Vec::with_capacity(count)),
                _ => Values::F64(Vec::with_capacity(count)),
            },
            lengths: Shape::new(),
            depth: None,
            overflow: false,
        };
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
            if self.depth == Some(level + 1) {
                count += match &mut self.values {
                    Values::F32(values) => reader.numbers(|it| push(values, it.f32())),
                    Values::F64(values) => reader.numbers(|it| push(values, it.f64())),
                    Values::Cells(_) => 0,
                };
            }
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
            Kind::Number => self.push_number(reader.number()?),
            Kind::Text => match &*reader.text()? {
                "NaN" => self.push_number(f64::NAN),
                "Infinity" => self.push_number(f64::INFINITY),
                "-Infinity" => self.push_number(f64::NEG_INFINITY),
                text => self.push_text(text.to_string()),
            },
            Kind::Bool => self.push_number(f64::from(u8::from(reader.boolean()?))),
            Kind::Null => {
                reader.null()?;
                self.push_number(f64::NAN);
            }
            Kind::Object | Kind::Array => return Err(reader.error("expected a number or a string")),
        }
        Ok(())
    }

    fn push_number(&mut self, number: f64) {
        match &mut self.values {
            Values::F32(values) => {
                let single = number as f32;
                self.overflow |= single.is_infinite() && number.is_finite();
                values.push(single);
            }
            Values::F64(values) => values.push(number),
            Values::Cells(cells) => cells.push(Cell::Number(number)),
        }
    }

    fn push_text(&mut self, text: String) {
        let number = |number: f64| Cell::Number(number);
        let mut cells: Vec<Cell> = match &mut self.values {
            Values::Cells(cells) => return cells.push(Cell::Text(text)),
            Values::F32(values) => values.drain(..).map(|it| number(f64::from(it))).collect(),
            Values::F64(values) => values.drain(..).map(number).collect(),
        };
        cells.push(Cell::Text(text));
        self.values = Values::Cells(cells);
    }

    /// The list as it is, of the rows dialect: numbers are 64-bit floats.
    pub fn into_tensor(self, name: Cow<'_, str>) -> Tensor<'_> {
        Tensor {
            name,
            dtype: DType::Fp64,
            shape: self.lengths,
            values: self.values,
        }
    }

    /// The list, which was read as `dtype`, as a tensor of that datatype and a declared shape.
    ///
    /// # Errors
    /// When shape or values do not fit.
    pub fn into_typed(
        self,
        name: Cow<'_, str>,
        dtype: DType,
        shape: Shape,
    ) -> Result<Tensor<'_>, Error> {
        let count = elements(&name, &shape)?;
        let held = self.values.len();
        if held != count || (self.lengths.len() > 1 && self.lengths != shape) {
            return Err(Error::invalid(format!(
                "input \"{name}\": shape {shape:?} means {count} values, the data has {held} in {:?}",
                self.lengths
            )));
        }
        let values = match (dtype, self.values) {
            (DType::Bytes, Values::Cells(cells)) => Values::Cells(cells),
            (DType::Bytes, Values::F64(numbers)) => {
                // Only missing values are numbers where text is expected.
                if numbers.iter().any(|number| !number.is_nan()) {
                    return Err(Error::invalid(format!(
                        "input \"{name}\": expected strings, got a number"
                    )));
                }
                Values::Cells(numbers.into_iter().map(Cell::Number).collect())
            }
            (_, Values::Cells(_)) => {
                return Err(Error::invalid(format!(
                    "input \"{name}\": expected {dtype} numbers, got a string"
                )));
            }
            (_, Values::F32(_)) if self.overflow => {
                return Err(Error::invalid(format!(
                    "input \"{name}\": a number does not fit FP32"
                )));
            }
            (_, Values::F32(numbers)) => Values::F32(numbers),
            (_, Values::F64(numbers)) => {
                for number in &numbers {
                    check_number(&name, dtype, *number)?;
                }
                Values::F64(numbers)
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

/// Adds a number if there is one.
fn push<T>(values: &mut Vec<T>, number: Option<T>) -> bool {
    let there = number.is_some();
    values.extend(number);
    there
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
pub fn from_bytes<'a>(
    name: Cow<'a, str>,
    dtype: DType,
    shape: Shape,
    bytes: &[u8],
) -> Result<Tensor<'a>, Error> {
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

/// Appends a text as JSON.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Appends an integer.
pub fn write_integer(out: &mut Vec<u8>, integer: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
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
                write_text(out, label);
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
    use smallvec::smallvec;

    fn typed_list(text: &str, dtype: DType, shape: &[usize]) -> Result<Values, String> {
        let read = List::read(&mut Reader::new(text.as_bytes()), dtype, shape[0]);
        let tensor = read.and_then(|list| list.into_typed("x".into(), dtype, shape.into()));
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
            let tensor = from_bytes("x".into(), dtype, smallvec![2], &bytes).unwrap();
            let expected = match dtype {
                DType::Fp32 => Values::F32(vec![1.0, 0.0]),
                _ => Values::F64(vec![1.0, 0.0]),
            };
            assert_eq!(tensor.values, expected, "{dtype}");
            let short = from_bytes("x".into(), dtype, smallvec![3], &bytes).unwrap_err();
            assert!(short.message.contains("needs 3"), "{short}");
        }
        let labels = ["no".to_string(), "yes".to_string()];
        let mut bytes = Vec::new();
        write_bytes(&mut bytes, DType::Bytes, &labels, [1.0, 0.0].into_iter());
        let texts = from_bytes("x".into(), DType::Bytes, smallvec![2], &bytes).unwrap();
        assert_eq!(
            texts.values,
            Values::Cells(vec![Cell::Text("yes".into()), Cell::Text("no".into())])
        );
        for broken in [
            &bytes[..bytes.len() - 1],
            &bytes[..2],
            &[255, 255, 255, 255, 1],
        ] {
            assert!(from_bytes("x".into(), DType::Bytes, smallvec![2], broken).is_err());
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
