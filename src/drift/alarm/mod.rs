//! What an alarm calls: a webhook, a DAG of Airflow, a deployment of Prefect, each by its own protocol
//! and with its own retries. An alarm has one id for ever, so calling twice starts one run. Nothing
//! here decides that there is an alarm, and nothing waits for what was started.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod address;
pub mod airflow;
mod client;
pub mod courier;
mod delivery;
pub mod event;
pub mod prefect;
#[cfg(test)]
mod tests;
pub mod webhook;

pub use address::{Authorities, Secret, Url};
pub use airflow::Airflow;
pub use courier::{Count, Courier};
pub use event::{Alarm, Drifted};
pub use prefect::Prefect;
pub use webhook::Webhook;

use client::{Client, Failure};

/// The longest that one try may take: shorter than the server's drain.
pub const TIMEOUT_MS_MAX: u64 = 8_000;

/// What the alarms of a slot call, and how persistently. All three targets may stand beside each
/// other; none is fine too.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub webhook: Option<Webhook>,
    pub airflow: Option<Airflow>,
    pub prefect: Option<Prefect>,
    /// Who vouches for `https://` targets; none: the public authorities (Mozilla's list).
    pub authorities: Option<Authorities>,
    /// Milliseconds that one try may take with all its requests, 1 to [`TIMEOUT_MS_MAX`].
    pub timeout_ms: u64,
    /// Milliseconds after which a target that does not answer is given up.
    pub deadline_ms: u64,
    /// The pause after the first try; each further one is twice as long, up to `pause_last_ms`.
    pub pause_first_ms: u64,
    /// The longest pause, also for a target that asks for a longer one.
    pub pause_last_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            webhook: None,
            airflow: None,
            prefect: None,
            authorities: None,
            timeout_ms: TIMEOUT_MS_MAX,
            // A restart of a scheduler takes minutes.
            deadline_ms: 15 * 60_000,
            pause_first_ms: 1_000,
            pause_last_ms: 60_000,
        }
    }
}

/// Something that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Webhook,
    Airflow,
    Prefect,
}

impl Target {
    /// All targets, in the order in which they are called.
    pub const ALL: [Target; 3] = [Target::Webhook, Target::Airflow, Target::Prefect];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Target::Webhook => "webhook",
            Target::Airflow => "airflow",
            Target::Prefect => "prefect",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of an alarm at one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The target has it, from now or from before.
    Delivered {
        target: Target,
        /// The run that stands for the alarm, as Airflow or Prefect calls it.
        run: Option<String>,
        /// Tries, the last one included.
        attempts: u32,
    },
    /// The target does not have it, as far as is known.
    Failed {
        target: Target,
        /// One line without control characters or secrets.
        reason: String,
        attempts: u32,
        /// Whether the target refused it; else time ran out or the server stopped.
        permanent: bool,
    },
}

impl Outcome {
    pub fn target(&self) -> Target {
        match self {
            Outcome::Delivered { target, .. } | Outcome::Failed { target, .. } => *target,
        }
    }

    pub fn is_delivered(&self) -> bool {
        matches!(self, Outcome::Delivered { .. })
    }
}

/// The targets of a slot, ready to be called. It lives as long as the slot, for it remembers tokens
/// and versions from call to call.
#[derive(Debug)]
pub struct Hooks {
    webhook: Option<Webhook>,
    airflow: Option<airflow::Caller>,
    prefect: Option<Prefect>,
    client: Client,
    deadline: Duration,
    pause_first: Duration,
    pause_last: Duration,
}

impl Hooks {
    /// Nothing is sent yet.
    pub fn new(settings: Settings) -> Hooks {
        let timeout_ms = settings.timeout_ms.clamp(1, TIMEOUT_MS_MAX);
        Hooks {
            webhook: settings.webhook,
            airflow: settings.airflow.map(airflow::Caller::new),
            prefect: settings.prefect,
            client: Client::new(
                Duration::from_millis(timeout_ms),
                settings.authorities.as_ref(),
            ),
            deadline: Duration::from_millis(settings.deadline_ms),
            pause_first: Duration::from_millis(settings.pause_first_ms),
            pause_last: Duration::from_millis(settings.pause_last_ms),
        }
    }

    /// What is called, in the order of [`Target::ALL`].
    pub fn targets(&self) -> Vec<Target> {
        let set = [
            self.webhook.is_some(),
            self.airflow.is_some(),
            self.prefect.is_some(),
        ];
        let targets = Target::ALL.into_iter().zip(set);
        targets
            .filter_map(|(target, is_set)| is_set.then_some(target))
            .collect()
    }

    /// One try; gives the run that it started or found.
    fn call(&self, target: Target, alarm: &Alarm) -> Result<Option<String>, Failure> {
        let attempt = self.client.attempt();
        match target {
            Target::Webhook => called(&self.webhook, |hook| hook.call(&attempt, alarm)),
            Target::Airflow => called(&self.airflow, |airflow| airflow.call(&attempt, alarm)),
            Target::Prefect => called(&self.prefect, |prefect| prefect.call(&attempt, alarm)),
        }
    }
}

fn called<T>(
    target: &Option<T>,
    call: impl FnOnce(&T) -> Result<Option<String>, Failure>,
) -> Result<Option<String>, Failure> {
    match target {
        Some(target) => call(target),
        None => Err(Failure::permanent("this target is not set".to_string())),
    }
}
