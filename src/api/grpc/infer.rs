//! ModelInfer: message to request, [`serve::infer`], answer to message.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tonic::Request;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::pb::infer_parameter::ParameterChoice;
use super::{Received, decode, encode, pb, short, timeout, version};
use crate::api::{Shared, explain};
use crate::error::{Code, Error};
use crate::model::usage::{Outcome, Protocol};
use crate::serve::{self, Explain, InferRequest};

/// Answers one request.
///
/// # Errors
/// What cannot be decoded, and what [`serve::infer`] says.
pub async fn infer(
    shared: &Shared,
    request: Request<pb::ModelInferRequest>,
) -> Result<pb::ModelInferResponse, Error> {
    let received = match request.extensions().get::<Received>() {
        Some(received) => received.0,
        None => Instant::now(),
    };
    let (metadata, _extensions, mut message) = request.into_parts();
    let name = std::mem::take(&mut message.model_name);
    let id = match message.id.is_empty() {
        true => Uuid::now_v7().to_string(),
        false => std::mem::take(&mut message.id),
    };
    let raw = !message.raw_input_contents.is_empty();
    let request = match decoded(shared, received, &metadata, name.clone(), message) {
        Ok(request) => request,
        Err(error) => {
            // The serving line has not seen it: count it here.
            let usage = &shared.server.unresolved;
            let rejected = usage.requests(Protocol::Grpc, Outcome::Rejected);
            rejected.record(received.elapsed());
            return Err(error);
        }
    };
    let response = serve::infer(&shared.server, request).await?;
    let started = Instant::now();
    let (outputs, raw_output_contents) = encode::outputs(&response, raw)?;
    let message = pb::ModelInferResponse {
        model_name: name,
        model_version: response.revision.id.to_string(),
        id,
        outputs,
        raw_output_contents,
        ..pb::ModelInferResponse::default()
    };
    response.revision.usage.encode.record(started.elapsed());
    Ok(message)
}

fn decoded(
    shared: &Shared,
    received: Instant,
    metadata: &MetadataMap,
    slot: String,
    message: pb::ModelInferRequest,
) -> Result<InferRequest, Error> {
    let timeout = shortest(header(metadata)?, timeout::parameter(&message.parameters)?);
    Ok(InferRequest {
        slot,
        revision: version(&message.model_version)?,
        explain: explained(&message.parameters)?,
        outputs: names(message.outputs)?,
        tensors: decode::tensors(message.inputs, message.raw_input_contents)?,
        deadline: shared.deadline(received, timeout),
        protocol: Protocol::Grpc,
        received,
    })
}

/// The parameter `explain`.
fn explained(parameters: &HashMap<String, pb::InferParameter>) -> Result<Option<Explain>, Error> {
    let Some(parameter) = parameters.get("explain") else {
        return Ok(None);
    };
    let asked = match &parameter.parameter_choice {
        Some(ParameterChoice::StringParam(text)) => explain::from_text(text),
        Some(ParameterChoice::Int64Param(number)) => explain::from_number(*number as f64),
        Some(ParameterChoice::Uint64Param(number)) => explain::from_number(*number as f64),
        Some(ParameterChoice::DoubleParam(number)) => explain::from_number(*number),
        _ => Err(explain::expected()),
    };
    asked.map(Some)
}

fn header(metadata: &MetadataMap) -> Result<Option<Duration>, Error> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(None);
    };
    // What is not text is refused as any other text would be.
    timeout::parse(value.to_str().unwrap_or_default()).map(Some)
}

fn shortest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The names of the wanted outputs.
fn names(
    outputs: Vec<pb::model_infer_request::InferRequestedOutputTensor>,
) -> Result<Vec<String>, Error> {
    let mut names = Vec::with_capacity(outputs.len());
    for output in outputs {
        for refused in ["classification", "shared_memory_region"] {
            if output.parameters.contains_key(refused) {
                let name = short(&output.name);
                return Err(Error::new(
                    Code::Unsupported,
                    format!("output \"{name}\": parameter \"{refused}\" is not served"),
                ));
            }
        }
        names.push(output.name);
    }
    Ok(names)
}
