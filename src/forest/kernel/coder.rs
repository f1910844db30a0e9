//! Rows to codes: for every feature, how many of its thresholds the value has reached.
//!
//! Up to 256 thresholds of a feature are searched in two steps, without a branch: sixteen pivots,
//! every sixteenth threshold, say which group of sixteen to count in. NaN pads both, as no value
//! reaches it. More thresholds are searched by halving.

use super::coded::{CategoryFeature, Coded, NumberFeature, NumberLane};
use super::machine::Machine;
use super::real::Real;
use crate::forest::CategoryRule;
use crate::forest::reference::ZERO_THRESHOLD;

/// What makes codes of rows.
#[derive(Debug)]
pub struct Coder<T> {
    /// Values of a row.
    features: usize,
    /// Bytes of a coded row.
    lanes: usize,
    /// Small features with one lane.
    single: Vec<Small<1>>,
    /// Small features with two lanes.
    double: Vec<Small<2>>,
    /// For each small feature: 16 pivots, then groups of 16 thresholds.
    groups: Vec<T>,
    large: Vec<Large<T>>,
    categories: Vec<CategoryFeature>,
}

/// A feature with at most 255 thresholds whose only missing value is NaN: one or two lanes, as the
/// splits send NaN.
#[derive(Clone, Copy, Debug)]
struct Small<const LANES: usize> {
    feature: u32,
    /// Where its pivots begin in `groups`.
    pivots: u32,
    lanes: [u16; LANES],
    /// The codes of NaN in the lanes.
    missing: [u8; LANES],
}

/// Any other feature.
#[derive(Debug)]
struct Large<T> {
    feature: usize,
    thresholds: Vec<T>,
    lanes: Vec<(NumberLane, u8)>,
}

/// Thresholds of a group, and pivots of a feature.
pub const GROUP: usize = 16;
/// Thresholds of a [`Small`] feature: their count must fit a code.
const SMALL_MAX: usize = 255;

impl<T: Real> Coder<T> {
    /// Takes the features of a forest over codes.
    pub fn new(features: usize, coded: &mut Coded<T>) -> Coder<T> {
        let mut coder = Coder {
            features,
            lanes: coded.lanes,
            single: Vec::new(),
            double: Vec::new(),
            groups: Vec::new(),
            large: Vec::new(),
            categories: std::mem::take(&mut coded.categories),
        };
        for number in std::mem::take(&mut coded.numbers) {
            coder.add(number);
        }
        coder
    }

