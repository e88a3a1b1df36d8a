//! Holds the code to docs/ARCHITECTURE.md: imports go down the floors only, every module stands in
//! the table, `unsafe` stays in `sys`, files stay short.
//!
//! What it reads are the `crate::module` paths in src/, tests inside the files included: a test
//! that needs a higher floor belongs into tests/. Comments and string literals do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of one source file (HOUSE style).
const MAX_FILE_LINES: usize = 500;
/// Fewer edges than this, and the test has read nothing.
const MIN_EDGES: usize = 20;
/// Fewer modules than this, and the table was not found.
const MIN_MODULES: usize = 10;
/// The one module that may talk to the kernel by hand.
const UNSAFE_HOME: &str = "sys";
/// The library's root names all modules, but imports from none.
const LIBRARY_ROOT: &str = "lib.rs";

/// The floor of each module, as docs/ARCHITECTURE.md has it.
type Floors = BTreeMap<String, u32>;

/// One import: who, from whom, and where it stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Edge {
    from: String,
    to: String,
    place: String,
}

#[test]
fn imports_go_down_the_floors() {
    let floors = floors(&read(&root().join("docs/ARCHITECTURE.md")));
    assert!(floors.len() >= MIN_MODULES, "the floors table was not found: {floors:?}");
    let edges: Vec<Edge> = sources().iter().flat_map(|source| source.edges()).collect();
    assert!(edges.len() >= MIN_EDGES, "only {} imports found", edges.len());
    let offences = offences(&floors, &edges);
    assert!(offences.is_empty(), "against docs/ARCHITECTURE.md:\n{}", offences.join("\n"));
}

#[test]
fn every_module_stands_in_the_table_and_the_table_names_no_other() {
    let floors = floors(&read(&root().join("docs/ARCHITECTURE.md")));
    let in_table: BTreeSet<String> = floors.into_keys().collect();
    let in_source: BTreeSet<String> =
        sources().into_iter().map(|source| source.module).filter(|m| m != LIBRARY_ROOT).collect();
    let missing: Vec<_> = in_source.difference(&in_table).collect();
    let gone: Vec<_> = in_table.difference(&in_source).collect();
    assert!(missing.is_empty(), "without a floor: {missing:?}");
    assert!(gone.is_empty(), "in the table, but not in src/: {gone:?}");
}

#[test]
fn unsafe_stays_in_sys() {
    let is_unsafe = |source: &&Source| {
        source.code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    };
    let (inside, outside): (Vec<Source>, Vec<Source>) =
        sources().into_iter().partition(|source| source.module == UNSAFE_HOME);
    assert!(!inside.is_empty(), "no `{UNSAFE_HOME}` in src/");
    let found: Vec<&str> =
        outside.iter().filter(is_unsafe).map(|source| source.path.as_str()).collect();
    assert!(found.is_empty(), "unsafe outside `{UNSAFE_HOME}`: {found:?}");
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines > MAX_FILE_LINES)
        .map(|source| format!("{}: {} lines", source.path, source.lines))
        .collect();
    assert!(
        long.is_empty(),
        "over {MAX_FILE_LINES} lines, cut where the ideas part:\n{}",
        long.join("\n")
    );
}

#[test]
fn an_upward_and_a_sideways_import_would_be_reported() {
    let floors = floors("| 1 | `wire`, `sys` | | |\n| 5 | `engine` | | |\n| 9 | `main.rs` | | |");
    let made_up = "
        use crate::engine::Verdict; // upwards
        use crate::{sys, engine as e}; // sideways, upwards
        use crate::{\n    wire::{Name, Query},\n    sys::socket,\n};
        fn f(_: crate::wire::Name) -> &'static str { \"crate::cli\" } // own folder; no code
        /* crate::app::run */
    ";
    let source = Source::new("wire", "src/wire/made_up.rs", made_up);
    let edges = source.edges();
    let to: Vec<&str> = edges.iter().map(|edge| edge.to.as_str()).collect();
    assert_eq!(to, ["engine", "sys", "engine", "wire", "sys", "wire"]);
    let offences = offences(&floors, &edges);
    assert_eq!(offences.len(), 4, "{offences:#?}");
    assert!(offences[0].contains("src/wire/made_up.rs:2"), "{offences:#?}");

    let main = Source::new("main.rs", "src/main.rs", "fn main() { privatelinkd::engine::run() }");
    assert_eq!(main.edges().len(), 1);
    assert!(offences_of(&floors, &main).is_empty());
    let unknown = Source::new("engine", "src/engine/mod.rs", "use crate::{wire::*, helper::x};");
    assert_eq!(offences_of(&floors, &unknown), ["src/engine/mod.rs:1: `helper` has no floor"]);
}

