//! What is counted of one slot: at first perhaps rows to make a reference of, then windows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bins::Bins;
use super::build::{self, Cell, Kind};
use super::measure::{self, ROWS_PER_BIN};
use super::profile::{Broken, Profile, Source};
use super::report::{self, Reference, Verdict, Window};
use super::settings::SlotSettings;
use super::window::{Counts, Lengths, Sum, Windows};
use crate::engine::{Category, FeatureKind};
use crate::model::revision::{self, Revision};
use crate::model::score::Columns;
use crate::model::signature::Signature;
use crate::serve::record::Record;
use crate::tensor::Rows;

/// Values of a slot's rows that wait to become its reference.
const VALUES_MAX: usize = 4 << 20;

/// Features that are remembered of a window that was to be acted upon.
const ACTED_MAX: usize = 100;

/// The champion of a slot, counted.
pub struct Live {
    /// Unique in this process: another has other windows.
    pub instance: u64,
    pub uid: u64,
    pub revision: u64,
    pub mark: String,
    pub state: State,
    settings: Arc<SlotSettings>,
    columns: Option<Columns>,
    /// The fingerprint of the profile that the revision came with.
    came_with: Option<String>,
}

/// What its rows are counted for.
pub enum State {
    Collecting(Collected),
    /// Enough was collected, and the reference is being made.
    Making {
        wanted: usize,
    },
    /// The rows make no reference, and why.
    Failed(String),
    Ready(Watched),
}

/// The first rows that were served.
pub struct Collected {
    wanted: usize,
    width: usize,
    values: Vec<f64>,
    scores: Vec<f64>,
}

/// Windows against a reference.
pub struct Watched {
    pub bins: Arc<Bins>,
    pub windows: Windows,
    /// The whole short window that was judged last.
    pub judged: Option<i64>,
    /// Windows in a row whose verdict was `act`.
    pub held: u32,
    /// What the last of them was for.
    acted: BTreeSet<String>,
}

impl Live {
    /// Begins to count a revision.
    pub fn new(revision: &Revision, settings: Arc<SlotSettings>) -> Live {
        let state = match &revision.reference {
            revision::Reference::Ready(bins) => State::ready(Arc::clone(bins), &settings),
            _ => State::Collecting(Collected::new(revision, &settings)),
        };
        static INSTANCE: AtomicU64 = AtomicU64::new(1);
        Live {
            instance: INSTANCE.fetch_add(1, Ordering::Relaxed),
            uid: revision.uid,
            revision: revision.id,
            mark: revision.mark().to_string(),
            state,
            columns: Columns::of(revision),
            settings,
            came_with: came_with(revision),
        }
    }

    /// Goes on counting a revision that is the same model with the same profile, loaded again; false
    /// when it is another.
    pub fn goes_on(&mut self, revision: &Revision) -> bool {
        let is_same = self.revision == revision.id
            && self.mark == revision.mark()
            && self.came_with == came_with(revision);
        if is_same {
            self.uid = revision.uid;
        }
        is_same
    }

    /// What replicas call the counts by: those of one model against one reference add up. `None`
    /// until there is a reference.
    pub fn shared_as(&self) -> Option<String> {
        match &self.state {
            State::Ready(watched) => Some(format!("{}-{}", self.mark, watched.bins.fingerprint())),
            _ => None,
        }
    }

    /// Counts a record's rows.
    pub fn count(&mut self, record: &Record) {
        let score = |results: &[f64]| self.columns.map_or(f64::NAN, |it| it.single(results));
        let results = record.results.chunks_exact(record.width.max(1));
        match &mut self.state {
            State::Ready(watched) => {
                let Watched { bins, windows, .. } = watched;
                let counts = windows.open(record.at_ms);
                counts.rows = counts.rows.saturating_add(record.rows as u64);
                let cells = &mut counts.cells;
                match record.input.rows() {
                    Rows::F32(rows) => rows.rows().for_each(|row| bins.count(row, cells)),
                    Rows::F64(rows) => rows.rows().for_each(|row| bins.count(row, cells)),
                }
                // Rows that were served had them as missing, when the reference was made of them.
                if bins.profile().source == Source::Training {
                    for (_, column) in &record.unknown {
                        bins.recount_unseen(*column as usize, cells);
                    }
                }
                let threshold = self.settings.terms.threshold;
                results.for_each(|row| bins.count_score(score(row), threshold, cells));
            }
            State::Collecting(collected) => match record.input.rows() {
                Rows::F32(rows) => rows.rows().zip(results).for_each(|(row, results)| {
                    collected.add(row, score(results));
                }),
                Rows::F64(rows) => rows.rows().zip(results).for_each(|(row, results)| {
                    collected.add(row, score(results));
                }),
            },
            State::Making { .. } | State::Failed(_) => {}
        }
    }

