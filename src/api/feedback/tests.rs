//! Labels as they are read, before anything is known of them.

use super::*;

#[test]
fn one_object_an_array_or_one_a_line() {
    let check = |body: &str, expected: (usize, bool)| {
        let (sent, single) = read(body.as_bytes()).unwrap();
        assert!(sent.iter().all(Result::is_ok), "{body}: {sent:?}");
        assert_eq!((sent.len(), single), expected, "{body}");
    };
    check(r#"{"key":"a","value":true}"#, (1, true));
    check("{\"key\":\"a\",\n\"value\":true}\n", (1, true));
    check(r#"[{"key":"a","value":1},{"key":2,"value":0}]"#, (2, false));
    check("[]", (0, false));
    check(
        "{\"key\":\"a\",\"value\":1}\n\n{\"key\":\"b\",\"value\":0}\n",
        (2, false),
    );
}

#[test]
fn what_cannot_be_read_is_refused_where_it_stands() {
    for (body, expected) in [
        ("", "expected a JSON object"),
        ("\"a\"", "expected a JSON object"),
        ("[1,", "not JSON"),
        ("{\"key\"", "not JSON"),
        ("[{}] 1", "not JSON"),
    ] {
        let refused = read(body.as_bytes()).map(|(sent, _)| sent[0].clone().unwrap_err());
        let message = refused.unwrap_or_else(|error| error.message);
        assert!(message.contains(expected), "{body}: {message}");
    }
    let (sent, _) = read(b"{\"key\":\"a\",\"value\":1}\n{\"kex\":\"b\"}").unwrap();
    let reason = sent[1].clone().unwrap_err();
    assert!(
        reason.starts_with("line 2: unknown field, line 1, column 6: expected one of `slot`"),
        "{reason}"
    );
}

#[test]
fn nothing_is_kept_of_what_is_no_label() {
    for (body, expected) in [
        ("[0]", "expected an object"),
        ("[[\"x\",\"id\"]]", "expected an object"),
        (
            r#"[{"key":[[0,0]]}]"#,
            "expected a text, a number, true or false",
        ),
        (
            r#"[{"value":{"a":1}}]"#,
            "expected a text, a number, true or false",
        ),
    ] {
        let (sent, _) = read(body.as_bytes()).unwrap();
        let reason = sent[0].clone().unwrap_err();
        assert!(reason.ends_with(expected), "{body}: {reason}");
    }
    // Beside a label, whatever stands in a key that is not looked at.
    let tags = format!(r#"{{"key":"a","value":1,"tags":[{}0]}}"#, "0,".repeat(1000));
    let (sent, single) = read(tags.as_bytes()).unwrap();
    assert!(sent[0].is_ok() && single);
    // What comes after one too many is not even read.
    let many = format!("[{}{{", "0,".repeat(LABELS_MAX + 1));
    assert_eq!(read(many.as_bytes()).unwrap_err().code, Code::TooLarge);
    let lines = "{\"key\":0}\n".repeat(LABELS_MAX + 1);
    assert_eq!(read(lines.as_bytes()).unwrap_err().code, Code::TooLarge);
    let most = format!("[{}{{}}]", "{},".repeat(LABELS_MAX - 1));
    assert_eq!(read(most.as_bytes()).unwrap().0.len(), LABELS_MAX);
}

#[test]
fn what_a_caller_wrote_is_not_told() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Two {
        #[serde(rename = "one")]
        _one: u64,
        #[serde(rename = "two")]
        _two: Option<bool>,
    }
    let secret = "4111, expected nothing at line 7 ".repeat(50);
    for (body, expected) in [
        (format!(r#"{{"one":"{secret}"}}"#), ": expected u64"),
        (format!(r#"{{"{secret}":1}}"#), ": expected `one` or `two`"),
        (
            r#"{"one":-4111}"#.to_string(),
            "line 1, column 12: expected u64",
        ),
        (
            r#"{"one":1,"one":1}"#.to_string(),
            "a field that was there before, line 1, column 14",
        ),
        (r#"{"one":4111"#.to_string(), "not JSON, line 1, column 11"),
    ] {
        let told = told(&serde_json::from_str::<Two>(&body).unwrap_err());
        assert!(told.ends_with(expected), "{told}");
        assert!(!told.contains("4111") && told.len() <= 200, "{told}");
    }
}

#[test]
fn a_target_is_an_id_with_a_row_or_a_key() {
    let id = Uuid::from_u128(7);
    let text = id.to_string();
    let second = format!("{text}.1");
    let of_id = |id: &str, row| target(Some(id.to_string()), None, row);
    let at = |row| Ok(Target::Prediction { id, row });
    assert_eq!(of_id(&text, None), at(0));
    assert_eq!(of_id(&text, Some(3)), at(3));
    assert_eq!(of_id(&second, Some(1)), at(1));
    assert!(of_id(&second, Some(2)).is_err());
    assert!(of_id("7", None).is_err());
    assert!(target(None, None, None).is_err());
    assert!(target(Some(text), Some(Scalar::Whole(1)), None).is_err());
}

#[test]
fn a_key_is_a_text_or_a_whole_number() {
    let key = |json: &str| {
        let sent: Sent = serde_json::from_str(&format!(r#"{{"key":{json}}}"#)).unwrap();
        match target(None, sent.key, None) {
            Ok(Target::Key { key, row: 0 }) => Ok(key),
            Ok(other) => Err(format!("{other:?}")),
            Err(reason) => Err(reason),
        }
    };
    for (json, expected) in [
        ("42", "42"),
        ("42.0", "42"),
        ("4.2e1", "42"),
        ("-1", "-1"),
        ("9000000000000000", "9000000000000000"),
        ("\"4.2e1\"", "4.2e1"),
    ] {
        assert_eq!(key(json).as_deref(), Ok(expected), "{json}");
    }
    for json in [
        "0.5",
        "1e300",
        "9000000000000001",
        "18446744073709551615",
        "true",
    ] {
        let reason = key(json).unwrap_err();
        assert!(reason.contains("send it as a text"), "{json}: {reason}");
    }
    for json in ["\"\"", "\"a\\u0000b\"", &format!("\"{}\"", "k".repeat(257))] {
        assert!(key(json).unwrap_err().contains("1 to 256 bytes"), "{json}");
    }
}

#[test]
fn times_are_rfc_3339_or_milliseconds_and_not_ahead() {
    let text = |text: &str| Scalar::Text(text.to_string());
    assert_eq!(event_time(&text("1970-01-01T01:00:00+01:00")), Ok(0));
    assert_eq!(event_time(&Scalar::Whole(1500)), Ok(1500));
    for wrong in [text("yesterday"), Scalar::Bool(true), Scalar::Number(1.5)] {
        assert!(event_time(&wrong).unwrap_err().contains("RFC 3339"));
    }
    let ahead = event_time(&text("2999-01-01T00:00:00Z"));
    assert!(ahead.unwrap_err().contains("future"));
}
