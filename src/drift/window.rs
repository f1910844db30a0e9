//! Counts over a short and a long time, in panes that add up: of one process's threads, and of the
//! replicas that share a journal. Knows no clock.

use std::collections::BTreeMap;

/// How long windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    pub short_ms: u64,
    pub long_ms: u64,
}

/// Rows of some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    /// As `Bins` has them.
    pub cells: Vec<u64>,
}

/// Counts of the time from `from_ms` to `to_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    pub from_ms: i64,
    pub to_ms: i64,
    pub counts: Counts,
}

/// The counts of a slot. A row is counted in an open pane; what ended joins the closed panes, and so
/// do other replicas' panes.
#[derive(Clone, Debug)]
pub struct Windows {
    lengths: Lengths,
    cells: usize,
    /// Rows that this process counted, by the start of their pane; at most `Lengths::open_max`.
    open: BTreeMap<i64, Counts>,
    fine: BTreeMap<i64, Counts>,
    coarse: BTreeMap<i64, Counts>,
}

/// Panes of a short window.
const FINE: u64 = 12;
/// Panes of a long window.
const COARSE: u64 = 24;
/// Short windows whose panes are kept: the one that is judged next and the one before.
const KEPT: i64 = 2;
/// What a record may wait before it is counted, in milliseconds.
pub const LATE_MS: i64 = 2_000;
/// How often replicas ask for each other's panes at the least, in milliseconds.
pub const ASK_MS: i64 = 10_000;

impl Lengths {
    /// Of a pane of the short window.
    pub fn fine_ms(self) -> i64 {
        step(self.short_ms, FINE)
    }

    fn coarse_ms(self) -> i64 {
        step(self.long_ms, COARSE).max(self.fine_ms())
    }

    /// Panes that are open at once: those that a late record may belong to, and one at each end.
    fn open_max(self) -> usize {
        (LATE_MS / self.fine_ms()).clamp(0, 1024) as usize + 3
    }

    /// Milliseconds after its end that a whole short window is judged; `shared`: when the panes of
    /// others are waited for.
    pub fn patience_ms(self, shared: bool) -> i64 {
        let others = match shared {
            true => self.fine_ms().min(ASK_MS) + 2_000,
            false => 0,
        };
        LATE_MS + 1_000 + others
    }

    /// The number of the last whole short window that is to be judged now.
    pub fn last_ended(self, now_ms: i64, shared: bool) -> i64 {
        let until_ms = now_ms.saturating_sub(self.patience_ms(shared));
        until_ms.div_euclid(self.tumbling_ms()).saturating_sub(1)
    }

    /// Panes of a slot at the most; each has 8 bytes per cell.
    #[cfg(test)]
    fn panes_max(self) -> usize {
        let late = (self.patience_ms(true) / self.fine_ms()) as usize;
        self.open_max() + (KEPT as usize + 1) * FINE as usize + late + COARSE as usize + 2
    }

    /// The length of short windows: a whole number of panes.
    pub fn tumbling_ms(self) -> i64 {
        self.fine_ms() * FINE as i64
    }
}

impl Counts {
    /// No rows.
    pub fn new(cells: usize) -> Counts {
        Counts {
            rows: 0,
            cells: vec![0; cells],
        }
    }

    /// Adds another's counts. Exact, in any order.
    pub fn add(&mut self, other: &Counts) {
        self.rows = self.rows.saturating_add(other.rows);
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            *cell = cell.saturating_add(*more);
        }
    }
}

impl Windows {
    /// Windows of so many cells.
    pub fn new(lengths: Lengths, cells: usize) -> Windows {
        Windows {
            lengths,
            cells,
            open: BTreeMap::new(),
            fine: BTreeMap::new(),
            coarse: BTreeMap::new(),
        }
    }

    /// The counts to add rows of this time to.
    pub fn open(&mut self, at_ms: i64) -> &mut Counts {
        let mut start = floor(at_ms, self.lengths.fine_ms());
        let is_new = !self.open.contains_key(&start);
        if is_new && self.open.len() >= self.lengths.open_max() {
            // A clock that jumps makes no more panes.
            start = self.open.keys().next_back().copied().unwrap_or(start);
        }
        let cells = self.cells;
        self.open.entry(start).or_insert_with(|| Counts::new(cells))
    }

