//! What is done with the leaf that a tree gives: added to its output's sum, in tree order.

use super::lines::{Line, ROWS};
use super::machine::{Leaves, Machine};
use super::planes::{Planes, lines_per_plane};
use super::real::Real;
use crate::forest::linear::LinearLeaves;

/// The sums of one row.
pub trait Sum {
    /// Adds leaf `leaf` of tree `tree`; leaves are numbered as the layout numbers them.
    ///
    /// # Safety
    /// The layout has this leaf, and the forest this tree.
    unsafe fn add(&mut self, tree: usize, leaf: usize);
}

/// One output.
pub struct One<'a, T> {
    pub sum: T,
    pub leaves: &'a [T],
}

/// Several outputs, one value per leaf.
pub struct Several<'a, T> {
    pub sums: &'a mut [T],
    pub leaves: &'a [T],
    pub output_of: &'a [u32],
}

/// Several values per leaf.
pub struct Wide<'a, T> {
    pub sums: &'a mut [T],
    pub leaves: &'a [T],
    pub output_of: &'a [u32],
    pub leaf_width: usize,
}

impl<T: Real> Sum for One<'_, T> {
    #[inline(always)]
    unsafe fn add(&mut self, _tree: usize, leaf: usize) {
        debug_assert!(leaf < self.leaves.len());
        // SAFETY: the caller's.
        self.sum = self.sum.plus(unsafe { *self.leaves.get_unchecked(leaf) });
    }
}

impl<T: Real> Sum for Several<'_, T> {
    #[inline(always)]
    unsafe fn add(&mut self, tree: usize, leaf: usize) {
        debug_assert!(leaf < self.leaves.len());
        // SAFETY: the caller's; outputs are in range by `Forest::check`.
        unsafe {
            let output = *self.output_of.get_unchecked(tree) as usize;
            let sum = self.sums.get_unchecked_mut(output);
            *sum = sum.plus(*self.leaves.get_unchecked(leaf));
        }
    }
}

impl<T: Real> Sum for Wide<'_, T> {
    #[inline(always)]
    unsafe fn add(&mut self, tree: usize, leaf: usize) {
        let output = self.output_of[tree] as usize;
        let values = &self.leaves[leaf * self.leaf_width..][..self.leaf_width];
        for (sum, value) in self.sums[output..].iter_mut().zip(values) {
            *sum = sum.plus(*value);
        }
    }
}

/// Linear models in leaves, one value per leaf; any number of outputs.
pub struct WithLinear<'a, T> {
    pub sums: &'a mut [T],
    pub leaves: &'a [T],
    pub output_of: &'a [u32],
    /// The tree's own number of each of the layout's leaves.
    pub own: &'a [u32],
    pub linear: &'a [LinearLeaves],
    pub row: &'a [T],
}

impl<T: Real> Sum for WithLinear<'_, T> {
    #[inline(always)]
    unsafe fn add(&mut self, tree: usize, leaf: usize) {
        let plain = self.leaves[leaf];
        let linear = &self.linear[tree];
        let value = if linear.constants.is_empty() {
            plain
        } else {
            T::of(linear.value(self.own[leaf] as usize, plain.into(), self.row))
        };
        let sum = &mut self.sums[self.output_of[tree] as usize];
        *sum = sum.plus(value);
    }
}

/// The sums of several rows, any width of leaves.
pub struct WideRows<'a, T> {
    /// `[rows, outputs]`
    pub sums: &'a mut [T],
    pub outputs: usize,
    pub leaves: &'a [T],
    pub output_of: &'a [u32],
    pub leaf_width: usize,
}

impl<T: Real> WideRows<'_, T> {
    /// Adds leaf `leaf` of tree `tree` to the sums of row `row`.
    ///
    /// # Safety
    /// The layout has this leaf, the forest this tree, and there are sums for the row.
    #[inline(always)]
    pub unsafe fn add(&mut self, row: usize, tree: usize, leaf: usize) {
        // SAFETY: the caller's; outputs are in range by `Forest::check`.
        unsafe {
            let first = row * self.outputs + *self.output_of.get_unchecked(tree) as usize;
            for value in 0..self.leaf_width {
                let sum = self.sums.get_unchecked_mut(first + value);
                *sum = sum.plus(*self.leaves.get_unchecked(leaf * self.leaf_width + value));
            }
        }
    }
}

/// The sums of a block of rows.
pub struct Blocks<'a, T> {
    /// `[outputs, rows]`
    pub sums: &'a mut [[T; ROWS]],
    /// By column.
    pub leaves: &'a [T],
    /// The same leaves, where the machine takes planes.
    pub planes: &'a Planes,
    pub output_of: &'a [u32],
    pub leaf_width: usize,
}

impl<T: Real> Blocks<'_, T> {
    /// Adds tree `tree`'s leaf of each row: leaf `first + line[row]`, of `count` leaves.
    ///
    /// # Safety
    /// The layout has these leaves, and the forest this tree; the processor has the machine's
    /// instructions.
    #[inline(always)]
    pub unsafe fn add<M: Machine>(&mut self, tree: usize, first: usize, count: usize, line: &Line) {
        // SAFETY: the caller's; outputs are in range by `Forest::check`.
        unsafe {
            let output = *self.output_of.get_unchecked(tree) as usize;
            let mut leaves = Leaves {
                values: self.leaves.as_ptr(),
                planes: std::ptr::null(),
            };
            let mut step = (count, 0);
            if M::PLANES {
                leaves.planes = self.planes.of(tree);
                step = (0, lines_per_plane(count) * size_of::<T>());
            } else {
                leaves.values = leaves.values.add(first * self.leaf_width);
            }
            for column in 0..self.leaf_width {
                let sums = self.sums.get_unchecked_mut(output + column);
                M::add_line(sums, leaves, count, line);
                leaves.values = leaves.values.add(step.0);
                leaves.planes = leaves.planes.wrapping_add(step.1);
            }
        }
    }
}
