//! The thread that makes spans and sends them. It looks into the queue every now and then instead of
//! waiting at it, so that no request has to wake it. While the receiver is away it tries again, the
//! queue fills, and what comes then is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::runtime::Handle;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use ureq::Agent;
use ureq::http::header;

use super::{Counters, Headers, Protocol, Settings, Trace, spans};
use crate::task::{Priority, Supervisor};

/// Makes spans of what the queue has, and sends them.
pub struct Exporter {
    receiver: Receiver<Arc<Trace>>,
    counters: Arc<Counters>,
    client: Client,
    resource: Resource,
    batch_max: usize,
    batch_wait: Duration,
    timeout: Duration,
    supervisor: Supervisor,
    /// The thread's timers belong to it.
    runtime: Handle,
    /// When it gives up what is left; set once, when the server stops.
    end: Option<Instant>,
    /// Whether the last export failed: it is said once.
    away: bool,
}

enum Client {
    Grpc {
        client: TraceServiceClient<Channel>,
        headers: Headers,
    },
    Http {
        agent: Agent,
        url: String,
        headers: Headers,
    },
}

/// Spans that the receiver did not take of an export that it answered.
struct Refused {
    spans: u64,
    reason: String,
}

impl Refused {
    /// The requests of `count` whose spans these are. Nobody says which: as many as would have them.
    fn requests(&self, count: u64, spans: u64) -> u64 {
        let share = self.spans.min(spans) * count;
        share.div_ceil(spans.max(1))
    }
}

/// Why an export failed.
struct Failure {
    reason: String,
    /// Whether another try may help.
    again: bool,
}

/// How often the thread looks into the queue.
const LOOK: Duration = Duration::from_millis(50);

/// Tries of one export, and the time before the second; it doubles.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Time that is left for what is queued once the server stops.
const FLUSH: Duration = Duration::from_secs(3);

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Characters of a reason that are logged.
const REASON_MAX: usize = 300;

impl Exporter {
    /// # Errors
    /// When there is no runtime, or the endpoint is none.
    pub fn new(
        settings: Settings,
        receiver: Receiver<Arc<Trace>>,
        counters: Arc<Counters>,
        supervisor: &Supervisor,
    ) -> Result<Exporter, String> {
        Ok(Exporter {
            receiver,
            counters,
            resource: spans::resource(&settings),
            batch_max: settings.batch_max,
            batch_wait: Duration::from_millis(settings.batch_ms),
            timeout: Duration::from_millis(settings.timeout_ms),
            client: Client::new(settings)?,
            supervisor: supervisor.clone(),
            runtime: Handle::try_current().map_err(|error| error.to_string())?,
            end: None,
            away: false,
        })
    }

    /// Exports until the server stops, and then what is left, for [`FLUSH`] at the most.
    pub fn run(mut self) {
        let mut batch: Vec<Arc<Trace>> = Vec::new();
        let mut since = Instant::now();
        loop {
            let stops = self.end().is_some();
            while batch.len() < self.batch_max
                && let Ok(trace) = self.receiver.try_recv()
            {
                if batch.is_empty() {
                    since = Instant::now();
                }
                batch.push(trace);
            }
            let full = batch.len() >= self.batch_max;
            let due = !batch.is_empty() && (stops || since.elapsed() >= self.batch_wait);
            if full || due {
                self.export(&batch);
                batch.clear();
            } else if stops {
                return;
            } else {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// When to give up, once the server stops.
    fn end(&mut self) -> Option<Instant> {
        if self.end.is_none() && self.supervisor.is_stopping() {
            self.end = Some(Instant::now() + FLUSH);
        }
        self.end
    }

    /// Sends a batch, or gives it up.
    fn export(&mut self, batch: &[Arc<Trace>]) {
        let count = batch.len() as u64;
        let spans: Vec<_> = batch.iter().flat_map(|trace| spans::spans(trace)).collect();
        let spans_count = spans.len() as u64;
        let request = spans::request(&self.resource, spans);
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            if self.end().is_some_and(|end| end <= Instant::now()) {
                break;
            }
            let failure = match self.attempt(&request) {
                Ok(refused) => {
                    let lost = refused
                        .as_ref()
                        .map_or(0, |it| it.requests(count, spans_count));
                    let counters = &self.counters;
                    counters.exported.fetch_add(count - lost, Ordering::Relaxed);
                    counters.failed.fetch_add(lost, Ordering::Relaxed);
                    return self.note_success(refused);
                }
                Err(failure) => failure,
            };
            self.note_failure(&failure);
            if !failure.again || attempt == TRIES {
                break;
            }
            let until = Instant::now() + pause;
            while Instant::now() < until && self.end().is_none() {
                std::thread::sleep(LOOK);
            }
            pause *= 2;
        }
        self.counters.failed.fetch_add(count, Ordering::Relaxed);
    }

    /// One try. It ends with the time that is left, though it may have begun before the server stopped.
    fn attempt(&mut self, request: &ExportTraceServiceRequest) -> Result<Option<Refused>, Failure> {
        let (client, supervisor, timeout) = (&self.client, &self.supervisor, self.timeout);
        let end = &mut self.end;
        let late = || Err(Failure::again("no answer in time".to_string()));
        self.runtime.block_on(async {
            let given_up = async {
                supervisor.stopping().await;
                let end = *end.get_or_insert_with(|| Instant::now() + FLUSH);
                tokio::time::sleep_until(end.into()).await;
            };
            tokio::select! {
                answer = client.export(request, timeout, supervisor) => answer,
                () = tokio::time::sleep(timeout) => late(),
                () = given_up => late(),
            }
        })
    }

    fn note_success(&mut self, refused: Option<Refused>) {
        if let Some(Refused { spans, reason }) = refused {
            tracing::warn!(spans, reason, "the receiver of traces refused some spans");
        }
        if std::mem::take(&mut self.away) {
            tracing::info!("traces are exported again");
        }
    }

    fn note_failure(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.away, true) {
            let reason = failure.reason.as_str();
            tracing::warn!(
                reason,
                "traces are not exported; the server answers as before"
            );
        }
    }
}

impl Client {
    fn new(settings: Settings) -> Result<Client, String> {
        settings
            .check()
            .map_err(|reason| format!("trace.endpoint: {reason}"))?;
        if settings.protocol() == Protocol::Http {
            let agent = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None)
                .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")))
                .build()
                .into();
            return Ok(Client::Http {
                agent,
                url: settings.url(),
                headers: settings.headers,
            });
        }
        let endpoint = Endpoint::from_shared(settings.endpoint)
            .and_then(|it| it.user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION"))))
            .map_err(|_| "trace.endpoint: not an address".to_string())?;
        Ok(Client::Grpc {
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            headers: settings.headers,
        })
    }

