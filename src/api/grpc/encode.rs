//! Outputs of an answer as a message's tensors, typed or raw.

use bytes::Bytes;
use half::f16;

use super::pb::InferTensorContents as Contents;
use super::pb::model_infer_response::InferOutputTensor;
use crate::error::Error;
use crate::serve::{Answer, InferResponse};
use crate::tensor::DType;

/// The wanted outputs; with `raw`, their values beside them instead of in them.
///
/// # Errors
/// [`crate::error::Code::Internal`] when an engine answers a label that its model does not have.
pub fn outputs(
    response: &InferResponse,
    raw: bool,
) -> Result<(Vec<InferOutputTensor>, Vec<Bytes>), Error> {
    let mut tensors = Vec::with_capacity(response.wanted.len());
    let mut contents = Vec::new();
    for output in response.answers() {
        let output = &output;
        let shape = response.shape(output);
        let values = response.values(output);
        let mut tensor = InferOutputTensor {
            name: output.name.to_string(),
            datatype: output.dtype.name().to_string(),
            shape: shape.iter().map(|size| *size as i64).collect(),
            ..InferOutputTensor::default()
        };
        if raw {
            let bytes = shape.iter().product::<usize>() * output.dtype.size().unwrap_or(8);
            contents.push(raw_values(output, values, bytes)?.into());
        } else {
            tensor.contents = Some(typed_values(output, values)?);
        }
        tensors.push(tensor);
    }
    Ok((tensors, contents))
}

fn typed_values(output: &Answer, values: impl Iterator<Item = f64>) -> Result<Contents, Error> {
    let mut contents = Contents::default();
    match output.dtype {
        DType::Bool => contents.bool_contents = values.map(|value| value != 0.0).collect(),
        DType::Uint8 | DType::Uint16 | DType::Uint32 => {
            contents.uint_contents = values.map(|value| value as u32).collect();
        }
        DType::Uint64 => contents.uint64_contents = values.map(|value| value as u64).collect(),
        DType::Int8 | DType::Int16 | DType::Int32 => {
            contents.int_contents = values.map(|value| value as i32).collect();
        }
        DType::Int64 => contents.int64_contents = values.map(|value| value as i64).collect(),
        DType::Fp16 | DType::Fp32 => {
            contents.fp32_contents = values.map(|value| value as f32).collect();
        }
        DType::Fp64 => contents.fp64_contents = values.collect(),
        DType::Bytes => {
            for value in values {
                let label = label(output, value)?;
                contents
                    .bytes_contents
                    .push(Bytes::copy_from_slice(label.as_bytes()));
            }
        }
    }
    Ok(contents)
}

fn raw_values(
    output: &Answer,
    values: impl Iterator<Item = f64>,
    bytes: usize,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(bytes);
    for value in values {
        match output.dtype {
            DType::Bool => out.push(u8::from(value != 0.0)),
            DType::Uint8 => out.push(value as u8),
            DType::Uint16 => out.extend((value as u16).to_le_bytes()),
            DType::Uint32 => out.extend((value as u32).to_le_bytes()),
            DType::Uint64 => out.extend((value as u64).to_le_bytes()),
            DType::Int8 => out.extend((value as i8).to_le_bytes()),
            DType::Int16 => out.extend((value as i16).to_le_bytes()),
            DType::Int32 => out.extend((value as i32).to_le_bytes()),
            DType::Int64 => out.extend((value as i64).to_le_bytes()),
            DType::Fp16 => out.extend(f16::from_f64(value).to_le_bytes()),
            DType::Fp32 => out.extend((value as f32).to_le_bytes()),
            DType::Fp64 => out.extend(value.to_le_bytes()),
            DType::Bytes => {
                let label = label(output, value)?;
                out.extend((label.len() as u32).to_le_bytes());
                out.extend(label.as_bytes());
            }
        }
    }
    Ok(out)
}

/// The label that an index stands for.
fn label<'a>(output: &Answer<'a>, index: f64) -> Result<&'a str, Error> {
    let label = output.labels.get(index as usize);
    label.map(String::as_str).ok_or_else(|| {
        Error::internal(format!(
            "output \"{}\": the engine answered a label that the model does not have",
            output.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Output;

    fn output(dtype: DType) -> Output {
        Output {
            name: "label".to_string(),
            dtype,
            columns: None,
            offset: 0,
            labels: vec!["no".to_string(), "yes".to_string()],
            default: true,
        }
    }

    #[test]
    fn raw_values_are_little_endian() {
        let check = |dtype, values: &[f64], expected: &[u8]| {
            let output = output(dtype);
            let got = raw_values(&Answer::from(&output), values.iter().copied(), 0).unwrap();
            assert_eq!(got, expected, "{dtype}");
        };
        check(DType::Fp32, &[1.5], &1.5_f32.to_le_bytes());
        check(DType::Fp64, &[0.1], &0.1_f64.to_le_bytes());
        check(DType::Int64, &[-2.0], &(-2_i64).to_le_bytes());
        check(DType::Bool, &[0.0, 1.0], &[0, 1]);
        check(DType::Fp16, &[1.0], &[0x00, 0x3c]);
        check(DType::Bytes, &[1.0, 0.0], b"\x03\0\0\0yes\x02\0\0\0no");
    }

    #[test]
    fn typed_values_are_in_their_datatypes_field() {
        let typed = |dtype| {
            let output = output(dtype);
            typed_values(&Answer::from(&output), [1.0].into_iter()).unwrap()
        };
        assert_eq!(typed(DType::Fp32).fp32_contents, [1.0]);
        assert_eq!(typed(DType::Fp64).fp64_contents, [1.0]);
        assert_eq!(typed(DType::Int64).int64_contents, [1]);
        assert_eq!(typed(DType::Int32).int_contents, [1]);
        assert_eq!(typed(DType::Bool).bool_contents, [true]);
        assert_eq!(typed(DType::Bytes).bytes_contents, ["yes"]);
    }

    #[test]
    fn a_label_that_is_not_there_is_our_fault() {
        let output = output(DType::Bytes);
        let error = typed_values(&Answer::from(&output), [2.0].into_iter()).unwrap_err();
        assert_eq!(error.code, crate::error::Code::Internal);
    }
}
