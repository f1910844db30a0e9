use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;

/// A tracer without a thread, and what would reach it.
fn tracer(ratio: f64, by_parent: bool, room: usize) -> (Tracer, Receiver<Arc<Trace>>) {
    let (sender, receiver) = sync_channel(room);
    let (_over, ended) = sync_channel(1);
    let tracer = Tracer {
        by_parent,
        threshold: threshold(ratio),
        sender,
        counters: Arc::default(),
        ended: Mutex::new(ended),
    };
    (tracer, receiver)
}

fn parent(flags: u8) -> Option<Context> {
    Some(Context {
        trace: [7; 16],
        span: [8; 8],
        flags,
    })
}

fn begin(tracer: &Tracer, parent: Option<Context>) -> Option<Open<'_>> {
    let call = Call {
        name: "POST /x".into(),
        attributes: vec![("http.request.method", Value::Text("POST".into()))],
    };
    // Received a moment ago: what a test notes lies before the end.
    let received = Instant::now() - Duration::from_millis(1);
    tracer.begin(received, parent, || (call, "a=1".to_string()))
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Any> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

#[test]
fn a_callers_decision_is_followed_unless_that_is_off() {
    for (ratio, by_parent, flags, expected) in [
        (0.0, true, Some(1), true),
        (1.0, true, Some(0), false),
        (1.0, true, None, true),
        (0.0, true, None, false),
        (0.0, false, Some(1), false),
        (1.0, false, Some(0), true),
    ] {
        let (tracer, _queue) = tracer(ratio, by_parent, 1);
        let sampled = begin(&tracer, flags.and_then(parent)).is_some();
        assert_eq!(sampled, expected, "{ratio} {by_parent} {flags:?}");
    }
}

#[test]
fn a_ratio_samples_that_part_of_all_traces() {
    let (tracer, _queue) = tracer(0.25, true, 1);
    let count = (0..20_000)
        .filter(|_| begin(&tracer, None).is_some())
        .count();
    // Ten standard deviations.
    assert!((4_400..5_600).contains(&count), "{count}");
}

#[test]
fn a_trace_goes_on_where_a_caller_began_it() {
    let (tracer, queue) = tracer(1.0, true, 1);
    begin(&tracer, parent(3)).unwrap().end(End::default());
    let trace = queue.recv().unwrap();
    assert_eq!(trace.context.trace, [7; 16]);
    assert_ne!(trace.context.span, [8; 8]);
    let spans = spans::spans(&trace);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].parent_span_id, [8; 8]);
    assert_eq!(spans[0].trace_state, "a=1");
    assert_eq!(spans[0].flags, 0x303);
    assert_eq!(spans[0].status, None);
}

#[test]
fn steps_become_children_as_far_as_they_were_taken() {
    let (tracer, queue) = tracer(1.0, true, 1);
    let open = begin(&tracer, None).unwrap();
    let trace = Arc::clone(open.trace());
    let at = |us| trace.received + Duration::from_micros(us);
    trace.decoded(at(10));
    trace.queued(at(11));
    let call = |start, took| EngineCall {
        start: at(start),
        took: Duration::from_micros(took),
        rows: 30,
        dispatch: Dispatch::Idle,
    };
    // Two parts of one request, the later one told first.
    trace.computed(&call(40, 5));
    trace.computed(&call(20, 10));
    trace.looked_up(2, 30);
    let id = Uuid::new_v4();
    trace.answered(Facts {
        slot: "fraud".to_string(),
        revision: 7,
        rows: 32,
        prediction: Some(id),
        computed: Some(at(50)),
    });
    open.end(End::default());
    let spans = spans::spans(&queue.recv().unwrap());
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["POST /x", "decode", "queue", "infer", "encode"]);
    let begin = spans[0].start_time_unix_nano;
    let times = |index: usize| {
        let span: &Span = &spans[index];
        let ends = [span.start_time_unix_nano, span.end_time_unix_nano];
        ends.map(|ns| (ns - begin) / 1000)
    };
    assert_eq!(
        [times(1), times(2), times(3)],
        [[0, 10], [11, 20], [20, 45]]
    );
    assert_eq!(times(4)[0], 50);
    let server = &spans[0];
    assert_eq!(server.trace_id.len(), 16);
    assert!(
        spans[1..]
            .iter()
            .all(|it| it.parent_span_id == server.span_id)
    );
    let number = |index: usize, key: &str| match attribute(&spans[index], key) {
        Some(Any::IntValue(number)) => *number,
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(number(0, "hedgerow.rows"), 32);
    assert_eq!(number(0, "hedgerow.revision"), 7);
    assert_eq!(number(0, "hedgerow.cache_hits"), 2);
    assert_eq!(number(3, "hedgerow.batch_rows"), 30);
    assert_eq!(number(3, "hedgerow.calls"), 2);
    let told = attribute(server, "hedgerow.prediction_id");
    assert_eq!(told, Some(&Any::StringValue(id.to_string())));
}

#[test]
fn a_failure_has_its_code_and_a_caller_that_left_is_told() {
    let (tracer, queue) = tracer(1.0, true, 2);
    begin(&tracer, None).unwrap().end(End {
        error: Some("internal".into()),
        failed: true,
        ..End::default()
    });
    drop(begin(&tracer, None));
    let failed = &spans::spans(&queue.recv().unwrap())[0];
    let status = failed.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "internal"));
    let left = &spans::spans(&queue.recv().unwrap())[0];
    assert_eq!(left.status, None);
    let error = attribute(left, "error.type");
    assert_eq!(error, Some(&Any::StringValue("cancelled".to_string())));
}

#[test]
fn what_does_not_fit_the_queue_is_dropped_and_counted() {
    let (tracer, _queue) = tracer(1.0, true, 1);
    for _ in 0..3 {
        begin(&tracer, None).unwrap().end(End::default());
    }
    assert_eq!(tracer.counts().dropped, 2);
}

#[test]
fn a_resource_keeps_what_is_given() {
    let settings = Settings {
        service_name: "scores".to_string(),
        resource: attributes("service.instance.id=pod-1,service.name=no,k=v").unwrap(),
        ..Settings::default()
    };
    let resource = spans::resource(&settings);
    let found: Vec<(&str, String)> = resource
        .attributes
        .iter()
        .map(|it| match &it.value.as_ref().unwrap().value {
            Some(Any::StringValue(text)) => (it.key.as_str(), text.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("service.name", "scores"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", "pod-1"),
        ("k", "v"),
    ];
    assert_eq!(found, expected.map(|(key, value)| (key, value.to_string())));
}
