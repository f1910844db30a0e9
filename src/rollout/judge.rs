//! From a course to judgements: the evidence of each trial, what is decided on it, and the record of
//! a decision as the journal keeps it. Nothing is changed here.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::course::Course;
use super::decide::{self, Decision, Evidence, Judgement, ShareCounts, Stage};
use super::document::{Document, Name, OnTrial, WEEK_MS};
use super::gate::Finding;
use super::report::{Money, ShadowCounts, Standing, Trial};
use super::score::Task;
use super::vitals::Vitals;
use crate::model::revision::Revision;
use crate::model::usage::Outcome;

/// Model costs below this do not count as slow, whatever their ratio.
const COST_FLOOR_NS: u64 = 20_000;
const DAY_MS: i64 = 86_400_000;

/// A challenger's trial with its judgement.
#[derive(Debug)]
pub struct Judged {
    pub trial: OnTrial,
    pub judgement: Judgement,
    pub report: Trial,
}

/// Judges the challenger at this place of the document.
pub fn challenger(course: &mut Course, index: usize, now_ms: i64) -> Option<Judged> {
    let document = course.document.clone()?;
    let on_trial = document.challengers.get(index)?.clone();
    let evidence = evidence(course, &document, index, now_ms)?;
    let mut judgement = decide::decide(&course.settings.policy, &evidence);
    if course.trial(&on_trial).is_some_and(|it| it.is_full()) {
        judgement
            .reasons
            .push("its trial takes no more rows".to_string());
    }
    let next = course.stage(on_trial.stage + 1).share();
    let other = course.sharing().filter(|it| *it != on_trial.name.revision);
    if let Some(other) = other.filter(|_| next > 0.0 && next < 1.0)
        && judgement.decision == Decision::Promote
    {
        judgement.decision = Decision::Hold;
        judgement.reasons = vec![format!("revision {other} has a share; one has at a time")];
    }
    if let Some(reason) = unpriced(course, &on_trial.name) {
        // Without it missed positives would cost nothing, and who flags least would win.
        judgement.reasons.insert(0, reason);
        judgement.decision = Decision::Hold;
    }
    let standing = standing(course, &on_trial.name, on_trial.since_ms);
    let stage = course.stage(on_trial.stage).to_string();
    let paired = course.trial(&on_trial)?;
    let needed = evidence.findings.iter().filter_map(|it| it.needed).max();
    let report = Trial {
        standing,
        stage,
        stage_since_ms: on_trial.stage_since_ms,
        labels: evidence.labels,
        positives: evidence.positives,
        pairing: evidence.pairing,
        agreement: evidence.agreement,
        saving: money(paired.trial.cost_difference()),
        findings: evidence.findings,
        guards: judgement.guards.clone(),
        decision: judgement.decision,
        reasons: judgement.reasons.clone(),
        needed,
    };
    Some(Judged {
        trial: on_trial,
        judgement,
        report,
    })
}

/// Why money cannot be counted, when the costs need a feature that a revision does not have.
fn unpriced(course: &Course, challenger: &Name) -> Option<String> {
    let feature = &course.settings.amount_feature;
    if feature.is_empty() {
        return None;
    }
    let document = course.document.as_ref()?;
    let names = [&document.champion, challenger];
    let lacking = names.into_iter().find(|name| {
        let revision = course.resident(name);
        revision.is_some_and(|it| !it.signature.names().contains(feature))
    })?;
    Some(format!(
        "cost_amount_feature \"{feature}\" is not a feature of revision {}",
        lacking.revision
    ))
}

