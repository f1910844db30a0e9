//! The example file against the code, and `hedgerow serve --check` as an operator meets it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hedgerow::config::{Config, Problem, key_names};

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hedgerow.example.toml");
    std::fs::read_to_string(path).unwrap()
}

fn resolve(text: &str) -> Config {
    Config::resolve(Some((Path::new("example"), text)), Vec::new(), &[]).unwrap_or_else(
        |problems| {
            let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
            panic!("{}", lines.join("\n"))
        },
    )
}

/// The example with every key taken in: a key's line starts with `#` and no space.
fn taken_in() -> String {
    example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// `serve --check` in a folder of its own, with nothing in the environment but `variables`.
fn check(file: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["serve", "--check", "--config"])
        .arg(file)
        .args(flags)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn written(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("hedgerow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_example_says_every_key_and_its_default() {
    let text = taken_in();
    assert_eq!(
        format!("{:?}", resolve(&text)),
        format!("{:?}", Config::default())
    );
    let mut section = "";
    let mut said: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            said.push(format!("{section}.{key}"));
        }
    }
    // The same keys in the same order: none is missing, none is there twice.
    assert_eq!(said, key_names().collect::<Vec<_>>());
}

#[test]
fn the_example_as_it_is_changes_nothing() {
    assert_eq!(
        format!("{:?}", resolve(&example())),
        format!("{:?}", Config::default())
    );
}

#[test]
fn the_slot_of_the_example_is_one() {
    let text: String = example()
        .lines()
        .filter_map(|line| line.strip_prefix("#     "))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = resolve(&text);
    let fraud = &config.serve.slots["fraud"];
    assert_eq!(fraud.policy.max_queue_delay_us, 200);
    assert_eq!(fraud.cache.capacity_bytes, 100 << 20);
    assert_eq!(fraud.cache.ttl_s, 60);
}

#[test]
fn a_valid_configuration_is_said_to_be_valid() {
    let dir = tempfile::tempdir().unwrap();
    let output = check(&written(&dir, &taken_in()), &[], &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "configuration is valid\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_problem_of_file_environment_and_flags_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(
        &dir,
        "[batch]\nmax_batch_rows = 0\n[cache]\ncapacity_byte = 1\n",
    );
    let output = check(
        &file,
        &[("HEDGEROW__MODELS__POLL_INTERVAL_MS", "5")],
        &["--http", "8080"],
    );
    let file = file.display();
    let expected = format!(
        "{file}:2:18: batch.max_batch_rows: expected a whole number from 1 to 100000000, got 0\n\
         {file}:4:1: unknown key \"capacity_byte\" in [cache]; did you mean \"capacity_bytes\"?\n\
         HEDGEROW__MODELS__POLL_INTERVAL_MS: expected a whole number from 10 to 86400000, got 5\n\
         --http: expected an IP address and a port such as 127.0.0.1:8080 or [::]:8080, got \"8080\"\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_file_may_be_named_in_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(&dir, "[server]\nworkers = true\n");
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["serve", "--check"])
        .env_clear()
        .env("HEDGEROW_CONFIG", &file)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(":2:11: server.workers: "), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}