    /// Takes out the rows to make a reference of, once they are enough.
    pub fn collected(&mut self) -> Option<Collected> {
        let State::Collecting(collected) = &self.state else {
            return None;
        };
        if collected.rows() < collected.wanted {
            return None;
        }
        let wanted = collected.wanted;
        match std::mem::replace(&mut self.state, State::Making { wanted }) {
            State::Collecting(collected) => Some(collected),
            _ => None,
        }
    }

    /// Whether there is no reference yet.
    pub fn wants_reference(&self) -> bool {
        matches!(self.state, State::Collecting(_) | State::Making { .. })
    }

    /// Begins to watch against this reference.
    pub fn watch(&mut self, bins: Arc<Bins>) {
        self.state = State::ready(bins, &self.settings);
    }

    /// Counts how many windows in a row are to be acted upon, this one included; `None` when it has
    /// too few rows, in all or of what was to be acted upon last, which changes nothing.
    pub fn held(&mut self, window: &Window) -> Option<u32> {
        let State::Ready(watched) = &mut self.state else {
            return None;
        };
        let all = || window.features.iter().chain(&window.score);
        let of = |verdict: Verdict| all().filter(move |it| it.verdict == verdict);
        match window.verdict {
            Verdict::Unknown => return None,
            Verdict::Act => {
                watched.held = watched.held.saturating_add(1);
                watched.acted = of(Verdict::Act)
                    .map(|it| it.name.clone())
                    .take(ACTED_MAX)
                    .collect();
            }
            Verdict::None | Verdict::Watch => {
                if of(Verdict::Unknown).any(|it| watched.acted.contains(&it.name)) {
                    return None;
                }
                watched.held = 0;
                watched.acted.clear();
            }
        }
        Some(watched.held)
    }

    /// Whether this window was judged, or a later one.
    pub fn is_judged(&self, number: i64) -> bool {
        match &self.state {
            State::Ready(watched) => watched.judged.is_some_and(|judged| judged >= number),
            _ => false,
        }
    }

    /// Judges a window that ended before this process began to count.
    pub fn judge_again(&mut self, number: i64, counts: Counts) {
        let settings = Arc::clone(&self.settings);
        let State::Ready(watched) = &mut self.state else {
            return;
        };
        watched.judged = Some(number);
        let length = settings.lengths.tumbling_ms();
        let sum = Sum {
            from_ms: number.saturating_mul(length),
            to_ms: number.saturating_mul(length).saturating_add(length),
            counts,
        };
        let length_ms = settings.lengths.short_ms;
        let window = measure::window(&watched.bins, &sum, "short", length_ms, &settings.terms);
        let _held = self.held(&window);
    }

    /// Its settings.
    pub fn settings(&self) -> &Arc<SlotSettings> {
        &self.settings
    }

    /// What its rows are compared with.
    pub fn reference(&self) -> Reference {
        match &self.state {
            State::Collecting(collected) => Reference::Collecting {
                rows: collected.rows() as u64,
                wanted: collected.wanted as u64,
            },
            State::Making { wanted } => Reference::Collecting {
                rows: *wanted as u64,
                wanted: *wanted as u64,
            },
            State::Failed(reason) => Reference::Refused {
                reason: reason.clone(),
            },
            State::Ready(watched) => {
                let profile = watched.bins.profile();
                Reference::Ready {
                    source: profile.source.name().to_string(),
                    rows: profile.rows,
                    fingerprint: watched.bins.fingerprint().to_string(),
                }
            }
        }
    }
}

impl State {
    fn ready(bins: Arc<Bins>, settings: &SlotSettings) -> State {
        let windows = Windows::new(settings.lengths, bins.len());
        State::Ready(Watched {
            bins,
            windows,
            judged: None,
            held: 0,
            acted: BTreeSet::new(),
        })
    }
}