    /// Closes the panes that ended at this time, which join the windows, and returns them by their
    /// start. `all`: those that did not end too, because nothing follows.
    pub fn close(&mut self, now_ms: i64, all: bool) -> Vec<(i64, Counts)> {
        let end = match all {
            true => i64::MAX,
            false => now_ms.saturating_sub(self.lengths.fine_ms()),
        };
        let mut ended = Vec::new();
        while let Some(first) = self.open.first_entry() {
            if *first.key() > end {
                break;
            }
            ended.push(first.remove_entry());
        }
        for (start, counts) in &ended {
            self.join(*start, counts, now_ms);
        }
        ended
    }

    /// Adds a closed pane: one of its own, or another replica's. What is too old is left out, and
    /// what has another number of cells.
    pub fn join(&mut self, start_ms: i64, counts: &Counts, now_ms: i64) {
        if counts.cells.len() != self.cells {
            return;
        }
        let cells = self.cells;
        let add = |panes: &mut BTreeMap<i64, Counts>, start: i64| {
            let pane = panes.entry(start).or_insert_with(|| Counts::new(cells));
            pane.add(counts);
        };
        let (fine, coarse) = (self.lengths.fine_ms(), self.lengths.coarse_ms());
        if self.is_recent(start_ms, now_ms) {
            add(&mut self.fine, floor(start_ms, fine));
        }
        if (self.long_start(now_ms)..=now_ms).contains(&floor(start_ms, coarse)) {
            add(&mut self.coarse, floor(start_ms, coarse));
        }
        self.forget(now_ms);
    }

    /// Lets go of panes that no window reaches any more.
    pub fn forget(&mut self, now_ms: i64) {
        let (recent, long) = (self.recent_start(now_ms), self.long_start(now_ms));
        self.fine.retain(|start, _| *start >= recent);
        self.coarse.retain(|start, _| *start >= long);
    }

    /// The rows of the last `short_ms`, to the pane.
    pub fn short(&self, now_ms: i64) -> Sum {
        let fine = self.lengths.fine_ms();
        let first = floor(now_ms, fine).saturating_sub(fine.saturating_mul(FINE as i64 - 1));
        self.sum(&self.fine, first, first, now_ms)
    }

    /// The rows of the last `long_ms`, to the pane.
    pub fn long(&self, now_ms: i64) -> Sum {
        let first = self.long_start(now_ms);
        self.sum(&self.coarse, first, first, now_ms)
    }

    /// The rows of the whole short window with this number: from `number` × its length on. Closed
    /// panes only.
    pub fn tumbling(&self, number: i64) -> Counts {
        let length = self.lengths.tumbling_ms();
        let start = number.saturating_mul(length);
        let mut sum = Counts::new(self.cells);
        for (_, pane) in self.fine.range(start..start.saturating_add(length)) {
            sum.add(pane);
        }
        sum
    }

    fn sum(&self, panes: &BTreeMap<i64, Counts>, first: i64, from_ms: i64, to_ms: i64) -> Sum {
        let mut counts = Counts::new(self.cells);
        for (_, pane) in panes.range(first..) {
            counts.add(pane);
        }
        for (_, pane) in self.open.range(first..) {
            counts.add(pane);
        }
        Sum {
            from_ms,
            to_ms,
            counts,
        }
    }

    fn is_recent(&self, start_ms: i64, now_ms: i64) -> bool {
        (self.recent_start(now_ms)..=now_ms).contains(&start_ms)
    }

    /// The start of the oldest whole short window that may still be judged.
    fn recent_start(&self, now_ms: i64) -> i64 {
        let length = self.lengths.tumbling_ms();
        let judged_ms = now_ms.saturating_sub(self.lengths.patience_ms(true));
        floor(judged_ms, length).saturating_sub(length.saturating_mul(KEPT - 1))
    }

    fn long_start(&self, now_ms: i64) -> i64 {
        let coarse = self.lengths.coarse_ms();
        floor(now_ms, coarse).saturating_sub(coarse.saturating_mul(COARSE as i64 - 1))
    }
}

fn step(length_ms: u64, panes: u64) -> i64 {
    i64::try_from(length_ms / panes)
        .unwrap_or(i64::MAX / 1024)
        .clamp(1, i64::MAX / 1024)
}

fn floor(at_ms: i64, step_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(step_ms))
}

#[cfg(test)]
mod tests;
