//! Prefect 3: an alarm creates a flow run of a deployment. The alarm's id is the idempotency key, so a
//! second call finds the first one's run.
//!
//! A flow gets those of these parameters that it declares: `slot` (text), `revision` (whole number),
//! `features` (list of names, worst first), `reason` (a sentence), `alarm` (all of it, an object).

use serde_json::{Map, Value, json};

use super::airflow::basic;
use super::client::{Failure, Try, clean, segment};
use super::{Alarm, Secret, Url};

const WHO: &str = "Prefect";

/// A deployment and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefect {
    /// As in `PREFECT_API_URL`, see [`parse_url`].
    pub url: Url,
    pub deployment: Deployment,
    /// `user:password` as in `PREFECT_API_AUTH_STRING`, or a key as in `PREFECT_API_KEY`.
    pub auth: Option<Secret>,
}

/// A deployment by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    flow: String,
    name: String,
}

impl Deployment {
    /// # Errors
    /// When it is not `flow/deployment`.
    pub fn parse(text: &str) -> Result<Deployment, String> {
        match text.split_once('/') {
            Some((flow, name))
                if !flow.is_empty()
                    && !name.is_empty()
                    && !name.contains('/')
                    && !text.contains(char::is_control)
                    && text.len() <= 500 =>
            {
                Ok(Deployment {
                    flow: flow.to_string(),
                    name: name.to_string(),
                })
            }
            _ => Err("expected \"flow/deployment\"".to_string()),
        }
    }
}

/// The address of Prefect's API; `/api` is added where there is no path.
///
/// # Errors
/// When it is none.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse_base(text)?;
    match url.path().is_empty() {
        true => Url::parse_base(&format!("{}/api", url.origin())),
        false => Ok(url),
    }
}

impl Prefect {
    /// Creates the flow run, or finds it. Gives its id.
    pub(super) fn call(&self, attempt: &Try, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let base = format!("{}/deployments", self.url.expose());
        let auth = self.auth.as_ref().map(authorization);
        let Deployment { flow, name } = &self.deployment;
        let by_name = format!("{base}/name/{}/{}", segment(flow), segment(name));
        let found = attempt.get(&by_name, auth.as_deref())?;
        if !found.status.is_success() {
            return Err(found.failure(WHO));
        }
        let deployment = found.json();
        let Some(id) = deployment["id"].as_str() else {
            return Err(found.unexpected(WHO, "a deployment"));
        };
        let create = format!("{base}/{}/create_flow_run", segment(id));
        let body = json!({
            "parameters": parameters(&deployment, alarm),
            "idempotency_key": alarm.id,
            "tags": ["hedgerow", "drift"],
        });
        let created = attempt.post(&create, auth.as_deref(), "application/json", &body)?;
        if !created.status.is_success() {
            return Err(created.failure(WHO));
        }
        match created.json()["id"].as_str() {
            Some(run) => Ok(Some(clean(run))),
            None => Err(created.unexpected(WHO, "a flow run")),
        }
    }
}

/// A key has no colon.
fn authorization(auth: &Secret) -> String {
    match auth.expose().split_once(':') {
        Some((user, password)) => basic(user, password),
        None => format!("Bearer {}", auth.expose()),
    }
}

/// Those parameters that the deployment declares: others would fail the run.
fn parameters(deployment: &Value, alarm: &Alarm) -> Map<String, Value> {
    let declared = &deployment["parameter_openapi_schema"]["properties"];
    let names: Vec<&str> = alarm.features.iter().map(|f| f.name.as_str()).collect();
    let offered = [
        ("slot", json!(alarm.slot)),
        ("revision", json!(alarm.revision)),
        ("features", json!(names)),
        ("reason", json!(alarm.sentence())),
        ("alarm", json!(alarm)),
    ];
    offered
        .into_iter()
        .filter(|(name, _)| declared.get(name).is_some())
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}
