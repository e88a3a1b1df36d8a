//! The manual page: one, with a section for each command.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// The page, as roff.
pub(super) fn page() -> io::Result<String> {
    let mut root = super::Cli::command();
    root.build();
    let man = Man::new(root.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        page += &section(command)?;
    }
    page += &examples(&root, "SH");
    Ok(page)
}

/// What a page of the command's own would say, one level deeper.
fn section(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut parts = Vec::new();
    man.render_synopsis_section(&mut parts)?;
    man.render_description_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    let parts = String::from_utf8_lossy(&parts).replace("\n.SH ", "\n.SS ");
    let title = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    let heading = Roff::new().control("SH", [title.as_str()]).to_roff();
    Ok(heading + &parts + &examples(command, "SS"))
}

/// The help's examples, line by line as they are typed.
fn examples(command: &Command, heading: &str) -> String {
    let Some(help) = command.get_after_help() else { return String::new() };
    let help = help.to_string();
    let mut roff = Roff::new();
    roff.control(heading, ["EXAMPLES"]).control("nf", []);
    for line in help.lines().skip_while(|line| line.starts_with("Example")) {
        roff.text([roman(line.trim_start())]);
    }
    roff.control("fi", []).to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_every_command_and_no_other_page() {
        let page = page().expect("written to memory");
        for command in crate::cli::Cli::command().get_subcommands() {
            let title = format!("\n.SH \"PRIVATELINKD {}\"\n", command.get_name().to_uppercase());
            assert!(page.contains(&title), "{title}\n{page}");
        }
        assert!(!page.contains("(1)"), "{page}");
        assert!(page.contains("\nprivatelinkd doctor \\-\\-via 10.0.0.10"), "{page}");
    }
}
