//! Airflow: an alarm triggers a run of a DAG. The run's id is made of the alarm's, so a second trigger
//! is refused as a duplicate (409), which is a delivery too. Airflow 3 wants a token and a logical
//! date, which is null; Airflow 2 takes the password with every request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::client::{Answer, Failure, Try, segment};
use super::{Alarm, Secret, Url};

const JSON: &str = "application/json";

/// What the ids of our runs begin with, as those of others do with `manual` and `scheduled`.
const RUN_TYPE: &str = "hedgerow";

/// A DAG and who may trigger it.
#[derive(Clone, Debug, PartialEq)]
pub struct Airflow {
    /// The address of the API server or webserver, see [`parse_url`].
    pub url: Url,
    /// The DAG's id, see [`parse_dag`].
    pub dag: String,
    pub version: Version,
    pub user: String,
    pub password: Secret,
}

/// Which API is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The newest one that the server has.
    #[default]
    Auto,
    /// `/api/v1`, basic authentication.
    Two,
    /// `/api/v2`, tokens.
    Three,
}

impl Version {
    /// # Errors
    /// When it is not `auto`, `2` or `3`.
    pub fn parse(text: &str) -> Result<Version, String> {
        match text {
            "auto" => Ok(Version::Auto),
            "2" => Ok(Version::Two),
            "3" => Ok(Version::Three),
            _ => Err("expected \"auto\", \"2\" or \"3\"".to_string()),
        }
    }
}

/// The address of Airflow without the API's path.
///
/// # Errors
/// When it is none.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse_base(text)?;
    if url.path().ends_with("/api/v1") || url.path().ends_with("/api/v2") {
        return Err("expected Airflow's address without /api/v1 or /api/v2".to_string());
    }
    Ok(url)
}

/// A DAG's id: what Airflow accepts for one.
///
/// # Errors
/// When it is none.
pub fn parse_dag(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 250 || !text.chars().all(plain) {
        return Err(
            "expected a DAG's id: 1 to 250 letters, digits, dashes, dots and underscores"
                .to_string(),
        );
    }
    Ok(text.to_string())
}

/// Calls one DAG, and remembers what it learnt on the way.
#[derive(Debug)]
pub(super) struct Caller {
    airflow: Airflow,
    session: Mutex<Session>,
}

/// What is learnt; forgotten when Airflow refuses a call.
#[derive(Default)]
struct Session {
    version: Option<Version>,
    token: Option<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "***");
        write!(f, "Session({:?}, {token:?})", self.version)
    }
}

impl Caller {
    pub fn new(airflow: Airflow) -> Caller {
        Caller {
            airflow,
            session: Mutex::default(),
        }
    }

    /// Triggers the run, or finds that it was triggered. Gives its id.
    pub fn call(&self, attempt: &Try, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let is_remembered = self.session().version.is_some();
        let mut started = self.trigger(attempt, alarm);
        if is_remembered && started.as_ref().is_err_and(|failure| failure.missing) {
            // The server was upgraded, or there is no such DAG.
            started = self.trigger(attempt, alarm);
        }
        started
    }

    /// Triggers the run by the version that is set, remembered or found; a refusal is a reason to
    /// forget.
    fn trigger(&self, attempt: &Try, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let started = match self.version(attempt)? {
            Version::Two => self.trigger_two(attempt, alarm),
            Version::Auto | Version::Three => self.trigger_three(attempt, alarm),
        };
        if started.as_ref().is_err_and(|failure| failure.permanent) {
            *self.session() = Session::default();
        }
        started
    }

    fn trigger_three(&self, attempt: &Try, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let url = self.path(&format!(
            "/api/v2/dags/{}/dagRuns",
            segment(&self.airflow.dag)
        ));
        let run = run_id(alarm);
        let body = json!({"dag_run_id": run, "logical_date": null, "conf": alarm});
        let post = |token: &str| attempt.post(&url, Some(&format!("Bearer {token}")), JSON, &body);
        let known = self.session().token.clone();
        if let Some(token) = known {
            let answer = post(&token)?;
            if !matches!(answer.status.as_u16(), 401 | 403) {
                return started(&answer, run);
            }
        }
        // None yet, or one that has expired.
        let token = self.token(attempt)?;
        started(&post(&token)?, run)
    }

    fn trigger_two(&self, attempt: &Try, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let url = self.path(&format!(
            "/api/v1/dags/{}/dagRuns",
            segment(&self.airflow.dag)
        ));
        let run = run_id(alarm);
        let body = json!({"dag_run_id": run, "conf": alarm});
        let basic = basic(&self.airflow.user, self.airflow.password.expose());
        started(&attempt.post(&url, Some(&basic), JSON, &body)?, run)
    }

    /// A new token, which is kept. Its refusal is told without Airflow's words: they may repeat the
    /// password.
    fn token(&self, attempt: &Try) -> Result<String, Failure> {
        const WHO: &str = "Airflow's /auth/token";
        self.session().token = None;
        let Airflow { user, password, .. } = &self.airflow;
        let body = json!({"username": user, "password": password.expose()});
        let answer = attempt.post(&self.path("/auth/token"), None, JSON, &body)?;
        if !answer.status.is_success() {
            return Err(answer.silent_failure(WHO));
        }
        match answer.json()["access_token"].as_str() {
            Some(token) => {
                self.session().token = Some(token.to_string());
                Ok(token.to_string())
            }
            None => Err(answer.unexpected(WHO, "a token")),
        }
    }

    /// The version that is set, or the newest that answers.
    fn version(&self, attempt: &Try) -> Result<Version, Failure> {
        if self.airflow.version != Version::Auto {
            return Ok(self.airflow.version);
        }
        let known = self.session().version;
        if let Some(version) = known {
            return Ok(version);
        }
        let mut reasons = Vec::new();
        for (version, path) in [
            (Version::Three, "/api/v2/version"),
            (Version::Two, "/api/v1/version"),
        ] {
            let answer = attempt.get(&self.path(path), None)?;
            if answer.status.is_success() && answer.json()["version"].is_string() {
                self.session().version = Some(version);
                return Ok(version);
            }
            let failure = answer.silent_failure(path);
            if !failure.permanent {
                return Err(failure);
            }
            reasons.push(failure.reason);
        }
        let reasons = reasons.join(", ");
        Err(Failure::permanent(format!("not an Airflow: {reasons}")))
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.airflow.url.expose())
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of the run of an alarm, at most 210 of the 250 characters that Airflow allows.
pub fn run_id(alarm: &Alarm) -> String {
    format!("{RUN_TYPE}__{}", alarm.id)
}

fn started(answer: &Answer, run: String) -> Result<Option<String>, Failure> {
    if answer.status.as_u16() == 409 {
        return Ok(Some(run));
    }
    if !answer.status.is_success() {
        return Err(answer.failure("Airflow"));
    }
    match answer.json()["dag_run_id"].is_string() {
        true => Ok(Some(run)),
        false => Err(answer.unexpected("Airflow", "a DAG run")),
    }
}

/// Basic authentication (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}
