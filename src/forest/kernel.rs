//! The evaluation of a [`Forest`] that serves, compared bit for bit with [`super::reference`] by
//! property tests.
//!
//! Rows become codes once ([`coder`]), and trees are laid out for comparing codes: [`heap`],
//! [`oblivious`], [`leaf_sets`], [`lines`] and [`walk`]. Which layouts serve one row and a block of
//! rows is measured when the kernel is made. What codes cannot represent is served by [`plain`].

#![expect(
    unsafe_code,
    reason = "vector instructions, and indices that are checked when trees are packed"
)]

mod bytes;
mod coded;
mod coder;
mod heap;
mod isa;
#[cfg(target_arch = "x86_64")]
mod leaf_sets;
mod lines;
mod machine;
mod oblivious;
mod packed;
mod packing;
mod plain;
mod planes;
mod real;
mod scratch;
mod sums;
mod walk;

use std::fmt;

use super::linear::linear_scores;
use super::{Arithmetic, Base, Combine, Forest};
pub use isa::Isa;
use packed::Packed;
pub use packing::Kind;
use plain::Plain;

/// A forest packed for evaluation. Immutable, shared by all threads.
#[derive(Debug)]
pub struct Kernel {
    forest: Forest,
    form: Form,
}

#[derive(Debug)]
enum Form {
    F32(Packed<f32>),
    F64(Packed<f64>),
    Plain(Plain, &'static str),
    /// A linear booster: no trees.
    Linear,
}

/// How a kernel evaluates.
#[derive(Clone, Debug, PartialEq)]
pub struct Layouts {
    /// For one row.
    pub one: &'static str,
    /// For a block of rows.
    pub block: &'static str,
    /// Rows from which a block is faster than one row after the other.
    pub block_from: usize,
    /// The instructions; `None` without codes.
    pub isa: Option<Isa>,
    /// Bytes of a coded row; 0 without codes.
    pub lanes: usize,
    /// Bytes of all that is packed, [`Forest`] left out, per split.
    pub bytes_per_split: f64,
    /// What was measured when the forest was packed.
    pub measured: Vec<Measured>,
    /// Why rows are not coded.
    pub without_codes: Option<&'static str>,
}

/// A layout's cost on rows made of the forest's own thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub layout: &'static str,
    /// Nanoseconds for one row; `None` where it does not serve one row.
    pub one_ns: Option<f64>,
    /// Nanoseconds per row of a block of 64; `None` where it does not serve blocks.
    pub block_row_ns: Option<f64>,
}

/// Where raw scores go: `[n, outputs]`, rows `stride` values apart.
#[derive(Debug)]
pub struct Scores<'a> {
    values: &'a mut [f64],
    stride: usize,
}

impl Kernel {
    /// Packs a forest that passed [`Forest::check`] and measures its layouts. `None` when it has
    /// 2^31 nodes or leaf values and more.
    pub fn new(forest: Forest) -> Option<Kernel> {
        Kernel::with(forest, Isa::detect(), None)
    }

    /// The same with no more than the instructions of `isa`, and with one kind of layout wherever
    /// it serves.
    pub fn with(forest: Forest, isa: Isa, only: Option<Kind>) -> Option<Kernel> {
        if !forest.linear.weights.is_empty() {
            let form = Form::Linear;
            return Some(Kernel { forest, form });
        }
        let packed = match (forest.combine, forest.arithmetic) {
            _ if !forest.linear.is_empty() => Err("linear parts"),
            (Combine::Min | Combine::Max, _) => Err("smallest or largest instead of sum"),
            (_, Arithmetic::F32) => Packed::new(&forest, isa, only).map(Form::F32),
            (_, Arithmetic::F64) => Packed::new(&forest, isa, only).map(Form::F64),
        };
        let form = match packed {
            Ok(form) => form,
            Err(why) => Form::Plain(Plain::new(&forest)?, why),
        };
        Some(Kernel { forest, form })
    }

    /// The forest that was packed.
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// How it evaluates.
    pub fn layouts(&self) -> Layouts {
        let splits: usize = self.forest.trees.iter().map(|tree| tree.splits.len()).sum();
        let bytes = self.memory_bytes() - self.forest.memory_bytes();
        let mut layouts = match &self.form {
            Form::F32(packed) => packed.layouts(),
            Form::F64(packed) => packed.layouts(),
            Form::Plain(_, why) => Layouts::without_codes("plain nodes", why),
            Form::Linear => Layouts::without_codes("weights", "a linear booster"),
        };
        layouts.bytes_per_split = bytes as f64 / splits.max(1) as f64;
        layouts
    }

