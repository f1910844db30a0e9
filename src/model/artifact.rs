//! The files of a revision before loading: read whole, with a limit, and given a digest.
//!
//! A folder holds one model file (`model.json|model.ubj|model.txt|model.onnx|catboost.json`, or Triton's and
//! MLflow's names for the same), or an `MLmodel` that names it; beside it, optionally,
//! `signature.json`, `golden.json`, `profile.json` and MLflow's `serving_input_example.json`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::golden::Golden;
use super::signature::Declared;
use crate::drift::profile::{Broken, Profile};
use crate::engine::{Format, ModelFile};
use crate::model::mlflow::{self, MlModel};

/// The files of a revision, read and decoded but not yet loaded.
#[derive(Debug)]
pub struct Artifact {
    pub model: ModelFile,
    /// SHA-256 over names and contents of all files that were read but the profile, in the order of
    /// their names; lower-case hex.
    pub digest: String,
    pub declared: Option<Declared>,
    pub golden: Option<Golden>,
    /// What an MLflow folder says of its model.
    pub mlflow: Option<MlModel>,
    /// What its training data looked like. Not part of the digest: it changes no prediction, and a
    /// revision that gets one later stays what was decided on.
    pub profile: Option<Result<Profile, Broken>>,
}

/// Names of model files that are read, with their formats. The first in the list wins over none:
/// two model files in one folder are an error.
pub const MODEL_FILES: [(&str, Format); 10] = [
    ("model.json", Format::XgboostJson),
    ("model.ubj", Format::XgboostUbjson),
    ("model.txt", Format::LightgbmText),
    ("model.onnx", Format::Onnx),
    ("xgboost.json", Format::XgboostJson),
    ("xgboost.ubj", Format::XgboostUbjson),
    ("model.xgb", Format::XgboostUbjson),
    ("model.lgb", Format::LightgbmText),
    ("model.lgbm", Format::LightgbmText),
    ("catboost.json", Format::CatboostJson),
];

/// The file with the drift profile.
pub const PROFILE: &str = "profile.json";

const SIDE_FILES: [&str; 5] = [
    "MLmodel",
    "golden.json",
    PROFILE,
    "serving_input_example.json",
    "signature.json",
];

/// Why a folder is not an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Invalid(String),
}

impl Artifact {
    /// Reads a revision's folder. `bytes_max` limits all its files together.
    ///
    /// # Errors
    /// When a file cannot be read, is over the limit or is not what its name says; when there is no
    /// model file, or more than one.
    pub fn read(dir: &Path, bytes_max: u64) -> Result<Artifact, ArtifactError> {
        let mut files = BTreeMap::new();
        let mut left = bytes_max;
        let known = MODEL_FILES.iter().map(|(name, _)| *name).chain(SIDE_FILES);
        for name in known {
            read_into(&mut files, dir, name, &mut left)?;
        }
        if let Some(mlmodel) = files.get("MLmodel") {
            let named = mlflow::parse(mlmodel)
                .map_err(ArtifactError::Invalid)?
                .model_file;
            if !files.contains_key(&named) {
                read_into(&mut files, dir, &named, &mut left)?;
            }
        }
        Artifact::from_files(dir, files)
    }

