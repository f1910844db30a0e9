//! Numbers as they travel: datatypes, named tensors as a client sends them, and rows as an engine
//! reads them. Pure data: no parsing of any wire format, no knowledge of models.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

/// A datatype of the Open Inference Protocol, version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Fp32,
    Fp64,
    Bytes,
}

/// One tensor of a request, decoded but not yet checked against a model.
///
/// Every numeric datatype is held as `f32` or `f64`, whichever represents it exactly; decoders
/// refuse integers beyond ±2^53, so no value is ever rounded on the way in.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Empty when the dialect has no names (rows as plain lists).
    pub name: Cow<'a, str>,
    /// The datatype that the client declared.
    pub dtype: DType,
    /// Row-major; the product equals the number of values.
    pub shape: Shape,
    pub values: Values,
}

/// The tensors of a request: one, mostly.
pub type Tensors<'a> = Vec<Tensor<'a>>;

/// Dimensions of a tensor at the most; a request has two.
pub const RANK_MAX: usize = 8;

/// Lengths of a tensor's dimensions.
pub type Shape = SmallVec<[usize; 4]>;

/// The values of a [`Tensor`], row-major. NaN is a missing value.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Where text is among them: `BYTES` tensors, and rows that mix numbers and category names.
    Cells(Vec<Cell>),
}

/// One value of a client's row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NaN is a missing value.
    Number(f64),
    Text(String),
}

/// What an engine computes on: the element type of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    F32,
    F64,
}

/// Rows for an engine, `[len, width]`, row-major, NaN = missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    F32(Matrix<f32>),
    F64(Matrix<f64>),
}

/// A dense row-major matrix, `[len, width]`. The number of values is a multiple of the width.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<T> {
    values: Vec<T>,
    width: usize,
}

impl DType {
    /// All datatypes, in the protocol's order.
    pub const ALL: [DType; 13] = [
        DType::Bool,
        DType::Uint8,
        DType::Uint16,
        DType::Uint32,
        DType::Uint64,
        DType::Int8,
        DType::Int16,
        DType::Int32,
        DType::Int64,
        DType::Fp16,
        DType::Fp32,
        DType::Fp64,
        DType::Bytes,
    ];

    /// The protocol's name, e.g. `FP32`.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "BOOL",
            DType::Uint8 => "UINT8",
            DType::Uint16 => "UINT16",
            DType::Uint32 => "UINT32",
            DType::Uint64 => "UINT64",
            DType::Int8 => "INT8",
            DType::Int16 => "INT16",
            DType::Int32 => "INT32",
            DType::Int64 => "INT64",
            DType::Fp16 => "FP16",
            DType::Fp32 => "FP32",
            DType::Fp64 => "FP64",
            DType::Bytes => "BYTES",
        }
    }

    /// Bytes per element in the binary tensor extension; `None` for `BYTES`, which varies.
    pub fn size(self) -> Option<usize> {
        match self {
            DType::Bool | DType::Uint8 | DType::Int8 => Some(1),
            DType::Uint16 | DType::Int16 | DType::Fp16 => Some(2),
            DType::Uint32 | DType::Int32 | DType::Fp32 => Some(4),
            DType::Uint64 | DType::Int64 | DType::Fp64 => Some(8),
            DType::Bytes => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(name: &str) -> Result<DType, ()> {
        DType::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or(())
    }
}

impl Element {
    /// The datatype that carries this element without loss.
    pub fn dtype(self) -> DType {
        match self {
            Element::F32 => DType::Fp32,
            Element::F64 => DType::Fp64,
        }
    }
}

impl Tensor<'_> {
    /// Bytes that it holds, roughly.
    pub fn bytes(&self) -> usize {
        let text = |cell: &Cell| match cell {
            Cell::Number(_) => 0,
            Cell::Text(text) => text.len(),
        };
        let values = match &self.values {
            Values::F32(values) => 4 * values.len(),
            Values::F64(values) => 8 * values.len(),
            Values::Cells(cells) => {
                size_of::<Cell>() * cells.len() + cells.iter().map(text).sum::<usize>()
            }
        };
        size_of::<Self>() + self.name.len() + values
    }

    /// The same, independent of what its name was borrowed from.
    pub fn into_owned(self) -> Tensor<'static> {
        Tensor {
            name: Cow::Owned(self.name.into_owned()),
            dtype: self.dtype,
            shape: self.shape,
            values: self.values,
        }
    }
}

