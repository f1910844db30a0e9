//! `hedgerow.v1.Feedback/Label`: labels by a lane of their own. Their number is known before they are
//! decoded: an empty label takes two bytes of a message and a hundred times as many of memory.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, Response};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::infer::header;
use super::loop_pb::{self as pb, label_response::Result as Told};
use super::{Packing, answered, framed, headless};
use crate::api::Shared;
use crate::api::body::{self, Body, Charge};
use crate::api::control::loop_of;
use crate::api::feedback::{self, Scalar, Sent};
use crate::error::Error;
use crate::rollout::feedback::Settled;
use pb::outcome::{Target, Value as Given};

/// The labels of a call.
type Labels = Vec<Result<Sent, String>>;

/// The field of a request that has its labels.
const LABELS: u32 = 1;

/// Answers a call, whose body is charged until then.
///
/// # Errors
/// What is wrong with the headers or the message, and as [`feedback::taken`].
pub async fn label(
    shared: &Shared,
    headers: &HeaderMap,
    received: Instant,
    body: (Bytes, Charge),
) -> Result<Response<Body>, Error> {
    loop_of(shared)?;
    let timeout = header(headers)?;
    let deadline = shared.deadline(received, timeout);
    let read = read(shared, headers, deadline, body).await;
    let (labels, charge) = read.map_err(|error| feedback::refused(shared, 1, error))?;
    let labels = labels.map_err(|error| feedback::unread(shared, error))?;
    let write = |results: &[Settled]| {
        let results = results.iter().map(told).collect();
        framed(&pb::LabelResponse { results })
    };
    let answer = feedback::taken(shared, deadline, labels, write).await?;
    drop(charge);
    Ok(answered(answer))
}

/// The labels of a body, or what is wrong with them.
async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    deadline: Option<Instant>,
    (bytes, mut charge): (Bytes, Charge),
) -> Result<(Result<Labels, Error>, Charge), Error> {
    let packing = Packing::of(headers)?;
    let limit = shared.settings.body_bytes_max;
    let (packed, message) = headless(bytes, packing)?;
    let small = match packed {
        false => (message.len() <= feedback::LARGE).then(|| message.clone()),
        true => body::gunzip_small(&message, limit, &mut charge)?,
    };
    if let Some(message) = &small
        && count(message).is_ok_and(|count| count <= feedback::FEW)
    {
        return Ok((decode(message.clone()), charge));
    }
    let work = move || {
        let message = match (small, packed) {
            (Some(message), _) => message,
            (None, true) => body::gunzip(&message, limit, &mut charge)?,
            (None, false) => message,
        };
        Ok((decode(message), charge))
    };
    shared.aside(deadline, work).await
}

/// The labels of a message.
///
/// # Errors
/// [`crate::error::Code::TooLarge`] when they are too many, before any is decoded.
fn decode(message: Bytes) -> Result<Labels, Error> {
    feedback::check_count(count(&message)?)?;
    let request = pb::LabelRequest::decode(message).map_err(broken)?;
    Ok(request.labels.into_iter().map(|it| Ok(sent(it))).collect())
}

/// Labels of a message.
///
/// # Errors
/// When it is not a message.
fn count(mut message: &[u8]) -> Result<usize, Error> {
    let mut labels = 0;
    while !message.is_empty() {
        let (field, wire) = decode_key(&mut message).map_err(broken)?;
        labels += usize::from(field == LABELS);
        skip_field(wire, field, &mut message, DecodeContext::default()).map_err(broken)?;
    }
    Ok(labels)
}

fn broken(_error: prost::DecodeError) -> Error {
    Error::invalid("body: expected a LabelRequest")
}

fn sent(outcome: pb::Outcome) -> Sent {
    let (prediction_id, key) = match outcome.target {
        Some(Target::PredictionId(id)) => (Some(Scalar::Text(id)), None),
        Some(Target::Key(key)) => (None, Some(Scalar::Text(key))),
        None => (None, None),
    };
    let text = |text: String| (!text.is_empty()).then_some(Scalar::Text(text));
    // An id may say its row itself.
    let has_row = key.is_some() || outcome.row != 0;
    Sent {
        row: has_row.then_some(Scalar::Whole(outcome.row.into())),
        slot: text(outcome.slot),
        prediction_id,
        key,
        value: outcome.value.map(|value| match value {
            Given::IsPositive(value) => Scalar::Bool(value),
            Given::Number(number) => Scalar::Number(number),
            Given::Class(class) => Scalar::Text(class),
        }),
        event_time: (outcome.event_at_ms != 0).then_some(Scalar::Whole(outcome.event_at_ms)),
        source: text(outcome.source),
        weight: (outcome.weight != 0.0).then_some(Scalar::Number(outcome.weight)),
        ..Sent::default()
    }
}

fn told(result: &Settled) -> Told {
    match result {
        Ok(receipt) => Told {
            status: receipt.status.name().to_string(),
            feedback_id: receipt.feedback_id.hyphenated().to_string(),
            error: String::new(),
            retry: false,
        },
        Err(refusal) => Told {
            status: "refused".to_string(),
            feedback_id: String::new(),
            error: refusal.reason.clone(),
            retry: refusal.later,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn labels_are_counted_before_they_are_decoded() {
        let outcome = pb::Outcome {
            slot: "x".to_string(),
            target: Some(Target::Key("k".to_string())),
            row: 3,
            value: Some(Given::Number(0.5)),
            ..pb::Outcome::default()
        };
        let labels = vec![outcome, pb::Outcome::default()];
        let mut message = pb::LabelRequest { labels }.encode_to_vec();
        // A field that nobody knows.
        message.extend([0x12, 2, 10, 0]);
        assert_eq!(count(&message), Ok(2));
        assert_eq!(decode(message.into()).map(|it| it.len()), Ok(2));
        let many = [10, 0].repeat(feedback::LABELS_MAX + 1);
        assert_eq!(decode(many.into()).unwrap_err().code, Code::TooLarge);
        for broken in [&[10][..], &[10, 5, 1], &[0], &[0xff; 20]] {
            assert!(count(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_row_is_taken_with_a_key_and_where_it_is_not_zero() {
        let with = |target: Target, row: u32| {
            let target = Some(target);
            sent(pb::Outcome {
                target,
                row,
                ..pb::Outcome::default()
            })
            .row
        };
        let id = || Target::PredictionId("7".to_string());
        let row = |row| Some(Scalar::Whole(row));
        assert_eq!(with(Target::Key("k".to_string()), 0), row(0));
        assert_eq!(with(id(), 0), None);
        assert_eq!(with(id(), 2), row(2));
    }
}
