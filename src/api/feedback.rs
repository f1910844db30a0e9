//! Labels as callers send them, over both protocols, and what each is told. What becomes of a label is
//! for [`Rollout`] to say.

use std::fmt;
use std::time::Instant;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::body::Charge;
use super::control::loop_of;
use super::{Shared, key};
use crate::error::{Code, Error};
use crate::journal::labels::{Label, Target};
use crate::rollout::Rollout;
use crate::rollout::feedback::{Batch, Given, Settled, check_event};
use crate::serve::KEY_MAX;

/// A label before it is checked. Each part may be any scalar, so that a wrong one is named.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    pub slot: Option<Scalar>,
    /// A prediction's id, of the first row or with `.n` of row `n`; or `key`.
    pub prediction_id: Option<Scalar>,
    /// What the caller called the request.
    pub key: Option<Scalar>,
    /// The row of the request. Default 0.
    pub row: Option<Scalar>,
    /// A boolean, a number, or a class by its name.
    pub value: Option<Scalar>,
    /// RFC 3339, or milliseconds since 1970.
    pub event_time: Option<Scalar>,
    /// Who says so. Default `label`.
    pub source: Option<Scalar>,
    /// Default 1.
    pub weight: Option<Scalar>,
    /// Taken and not looked at: a slot has one label.
    #[serde(default, rename = "metric_name")]
    pub _metric_name: IgnoredAny,
    #[serde(default, rename = "tags")]
    pub _tags: IgnoredAny,
}

/// A value without parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

/// Labels of one request at the most.
pub const LABELS_MAX: usize = 100_000;
/// Bodies of labels above this many bytes are read aside: 16 KiB take up to half a millisecond.
pub const LARGE: usize = 16 << 10;
/// Labels above this number are checked, and their answer is written, aside: about 1 µs for each.
pub const FEW: usize = 200;
/// Bytes that a label is charged beside those of its body, until it is answered.
const LABEL_BYTES: usize = 256;
/// Bytes of a source's name.
const SOURCE_MAX: usize = 100;
/// Characters of what a caller is told of broken JSON.
const TOLD_MAX: usize = 200;

/// Reads a scalar.
struct ScalarVisitor;

/// Reads the labels of an array up to one too many, into a list that is kept when the array breaks.
struct Items<'a>(&'a mut Vec<Result<Sent, String>>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        let whole = i64::try_from(value).map(Scalar::Whole);
        Ok(whole.unwrap_or(Scalar::Number(value as f64)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_string()))
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            self.0.push(one(item.get()));
            if self.0.len() > LABELS_MAX {
                return Err(de::Error::custom("expected fewer"));
            }
        }
        Ok(())
    }
}

/// The labels of a body: one object, an array of objects, or one object a line. Labels that cannot be
/// read are errors of their own; the second value says whether the body was a single object.
///
/// # Errors
/// When the body is none of these, and [`Code::TooLarge`] when it has more than [`LABELS_MAX`] labels.
pub fn read(body: &[u8]) -> Result<(Vec<Result<Sent, String>>, bool), Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid("body: expected UTF-8"))?;
    let text = text.trim_ascii();
    if text.starts_with('[') {
        return Ok((array(text)?, false));
    }
    if !text.starts_with('{') {
        return Err(Error::invalid(
            "body: expected a JSON object, an array of them, or one a line",
        ));
    }
    // A single object may be written over many lines.
    if let Ok(sent) = serde_json::from_str::<Sent>(text) {
        return Ok((vec![Ok(sent)], true));
    }
    let lines = || text.lines().filter(|line| !line.trim_ascii().is_empty());
    check_count(lines().take(LABELS_MAX + 1).count())?;
    if lines().all(|line| line.trim_ascii().starts_with('{')) && lines().count() > 1 {
        let numbered = lines().enumerate();
        let read = numbered.map(|(index, line)| {
            one(line).map_err(|reason| format!("line {}: {reason}", index + 1))
        });
        return Ok((read.collect(), false));
    }
    Ok((vec![one(text)], true))
}

