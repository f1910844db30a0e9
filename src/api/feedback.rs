//! Labels as callers send them, over both protocols, and what each is told.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Code, Error};
use crate::journal::labels::{Label, Receipt, Target};
use crate::rollout::Rollout;
use crate::rollout::feedback::{Given, check_event};
use crate::serve::KEY_MAX;

/// A label before it is checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    pub slot: Option<String>,
    /// A prediction's id, of the first row or with `.n` of row `n`; or `key`.
    pub prediction_id: Option<String>,
    /// What the caller called the request.
    pub key: Option<Value>,
    /// The row of the request that `key` names. Default 0.
    pub row: Option<u32>,
    /// A boolean, a number, or a class by its name.
    pub value: Option<Value>,
    /// RFC 3339, or milliseconds since 1970.
    pub event_time: Option<Value>,
    /// Who says so. Default `label`.
    pub source: Option<String>,
    /// Default 1.
    pub weight: Option<f64>,
    /// Taken and not looked at: a slot has one label.
    #[serde(rename = "metric_name")]
    pub _metric_name: Option<Value>,
    #[serde(rename = "tags")]
    pub _tags: Option<Value>,
}

/// Labels of one request at the most.
pub const LABELS_MAX: usize = 100_000;
/// Bytes of a source's name.
const SOURCE_MAX: usize = 100;

/// The labels of a body: one object, an array of objects, or one object a line. Labels that cannot be
/// read are errors of their own; the second value says whether the body was a single object.
///
/// # Errors
/// When the body is none of these, or has too many labels.
pub fn read(body: &[u8]) -> Result<(Vec<Result<Sent, String>>, bool), Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid("body: expected UTF-8"))?;
    let text = text.trim_ascii();
    let one = |text: &str| serde_json::from_str::<Sent>(text).map_err(|error| told(&error));
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("body: {}", told(&error))))?;
        check_count(items.len())?;
        return Ok((items.into_iter().map(|it| one(it.get())).collect(), false));
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
    check_count(lines().count())?;
    if lines().all(|line| line.trim_ascii().starts_with('{')) && lines().count() > 1 {
        let numbered = lines().enumerate();
        let read = numbered.map(|(index, line)| {
            one(line).map_err(|reason| format!("line {}: {reason}", index + 1))
        });
        return Ok((read.collect(), false));
    }
    Ok((vec![one(text)], true))
}

fn check_count(count: usize) -> Result<(), Error> {
    match count > LABELS_MAX {
        true => Err(Error::new(
            Code::TooLarge,
            format!("{count} labels in one request; at most {LABELS_MAX} are taken"),
        )),
        false => Ok(()),
    }
}

/// What is wrong with JSON, without the values in it.
fn told(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => error.to_string(),
        _ => format!("not JSON, line {}, column {}", error.line(), error.column()),
    }
}

/// Checks a label as far as that goes without the journal.
///
/// # Errors
/// The key, and what was expected of it.
pub fn checked(rollout: &Rollout, sent: Sent) -> Result<Label, String> {
    let target = target(&sent)?;
    let given = match &sent.value {
        Some(Value::Bool(value)) => Given::Number(f64::from(u8::from(*value))),
        Some(Value::Number(number)) => Given::Number(number.as_f64().unwrap_or(f64::NAN)),
        Some(Value::String(class)) => Given::Class(class.clone()),
        None => return Err("expected a key \"value\"".to_string()),
        Some(_) => return Err("value: expected a boolean, a number or a text".to_string()),
    };
    let weight = sent.weight.unwrap_or(1.0);
    if !(weight > 0.0 && weight <= 1e9) {
        return Err("weight: expected a number above 0, at most 1e9".to_string());
    }
    let source = sent.source.unwrap_or_else(|| "label".to_string());
    if source.len() > SOURCE_MAX {
        return Err(format!("source: expected at most {SOURCE_MAX} bytes"));
    }
    Ok(Label {
        value: rollout.value(sent.slot.as_deref(), &given)?,
        event_at_ms: sent.event_time.as_ref().map(event_time).transpose()?,
        slot: sent.slot,
        target,
        source,
        weight,
    })
}

