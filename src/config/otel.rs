//! OpenTelemetry's own variables, as far as they concern traces. They stand over the file and below
//! our own: what an operator's platform sets for all its services, one of them may set otherwise.

use super::source::{Entry, Value};
use super::{Key, Place, keys};

/// Variables that are the value of a key, the more general ones first.
const PLAIN: [(&str, &str); 9] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "protocol"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "protocol"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "headers"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "headers"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "timeout_ms"),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "timeout_ms"),
    ("OTEL_RESOURCE_ATTRIBUTES", "resource"),
    ("OTEL_SERVICE_NAME", "service_name"),
];

/// What the samplers by their standard names are: whether a caller's decision is followed, and the
/// ratio, where it is not that of `OTEL_TRACES_SAMPLER_ARG`.
const SAMPLERS: [(&str, bool, Option<&str>); 6] = [
    ("always_on", false, Some("1")),
    ("always_off", false, Some("0")),
    ("traceidratio", false, None),
    ("parentbased_always_on", true, Some("1")),
    ("parentbased_always_off", true, Some("0")),
    ("parentbased_traceidratio", true, None),
];

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The endpoint as the variable of traces alone has it: HTTP appends nothing.
static EXACT_ENDPOINT: Key = keys::text("trace", "endpoint", |c, v| {
    c.trace.set_endpoint(v)?;
    c.trace.exact = true;
    Ok(())
});

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The values of variables. As the specification has it, an empty one is none. Where they turn traces
/// off, the others are not looked at.
pub fn entries(variables: &[(String, String)]) -> Vec<Entry> {
    let mut found = Vec::new();
    let of = |wanted: &str| {
        let named = variables.iter().find(|(name, _)| name == wanted);
        let value = named.map(|(_, value)| value.trim());
        value.filter(|value| !value.is_empty())
    };
    let entry = |variable: &str, key, value: &str| Entry {
        key,
        slot: None,
        place: Place::Variable(variable.to_string()),
        value: Value::Word(value.to_string()),
    };
    let mut push = |variable: &str, key: &str, value: &str| {
        // Every key above is one.
        if let Ok(key) = keys::find(None, "trace", key) {
            found.push(entry(variable, key, value));
        }
    };
    let is_off = of("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_none = of("OTEL_TRACES_EXPORTER") == Some("none");
    for (variable, off) in [
        ("OTEL_SDK_DISABLED", is_off),
        ("OTEL_TRACES_EXPORTER", is_none),
    ] {
        if off {
            push(variable, "endpoint", "");
            return found;
        }
    }
    for (variable, key) in PLAIN {
        if let Some(value) = of(variable) {
            push(variable, key, value);
        }
    }
    // The service's name may be among the resource's attributes.
    if of("OTEL_SERVICE_NAME").is_none()
        && let Some(text) = of("OTEL_RESOURCE_ATTRIBUTES")
        && let Ok(all) = crate::telemetry::trace::attributes(text)
        && let Some((_, name)) = all.iter().find(|(key, _)| key == "service.name")
    {
        push("OTEL_RESOURCE_ATTRIBUTES", "service_name", name);
    }
    let sampler = of(SAMPLER);
    match SAMPLERS.iter().find(|(name, ..)| Some(*name) == sampler) {
        Some((_, by_parent, ratio)) => {
            push(SAMPLER, "sample_by_parent", &by_parent.to_string());
            match (ratio, of(RATIO)) {
                (Some(ratio), _) => push(SAMPLER, "sample_ratio", ratio),
                (None, Some(ratio)) => push(RATIO, "sample_ratio", ratio),
                (None, None) => push(SAMPLER, "sample_ratio", "1"),
            }
        }
        // What is not known is refused with the words of the key.
        None => {
            if let Some(sampler) = sampler {
                push(SAMPLER, "sample_ratio", sampler);
            }
        }
    }
    if let Some(value) = of(ENDPOINT) {
        found.push(entry(ENDPOINT, &EXACT_ENDPOINT, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::telemetry::trace::{Protocol, Settings};

    fn resolved(variables: &[(&str, &str)], file: &str) -> Result<Settings, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let file = (std::path::Path::new("f.toml"), file);
        let resolved = Config::resolve(Some(file), variables, &[]);
        resolved
            .map(|config| config.trace)
            .map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn the_platforms_variables_stand_between_the_file_and_ours() {
        let all = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=x"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=s,k=v"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
            ("HEDGEROW__TRACE__SAMPLE_RATIO", "0.75"),
        ];
        let found = resolved(&all, "[trace]\nendpoint = \"http://c:1\"\n").unwrap();
        assert_eq!(found.endpoint, "http://b:4318");
        assert_eq!(found.protocol, Some(Protocol::Http));
        assert_eq!(found.headers.0.len(), 1);
        assert_eq!((found.timeout_ms, found.sample_ratio), (500, 0.75));
        assert_eq!(found.service_name, "s");
        assert_eq!(found.resource.len(), 2);
    }

    #[test]
    fn the_endpoint_of_traces_alone_is_taken_as_it_is() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318");
        for url in [
            "http://b:4318",
            "http://b:4318/",
            "http://b:4318/in/v1/traces/",
        ] {
            let found = resolved(&[(ENDPOINT, url), general], "").unwrap();
            assert_eq!(found.url(), url);
            assert_eq!(found.protocol(), Protocol::Http);
        }
        assert_eq!(
            resolved(&[general], "").unwrap().url(),
            "http://a:4318/v1/traces"
        );
        let ours = ("HEDGEROW__TRACE__ENDPOINT", "http://c:4318");
        let found = resolved(&[(ENDPOINT, "http://b:4318"), ours], "").unwrap();
        assert_eq!(found.url(), "http://c:4318/v1/traces");
        let refused = resolved(&[(ENDPOINT, "b:4318")], "").unwrap_err();
        assert!(
            refused.starts_with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: expected an address"),
            "{refused}"
        );
    }

    #[test]
    fn samplers_have_their_standard_names() {
        for (sampler, by_parent, ratio) in [
            ("always_on", false, 1.0),
            ("parentbased_always_off", true, 0.0),
            ("traceidratio", false, 1.0),
        ] {
            let found = resolved(&[(SAMPLER, sampler)], "").unwrap();
            assert_eq!(
                (found.sample_by_parent, found.sample_ratio),
                (by_parent, ratio)
            );
        }
        let refused = resolved(&[(SAMPLER, "sometimes")], "").unwrap_err();
        assert!(
            refused.contains("OTEL_TRACES_SAMPLER: expected"),
            "{refused}"
        );
    }

    #[test]
    fn the_platform_can_turn_it_off() {
        let file = "[trace]\nendpoint = \"http://c:1\"\n";
        for off in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(resolved(&[off], file).unwrap().endpoint, "");
            // What is off may be broken.
            let broken = [off, ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317")];
            assert_eq!(resolved(&broken, "").unwrap().endpoint, "");
        }
        let empty = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            ("OTEL_SDK_DISABLED", "false"),
        ];
        assert_eq!(resolved(&empty, file).unwrap().endpoint, "http://c:1");
    }

    #[test]
    fn secrets_are_not_repeated() {
        let bad = [("OTEL_EXPORTER_OTLP_HEADERS", "hush")];
        let refused = resolved(&bad, "").unwrap_err();
        assert!(
            refused.starts_with("OTEL_EXPORTER_OTLP_HEADERS: expected"),
            "{refused}"
        );
        assert!(!refused.contains("hush"), "{refused}");
        let tls = "[trace]\nendpoint = \"https://c:4317\"\n";
        let refused = resolved(&[], tls).unwrap_err();
        assert!(
            refused.contains("f.toml:2:12: trace.endpoint: gRPC is sent in the clear"),
            "{refused}"
        );
    }
}
