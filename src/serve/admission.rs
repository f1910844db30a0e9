//! Who gets in: limits on requests in flight and on rows, and the drain at shutdown. A permit lives
//! from before the first work on a request until its answer is ready.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::extras::Extras;
use crate::error::{Code, Error};

/// Limits at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests in work at the same time, both protocols together. At least 1.
    pub in_flight_max: usize,
    /// Rows of one request. At least 1.
    pub rows_max: usize,
    /// Contributions, reasons and leaves of one request together: each takes 8 bytes until it is
    /// answered. At least 1.
    pub extra_values_max: usize,
}

/// The door.
#[derive(Debug)]
pub struct Admission {
    settings: Settings,
    in_flight: AtomicUsize,
    rows_in_flight: AtomicUsize,
    draining: AtomicBool,
    /// Requests refused because too many were in flight.
    pub shed_overload: AtomicU64,
    /// Requests refused because the server is draining.
    pub shed_draining: AtomicU64,
}

/// The right to be worked on. Given back when dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a Admission);

/// Rows that are in work until this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    rows_in_flight: &'a AtomicUsize,
    rows: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            in_flight_max: 1024,
            rows_max: 100_000,
            extra_values_max: 4_000_000,
        }
    }
}

impl Admission {
    /// An open door.
    pub fn new(settings: Settings) -> Admission {
        Admission {
            settings,
            in_flight: AtomicUsize::new(0),
            rows_in_flight: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            shed_overload: AtomicU64::new(0),
            shed_draining: AtomicU64::new(0),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// [`Code::Draining`] and [`Code::Overloaded`].
    pub fn enter(&self) -> Result<Permit<'_>, Error> {
        if self.draining.load(Ordering::Acquire) {
            self.shed_draining.fetch_add(1, Ordering::Relaxed);
            return Err(Error::new(Code::Draining, "the server is shutting down"));
        }
        // The permit counts first and is given back by its drop: two callers cannot both take the
        // last place.
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        let permit = Permit(self);
        if before >= self.settings.in_flight_max {
            self.shed_overload.fetch_add(1, Ordering::Relaxed);
            return Err(Error::overloaded(format!(
                "{} requests are in flight, the limit of admission.in_flight_max",
                self.settings.in_flight_max
            )));
        }
        Ok(permit)
    }

    /// Checks a request's number of rows.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for none, [`Code::TooLarge`] for too many.
    pub fn check_rows(&self, rows: usize) -> Result<(), Error> {
        if rows == 0 {
            return Err(Error::invalid("no rows; expected at least one"));
        }
        if rows > self.settings.rows_max {
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "{rows} rows in one request; admission.rows_max is {}",
                    self.settings.rows_max
                ),
            ));
        }
        Ok(())
    }

    /// Counts rows as in work.
    pub fn hold(&self, rows: usize) -> Held<'_> {
        self.rows_in_flight.fetch_add(rows, Ordering::Relaxed);
        Held {
            rows_in_flight: &self.rows_in_flight,
            rows,
        }
    }

    /// Checks the extra values of a request of this many rows.
    ///
    /// # Errors
    /// [`Code::TooLarge`].
    pub fn check_extras(&self, extras: &Extras, rows: usize) -> Result<(), Error> {
        extras.check_values(rows, self.settings.extra_values_max)
    }

    /// Requests in work now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Rows in work now: read, and not answered.
    pub fn rows_in_flight(&self) -> usize {
        self.rows_in_flight.load(Ordering::Relaxed)
    }

    /// Refuses new requests from now on; those in flight finish.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether new requests are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.rows_in_flight.fetch_sub(self.rows, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(in_flight_max: usize) -> Admission {
        Admission::new(Settings {
            in_flight_max,
            rows_max: 10,
            extra_values_max: 10,
        })
    }

    #[test]
    fn the_limit_holds_and_places_come_back() {
        let admission = admission(2);
        let one = admission.enter().unwrap();
        let _two = admission.enter().unwrap();
        let error = admission.enter().unwrap_err();
        assert_eq!(error.code, Code::Overloaded);
        assert!(error.retry_after.is_some());
        assert_eq!(admission.in_flight(), 2);
        drop(one);
        assert!(admission.enter().is_ok());
    }

    #[test]
    fn a_draining_door_lets_nobody_in() {
        let admission = admission(2);
        let _inside = admission.enter().unwrap();
        admission.drain();
        assert_eq!(admission.enter().unwrap_err().code, Code::Draining);
        assert_eq!(admission.in_flight(), 1);
    }

    #[test]
    fn rows_are_in_flight_while_they_are_held() {
        let admission = admission(2);
        let (three, four) = (admission.hold(3), admission.hold(4));
        assert_eq!(admission.rows_in_flight(), 7);
        drop(three);
        assert_eq!(admission.rows_in_flight(), 4);
        drop(four);
        assert_eq!(admission.rows_in_flight(), 0);
    }

    #[test]
    fn rows_have_a_limit() {
        let admission = admission(1);
        assert_eq!(
            admission.check_rows(0).unwrap_err().code,
            Code::InvalidArgument
        );
        assert!(admission.check_rows(10).is_ok());
        assert_eq!(admission.check_rows(11).unwrap_err().code, Code::TooLarge);
    }
}