fn evidence(
    course: &mut Course,
    document: &Document,
    index: usize,
    now_ms: i64,
) -> Option<Evidence> {
    let trial = document.challengers.get(index)?;
    let stage = course.settings.policy.stages.get(trial.stage).copied();
    let share = match stage {
        Some(Stage::Share(expected)) => {
            course
                .split(&trial.name.mark, trial.stage)
                .map(|(challenger, champion)| ShareCounts {
                    expected,
                    challenger,
                    champion,
                })
        }
        _ => None,
    };
    let coverage = course.label_coverage();
    let fraction = course.watch.shadow_fraction;
    let cooldown = pause(course, document, now_ms);
    let champion = course.resident(&document.champion);
    let challenger = course.resident(&trial.name);
    let shadow = challenger.as_deref().map(seen).unwrap_or_default();
    let latency_ratio = match (&champion, &challenger) {
        (Some(champion), Some(challenger)) => ratio(challenger, champion),
        _ => f64::NAN,
    };
    let paired = course.trial(trial)?;
    let binary = matches!(paired.trial.design().task, Task::Binary { .. });
    let elapsed = |since: i64| u64::try_from(now_ms - since).unwrap_or(0);
    Some(Evidence {
        stage: trial.stage,
        findings: paired.look(),
        labels: paired.trial.len() as u64 - paired.trial.invalid(),
        positives: binary.then(|| paired.trial.positives()),
        coverage,
        pairing: paired.pairing(fraction),
        rows: shadow.rows,
        errors: shadow.errors + shadow.misfits,
        invalid: shadow.invalid,
        agreement: paired.agreement(),
        latency_ratio,
        share,
        in_stage_ms: elapsed(trial.stage_since_ms),
        in_trial_ms: elapsed(trial.since_ms),
        identical: trial.name.mark == document.champion.mark,
        approved: trial.approved,
        cooldown,
    })
}

/// Why to go back to the previous champion.
#[derive(Debug)]
pub struct Trip {
    pub reason: String,
    /// The champion breaks; nobody need be asked.
    pub is_hard: bool,
}

/// Judges the previous champion, and the present one's vitals: why to go back, if so.
pub fn previous(course: &mut Course) -> (Option<Trial>, Option<Trip>) {
    let Some(document) = course.document.clone() else {
        return (None, None);
    };
    let Some(previous) = document.previous.clone() else {
        return (None, None);
    };
    let policy = course.settings.policy.clone();
    let spans = match course.resident(&document.champion) {
        None => Vec::new(),
        Some(champion) => {
            let vitals = course.vitals.take().filter(|it| it.are_of(&champion));
            let now = Instant::now();
            let mut vitals = vitals.unwrap_or_else(|| Vitals::new(&champion, now));
            let limits = (course.settings.p99_ms_max, policy.windows);
            let health = vitals.look(&champion, limits, now);
            course.vitals = Some(vitals);
            health
        }
    };
    let standing = standing(course, &previous.name, document.since_ms);
    let mut report = Trial {
        standing,
        stage: "previous".to_string(),
        stage_since_ms: document.since_ms,
        labels: 0,
        positives: None,
        pairing: 1.0,
        agreement: 1.0,
        findings: Vec::new(),
        guards: Vec::new(),
        decision: decide::Decision::Hold,
        reasons: Vec::new(),
        needed: None,
        saving: money(super::gate::Saving {
            total: 0.0,
            mean: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
        }),
    };
    let fraction = course.watch.shadow_fraction;
    if let Some(paired) = course.rollback() {
        let task = paired.trial.design().task;
        report.labels = paired.trial.len() as u64 - paired.trial.invalid();
        report.positives = matches!(task, Task::Binary { .. }).then(|| paired.trial.positives());
        report.pairing = paired.pairing(fraction);
        report.agreement = paired.agreement();
        report.findings = paired.look();
        report.saving = money(paired.trial.cost_difference());
    }
    // Going back to what was itself rolled back from is for a person to decide.
    let hard = spans.iter().find_map(|it| decide::trip(&policy, it));
    let is_hard = hard.is_some();
    let proven = decide::Health {
        findings: report.findings.clone(),
        ..decide::Health::default()
    };
    let trip = match previous.sound {
        true => hard.or_else(|| decide::trip(&policy, &proven)),
        false => None,
    };
    let trip = trip.map(|reason| Trip { reason, is_hard });
    report.reasons = vec![match (&trip, previous.sound) {
        (Some(trip), _) => trip.reason.clone(),
        (None, true) => "the champion was not found worse".to_string(),
        (None, false) => "it was rolled back from".to_string(),
    }];
    if trip.is_some() {
        report.decision = decide::Decision::Rollback;
    }
    (Some(report), trip)
}

