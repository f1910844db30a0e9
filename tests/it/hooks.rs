//! Alarms to a real Prefect and a real Airflow, where `scripts/prefect.sh` and `scripts/airflow.sh`
//! have started them; else these tests say that they skip. And alarms to a webhook behind TLS.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use hedgerow::drift::alarm::airflow::{self, Version};
use hedgerow::drift::alarm::prefect::{self, Deployment};
use hedgerow::drift::alarm::{
    Airflow, Alarm, Authorities, Courier, Drifted, Hooks, Outcome, Prefect, Secret, Settings,
    Target, Url, Webhook, event,
};
use hedgerow::task::Supervisor;
use serde_json::{Value, json};
use ureq::Agent;

/// The longest that a run may take here.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn two_replicas_start_one_flow_run_of_prefect() {
    let Some((url, auth)) = server("HEDGEROW_TEST_PREFECT") else {
        return;
    };
    let hooks = |deployment: &str, auth: &str| {
        Hooks::new(Settings {
            prefect: Some(Prefect {
                url: prefect::parse_url(&url).unwrap(),
                deployment: Deployment::parse(deployment).unwrap(),
                auth: Some(Secret::parse(auth).unwrap()),
            }),
            ..Settings::default()
        })
    };
    let alarm = alarm();
    let (user, password) = auth.split_once(':').unwrap();
    let ask = Ask::new(&url, basic(user, password));
    let run = delivered_by_two(&alarm, || hooks("retrain/prod", &auth));

    let filter = json!({"flow_runs": {"idempotency_key": {"any_": [alarm.id]}}});
    let runs = ask.post("/api/flow_runs/filter", &filter);
    let [found] = &runs.as_array().unwrap()[..] else {
        panic!("{runs}")
    };
    assert_eq!(found["id"], run);
    assert_eq!(found["parameters"]["alarm"], json!(alarm));
    assert_eq!(
        found["parameters"]["features"],
        json!(["amount", "country"])
    );
    let state = ask.until(
        &format!("/api/flow_runs/{run}"),
        "state_type",
        &["COMPLETED", "FAILED", "CRASHED"],
    );
    assert_eq!(state, "COMPLETED");

    for (deployment, auth, reason) in [
        ("retrain/test", &auth[..], "Prefect answered 404"),
        ("retrain/prod", "admin:wrong", "Prefect answered 401"),
        ("picky/prod", &auth[..], "'region' is a required property"),
    ] {
        let outcome = deliver(&alarm, hooks(deployment, auth));
        refused_with(&outcome, reason);
    }
}

#[test]
fn two_replicas_start_one_dag_run_of_airflow() {
    let Some((url, auth)) = server("HEDGEROW_TEST_AIRFLOW") else {
        return;
    };
    let (user, password) = auth.split_once(':').unwrap();
    let hooks = |dag: &str, password: &str| {
        Hooks::new(Settings {
            airflow: Some(Airflow {
                url: airflow::parse_url(&url).unwrap(),
                dag: airflow::parse_dag(dag).unwrap(),
                version: Version::Auto,
                user: user.to_string(),
                password: Secret::parse(password).unwrap(),
            }),
            ..Settings::default()
        })
    };
    let alarm = alarm();
    let (ask, api) = Ask::airflow(&url, user, password);
    let run = delivered_by_two(&alarm, || hooks("retrain", password));
    assert_eq!(run, airflow::run_id(&alarm));

    let runs = ask.get(&format!("{api}/dags/retrain/dagRuns?limit=100"));
    let runs = runs["dag_runs"].as_array().unwrap();
    let ours = runs.iter().filter(|found| found["dag_run_id"] == run);
    assert_eq!(ours.count(), 1, "{runs:?}");
    let mut expected = json!(alarm);
    expected["team"] = json!("risk");
    let path = format!("{api}/dags/retrain/dagRuns/{run}");
    assert_eq!(ask.get(&path)["conf"], expected);
    let state = ask.until(&path, "state", &["success", "failed"]);
    assert_eq!(state, "success");

    for (dag, password, reason) in [
        ("nope", password, "Airflow answered 404"),
        ("retrain", "wrong", "answered 401"),
    ] {
        let outcome = deliver(&alarm, hooks(dag, password));
        refused_with(&outcome, reason);
    }
}

#[test]
fn a_private_authority_vouches_when_it_is_named() {
    let server = TlsServer::start();
    let port = server.port;
    let deliver_to = |host: &str, authorities: Option<Authorities>| {
        let hooks = Hooks::new(Settings {
            webhook: Some(Webhook {
                url: Url::parse(&format!("https://{host}:{port}/secret")).unwrap(),
                token: None,
            }),
            authorities,
            // Given up with the first failure.
            deadline_ms: 0,
            ..Settings::default()
        });
        deliver(&alarm(), hooks)
    };
    let named = Authorities::parse(server.authority.as_bytes()).unwrap();
    let outcome = deliver_to("127.0.0.1", Some(named.clone()));
    assert!(outcome.is_delivered(), "{outcome:?}");
    for (host, authorities, expected) in [
        ("127.0.0.1", None, "UnknownIssuer"),
        ("localhost", Some(named), "not valid for name"),
    ] {
        let Outcome::Failed { reason, .. } = deliver_to(host, authorities) else {
            panic!("{host} was believed")
        };
        assert!(
            reason.contains(expected) && !reason.contains("secret"),
            "{reason}"
        );
    }
}

