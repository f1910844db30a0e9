//! `POST /v2/models/{model}/infer`: JSON and the binary tensor extension, in both directions.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::data::{self, List};
use super::json::{Kind, Reader};
use crate::api::{Shared, explain};
use crate::error::{Code, Error};
use crate::model::usage::Protocol;
use crate::serve::{self, Explain, InferRequest, InferResponse};
use crate::tensor::{DType, Tensor};

/// Where the JSON part of a body ends.
const JSON_LENGTH: &str = "inference-header-content-length";

/// A decoded body.
#[derive(Debug, Default)]
struct Decoded {
    id: Option<String>,
    timeout_us: Option<u64>,
    explain: Option<Explain>,
    binary_output: bool,
    inputs: Vec<Input>,
    outputs: Vec<Wanted>,
}

/// One input before its values are known to fit.
#[derive(Debug, Default)]
struct Input {
    name: String,
    dtype: Option<DType>,
    shape: Option<Vec<usize>>,
    data: Option<List>,
    binary_size: Option<usize>,
}

/// An output that a request names.
#[derive(Debug)]
struct Wanted {
    name: String,
    binary: Option<bool>,
}

/// What a request's parameters say.
#[derive(Debug, Default)]
pub struct Parameters {
    timeout_us: Option<u64>,
    pub explain: Option<Explain>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    binary_data_size: Option<usize>,
}

/// Answers an inference request for a slot.
///
/// # Errors
/// What is wrong with the body, or what [`serve::infer`] says.
pub async fn infer(
    shared: &Shared,
    slot: String,
    revision: Option<u64>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Error> {
    let received = Instant::now();
    let json_length = json_length(headers, body.len())?;
    if json_length == Some(0) {
        return raw(shared, slot, revision, headers, body).await;
    }
    let (json, binary) = body.split_at(json_length.unwrap_or(body.len()));
    let decoded = decode(json)?;
    let tensors = tensors(decoded.inputs, binary)?;
    let timeout = timeout(headers, decoded.timeout_us)?;
    let request = InferRequest {
        slot,
        revision,
        tensors,
        outputs: decoded
            .outputs
            .iter()
            .map(|output| output.name.clone())
            .collect(),
        explain: decoded.explain,
        deadline: shared.deadline(received, timeout),
        protocol: Protocol::Http,
        received,
    };
    let id = decoded.id.unwrap_or_else(|| request_id(headers));
    let answer = serve::infer(&shared.server, request).await?;
    let wanted = decoded.outputs.iter();
    let mut binary: Vec<bool> = wanted
        .map(|output| output.binary.unwrap_or(decoded.binary_output))
        .collect();
    // What is answered without having been named.
    binary.resize(answer.wanted.len(), decoded.binary_output);
    Ok(encode(&answer, &id, &binary))
}

/// A raw binary request: the body is rows and nothing else.
async fn raw(
    shared: &Shared,
    slot: String,
    revision: Option<u64>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Error> {
    let received = Instant::now();
    let found = shared.server.revision(&slot, revision)?;
    let signature = &found.signature;
    let (dtype, width) = (signature.element.dtype(), signature.columns.len());
    let row_bytes = width * dtype.size().unwrap_or(1);
    if body.is_empty() || !body.len().is_multiple_of(row_bytes) {
        return Err(Error::invalid(format!(
            "body: expected rows of {width} {dtype} values, {row_bytes} bytes each, got {} bytes",
            body.len()
        )));
    }
    let shape = vec![body.len() / row_bytes, width];
    let tensor = data::from_bytes(signature.input.clone(), dtype, shape, &body)?;
    let request = InferRequest {
        slot,
        revision,
        tensors: vec![tensor],
        outputs: Vec::new(),
        explain: None,
        deadline: shared.deadline(received, timeout(headers, None)?),
        protocol: Protocol::Http,
        received,
    };
    let answer = serve::infer(&shared.server, request).await?;
    let binary = vec![true; answer.wanted.len()];
    Ok(encode(&answer, &request_id(headers), &binary))
}

fn json_length(headers: &HeaderMap, body: usize) -> Result<Option<usize>, Error> {
    let Some(value) = headers.get(JSON_LENGTH) else {
        return Ok(None);
    };
    let length: Option<usize> = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match length {
        Some(length) if length <= body => Ok(Some(length)),
        _ => Err(Error::invalid(format!(
            "header Inference-Header-Content-Length: expected a number from 0 to the body's {body} bytes"
        ))),
    }
}

/// The caller's timeout: the header in milliseconds or the request's parameter in microseconds,
/// whichever is shorter.
///
/// # Errors
/// When the header is not a number.
pub fn timeout(headers: &HeaderMap, parameter_us: Option<u64>) -> Result<Option<Duration>, Error> {
    let parameter = parameter_us.filter(|us| *us > 0).map(Duration::from_micros);
    let Some(value) = headers.get("x-request-timeout-ms") else {
        return Ok(parameter);
    };
    let ms: Option<u64> = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let Some(ms) = ms else {
        return Err(Error::invalid(
            "header x-request-timeout-ms: expected milliseconds",
        ));
    };
    let header = Duration::from_millis(ms);
    Ok(Some(
        parameter.map_or(header, |parameter| parameter.min(header)),
    ))
}

/// The caller's request id, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok());
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_string)
}

