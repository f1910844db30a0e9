//! The listeners: Unix sockets, limits on connections and on large bodies, busy polling.

use std::path::Path;

use hedgerow::api::grpc::pb;
use hedgerow::app::{self, Running};
use hyper_util::rt::TokioIo;
use pb::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Endpoint, Uri};

use crate::support::{add_gated, config, http, start, until};

const ASK: &str = r#"{"inputs":[{"name":"input","datatype":"FP64","shape":[1,1],"data":[3]}]}"#;

/// Sends a request head and as much of a body as is given, and reads the status of the answer.
async fn status(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    length: usize,
    body: &[u8],
) -> String {
    let head = format!(
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may answer before it has read everything.
    let _written = stream.write_all(body).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn metrics(running: &Running) -> String {
    http(running.addresses.admin, "GET /metrics", "", b"")
        .await
        .2
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_answer_both_protocols_and_go_with_the_server() {
    let models = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let paths = ["http.sock", "grpc.sock"].map(|name| place.path().join(name));
    let with_sockets = || {
        let mut settings = config(models.path());
        settings.api.http_unix = Some(paths[0].clone());
        settings.api.grpc_unix = Some(paths[1].clone());
        settings
    };
    // A socket that a killed server left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&paths[0]).unwrap());
    let running = start(with_sockets()).await;
    add_gated(&running, "echo");
    let stream = UnixStream::connect(&paths[0]).await.unwrap();
    assert_eq!(
        status(stream, ASK.len(), ASK.as_bytes()).await,
        "HTTP/1.1 200"
    );

    let path = paths[1].clone();
    let connect = move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    };
    let channel = Endpoint::from_static("http://unix")
        .connect_with_connector(tower::service_fn(connect))
        .await
        .unwrap();
    let ready = Client::new(channel)
        .model_ready(pb::ModelReadyRequest {
            name: "echo".to_string(),
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(ready.into_inner().ready);

    // One that a server listens on is not taken away from it.
    let error = app::start(with_sockets()).await.unwrap_err();
    assert!(error.contains("another server listens on it"), "{error}");
    running.stop().await.unwrap();
    assert!(paths.iter().all(|path| !path.exists()));
    // Nor is a file that is something else.
    std::fs::write(&paths[0], b"precious").unwrap();
    let error = app::start(with_sockets()).await.unwrap_err();
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(read(&paths[0]), b"precious");
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.api.connections_max = 2;
    let running = start(settings).await;
    let open = || TcpStream::connect(running.addresses.http);
    let (first, _second) = (open().await.unwrap(), open().await.unwrap());
    until(|| running.shared.connections.open() == 2).await;
    let mut third = open().await.unwrap();
    let mut nothing = [0; 1];
    // Closed without a word; a reset is as good.
    assert_eq!(third.read(&mut nothing).await.unwrap_or(0), 0);
    // Operators come by a door of their own.
    let page = metrics(&running).await;
    assert!(page.contains("hedgerow_connections{} 2.0"), "{page}");
    assert!(
        page.contains(r#"hedgerow_sheds_total{reason="connections"} 1"#),
        "{page}"
    );
    drop(first);
    until(|| running.shared.connections.open() == 1).await;
    let (status, ..) = http(running.addresses.http, "GET /v2/health/ready", "", b"").await;
    assert_eq!(status, 200);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_share_their_room() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.api.bodies_bytes_max = 300_000;
    let running = start(settings).await;
    add_gated(&running, "echo");
    let values = vec!["1"; 100_000].join(",");
    let large = format!(
        r#"{{"inputs":[{{"name":"input","datatype":"FP64","shape":[100000,1],"data":[{values}]}}]}}"#
    );
    assert!(large.len() > 200_000 && large.len() < 300_000);
    // One that is on its way keeps the next one out, and no small one.
    let mut slow = TcpStream::connect(running.addresses.http).await.unwrap();
    let head = format!(
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        large.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&large.as_bytes()[..200_000]).await.unwrap();
    until(|| running.shared.bodies.used() >= 200_000).await;
    let ask = |body: String| {
        let address = running.addresses.http;
        async move { http(address, "POST /v2/models/echo/infer", "", body.as_bytes()).await }
    };
    let (status, headers, text) = ask(large.clone()).await;
    assert_eq!(
        (status, headers["retry-after"].as_str()),
        (429, "1"),
        "{text}"
    );
    assert!(text.contains("server.bodies_bytes_max"), "{text}");
    assert_eq!(ask(ASK.to_string()).await.0, 200);
    let page = metrics(&running).await;
    assert!(
        page.contains(r#"hedgerow_sheds_total{reason="bodies"} 1"#),
        "{page}"
    );
    // The rest arrives, and its room is given back.
    slow.write_all(&large.as_bytes()[200_000..]).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    until(|| running.shared.bodies.used() == 0).await;
    assert_eq!(ask(large).await.0, 200);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_polling_server_answers_sleeps_and_stops() {
    let models = tempfile::tempdir().unwrap();
    let mut settings = config(models.path());
    settings.api.busy_poll_us = 2000;
    settings.api.workers = 1;
    let running = start(settings).await;
    add_gated(&running, "echo");
    for _ in 0..3 {
        let stream = TcpStream::connect(running.addresses.http).await.unwrap();
        assert_eq!(
            status(stream, ASK.len(), ASK.as_bytes()).await,
            "HTTP/1.1 200"
        );
    }
    running.stop().await.unwrap();
}
