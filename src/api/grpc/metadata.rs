//! What the server is and what its models take and give.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::pb;
use super::pb::model_metadata_response::TensorMetadata;
use super::pb::model_version_policy::{PolicyChoice, Specific};
use super::version;
use crate::engine::Output;
use crate::error::Error;
use crate::model::revision::Revision;
use crate::serve::Server;
use crate::serve::extras::available;
use crate::tensor::DType;

/// Triton's extensions that are served over gRPC, by their names.
const EXTENSIONS: [&str; 5] = [
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "statistics",
];

/// The server's name, version and extensions.
pub fn server() -> pb::ServerMetadataResponse {
    pb::ServerMetadataResponse {
        name: env!("CARGO_PKG_NAME").to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        extensions: EXTENSIONS.map(str::to_string).to_vec(),
    }
}

/// Whether a model, or one of its versions, answers.
///
/// # Errors
/// An unknown model.
pub fn ready(
    server: &Server,
    request: &pb::ModelReadyRequest,
) -> Result<pb::ModelReadyResponse, Error> {
    server.slot(&request.name)?;
    let revision = server.revision(&request.name, version(&request.version)?);
    let ready = revision.is_ok();
    Ok(pb::ModelReadyResponse { ready })
}

/// A model's metadata.
///
/// # Errors
/// An unknown model or version, and a model that is not loaded.
pub fn model(
    server: &Server,
    request: &pb::ModelMetadataRequest,
) -> Result<pb::ModelMetadataResponse, Error> {
    let revision = server.revision(&request.name, version(&request.version)?)?;
    let versions = resident(server, &request.name)?;
    let outline = revision.outline();
    let (signature, outputs) = (&revision.signature, &revision.signature.outputs);
    Ok(pb::ModelMetadataResponse {
        name: request.name.clone(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: outline.format.platform().to_string(),
        inputs: vec![TensorMetadata {
            name: signature.input.clone(),
            datatype: signature.element.dtype().name().to_string(),
            shape: vec![-1, signature.columns.len() as i64],
        }],
        outputs: outputs
            .iter()
            .map(|output| TensorMetadata {
                name: output.name.clone(),
                datatype: output.dtype.name().to_string(),
                shape: dims(output),
            })
            .collect(),
        properties: properties(&revision)?,
    })
}

/// A model's configuration as Triton has it. Its dims are whole shapes, rows included, so
/// `max_batch_size` is 0.
///
/// # Errors
/// An unknown model or version, and a model that is not loaded.
pub fn config(
    server: &Server,
    request: &pb::ModelConfigRequest,
) -> Result<pb::ModelConfigResponse, Error> {
    let revision = server.revision(&request.name, version(&request.version)?)?;
    let versions = resident(server, &request.name)?;
    let versions = versions.iter().map(|id| *id as i64).collect();
    let (signature, outputs) = (&revision.signature, &revision.signature.outputs);
    let config = pb::ModelConfig {
        name: request.name.clone(),
        platform: revision.outline().format.platform().to_string(),
        version_policy: Some(pb::ModelVersionPolicy {
            policy_choice: Some(PolicyChoice::Specific(Specific { versions })),
        }),
        max_batch_size: 0,
        input: vec![pb::ModelInput {
            name: signature.input.clone(),
            data_type: data_type(signature.element.dtype()).into(),
            dims: vec![-1, signature.columns.len() as i64],
        }],
        output: outputs
            .iter()
            .map(|output| pb::ModelOutput {
                name: output.name.clone(),
                data_type: data_type(output.dtype).into(),
                dims: dims(output),
            })
            .collect(),
        parameters: HashMap::new(),
        backend: revision.outline().engine.to_string(),
    };
    Ok(pb::ModelConfigResponse {
        config: Some(config),
    })
}

/// The ids of a slot's resident revisions, ascending.
fn resident(server: &Server, name: &str) -> Result<Vec<u64>, Error> {
    let roles = server.slot(name)?.roles();
    let resident = roles.iter().flat_map(|roles| roles.resident());
    let mut ids: Vec<u64> = resident.map(|revision| revision.id).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn properties(revision: &Arc<Revision>) -> Result<HashMap<String, String>, Error> {
    let signature = &revision.signature;
    let features: Vec<&str> = signature
        .columns
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    let labels: BTreeMap<&str, &[String]> = signature
        .outputs
        .iter()
        .filter(|output| !output.labels.is_empty())
        .map(|output| (output.name.as_str(), output.labels.as_slice()))
        .collect();
    let extras: Vec<String> = available(revision)
        .into_iter()
        .map(|(name, _, _)| name)
        .collect();
    let outline = revision.outline();
    let properties = [
        ("features", json(&features)?),
        ("extras", json(&extras)?),
        ("labels", json(&labels)?),
        ("objective", outline.objective.clone()),
        ("engine", outline.engine.to_string()),
        ("digest", revision.digest.clone()),
    ];
    Ok(properties
        .map(|(key, value)| (key.to_string(), value))
        .into())
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))
}

fn dims(output: &Output) -> Vec<i64> {
    let columns = output.columns.map(|columns| columns as i64);
    std::iter::once(-1).chain(columns).collect()
}

fn data_type(dtype: DType) -> pb::DataType {
    match dtype {
        DType::Bool => pb::DataType::TypeBool,
        DType::Uint8 => pb::DataType::TypeUint8,
        DType::Uint16 => pb::DataType::TypeUint16,
        DType::Uint32 => pb::DataType::TypeUint32,
        DType::Uint64 => pb::DataType::TypeUint64,
        DType::Int8 => pb::DataType::TypeInt8,
        DType::Int16 => pb::DataType::TypeInt16,
        DType::Int32 => pb::DataType::TypeInt32,
        DType::Int64 => pb::DataType::TypeInt64,
        DType::Fp16 => pb::DataType::TypeFp16,
        DType::Fp32 => pb::DataType::TypeFp32,
        DType::Fp64 => pb::DataType::TypeFp64,
        DType::Bytes => pb::DataType::TypeString,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datatypes_have_tritons_names() {
        for dtype in DType::ALL {
            let name = data_type(dtype).as_str_name();
            let expected = match dtype {
                DType::Bytes => "TYPE_STRING".to_string(),
                other => format!("TYPE_{other}"),
            };
            assert_eq!(name, expected);
        }
    }
}
