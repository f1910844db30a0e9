//! Answers that clients have not taken yet. Large ones share a budget, are handed to the connection
//! piece by piece, and are counted by it until their last byte is in the system's hands: a client that
//! never reads, or never opens its HTTP/2 window, neither keeps memory for ever nor takes all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;

use super::body::{Body, Budget, Charge};
use crate::error::Error;

/// The large answers of one connection that are not sent yet, by the turn in which they came.
#[derive(Debug, Default)]
pub struct Unsent {
    turn: AtomicUsize,
    counts: [AtomicUsize; 2],
}

/// An answer's bytes with what they are charged.
struct Held {
    bytes: Bytes,
    unsent: Arc<Unsent>,
    turn: usize,
    _charge: Charge,
}

/// Answers up to this size are not counted: the number of connections and their streams bounds them.
const SMALL: usize = 4 << 10;

impl Unsent {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.counts.iter().any(|it| it.load(Ordering::Relaxed) > 0)
    }

    /// Begins the next turn. Whether an answer of the turn before the one that ends is still here: it
    /// waited for a whole turn at the least, and for two at the most.
    pub fn turn(&self) -> bool {
        let next = 1 - self.turn.load(Ordering::Relaxed);
        let late = self.counts[next].load(Ordering::Relaxed) > 0;
        if !late {
            self.turn.store(next, Ordering::Relaxed);
        }
        late
    }

    /// Counts an answer until it is sent, and charges the budget for it.
    ///
    /// # Errors
    /// [`crate::error::Code::Overloaded`] when answers that were not taken leave it no room.
    pub fn hold(self: &Arc<Unsent>, body: &mut Body, budget: &Arc<Budget>) -> Result<(), Error> {
        let (Body::Whole(Some(bytes)) | Body::Message(Some(bytes), _)) = body else {
            return Ok(());
        };
        if bytes.len() <= SMALL {
            return Ok(());
        }
        let mut charge = Charge::new(budget);
        charge.raise(bytes.len())?;
        let turn = self.turn.load(Ordering::Relaxed);
        self.counts[turn].fetch_add(1, Ordering::Relaxed);
        *bytes = Bytes::from_owner(Held {
            bytes: std::mem::take(bytes),
            unsent: Arc::clone(self),
            turn,
            _charge: charge,
        });
        Ok(())
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unsent.counts[self.turn].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: usize) -> Body {
        Body::Whole(Some(vec![0; bytes].into()))
    }

    #[test]
    fn large_answers_are_charged_until_their_last_piece_is_gone() {
        let budget = Arc::new(Budget::new("server.answers_bytes_max", 10_000));
        let unsent = Arc::<Unsent>::default();
        let mut small = body(SMALL);
        unsent.hold(&mut small, &budget).unwrap();
        assert_eq!((budget.used(), unsent.any()), (0, false));
        let mut large = body(6000);
        unsent.hold(&mut large, &budget).unwrap();
        assert_eq!((budget.used(), unsent.any()), (6000, true));
        let error = unsent.hold(&mut body(6000), &budget);
        assert!(error.unwrap_err().message.contains("answers_bytes_max"));
        assert_eq!((budget.used(), budget.refused()), (6000, 1));
        let Body::Whole(Some(mut bytes)) = large else {
            panic!()
        };
        let piece = bytes.split_to(1);
        drop(bytes);
        assert!(unsent.any());
        drop(piece);
        assert_eq!((budget.used(), unsent.any()), (0, false));
    }

    #[test]
    fn an_answer_is_late_after_a_whole_turn() {
        let budget = Arc::new(Budget::new("server.answers_bytes_max", 100_000));
        let unsent = Arc::<Unsent>::default();
        let held = || {
            let mut large = body(6000);
            unsent.hold(&mut large, &budget).unwrap();
            large
        };
        let first = held();
        assert!(!unsent.turn());
        let second = held();
        drop(first);
        assert!(!unsent.turn());
        let third = held();
        assert!(unsent.turn());
        drop(second);
        assert!(!unsent.turn());
        drop(third);
        assert!(!unsent.any());
    }
}