/// Whether the test that may roll back has found the champion better, or takes no more pairs.
pub fn is_settled(course: &mut Course) -> bool {
    let settings = &course.settings;
    course
        .rollback
        .as_mut()
        .is_some_and(|it| it.is_full() || settings.is_settled(it.trial.len(), &it.look()))
}

/// What is known of a revision.
pub fn standing(course: &mut Course, name: &Name, since_ms: i64) -> Standing {
    let resident = course.resident(name);
    let (matured, metrics) = match course.task {
        None => (0, Vec::new()),
        Some(task) => course.matured.metrics(&task, &name.mark),
    };
    Standing {
        name: name.clone(),
        resident: resident.is_some(),
        since_ms,
        matured,
        label_coverage: course.label_coverage(),
        metrics,
        shadow: resident.as_deref().map(shadow_counts).unwrap_or_default(),
    }
}

/// A decision and what it rests on, as the journal keeps it.
pub fn record(
    course: &Course,
    decision: &'static str,
    actor: &str,
    what: Value,
) -> (&'static str, String) {
    let mut record = json!({
        "decision": decision,
        "slot": course.slot.name,
        "actor": actor,
        "settings": course.settings.digest(&course.watch),
        "alpha": course.settings.alpha,
        "rollback_alpha": course.settings.rollback_alpha,
        "version": env!("CARGO_PKG_VERSION"),
        "outcome_seq": course.seq,
    });
    if let (Value::Object(record), Value::Object(what)) = (&mut record, what) {
        record.extend(what);
    }
    (decision, record.to_string())
}

/// Why the controller promotes nothing for now.
fn pause(course: &Course, document: &Document, now_ms: i64) -> Option<String> {
    let settings = &course.settings;
    let within =
        |times: &[i64], ms: i64| times.iter().filter(|at| now_ms - **at < ms).count() as u64;
    let rollbacks = within(&document.rolled_back_ms, WEEK_MS);
    let most = settings.rollbacks_per_week_max;
    if most > 0 && rollbacks >= most {
        return Some(format!("{rollbacks} rollbacks in a week"));
    }
    let cooldown = i64::try_from(settings.cooldown_ms).unwrap_or(i64::MAX);
    if within(&document.rolled_back_ms, cooldown) > 0 {
        return Some("it cools down after a rollback".to_string());
    }
    let promotions = within(&document.promoted_ms, DAY_MS);
    let most = settings.promotions_per_day_max;
    (most > 0 && promotions >= most).then(|| format!("{promotions} promotions in a day"))
}

/// How much longer a row takes, costs that nobody notices set aside.
pub fn ratio(challenger: &Revision, champion: &Revision) -> f64 {
    let cost = |revision: &Revision| revision.cost.row_ns.max(COST_FLOOR_NS) as f64;
    cost(challenger) / cost(champion)
}

/// Rows that a challenger was given, in shadow and, with a share, to answer.
fn seen(revision: &Revision) -> ShadowCounts {
    let shadow = shadow_counts(revision);
    let usage = &revision.usage;
    let failed = usage.ended(Outcome::Failed).count();
    ShadowCounts {
        rows: shadow.rows + usage.checked.load(Ordering::Relaxed) + failed,
        errors: shadow.errors + failed,
        misfits: shadow.misfits,
        invalid: shadow.invalid + usage.checked_invalid.load(Ordering::Relaxed),
    }
}

fn shadow_counts(revision: &Revision) -> ShadowCounts {
    let shadow = &revision.usage.shadow;
    ShadowCounts {
        rows: shadow.rows.load(Ordering::Relaxed),
        errors: shadow.errors.load(Ordering::Relaxed),
        misfits: shadow.misfits.load(Ordering::Relaxed),
        invalid: shadow.invalid.load(Ordering::Relaxed),
    }
}

fn money(saving: super::gate::Saving) -> Money {
    Money {
        total: saving.total,
        per_row: saving.mean,
        lower: saving.lower,
        upper: saving.upper,
    }
}

/// The verdicts of findings in one line, for logs.
pub fn verdicts(findings: &[Finding]) -> String {
    let each = findings
        .iter()
        .map(|it| format!("{} {:?}", it.measure.name(), it.verdict));
    each.collect::<Vec<_>>().join(", ")
}