fn target(sent: &Sent) -> Result<Target, String> {
    match (&sent.prediction_id, &sent.key) {
        (Some(id), None) => prediction_id(id, sent.row),
        (None, Some(key)) => {
            let key = match key {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return Err("key: expected a text or a number".to_string()),
            };
            if !(1..=KEY_MAX).contains(&key.len()) {
                return Err(format!("key: expected 1 to {KEY_MAX} bytes"));
            }
            Ok(Target::Key {
                key,
                row: sent.row.unwrap_or(0),
            })
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

fn event_time(value: &Value) -> Result<i64, String> {
    let expected = "event_time: expected RFC 3339 such as \"2026-01-31T12:00:00Z\", or milliseconds since 1970";
    let ms = match value {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| expected.to_string())?
            .as_millisecond(),
        Value::Number(number) => number.as_i64().ok_or(expected)?,
        _ => return Err(expected.to_string()),
    };
    check_event(ms)?;
    Ok(ms)
}

/// What the caller of one label is told, as JSON.
pub fn told_of(result: &Result<Receipt, String>) -> Value {
    match result {
        Ok(receipt) => serde_json::json!({
            "feedback_id": receipt.feedback_id.hyphenated().to_string(),
            "status": receipt.status.name(),
        }),
        Err(reason) => serde_json::json!({"status": "refused", "error": reason}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_an_array_or_one_a_line() {
        let check = |body: &str, expected: (usize, bool)| {
            let (sent, single) = read(body.as_bytes()).unwrap();
            assert!(sent.iter().all(Result::is_ok), "{body}: {sent:?}");
            assert_eq!((sent.len(), single), expected, "{body}");
        };
        check(r#"{"key":"a","value":true}"#, (1, true));
        check("{\"key\":\"a\",\n\"value\":true}\n", (1, true));
        check(r#"[{"key":"a","value":1},{"key":2,"value":0}]"#, (2, false));
        check("[]", (0, false));
        check(
            "{\"key\":\"a\",\"value\":1}\n\n{\"key\":\"b\",\"value\":0}\n",
            (2, false),
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_where_it_stands() {
        for (body, expected) in [
            ("", "expected a JSON object"),
            ("\"a\"", "expected a JSON object"),
            ("[1,", "not JSON"),
            ("{\"key\"", "not JSON"),
        ] {
            let refused = read(body.as_bytes()).map(|(sent, _)| sent[0].clone().unwrap_err());
            let message = refused.unwrap_or_else(|error| error.message);
            assert!(message.contains(expected), "{body}: {message}");
        }
        let (sent, _) = read(b"{\"key\":\"a\",\"value\":1}\n{\"kex\":\"b\"}").unwrap();
        let reason = sent[1].clone().unwrap_err();
        assert!(
            reason.starts_with("line 2: unknown field `kex`"),
            "{reason}"
        );
        let many = format!("[{}]", vec!["{}"; LABELS_MAX + 1].join(","));
        assert_eq!(read(many.as_bytes()).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn a_target_is_an_id_with_a_row_or_a_key() {
        let id = Uuid::from_u128(7);
        let sent = |id: Option<&str>, key: Option<Value>, row| Sent {
            prediction_id: id.map(str::to_string),
            key,
            row,
            ..Sent::default()
        };
        let text = id.to_string();
        let second = format!("{text}.1");
        let at = |row| Ok(Target::Prediction { id, row });
        assert_eq!(target(&sent(Some(&text), None, None)), at(0));
        assert_eq!(target(&sent(Some(&text), None, Some(3))), at(3));
        assert_eq!(target(&sent(Some(&second), None, Some(1))), at(1));
        assert!(target(&sent(Some(&second), None, Some(2))).is_err());
        assert!(target(&sent(Some("7"), None, None)).is_err());
        assert!(target(&sent(None, None, None)).is_err());
        assert!(target(&sent(Some(&text), Some("a".into()), None)).is_err());
        assert!(target(&sent(None, Some("".into()), None)).is_err());
        let key = Target::Key {
            key: "42".to_string(),
            row: 0,
        };
        assert_eq!(target(&sent(None, Some(42.into()), None)), Ok(key));
    }

    #[test]
    fn times_are_rfc_3339_or_milliseconds_and_not_ahead() {
        assert_eq!(event_time(&"1970-01-01T01:00:00+01:00".into()), Ok(0));
        assert_eq!(event_time(&1500.into()), Ok(1500));
        for wrong in ["yesterday".into(), Value::Null, 1.5.into()] {
            assert!(event_time(&wrong).unwrap_err().contains("RFC 3339"));
        }
        assert!(
            event_time(&"2999-01-01T00:00:00Z".into())
                .unwrap_err()
                .contains("future")
        );
    }
}
