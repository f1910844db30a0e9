//! A plain webhook: the alarm as a CloudEvent, posted. Any 2xx is a delivery; the receiver tells
//! repeats by the event's id.

use super::client::{Failure, Try};
use super::{Alarm, Secret, Url};

/// The media type of a CloudEvent in its structured form.
const MEDIA_TYPE: &str = "application/cloudevents+json";

/// Where events are posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: Url,
    /// Sent as `authorization: Bearer …`.
    pub token: Option<Secret>,
}

impl Webhook {
    pub(super) fn call(&self, attempt: &Try, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let bearer = self.token.as_ref();
        let bearer = bearer.map(|token| format!("Bearer {}", token.expose()));
        let event = alarm.cloud_event();
        let answer = attempt.post(self.url.expose(), bearer.as_deref(), MEDIA_TYPE, &event)?;
        match answer.status.is_success() {
            true => Ok(None),
            // Its page may repeat the path or the token.
            false => Err(answer.silent_failure("the webhook")),
        }
    }
}