    /// Bytes of a coded row that lanes name.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Values of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        let large: usize = self
            .large
            .iter()
            .map(|large| {
                size_of_val(large.thresholds.as_slice()) + size_of_val(large.lanes.as_slice())
            })
            .sum();
        let tables: usize = self.categories.iter().map(|one| one.table.len()).sum();
        size_of_val(self.single.as_slice())
            + size_of_val(self.double.as_slice())
            + size_of_val(self.groups.as_slice())
            + large
            + tables
    }

    fn add(&mut self, number: NumberFeature<T>) {
        let zero = number.thresholds.partition_point(|at| *at <= T::default());
        let lanes: Vec<(NumberLane, u8)> = number
            .lanes
            .iter()
            .map(|lane| (*lane, lane.missing_code(zero)))
            .collect();
        let only_nan = lanes.iter().all(|(lane, _)| !lane.zero_is_missing());
        if number.thresholds.len() > SMALL_MAX || !only_nan {
            self.add_large(number, lanes);
            return;
        }
        let (feature, pivots) = (number.feature as u32, self.groups.len() as u32);
        match lanes[..] {
            [(lane, missing)] => self.single.push(Small {
                feature,
                pivots,
                lanes: [lane.lane],
                missing: [missing],
            }),
            [(first, first_missing), (second, second_missing)] => self.double.push(Small {
                feature,
                pivots,
                lanes: [first.lane, second.lane],
                missing: [first_missing, second_missing],
            }),
            _ => {
                self.add_large(number, lanes);
                return;
            }
        }
        let nan = T::of(f64::NAN);
        let groups = number.thresholds.len() / GROUP + 1;
        let at = |index: usize| number.thresholds.get(index).copied().unwrap_or(nan);
        self.groups
            .extend((0..GROUP).map(|pivot| at(pivot * GROUP + GROUP - 1)));
        self.groups.extend((0..groups * GROUP).map(at));
    }

    fn add_large(&mut self, number: NumberFeature<T>, lanes: Vec<(NumberLane, u8)>) {
        self.large.push(Large {
            feature: number.feature,
            thresholds: number.thresholds,
            lanes,
        });
    }

    /// Writes the codes of a row: lane `l` to `codes[l * stride]`. `row` is `[features]`.
    ///
    /// # Safety
    /// `codes` is valid for writes of `(lanes - 1) * stride + 1` bytes, `row` has `features`
    /// values, and the processor has the machine's instructions.
    #[inline(always)]
    pub unsafe fn code<M: Machine>(&self, row: &[T], codes: *mut u8, stride: usize) {
        debug_assert_eq!(row.len(), self.features);
        for small in &self.single {
            // SAFETY: as the caller promises.
            unsafe { self.code_small::<M, 1>(small, row, codes, stride) }
        }
        for small in &self.double {
            // SAFETY: as the caller promises.
            unsafe { self.code_small::<M, 2>(small, row, codes, stride) }
        }
        if !self.large.is_empty() || !self.categories.is_empty() {
            // SAFETY: as the caller promises.
            unsafe { self.code_others(row, codes, stride) }
        }
    }

    /// # Safety
    /// As [`Coder::code`].
    #[inline(always)]
    unsafe fn code_small<M: Machine, const LANES: usize>(
        &self,
        small: &Small<LANES>,
        row: &[T],
        codes: *mut u8,
        stride: usize,
    ) {
        // SAFETY: features are in range by `Forest::check`; pivots and the groups that they point at
        // were laid out by `add`, with one group more than full groups; lanes are below
        // `self.lanes`.
        unsafe {
            let value = *row.get_unchecked(small.feature as usize);
            let pivots = self.groups.as_ptr().add(small.pivots as usize);
            let group = M::reached(pivots, value);
            let within = M::reached(pivots.add(GROUP + group * GROUP), value);
            let count = (group * GROUP + within) as u8;
            let missing = value.partial_cmp(&value).is_none();
            for (lane, missing_code) in small.lanes.iter().zip(small.missing) {
                let code = if missing { missing_code } else { count };
                *codes.add(usize::from(*lane) * stride) = code;
            }
        }
    }

    /// # Safety
    /// As [`Coder::code`].
    #[inline(never)]
    unsafe fn code_others(&self, row: &[T], codes: *mut u8, stride: usize) {
        for large in &self.large {
            let value = row[large.feature];
            let count = large.thresholds.partition_point(|at| *at <= value);
            let wide: f64 = value.into();
            for (lane, missing_code) in &large.lanes {
                let missing =
                    wide.is_nan() || (lane.zero_is_missing() && wide.abs() <= ZERO_THRESHOLD);
                let code = if missing {
                    *missing_code
                } else {
                    lane.code(count)
                };
                // SAFETY: lanes are below `self.lanes`.
                unsafe { *codes.add(usize::from(lane.lane) * stride) = code };
            }
        }
        for category in &self.categories {
            let entry = category.entry(row[category.feature].into()) * category.lanes;
            let entry = &category.table[entry..entry + category.lanes];
            for (lane, code) in entry.iter().enumerate() {
                // SAFETY: lanes are below `self.lanes`.
                unsafe { *codes.add((category.first_lane + lane) * stride) = *code };
            }
        }
    }
}

impl CategoryFeature {
    /// The row of the table for a value.
    fn entry(&self, value: f64) -> usize {
        let others = self.codes();
        let code = match self.rule {
            _ if value.is_nan() => return others + 1,
            CategoryRule::NonNegative if (0.0..16_777_216.0).contains(&value) => value as usize,
            CategoryRule::Truncate if value > -1.0 && value < 2_147_483_648.0 => value as usize,
            _ => return others,
        };
        code.min(others)
    }
}