#[test]
fn literals_and_comments_are_no_code() {
    let code =
        "a \"// \\\" crate::b\" r#\"\"crate::c\"# '\"' // d\n'x: 'e' /* f /* g */ h */ i b\"j\"";
    let bare = without_literals(code);
    assert_eq!(bare.split_whitespace().collect::<String>(), "a\"\"r\"\"'''x:''ib\"\"");
    assert_eq!(bare.lines().count(), code.lines().count(), "line numbers must hold");
}

fn offences_of(floors: &Floors, source: &Source) -> Vec<String> {
    offences(floors, &source.edges())
}

/// What breaks the rule, in words.
fn offences(floors: &Floors, edges: &[Edge]) -> Vec<String> {
    let mut offences = Vec::new();
    for Edge { from, to, place } in edges.iter().filter(|edge| edge.from != edge.to) {
        match (floors.get(from), floors.get(to)) {
            (Some(here), Some(there)) if there < here => {}
            (Some(here), Some(there)) => {
                let direction = if there == here { "sideways" } else { "upwards" };
                offences.push(format!(
                    "{place}: `{from}` (floor {here}) imports {direction} from `{to}` (floor {there})"
                ));
            }
            (None, _) => offences.push(format!("{place}: `{from}` has no floor")),
            (_, None) => offences.push(format!("{place}: `{to}` has no floor")),
        }
    }
    offences
}

/// The rows `| number | modules in backticks | …` of the table.
fn floors(document: &str) -> Floors {
    let mut floors = Floors::new();
    for row in document.lines().filter(|line| line.starts_with('|')) {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let Some(Ok(floor)) = cells.next().map(str::parse::<u32>) else { continue };
        for module in cells.next().unwrap_or_default().split('`').skip(1).step_by(2) {
            let former = floors.insert(module.to_owned(), floor);
            assert_eq!(former, None, "`{module}` stands in the table twice");
        }
    }
    floors
}

/// One file of src/.
struct Source {
    /// The top-level module, or the file's own name directly in src/.
    module: String,
    path: String,
    lines: usize,
    /// Without comments and literals.
    code: String,
}

impl Source {
    fn new(module: &str, path: &str, text: &str) -> Self {
        Self {
            module: module.to_owned(),
            path: path.to_owned(),
            lines: text.lines().count(),
            code: without_literals(text),
        }
    }

    /// Every `crate::x` (in the binary: `privatelinkd::x`), groups taken apart.
    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        if self.module == LIBRARY_ROOT {
            return edges;
        }
        for root in ["crate::", "privatelinkd::"] {
            for (at, _) in self.code.match_indices(root) {
                // `super_crate::` and `$crate::` are other words.
                if self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let line = self.code[..at].matches('\n').count() + 1;
                let place = format!("{}:{line}", self.path);
                for to in first_segments(&self.code[at + root.len()..]) {
                    edges.push(Edge { from: self.module.clone(), to, place: place.clone() });
                }
            }
        }
        edges
    }
}

/// The modules that a path names behind `crate::`: one, or those of a `{…}` group.
fn first_segments(path: &str) -> Vec<String> {
    let word = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = path.trim_start().strip_prefix('{') else { return vec![word(path)] };
    let (mut segments, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                segments.push(word(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// Empties comments, strings and characters; line breaks stay, so that line numbers hold.
fn without_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        let end = match (c, next) {
            ('/', Some('/')) => until_line_end(&chars, at),
            ('/', Some('*')) => until_comment_end(&chars, at),
            ('"', _) => until_quote(&chars, at + 1, '"'),
            ('r', Some('"' | '#')) => match until_raw_end(&chars, at) {
                Some(end) => end,
                None => at,
            },
            ('\'', Some('\\')) => until_quote(&chars, at + 1, '\''),
            ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at,
        };
        if end == at {
            code.push(c);
            at += 1;
            continue;
        }
        match c {
            '"' | '\'' => code.extend([c, c]),
            'r' => code.push_str("r\"\""),
            _ => code.push(' '),
        }
        code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
        at = end;
    }
    code
}

fn until_line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |octets| at + octets)
}

fn until_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u32);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn until_quote(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `r"…"` or `r#"…"#`; `None` when it is neither (`r#type`, or a word ending in r).
fn until_raw_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    let body = chars.get(open + 1..)?;
    let length = body.windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + length + close.len())
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let sources: Vec<Source> = files
        .iter()
        .map(|file| {
            let inside = file.strip_prefix(&src).expect("a file of src/");
            let module = inside.iter().next().expect("a name").to_string_lossy().into_owned();
            Source::new(&module, &format!("src/{}", inside.display()), &read(file))
        })
        .collect();
    assert!(sources.len() >= MIN_MODULES, "only {} files found in src/", sources.len());
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
