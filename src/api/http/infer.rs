//! `POST /v2/models/{model}/infer`: JSON and the binary tensor extension, in both directions.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::{SmallVec, smallvec};
use uuid::fmt::Hyphenated;

use super::data::{self, List};
use super::json::Reader;
use super::parameters::parameters;
use super::{Answer, Call};
use crate::api::body::{Body, Held};
use crate::api::{Shared, check_count, key, request_id};
use crate::error::Error;
use crate::model::revision::Revision;
use crate::serve::{self, Explain, InferRequest, InferResponse, Measured, Names, Parameter};
use crate::tensor::{DType, RANK_MAX, Shape, Tensor, Tensors};

/// Where the JSON part of a body ends.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// A decoded body.
#[derive(Debug, Default)]
struct Decoded<'a> {
    id: Option<Cow<'a, str>>,
    timeout_us: Option<u64>,
    explain: Option<Explain>,
    key: Option<Cow<'a, str>>,
    binary_output: bool,
    inputs: SmallVec<[Input<'a>; 1]>,
    outputs: SmallVec<[Wanted<'a>; 2]>,
}

/// One input before its values are known to fit.
#[derive(Debug, Default)]
struct Input<'a> {
    name: Cow<'a, str>,
    dtype: Option<DType>,
    shape: Option<Shape>,
    data: Option<List>,
    binary_size: Option<usize>,
}

/// An output that a request names.
#[derive(Debug)]
struct Wanted<'a> {
    name: Cow<'a, str>,
    binary: Option<bool>,
}

/// A request without what its headers say.
#[derive(Debug)]
struct Asked<'a> {
    id: Option<Cow<'a, str>>,
    timeout_us: Option<u64>,
    explain: Option<Explain>,
    key: Option<Cow<'a, str>>,
    tensors: Tensors<'a>,
    outputs: Names<'a>,
    /// Which of the outputs are to be bytes; those without an entry as `binary_output` says.
    binary: SmallVec<[bool; 2]>,
    binary_output: bool,
}

/// Answers an inference request.
///
/// # Errors
/// What is wrong with the body, or what [`serve::infer`] says.
pub async fn infer(
    shared: &Shared,
    call: &Call<'_>,
    measured: &mut Measured<'_>,
    body: Held,
) -> Answer {
    let json_length = json_length(call.headers, body.len())?;
    let large = shared.is_large(body.len());
    let asked = match json_length {
        Some(0) => {
            let revision = shared.server.revision(call.slot, call.revision)?;
            match large {
                true => aside(shared, call, move || rows(&revision, &body)).await?,
                false => rows(&revision, &body)?,
            }
        }
        _ if large => {
            let body = body.clone();
            aside(shared, call, move || {
                Ok(asked(&body, json_length)?.into_owned())
            })
            .await?
        }
        _ => asked(&body, json_length)?,
    };
    let timeout = timeout(call.headers, asked.timeout_us)?;
    let request = InferRequest {
        slot: call.slot,
        revision: call.revision,
        tensors: asked.tensors,
        outputs: asked.outputs,
        explain: asked.explain,
        key: key::of(asked.key, call.headers)?,
        deadline: shared.deadline(call.received, timeout),
    };
    let answer = serve::infer(measured, request).await?;
    let mut binary = asked.binary;
    // What is answered without having been named.
    binary.resize(answer.wanted.len(), asked.binary_output);
    let mut own = [0; Hyphenated::LENGTH];
    let id = match &asked.id {
        Some(id) => id,
        None => given_id(call.headers).unwrap_or_else(|| request_id(answer.prediction, &mut own)),
    };
    Ok(encode(&answer, id, &binary))
}

/// The tensors of a body, of which the first `json_length` bytes are JSON and the rest values; all of
/// it is JSON without it. What an inference request costs before any model is looked at; for load
/// tests, which compare with servers that do only this.
///
/// # Errors
/// Names what is wrong and what was expected.
pub fn decode_infer(body: &[u8], json_length: Option<usize>) -> Result<Tensors<'_>, Error> {
    if json_length.is_some_and(|length| length > body.len()) {
        return Err(Error::invalid("body: shorter than its JSON"));
    }
    asked(body, json_length).map(|asked| asked.tensors)
}

/// Decodes a large body, within the caller's time.
async fn aside(
    shared: &Shared,
    call: &Call<'_>,
    decoding: impl FnOnce() -> Result<Asked<'static>, Error> + Send + 'static,
) -> Result<Asked<'static>, Error> {
    let deadline = shared.deadline(call.received, timeout(call.headers, None)?);
    shared.aside(deadline, decoding).await
}

