//! One decision in a line, or on a page with its evidence.

use serde::Deserialize;
use serde_json::Value;

use super::super::client;
use super::super::format::{Ink, UNKNOWN, WIDTH, cut, setting, time, wrapped};
use super::super::report::{Name, Trial};
use super::super::trial::{self, INDENT, line, lines};
use super::chain::Served;

/// What a decision says of itself, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    decision: String,
    actor: String,
    from: Option<Name>,
    to: Option<Name>,
    stage: Option<String>,
    reasons: Vec<String>,
    evidence: Option<Value>,
    dismissed: Vec<Name>,
    /// The digest of the settings it was taken under.
    settings: String,
    alpha: Option<f64>,
    rollback_alpha: Option<f64>,
    version: String,
}

impl Body {
    /// A body that cannot be read says so where its reason would stand.
    fn of(served: &Served) -> Body {
        client::parse(&served.body, "a decision").unwrap_or_else(|reason| Body {
            decision: "?".to_string(),
            reasons: vec![reason],
            ..Body::default()
        })
    }

    /// `3 -> 4`.
    fn way(&self) -> String {
        let told = |name: &Option<Name>| {
            let revision = name.as_ref().map(|name| name.revision.to_string());
            revision.unwrap_or_else(|| UNKNOWN.to_string())
        };
        format!("{} -> {}", told(&self.from), told(&self.to))
    }
}

/// What stands in the columns of [`short`].
pub fn heading() -> String {
    let when = "when (UTC)";
    row([
        " no.",
        when,
        "decision",
        "from -> to",
        "stage",
        "who",
        "why",
    ])
}

/// A decision in a line of at most `width` characters.
pub fn short(served: &Served, width: usize) -> String {
    let body = Body::of(served);
    let told = row([
        &format!("{:>4}", served.seq),
        &time(served.at_ms),
        &body.decision,
        &body.way(),
        body.stage.as_deref().unwrap_or(UNKNOWN),
        &cut(&body.actor, 16),
        body.reasons.first().map_or("", String::as_str),
    ]);
    cut(&told, width)
}

/// A decision with all its reasons, its evidence and its place in the chain.
pub fn long(served: &Served, ink: Ink) -> String {
    let body = Body::of(served);
    let title = format!("{} {}: {}", served.slot, served.seq, body.decision);
    let mut text = vec![format!(
        "{}   {}   {} UTC, by {}",
        ink.strong(&title.replace(char::is_control, " ")),
        body.way(),
        time(served.at_ms),
        body.actor
    )];
    if let Some(stage) = &body.stage {
        text.push(line("stage", stage));
    }
    let reasons = body
        .reasons
        .iter()
        .flat_map(|reason| wrapped(reason, WIDTH - INDENT));
    text.extend(lines("reasons", &reasons.collect::<Vec<_>>()));
    if !body.dismissed.is_empty() {
        let gone = body.dismissed.iter().map(|name| name.revision.to_string());
        text.push(line("given up", &gone.collect::<Vec<_>>().join(", ")));
    }
    text.extend(evidence(&body, served.at_ms, ink));
    let told = |alpha: Option<f64>| alpha.map_or(UNKNOWN.to_string(), setting);
    let settings = format!(
        "{} (alpha {}, rollback alpha {}; hedgerow {})",
        cut(&body.settings, 16),
        told(body.alpha),
        told(body.rollback_alpha),
        body.version
    );
    text.push(line("settings", &settings));
    // Their hashes are not proven here, so they may hold anything.
    text.push(line("hash", &served.hash.replace(char::is_control, " ")));
    text.push(line(
        "previous",
        &served.previous.replace(char::is_control, " "),
    ));
    text.join("\n") + "\n"
}

/// The trial that a decision rests on; what else it may be is shown as it is.
fn evidence(body: &Body, at_ms: i64, ink: Ink) -> Vec<String> {
    let Some(evidence) = body.evidence.as_ref().filter(|it| !it.is_null()) else {
        return vec![line("evidence", "none")];
    };
    match Trial::deserialize(evidence) {
        Ok(trial) => {
            let mut text = vec![String::new()];
            text.push(trial::heading("  EVIDENCE of", &trial, at_ms, ink));
            text.extend(trial::text(&trial, ink));
            text.push(String::new());
            text
        }
        Err(_) => lines("evidence", &wrapped(&evidence.to_string(), WIDTH - INDENT)),
    }
}

fn row(cells: [&str; 7]) -> String {
    let [seq, when, decision, way, stage, who, why] = cells;
    format!("{seq}  {when:<20} {decision:<9} {way:<12} {stage:<7} {who:<16}  {why}")
        .trim_end()
        .to_string()
}