    /// Sends spans, and says why the receiver refused some of them.
    async fn export(
        &self,
        message: &ExportTraceServiceRequest,
        timeout: Duration,
        supervisor: &Supervisor,
    ) -> Result<Option<Refused>, Failure> {
        let answer = match self {
            Client::Grpc { client, headers } => {
                let request = with_metadata(message.clone(), headers)?;
                client.clone().export(request).await?.into_inner()
            }
            Client::Http {
                agent,
                url,
                headers,
            } => {
                let (agent, url, headers) = (agent.clone(), url.clone(), headers.clone());
                let bytes = message.encode_to_vec();
                // Its thread ends with the timeout, whether or not somebody waits for it.
                let work = move || post(&agent, (&url, &headers), &bytes, timeout);
                let again = |error: &dyn std::fmt::Display| Failure::again(error.to_string());
                let answer = supervisor.work("post", Priority::Background, work);
                let answer = answer.map_err(|error| again(&error))?.await;
                answer.map_err(|error| again(&error))??
            }
        };
        let refused = answer.partial_success.filter(|it| it.rejected_spans > 0);
        Ok(refused.map(|it| Refused {
            spans: it.rejected_spans.unsigned_abs(),
            reason: short(&it.error_message),
        }))
    }
}

fn with_metadata(
    message: ExportTraceServiceRequest,
    headers: &Headers,
) -> Result<Request<ExportTraceServiceRequest>, Failure> {
    let mut request = Request::new(message);
    for (name, value) in &headers.0 {
        let broken = || Failure {
            reason: format!("the header {name} cannot be sent"),
            again: false,
        };
        let key = MetadataKey::from_bytes(name.as_str().as_bytes()).map_err(|_| broken())?;
        let text = value.to_str().map_err(|_| broken())?;
        let mut value = MetadataValue::try_from(text).map_err(|_| broken())?;
        // A password, perhaps: no trace of HTTP/2 shows it.
        value.set_sensitive(true);
        request.metadata_mut().insert(key, value);
    }
    Ok(request)
}

fn post(
    agent: &Agent,
    (url, headers): (&str, &Headers),
    bytes: &[u8],
    timeout: Duration,
) -> Result<ExportTraceServiceResponse, Failure> {
    use std::io::Read as _;
    let mut request = agent
        .post(url)
        .header(header::CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in &headers.0 {
        request = request.header(name, value);
    }
    let request = request.config().timeout_global(Some(timeout)).build();
    let answer = request
        .send(bytes)
        .map_err(|error| Failure::again(error.to_string()))?;
    let status = answer.status().as_u16();
    let mut bytes = Vec::new();
    let body = answer.into_body();
    // The status says what happened.
    let _end = body
        .into_reader()
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes);
    match status {
        // What is not the answer of a receiver refuses nothing.
        200..300 => Ok(ExportTraceServiceResponse::decode(bytes.as_slice()).unwrap_or_default()),
        _ => Err(Failure {
            reason: format!("the receiver answered {status}"),
            again: matches!(status, 429 | 502..=504),
        }),
    }
}

impl Failure {
    fn again(reason: String) -> Failure {
        Failure {
            reason: short(&reason),
            again: true,
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Failure {
        // As the specification of OTLP has it; a connection that is refused is unavailable.
        let again = matches!(
            status.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
                | Code::Unknown
                | Code::ResourceExhausted
        );
        Failure {
            reason: short(&format!("{}: {}", status.code(), status.message())),
            again,
        }
    }
}

/// One line of a text that others wrote.
fn short(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_spans_are_requests_that_failed() {
        let refused = |spans| Refused {
            spans,
            reason: String::new(),
        };
        let cases = [
            (0, 0),
            (1, 1),
            (5, 1),
            (6, 2),
            (50, 10),
            (51, 10),
            (u64::MAX, 10),
        ];
        for (spans, expected) in cases {
            assert_eq!(refused(spans).requests(10, 50), expected, "{spans}");
        }
        assert_eq!(refused(3).requests(0, 0), 0);
    }
}
