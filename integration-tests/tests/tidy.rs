//! The layers, checked as an ordinary test: no import points back, and files stay readable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// Layers from the ground up; a module may import from lower layers and from its own module. A pair of equal rank may
/// not import each other, but `evaluate` may train.
const LAYERS: [(&str, u8); 15] = [
    ("domain", 0),
    ("ports", 1),
    ("codec", 2),
    ("memory", 2),
    ("pipeline", 3),
    ("config", 4),
    ("telemetry", 5),
    ("runtime", 6),
    ("train", 6),
    ("simulate", 6),
    ("adapters", 6),
    ("evaluate", 7),
    ("dashboard", 7),
    ("cli", 8),
    ("lib", 9),
];

/// Lines a file, without its tests.
const LINES_MAX: usize = 600;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The module right under `src` that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(source()).unwrap();
    inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn rank(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// A file's text up to its unit tests, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Modules named after `crate::`, alone or in braces.
fn imports(code: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect::<String>()
    };
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(name).collect::<Vec<_>>(),
            None => vec![name(rest)],
        })
        .collect()
}

fn points_back(from: &str, to: &str) -> bool {
    match (rank(from), rank(to)) {
        (Some(from_rank), Some(to_rank)) => from != to && from_rank <= to_rank,
        _ => true,
    }
}

#[test]
fn no_import_points_back() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for path in rust_files(&source()) {
        let from = module(&path);
        if from == "main"
            || from == "lib"
            || path.components().any(|part| part.as_os_str() == "tests")
            || path.ends_with("tests.rs")
        {
            continue;
        }
        for to in imports(&code(&path)) {
            seen += 1;
            if points_back(&from, &to) {
                faults.push(format!("{}: {from} imports {to}", path.display()));
            }
        }
    }
    assert!(seen > 100, "the test reads the imports: {seen}");
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn the_layer_test_sees_an_import_that_points_back() {
    assert!(imports("use crate::{cli::run, domain};\nlet x = crate::ports::y();") == ["cli", "domain", "ports"]);
    assert!(
        points_back("domain", "ports") && points_back("pipeline", "adapters") && points_back("runtime", "adapters")
    );
    assert!(points_back("domain", "a_module_without_a_layer"));
    assert!(!points_back("cli", "adapters") && !points_back("adapters", "domain"));
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = rust_files(&source())
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter_map(|path| {
            let lines = std::fs::read_to_string(&path)
                .unwrap()
                .split("#[cfg(test)]")
                .next()
                .unwrap_or_default()
                .lines()
                .count();
            (lines > LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert_eq!(long, Vec::<String>::new());
}
