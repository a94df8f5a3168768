//! `docs/cli.md` is written from the help texts, so that they never tell different stories.

use clap::CommandFactory;

/// The page, from the command itself.
fn page() -> String {
    let mut command = crate::Arguments::command()
        .term_width(96)
        .disable_help_subcommand(true);
    command.build();
    let mut text = String::from(
        "# The command line\n\nWritten from the help texts by a test; change those and run it with `UPDATE=1`.\n\n",
    );
    text += &section(&mut command, "seawall");
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        if let Some(sub) = command.find_subcommand_mut(&name) {
            text += &section(sub, &format!("seawall {name}"));
            // One level more is as deep as it goes.
            for below in sub.get_subcommands_mut() {
                let title = format!("seawall {name} {}", below.get_name());
                text += &section(below, &title);
            }
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn section(command: &mut clap::Command, title: &str) -> String {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    format!("## {title}\n\n```text\n{}\n```\n\n", lines.join("\n").trim())
}

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).unwrap();
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        written,
        page(),
        "docs/cli.md is stale: run this test with UPDATE=1"
    );
}

#[test]
fn the_command_is_sound() {
    crate::Arguments::command().debug_assert();
}
