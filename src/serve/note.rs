//! What a request notes on its way for the [`Recorder`]: its prediction id, its place among shares,
//! what it keeps of its features. Costs a comparison where nothing is recorded.

use std::sync::Arc;

use uuid::Uuid;

use super::record::{Input, Record, Recorder, Watch, new_id, now_ms};
use super::request::{InferRequest, KEY_MAX, Prediction};
use crate::error::Error;
use crate::model::revision::Revision;
use crate::model::signature::Read;
use crate::model::slot::{Roles, Slot};
use crate::tensor::{Tensor, Tensors};

/// The notes of one request.
#[derive(Debug)]
pub struct Note<'a> {
    watch: &'a Watch,
    /// `None`: not recorded.
    pub prediction: Option<Prediction>,
    kept: Option<Tensors<'static>>,
    /// Of a request that is only watched for drift: every how many rows one is.
    stride: usize,
}

/// Rows of one request that are watched for drift where they are not recorded.
const WATCHED_ROWS: usize = 1024;

/// What was computed of a request's rows.
#[derive(Debug)]
pub struct Computed {
    pub read: Read,
    /// `[rows, width]`, row-major.
    pub results: Vec<f64>,
    pub width: usize,
}

impl<'a> Note<'a> {
    /// The notes of a request of a slot that is watched so. Requests that ask for a revision by its
    /// id are not recorded: nobody assigned it.
    ///
    /// # Errors
    /// When the request's key is too long.
    pub fn new(watch: &'a Watch, request: &InferRequest<'_>) -> Result<Note<'a>, Error> {
        if let Some(key) = &request.key
            && (!(1..=KEY_MAX).contains(&key.len()) || key.contains('\0'))
        {
            return Err(Error::invalid(format!(
                "key (parameter \"key\" or header x-hedgerow-key): expected 1 to {KEY_MAX} bytes, none of them zero"
            )));
        }
        let prediction = (watch.is_on() && request.revision.is_none()).then(|| {
            let id = new_id();
            Prediction {
                id,
                holdout: places(id).1 < watch.holdout_share,
            }
        });
        Ok(Note {
            watch,
            prediction,
            kept: None,
            stride: 1,
        })
    }

    /// The request's place among shares, by its key or, without one, by its id.
    pub fn draw(&self, slot: &Slot, key: Option<&str>) -> f64 {
        match (key, &self.prediction) {
            (Some(key), _) => slot.draw(key.as_bytes()),
            (None, Some(prediction)) => slot.draw(prediction.id.as_bytes()),
            (None, None) => slot.draw(new_id().as_bytes()),
        }
    }

    /// Keeps what the caller sent, for revisions that read it in another way.
    pub fn keep(&mut self, tensors: &Tensors<'_>, recorder: &Recorder) {
        let fraction = self.watch.shadow_fraction;
        let is_shadowed = |it: Prediction| places(it.id).0 < fraction;
        if self.prediction.is_some_and(is_shadowed) && recorder.has_room() {
            let owned = tensors.iter().cloned().map(Tensor::into_owned);
            self.kept = Some(owned.collect());
        }
    }

    /// Whether a request of so many rows is recorded. What is not gets no id: no label would find it,
    /// and nobody is asked to let it through.
    fn admit(&mut self, recorder: &Recorder, slot: &Slot, rows: usize) -> bool {
        if self.prediction.is_some() && !recorder.admits(slot, rows) {
            self.prediction = None;
        }
        self.prediction.is_some()
    }

    /// What is to be kept of a request's rows: all where it is recorded, some where they are watched
    /// for drift, else nothing. `champion`: who answers, where it is the champion. What others answer is
    /// not watched, and takes nothing of what may be.
    pub fn rows(
        &mut self,
        recorder: &Recorder,
        slot: &Slot,
        champion: Option<&Revision>,
        read: &Read,
    ) -> Option<Read> {
        let count = read.rows.len();
        if self.admit(recorder, slot, count) {
            return Some(read.clone());
        }
        let stride = count.div_ceil(WATCHED_ROWS);
        let some = count.div_ceil(stride.max(1));
        if !self.watch.watches(champion?) || !recorder.watches(slot, some) {
            return None;
        }
        self.stride = stride;
        Some(match stride > 1 {
            false => read.clone(),
            true => read.every(stride),
        })
    }

    /// The results of the rows that are kept.
    pub fn results(&self, results: &[f64], width: usize) -> Vec<f64> {
        if self.stride <= 1 {
            return results.to_vec();
        }
        let rows = results.chunks_exact(width.max(1));
        rows.step_by(self.stride).flatten().copied().collect()
    }

    /// The record of an answered request.
    pub fn record(
        &mut self,
        slot: Arc<Slot>,
        roles: Arc<Roles>,
        answered: Arc<Revision>,
        computed: Computed,
    ) -> Record {
        let kept = self.prediction.is_some();
        let prediction = self.prediction.unwrap_or(Prediction {
            id: Uuid::nil(),
            holdout: false,
        });
        let at_ms = match kept {
            // The first 48 bits of a UUID of version 7.
            true => (prediction.id.as_u64_pair().0 >> 16) as i64,
            false => now_ms(),
        };
        Record {
            slot,
            roles,
            answered,
            id: prediction.id,
            key: None,
            at_ms,
            rows: computed.read.rows.len(),
            input: match self.kept.take() {
                None => Input::Rows(computed.read.rows),
                Some(tensors) => Input::Both(computed.read.rows, tensors),
            },
            unknown: computed.read.unknown,
            results: computed.results,
            width: computed.width,
            kept,
            shadow: kept && places(prediction.id).0 < self.watch.shadow_fraction,
            holdout: prediction.holdout,
        }
    }
}

/// Two independent places in [0, 1) of an id, of its random bits.
fn places(id: Uuid) -> (f64, f64) {
    let (_, low) = id.as_u64_pair();
    let one = (low >> 32) & 0x00ff_ffff;
    let two = low & 0xffff_ffff;
    (
        one as f64 / f64::from(1_u32 << 24),
        two as f64 / (f64::from(1_u32 << 31) * 2.0),
    )
}