impl Watched {
    /// The whole windows up to this one that were not judged, of those that are kept. From here on they
    /// count as judged.
    pub fn ended(&mut self, last: i64, lengths: Lengths) -> Vec<Sum> {
        let first = match self.judged {
            // Judged ahead of time: the clock was wrong then.
            Some(judged) if judged <= last => (judged + 1).max(last.saturating_sub(1)),
            Some(judged) if judged == last.saturating_add(1) => judged + 1,
            _ => last,
        };
        let length = lengths.tumbling_ms();
        let ended = first..=last;
        let sum = |number: i64| Sum {
            from_ms: number.saturating_mul(length),
            to_ms: number.saturating_mul(length).saturating_add(length),
            counts: self.windows.tumbling(number),
        };
        let sums: Vec<Sum> = ended.map(sum).collect();
        self.judged = Some(last);
        sums
    }

    /// What its windows show at this time, to be measured.
    pub fn sums(&self, now_ms: i64) -> Sums {
        Sums {
            bins: Arc::clone(&self.bins),
            short: self.windows.short(now_ms),
            long: self.windows.long(now_ms),
            held: self.held,
        }
    }
}

/// A slot's windows at one time.
pub struct Sums {
    bins: Arc<Bins>,
    short: super::window::Sum,
    long: super::window::Sum,
    pub held: u32,
}

impl Sums {
    /// Both windows, measured.
    pub fn measure(&self, settings: &SlotSettings) -> Vec<Window> {
        let terms = &settings.terms;
        let lengths = settings.lengths;
        vec![
            measure::window(&self.bins, &self.short, "short", lengths.short_ms, terms),
            measure::window(&self.bins, &self.long, "long", lengths.long_ms, terms),
        ]
    }
}

impl Collected {
    fn new(revision: &Revision, settings: &SlotSettings) -> Collected {
        let width = revision.signature.columns.len().max(1);
        Collected {
            wanted: settings.reference_rows.min(VALUES_MAX / width).max(1),
            width,
            values: Vec::new(),
            scores: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        self.scores.len()
    }

    fn add<T: Copy + Into<f64>>(&mut self, row: &[T], score: f64) {
        if self.rows() < self.wanted && row.len() == self.width {
            self.values.extend(row.iter().map(|value| (*value).into()));
            self.scores.push(score);
        }
    }

    /// The reference that the rows make. Takes up to a second.
    pub fn profile(&self, revision: &Revision, bins: usize) -> Profile {
        let signature = &revision.signature;
        let columns: Vec<(String, Kind)> = signature
            .columns
            .iter()
            .map(|column| (column.name.clone(), kind_of(&column.kind)))
            .collect();
        // As many rows in each bin as a verdict needs.
        let bins = bins.min(self.rows() / ROWS_PER_BIN as usize).max(2);
        let cell = |row: usize, column: usize| {
            let value = self.values.get(row * self.width + column);
            named(signature, column, value.copied().unwrap_or(f64::NAN))
        };
        Profile {
            score: build::score(bins, &self.scores),
            model: Some(revision.mark().to_string()),
            ..build::served(&columns, bins, self.rows(), cell)
        }
    }
}

fn came_with(revision: &Revision) -> Option<String> {
    match &revision.reference {
        revision::Reference::Ready(bins) => Some(bins.fingerprint().to_string()),
        _ => None,
    }
}

/// Numbers are watched as numbers, and so are codes without names.
fn kind_of(kind: &FeatureKind) -> Kind {
    match kind {
        FeatureKind::Category { categories, .. } if !categories.is_empty() => Kind::Category,
        _ => Kind::Number,
    }
}

/// A value of a row as the caller sent it: of a category its name.
fn named(signature: &Signature, column: usize, value: f64) -> Cell<'_> {
    let kind = signature.columns.get(column).map(|it| &it.kind);
    let Some(FeatureKind::Category { categories, .. }) = kind else {
        return Cell::Number(value);
    };
    match categories.get(value as usize) {
        Some(_) if value.is_nan() => Cell::Number(f64::NAN),
        Some(Category::Text(text)) => Cell::Text(text),
        Some(Category::Number(number)) => Cell::Number(*number),
        None => Cell::Number(value),
    }
}

/// The bins of a reference for a model.
///
/// # Errors
/// As [`Bins::new`].
pub fn bins(profile: Profile, revision: &Revision) -> Result<Arc<Bins>, Broken> {
    let columns = revision::columns(&revision.signature);
    Bins::new(profile, &columns).map(Arc::new)
}

/// The worst of the windows' verdicts.
pub fn verdict(windows: &[Window]) -> report::Verdict {
    let verdicts = windows.iter().map(|window| window.verdict);
    verdicts.max().unwrap_or(report::Verdict::Unknown)
}

/// A pane's counts of another process.
pub fn counts(rows: u64, cells: Vec<u64>) -> Counts {
    Counts { rows, cells }
}
