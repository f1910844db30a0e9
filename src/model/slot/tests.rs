use std::time::SystemTime;

use super::*;
use crate::engine::{Engine, EngineError, Feature, Format, Outline, Output};
use crate::model::revision::Cost;
use crate::model::signature::Signature;
use crate::tensor::{DType, Element, Rows};

#[derive(Debug)]
struct Nothing(Outline);

impl Engine for Nothing {
    fn outline(&self) -> &Outline {
        &self.0
    }

    fn predict(&self, _rows: &Rows, _out: &mut [f64]) -> Result<(), EngineError> {
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

/// SHA-256 of `fraud`, a zero byte and `card-17`, its first 53 bits as a fraction; by Python's hashlib.
const DRAW: f64 = 0.23537246273436696;

/// A revision of one feature with this name.
fn reading(id: u64, feature: &str) -> Arc<Revision> {
    let outline = Outline {
        engine: "nothing",
        format: Format::Onnx,
        element: Element::F64,
        features: vec![Feature {
            name: Some(feature.to_string()),
            ..Feature::default()
        }],
        outputs: vec![Output {
            name: "predict".to_string(),
            dtype: DType::Fp64,
            columns: None,
            offset: 0,
            labels: Vec::new(),
            default: true,
        }],
        objective: String::new(),
        trees: None,
        library_version: None,
        refused_by_forest: None,
    };
    Arc::new(Revision {
        slot: "slot".to_string(),
        id,
        uid: id,
        signature: Signature::new(&outline, None).unwrap(),
        engine: Box::new(Nothing(outline)),
        digest: format!("{id:064x}"),
        cost: Cost {
            row_ns: 1,
            batch_row_ns: 1,
        },
        reference: crate::model::revision::Reference::None,
        golden_rows: 0,
        verified_rows: 0,
        prepared_at: SystemTime::now(),
        usage: Default::default(),
        rules: Default::default(),
    })
}

/// A revision of one feature.
pub(crate) fn revision(id: u64) -> Arc<Revision> {
    reading(id, "x")
}

/// Champion, challengers, previous.
fn ids(slot: &Slot) -> (u64, Vec<u64>, Option<u64>) {
    let roles = slot.roles().unwrap();
    (
        roles.champion.id,
        roles.challengers.iter().map(|it| it.revision.id).collect(),
        roles.previous.as_ref().map(|it| it.id),
    )
}

fn left(departed: &Departed) -> Vec<u64> {
    departed.iter().map(|it| it.id).collect()
}

#[test]
fn a_challenger_answers_nothing_until_it_is_promoted() {
    let slot = Slot::new("slot");
    assert!(slot.enlist(revision(1), 2).is_empty());
    assert_eq!(ids(&slot), (1, vec![], None), "the first one answers");
    slot.enlist(revision(2), 2);
    slot.enlist(revision(3), 2);
    assert_eq!(ids(&slot), (1, vec![2, 3], None));
    assert_eq!(left(&slot.enlist(revision(4), 2)), [2], "the oldest leaves");
    assert_eq!(
        slot.states()[&2],
        State::Unavailable("a newer challenger took its place".into())
    );
    let roles = slot.roles().unwrap();
    assert_eq!(roles.assign(|| unreachable!()).id, 1);
    assert!(slot.promote(4).is_empty());
    assert_eq!(ids(&slot), (4, vec![3], Some(1)));
    // Back and forth by a pointer.
    assert!(slot.promote(1).is_empty());
    assert_eq!(ids(&slot), (1, vec![3], Some(4)));
    assert!(
        slot.promote(77).is_empty(),
        "who is not there changes nothing"
    );
    assert_eq!(ids(&slot), (1, vec![3], Some(4)));
    assert_eq!(left(&slot.promote(3)), [4]);
    assert_eq!(
        left(&slot.dismiss(3, "no")),
        [0_u64; 0],
        "a champion is not dismissed"
    );
    assert_eq!(slot.usage.swaps.load(Ordering::Relaxed), 4);
}

#[test]
fn a_swap_keeps_the_trials_and_a_revision_that_leaves_ends_its_own() {
    let slot = Slot::new("slot");
    slot.commit(revision(1), Instant::now());
    slot.enlist(revision(2), 2);
    slot.enlist(revision(3), 2);
    slot.commit(revision(2), Instant::now());
    assert_eq!(ids(&slot), (2, vec![3], Some(1)));
    assert_eq!(left(&slot.retire(3, "gone")), [3]);
    assert_eq!(left(&slot.retire(2, "gone")), [2]);
    assert_eq!(ids(&slot), (1, vec![], None));
    slot.enlist(revision(4), 2);
    assert_eq!(
        left(&slot.retire(1, "gone")),
        [1, 4],
        "a challenger does not inherit"
    );
    assert!(slot.roles().is_none());
    slot.retain(revision(5));
    slot.retain(revision(6));
    assert_eq!(ids(&slot), (5, vec![], Some(6)));
}

#[test]
fn shares_are_sticky_and_as_large_as_they_should_be() {
    let slot = Slot::new("fraud");
    slot.commit(revision(1), Instant::now());
    slot.enlist(revision(2), 2);
    slot.set_share(2, 0.25);
    let roles = slot.roles().unwrap();
    let answers = |key: u32| {
        let draw = slot.draw(&key.to_le_bytes());
        assert!((0.0..1.0).contains(&draw));
        roles.assign(|| draw).id
    };
    let share = (0..4000).filter(|key| answers(*key) == 2).count();
    assert!((900..1100).contains(&share), "{share}");
    assert!((0..100).all(|key| answers(key) == answers(key)));
    // What it is today it is in every version: another place would move keys.
    assert!(
        (slot.draw(b"card-17") - DRAW).abs() < 1e-15,
        "{}",
        slot.draw(b"card-17")
    );
    assert_ne!(Slot::new("churn").draw(b"card-17"), slot.draw(b"card-17"));
}

#[test]
fn roles_know_whether_all_read_alike() {
    let slot = Slot::new("slot");
    slot.commit(revision(1), Instant::now());
    slot.enlist(revision(2), 2);
    assert!(slot.roles().unwrap().alike);
    slot.enlist(reading(3, "y"), 2);
    assert!(!slot.roles().unwrap().alike);
    slot.dismiss(3, "no");
    assert!(slot.roles().unwrap().alike);
}
