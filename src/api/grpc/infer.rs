//! ModelInfer: message to request, [`serve::infer`], answer to message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use uuid::fmt::Hyphenated;

use super::pb::infer_parameter::ParameterChoice;
use super::{decode, encode, pb, short, timeout, version};
use crate::api::{Shared, check_count, explain, key as keys, request_id};
use crate::error::{Code, Error};
use crate::serve::{self, Explain, InferRequest, Measured, Names, Parameter};
use crate::tensor::Tensors;

/// Messages up to this many bytes have no more parts than can be decoded.
const PARTS_MIN: usize = 4 << 10;

/// A request as its message says it, without what its headers say.
#[derive(Debug)]
pub struct Asked {
    slot: String,
    revision: Option<u64>,
    id: String,
    timeout: Option<Duration>,
    explain: Option<Explain>,
    key: Option<Cow<'static, str>>,
    outputs: Names<'static>,
    tensors: Tensors<'static>,
    /// Values came beside the tensors, and go back the same way.
    raw: bool,
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it.
pub fn read(message: Bytes) -> Result<Asked, Error> {
    if message.len() > PARTS_MIN {
        check_parts(&message)?;
    }
    let message = pb::ModelInferRequest::decode(message)
        .map_err(|error| Error::invalid(format!("body: not a ModelInferRequest: {error}")))?;
    asked(message)
}

/// Counts what a message has of each kind, before any of it is decoded: two bytes may stand for an
/// input of some hundred.
///
/// # Errors
/// When there are more than [`PARTS_MAX`], or it is not a message.
fn check_parts(mut message: &[u8]) -> Result<(), Error> {
    let broken = |error| Error::invalid(format!("body: not a ModelInferRequest: {error}"));
    let mut parts = 0;
    while !message.is_empty() {
        let (field, wire) = decode_key(&mut message).map_err(broken)?;
        skip_field(wire, field, &mut message, DecodeContext::default()).map_err(broken)?;
        parts += 1;
    }
    check_count(parts)
}

/// The tensors of a message. What an inference request costs before any model is looked at; for load
/// tests, which compare with servers that do only this.
///
/// # Errors
/// Names what is wrong and what was expected.
pub fn decode_infer(message: pb::ModelInferRequest) -> Result<Tensors<'static>, Error> {
    asked(message).map(|asked| asked.tensors)
}

/// What a message asks for.
///
/// # Errors
/// Names what is wrong and what was expected.
fn asked(message: pb::ModelInferRequest) -> Result<Asked, Error> {
    Ok(Asked {
        revision: version(&message.model_version)?,
        slot: message.model_name,
        id: message.id,
        timeout: timeout::parameter(&message.parameters)?,
        explain: explained(&message.parameters)?,
        key: key(&message.parameters)?,
        outputs: names(message.outputs)?,
        raw: !message.raw_input_contents.is_empty(),
        tensors: decode::tensors(message.inputs, message.raw_input_contents)?,
    })
}

/// Answers one request.
///
/// # Errors
/// What is wrong with the headers, and what [`serve::infer`] says.
pub async fn infer(
    shared: &Shared,
    headers: &HeaderMap,
    received: Instant,
    measured: &mut Measured<'_>,
    asked: Asked,
) -> Result<pb::ModelInferResponse, Error> {
    let timeout = shortest(header(headers)?, asked.timeout);
    let request = InferRequest {
        slot: &asked.slot,
        revision: asked.revision,
        explain: asked.explain,
        key: keys::of(asked.key, headers)?,
        outputs: asked.outputs,
        tensors: asked.tensors,
        deadline: shared.deadline(received, timeout),
    };
    let response = serve::infer(measured, request).await?;
    let (outputs, raw_output_contents) = encode::outputs(&response, asked.raw)?;
    let mut own = [0; Hyphenated::LENGTH];
    let message = pb::ModelInferResponse {
        model_name: asked.slot,
        model_version: response.revision.id.to_string(),
        id: match asked.id.is_empty() {
            true => request_id(response.prediction, &mut own).to_string(),
            false => asked.id,
        },
        parameters: response.parameters().map(parameter).collect(),
        outputs,
        raw_output_contents,
    };
    response.encoded();
    Ok(message)
}

/// A parameter of an answer as a message has it.
fn parameter((name, parameter): (&str, Parameter)) -> (String, pb::InferParameter) {
    let choice = match parameter {
        Parameter::Id(id) => ParameterChoice::StringParam(id.hyphenated().to_string()),
        Parameter::Flag(flag) => ParameterChoice::BoolParam(flag),
        Parameter::Count(count) => ParameterChoice::Int64Param(count as i64),
    };
    let parameter = pb::InferParameter {
        parameter_choice: Some(choice),
    };
    (name.to_string(), parameter)
}

/// The parameter `key`.
fn key(
    parameters: &HashMap<String, pb::InferParameter>,
) -> Result<Option<Cow<'static, str>>, Error> {
    let Some(parameter) = parameters.get("key") else {
        return Ok(None);
    };
    let expected = || Error::invalid(format!("parameter \"key\": {}", keys::EXPECTED));
    match &parameter.parameter_choice {
        Some(ParameterChoice::StringParam(text)) => Ok(Some(Cow::Owned(text.clone()))),
        Some(ParameterChoice::Int64Param(number)) => Ok(Some(Cow::Owned(number.to_string()))),
        Some(ParameterChoice::Uint64Param(number)) => Ok(Some(Cow::Owned(number.to_string()))),
        Some(ParameterChoice::DoubleParam(number)) => {
            let digits = keys::digits(*number).ok_or_else(expected)?;
            Ok(Some(Cow::Owned(digits)))
        }
        _ => Err(expected()),
    }
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

/// The time that the header `grpc-timeout` leaves.
///
/// # Errors
/// When it cannot be read.
pub fn header(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get("grpc-timeout") else {
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
) -> Result<Names<'static>, Error> {
    let mut names = Names::new();
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
        names.push(Cow::Owned(output.name));
    }
    Ok(names)
}