fn array(text: &str) -> Result<Vec<Result<Sent, String>>, Error> {
    let mut items = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_seq(Items(&mut items));
    // Whatever comes after one too many.
    check_count(items.len())?;
    read.and_then(|()| json.end())
        .map_err(|error| Error::invalid(format!("body: {}", told(&error))))?;
    Ok(items)
}

fn one(text: &str) -> Result<Sent, String> {
    // An array of values would pass for the parts of a label in their order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err("expected an object".to_string());
    }
    serde_json::from_str(text).map_err(|error| told(&error))
}

/// Checks the number of labels of one request.
///
/// # Errors
/// [`Code::TooLarge`] above [`LABELS_MAX`].
pub fn check_count(count: usize) -> Result<(), Error> {
    match count > LABELS_MAX {
        true => Err(Error::new(
            Code::TooLarge,
            format!("too many labels in one request: expected at most {LABELS_MAX}"),
        )),
        false => Ok(()),
    }
}

/// What is wrong with JSON and where, without anything that the caller wrote.
pub fn told(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.classify() != Category::Data {
        return format!("not JSON, {place}");
    }
    let text = error.to_string();
    let what = match &text {
        it if it.starts_with("unknown field") => "unknown field, ",
        it if it.starts_with("duplicate field") => "a field that was there before, ",
        _ => "",
    };
    // What was expected is the last part, behind the caller's value.
    let text = text.rsplit_once(" at line ").map_or("", |(text, _)| text);
    let expected = match text.rsplit_once("expected ") {
        Some((_, expected)) => format!(": expected {expected}"),
        None => String::new(),
    };
    let told = format!("{what}{place}{expected}");
    told.chars().take(TOLD_MAX).collect()
}

/// Takes labels and answers them: `write` makes the answer of what became of each. What takes long
/// runs aside, and all of it has to be done by `deadline`.
///
/// # Errors
/// What the journal and `write` say, [`Code::Overloaded`] without room, and
/// [`Code::DeadlineExceeded`]; then the labels may be sent again.
pub async fn taken(
    shared: &Shared,
    deadline: Option<Instant>,
    sent: Vec<Result<Sent, String>>,
    write: impl FnOnce(&[Settled]) -> Result<Vec<u8>, Error> + Send + 'static,
) -> Result<Vec<u8>, Error> {
    let rollout = loop_of(shared)?;
    let many = sent.len() > FEW;
    let mut room = Charge::new(&shared.bodies);
    room.raise(sent.len() * LABEL_BYTES)?;
    let checking = {
        let rollout = rollout.clone();
        move || {
            let checked = sent.into_iter().map(|sent| checked(&rollout, sent?));
            Ok(Batch::new(checked))
        }
    };
    let Batch { labels, reasons } = match many {
        true => shared.aside(deadline, checking).await?,
        false => checking()?,
    };
    let joining = rollout.label(labels);
    let receipts = match deadline {
        None => joining.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), joining)
            .await
            .map_err(|_elapsed| {
                let message = "not all labels were taken in time; they may be sent again";
                Error::new(Code::DeadlineExceeded, message)
            })?,
    }?;
    let answering = {
        let rollout = rollout.clone();
        move || write(&rollout.settle(reasons, receipts))
    };
    match many {
        true => shared.aside(deadline, answering).await,
        false => answering(),
    }
}

/// An error for a whole request of labels, which are counted as refused where it is theirs. Their
/// number is not known of a body that was not read: then it counts as one.
pub fn refused(shared: &Shared, labels: usize, error: Error) -> Error {
    let is_theirs = matches!(
        error.code,
        Code::InvalidArgument | Code::TooLarge | Code::UnsupportedMedia | Code::Unsupported
    );
    if let Some(rollout) = shared.rollout.as_ref().filter(|_| is_theirs) {
        rollout.refuse(labels as u64);
    }
    error
}

/// As [`refused`], of what [`read`] or the decoding of a message says.
pub fn unread(shared: &Shared, error: Error) -> Error {
    let labels = match error.code {
        Code::TooLarge => LABELS_MAX + 1,
        _ => 1,
    };
    refused(shared, labels, error)
}

