use std::path::Path;

use super::*;
use crate::model::rules::{Action, Check, Rule};
use crate::telemetry::log;

const FILE: &str = "hedgerow.toml";

fn resolve(text: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<Config, Vec<Problem>> {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Config::resolve(Some((Path::new(FILE), text)), variables, flags)
}

fn good(text: &str, variables: &[(&str, &str)]) -> Config {
    resolve(text, variables, &[]).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Problems, one per line.
fn bad(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let problems = resolve(text, variables, &[]).unwrap_err();
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn nothing_gives_the_defaults() {
    assert_eq!(
        format!("{:?}", good("", &[])),
        format!("{:?}", Config::default())
    );
}

#[test]
fn flags_override_the_environment_and_that_the_file() {
    let text = "[server]\nhttp = \"1.1.1.1:1\"\ngrpc = \"1.1.1.1:2\"\nadmin = \"1.1.1.1:3\"";
    let variables = [
        ("HEDGEROW__SERVER__GRPC", "2.2.2.2:2"),
        ("HEDGEROW__server__admin", "2.2.2.2:3"),
        ("HEDGEROW_SERVICE_PORT", "a service link of Kubernetes"),
    ];
    let flag = Flag {
        name: "--admin",
        section: "server",
        key: "admin",
        value: "3.3.3.3:3".to_string(),
    };
    let api = resolve(text, &variables, &[flag]).unwrap().api;
    assert_eq!(api.http.to_string(), "1.1.1.1:1");
    assert_eq!(api.grpc.to_string(), "2.2.2.2:2");
    assert_eq!(api.admin.to_string(), "3.3.3.3:3");
}

#[test]
fn a_platform_says_the_port_and_our_own_variables_override_it() {
    let text = "[server]\nhttp = \"1.1.1.1:1\"";
    for name in ["SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT"] {
        let api = good(text, &[(name, "8090")]).api;
        assert_eq!(api.http.to_string(), "0.0.0.0:8090");
        let api = good(
            text,
            &[(name, "8090"), ("HEDGEROW__SERVER__HTTP", "2.2.2.2:2")],
        )
        .api;
        assert_eq!(api.http.to_string(), "2.2.2.2:2");
        let problems = bad(text, &[(name, "http")]);
        assert!(problems[0].starts_with(&format!("{name}: expected an IP address and a port")));
    }
}

#[test]
fn the_slot_is_guessed_only_of_one_models_files() {
    let dir = tempfile::tempdir().unwrap();
    let add = |path: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    };
    let guessed = |entries: &[source::Entry]| guessed_slot(dir.path(), entries);
    assert_eq!(guessed(&[]), None);
    add("model.txt");
    add("code/inference.py");
    assert_eq!(guessed(&[]).as_deref(), Some("model"));
    // Another folder has another slot, or none.
    let flag = Flag {
        name: "DIR",
        section: "models",
        key: "dir",
        value: "elsewhere".to_string(),
    };
    let named = source::from_flags(&[flag], &mut Vec::new());
    assert_eq!(guessed(&named), None);
    for beside in ["fraud/1/model.txt", "2/model.txt"] {
        add(beside);
        assert_eq!(guessed(&[]), None, "{beside}");
        let first = beside.split('/').next().unwrap();
        std::fs::remove_dir_all(dir.path().join(first)).unwrap();
        assert_eq!(guessed(&[]).as_deref(), Some("model"));
    }
}

#[test]
fn values_are_read_by_the_type_of_their_key() {
    let config = good(
        "[models]\nverify = true\nbytes_max = 0x10_00\nnative_dir = \"/opt/native\"",
        &[
            ("HEDGEROW__SERVER__WORKERS", "1_000"),
            ("HEDGEROW__TELEMETRY__LOG_FORMAT", "json"),
            ("HEDGEROW__MODELS__ENGINE", "forest"),
        ],
    );
    assert!(config.revision.verify);
    assert_eq!(config.revision.bytes_max, 4096);
    assert_eq!(config.revision.libraries.dir, Path::new("/opt/native"));
    assert_eq!(config.revision.engine, Choice::Forest);
    assert_eq!(config.api.workers, 1000);
    assert_eq!(config.telemetry.log_format, log::Format::Json);
}

#[test]
fn the_log_is_exported_where_it_has_a_folder() {
    assert_eq!(good("[export]\ndir = \"\"", &[]).export.dir, None);
    let config = good(
        "[export]\ndir = \"/var/log/predictions\"\nwait = \"90m\"\nfiles_max = 500",
        &[("HEDGEROW__EXPORT__ROTATE", "30s")],
    );
    let expected = journal::export::Settings {
        dir: Some(PathBuf::from("/var/log/predictions")),
        wait_ms: 90 * 60 * 1000,
        rotate_ms: 30_000,
        files_max: 500,
        ..Config::default().export
    };
    assert_eq!(config.export, expected);
    assert_eq!(
        bad("[export]\nwait = 5\n[rollout]\nwait = \"1d\"", &[]),
        [
            "hedgerow.toml:2:8: export.wait: expected a time such as \"90s\", \"6h\" or \"45d\", got 5",
            "hedgerow.toml:4:1: unknown key \"wait\" in [rollout]; it belongs in [export]",
        ]
    );
}

#[test]
fn a_slot_inherits_what_it_does_not_say() {
    let config = good(
        "[slots.fraud.cache]\nttl_s = 5\n[slots.idle]\n[batch]\nmax_batch_rows = 7",
        &[("HEDGEROW__CACHE__CAPACITY_BYTES", "99")],
    );
    assert_eq!(config.serve.slots.len(), 1);
    let fraud = &config.serve.slots["fraud"];
    assert_eq!(fraud.cache.ttl_s, 5);
    assert_eq!(fraud.cache.capacity_bytes, 99);
    assert_eq!(fraud.policy.max_batch_rows, 7);
    assert_eq!(config.serve.slot.cache.ttl_s, 0);
}

#[test]
fn trials_read_like_sentences() {
    let text = r#"
[rollout]
alpha = 0.01
[slots.fraud.rollout]
on_arrival = "shadow"
stages = ["shadow", "5%", "full"]
gates = ["cost > 0", "auc > -0.002"]
label_horizon = "45d"
"#;
    let variables = [
        ("HEDGEROW__SLOTS__FRAUD__ROLLOUT__STAGE_MIN", "90s"),
        (
            "HEDGEROW__SLOTS__CHURN__ROLLOUT__STAGES",
            "shadow, 1%, full",
        ),
    ];
    let config = good(text, &variables);
    let fraud = &config.rollout.slots["fraud"];
    assert_eq!(fraud.alpha, 0.01);
    let gates: Vec<String> = fraud.gates.iter().map(ToString::to_string).collect();
    assert_eq!(gates, ["cost > 0", "auc > -0.002"]);
    assert_eq!(fraud.horizon_ms, 45 * 86_400_000);
    assert_eq!(fraud.policy.share_duration_min_ms, 90_000);
    assert!(config.serve.slots["fraud"].watch.is_on());
    assert!(!config.serve.slot.watch.is_on());
    assert_eq!(config.rollout.slots["churn"].policy.stages.len(), 3);
    for (key, expected) in [
        (
            "stages = [\"5%\", \"full\"]",
            "expected shadow, rising shares, full",
        ),
        (
            "stages = [\"shadow\", \"25%\", \"5%\", \"full\"]",
            "5% after 25%",
        ),
        ("stages = []", "expected one at least"),
        ("stages = [1]", "expected a list of texts in quotes"),
        ("gates = [\"f1 > 0\"]", "cost, auc, recall_fpr"),
        ("gates = [\"auc\"]", "auc"),
        ("label_horizon = \"3 weeks\"", "expected a time such as"),
        ("label_horizon = 3", "expected a time such as"),
        ("alpha = 2", "expected a number from"),
        ("alpha = \"a\"", "expected a number from"),
        ("record = 1", "expected true or false"),
        ("on_arrival = \"at once\"", "replace, shadow, hold"),
    ] {
        let problems = bad(&format!("[rollout]\n{key}"), &[]);
        assert!(problems[0].contains(expected), "{key}: {problems:?}");
    }
}

#[test]
fn rules_are_read_for_all_slots_or_one() {
    let text = r#"
[validate]
rules = ["*: required flag", "amount: 0..1e6 clamp"]
[slots.fraud.validate]
rules = ["country: in DE|AT | New York reject"]
defaults = "off"
"#;
    let variables = [("HEDGEROW__SLOTS__CHURN__VALIDATE__DEFAULTS", "reject")];
    let config = good(text, &variables);
    let rules = &config.revision.rules;
    assert_eq!(rules.of("other").rules.len(), 2);
    assert_eq!(rules.of("other").defaults, Some(Action::Flag));
    assert_eq!(rules.of("churn").rules, rules.of("other").rules);
    assert_eq!(rules.of("churn").defaults, Some(Action::Reject));
    let names = ["DE", "AT", "New York"].map(str::to_string);
    let country = Rule {
        feature: "country".to_string(),
        check: Check::Categories(names.to_vec()),
        action: Action::Reject,
    };
    assert_eq!(rules.of("fraud").rules, [country]);
    assert_eq!(rules.of("fraud").defaults, None);
    for (key, expected) in [
        (
            "rules = [\"amount: 1..0 flag\"]",
            "hedgerow.toml:2:9: validate.rules: rule \"amount: 1..0 flag\": no number lies in 1..0",
        ),
        ("rules = [1]", "expected a list of texts in quotes"),
        (
            "defaults = \"no\"",
            "expected one of off, flag, clamp, reject",
        ),
    ] {
        let problems = bad(&format!("[validate]\n{key}"), &[]);
        assert!(problems[0].contains(expected), "{key}: {problems:?}");
    }
}

#[test]
fn a_horizon_that_outlives_the_journal_is_a_problem_where_it_stands() {
    let on = "on_arrival = \"shadow\"\n";
    let fraud = format!("[slots.fraud.rollout]\n{on}label_horizon = \"91d\"\n");
    let told = |place: &str, of: &str, days: u32| {
        format!(
            "hedgerow.toml:{place}: the label_horizon{of} is longer than journal.retention_days, {days}: its predictions would leave before they count"
        )
    };
    let slot = " of slot \"fraud\"";
    let place = "3:17: slots.fraud.rollout.label_horizon";
    assert_eq!(bad(&fraud, &[]), [told(place, slot, 90)]);
    let all = format!("[rollout]\nlabel_horizon = \"91d\"\n[slots.fraud.rollout]\n{on}");
    let place = "2:17: rollout.label_horizon";
    assert_eq!(bad(&all, &[]), [told(place, slot, 90)]);
    // The default horizon is 7 days.
    let short = format!("[rollout]\n{on}[journal]\nretention_days = 6\n");
    let place = "4:18: journal.retention_days";
    assert_eq!(bad(&short, &[]), [told(place, "", 6)]);
    good(&fraud.replace("91d", "90d"), &[]);
    good(&fraud.replace("shadow", "replace"), &[]);
    good(&format!("{fraud}[journal]\nretention_days = 0\n"), &[]);
}

#[test]
fn a_wait_that_outlives_the_journal_is_a_problem_where_it_stands() {
    let told = |place: &str, days: u32| {
        format!(
            "hedgerow.toml:{place}: export.wait is not shorter than journal.retention_days, {days}: predictions would leave before they are exported"
        )
    };
    let text = "[export]\ndir = \"x\"\nwait = \"90d\"\n";
    assert_eq!(bad(text, &[]), [told("3:8: export.wait", 90)]);
    // The default wait is a day.
    let short = "[export]\ndir = \"x\"\n[journal]\nretention_days = 1\n";
    let place = "4:18: journal.retention_days";
    assert_eq!(bad(short, &[]), [told(place, 1)]);
    good(&text.replace("90d", "2159h"), &[]);
    good(&text.replace("\"x\"", "\"\""), &[]);
    good(&format!("{text}[journal]\nretention_days = 0\n"), &[]);
}

#[test]
fn windows_and_thresholds_of_drift_are_in_order() {
    for (text, expected) in [
        (
            "[drift]\nshort_window = \"25h\"",
            "2:16: drift.short_window: short_window is longer than long_window",
        ),
        (
            "[drift]\nlong_window = \"59m\"\n[slots.a.drift]\npsi_act = 1",
            "2:15: drift.long_window: short_window is longer than long_window",
        ),
        (
            "[drift]\nlong_window = \"2h\"\n[slots.a.drift]\nshort_window = \"3h\"",
            "4:16: slots.a.drift.short_window: short_window is longer than long_window",
        ),
        (
            "[drift]\nshort_window = \"999ms\"",
            "2:16: drift.short_window: expected a second or more",
        ),
        (
            "[drift]\nlong_window = \"0s\"",
            "2:15: drift.long_window: expected a second or more",
        ),
        (
            "[drift]\npsi_act = 0.09",
            "2:11: drift.psi_act: psi_act, 0.09, is below psi_watch, 0.1",
        ),
        (
            "[drift]\npsi_watch = 0.1\n[slots.a.drift]\npsi_watch = 0.3",
            "4:13: slots.a.drift.psi_watch: psi_act, 0.25, is below psi_watch, 0.3",
        ),
    ] {
        assert_eq!(
            bad(text, &[]),
            [format!("hedgerow.toml:{expected}")],
            "{text}"
        );
    }
    good(
        "[drift]\nshort_window = \"1s\"\nlong_window = \"1s\"\npsi_watch = 0.2\npsi_act = 0.2",
        &[],
    );
}

#[test]
fn what_is_said_of_a_target_without_an_address_is_a_problem() {
    for (key, address) in [
        ("webhook_token", "webhook_url"),
        ("airflow_dag", "airflow_url"),
        ("airflow_user", "airflow_url"),
        ("airflow_password", "airflow_url"),
        ("prefect_auth", "prefect_url"),
    ] {
        let all = format!("[drift]\n{key} = \"hidden\"\n");
        let column = key.len() + 4;
        assert_eq!(
            bad(&all, &[]),
            [format!(
                "hedgerow.toml:2:{column}: drift.{key}: drift.{address} is not set"
            )]
        );
        // It is for a slot's own address; another slot calls nobody.
        if key == "webhook_token" {
            let slot = "[slots.a.drift]\nwebhook_url = \"http://a/\"\n";
            good(&format!("{all}{slot}[slots.b.drift]\npsi_act = 1\n"), &[]);
            let none = format!("[slots.b.drift]\n{key} = \"hidden\"\n");
            assert_eq!(bad(&format!("{slot}{none}"), &[]).len(), 1);
            let wrong = format!("{all}webhook_url = \"a\"\n");
            assert_eq!(bad(&wrong, &[]).len(), 1, "only the address");
        }
        good(&format!("[drift]\n{key} = \"\""), &[]);
    }
    let deployment = "[drift]\nprefect_deployment = \"a/b\"\n";
    assert!(bad(deployment, &[])[0].ends_with("drift.prefect_url is not set"));
}

#[test]
fn a_secret_without_quotes_is_not_told() {
    for key in ["webhook_token", "airflow_password", "prefect_auth"] {
        for value in ["4711", "4711.5", "true", "[4711]", "2026-01-01"] {
            let got = bad(&format!("[drift]\n{key} = {value}"), &[]);
            let place = format!("hedgerow.toml:2:{}: drift.{key}", key.len() + 4);
            assert_eq!(got, [format!("{place}: expected a text in quotes")]);
        }
    }
}

#[test]
fn a_slot_is_found_in_the_environment_without_regard_to_case() {
    let text = "[slots.Fraud-XGB.cache]\nttl_s = 5";
    let slots = |variable: &str| -> Vec<String> {
        let config = good(text, &[(variable, "6")]);
        config.serve.slots.into_keys().collect()
    };
    let check = |name: &str, expected: &[&str]| {
        let variable = format!("HEDGEROW__SLOTS__{name}__CACHE__TTL_S");
        assert_eq!(slots(&variable), expected, "{name}");
    };
    check("FRAUD-XGB", &["Fraud-XGB"]);
    check("CHURN", &["Fraud-XGB", "churn"]);
    check("Churn", &["Churn", "Fraud-XGB"]);
    check("a__B", &["Fraud-XGB", "a__B"]);

    let text = "[slots.a.cache]\nttl_s = 1\n[slots.A.cache]\nttl_s = 1\n[slots.aB.cache]\nttl_s = 1\n[slots.Ab.cache]\nttl_s = 1";
    let variable = "HEDGEROW__SLOTS__A__CACHE__TTL_S";
    assert_eq!(
        good(text, &[(variable, "9")]).serve.slots["A"].cache.ttl_s,
        9
    );
    assert_eq!(
        bad(text, &[("HEDGEROW__SLOTS__AB__CACHE__TTL_S", "9")]),
        [
            "HEDGEROW__SLOTS__AB__CACHE__TTL_S: \"AB\" may be slot \"Ab\" or slot \"aB\" of the \
             file; write it as it is there"
        ]
    );
}

#[test]
fn every_problem_is_told_with_its_place() {
    let text = r#"top = 1
threads = 2
[server]
http = "localhost:8080"
htpp = "0.0.0.0:80"
workers = "four"
body_bytes_max = 0
threads = 1
[modles]
dir = "x"
[batch]
max_batch_rows = -1
inline_us_max = 1.5
nonsense = [1]
[slots]
loose = 3
[slots.fraud.cach]
ttl_s = 1
[slots.fraud.batch]
threads = 1
max_queue_delay_us = 99999999999999999999
[telemetry]
log_level = "hedgerow=loud"
log_format = "xml"
"#;
    let variables = [
        ("HEDGEROW__MODELS__VERIFY", "maybe"),
        ("HEDGEROW__SERVER", "x"),
        ("HEDGEROW__SERVER__HTP", "x"),
        ("HEDGEROW__CACHE__TTL_S", ""),
    ];
    let expected = r#"
hedgerow.toml:1:1: unknown section [top]; expected one of server, models, admission, batch, cache, journal, telemetry, trace, export, validate, rollout, drift, slots
hedgerow.toml:2:1: "threads" belongs in [batch]
hedgerow.toml:4:8: server.http: expected an IP address and a port such as 127.0.0.1:8080 or [::]:8080, got "localhost:8080"
hedgerow.toml:5:1: unknown key "htpp" in [server]; did you mean "http"?
hedgerow.toml:6:11: server.workers: expected a whole number from 0 to 1024, got the text "four"
hedgerow.toml:7:18: server.body_bytes_max: expected a whole number from 1 to 70368744177664, got 0
hedgerow.toml:8:1: unknown key "threads" in [server]; it belongs in [batch]
hedgerow.toml:9:2: unknown section [modles]; did you mean "models"?
hedgerow.toml:12:18: batch.max_batch_rows: expected a whole number from 1 to 100000000, got -1
hedgerow.toml:13:17: batch.inline_us_max: expected a whole number from 0 to 60000000, got 1.5
hedgerow.toml:14:1: unknown key "nonsense" in [batch]; expected one of threads, queue_rows_max, queue_ms_max, max_batch_rows, max_queue_delay_us, inline_us_max
hedgerow.toml:16:9: expected a section with keys, got 3
hedgerow.toml:17:14: unknown section [slots.fraud.cach]; did you mean "cache"?
hedgerow.toml:20:1: unknown key "threads" in [slots.fraud.batch]; it belongs in [batch]
hedgerow.toml:21:22: slots.fraud.batch.max_queue_delay_us: expected a whole number from 0 to 60000000, got 99999999999999999999
hedgerow.toml:24:14: telemetry.log_format: expected one of auto, text, json, got "xml"
HEDGEROW__CACHE__TTL_S: expected a whole number from 0 to 31622400, got ""
HEDGEROW__MODELS__VERIFY: expected true or false, got "maybe"
HEDGEROW__SERVER: expected HEDGEROW__SECTION__KEY or HEDGEROW__SLOTS__NAME__SECTION__KEY
HEDGEROW__SERVER__HTP: unknown key "htp" in [server]; did you mean "http"?
"#;
    let mut got = bad(text, &variables);
    // What follows is the filter's own message.
    let filter = "hedgerow.toml:23:13: telemetry.log_level: expected a filter such as info or";
    let position = got.iter().position(|line| line.starts_with(filter));
    got.remove(position.expect("the filter is refused"));
    assert_eq!(got.join("\n"), expected.trim());
}

#[test]
fn broken_lines_do_not_hide_the_others() {
    let got = bad(
        "[server]\nhttp = \nworkers = -1\nadmin = \"é\" x\n[server]\n",
        &[],
    );
    let places: Vec<&str> = got
        .iter()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(
        places,
        [
            "hedgerow.toml:2:8",
            "hedgerow.toml:3:11",
            "hedgerow.toml:4:13",
            "hedgerow.toml:5:2"
        ],
        "{got:#?}"
    );
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let check = |http: &str, grpc: &str, expected: &[&str]| {
        let text = format!("[server]\ngrpc = \"{grpc}\"\nhttp = \"{http}\"\n");
        let got = resolve(&text, &[], &[]).err().unwrap_or_default();
        let got: Vec<String> = got.iter().map(Problem::to_string).collect();
        assert_eq!(got, expected, "{http} {grpc}");
    };
    check("127.0.0.1:1", "127.0.0.1:2", &[]);
    check("127.0.0.1:1", "127.0.0.2:1", &[]);
    check("127.0.0.1:0", "127.0.0.1:0", &[]);
    check("0.0.0.0:1", "[::1]:1", &[]);
    check(
        "[::]:1",
        "127.0.0.1:1",
        &["hedgerow.toml:3:8: server.http: [::]:1 collides with server.grpc, which is 127.0.0.1:1"],
    );
    check(
        "0.0.0.0:1",
        "0.0.0.0:8082",
        &[
            "hedgerow.toml:2:8: server.grpc: 0.0.0.0:8082 collides with server.admin, which is 127.0.0.1:8082",
        ],
    );
    // A wrong address is one problem, not two.
    let got = bad("[server]\nhttp = \"x\"\ngrpc = \"0.0.0.0:8080\"", &[]);
    assert_eq!(got.len(), 1, "{got:?}");
}

#[test]
fn a_missing_file_is_a_problem() {
    let problems = Config::load(Some(Path::new("no/such/file.toml")), &[]).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with("no/such/file.toml: cannot be read: "),
        "{problems:?}"
    );
}

#[test]
fn every_key_has_one_name() {
    let names: Vec<String> = key_names().collect();
    let unique: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn colours_are_left_away_where_they_are_not_wanted() {
    let check = |variables: &[(&str, &str)], expected: bool| {
        let owned = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(colour_of(&owned.collect::<Vec<_>>()), expected);
    };
    check(&[("TERM", "xterm")], true);
    check(&[("NO_COLOR", "")], true);
    check(&[("NO_COLOR", "1")], false);
    check(&[("TERM", "dumb")], false);
}

#[test]
fn whoever_runs_this_has_a_name() {
    assert!(!user_name().is_empty());
}

#[test]
fn a_secret_is_not_repeated() {
    let text = "[drift]\nairflow_password = 12345678\n";
    let file = Some((Path::new("h.toml"), text));
    let problems = Config::resolve(file, Vec::new(), &[]).unwrap_err();
    let said = problems[0].to_string();
    assert!(said.contains("expected a text"), "{said}");
    assert!(!said.contains("1234"), "{said}");
}

#[test]
fn contradictions_of_drift_are_problems() {
    for (text, expected) in [
        (
            "short_window = \"2d\"\n",
            "short_window is longer than long_window",
        ),
        ("psi_act = 0.05\n", "psi_act, 0.05, is below psi_watch, 0.1"),
        (
            "airflow_url = \"http://airflow:8080\"\n",
            "drift.airflow_dag is not",
        ),
    ] {
        let text = format!("[drift]\n{text}");
        let file = Some((Path::new("h.toml"), text.as_str()));
        let problems = Config::resolve(file, Vec::new(), &[]).unwrap_err();
        assert!(problems[0].to_string().contains(expected), "{problems:?}");
    }
}
