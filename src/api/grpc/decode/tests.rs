use super::*;

fn input(name: &str, datatype: &str, shape: &[i64], contents: Contents) -> InferInputTensor {
    InferInputTensor {
        name: name.to_string(),
        datatype: datatype.to_string(),
        shape: shape.to_vec(),
        contents: Some(contents),
        ..InferInputTensor::default()
    }
}

fn typed(datatype: &str, shape: &[i64], contents: Contents) -> Result<Tensor<'static>, String> {
    one(tensors(vec![input("x", datatype, shape, contents)], vec![]))
}

fn raw(datatype: &str, shape: &[i64], bytes: &[u8]) -> Result<Tensor<'static>, String> {
    let input = input("x", datatype, shape, Contents::default());
    one(tensors(vec![input], vec![Bytes::copy_from_slice(bytes)]))
}

fn one(tensors: Result<Tensors<'static>, Error>) -> Result<Tensor<'static>, String> {
    let mut tensors = tensors.map_err(|error| error.message)?;
    assert_eq!(tensors.len(), 1);
    Ok(tensors.remove(0))
}

fn bools(values: &[bool]) -> Contents {
    Contents {
        bool_contents: values.to_vec(),
        ..Contents::default()
    }
}

fn ints(values: &[i32]) -> Contents {
    Contents {
        int_contents: values.to_vec(),
        ..Contents::default()
    }
}

fn longs(values: &[i64]) -> Contents {
    Contents {
        int64_contents: values.to_vec(),
        ..Contents::default()
    }
}

fn uints(values: &[u32]) -> Contents {
    Contents {
        uint_contents: values.to_vec(),
        ..Contents::default()
    }
}

fn ulongs(values: &[u64]) -> Contents {
    Contents {
        uint64_contents: values.to_vec(),
        ..Contents::default()
    }
}

fn floats(values: &[f32]) -> Contents {
    Contents {
        fp32_contents: values.to_vec(),
        ..Contents::default()
    }
}

fn strings_of(values: &[&'static [u8]]) -> Contents {
    let values = values.iter().map(|value| Bytes::from_static(value));
    Contents {
        bytes_contents: values.collect(),
        ..Contents::default()
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_string())
}

#[test]
fn typed_contents_become_values() {
    let fp64 = Contents {
        fp64_contents: vec![0.1],
        ..Contents::default()
    };
    let max = 1_i64 << 53;
    let cases = [
        ("BOOL", bools(&[true]), Values::F32(vec![1.0])),
        ("INT8", ints(&[-128]), Values::F32(vec![-128.0])),
        ("INT16", ints(&[-32768]), Values::F32(vec![-32768.0])),
        ("INT32", ints(&[i32::MIN]), Values::F64(vec![-2147483648.0])),
        (
            "INT64",
            longs(&[-max]),
            Values::F64(vec![-9007199254740992.0]),
        ),
        ("UINT8", uints(&[255]), Values::F32(vec![255.0])),
        ("UINT16", uints(&[65535]), Values::F32(vec![65535.0])),
        (
            "UINT32",
            uints(&[u32::MAX]),
            Values::F64(vec![4294967295.0]),
        ),
        (
            "UINT64",
            ulongs(&[1 << 53]),
            Values::F64(vec![9007199254740992.0]),
        ),
        ("FP32", floats(&[0.1]), Values::F32(vec![0.1])),
        ("FP64", fp64, Values::F64(vec![0.1])),
        ("BYTES", strings_of(&[b"a"]), Values::Cells(vec![text("a")])),
    ];
    for (datatype, contents, values) in cases {
        let expected = Tensor {
            name: "x".into(),
            dtype: datatype.parse().unwrap(),
            shape: vec![1, 1].into(),
            values,
        };
        assert_eq!(typed(datatype, &[1, 1], contents), Ok(expected));
    }
}

#[test]
fn raw_contents_become_values() {
    let cases: [(&str, &[u8], Values); 13] = [
        ("BOOL", &[1], Values::F32(vec![1.0])),
        ("INT8", &[0x80], Values::F32(vec![-128.0])),
        ("INT16", &[0xfe, 0xff], Values::F32(vec![-2.0])),
        ("INT32", &[0xfe, 0xff, 0xff, 0xff], Values::F64(vec![-2.0])),
        ("INT64", &(-3_i64).to_le_bytes(), Values::F64(vec![-3.0])),
        ("UINT8", &[0x80], Values::F32(vec![128.0])),
        ("UINT16", &[1, 2], Values::F32(vec![513.0])),
        ("UINT32", &[1, 2, 0, 0], Values::F64(vec![513.0])),
        ("UINT64", &3_u64.to_le_bytes(), Values::F64(vec![3.0])),
        ("FP16", &[0x00, 0xbe], Values::F32(vec![-1.5])),
        ("FP32", &0.1_f32.to_le_bytes(), Values::F32(vec![0.1])),
        ("FP64", &0.1_f64.to_le_bytes(), Values::F64(vec![0.1])),
        ("BYTES", b"\x02\0\0\0ab", Values::Cells(vec![text("ab")])),
    ];
    for (datatype, bytes, values) in cases {
        assert_eq!(
            raw(datatype, &[1], bytes).unwrap().values,
            values,
            "{datatype}"
        );
    }
}

#[test]
fn missing_values_and_empty_tensors_pass() {
    let nan = raw("FP32", &[1], &f32::NAN.to_le_bytes()).unwrap();
    assert!(matches!(nan.values, Values::F32(values) if values[0].is_nan()));
    let empty = typed("FP32", &[0, 3], Contents::default()).unwrap();
    assert_eq!((empty.shape, empty.values.len()), (vec![0, 3].into(), 0));
    assert!(raw("BYTES", &[0], b"").unwrap().values.is_empty());
    let strings = raw("BYTES", &[2], b"\0\0\0\0\x01\0\0\0b").unwrap();
    assert_eq!(strings.values, Values::Cells(vec![text(""), text("b")]));
}

#[test]
fn broken_typed_contents_are_refused_with_the_reason() {
    let both = Contents {
        fp32_contents: vec![1.0],
        ..ints(&[1])
    };
    let beyond = (1_i64 << 53) + 1;
    let cases: Vec<(&str, &[i64], Contents, &str)> = vec![
        (
            "fp32",
            &[1],
            floats(&[1.0]),
            "datatype: expected one of BOOL, UINT8,",
        ),
        (
            "FP16",
            &[1],
            floats(&[1.0]),
            "expected raw_input_contents for FP16",
        ),
        (
            "FP32",
            &[1],
            ints(&[1]),
            "expected fp32_contents for FP32, got int_contents",
        ),
        (
            "FP32",
            &[1],
            both,
            "expected fp32_contents for FP32, got int_contents",
        ),
        (
            "FP32",
            &[2],
            floats(&[1.0]),
            "expected 2 values for shape [2], got 1",
        ),
        (
            "FP32",
            &[],
            floats(&[1.0, 2.0]),
            "expected 1 values for shape [], got 2",
        ),
        (
            "FP32",
            &[-1],
            floats(&[1.0]),
            "shape: expected dimensions that are not negative",
        ),
        (
            "FP32",
            &[i64::MAX, 3],
            floats(&[1.0]),
            "shape: the number of values is beyond",
        ),
        (
            "INT8",
            &[2],
            ints(&[0, 128]),
            "value 1 is out of the range of INT8",
        ),
        (
            "INT16",
            &[1],
            ints(&[-32769]),
            "value 0 is out of the range of INT16",
        ),
        (
            "UINT8",
            &[1],
            uints(&[256]),
            "value 0 is out of the range of UINT8",
        ),
        (
            "UINT16",
            &[1],
            uints(&[65536]),
            "value 0 is out of the range of UINT16",
        ),
        (
            "INT64",
            &[1],
            longs(&[beyond]),
            "value 0: expected at most 2^53 either way",
        ),
        (
            "INT64",
            &[1],
            longs(&[i64::MIN]),
            "value 0: expected at most 2^53 either way",
        ),
        (
            "UINT64",
            &[1],
            ulongs(&[u64::MAX]),
            "value 0: expected at most 2^53 either way",
        ),
        (
            "BYTES",
            &[1],
            strings_of(&[b"\xff"]),
            "value 0: expected UTF-8",
        ),
    ];
    for (datatype, shape, contents, expected) in cases {
        let expected = format!("input \"x\": {expected}");
        let got = typed(datatype, shape, contents).unwrap_err();
        assert!(got.starts_with(&expected), "{got} / {expected}");
    }
}

#[test]
fn broken_raw_contents_are_refused_with_the_reason() {
    let lengths = "value 0: expected a 4-byte length and that many bytes";
    let cases: Vec<(&str, &[i64], &[u8], &str)> = vec![
        (
            "FP32",
            &[1],
            &[0; 3],
            "expected 1 values of 4 bytes for FP32, got 3 bytes",
        ),
        (
            "FP32",
            &[2],
            &[0; 4],
            "expected 2 values of 4 bytes for FP32, got 4 bytes",
        ),
        (
            "FP64",
            &[i64::MAX],
            &[0; 8],
            "expected 9223372036854775807 values of 8 bytes",
        ),
        ("BOOL", &[1], &[2], "value 0 is out of the range of BOOL"),
        (
            "UINT64",
            &[1],
            &[255; 8],
            "value 0: expected at most 2^53 either way",
        ),
        ("BYTES", &[1], &[1, 0, 0], lengths),
        ("BYTES", &[1], &[255, 255, 255, 255, 1], lengths),
        ("BYTES", &[1], b"\x01\0\0\0\xff", "value 0: expected UTF-8"),
        (
            "BYTES",
            &[2],
            b"\x01\0\0\0a",
            "expected 2 values for shape [2], got 1",
        ),
        (
            "BYTES",
            &[i64::MAX],
            b"",
            "expected 9223372036854775807 values",
        ),
    ];
    for (datatype, shape, bytes, expected) in cases {
        let expected = format!("input \"x\": {expected}");
        let got = raw(datatype, shape, bytes).unwrap_err();
        assert!(got.starts_with(&expected), "{got} / {expected}");
    }
}

#[test]
fn inputs_that_contradict_each_other_are_refused() {
    let x = || input("x", "FP32", &[1], floats(&[1.0]));
    let bare = || input("y", "FP32", &[1], Contents::default());
    let bytes = || Bytes::from_static(&[0; 4]);
    let check = |inputs, raw, expected: &str| {
        let error = tensors(inputs, raw).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (Code::InvalidArgument, expected)
        );
    };
    check(vec![x(), x()], vec![], "input \"x\" appears twice");
    check(
        vec![bare(), x()],
        vec![bytes(), bytes()],
        "input \"x\": contents and raw_input_contents are both given; expected one of them",
    );
    check(
        vec![bare()],
        vec![bytes(), bytes()],
        "raw_input_contents: expected one for each of the 1 inputs, got 2",
    );
    assert_eq!(tensors(vec![], vec![]), Ok(vec![]));
}

#[test]
fn shared_memory_is_not_served() {
    let mut input = input("x", "FP32", &[1], Contents::default());
    let region = super::super::pb::InferParameter::default();
    input
        .parameters
        .insert("shared_memory_region".to_string(), region);
    assert_eq!(
        tensors(vec![input], vec![]).unwrap_err().code,
        Code::Unsupported
    );
}
