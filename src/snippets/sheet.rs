//! A text that grows line by line, with comments in the target's syntax.

use std::fmt::Display;

use super::Target;

/// Columns of a comment line.
const COLUMNS: usize = 100;

/// What is written to.
pub(super) struct Sheet {
    mark: &'static str,
    text: String,
}

impl Sheet {
    /// Begins with what this is, and what to beware of.
    pub(super) fn new(target: Target, warnings: &[String]) -> Self {
        let mut sheet = Self { mark: target.comment(), text: String::new() };
        sheet.note(&format!(
            "{} asks privatelinkd. Made by \"privatelinkd snippet {}\": make it anew when its \
             zones or addresses change.",
            target.in_words(),
            target.name()
        ));
        for warning in warnings {
            sheet.note(&format!("WARNING: {warning}."));
        }
        sheet.between();
        sheet
    }

    /// A line in the target's own syntax.
    pub(super) fn line(&mut self, line: impl Display) {
        self.text += &line.to_string();
        self.text.push('\n');
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// An empty comment line, where a comment goes on.
    pub(super) fn between(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.line(self.mark);
        }
    }

    /// A comment, broken at spaces.
    pub(super) fn note(&mut self, paragraph: &str) {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && self.mark.len() + 2 + line.len() + word.len() > COLUMNS {
                self.verbatim("", &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        self.verbatim("", &line);
    }

    /// A comment line that is taken over word by word: a command, or a line of a file.
    pub(super) fn quote(&mut self, line: impl Display) {
        self.verbatim("  ", &line.to_string());
    }

    fn verbatim(&mut self, indent: &str, line: &str) {
        let mark = self.mark;
        self.line(format_args!("{mark} {indent}{line}"));
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}