impl Values {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::Cells(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Copy> Matrix<T> {
    /// Rows of `width` values each, or `None` when the values do not fill whole rows.
    pub fn new(values: Vec<T>, width: usize) -> Option<Matrix<T>> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return None;
        }
        Some(Matrix { values, width })
    }

    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, row-major.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, row-major, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// One row after the other.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.values.chunks_exact(self.width)
    }
}

impl Rows {
    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        match self {
            Rows::F32(matrix) => matrix.width(),
            Rows::F64(matrix) => matrix.width(),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::F32(matrix) => matrix.len(),
            Rows::F64(matrix) => matrix.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the values.
    pub fn element(&self) -> Element {
        match self {
            Rows::F32(_) => Element::F32,
            Rows::F64(_) => Element::F64,
        }
    }

    /// Rows of `element` from doubles, each rounded to nearest for [`Element::F32`] (what numpy's
    /// `astype(float32)` gives). `None` when the values do not fill whole rows.
    pub fn from_f64(values: Vec<f64>, width: usize, element: Element) -> Option<Rows> {
        match element {
            Element::F64 => Matrix::new(values, width).map(Rows::F64),
            Element::F32 => {
                let values = values.into_iter().map(|value| value as f32).collect();
                Matrix::new(values, width).map(Rows::F32)
            }
        }
    }

    /// The rows with the given indices, in that order. Indices are below [`Rows::len`].
    pub fn select(&self, indices: &[usize]) -> Rows {
        match self {
            Rows::F32(matrix) => Rows::F32(matrix.select(indices)),
            Rows::F64(matrix) => Rows::F64(matrix.select(indices)),
        }
    }

    /// The rows `start..end`; `end` is at most [`Rows::len`].
    pub fn slice(&self, start: usize, end: usize) -> Rows {
        match self {
            Rows::F32(matrix) => Rows::F32(matrix.slice(start, end)),
            Rows::F64(matrix) => Rows::F64(matrix.slice(start, end)),
        }
    }

    /// Appends the rows of `other`. False, and nothing appended, when width or element differ.
    pub fn append(&mut self, other: &Rows) -> bool {
        match (self, other) {
            (Rows::F32(a), Rows::F32(b)) if a.width == b.width => {
                a.values.extend_from_slice(&b.values);
                true
            }
            (Rows::F64(a), Rows::F64(b)) if a.width == b.width => {
                a.values.extend_from_slice(&b.values);
                true
            }
            _ => false,
        }
    }
}

impl<T: Copy> Matrix<T> {
    fn slice(&self, start: usize, end: usize) -> Matrix<T> {
        Matrix {
            values: self.values[start * self.width..end * self.width].to_vec(),
            width: self.width,
        }
    }

    fn select(&self, indices: &[usize]) -> Matrix<T> {
        let mut values = Vec::with_capacity(indices.len() * self.width);
        for &index in indices {
            values.extend_from_slice(&self.values[index * self.width..(index + 1) * self.width]);
        }
        Matrix {
            values,
            width: self.width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_name_reads_back() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert_eq!("FP8".parse::<DType>(), Err(()));
    }

    #[test]
    fn a_matrix_holds_whole_rows_only() {
        assert!(Matrix::new(vec![1.0, 2.0, 3.0], 2).is_none());
        assert!(Matrix::<f32>::new(vec![], 0).is_none());
        let matrix = Matrix::new(vec![1.0, 2.0, 3.0, 4.0], 2).unwrap();
        assert_eq!(matrix.len(), 2);
        assert_eq!(matrix.rows().nth(1), Some([3.0, 4.0].as_slice()));
    }

    #[test]
    fn rows_are_selected_and_appended_by_row() {
        let mut rows = Rows::from_f64(vec![1.0, 2.0, 3.0, 4.0], 2, Element::F32).unwrap();
        let second = rows.select(&[1]);
        assert_eq!(
            second,
            Rows::from_f64(vec![3.0, 4.0], 2, Element::F32).unwrap()
        );
        assert!(rows.append(&second));
        assert_eq!(rows.len(), 3);
        let wider = Rows::from_f64(vec![1.0], 1, Element::F32).unwrap();
        assert!(!rows.append(&wider));
        assert_eq!(rows.len(), 3);
    }
}
