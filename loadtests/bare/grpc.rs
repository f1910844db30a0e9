//! gRPC, by tonic as it comes.

use hedgerow::api::grpc::{decode_infer, pb};
use pb::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::{Depth, Result, values};

/// Answers what it always answers.
struct Canned {
    depth: Depth,
    answer: pb::ModelInferResponse,
}

/// Messages of any size, as far as a load test goes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Serves until `stop` ends; connections that are open then are closed.
pub async fn serve(
    listener: TcpListener,
    depth: Depth,
    rows: usize,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let answer = answer(rows);
    let service = GrpcInferenceServiceServer::new(Canned { depth, answer })
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming);
    tokio::select! {
        served = serving => served?,
        () = stop => {}
    }
    Ok(())
}

/// An answer in the form of Hedgerow's.
fn answer(rows: usize) -> pb::ModelInferResponse {
    let output = pb::model_infer_response::InferOutputTensor {
        name: "predict".to_string(),
        datatype: "FP32".to_string(),
        shape: vec![rows as i64],
        ..Default::default()
    };
    let bytes: Vec<u8> = values(rows).flat_map(f32::to_le_bytes).collect();
    pb::ModelInferResponse {
        model_name: "bare".to_string(),
        model_version: "1".to_string(),
        id: "00000000-0000-7000-8000-000000000000".to_string(),
        outputs: vec![output],
        raw_output_contents: vec![bytes.into()],
        ..Default::default()
    }
}

fn none<T>() -> std::result::Result<Response<T>, Status> {
    Err(Status::unimplemented("only ModelInfer is served"))
}

#[tonic::async_trait]
impl GrpcInferenceService for Canned {
    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> std::result::Result<Response<pb::ModelInferResponse>, Status> {
        if self.depth == Depth::Parse {
            let decoded = decode_infer(request.into_inner());
            let tensors = decoded.map_err(|error| Status::invalid_argument(error.message))?;
            std::hint::black_box(&tensors);
        }
        Ok(Response::new(self.answer.clone()))
    }

    async fn server_live(
        &self,
        _request: Request<pb::ServerLiveRequest>,
    ) -> std::result::Result<Response<pb::ServerLiveResponse>, Status> {
        none()
    }

    async fn server_ready(
        &self,
        _request: Request<pb::ServerReadyRequest>,
    ) -> std::result::Result<Response<pb::ServerReadyResponse>, Status> {
        none()
    }

    async fn model_ready(
        &self,
        _request: Request<pb::ModelReadyRequest>,
    ) -> std::result::Result<Response<pb::ModelReadyResponse>, Status> {
        none()
    }

    async fn server_metadata(
        &self,
        _request: Request<pb::ServerMetadataRequest>,
    ) -> std::result::Result<Response<pb::ServerMetadataResponse>, Status> {
        none()
    }

    async fn model_metadata(
        &self,
        _request: Request<pb::ModelMetadataRequest>,
    ) -> std::result::Result<Response<pb::ModelMetadataResponse>, Status> {
        none()
    }

    async fn model_config(
        &self,
        _request: Request<pb::ModelConfigRequest>,
    ) -> std::result::Result<Response<pb::ModelConfigResponse>, Status> {
        none()
    }

    async fn model_statistics(
        &self,
        _request: Request<pb::ModelStatisticsRequest>,
    ) -> std::result::Result<Response<pb::ModelStatisticsResponse>, Status> {
        none()
    }

    async fn repository_index(
        &self,
        _request: Request<pb::RepositoryIndexRequest>,
    ) -> std::result::Result<Response<pb::RepositoryIndexResponse>, Status> {
        none()
    }

    async fn repository_model_load(
        &self,
        _request: Request<pb::RepositoryModelLoadRequest>,
    ) -> std::result::Result<Response<pb::RepositoryModelLoadResponse>, Status> {
        none()
    }

    async fn repository_model_unload(
        &self,
        _request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> std::result::Result<Response<pb::RepositoryModelUnloadResponse>, Status> {
        none()
    }
}
