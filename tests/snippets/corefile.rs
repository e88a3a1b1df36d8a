//! The grammar of a Corefile, as far as snippets use it: tokens end at spaces, `#` begins a comment
//! where a token would begin, `{` stands last on its line, `}` alone.
//!
//! From CoreDNS' manual (Corefile, plugins errors, cache, forward).

/// Directives of a server block, with how many arguments each may have.
const DIRECTIVES: &[(&str, usize, usize)] =
    &[("errors", 0, 0), ("cache", 0, 2), ("forward", 2, 16)];
/// Options in a block of `forward`.
const OPTIONS: &[(&str, &[&str])] = &[("policy", &["random", "round_robin", "sequential"])];

/// One server block.
pub(crate) struct Block {
    pub(crate) zone: String,
    directives: Vec<Vec<String>>,
}

impl Block {
    /// The one directive of this name, itself in front.
    pub(crate) fn directive(&self, name: &str) -> Option<&[String]> {
        let mut found = self.directives.iter().filter(|directive| directive[0] == name);
        let only = found.next()?;
        found.next().is_none().then_some(only)
    }
}

/// Reads all blocks, or says what is wrong.
pub(crate) fn read(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut depth = 0;
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: &str| Err(format!("line {}: {what}: {line}", index + 1));
        let code = line.split_whitespace().take_while(|token| !token.starts_with('#'));
        let mut tokens: Vec<String> = code.map(str::to_owned).collect();
        if tokens.is_empty() {
            continue;
        }
        if tokens == ["}"] {
            if depth == 0 {
                return wrong("nothing is open");
            }
            depth -= 1;
            continue;
        }
        let opens = tokens.last().is_some_and(|token| token == "{");
        tokens.truncate(tokens.len() - usize::from(opens));
        if tokens.iter().any(|token| token.contains(['{', '}', '"', '#', '\\'])) {
            return wrong("a character with a meaning");
        }
        match (depth, tokens.as_slice(), blocks.last_mut()) {
            (0, [zone], _) if opens => {
                blocks.push(Block { zone: zone.clone(), directives: Vec::new() });
            }
            (1, [name, arguments @ ..], Some(block)) => {
                let known = DIRECTIVES.iter().find(|(known, ..)| known == name);
                let fits = |(_, least, most): &(&str, usize, usize)| {
                    (*least..=*most).contains(&arguments.len()) && (!opens || name == "forward")
                };
                if !known.is_some_and(fits) {
                    return wrong("no directive of ours");
                }
                block.directives.push(tokens);
            }
            (2, [option, value], _) if !opens => {
                let known = OPTIONS.iter().find(|(known, _)| known == option);
                if !known.is_some_and(|(_, values)| values.contains(&value.as_str())) {
                    return wrong("no option of forward");
                }
            }
            _ => return wrong("out of place"),
        }
        depth += usize::from(opens);
    }
    if depth == 0 { Ok(blocks) } else { Err("a block is not closed".to_owned()) }
}

#[test]
fn broken_corefiles_are_noticed() {
    for broken in [
        "a:53 {",
        "}",
        "a:53 {\n forward . 10.0.0.4 {\n}\n",
        "a:53 {\n forwrad . 10.0.0.4\n}\n",
        "a:53 {\n forward .\n}\n",
        "a:53{\n}\n",
        "a:53 {\n forward . x {\n polcy random\n}\n}\n",
        "a b {\n errors\n}\n",
        "forward . 10.0.0.4\n",
        "a:53 {\n cache {\n}\n}\n",
    ] {
        assert!(read(broken).is_err(), "{broken}");
    }
    assert_eq!(read("# one\na:53 { # two\n forward . b\n}\n").map(|blocks| blocks.len()), Ok(1));
}
