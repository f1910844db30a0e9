//! Triton's repository extension: what there is, loading and unloading.

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use base64::Engine;
use serde_json::{Map, Value, json};

use super::{Context, Routed, json_answer, whole_body};
use crate::error::Error;
use crate::model::slot::State as RevisionState;
use crate::source::Files;

/// Keys of Triton's model configuration that change nothing here.
const IGNORED: [&str; 4] = ["name", "platform", "backend", "max_batch_size"];

pub async fn index(State(context): State<Context>, request: Request) -> Routed {
    let body = whole_body(&context.shared, request).await?;
    let only_ready = object(&body)?
        .get("ready")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut rows = Vec::new();
    for slot in context.shared.server.registry.slots().values() {
        for (id, state) in slot.states() {
            let (state, reason) = match state {
                RevisionState::Ready => ("READY", String::new()),
                RevisionState::Settling => ("LOADING", "waiting until its files hold still".into()),
                RevisionState::Loading => ("LOADING", String::new()),
                RevisionState::Unavailable(reason) => ("UNAVAILABLE", reason),
            };
            if only_ready && state != "READY" {
                continue;
            }
            rows.push(json!({
                "name": slot.name, "version": id.to_string(), "state": state, "reason": reason,
            }));
        }
    }
    Ok(json_answer(&Value::from(rows)))
}

pub async fn load(
    State(context): State<Context>,
    Path(model): Path<String>,
    request: Request,
) -> Routed {
    context.shared.check_control(context.listener)?;
    let body = whole_body(&context.shared, request).await?;
    let body = object(&body)?;
    let parameters = body.get("parameters").and_then(Value::as_object);
    let (revision, files) = match parameters {
        Some(parameters) => (wanted(parameters)?, files(parameters)?),
        None => (None, Files::new()),
    };
    context
        .shared
        .repository
        .load(&model, revision, files)
        .await?;
    Ok(empty())
}

pub async fn unload(State(context): State<Context>, Path(model): Path<String>) -> Routed {
    context.shared.check_control(context.listener)?;
    context.shared.repository.unload(&model).await?;
    Ok(empty())
}

fn empty() -> Response {
    json_answer(&json!({}))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Error> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| Error::invalid(format!("body: {error}")))
}

/// The revision that the parameter `config` asks for.
fn wanted(parameters: &Map<String, Value>) -> Result<Option<u64>, Error> {
    match parameters.get("config") {
        None => Ok(None),
        Some(Value::String(config)) => revision_of_config(config),
        Some(_) => Err(Error::invalid(
            "parameter \"config\": expected a JSON object as a string",
        )),
    }
}

/// The one revision that a Triton model configuration asks for, if it does.
///
/// # Errors
/// When it is not a JSON object, or has a key that has no meaning here.
pub fn revision_of_config(config: &str) -> Result<Option<u64>, Error> {
    let config: Map<String, Value> = serde_json::from_str(config)
        .map_err(|error| Error::invalid(format!("parameter \"config\": {error}")))?;
    let known = |key: &str| IGNORED.contains(&key) || key == "version_policy";
    if let Some(key) = config.keys().find(|key| !known(key)) {
        return Err(Error::invalid(format!(
            "parameter \"config\": key \"{key}\" is not served"
        )));
    }
    let Some(policy) = config.get("version_policy") else {
        return Ok(None);
    };
    match policy["specific"]["versions"].as_array().map(Vec::as_slice) {
        Some([one]) if one.as_u64().is_some_and(|id| id > 0) => Ok(one.as_u64()),
        _ => Err(Error::invalid(
            "parameter \"config\": version_policy: expected {\"specific\": {\"versions\": [n]}}",
        )),
    }
}

/// Files in the request: `file:<revision>/<name>`, base64.
fn files(parameters: &Map<String, Value>) -> Result<Files, Error> {
    let mut files = Files::new();
    for (key, value) in parameters {
        let Some(path) = key.strip_prefix("file:") else {
            continue;
        };
        let place = path
            .split_once('/')
            .and_then(|(id, name)| Some((id.parse().ok()?, name)));
        let Some((id, name)) = place.filter(|(id, _): &(u64, &str)| *id > 0) else {
            return Err(Error::invalid(format!(
                "parameter \"{key}\": expected file:<revision>/<name>"
            )));
        };
        let decoded = value
            .as_str()
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        let Some(bytes) = decoded else {
            return Err(Error::invalid(format!(
                "parameter \"{key}\": expected base64"
            )));
        };
        let revision: &mut BTreeMap<String, Vec<u8>> = files.entry(id).or_default();
        revision.insert(name.to_string(), bytes);
    }
    if !files.is_empty() && !parameters.contains_key("config") {
        return Err(Error::invalid(
            "parameters: files need a \"config\" beside them; \"{}\" is enough",
        ));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_may_ask_for_one_revision() {
        assert_eq!(revision_of_config("{}"), Ok(None));
        let policy = r#"{"backend":"x","version_policy":{"specific":{"versions":[3]}}}"#;
        assert_eq!(revision_of_config(policy), Ok(Some(3)));
        for (config, expected) in [
            ("", "EOF"),
            (
                r#"{"instance_group":[]}"#,
                "\"instance_group\" is not served",
            ),
            (
                r#"{"version_policy":{"latest":{}}}"#,
                "expected {\"specific\"",
            ),
            (
                r#"{"version_policy":{"specific":{"versions":[1,2]}}}"#,
                "expected {\"specific\"",
            ),
        ] {
            let error = revision_of_config(config).unwrap_err().message;
            assert!(error.contains(expected), "{config}: {error}");
        }
    }

    #[test]
    fn files_need_a_place_and_a_configuration() {
        let parse = |text: &str| {
            let parameters: Map<String, Value> = serde_json::from_str(text).unwrap();
            files(&parameters).map_err(|error| error.message)
        };
        let good = parse(r#"{"config":"{}","file:2/model.txt":"dHJlZQ=="}"#).unwrap();
        assert_eq!(good[&2]["model.txt"], b"tree");
        assert!(
            parse(r#"{"file:2/model.txt":"dHJlZQ=="}"#)
                .unwrap_err()
                .contains("config")
        );
        assert!(
            parse(r#"{"config":"{}","file:x":""}"#)
                .unwrap_err()
                .contains("expected file:")
        );
        assert!(
            parse(r#"{"config":"{}","file:1/a":"?"}"#)
                .unwrap_err()
                .contains("expected base64")
        );
    }
}
