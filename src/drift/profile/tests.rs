use super::*;

fn profile() -> Profile {
    Profile {
        version: VERSION,
        source: Source::Training,
        rows: 10,
        digest: String::new(),
        model: None,
        label: None,
        features: vec![
            Feature {
                name: "amount".to_string(),
                missing: 1,
                values: Values::Number(Numbers {
                    range: Some([0.5, 9.0]),
                    mean: 3.0,
                    std: 1.0,
                    whole: false,
                    edges: vec![1.0, 2.0],
                    counts: vec![2, 3, 4],
                }),
            },
            Feature {
                name: "country".to_string(),
                missing: 0,
                values: Values::Category(Categories {
                    names: vec![Category::Text("DE".to_string()), Category::Number(7.0)],
                    counts: vec![5, 4],
                    rare: vec![Category::Text("AT".to_string())],
                    other: 1,
                    complete: true,
                }),
            },
        ],
        score: None,
        calibration: None,
    }
}

fn refused(change: impl FnOnce(&mut Profile)) -> String {
    let mut broken = profile();
    change(&mut broken);
    broken.check().unwrap_err().0
}

fn numbers(profile: &mut Profile) -> &mut Numbers {
    match &mut profile.features[0].values {
        Values::Number(numbers) => numbers,
        Values::Category(_) => unreachable!(),
    }
}

#[test]
fn what_is_written_is_read() {
    let profile = profile();
    let json = profile.json().unwrap();
    assert_eq!(Profile::parse(json.as_bytes()).unwrap(), profile);
    assert_eq!(profile.fingerprint().unwrap().len(), 64);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    assert!(refused(|it| it.rows = 0).contains("no rows"));
    assert!(refused(|it| it.features.clear()).contains("0 features"));
    assert!(refused(|it| it.features[1].name = "amount".to_string()).contains("twice"));
    assert!(refused(|it| numbers(it).edges[0] = f64::NAN).contains("\"amount\": edge NaN"));
    assert!(refused(|it| numbers(it).edges[0] = 2.0).contains("not below"));
    assert!(refused(|it| numbers(it).counts.truncate(2)).contains("2 counts; expected 3"));
    assert!(refused(|it| numbers(it).counts[0] = 3).contains("add up to 11"));
    assert!(refused(|it| numbers(it).counts[0] = u64::MAX).contains("add up to"));
    assert!(refused(|it| numbers(it).range = Some([2.0, 1.0])).contains("range from 2 to 1"));
    assert!(refused(|it| numbers(it).std = f64::INFINITY).contains("std inf"));
    assert!(refused(|it| it.features[1].missing = 1).contains("\"country\": its counts"));
    let calibration = Calibration {
        edges: vec![0.5],
        rows: vec![1, 1],
        positives: vec![0, 2],
    };
    assert!(refused(|it| it.calibration = Some(calibration)).contains("more positives"));
}

#[test]
fn what_is_no_profile_is_refused() {
    let refused = |text: &str| Profile::parse(text.as_bytes()).unwrap_err().0;
    assert!(refused("{").contains("EOF"));
    assert!(refused("{}").contains("no version"));
    assert!(refused("{\"version\": 2}").contains("version 2; expected 1"));
    assert!(refused("{\"version\": \"1\"}").contains("expected 1"));
    let json = profile().json().unwrap();
    assert!(refused(&json.replace("[1.0,2.0]", "[NaN,2.0]")).contains("expected value"));
    assert!(refused(&json.replace("\"rows\"", "\"row\"")).contains("unknown field `row`"));
}