/// What the JSON and the bytes of a body ask for.
fn asked(body: &[u8], json_length: Option<usize>) -> Result<Asked<'_>, Error> {
    let (json, binary) = body.split_at(json_length.unwrap_or(body.len()));
    let decoded = decode(json)?;
    let outputs = decoded.outputs.iter();
    let binary_output = decoded.binary_output;
    Ok(Asked {
        tensors: tensors(decoded.inputs, binary)?,
        binary: outputs
            .map(|output| output.binary.unwrap_or(binary_output))
            .collect(),
        outputs: decoded
            .outputs
            .into_iter()
            .map(|output| output.name)
            .collect(),
        id: decoded.id,
        timeout_us: decoded.timeout_us,
        explain: decoded.explain,
        key: decoded.key,
        binary_output,
    })
}

/// A raw binary request: the body is rows and nothing else.
fn rows(revision: &Revision, body: &[u8]) -> Result<Asked<'static>, Error> {
    let signature = &revision.signature;
    let (dtype, width) = (signature.element.dtype(), signature.columns.len());
    let row_bytes = width * dtype.size().unwrap_or(1);
    if body.is_empty() || !body.len().is_multiple_of(row_bytes) {
        return Err(Error::invalid(format!(
            "body: expected rows of {width} {dtype} values, {row_bytes} bytes each, got {} bytes",
            body.len()
        )));
    }
    let shape = smallvec![body.len() / row_bytes, width];
    // Without a name it is the one tensor of all features.
    let tensor = data::from_bytes(Cow::Borrowed(""), dtype, shape, body)?;
    Ok(Asked {
        id: None,
        timeout_us: None,
        explain: None,
        key: None,
        tensors: vec![tensor],
        outputs: Names::new(),
        binary: SmallVec::new(),
        binary_output: true,
    })
}

impl Asked<'_> {
    /// The same, independent of the body.
    fn into_owned(self) -> Asked<'static> {
        let owned = |name: Cow<'_, str>| Cow::Owned(name.into_owned());
        Asked {
            id: self.id.map(owned),
            timeout_us: self.timeout_us,
            explain: self.explain,
            key: self.key.map(owned),
            tensors: self.tensors.into_iter().map(Tensor::into_owned).collect(),
            outputs: self.outputs.into_iter().map(owned).collect(),
            binary: self.binary,
            binary_output: self.binary_output,
        }
    }
}

