//! Characters that word processors, chats and web pages put into a copied text, and that look like
//! those of TOML, or like nothing.

use crate::config::findings::is_invisible;

/// What a character was meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meant {
    /// A straight quote.
    Quote,
    /// A space, or nothing.
    Space,
    /// Nothing that stands outside of quotes.
    Other,
    /// Nothing that stands in a text.
    Control,
}

/// Quotes of print and of other keyboards.
const QUOTES: [char; 16] =
    ['“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»', '‹', '›', '″', '′', '＂', '´'];

/// The first such character of a statement that stands outside of quotes and comments.
pub(super) fn first(statement: &str) -> Option<(usize, char, Meant)> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in statement.char_indices() {
        if c == '\n' {
            (quote, is_escaped) = (None, false);
        }
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some('"') if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c == '#' => return None,
            None if c.is_ascii_control() && !matches!(c, '\t' | '\r' | '\n') => {
                return Some((at, c, Meant::Control));
            }
            None if c.is_ascii() => {}
            None => return Some((at, c, meant(c))),
        }
    }
    None
}

fn meant(c: char) -> Meant {
    if QUOTES.contains(&c) {
        Meant::Quote
    } else if c.is_whitespace() || is_invisible(c) {
        Meant::Space
    } else {
        Meant::Other
    }
}

/// The statement as it was meant: straight quotes, and plain spaces.
pub(super) fn repaired(statement: &str) -> String {
    let repair = |c: char| match meant(c) {
        _ if c.is_ascii() => Some(c),
        Meant::Quote => Some('"'),
        Meant::Space => (!is_invisible(c)).then_some(' '),
        Meant::Other | Meant::Control => Some(c),
    };
    statement.chars().filter_map(repair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_outside_of_quotes_and_comments_counts() {
        for (text, found) in [
            ("a = \"“é\u{a0}\" # “", None),
            ("a = '“' # é", None),
            ("a = “x”", Some((4, '“', Meant::Quote))),
            ("\u{a0}a = 1", Some((0, '\u{a0}', Meant::Space))),
            ("\u{200b}a = 1", Some((0, '\u{200b}', Meant::Space))),
            ("a = 1\u{0}", Some((5, '\0', Meant::Control))),
            ("a = \"\\\"\" – x", Some((9, '–', Meant::Other))),
        ] {
            assert_eq!(first(text), found, "{text}");
        }
    }

    #[test]
    fn a_statement_is_repaired() {
        assert_eq!(repaired("\u{feff}a\u{a0}= „x“"), "a = \"x\"");
    }
}
