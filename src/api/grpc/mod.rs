//! gRPC, by tonic: the inference service with Triton's extensions, health, and reflection. Each
//! method is a thin line to a function of a submodule; errors become statuses here and only here.

mod decode;
mod encode;
mod health;
mod infer;
mod labels;
mod metadata;
mod repository;
mod slots;
mod statistics;
mod timeout;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::BufMut;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::HealthServer;
use tower::ServiceExt;

use super::body::{self, Body, Charge};
use super::{Entrance, Listener, Shared, Unsent, feedback, trace};
use crate::error::{Code, Error};
use crate::model::usage::Protocol;
use crate::serve::Measured;
use crate::telemetry::trace::Open;
pub use infer::decode_infer;
use loop_pb::rollout_server::RolloutServer;
use pb::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};

/// What the proto compiles to: messages, server and client.
pub mod pb {
    tonic::include_proto!("inference");
}

/// The same, of the loop's services.
pub mod loop_pb {
    tonic::include_proto!("hedgerow.v1");
}

/// The protos' descriptors, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/services.fds"));

/// The inference service's full name.
const SERVICE: &str = "inference.GRPCInferenceService";

/// Answers the inference service's methods.
#[derive(Clone, Debug)]
struct Inference {
    shared: Shared,
}

/// The path of a prediction.
const PREDICT: &str = "/inference.GRPCInferenceService/ModelInfer";

/// The trailer that says how a call ended.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The header that says which compressions are read.
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What tonic's messages begin with where it could not read a request.
const UNREAD: [&str; 5] = [
    "failed to decode",
    "Error decompressing",
    "protocol error",
    "Missing request message",
    "Unexpected EOF",
];

/// The path of labels.
const LABEL: &str = "/hedgerow.v1.Feedback/Label";

/// What the paths begin with whose methods take one message.
const METHODS: [&str; 2] = ["/inference.GRPCInferenceService/", "/hedgerow.v1."];

/// What comes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Answers a request: predictions and labels by straight lanes, all else by the router. What of it is
/// large is counted as `unsent`; streams are not.
pub async fn answer<B>(
    entrance: &Entrance,
    request: axum::http::Request<B>,
    unsent: &Arc<Unsent>,
) -> axum::http::Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    let received = Instant::now();
    let shared = &entrance.shared;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if !METHODS.iter().any(|it| path.starts_with(it)) {
        let request = axum::http::Request::from_parts(parts, axum::body::Body::new(body));
        return bounded(shared, received, routed(&entrance.router, request)).await;
    }
    let open = trace::grpc(shared, &parts, received);
    let trace = open.as_ref().map(Open::trace);
    let mut measured =
        (path == PREDICT).then(|| Measured::start(&shared.server, Protocol::Grpc, received, trace));
    // One block and no function of its own: a future within a future holds its arguments twice.
    let answer = 'answer: {
        if parts.method != Method::POST {
            let refused = Error::new(Code::MethodNotAllowed, "method: expected POST");
            break 'answer Err(refused);
        }
        let packing = match Packing::of(&parts.headers) {
            Ok(packing) => Some(packing),
            Err(error) if path == PREDICT => break 'answer Err(error),
            Err(_) => None,
        };
        // All methods of these services take one message: its limits are the same whoever decodes it.
        let limit = shared.settings.body_bytes_max.saturating_add(PREFIX);
        let mut charge = Charge::new(&shared.bodies);
        let deadline = shared.deadline(received, None);
        let bytes = match body::read(body, limit, deadline, shared.leaves(), &mut charge).await {
            Ok(bytes) => bytes,
            Err(error) if path == LABEL => {
                break 'answer Err(feedback::refused(shared, 1, error));
            }
            Err(error) => break 'answer Err(error),
        };
        if path == LABEL {
            break 'answer labels::label(shared, &parts.headers, received, (bytes, charge)).await;
        }
        if let (Some(measured), Some(packing)) = (&mut measured, packing) {
            let at = (received, measured);
            break 'answer predict(shared, &parts.headers, at, (bytes, charge, packing)).await;
        }
        let request = axum::http::Request::from_parts(parts, axum::body::Body::from(bytes));
        body::whole(routed(&entrance.router, request).await).await
    };
    let mut error = answer.as_ref().err().map(|error| error.code);
    let mut response = answer.unwrap_or_else(refusal);
    if let Err(full) = unsent.hold(response.body_mut(), &shared.answers) {
        error = Some(full.code);
        response = refusal(full);
    }
    // Moved whatever it is: it borrows from what follows.
    measured.into_iter().for_each(|it| it.finish(error));
    if let Some(open) = open {
        trace::end_grpc(open, error, &mut response);
    }
    response
}

async fn routed(
    router: &Router,
    request: axum::http::Request<axum::body::Body>,
) -> axum::http::Response<axum::body::Body> {
    match router.clone().oneshot(request).await {
        Ok(response) => blamed(response),
        Err(never) => match never {},
    }
}

