//! The watched folder: what arrives is served, what is broken is refused, what is gone is dropped,
//! and a revision's memory goes with its last user.

use std::path::Path;
use std::sync::Arc;

use hedgerow::model::slot::State;

use crate::support::{config, copy, start, until};

#[tokio::test(flavor = "multi_thread")]
async fn revisions_come_and_go_with_their_folders() {
    let models = tempfile::tempdir().unwrap();
    let slot_dir = models.path().join("fraud-xgb");
    copy("models/fraud-xgb/1", &slot_dir.join("1"));
    let running = start(config(models.path())).await;
    let slot = running.shared.server.registry.slot("fraud-xgb").unwrap();
    let champion = || slot.roles().map(|roles| roles.champion.id);
    assert_eq!(champion(), Some(1));
    let first = Arc::downgrade(&slot.roles().unwrap().champion);

    copy("examples/fraud-xgb-2", &slot_dir.join("2"));
    until(|| champion() == Some(2)).await;
    let previous = slot
        .roles()
        .unwrap()
        .previous
        .as_ref()
        .map(|revision| revision.id);
    assert_eq!(previous, Some(1));

    std::fs::create_dir(slot_dir.join("3")).unwrap();
    std::fs::write(slot_dir.join("3/model.json"), "{\"learner\":").unwrap();
    until(|| matches!(slot.states().get(&3), Some(State::Unavailable(_)))).await;
    assert_eq!(champion(), Some(2));

    // Mended in place, it is tried again; the first one then has no role and no user.
    std::fs::remove_file(slot_dir.join("3/model.json")).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fraud-xgb/1/model.ubj");
    std::fs::copy(model, slot_dir.join("3/model.ubj")).unwrap();
    until(|| champion() == Some(3)).await;
    until(|| first.upgrade().is_none()).await;

    std::fs::remove_dir_all(slot_dir.join("3")).unwrap();
    until(|| champion() == Some(2)).await;
    std::fs::remove_dir_all(&slot_dir).unwrap();
    until(|| running.shared.server.registry.slot("fraud-xgb").is_none()).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_unloaded_and_loaded_by_command() {
    let models = tempfile::tempdir().unwrap();
    copy("models/diabetes-lgbm/1", &models.path().join("m/1"));
    copy("models/diabetes-lgbm/1", &models.path().join("m/2"));
    let running = start(config(models.path())).await;
    let slot = running.shared.server.registry.slot("m").unwrap();
    let champion = || slot.roles().map(|roles| roles.champion.id);
    let repository = &running.shared.repository;
    repository.unload("m").await.unwrap();
    assert_eq!(champion(), None);
    repository
        .load("m", Some(1), Default::default())
        .await
        .unwrap();
    assert_eq!(champion(), Some(1));
    assert!(
        repository
            .load("m", Some(9), Default::default())
            .await
            .is_err()
    );
    assert!(
        repository
            .load("no-such", None, Default::default())
            .await
            .is_err()
    );
    assert!(repository.unload("no-such").await.is_err());
    // The chosen revision stays until a newer one arrives.
    copy("models/diabetes-lgbm/1", &models.path().join("m/3"));
    until(|| champion() == Some(3)).await;
    running.stop().await.unwrap();
}
