//! Spans of a request as OTLP has them: one of the server, and one each of decoding, waiting,
//! computing and encoding, as far as it got. Names and attributes follow OpenTelemetry's conventions;
//! what they have no name for begins with `hedgerow.`.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use uuid::Uuid;

use super::{Facts, Settings, Trace, UNSET, Value, new_span};

/// The conventions that names are of.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Of a span's flags: whether [`REMOTE`] says anything, and whether the parent is another process's.
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// Who this process is.
pub fn resource(settings: &Settings) -> Resource {
    let own = [
        ("service.name", settings.service_name.clone()),
        ("service.version", env!("CARGO_PKG_VERSION").to_string()),
        ("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let given = |key: &str| settings.resource.iter().any(|(name, _)| name == key);
    let own = own
        .into_iter()
        // The service's name has a key of its own.
        .filter(|(key, _)| *key == "service.name" || !given(key))
        .map(|(key, value)| (key.to_string(), value));
    let others = settings.resource.iter().cloned();
    let all = own.chain(others.filter(|(key, _)| key != "service.name"));
    Resource {
        attributes: all
            .map(|(key, value)| attribute(key, Any::StringValue(value)))
            .collect(),
        ..Resource::default()
    }
}

/// The message that exports spans.
pub fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "hedgerow".to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                schema_url: SCHEMA.to_string(),
            }],
            schema_url: SCHEMA.to_string(),
        }],
    }
}

/// The spans of a request, the server's first.
pub fn spans(trace: &Trace) -> Vec<Span> {
    let Some((end, end_ns)) = trace.end.get() else {
        return Vec::new();
    };
    let facts = trace.facts.get();
    let remote = trace.parent.map_or(0, |_| REMOTE);
    let flags = KNOWN | u32::from(trace.context.flags);
    let mut attributes: Vec<KeyValue> = [&trace.call.attributes, &end.attributes]
        .into_iter()
        .flatten()
        .map(|(key, value)| text_or_number(key, value.clone()))
        .collect();
    if let Some(error) = &end.error {
        attributes.push(text("error.type", error.clone()));
    }
    attributes.extend(facts.into_iter().flat_map(of_facts));
    let loaded = |mark: &std::sync::atomic::AtomicU64| mark.load(Ordering::Acquire);
    let hits = loaded(&trace.marks.cache_hits);
    if hits != UNSET {
        attributes.push(number("hedgerow.cache_hits", hits));
        let misses = loaded(&trace.marks.cache_misses);
        attributes.push(number("hedgerow.cache_misses", misses));
    }
    let server = Span {
        trace_id: trace.context.trace.to_vec(),
        span_id: trace.context.span.to_vec(),
        parent_span_id: trace.parent.map(Vec::from).unwrap_or_default(),
        trace_state: trace.state.clone(),
        flags: flags | remote,
        name: end.name.as_ref().unwrap_or(&trace.call.name).to_string(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: trace.started_ns,
        end_time_unix_nano: trace.started_ns.saturating_add(*end_ns),
        attributes,
        status: end.failed.then(|| Status {
            code: StatusCode::Error.into(),
            message: end.error.as_deref().unwrap_or_default().to_string(),
        }),
        ..Span::default()
    };
    let children =
        steps(trace, facts, *end_ns)
            .into_iter()
            .flatten()
            .map(|(name, from, to, attributes)| Span {
                trace_id: server.trace_id.clone(),
                span_id: new_span().to_vec(),
                parent_span_id: server.span_id.clone(),
                trace_state: server.trace_state.clone(),
                flags,
                name: name.to_string(),
                kind: SpanKind::Internal.into(),
                start_time_unix_nano: trace.started_ns.saturating_add(from),
                end_time_unix_nano: trace.started_ns.saturating_add(to.max(from)),
                attributes,
                ..Span::default()
            });
    let mut spans: Vec<Span> = children.collect();
    spans.insert(0, server);
    spans
}

type Step = (&'static str, u64, u64, Vec<KeyValue>);

/// What a request went through: name, begin and end after its begin, attributes. A step that it did
/// not end ends with it.
fn steps(trace: &Trace, facts: Option<&Facts>, end: u64) -> [Option<Step>; 4] {
    let marks = &trace.marks;
    let [decoded, queued, start] =
        [&marks.decoded, &marks.queued, &marks.call_start].map(|it| it.load(Ordering::Acquire));
    let call_end = marks.call_end.load(Ordering::Acquire);
    let computed = facts.and_then(|facts| facts.computed);
    let decode = (decoded != UNSET).then(|| ("decode", 0, decoded, Vec::new()));
    let queue = (queued != UNSET).then(|| ("queue", queued, start.min(end), Vec::new()));
    let infer = (start != UNSET).then(|| {
        let rows = marks.call_rows.load(Ordering::Relaxed);
        let calls = marks.calls.load(Ordering::Relaxed);
        let mut attributes = vec![
            number("hedgerow.batch_rows", rows),
            number("hedgerow.calls", calls),
        ];
        if let Some(dispatch) = marks.dispatch.get() {
            attributes.push(text("hedgerow.dispatch", dispatch.name().into()));
        }
        ("infer", start, call_end, attributes)
    });
    let encode = computed.map(|at| ("encode", trace.offset(at), end, Vec::new()));
    [decode, queue, infer, encode]
}

fn of_facts(facts: &Facts) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("hedgerow.slot", facts.slot.clone().into()),
        number("hedgerow.revision", facts.revision),
    ];
    if facts.computed.is_some() {
        attributes.push(number("hedgerow.rows", facts.rows as u64));
    }
    if let Some(id) = facts.prediction {
        attributes.push(text("hedgerow.prediction_id", id.to_string().into()));
    }
    attributes
}

fn text_or_number(key: &str, value: Value) -> KeyValue {
    match value {
        Value::Text(value) => text(key, value),
        Value::Number(value) => attribute(key.to_string(), Any::IntValue(value)),
    }
}

fn text(key: &str, value: Cow<'static, str>) -> KeyValue {
    attribute(key.to_string(), Any::StringValue(value.into_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    attribute(key.to_string(), Any::IntValue(value))
}

fn attribute(key: String, value: Any) -> KeyValue {
    KeyValue {
        key,
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
