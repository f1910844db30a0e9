//! Triton's repository extension: what is there, and loading and unloading where that is allowed.

use std::collections::HashMap;

use serde_json::Value;

use super::pb::model_repository_parameter::ParameterChoice;
use super::pb::repository_index_response::ModelIndex;
use super::{pb, revision_id, short};
use crate::api::{Listener, Shared};
use crate::error::Error;
use crate::model::slot::State;
use crate::serve::Server;
use crate::source::Files;

/// Every known revision of every slot, or the ready ones.
pub fn index(server: &Server, ready: bool) -> pb::RepositoryIndexResponse {
    let mut models = Vec::new();
    for (name, slot) in server.registry.slots().iter() {
        for (id, state) in slot.states() {
            if ready && state != State::Ready {
                continue;
            }
            let (state, reason) = match state {
                State::Ready => ("READY", String::new()),
                State::Loading => ("LOADING", String::new()),
                State::Settling => ("LOADING", "waiting until its files hold still".to_string()),
                State::Unavailable(reason) => ("UNAVAILABLE", reason),
            };
            models.push(ModelIndex {
                name: name.clone(),
                version: id.to_string(),
                state: state.to_string(),
                reason,
            });
        }
    }
    pb::RepositoryIndexResponse { models }
}

/// Loads a model; returns when it answers.
///
/// # Errors
/// When loading is not allowed here, for parameters that are not read, and what the repository says.
pub async fn load(
    shared: &Shared,
    listener: Listener,
    request: pb::RepositoryModelLoadRequest,
) -> Result<(), Error> {
    shared.check_control(listener)?;
    let (revision, files) = wanted(request.parameters)?;
    let repository = &shared.repository;
    repository.load(&request.model_name, revision, files).await
}

/// Unloads a model.
///
/// # Errors
/// When unloading is not allowed here, for parameters that are not read, and what the repository
/// says.
pub async fn unload(
    shared: &Shared,
    listener: Listener,
    request: &pb::RepositoryModelUnloadRequest,
) -> Result<(), Error> {
    shared.check_control(listener)?;
    // No model depends on another, so either value says the same.
    let unknown = |key: &&String| *key != "unload_dependents";
    if let Some(key) = request.parameters.keys().find(unknown) {
        let key = short(key);
        return Err(Error::invalid(format!(
            "unknown parameter \"{key}\"; expected unload_dependents"
        )));
    }
    shared.repository.unload(&request.model_name).await
}

/// The revision and the files that a load's parameters ask for.
fn wanted(
    parameters: HashMap<String, pb::ModelRepositoryParameter>,
) -> Result<(Option<u64>, Files), Error> {
    let mut revision = None;
    let mut files = Files::new();
    for (key, parameter) in parameters {
        let named = short(&key);
        let invalid =
            |expected: &str| Error::invalid(format!("parameter \"{named}\": expected {expected}"));
        match (key.strip_prefix("file:"), parameter.parameter_choice) {
            (Some(path), Some(ParameterChoice::BytesParam(bytes))) => {
                let (id, name) = file(path).ok_or_else(|| {
                    invalid("file:<version>/<name>, a positive integer and a file's name")
                })?;
                let names = files.entry(id).or_default();
                names.insert(name.to_string(), bytes.into());
            }
            (Some(_), _) => return Err(invalid("bytes_param")),
            (None, Some(ParameterChoice::StringParam(json))) if key == "config" => {
                revision = config(&json)?;
            }
            (None, _) if key == "config" => return Err(invalid("string_param")),
            (None, _) => {
                return Err(Error::invalid(format!(
                    "unknown parameter \"{named}\"; expected config or file:<version>/<name>"
                )));
            }
        }
    }
    Ok((revision, files))
}

/// A revision and the name of a file in its folder: no way out of it.
fn file(path: &str) -> Option<(u64, &str)> {
    let (id, name) = path.split_once('/')?;
    let plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    revision_id(id).filter(|_| plain).map(|id| (id, name))
}

