//! The layers of ARCHITECTURE.md: a module imports only modules of its own or of a lower layer.

use std::path::{Path, PathBuf};

/// Layers, lowest first, as `src/lib.rs` lists them.
const LAYERS: [&[&str]; 6] = [
    &["tensor", "forest"],
    &["engine", "model"],
    &["error", "task", "telemetry", "serve"],
    &["drift", "journal", "rollout", "source"],
    &["api"],
    &["config", "app", "cli", "main", "lib"],
];

/// What is pure of drift: every layer may use it.
const PURE_DRIFT: [&str; 5] = ["bins", "estimate", "profile", "statistic", "window"];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("module {module} has no layer"))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file below `src/`, its top module and its text up to its tests.
fn modules() -> Vec<(PathBuf, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 30);
    found
        .into_iter()
        .filter(|path| path.file_stem().is_none_or(|stem| stem != "tests"))
        .map(|path| {
            let inside = path.strip_prefix(&src).unwrap();
            let first = inside
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy();
            let module = first.trim_end_matches(".rs").to_string();
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap()
                .to_string();
            (path, module, text)
        })
        .collect()
}

/// The top modules that a text names as `crate::module` or inside `use crate::{…}`.
fn imports(text: &str) -> Vec<String> {
    let name = |rest: &str| -> String {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        // Pure, though it lies beside what watches.
        if PURE_DRIFT
            .iter()
            .any(|it| rest.starts_with(&format!("drift::{it}::")))
        {
            continue;
        }
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or_default();
            found.extend(list.split(',').map(|item| name(item.trim())));
        } else {
            found.push(name(rest));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn a_module_imports_only_its_own_and_lower_layers() {
    let mut wrong = Vec::new();
    for (path, module, text) in modules() {
        for import in imports(&text) {
            let allowed = import == module
                || layer(&import) < layer(&module)
                || layer(&import) == layer(&module) && (1..=2).contains(&layer(&module))
                // What the loop decides on and decides is in the journal, and so are drift's windows.
                || ["rollout", "drift"].contains(&module.as_str()) && import == "journal"
                || layer(&module) == LAYERS.len() - 1;
            let pure = module != "forest" || import == "forest";
            if !allowed || !pure {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_one_module_owns_no_other_names() {
    let owned: [(&str, &[&str]); 6] = [
        ("tokio::spawn(", &["task"]),
        ("std::thread::Builder", &["task"]),
        ("std::env::var", &["config"]),
        ("\"hedgerow_", &["telemetry"]),
        ("axum::", &["api", "app"]),
        ("roles.store(", &["model"]),
    ];
    let mut wrong = Vec::new();
    for (path, module, text) in modules() {
        for (word, owners) in owned {
            if text.contains(word) && !owners.contains(&module.as_str()) {
                wrong.push(format!("{} names {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_decides_is_pure() {
    let decides = ["score", "sequential", "gate", "decide"];
    let mut checked = 0;
    for (path, module, text) in modules() {
        let inside = path.iter().map(|part| part.to_string_lossy().into_owned());
        let own = inside.map(|part| part.trim_end_matches(".rs").to_string());
        let pure: &[&str] = match module.as_str() {
            "rollout" => &decides,
            "drift" => &PURE_DRIFT,
            _ => &[],
        };
        if !own.into_iter().any(|part| pure.contains(&part.as_str())) {
            continue;
        }
        checked += 1;
        for word in [
            "crate::",
            "tokio",
            "tracing::",
            "std::fs",
            "std::time",
            "println!",
        ] {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
    assert!(checked > 10);
}

#[test]
fn forest_is_pure() {
    for (path, module, text) in modules() {
        if module != "forest" {
            continue;
        }
        for word in ["tokio", "tracing::", "std::fs", "std::net", "println!"] {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
}