/// What tonic could not read is the client's fault; tonic says that it is the server's.
fn blamed(
    mut response: axum::http::Response<axum::body::Body>,
) -> axum::http::Response<axum::body::Body> {
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() == tonic::Code::Internal
        && UNREAD.iter().any(|it| status.message().starts_with(it))
    {
        let message = format!("body: {}", status.message());
        let status = Status::invalid_argument(message);
        response = status.into_http();
    }
    response
}

/// The answer of a method that reads its messages itself: its head comes in time or not at all.
async fn bounded(
    shared: &Shared,
    received: Instant,
    answer: impl Future<Output = axum::http::Response<axum::body::Body>>,
) -> axum::http::Response<Body> {
    let Some(deadline) = shared.deadline(received, None) else {
        return answer.await.map(Body::Routed);
    };
    match tokio::time::timeout_at(deadline.into(), answer).await {
        Ok(response) => response.map(Body::Routed),
        Err(_elapsed) => refusal(Error::new(
            Code::DeadlineExceeded,
            "the message did not arrive in time",
        )),
    }
}

/// How the message of a lane may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
}

impl Packing {
    /// What the headers say.
    ///
    /// # Errors
    /// [`Code::UnsupportedMedia`] for what is not gRPC, [`Code::Unsupported`] for messages that are no
    /// protobuf or are compressed in another way.
    fn of(headers: &HeaderMap) -> Result<Packing, Error> {
        let content = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let codec = content.and_then(|it| it.strip_prefix(b"application/grpc"));
        match codec {
            // Parameters may follow.
            Some(b"" | b"+proto" | [b';', ..]) => {}
            Some(codec) if codec.starts_with(b"+proto;") => {}
            Some([b'+', ..]) => {
                let message = "content-type: expected application/grpc or application/grpc+proto";
                return Err(Error::new(Code::Unsupported, message));
            }
            _ => {
                let message = "content-type: expected application/grpc";
                return Err(Error::new(Code::UnsupportedMedia, message));
            }
        }
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Packing::Plain),
            Some(b"gzip") => Ok(Packing::Gzip),
            Some(_) => {
                let message = "grpc-encoding: expected gzip or identity";
                Err(Error::new(Code::Unsupported, message))
            }
        }
    }
}

async fn predict(
    shared: &Shared,
    headers: &HeaderMap,
    (received, measured): (Instant, &mut Measured<'_>),
    (bytes, mut charge, packing): (Bytes, Charge, Packing),
) -> Result<axum::http::Response<Body>, Error> {
    let limit = shared.settings.body_bytes_max;
    let (packed, message) = headless(bytes, packing)?;
    let small = match packed {
        false if shared.is_large(message.len()) => None,
        false => Some(message.clone()),
        true => body::gunzip_small(&message, limit, &mut charge)?,
    };
    let request = match small {
        Some(message) => infer::read(message)?,
        None => {
            let work = move || {
                // Charged until it is decoded.
                let mut charge = charge;
                let message = match packed {
                    true => body::gunzip(&message, limit, &mut charge)?,
                    false => message,
                };
                infer::read(message)
            };
            shared.aside(shared.deadline(received, None), work).await?
        }
    };
    let message = infer::infer(shared, headers, received, measured, request).await?;
    framed(&message).map(answered)
}

/// A message with its prefix.
fn framed(message: &impl Message) -> Result<Vec<u8>, Error> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).map_err(|_| Error::internal("the answer is too large"))?);
    message
        .encode(&mut bytes)
        .map_err(|_| Error::internal("the answer cannot be encoded"))?;
    Ok(bytes)
}

/// The answer of one message that [`framed`] wrote.
fn answered(bytes: Vec<u8>) -> axum::http::Response<Body> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Body::Message(Some(bytes.into()), Some(trailers));
    let mut response = axum::http::Response::new(body);
    let content_type = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// An error as a whole answer. What is not gRPC is told in HTTP as well, and what is not supported
/// may be the compression.
fn refusal(error: Error) -> axum::http::Response<Body> {
    let code = error.code;
    let response = status(error).into_http::<tonic::body::Body>();
    let mut response = response.map(|_none| Body::Whole(None));
    match code {
        Code::UnsupportedMedia => *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::Unsupported => {
            let encodings = HeaderValue::from_static("gzip,identity");
            response.headers_mut().insert(ACCEPT_ENCODING, encodings);
        }
        _ => {}
    }
    response
}

/// A body's one message, and whether it is packed.
fn headless(mut body: Bytes, packing: Packing) -> Result<(bool, Bytes), Error> {
    let expected = || Error::invalid("body: expected one gRPC message");
    let (prefix, message) = body.split_first_chunk::<PREFIX>().ok_or_else(expected)?;
    let [compressed, length @ ..] = *prefix;
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(expected());
    }
    let packed = match (compressed, packing) {
        (0, _) => false,
        (1, Packing::Gzip) => true,
        _ => {
            return Err(Error::invalid(
                "body: the message is compressed in a way that grpc-encoding does not name",
            ));
        }
    };
    Ok((packed, body.split_off(PREFIX)))
}

