//! `POST /v1/models/{model}:predict`: rows as lists, or as records by feature name.

use std::borrow::Cow;
use std::collections::HashMap;

use smallvec::smallvec;

use super::data::{self, List};
use super::infer::{timeout, write_parameters};
use super::json::{Kind, Reader};
use super::parameters::parameters;
use super::{Answer, Call};
use crate::api::body::{Body, Held};
use crate::api::{Shared, key};
use crate::error::Error;
use crate::serve::{self, Explain, InferRequest, InferResponse, Measured, Names};
use crate::tensor::{Cell, DType, Shape, Tensor, Tensors, Values};

/// A decoded body.
#[derive(Debug)]
struct Decoded<'a> {
    tensors: Tensors<'a>,
    explain: Option<Explain>,
    key: Option<Cow<'a, str>>,
}

/// Columns of records, in the order of the first record.
#[derive(Debug, Default)]
struct Records {
    columns: Vec<(String, Vec<Cell>)>,
    index: HashMap<String, usize>,
    rows: usize,
}

/// Answers a prediction request for a slot.
///
/// # Errors
/// What is wrong with the body, or what [`serve::infer`] says.
pub async fn predict(
    shared: &Shared,
    call: &Call<'_>,
    measured: &mut Measured<'_>,
    body: Held,
) -> Answer {
    let decoded = if shared.is_large(body.len()) {
        let body = body.clone();
        let decoding = move || Ok(decode(&body)?.into_owned());
        let deadline = shared.deadline(call.received, timeout(call.headers, None)?);
        shared.aside(deadline, decoding).await?
    } else {
        decode(&body)?
    };
    let request = InferRequest {
        slot: call.slot,
        revision: call.revision,
        tensors: decoded.tensors,
        outputs: Names::new(),
        explain: decoded.explain,
        key: key::of(decoded.key, call.headers)?,
        deadline: shared.deadline(call.received, timeout(call.headers, None)?),
    };
    let answer = serve::infer(measured, request).await?;
    Ok(encode(&answer))
}

impl Decoded<'_> {
    /// The same, independent of the body.
    fn into_owned(self) -> Decoded<'static> {
        Decoded {
            tensors: self.tensors.into_iter().map(Tensor::into_owned).collect(),
            explain: self.explain,
            key: self.key.map(|key| Cow::Owned(key.into_owned())),
        }
    }
}

fn decode(body: &[u8]) -> Result<Decoded<'_>, Error> {
    let mut tensors = None;
    let mut explain = None;
    let mut given_key = None;
    let mut reader = Reader::new(body);
    reader.object(|reader, key| {
        let given = match key {
            "instances" => instances(reader)?,
            "inputs" => columns(reader)?,
            "parameters" if reader.kind()? == Kind::Object => {
                let parameters = parameters(reader)?;
                (explain, given_key) = (parameters.explain, parameters.key);
                return Ok(());
            }
            _ => return reader.skip(),
        };
        if tensors.replace(given).is_some() {
            return Err(Error::invalid(
                "body: both \"instances\" and \"inputs\"; expected one",
            ));
        }
        Ok(())
    })?;
    reader.end()?;
    let tensors = tensors.ok_or_else(|| Error::invalid("body: expected a key \"instances\""))?;
    Ok(Decoded {
        tensors,
        explain,
        key: given_key,
    })
}

/// A list of rows: lists of values, or objects by feature name.
fn instances<'a>(reader: &mut Reader<'a>) -> Result<Tensors<'a>, Error> {
    let mut ahead = reader.clone();
    let mut first = None;
    // Only the first row's kind matters here; the rest of the document is read below.
    let _first_only = ahead.array(|ahead| {
        first = Some(ahead.kind()?);
        Err(Error::invalid("enough"))
    });
    if first != Some(Kind::Object) {
        let list = rows(reader)?;
        if list.shape().len() > 2 {
            return Err(Error::invalid(
                "\"instances\": expected a list of rows of values",
            ));
        }
        return Ok(vec![list.into_tensor(Cow::Borrowed(""))]);
    }
    let mut records = Records::default();
    reader.array(|reader| records.read(reader))?;
    Ok(records.into_tensors())
}

/// `{"feature": [values], …}`.
fn columns<'a>(reader: &mut Reader<'a>) -> Result<Tensors<'a>, Error> {
    if reader.kind()? == Kind::Array {
        return Ok(vec![rows(reader)?.into_tensor(Cow::Borrowed(""))]);
    }
    let mut tensors = Tensors::new();
    reader.object(|reader, name| {
        tensors.push(rows(reader)?.into_tensor(Cow::Owned(name.to_string())));
        Ok(())
    })?;
    Ok(tensors)
}

/// Values without a declared datatype.
fn rows(reader: &mut Reader<'_>) -> Result<List, Error> {
    List::read(reader, DType::Fp64, 0)
}

