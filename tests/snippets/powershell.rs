//! The syntax of PowerShell, as far as the snippet uses it: strings, comments, brackets, commands
//! and their parameters. PowerShell itself is in no package of Debian's.

/// Commands with the parameters that we use, from the reference of the modules DnsServer and
/// DnsClient (Windows Server 2022) and of PowerShell itself.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "Add-DnsServerConditionalForwarderZone",
        &["Name", "MasterServers", "ForwarderTimeout", "ReplicationScope", "ErrorAction"],
    ),
    ("Clear-DnsClientCache", &[]),
    ("Clear-DnsServerCache", &["Force"]),
    ("Get-DnsServerTrustPoint", &[]),
    ("Get-DnsServerZone", &["ErrorAction"]),
    ("Remove-DnsServerZone", &["Name"]),
    ("Resolve-DnsName", &["Name", "Type", "Server", "DnsOnly"]),
    (
        "Set-DnsServerConditionalForwarderZone",
        &["Name", "MasterServers", "ForwarderTimeout", "UseRecursion", "ErrorAction"],
    ),
    ("Set-DnsServerForwarder", &["UseRootHint"]),
    ("Where-Object", &[]),
    ("Write-Warning", &[]),
];
/// Operators, which look like parameters.
const OPERATORS: &[&str] = &["eq", "ne", "and", "or", "not"];
/// Words that begin a statement.
const KEYWORDS: &[&str] = &["foreach", "in", "if", "continue"];

/// What a script holds.
#[derive(Default, Debug)]
pub(crate) struct Script {
    /// Commands in their order.
    pub(crate) commands: Vec<String>,
    /// Single-quoted strings in their order.
    pub(crate) strings: Vec<String>,
}

/// Reads a script, or says what is wrong.
pub(crate) fn read(text: &str) -> Result<Script, String> {
    let mut script = Script::default();
    let mut open = Vec::new();
    let mut command: Option<String> = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\n' | '|' | ';' => {
                command = None;
                1
            }
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\'' => {
                let end =
                    rest[1..].find(['\'', '\n']).filter(|end| rest[1 + end..].starts_with('\''));
                let end = end.ok_or_else(|| format!("a string is not closed: {rest}"))?;
                script.strings.push(rest[1..=end].to_owned());
                end + 2
            }
            '"' => double_quoted(rest)?,
            '(' | '{' | '[' => {
                open.push(first);
                command = command.filter(|_| first == '(');
                1
            }
            ')' | '}' | ']' => {
                let pair = [open.pop().unwrap_or(' '), first];
                if ![['(', ')'], ['{', '}'], ['[', ']']].contains(&pair) {
                    return Err(format!("{pair:?} are no pair: {rest}"));
                }
                1
            }
            '`' => return Err("an escape, which needs another check".to_owned()),
            _ if first.is_ascii_alphabetic() || first == '-' || first == '$' => {
                word(rest, &mut command, &mut script)?
            }
            _ => first.len_utf8(),
        };
        rest = &rest[length..];
    }
    if open.is_empty() { Ok(script) } else { Err(format!("never closed: {open:?}")) }
}

/// Octets of a double-quoted string; what `$(…)` in it holds must be balanced, without quotes.
fn double_quoted(text: &str) -> Result<usize, String> {
    let mut depth = 0;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' if depth == 0 => return Ok(at + 1),
            '\n' | '`' | '"' | '\'' if character != '\'' || depth > 0 => break,
            _ => {}
        }
    }
    Err(format!("a string is not closed, or ends inside brackets: {text}"))
}

/// A variable, a parameter, an operator, a keyword, a command or an argument.
fn word(text: &str, command: &mut Option<String>, script: &mut Script) -> Result<usize, String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '$' | '_' | '.' | ':');
    let length = text.find(|c| !inside(c)).unwrap_or(text.len());
    let word = &text[..length];
    if let Some(parameter) = word.strip_prefix('-') {
        let known = |of: &String| {
            let (_, known) = COMMANDS.iter().find(|(name, _)| name == of)?;
            Some(known.contains(&parameter))
        };
        let is_parameter = command.as_ref().and_then(known).unwrap_or(false);
        if !is_parameter && !OPERATORS.contains(&parameter) {
            return Err(format!("{command:?} has no -{parameter}"));
        }
    } else if word.contains('-') && word.starts_with(|c: char| c.is_ascii_uppercase()) {
        if !COMMANDS.iter().any(|(name, _)| *name == word) {
            return Err(format!("{word} is no command of the reference"));
        }
        script.commands.push(word.to_owned());
        *command = Some(word.to_owned());
    } else if !word.starts_with('$') && command.is_none() && !KEYWORDS.contains(&word) {
        // A property of a variable begins with the dot that ends no word.
        return Err(format!("{word} begins a statement, and is no command"));
    }
    Ok(length)
}

/// Commands that comments tell to run, checked as if they stood in the script.
pub(crate) fn commands_in_comments(text: &str) -> Result<Vec<String>, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let verbs = ["Resolve-", "Add-", "Set-", "Get-", "Remove-", "Clear-"];
    let commands = lines.filter(|line| verbs.iter().any(|verb| line.starts_with(verb)));
    let read = commands.map(read).collect::<Result<Vec<Script>, String>>()?;
    Ok(read.into_iter().flat_map(|script| script.commands).collect())
}

#[test]
fn broken_scripts_are_noticed() {
    for broken in [
        "'a",
        "\"a",
        "\"$(a\"",
        "@('a'",
        "if ($a) {",
        "}",
        "(]",
        "Add-DnsZone -Name a",
        "Clear-DnsServerCache -Now",
        "Get-DnsServerZone -Name $a\n -Force",
        "frobnicate $a",
        "Resolve-DnsName -Name a -Typ A",
        "\"a`\"\"",
    ] {
        assert!(read(broken).is_err(), "{broken}: {:?}", read(broken));
    }
    let good = "# it's\n$a = @('b') # \"\nif ($a -ne 'c') { Clear-DnsServerCache -Force }\n";
    let script = read(good).expect("a script");
    assert_eq!(
        (script.commands, script.strings),
        (vec!["Clear-DnsServerCache".to_owned()], vec!["b".to_owned(), "c".to_owned()])
    );
}
