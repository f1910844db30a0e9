//! `grpc.health.v1`: readiness for probes and load balancers, of the whole server and of the
//! inference service alike.

use std::pin::Pin;
use std::time::Duration;

use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{SERVICE, Shared};

/// How often a watched status is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Answers from what the server is doing now; keeps nothing.
#[derive(Debug)]
pub struct Service {
    shared: Shared,
}

impl Service {
    pub fn new(shared: Shared) -> Service {
        Service { shared }
    }
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match serving(&self.shared, &request.into_inner().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!(
                "unknown service; expected \"\" or \"{SERVICE}\""
            ))),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The status now and whenever it changed. Ends after it told that the server is about to stop, so
    /// that no watcher
    /// holds up a shutdown.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let shared = self.shared.clone();
        let service = request.into_inner().service;
        let mut last = None;
        let mut ended = false;
        let ticks = IntervalStream::new(tokio::time::interval(INTERVAL));
        let changes = ticks.map_while(move |_tick| {
            if ended {
                return None;
            }
            ended = shared.server.is_leaving();
            let now = serving(&shared, &service);
            let changed = last.replace(now) != Some(now);
            Some(changed.then(|| Ok(response(now))))
        });
        Ok(Response::new(Box::pin(changes.filter_map(|change| change))))
    }
}

fn serving(shared: &Shared, service: &str) -> ServingStatus {
    if !service.is_empty() && service != SERVICE {
        return ServingStatus::ServiceUnknown;
    }
    if shared.is_ready() {
        return ServingStatus::Serving;
    }
    ServingStatus::NotServing
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