/// `tests/hooks/tls.py`, which ends when its input is closed.
struct TlsServer {
    program: Child,
    port: u16,
    /// PEM.
    authority: String,
}

impl TlsServer {
    fn start() -> TlsServer {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hooks/tls.py");
        let mut program = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        TlsServer {
            program,
            port: said["port"].as_u64().unwrap().try_into().unwrap(),
            authority: said["authority"].as_str().unwrap().to_string(),
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        let _ended = self.program.wait();
    }
}

/// Address and `user:password` of a server that was started for the tests.
#[expect(
    clippy::disallowed_methods,
    reason = "the script that starts a server tells where it is"
)]
fn server(name: &str) -> Option<(String, String)> {
    let Ok(url) = std::env::var(name) else {
        eprintln!("skipped: {name} is not set");
        return None;
    };
    Some((url, std::env::var(format!("{name}_AUTH")).unwrap()))
}

/// An alarm that was never raised before.
fn alarm() -> Alarm {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let at_ms = i64::try_from(now.unwrap().as_millis()).unwrap();
    let feature = |name: &str, psi, reason: &str| Drifted {
        name: name.to_string(),
        psi,
        threshold: 0.25,
        reason: reason.to_string(),
    };
    Alarm {
        id: event::id("fraud", 3, "0123456789abcdef", at_ms),
        slot: "fraud".to_string(),
        revision: 3,
        mark: "0123456789abcdef".to_string(),
        at_ms,
        window_ms: 60_000,
        windows: 3,
        rows: 5_000,
        features: vec![
            feature("amount", 0.41, "psi"),
            feature("country", 0.1, "unseen"),
        ],
    }
}

/// What becomes of an alarm that has one target.
fn deliver(alarm: &Alarm, hooks: Hooks) -> Outcome {
    let supervisor = Supervisor::default();
    let (sender, outcomes) = channel();
    let report = move |_: &Alarm, outcomes: &[Outcome]| sender.send(outcomes.to_vec()).unwrap();
    let courier = Courier::start(&supervisor, report).unwrap();
    assert!(courier.send(&Arc::new(hooks), alarm.clone(), &[]));
    let outcomes = outcomes.recv().unwrap();
    supervisor.stop();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes[0].clone()
}

/// The run that two replicas get for an alarm at the same time, and a third one afterwards.
fn delivered_by_two(alarm: &Alarm, hooks: impl Fn() -> Hooks + Sync) -> String {
    let at_once = std::thread::scope(|scope| {
        let replicas = [(); 2].map(|()| scope.spawn(|| deliver(alarm, hooks())));
        replicas.map(|replica| replica.join().unwrap())
    });
    let later = deliver(alarm, hooks());
    let runs = at_once.into_iter().chain([later]).map(|outcome| {
        let Outcome::Delivered { run: Some(run), .. } = outcome else {
            panic!("{outcome:?}")
        };
        run
    });
    let runs: Vec<String> = runs.collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    runs[0].clone()
}

fn refused_with(outcome: &Outcome, expected: &str) {
    let Outcome::Failed {
        target: Target::Prefect | Target::Airflow,
        reason,
        attempts: 1,
        permanent: true,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains(expected), "{reason}");
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let plain = format!("{user}:{password}");
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(plain))
}

/// Questions of the test itself.
struct Ask {
    agent: Agent,
    url: String,
    authorization: String,
}

impl Ask {
    fn new(url: &str, authorization: String) -> Ask {
        Ask {
            agent: Agent::config_builder()
                .proxy(None)
                .http_status_as_error(false)
                .build()
                .into(),
            url: url.to_string(),
            authorization,
        }
    }

    /// With what Airflow's version wants, and the path of its API.
    fn airflow(url: &str, user: &str, password: &str) -> (Ask, &'static str) {
        let ask = Ask::new(url, basic(user, password));
        if ask.get("/api/v1/version")["version"].is_string() {
            return (ask, "/api/v1");
        }
        let login = json!({"username": user, "password": password});
        let token = ask.post("/auth/token", &login)["access_token"].clone();
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        (Ask::new(url, bearer), "/api/v2")
    }

    fn get(&self, path: &str) -> Value {
        let request = self.agent.get(format!("{}{path}", self.url));
        let answer = request.header("authorization", &self.authorization).call();
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.header("authorization", &self.authorization);
        let request = request.header("content-type", "application/json");
        let answer = request.send(body.to_string());
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Asks until a field has one of these values.
    fn until(&self, path: &str, field: &str, ends: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let answer = self.get(path);
            let state = answer[field].as_str().unwrap_or_default();
            if ends.contains(&state) {
                return state.to_string();
            }
            assert!(start.elapsed() < PATIENCE, "{answer}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
