//! A few sessions of one model. ONNX Runtime's binding runs a session under `&mut`, so callers at
//! the same time each take one; more are made when all are out, up to the number of cores.

use std::sync::{Condvar, Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;

use crate::engine::EngineError;

/// Sessions of one model file.
pub struct Pool {
    environment: Environment,
    bytes: Vec<u8>,
    sessions: Mutex<Sessions>,
    returned: Condvar,
    limit: usize,
}

struct Sessions {
    idle: Vec<Session>,
    /// All sessions, idle or not.
    made: usize,
}

/// A counted session's way back into the pool.
struct Slot<'a> {
    pool: &'a Pool,
    /// Stays `None` when the caller panicked: the session is not used again.
    session: Option<Session>,
}

impl Pool {
    /// A pool with one session of the model in `bytes`.
    ///
    /// # Errors
    /// What ONNX Runtime says of the model.
    pub fn new(environment: Environment, bytes: Vec<u8>) -> Result<Pool, EngineError> {
        let first = session(&environment, &bytes).map_err(EngineError::Malformed)?;
        Ok(Pool {
            environment,
            bytes,
            sessions: Mutex::new(Sessions {
                idle: vec![first],
                made: 1,
            }),
            returned: Condvar::new(),
            limit: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// The bytes of the model that sessions are made from.
    pub fn model_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Runs `call` with a session. Waits while as many as there are cores are out.
    ///
    /// # Errors
    /// When one more session cannot be made.
    pub fn with<R>(&self, call: impl FnOnce(&mut Session) -> R) -> Result<R, EngineError> {
        let idle = self.take();
        let mut slot = Slot {
            pool: self,
            session: None,
        };
        let mut session = match idle {
            Some(session) => session,
            None => session(&self.environment, &self.bytes).map_err(EngineError::Failed)?,
        };
        let result = call(&mut session);
        slot.session = Some(session);
        Ok(result)
    }

    /// An idle session, or `None` when the caller is to make the one that is now counted.
    fn take(&self) -> Option<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = sessions.idle.pop() {
                return Some(session);
            }
            if sessions.made < self.limit {
                sessions.made += 1;
                return None;
            }
            sessions = self
                .returned
                .wait(sessions)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn session(environment: &Environment, bytes: &[u8]) -> Result<Session, String> {
    let builder = Session::builder(environment).map_err(|error| error.to_string())?;
    // One thread each: callers bring the parallelism, and sums keep their order.
    let builder = builder
        .with_intra_threads(1)
        .map_err(|error| error.to_string())?;
    let mut builder = builder
        .with_inter_threads(1)
        .map_err(|error| error.to_string())?;
    builder
        .commit_from_memory(bytes)
        .map_err(|error| error.to_string())
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("bytes", &self.bytes.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut sessions = self
            .pool
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match self.session.take() {
            Some(session) => sessions.idle.push(session),
            None => sessions.made -= 1,
        }
        drop(sessions);
        self.pool.returned.notify_one();
    }
}
