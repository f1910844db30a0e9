//! The prediction cache of a slot: results by row, bounded in bytes and time.
//!
//! A key is the revision's uid and the row's bits; the whole key is kept and compared, so a hash
//! collision cannot give another row's result. Concurrent equal misses compute once: the first
//! claims the row, the others wait for it, and compute themselves if the first one fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::tensor::Rows;

/// A prediction cache.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// Bytes of rows and results that it may hold; 0 turns it off.
    pub capacity_bytes: u64,
    /// Seconds that a result stays; 0 means until it is pushed out.
    pub ttl_s: u64,
}

/// Results by row.
#[derive(Debug)]
pub struct Cache {
    store: moka::sync::Cache<Key, Arc<[f64]>>,
    /// Rows that are being computed. Bounded by the rows in flight.
    flights: Mutex<HashMap<Key, Waiting>>,
}

/// The revision's uid and the row's bits.
type Key = Arc<[u8]>;

type Arrival = watch::Sender<Option<Arc<[f64]>>>;

/// Resolves to the result of a row that another caller computes.
pub type Waiting = watch::Receiver<Option<Arc<[f64]>>>;

/// Rows that one caller must compute. Dropped without [`Claim::finish`], it lets those who wait
/// compute themselves.
#[derive(Debug)]
pub struct Claim<'a> {
    cache: &'a Cache,
    flights: Vec<(Key, Arrival)>,
}

/// What a cache says of some rows.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// Row index and result.
    pub hits: Vec<(usize, Arc<[f64]>)>,
    /// Rows that the caller computes, in the order of `claim`.
    pub claimed: Vec<usize>,
    pub claim: Claim<'a>,
    /// Rows that another caller, or this one, computes already.
    pub joined: Vec<(usize, Waiting)>,
}

/// What an entry costs beside its bytes, roughly: moka's node, two reference counts.
const ENTRY_BYTES: usize = 160;

impl Cache {
    /// An empty cache, or `None` when the settings turn it off.
    pub fn new(settings: &Settings) -> Option<Cache> {
        if settings.capacity_bytes == 0 {
            return None;
        }
        let mut builder = moka::sync::Cache::builder()
            .max_capacity(settings.capacity_bytes)
            .weigher(|key: &Key, result: &Arc<[f64]>| {
                let bytes = key.len() + size_of_val::<[f64]>(result) + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            });
        if settings.ttl_s > 0 {
            builder = builder.time_to_live(Duration::from_secs(settings.ttl_s));
        }
        Some(Cache {
            store: builder.build(),
            flights: Mutex::default(),
        })
    }

    /// Looks rows up, and claims those that are neither known nor being computed.
    pub fn lookup(&self, revision_uid: u64, rows: &Rows) -> Lookup<'_> {
        let mut found = Lookup {
            hits: Vec::new(),
            claimed: Vec::new(),
            claim: Claim {
                cache: self,
                flights: Vec::new(),
            },
            joined: Vec::new(),
        };
        let mut missing = Vec::new();
        for (row, key) in keys(revision_uid, rows).into_iter().enumerate() {
            match self.store.get(&key) {
                Some(result) => found.hits.push((row, result)),
                None => missing.push((row, key)),
            }
        }
        if missing.is_empty() {
            return found;
        }
        let mut flights = self.flights();
        for (row, key) in missing {
            if let Some(waiting) = flights.get(&key) {
                found.joined.push((row, waiting.clone()));
                continue;
            }
            let (sender, waiting) = watch::channel(None);
            flights.insert(Arc::clone(&key), waiting);
            found.claimed.push(row);
            found.claim.flights.push((key, sender));
        }
        drop(flights);
        found
    }

    /// Entries and their bytes, roughly.
    pub fn size(&self) -> (u64, u64) {
        (self.store.entry_count(), self.store.weighted_size())
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Waiting>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Stores the results of the claimed rows, `[claimed, width]`, and hands them to those who wait.
    pub fn finish(self, results: &[f64], width: usize) {
        for ((key, sender), result) in self.flights.iter().zip(results.chunks_exact(width)) {
            let result: Arc<[f64]> = result.into();
            self.cache
                .store
                .insert(Arc::clone(key), Arc::clone(&result));
            sender.send_replace(Some(result));
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let mut flights = self.cache.flights();
        for (key, _) in &self.flights {
            flights.remove(key);
        }
    }
}

fn keys(revision_uid: u64, rows: &Rows) -> Vec<Key> {
    let prefix = revision_uid.to_le_bytes();
    match rows {
        Rows::F32(matrix) => matrix
            .rows()
            .map(|row| {
                let bits = row.iter().flat_map(|value| value.to_bits().to_le_bytes());
                prefix.into_iter().chain(bits).collect()
            })
            .collect(),
        Rows::F64(matrix) => matrix
            .rows()
            .map(|row| {
                let bits = row.iter().flat_map(|value| value.to_bits().to_le_bytes());
                prefix.into_iter().chain(bits).collect()
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Element;

    fn cache() -> Cache {
        let settings = Settings {
            capacity_bytes: 1 << 20,
            ttl_s: 0,
        };
        Cache::new(&settings).unwrap()
    }

    fn rows(values: &[f64]) -> Rows {
        Rows::from_f64(values.to_vec(), 1, Element::F64).unwrap()
    }

    #[test]
    fn a_finished_row_is_a_hit_for_its_revision_only() {
        let cache = cache();
        let first = cache.lookup(1, &rows(&[1.0, 2.0]));
        assert_eq!(first.claimed, [0, 1]);
        first.claim.finish(&[10.0, 20.0], 1);
        let second = cache.lookup(1, &rows(&[2.0, 3.0]));
        assert_eq!(second.hits, [(0, Arc::from([20.0]))]);
        assert_eq!(second.claimed, [1]);
        assert_eq!(cache.lookup(2, &rows(&[2.0])).claimed, [0]);
    }

    #[test]
    fn equal_misses_are_computed_once() {
        let cache = cache();
        let first = cache.lookup(1, &rows(&[1.0, 1.0]));
        assert_eq!((first.claimed.len(), first.joined.len()), (1, 1));
        let second = cache.lookup(1, &rows(&[1.0]));
        assert!(second.claimed.is_empty());
        first.claim.finish(&[10.0], 1);
        assert_eq!(
            second.joined[0].1.borrow().as_deref(),
            Some([10.0].as_slice())
        );
    }

    #[test]
    fn an_abandoned_claim_frees_the_row() {
        let cache = cache();
        let first = cache.lookup(1, &rows(&[1.0]));
        let waiting = cache.lookup(1, &rows(&[1.0])).joined.remove(0).1;
        drop(first);
        assert!(waiting.has_changed().is_err());
        assert_eq!(cache.lookup(1, &rows(&[1.0])).claimed, [0]);
    }

    #[test]
    fn nothing_is_kept_over_the_capacity() {
        let settings = Settings {
            capacity_bytes: 10_000,
            ttl_s: 0,
        };
        let cache = Cache::new(&settings).unwrap();
        for value in 0..1000 {
            let lookup = cache.lookup(1, &rows(&[f64::from(value)]));
            lookup.claim.finish(&[1.0], 1);
        }
        cache.store.run_pending_tasks();
        let (entries, bytes) = cache.size();
        assert!(
            entries > 0 && bytes <= 10_000,
            "{entries} entries, {bytes} bytes"
        );
        assert!(Cache::new(&Settings::default()).is_none());
    }
}
