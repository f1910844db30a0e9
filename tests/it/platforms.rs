//! What managed platforms ask of a container: SageMaker's `/ping` and `/invocations`.

use hedgerow::app::Running;

use crate::support::{config, copy_plain, http, start};

const ROW: &[u8] = br#"{"instances":[[0,0,0,0,0,0,0,0,0,0]]}"#;

async fn ask(running: &Running, request: &str, body: &[u8]) -> (u16, String) {
    let (status, _, answer) = http(running.addresses.http, request, "", body).await;
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn sagemaker_asks_the_only_model_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let add = |slot: &str| {
        std::fs::create_dir_all(dir.path().join(slot)).unwrap();
        copy_plain("models/diabetes-lgbm/1", &dir.path().join(slot).join("1"));
    };
    add("diabetes");
    let running = start(config(dir.path())).await;
    assert_eq!(ask(&running, "GET /ping", b"").await.0, 200);
    assert_eq!(ask(&running, "GET /invocations", b"").await.0, 405);
    let named = ask(&running, "POST /v1/models/diabetes:predict", ROW).await;
    let only = ask(&running, "POST /invocations", ROW).await;
    assert_eq!((named.0, only.0), (200, 200), "{only:?}");
    let predictions = |answer: &str| answer.split_once(']').map(|(it, _)| it.to_string());
    assert_eq!(predictions(&only.1), predictions(&named.1));
    running.stop().await.unwrap();

    // Of two models it does not guess which is meant.
    add("second");
    let running = start(config(dir.path())).await;
    let (status, answer) = ask(&running, "POST /invocations", ROW).await;
    assert_eq!(status, 404);
    assert!(
        answer.contains("expected one model, there are 2"),
        "{answer}"
    );
    running.stop().await.unwrap();
}