impl Records {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let row = self.rows;
        let mut given = 0;
        reader.object(|reader, name| {
            let cell = cell(reader)?;
            let column = match self.index.get(name) {
                Some(column) => *column,
                None if row > 0 => {
                    return Err(Error::invalid(format!(
                        "feature \"{name}\", row {row}: the rows before it do not have it"
                    )));
                }
                None => {
                    self.index.insert(name.to_string(), self.columns.len());
                    self.columns.push((name.to_string(), Vec::new()));
                    self.columns.len() - 1
                }
            };
            given += 1;
            self.columns[column].1.push(cell);
            Ok(())
        })?;
        self.rows += 1;
        if given == self.columns.len() {
            return Ok(());
        }
        let missing = self
            .columns
            .iter()
            .find(|(_, cells)| cells.len() < self.rows);
        let name = missing.map_or("", |(name, _)| name.as_str());
        Err(Error::invalid(format!(
            "feature \"{name}\", row {row}: missing"
        )))
    }

    fn into_tensors(self) -> Tensors<'static> {
        let rows = self.rows;
        let tensor = |(name, cells)| Tensor {
            name: Cow::Owned(name),
            dtype: DType::Fp64,
            shape: smallvec![rows],
            values: Values::Cells(cells),
        };
        self.columns.into_iter().map(tensor).collect()
    }
}

fn cell(reader: &mut Reader<'_>) -> Result<Cell, Error> {
    match reader.kind()? {
        Kind::Number => Ok(Cell::Number(reader.number()?)),
        Kind::Text => Ok(Cell::Text(reader.text()?.into_owned())),
        Kind::Bool => Ok(Cell::Number(f64::from(u8::from(reader.boolean()?)))),
        Kind::Null => reader.null().map(|()| Cell::Number(f64::NAN)),
        Kind::Object | Kind::Array => Err(reader.error("expected a number or a string")),
    }
}

/// One prediction per row: the value or list of the only output, or an object of all outputs.
fn encode(answer: &InferResponse) -> axum::http::Response<Body> {
    let mut json = Vec::with_capacity(64 + answer.results.len() * 12);
    json.extend_from_slice(b"{\"predictions\":[");
    let outputs: Vec<_> = answer.answers().collect();
    for (row, results) in answer.results.chunks_exact(answer.width).enumerate() {
        json.extend_from_slice(if row > 0 { b"," } else { b"" });
        json.extend_from_slice(if outputs.len() > 1 { b"{" } else { b"" });
        for (index, output) in outputs.iter().enumerate() {
            if outputs.len() > 1 {
                json.extend_from_slice(if index > 0 { b"," } else { b"" });
                data::write_text(&mut json, output.name);
                json.push(b':');
            }
            let dims: Shape = output.dims().collect();
            write_nested(&mut json, output, &dims, &results[output.columns()]);
        }
        json.extend_from_slice(if outputs.len() > 1 { b"}" } else { b"" });
    }
    json.push(b']');
    write_parameters(&mut json, answer);
    json.push(b'}');
    answer.encoded();
    super::json_response(json)
}

/// One row's values of an output as lists in lists; a single value without dimensions.
fn write_nested(json: &mut Vec<u8>, output: &serve::Answer, dims: &[usize], values: &[f64]) {
    let write = |json: &mut Vec<u8>| {
        data::write_json(json, output.dtype, output.labels, values.iter().copied());
    };
    match dims {
        [] => write(json),
        [_] => {
            json.push(b'[');
            write(json);
            json.push(b']');
        }
        [_, rest @ ..] => {
            json.push(b'[');
            let size = rest.iter().product::<usize>().max(1);
            for (index, values) in values.chunks(size).enumerate() {
                json.extend_from_slice(if index > 0 { b"," } else { b"" });
                write_nested(json, output, rest, values);
            }
            json.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_records_become_tensors() {
        let rows = decode(br#"{"instances": [[1, "a"], [null, "b"]]}"#)
            .unwrap()
            .tensors;
        assert_eq!(
            (rows.len(), rows[0].shape.as_slice()),
            (1, [2, 2].as_slice())
        );
        let records = decode(br#"{"instances": [{"x": 1, "y": "a"}, {"y": "b", "x": true}]}"#)
            .unwrap()
            .tensors;
        assert_eq!(records[0].name, "x");
        let cells = vec![Cell::Number(1.0), Cell::Number(1.0)];
        assert_eq!(records[0].values, Values::Cells(cells));
        let decoded = decode(
            br#"{"inputs": {"x": [1, 2], "y": [3, 4]}, "parameters": {"explain": 2, "key": "t-1"}}"#,
        )
        .unwrap();
        assert_eq!(decoded.explain, Some(Explain::Top(2)));
        assert_eq!(decoded.key.as_deref(), Some("t-1"));
        assert_eq!(decoded.tensors[1].shape[..], [2]);
    }

    #[test]
    fn broken_bodies_say_what_is_wrong() {
        for (body, expected) in [
            ("{}", "expected a key \"instances\""),
            (r#"{"instances": [[1],[1,2]]}"#, "ragged"),
            (r#"{"instances": [[[1]]]}"#, "expected a list of rows"),
            (r#"{"instances": 1}"#, "expected an array"),
            (
                r#"{"instances": [{"a":1},{"b":1}]}"#,
                "feature \"b\", row 1",
            ),
            (
                r#"{"instances": [{"a":1,"b":2},{"b":1}]}"#,
                "feature \"a\", row 1: missing",
            ),
            (
                r#"{"instances": [{"a":[1]}]}"#,
                "expected a number or a string",
            ),
            (r#"{"instances": [{"a":1},[1]]}"#, "expected an object"),
            (r#"{"instances": [[1]], "inputs": [[1]]}"#, "expected one"),
        ] {
            let error = decode(body.as_bytes()).unwrap_err().message;
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