fn decode(json: &[u8]) -> Result<Decoded, Error> {
    let mut decoded = Decoded::default();
    let mut reader = Reader::new(json);
    let mut has_inputs = false;
    reader.object(|reader, key| {
        match key {
            "id" => decoded.id = Some(reader.text()?.into_owned()),
            "parameters" => {
                let parameters = parameters(reader)?;
                decoded.timeout_us = parameters.timeout_us;
                decoded.explain = parameters.explain;
                decoded.binary_output = parameters.binary_data_output.unwrap_or(false);
            }
            "inputs" => {
                has_inputs = true;
                reader.array(|reader| {
                    decoded.inputs.push(input(reader)?);
                    Ok(())
                })?;
            }
            "outputs" => reader.array(|reader| {
                decoded.outputs.push(output(reader)?);
                Ok(())
            })?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    if !has_inputs {
        return Err(Error::invalid("body: expected a key \"inputs\""));
    }
    Ok(decoded)
}

fn input(reader: &mut Reader<'_>) -> Result<Input, Error> {
    let mut input = Input::default();
    reader.object(|reader, key| {
        match key {
            "name" => input.name = reader.text()?.into_owned(),
            "datatype" => {
                let name = reader.text()?;
                let dtype = name.parse().map_err(|()| {
                    let names = DType::ALL.map(DType::name).join(", ");
                    reader.error(&format!("unknown datatype; expected one of {names}"))
                })?;
                input.dtype = Some(dtype);
            }
            "shape" => input.shape = Some(shape(reader)?),
            "data" => input.data = Some(List::read(reader)?),
            "parameters" => input.binary_size = parameters(reader)?.binary_data_size,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    if input.name.is_empty() {
        return Err(reader.error("the input before it has no name"));
    }
    Ok(input)
}

fn output(reader: &mut Reader<'_>) -> Result<Wanted, Error> {
    let mut wanted = Wanted {
        name: String::new(),
        binary: None,
    };
    reader.object(|reader, key| {
        match key {
            "name" => wanted.name = reader.text()?.into_owned(),
            "parameters" => wanted.binary = parameters(reader)?.binary_data,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(wanted)
}

fn shape(reader: &mut Reader<'_>) -> Result<Vec<usize>, Error> {
    let mut shape = Vec::new();
    reader.array(|reader| {
        let length = reader.number()?;
        if length.fract() != 0.0 || !(0.0..=4_294_967_296.0).contains(&length) {
            return Err(reader.error("expected a shape of whole numbers from 0"));
        }
        shape.push(length as usize);
        Ok(())
    })?;
    Ok(shape)
}

/// Reads an object of parameters; those that nobody knows are skipped.
///
/// # Errors
/// Names the parameter, or the place, and what was expected.
pub fn parameters(reader: &mut Reader<'_>) -> Result<Parameters, Error> {
    let mut found = Parameters::default();
    let whole = |reader: &mut Reader<'_>| {
        let number = reader.number()?;
        if number.fract() != 0.0 || !(0.0..=9e15).contains(&number) {
            return Err(reader.error("expected a whole number from 0"));
        }
        Ok(number as u64)
    };
    reader.object(|reader, key| {
        match key {
            "timeout" => found.timeout_us = Some(whole(reader)?),
            "explain" => found.explain = explain_parameter(reader)?,
            "binary_data" => found.binary_data = Some(reader.boolean()?),
            "binary_data_output" => found.binary_data_output = Some(reader.boolean()?),
            "binary_data_size" => found.binary_data_size = Some(whole(reader)? as usize),
            "classification" if reader.kind()? != Kind::Null => {
                return Err(Error::new(
                    Code::Unsupported,
                    "the classification extension is not served; ask for the scores",
                ));
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(found)
}

fn explain_parameter(reader: &mut Reader<'_>) -> Result<Option<Explain>, Error> {
    match reader.kind()? {
        Kind::Text => explain::from_text(&reader.text()?).map(Some),
        Kind::Number => explain::from_number(reader.number()?).map(Some),
        Kind::Null => reader.null().map(|()| None),
        _ => Err(explain::expected()),
    }
}

/// Gives every input its values, from its JSON or from the bytes after it, in order.
fn tensors(inputs: Vec<Input>, mut binary: &[u8]) -> Result<Vec<Tensor>, Error> {
    let mut tensors: Vec<Tensor> = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = input.name;
        let missing =
            |what: &str| Error::invalid(format!("input \"{name}\": expected a key \"{what}\""));
        let dtype = input.dtype.ok_or_else(|| missing("datatype"))?;
        let shape = input.shape.ok_or_else(|| missing("shape"))?;
        if tensors.iter().any(|tensor| tensor.name == name) {
            return Err(Error::invalid(format!("input \"{name}\" is given twice")));
        }
        let tensor = match (input.data, input.binary_size) {
            (Some(list), None) => list.into_typed(name, dtype, shape)?,
            (None, Some(size)) => {
                let Some((bytes, rest)) = binary.split_at_checked(size) else {
                    return Err(Error::invalid(format!(
                        "input \"{name}\": binary_data_size is {size}, the body has {} bytes left",
                        binary.len()
                    )));
                };
                binary = rest;
                data::from_bytes(name, dtype, shape, bytes)?
            }
            (None, None) => return Err(missing("data")),
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "input \"{name}\": both \"data\" and binary_data_size; expected one"
                )));
            }
        };
        tensors.push(tensor);
    }
    if !binary.is_empty() {
        return Err(Error::invalid(format!(
            "body: {} bytes after the last input",
            binary.len()
        )));
    }
    Ok(tensors)
}

fn encode(answer: &InferResponse, id: &str, binary: &[bool]) -> Response {
    let start = Instant::now();
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut json = Vec::with_capacity(160 + answer.results.len() * 12);
    json.extend_from_slice(
        format!(
            "{{\"model_name\":{},\"model_version\":\"{}\",\"id\":{},\"outputs\":[",
            text(&answer.revision.slot),
            answer.revision.id,
            text(id)
        )
        .as_bytes(),
    );
    let mut bytes = Vec::new();
    for (index, output) in answer.answers().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let head = format!(
            "{comma}{{\"name\":{},\"shape\":{:?},\"datatype\":\"{}\"",
            text(output.name),
            answer.shape(&output),
            output.dtype
        );
        json.extend_from_slice(head.as_bytes());
        if binary.get(index).copied().unwrap_or(false) {
            let before = bytes.len();
            data::write_bytes(
                &mut bytes,
                output.dtype,
                output.labels,
                answer.values(&output),
            );
            let size = bytes.len() - before;
            json.extend_from_slice(
                format!(",\"parameters\":{{\"binary_data_size\":{size}}}}}").as_bytes(),
            );
            continue;
        }
        json.extend_from_slice(b",\"data\":[");
        data::write_json(
            &mut json,
            output.dtype,
            output.labels,
            answer.values(&output),
        );
        json.extend_from_slice(b"]}");
    }
    json.extend_from_slice(b"]}");
    let response = if bytes.is_empty() {
        (
            [(header::CONTENT_TYPE, "application/json".to_string())],
            json,
        )
            .into_response()
    } else {
        let length = json.len().to_string();
        json.extend_from_slice(&bytes);
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_string()),
            (header::HeaderName::from_static(JSON_LENGTH), length),
        ];
        (headers, json).into_response()
    };
    answer.revision.usage.encode.record(start.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str, binary: &[u8]) -> String {
        let tensors = decode(body.as_bytes()).and_then(|decoded| tensors(decoded.inputs, binary));
        tensors.map(|_| ()).unwrap_err().message
    }

    #[test]
    fn keys_may_come_in_any_order() {
        let body = br#"{"outputs":[{"name":"raw"}],"inputs":[{"data":[[1,2]],"shape":[1,2],"datatype":"FP32","name":"x"}],"id":"7","parameters":{"timeout":5,"other":{"a":[1]}}}"#;
        let decoded = decode(body).unwrap();
        assert_eq!(
            (decoded.id.as_deref(), decoded.timeout_us),
            (Some("7"), Some(5))
        );
        assert_eq!(decoded.outputs[0].name, "raw");
        assert_eq!(tensors(decoded.inputs, &[]).unwrap()[0].shape, [1, 2]);
    }

    #[test]
    fn broken_bodies_say_what_is_wrong() {
        let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
        for (body, expected) in [
            ("{}".to_string(), "expected a key \"inputs\""),
            ("[]".to_string(), "expected an object"),
            (r#"{"inputs":[{"shape":[1]}]}"#.to_string(), "has no name"),
            (
                input(r#""shape":[1],"data":[1]"#),
                "expected a key \"datatype\"",
            ),
            (
                input(r#""datatype":"FP8","shape":[1],"data":[1]"#),
                "unknown datatype",
            ),
            (
                input(r#""datatype":"FP32","data":[1]"#),
                "expected a key \"shape\"",
            ),
            (
                input(r#""datatype":"FP32","shape":[-1],"data":[1]"#),
                "whole numbers",
            ),
            (
                input(r#""datatype":"FP32","shape":[1]"#),
                "expected a key \"data\"",
            ),
            (
                input(r#""datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}"#),
                "0 bytes left",
            ),
            (
                input(
                    r#""datatype":"FP32","shape":[1],"data":[1],"parameters":{"binary_data_size":4}"#,
                ),
                "expected one",
            ),
        ] {
            let error = refused(&body, &[]);
            assert!(error.contains(expected), "{body}: {error}");
        }
        let good = input(r#""datatype":"FP32","shape":[1],"data":[1]"#);
        assert!(refused(&good, &[0]).contains("1 bytes after"));
        let twice = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]},{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}"#;
        assert!(refused(twice, &[]).contains("given twice"));
    }
}