    /// Writes the raw scores of rows `[n, features]`, NaN = missing, of the forest's arithmetic.
    pub fn raw_scores_f32(&self, rows: &[f32], scores: &mut Scores) {
        match &self.form {
            Form::F32(packed) => packed.raw_scores(rows, scores),
            Form::F64(packed) => {
                let rows: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
                packed.raw_scores(&rows, scores);
            }
            Form::Plain(plain, _) => plain.raw_scores(&self.forest, rows, scores),
            Form::Linear => self.linear_scores(rows, scores),
        }
    }

    /// Writes the raw scores of rows `[n, features]`, NaN = missing. Where the forest's arithmetic
    /// has 32 bits, every value is a 32-bit float.
    pub fn raw_scores_f64(&self, rows: &[f64], scores: &mut Scores) {
        match &self.form {
            Form::F64(packed) => packed.raw_scores(rows, scores),
            Form::F32(packed) => {
                let rows: Vec<f32> = rows.iter().map(|value| *value as f32).collect();
                packed.raw_scores(&rows, scores);
            }
            Form::Plain(plain, _) => plain.raw_scores(&self.forest, rows, scores),
            Form::Linear => self.linear_scores(rows, scores),
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        let form = match &self.form {
            Form::F32(packed) => packed.memory_bytes(),
            Form::F64(packed) => packed.memory_bytes(),
            Form::Plain(plain, _) => plain.memory_bytes(),
            Form::Linear => 0,
        };
        self.forest.memory_bytes() + form
    }

    fn linear_scores<T: Copy + Into<f64>>(&self, rows: &[T], scores: &mut Scores) {
        let Forest {
            linear,
            base,
            outputs,
            ..
        } = &self.forest;
        for (index, row) in rows.chunks_exact(self.forest.features).enumerate() {
            linear_scores(
                &linear.weights,
                base,
                row,
                &mut scores.row(index)[..*outputs],
            );
        }
    }
}

impl Layouts {
    fn without_codes(name: &'static str, why: &'static str) -> Layouts {
        Layouts {
            one: name,
            block: name,
            block_from: usize::MAX,
            isa: None,
            lanes: 0,
            bytes_per_split: 0.0,
            measured: Vec::new(),
            without_codes: Some(why),
        }
    }
}

impl<'a> Scores<'a> {
    /// Scores of a row begin every `stride` values, the first at the beginning of `values`.
    pub fn new(values: &'a mut [f64], stride: usize) -> Scores<'a> {
        Scores { values, stride }
    }

    /// The scores of a row, and what is after them.
    #[inline(always)]
    fn row(&mut self, index: usize) -> &mut [f64] {
        &mut self.values[index * self.stride..]
    }

    /// Without the rows before this one.
    fn skip(&mut self, row: usize) -> Scores<'_> {
        let start = (row * self.stride).min(self.values.len());
        Scores {
            values: &mut self.values[start..],
            stride: self.stride,
        }
    }
}

impl fmt::Display for Layouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = self.without_codes {
            return write!(f, "{} ({why})", self.one);
        }
        match self.block_from {
            usize::MAX => write!(f, "{}, row by row", self.one)?,
            from => write!(
                f,
                "{} for one row, {} from {from} rows on",
                self.one, self.block
            )?,
        }
        if let Some(isa) = self.isa {
            write!(f, "; {isa}")?;
        }
        write!(
            f,
            "; {} bytes a coded row, {:.1} bytes a split",
            self.lanes, self.bytes_per_split
        )
    }
}

/// The base scores where they come first. Else -0.0, to which adding leaves any first value as it
/// is, its sign included; 0.0 for an output that no tree adds to.
fn start(forest: &Forest) -> Vec<f64> {
    if forest.base_order == Base::First {
        return forest.base.clone();
    }
    let mut start = vec![0.0; forest.outputs];
    for tree in &forest.trees {
        start[tree.output..tree.output + tree.leaf_width].fill(-0.0);
    }
    start
}

#[cfg(test)]
mod tests;
