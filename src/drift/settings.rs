//! Settings of drift, of all slots and of one.

use std::collections::{BTreeMap, BTreeSet};

use super::alarm::airflow::{Airflow, Version};
use super::alarm::prefect::{Deployment, Prefect};
use super::alarm::{self, Authorities, Secret, Url, Webhook};
use super::measure::Terms;
use super::report::Thresholds;
use super::window::Lengths;

/// Settings of drift.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Features of a slot that have series of their own: those of the highest PSI.
    pub features_in_metrics: usize,
    /// For slots without settings of their own.
    pub slot: SlotSettings,
    pub slots: BTreeMap<String, SlotSettings>,
}

/// Settings of one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotSettings {
    pub lengths: Lengths,
    pub terms: Terms,
    /// Short windows in a row whose verdict is `act`, until there is an alarm.
    pub alarm_windows: u32,
    /// Time after an alarm without another.
    pub cooldown_ms: u64,
    /// Rows that become the reference where there is no profile.
    pub reference_rows: usize,
    /// Bins of each number of such a reference.
    pub bins: usize,
    pub calls: Calls,
}

/// What an alarm calls, as it is configured: a target is called where its address is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    pub webhook: Option<Url>,
    pub webhook_token: Option<Secret>,
    pub airflow: Option<Url>,
    pub airflow_dag: String,
    pub airflow_version: Version,
    pub airflow_user: String,
    pub airflow_password: Option<Secret>,
    pub prefect: Option<Url>,
    pub prefect_deployment: Option<Deployment>,
    pub prefect_auth: Option<Secret>,
    /// Who vouches for `https` addresses; none: the public authorities.
    pub authorities: Option<Authorities>,
}

const HOUR_MS: u64 = 60 * 60 * 1000;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            features_in_metrics: 10,
            slot: SlotSettings::default(),
            slots: BTreeMap::new(),
        }
    }
}

impl Default for SlotSettings {
    fn default() -> SlotSettings {
        SlotSettings {
            lengths: Lengths {
                short_ms: HOUR_MS,
                long_ms: 24 * HOUR_MS,
            },
            terms: Terms {
                thresholds: Thresholds {
                    watch: 0.1,
                    act: 0.25,
                    rows_min: 1000,
                },
                ignore: BTreeSet::new(),
                threshold: 0.5,
            },
            alarm_windows: 2,
            cooldown_ms: 24 * HOUR_MS,
            reference_rows: 10_000,
            bins: 20,
            calls: Calls::default(),
        }
    }
}

impl Settings {
    /// The settings of a slot.
    pub fn of(&self, slot: &str) -> &SlotSettings {
        self.slots.get(slot).unwrap_or(&self.slot)
    }
}

impl Settings {
    /// Whether an alarm of any slot calls anybody.
    pub fn calls_any(&self) -> bool {
        let mut all = self.slots.values().chain([&self.slot]);
        all.any(|it| {
            let calls = &it.calls;
            calls.webhook.is_some() || calls.airflow.is_some() || calls.prefect.is_some()
        })
    }
}

impl Calls {
    /// The targets.
    ///
    /// # Errors
    /// The key that is missing beside an address, and what for.
    pub fn hooks(&self) -> Result<alarm::Settings, (&'static str, String)> {
        let webhook = self.webhook.clone().map(|url| Webhook {
            url,
            token: self.webhook_token.clone(),
        });
        let airflow = match &self.airflow {
            None => None,
            Some(_) if self.airflow_dag.is_empty() => {
                return Err(missing("airflow_dag", "airflow_url"));
            }
            Some(_) if self.airflow_user.is_empty() => {
                return Err(missing("airflow_user", "airflow_url"));
            }
            Some(url) => Some(Airflow {
                url: url.clone(),
                dag: self.airflow_dag.clone(),
                version: self.airflow_version,
                user: self.airflow_user.clone(),
                password: match &self.airflow_password {
                    Some(password) => password.clone(),
                    None => return Err(missing("airflow_password", "airflow_url")),
                },
            }),
        };
        let prefect = match &self.prefect {
            None => None,
            Some(url) => Some(Prefect {
                url: url.clone(),
                deployment: match &self.prefect_deployment {
                    Some(deployment) => deployment.clone(),
                    None => return Err(missing("prefect_deployment", "prefect_url")),
                },
                auth: self.prefect_auth.clone(),
            }),
        };
        Ok(alarm::Settings {
            webhook,
            airflow,
            prefect,
            authorities: self.authorities.clone(),
            ..alarm::Settings::default()
        })
    }
}

fn missing(key: &'static str, beside: &str) -> (&'static str, String) {
    (
        key,
        format!("drift.{beside} is set, and drift.{key} is not"),
    )
}