fn json_length(headers: &HeaderMap, body: usize) -> Result<Option<usize>, Error> {
    let Some(value) = headers.get(&JSON_LENGTH) else {
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

/// The caller's request id.
fn given_id(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get("x-request-id")?;
    given.to_str().ok()
}

fn decode(json: &[u8]) -> Result<Decoded<'_>, Error> {
    let mut decoded = Decoded::default();
    let mut reader = Reader::new(json);
    let mut has_inputs = false;
    reader.object(|reader, key| {
        match key {
            "id" => decoded.id = Some(reader.text()?),
            "parameters" => {
                let parameters = parameters(reader)?;
                decoded.timeout_us = parameters.timeout_us;
                decoded.explain = parameters.explain;
                decoded.key = parameters.key;
                decoded.binary_output = parameters.binary_data_output.unwrap_or(false);
            }
            "inputs" => {
                has_inputs = true;
                reader.array(|reader| {
                    decoded.inputs.push(input(reader)?);
                    check_count(decoded.inputs.len())
                })?;
            }
            "outputs" => reader.array(|reader| {
                decoded.outputs.push(output(reader)?);
                check_count(decoded.outputs.len())
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

fn input<'a>(reader: &mut Reader<'a>) -> Result<Input<'a>, Error> {
    let mut input = Input::default();
    // Data that came before its datatype is read once that is known.
    let mut early = None;
    reader.object(|reader, key| {
        match key {
            "name" => input.name = reader.text()?,
            "datatype" => {
                let name = reader.text()?;
                let dtype = name.parse().map_err(|()| {
                    let names = DType::ALL.map(DType::name).join(", ");
                    reader.error(&format!("unknown datatype; expected one of {names}"))
                })?;
                input.dtype = Some(dtype);
            }
            "shape" => input.shape = Some(shape(reader)?),
            "data" => match input.dtype {
                Some(dtype) => input.data = Some(list(reader, dtype, input.shape.as_deref())?),
                None => {
                    early = Some(reader.clone());
                    reader.skip()?;
                }
            },
            "parameters" => input.binary_size = parameters(reader)?.binary_data_size,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    if input.name.is_empty() {
        return Err(reader.error("the input before it has no name"));
    }
    if let (Some(mut early), Some(dtype)) = (early, input.dtype) {
        input.data = Some(list(&mut early, dtype, input.shape.as_deref())?);
    }
    Ok(input)
}

fn list(reader: &mut Reader<'_>, dtype: DType, shape: Option<&[usize]>) -> Result<List, Error> {
    let lengths = shape.unwrap_or_default().iter();
    let count = lengths.fold(1_usize, |count, length| count.saturating_mul(*length));
    List::read(reader, dtype, count)
}

fn output<'a>(reader: &mut Reader<'a>) -> Result<Wanted<'a>, Error> {
    let mut wanted = Wanted {
        name: Cow::Borrowed(""),
        binary: None,
    };
    reader.object(|reader, key| {
        match key {
            "name" => wanted.name = reader.text()?,
            "parameters" => wanted.binary = parameters(reader)?.binary_data,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(wanted)
}

fn shape(reader: &mut Reader<'_>) -> Result<Shape, Error> {
    let mut shape = Shape::new();
    reader.array(|reader| {
        let length = reader.number()?;
        if length.fract() != 0.0 || !(0.0..=4_294_967_296.0).contains(&length) {
            return Err(reader.error("expected a shape of whole numbers from 0"));
        }
        shape.push(length as usize);
        match shape.len() {
            0..=RANK_MAX => Ok(()),
            _ => Err(reader.error(&format!(
                "expected a shape of at most {RANK_MAX} dimensions"
            ))),
        }
    })?;
    Ok(shape)
}

/// Gives every input its values, from its JSON or from the bytes after it, in order.
fn tensors<'a>(inputs: SmallVec<[Input<'a>; 1]>, mut binary: &[u8]) -> Result<Tensors<'a>, Error> {
    let mut tensors = Tensors::new();
    let mut names = super::json::Names::default();
    for input in inputs {
        let name = input.name;
        let missing =
            |what: &str| Error::invalid(format!("input \"{name}\": expected a key \"{what}\""));
        let dtype = input.dtype.ok_or_else(|| missing("datatype"))?;
        let shape = input.shape.ok_or_else(|| missing("shape"))?;
        if names.contains(&name) {
            return Err(Error::invalid(format!("input \"{name}\" is given twice")));
        }
        names.insert(name.clone());
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

/// The keys of an answer's parameters, each after a comma.
pub fn write_parameters(json: &mut Vec<u8>, answer: &InferResponse) {
    for (name, parameter) in answer.parameters() {
        json.push(b',');
        data::write_text(json, name);
        json.push(b':');
        match parameter {
            Parameter::Id(id) => {
                let mut text = [0; Hyphenated::LENGTH];
                data::write_text(json, id.hyphenated().encode_lower(&mut text));
            }
            Parameter::Flag(flag) => json.extend_from_slice(if flag { b"true" } else { b"false" }),
            Parameter::Count(count) => data::write_integer(json, count as u64),
        }
    }
}

fn encode(answer: &InferResponse, id: &str, binary: &[bool]) -> axum::http::Response<Body> {
    let mut json = Vec::with_capacity(256 + answer.results.len() * 12);
    json.extend_from_slice(b"{\"model_name\":");
    data::write_text(&mut json, &answer.revision.slot);
    json.extend_from_slice(b",\"model_version\":\"");
    data::write_integer(&mut json, answer.revision.id);
    json.extend_from_slice(b"\",\"id\":");
    data::write_text(&mut json, id);
    if answer.parameters().next().is_some() {
        json.extend_from_slice(b",\"parameters\":");
        let start = json.len();
        write_parameters(&mut json, answer);
        // In the place of its first comma.
        json[start] = b'{';
        json.push(b'}');
    }
    json.extend_from_slice(b",\"outputs\":[");
    let mut bytes = Vec::new();
    for (index, output) in answer.answers().enumerate() {
        json.extend_from_slice(if index > 0 {
            b",{\"name\":"
        } else {
            b"{\"name\":"
        });
        data::write_text(&mut json, output.name);
        json.extend_from_slice(b",\"shape\":[");
        data::write_integer(&mut json, answer.rows as u64);
        for length in output.dims() {
            json.push(b',');
            data::write_integer(&mut json, length as u64);
        }
        json.extend_from_slice(b"],\"datatype\":\"");
        json.extend_from_slice(output.dtype.name().as_bytes());
        json.push(b'"');
        let (values, labels) = (answer.values(&output), output.labels);
        if binary.get(index).copied().unwrap_or(false) {
            let before = bytes.len();
            data::write_bytes(&mut bytes, output.dtype, labels, values);
            json.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            data::write_integer(&mut json, (bytes.len() - before) as u64);
            json.extend_from_slice(b"}}");
            continue;
        }
        json.extend_from_slice(b",\"data\":[");
        data::write_json(&mut json, output.dtype, labels, values);
        json.extend_from_slice(b"]}");
    }
    json.extend_from_slice(b"]}");
    let length = json.len();
    json.extend_from_slice(&bytes);
    answer.encoded();
    if bytes.is_empty() {
        return super::json_response(json);
    }
    let mut response = super::response(json, "application/octet-stream");
    let length = HeaderValue::from(length);
    response.headers_mut().insert(JSON_LENGTH, length);
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
        assert_eq!(tensors(decoded.inputs, &[]).unwrap()[0].shape[..], [1, 2]);
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