    /// Makes an artifact of files in memory, by name. `dir` is where they belong, for messages.
    ///
    /// # Errors
    /// As [`Artifact::read`].
    pub fn from_files(
        dir: &Path,
        mut files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Artifact, ArtifactError> {
        let profile = files.remove(PROFILE).map(|bytes| Profile::parse(&bytes));
        let digest = digest(&files);
        let invalid = ArtifactError::Invalid;
        let mlflow = match files.get("MLmodel") {
            Some(bytes) => Some(mlflow::parse(bytes).map_err(invalid)?),
            None => None,
        };
        let (name, format) = match &mlflow {
            Some(model) => (model.model_file.clone(), model.format),
            None => model_file(&files)?,
        };
        let Some(bytes) = files.remove(&name) else {
            return Err(ArtifactError::Invalid(format!(
                "MLmodel names \"{name}\", which is not in the folder"
            )));
        };
        let declared = match files.get("signature.json") {
            Some(bytes) => Some(
                serde_json::from_slice(bytes)
                    .map_err(|error| ArtifactError::Invalid(format!("signature.json: {error}")))?,
            ),
            None => None,
        };
        let golden = match files.get("golden.json") {
            Some(bytes) => Some(Golden::parse(bytes).map_err(ArtifactError::Invalid)?),
            None => None,
        };
        let mlflow = mlflow.map(|model| MlModel {
            example: files.remove("serving_input_example.json"),
            ..model
        });
        Ok(Artifact {
            model: ModelFile {
                format,
                path: dir.join(&name),
                bytes,
            },
            digest,
            declared,
            golden,
            mlflow,
            profile,
        })
    }
}

fn model_file(files: &BTreeMap<String, Vec<u8>>) -> Result<(String, Format), ArtifactError> {
    let mut found = MODEL_FILES
        .iter()
        .filter(|(name, _)| files.contains_key(*name));
    match (found.next(), found.next()) {
        (Some((name, format)), None) => Ok(((*name).to_string(), *format)),
        (Some((one, _)), Some((two, _))) => Err(ArtifactError::Invalid(format!(
            "two model files, \"{one}\" and \"{two}\"; expected one"
        ))),
        (None, _) => Err(ArtifactError::Invalid(
            "no model file; expected model.json, model.ubj, model.txt, model.onnx, catboost.json or MLmodel"
                .to_string(),
        )),
    }
}

fn read_into(
    files: &mut BTreeMap<String, Vec<u8>>,
    dir: &Path,
    name: &str,
    left: &mut u64,
) -> Result<(), ArtifactError> {
    let path = dir.join(name);
    let failed = |error| ArtifactError::Io {
        path: path.clone(),
        error,
    };
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let read = file
        .take(*left + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)? as u64;
    if read > *left {
        return Err(ArtifactError::Invalid(format!(
            "\"{name}\": the folder's files are over the limit of models.bytes_max"
        )));
    }
    *left -= read;
    files.insert(name.to_string(), bytes);
    Ok(())
}

fn digest(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in files {
        // Lengths keep one file's end from passing for the next one's start.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        names
            .iter()
            .map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()))
            .collect()
    }

    fn refused(names: &[(&str, &str)]) -> String {
        Artifact::from_files(Path::new("m/1"), files(names))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_folder_holds_one_model_file() {
        assert!(refused(&[]).contains("no model file"));
        assert!(refused(&[("model.json", ""), ("model.ubj", "")]).contains("two model files"));
        assert!(refused(&[("model.json", ""), ("golden.json", "{")]).contains("golden.json: "));
        let artifact =
            Artifact::from_files(Path::new("m/1"), files(&[("model.txt", "tree")])).unwrap();
        assert_eq!(artifact.model.format, Format::LightgbmText);
        assert_eq!(artifact.model.path, Path::new("m/1/model.txt"));
    }

    #[test]
    fn the_digest_depends_on_every_file() {
        let one = digest(&files(&[("a", "xy"), ("b", "z")]));
        let two = digest(&files(&[("a", "x"), ("b", "yz")]));
        assert_ne!(one, two);
        assert_eq!(one.len(), 64);
    }

    #[test]
    fn a_profile_is_beside_the_digest_and_refuses_nothing() {
        let read = |files_| Artifact::from_files(Path::new("m/1"), files(files_)).unwrap();
        let without = read(&[("model.txt", "tree")]);
        let with = read(&[("model.txt", "tree"), ("profile.json", "{}")]);
        assert_eq!(without.digest, with.digest);
        let broken = with.profile.unwrap().unwrap_err().to_string();
        assert!(broken.contains("no version"), "{broken}");
        assert!(without.profile.is_none());
    }

    #[test]
    fn files_over_the_limit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model.txt"), [b'x'; 100]).unwrap();
        let error = Artifact::read(dir.path(), 99).unwrap_err().to_string();
        assert!(error.contains("over the limit"), "{error}");
        assert!(Artifact::read(dir.path(), 100).is_ok());
    }
}