/// The revision that Triton's configuration in JSON asks for. Of the rest, what says nothing here
/// is ignored and what would is refused.
fn config(json: &str) -> Result<Option<u64>, Error> {
    let Ok(Value::Object(config)) = serde_json::from_str(json) else {
        return Err(Error::invalid("config: expected a JSON object"));
    };
    let mut revision = None;
    for (key, value) in &config {
        match key.as_str() {
            "name" | "platform" | "backend" | "max_batch_size" => {}
            "version_policy" => {
                let id = specific(value).ok_or_else(|| {
                    Error::invalid(
                        "config: version_policy: expected {\"specific\": {\"versions\": [n]}} with one positive integer",
                    )
                })?;
                revision = Some(id);
            }
            unknown => {
                return Err(Error::invalid(format!(
                    "config: unknown key \"{}\"; expected name, platform, backend, max_batch_size or version_policy",
                    short(unknown)
                )));
            }
        }
    }
    Ok(revision)
}

/// The one version of a policy; protobuf's JSON writes 64-bit integers as strings.
fn specific(policy: &Value) -> Option<u64> {
    let only = |value: &Value, key: &str| match value {
        Value::Object(object) if object.len() == 1 => object.get(key).cloned(),
        _ => None,
    };
    let versions = only(&only(policy, "specific")?, "versions")?;
    match versions.as_array()?.as_slice() {
        [Value::Number(id)] => id.as_u64().filter(|id| *id > 0),
        [Value::String(id)] => revision_id(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(parameters: &[(&str, ParameterChoice)]) -> Result<(Option<u64>, Files), Error> {
        let parameter = |choice: &ParameterChoice| pb::ModelRepositoryParameter {
            parameter_choice: Some(choice.clone()),
        };
        let parameters = parameters.iter();
        wanted(
            parameters
                .map(|(key, choice)| (key.to_string(), parameter(choice)))
                .collect(),
        )
    }

    fn text(text: &str) -> ParameterChoice {
        ParameterChoice::StringParam(text.to_string())
    }

    #[test]
    fn a_load_names_a_revision_and_files() {
        assert_eq!(load(&[]), Ok((None, Files::new())));
        let policy = r#"{"name": "m", "version_policy": {"specific": {"versions": [3]}}}"#;
        let bytes = ParameterChoice::BytesParam("abc".into());
        let (revision, files) =
            load(&[("config", text(policy)), ("file:3/model.txt", bytes)]).unwrap();
        assert_eq!(revision, Some(3));
        assert_eq!(files[&3]["model.txt"], b"abc");
        let string = r#"{"version_policy": {"specific": {"versions": ["3"]}}}"#;
        assert_eq!(load(&[("config", text(string))]).unwrap().0, Some(3));
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        let bytes = || ParameterChoice::BytesParam("abc".into());
        let policy = "config: version_policy: expected";
        let cases = [
            ("config", text("[]"), "config: expected a JSON object"),
            (
                "config",
                bytes(),
                "parameter \"config\": expected string_param",
            ),
            (
                "config",
                text(r#"{"input": []}"#),
                "config: unknown key \"input\"",
            ),
            (
                "config",
                text(r#"{"version_policy": {"latest": {}}}"#),
                policy,
            ),
            (
                "config",
                text(r#"{"version_policy": {"specific": {"versions": [1, 2]}}}"#),
                policy,
            ),
            ("other", text(""), "unknown parameter \"other\""),
            (
                "file:1/m",
                text(""),
                "parameter \"file:1/m\": expected bytes_param",
            ),
            (
                "file:0/m",
                bytes(),
                "parameter \"file:0/m\": expected file:",
            ),
            (
                "file:1/../m",
                bytes(),
                "parameter \"file:1/../m\": expected file:",
            ),
            (
                "file:1/..",
                bytes(),
                "parameter \"file:1/..\": expected file:",
            ),
            ("file:1", bytes(), "parameter \"file:1\": expected file:"),
        ];
        for (key, choice, expected) in cases {
            let error = load(&[(key, choice)]).unwrap_err();
            assert!(error.message.starts_with(expected), "{}", error.message);
        }
    }
}