/// Checks a label as far as that goes without the journal.
fn checked(rollout: &Rollout, sent: Sent) -> Result<Label, String> {
    let slot = text_of("slot", sent.slot)?;
    let id = text_of("prediction_id", sent.prediction_id)?;
    let target = target(id, sent.key, row(sent.row)?)?;
    let given = match sent.value {
        Some(Scalar::Bool(value)) => Given::Number(f64::from(u8::from(value))),
        Some(Scalar::Whole(number)) => Given::Number(number as f64),
        Some(Scalar::Number(number)) => Given::Number(number),
        Some(Scalar::Text(class)) => Given::Class(class),
        None => return Err("expected a key \"value\"".to_string()),
    };
    let weight = match sent.weight {
        None => 1.0,
        Some(Scalar::Whole(number)) => number as f64,
        Some(Scalar::Number(number)) => number,
        Some(_) => f64::NAN,
    };
    if !(weight > 0.0 && weight <= 1e9) {
        return Err("weight: expected a number above 0, at most 1e9".to_string());
    }
    let source = text_of("source", sent.source)?.unwrap_or_else(|| "label".to_string());
    check_text("source", &source, SOURCE_MAX)?;
    Ok(Label {
        value: rollout.value(slot.as_deref(), &given)?,
        event_at_ms: sent.event_time.as_ref().map(event_time).transpose()?,
        slot,
        target,
        source,
        weight,
    })
}

fn text_of(name: &str, given: Option<Scalar>) -> Result<Option<String>, String> {
    match given {
        None => Ok(None),
        Some(Scalar::Text(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name}: expected a text")),
    }
}

fn check_text(name: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    match (1..=bytes_max).contains(&text.len()) && !text.contains('\0') {
        true => Ok(()),
        false => Err(format!(
            "{name}: expected 1 to {bytes_max} bytes, none of them zero"
        )),
    }
}

fn row(given: Option<Scalar>) -> Result<Option<u32>, String> {
    let row = match given {
        None => return Ok(None),
        Some(Scalar::Whole(row)) => u32::try_from(row).ok(),
        Some(_) => None,
    };
    row.map(Some)
        .ok_or_else(|| "row: expected a whole number from 0".to_string())
}

fn target(id: Option<String>, key: Option<Scalar>, row: Option<u32>) -> Result<Target, String> {
    match (id, key) {
        (Some(id), None) => prediction_id(&id, row),
        (None, Some(key)) => {
            let digits = match key {
                Scalar::Text(text) => Some(text),
                Scalar::Whole(number) => key::digits(number as f64),
                Scalar::Number(number) => key::digits(number),
                Scalar::Bool(_) => None,
            };
            let key = digits.ok_or_else(|| format!("key: {}", key::EXPECTED))?;
            check_text("key", &key, KEY_MAX)?;
            let row = row.unwrap_or(0);
            Ok(Target::Key { key, row })
        }
        (Some(_), Some(_)) => Err("both \"prediction_id\" and \"key\"; expected one".to_string()),
        (None, None) => Err("expected a key \"prediction_id\" or \"key\"".to_string()),
    }
}

fn prediction_id(text: &str, row: Option<u32>) -> Result<Target, String> {
    let expected = || "prediction_id: expected an id as it was answered".to_string();
    let (id, of_row) = match text.split_once('.') {
        Some((id, of_row)) => (id, Some(of_row.parse().map_err(|_| expected())?)),
        None => (text, None),
    };
    let id = Uuid::try_parse(id).map_err(|_| expected())?;
    match (of_row, row) {
        (Some(a), Some(b)) if a != b => {
            Err("\"prediction_id\" and \"row\" name different rows".to_string())
        }
        _ => Ok(Target::Prediction {
            id,
            row: of_row.or(row).unwrap_or(0),
        }),
    }
}

fn event_time(given: &Scalar) -> Result<i64, String> {
    let expected = "event_time: expected RFC 3339 such as \"2026-01-31T12:00:00Z\", or milliseconds since 1970";
    let ms = match given {
        Scalar::Text(text) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| expected.to_string())?
            .as_millisecond(),
        Scalar::Whole(ms) => *ms,
        Scalar::Number(_) | Scalar::Bool(_) => return Err(expected.to_string()),
    };
    check_event(ms)?;
    Ok(ms)
}

#[cfg(test)]
mod tests;
