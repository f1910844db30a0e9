//! What a thread works on; kept between calls, so that serving allocates nothing.

use super::lines::{Line, ROWS, work_lines};
use super::real::Real;

/// Working memory of one thread. Grows to what the largest forest needs: 64 bytes per lane.
#[derive(Debug)]
pub struct Scratch<T> {
    /// One coded row, or a block: `[lanes]` lines, or `[ROWS]` rows of [`Scratch::stride`] bytes.
    pub codes: Vec<Line>,
    /// See [`work_lines`].
    pub work: Vec<Line>,
    /// `[outputs, ROWS]`
    pub sums: Vec<[T; ROWS]>,
    /// `[ROWS, outputs]`
    pub row_sums: Vec<T>,
}

/// Bytes of a coded row that are read as whole vectors, whatever the lanes.
const ROW_BYTES_MIN: usize = 256;

impl<T: Real> Scratch<T> {
    /// Nothing yet.
    pub const fn new() -> Scratch<T> {
        Scratch {
            codes: Vec::new(),
            work: Vec::new(),
            sums: Vec::new(),
            row_sums: Vec::new(),
        }
    }

    /// Bytes from one coded row to the next.
    pub fn stride(lanes: usize) -> usize {
        lanes.next_multiple_of(ROWS)
    }

    /// Makes room for a forest of that many [`Scratch::lines`] and outputs.
    #[inline(always)]
    pub fn fit(&mut self, lines: usize, outputs: usize) {
        if self.codes.len() < lines || self.sums.len() < outputs {
            self.grow(lines, outputs);
        }
    }

    /// Lines for the codes of a forest with this many lanes.
    pub fn lines(lanes: usize) -> usize {
        Self::stride(lanes).max(ROW_BYTES_MIN)
    }

    #[cold]
    fn grow(&mut self, lines: usize, outputs: usize) {
        if self.codes.len() < lines {
            self.codes.resize(lines, Line([0; ROWS]));
        }
        if self.work.is_empty() {
            self.work = work_lines();
        }
        if self.sums.len() < outputs {
            self.sums.resize(outputs, [T::default(); ROWS]);
            self.row_sums.resize(outputs * ROWS, T::default());
        }
    }
}