/// The services as one router. Labels are not among them, and predictions are not answered: they have
/// lanes of their own.
pub fn router(shared: Shared) -> Router {
    let gzip = CompressionEncoding::Gzip;
    let body_bytes_max = shared.settings.body_bytes_max;
    let health = HealthServer::new(health::Service::new(shared.clone()));
    let slots = slots::Loop {
        shared: shared.clone(),
    };
    let rollout = RolloutServer::new(slots)
        .max_decoding_message_size(body_bytes_max)
        .accept_compressed(gzip)
        .send_compressed(gzip);
    let inference = GrpcInferenceServiceServer::new(Inference { shared })
        .max_decoding_message_size(body_bytes_max)
        .accept_compressed(gzip)
        .send_compressed(gzip);
    let routes = Routes::new(inference)
        .add_service(health)
        .add_service(rollout);
    with_reflection(routes).into_axum_router()
}

/// Adds both versions of reflection: tools speak one or the other.
fn with_reflection(mut routes: Routes) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match builder().build_v1() {
        Ok(service) => routes = routes.add_service(service),
        Err(error) => tracing::error!(%error, "reflection v1 is off"),
    }
    match builder().build_v1alpha() {
        Ok(service) => routes = routes.add_service(service),
        Err(error) => tracing::error!(%error, "reflection v1alpha is off"),
    }
    routes
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _request: Request<pb::ServerLiveRequest>,
    ) -> Result<Response<pb::ServerLiveResponse>, Status> {
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _request: Request<pb::ServerReadyRequest>,
    ) -> Result<Response<pb::ServerReadyResponse>, Status> {
        let ready = self.shared.is_ready();
        Ok(Response::new(pb::ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Result<Response<pb::ModelReadyResponse>, Status> {
        reply(metadata::ready(&self.shared.server, &request.into_inner()))
    }

    async fn server_metadata(
        &self,
        _request: Request<pb::ServerMetadataRequest>,
    ) -> Result<Response<pb::ServerMetadataResponse>, Status> {
        Ok(Response::new(metadata::server()))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Result<Response<pb::ModelMetadataResponse>, Status> {
        reply(metadata::model(&self.shared.server, &request.into_inner()))
    }

    /// Never asked: [`answer`] has a lane for predictions.
    async fn model_infer(
        &self,
        _request: Request<pb::ModelInferRequest>,
    ) -> Result<Response<pb::ModelInferResponse>, Status> {
        Err(Status::internal("predictions have a lane of their own"))
    }

    async fn model_config(
        &self,
        request: Request<pb::ModelConfigRequest>,
    ) -> Result<Response<pb::ModelConfigResponse>, Status> {
        reply(metadata::config(&self.shared.server, &request.into_inner()))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Result<Response<pb::ModelStatisticsResponse>, Status> {
        let request = request.into_inner();
        reply(statistics::statistics(&self.shared.server, &request))
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Result<Response<pb::RepositoryIndexResponse>, Status> {
        let ready = request.into_inner().ready;
        Ok(Response::new(repository::index(&self.shared.server, ready)))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Result<Response<pb::RepositoryModelLoadResponse>, Status> {
        let loaded = repository::load(&self.shared, Listener::Public, request.into_inner()).await;
        reply(loaded.map(|()| pb::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Result<Response<pb::RepositoryModelUnloadResponse>, Status> {
        let request = request.into_inner();
        let unloaded = repository::unload(&self.shared, Listener::Public, &request).await;
        reply(unloaded.map(|()| pb::RepositoryModelUnloadResponse {}))
    }
}

fn reply<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(status)
}

/// An error as its status; where it says when to come back, so does the metadata `retry-after`, in
/// whole seconds.
fn status(error: Error) -> Status {
    let retry_after = error.retry_after;
    let mut status = Status::new(tonic::Code::from_i32(error.code.grpc()), error.message);
    if let Some(retry_after) = retry_after {
        let seconds = retry_after.as_secs_f64().ceil() as u64;
        let value = MetadataValue::from(seconds);
        status.metadata_mut().insert("retry-after", value);
    }
    status
}

/// A version as clients write it: empty for the revision that answers, or a revision's id.
///
/// # Errors
/// [`Code::NotFound`] for what cannot be a revision's id.
fn version(text: &str) -> Result<Option<u64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    revision_id(text).map(Some).ok_or_else(|| {
        Error::new(
            Code::NotFound,
            "model version: expected nothing or a positive integer",
        )
    })
}

/// A positive integer, digits only.
fn revision_id(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id > 0)
}

/// A client's name, cut to what an error message can hold.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests;
