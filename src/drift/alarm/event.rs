//! An alarm and its forms: the id, the sentence, and a CloudEvent.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::segment;

/// Features that an alarm names at most.
pub const FEATURES_MAX: usize = 20;

/// The type of the CloudEvent.
pub const EVENT_TYPE: &str = "io.hedgerow.drift.alarm";

/// What is said when a verdict of act held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The same on every replica and after a restart: 1 to 200 of `[A-Za-z0-9._-]`, see [`id`].
    pub id: String,
    pub slot: String,
    pub revision: u64,
    /// The first 16 hex digits of the model's digest.
    pub mark: String,
    /// The end of the window that raised it, milliseconds since 1970.
    pub at_ms: i64,
    /// Length of a window.
    pub window_ms: u64,
    /// How many windows in a row held.
    pub windows: u32,
    /// Rows of the last window.
    pub rows: u64,
    /// Worst first, at most [`FEATURES_MAX`].
    pub features: Vec<Drifted>,
}

/// A feature that drifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drifted {
    pub name: String,
    /// Population stability index against the profile.
    pub psi: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// What gave the verdict: `psi`, `missing`, `unseen`.
    pub reason: String,
}

/// The id of the alarm of a slot's window: readable, and unique by a digest of the slot's name where
/// that has characters that an id may not have. At most 160 characters of `[A-Za-z0-9._-]`.
pub fn id(slot: &str, revision: u64, mark: &str, at_ms: i64) -> String {
    let plain = |text: &str, len: usize| -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let chars = text.chars().take(len);
        chars.map(|c| if allowed(c) { c } else { '_' }).collect()
    };
    let digest = Sha256::digest(slot.as_bytes());
    let digest: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!(
        "{}-{digest}-{revision}-{}-{at_ms}",
        plain(slot, 80),
        plain(mark, 16)
    )
}

impl Alarm {
    /// One sentence for people: which features, by how much.
    pub fn sentence(&self) -> String {
        let named: Vec<String> = self
            .features
            .iter()
            .take(3)
            .map(|feature| match feature.reason.as_str() {
                "psi" => format!(
                    "{} (PSI {:.3}, limit {:.3})",
                    feature.name, feature.psi, feature.threshold
                ),
                reason => format!("{} ({reason})", feature.name),
            })
            .collect();
        let more = match self.features.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "drift in {} windows of {} s: {}{more}",
            self.windows,
            self.window_ms / 1_000,
            named.join(", ")
        )
    }

    /// The alarm as a CloudEvent 1.0 in its structured JSON form.
    pub(super) fn cloud_event(&self) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/hedgerow/slots/{}", segment(&self.slot)),
            "type": EVENT_TYPE,
            "subject": self.slot,
            "datacontenttype": "application/json",
            "data": self,
        });
        // The attribute is optional: a time beyond the year 9999 has no RFC 3339 form.
        if let Ok(time) = jiff::Timestamp::from_millisecond(self.at_ms) {
            event["time"] = time.to_string().into();
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::alarm;
    use super::*;

    #[test]
    fn ids_are_plain_and_tell_slots_apart() {
        let at = 1_800_000_000_000;
        let mark = "0123456789abcdef";
        assert_eq!(
            id("fraud", 3, mark, at),
            "fraud-f02b95ed-3-0123456789abcdef-1800000000000"
        );
        let long = "é/ ".repeat(1_000);
        let ids = [
            id("a b", 3, mark, at),
            id("a/b", 3, mark, at),
            id("a_b", 3, mark, at),
            id("a_b", 4, mark, at),
            id("a_b", 4, mark, at + 1),
            id(&long, u64::MAX, &long, i64::MIN),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id));
            assert!(id.len() <= 160, "{}", id.len());
            assert!(
                id.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            );
        }
    }

    #[test]
    fn an_alarm_is_a_cloud_event() {
        let mut alarm = alarm();
        alarm.slot = "fraud eu".to_string();
        let event = alarm.cloud_event();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": alarm.id,
                "source": "/hedgerow/slots/fraud%20eu",
                "type": "io.hedgerow.drift.alarm",
                "time": "2027-01-15T08:00:00Z",
                "subject": "fraud eu",
                "datacontenttype": "application/json",
                "data": {
                    "id": alarm.id,
                    "slot": "fraud eu",
                    "revision": 3,
                    "mark": "0123456789abcdef",
                    "at_ms": 1_800_000_000_000_i64,
                    "window_ms": 60_000,
                    "windows": 3,
                    "rows": 5_000,
                    "features": [
                        {"name": "amount", "psi": 0.41, "threshold": 0.25, "reason": "psi"},
                        {"name": "country", "psi": 0.1, "threshold": 0.25, "reason": "unseen"},
                    ],
                },
            })
        );
        alarm.at_ms = i64::MAX;
        assert!(alarm.cloud_event().get("time").is_none());
    }

    #[test]
    fn the_sentence_names_the_worst_features() {
        let mut alarm = alarm();
        assert_eq!(
            alarm.sentence(),
            "drift in 3 windows of 60 s: amount (PSI 0.410, limit 0.250), country (unseen)"
        );
        alarm.features = vec![alarm.features[1].clone(); 20];
        assert!(alarm.sentence().ends_with("country (unseen) and 17 more"));
        alarm.features.clear();
        assert_eq!(alarm.sentence(), "drift in 3 windows of 60 s: ");
    }
}
