//! The manual page, the example file and the documentation's table, which are made of the table of settings.
//!
//! The tests compare what is committed; `make man` has them write it instead.

use std::fmt::Write as _;
use std::path::Path;

use super::check::as_toml;
use super::sources::from_toml;
use super::table::{Otherwise, SETTINGS, Setting};
use super::{Settings, command};

const MANUAL: &str = "docs/man/hp-server.8";
const EXAMPLE: &str = "packaging/hp-server.toml";
const OPERATIONS: &str = "docs/operations.md";
/// The first line of the table in [`OPERATIONS`].
const HEADING: &str = "| option | environment | default | SIGHUP | meaning |";
/// If it is set, the files are written.
const WRITE: &str = "HP_WRITE_DOCUMENTS";

/// The generated one would list every option.
const SYNOPSIS: &str = ".SH SYNOPSIS\n\\fBhp\\-server\\fR [\\fIOPTIONS\\fR] [\\fIADDR\\fR]\n";

/// What stands in the example for settings whose default no value says.
const EXAMPLES: [(&str, &str); 4] = [
    ("workers", "4"),
    ("other-address", "192.0.2.2"),
    ("http", "127.0.0.1:9090"),
    ("store", "redis://127.0.0.1:6379/0"),
];

fn committed(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

fn assert_fresh(path: &str, wanted: &str) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), wanted).unwrap();
    }
    assert!(committed(path) == wanted, "{path} is not what the settings say; run `make man`");
}

#[test]
fn manual_page_is_fresh() {
    let man = clap_mangen::Man::new(command()).section("8").date("").manual("libholepunch");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    page.extend_from_slice(SYNOPSIS.as_bytes());
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let page = in_bold(&String::from_utf8(page).unwrap());
    assert_fresh(MANUAL, &(page + include_str!("man.roff")));
}

/// What the help puts between backticks.
fn in_bold(text: &str) -> String {
    let mut pieces = text.split('`');
    let mut bold = pieces.next().unwrap_or_default().to_string();
    for (number, piece) in pieces.enumerate() {
        bold.push_str(if number % 2 == 0 { "\\fB" } else { "\\fR" });
        bold.push_str(piece);
    }
    bold
}

#[test]
fn example_is_fresh() {
    let mut text = String::from(
        "# Settings of hp-server: `hp-server --config FILE`; the service of the Debian package reads /etc/hp-server.toml.\n\
         #\n\
         # Each line below says what holds anyway, or shows how a value is written; take its `#` away to change it. Flags, the\n\
         # environment and `.env` count more than this file. `hp-server --config FILE --check-config` tells whether it is right, and\n\
         # `systemctl reload hp-server` changes what is marked (live) in a server that runs. See hp-server(8).\n",
    );
    for setting in SETTINGS {
        let live = if setting.live { " (live)" } else { "" };
        let unset = match setting.default {
            Otherwise::Is(_) => String::new(),
            Otherwise::Said(words) => format!(" Default: {words}."),
        };
        text.push('\n');
        for line in wrapped(&format!("{}.{unset}{live}", setting.help)) {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# {} = {}", setting.name, as_toml(setting, example(setting)));
    }
    assert_fresh(EXAMPLE, &text);
}

fn example(setting: &Setting) -> &'static str {
    let example =
        |words| EXAMPLES.iter().find(|(name, _)| *name == setting.name).map_or(words, |(_, it)| *it);
    match setting.default {
        Otherwise::Is(value) => value,
        Otherwise::Said(words) => example(words),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        match line.len() + word.len() < 120 {
            _ if line.is_empty() => line.push_str(word),
            true => *line = format!("{line} {word}"),
            false => lines.push(word.into()),
        }
    }
    lines
}

#[test]
fn example_says_what_holds_anyway() {
    let text = committed(EXAMPLE);
    assert!(from_toml(&text, "example").unwrap().is_empty(), "all of it is commented");
    let is_setting = |line: &&str| {
        let name = line.split(" = ").next().unwrap_or_default();
        SETTINGS.iter().any(|setting| setting.name == name)
    };
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting).collect();
    assert_eq!(lines.len(), SETTINGS.len());
    let mut settings = Settings::default();
    for given in from_toml(&lines.join("\n"), "example").unwrap() {
        let setting = SETTINGS.iter().find(|setting| setting.name == given.name).unwrap();
        let read = |to: &mut Settings| (setting.read)(to, &given.value).unwrap();
        match setting.default {
            Otherwise::Is(value) => {
                assert_eq!(as_toml(setting, &given.value), as_toml(setting, value));
                read(&mut settings);
            }
            Otherwise::Said(_) => read(&mut Settings::default()),
        }
    }
    assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn documentation_has_every_setting() {
    let mut table = format!("{HEADING}\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let Setting { name, value, help, default, live, .. } = setting;
        let option = match (setting.flag(), setting.kind) {
            (flag, super::table::Kind::Switch) => flag,
            (flag, _) if *name == super::table::ADDRESS => flag,
            (flag, _) => format!("{flag} {}", value.replace('|', "\\|")),
        };
        let (default, live) = (default.text(), if *live { "yes" } else { "" });
        let variable = setting.variable();
        let _ = writeln!(table, "| `{option}` | `{variable}` | {default} | {live} | {help} |");
    }
    let page = committed(OPERATIONS);
    let (before, rest) = page.split_once(HEADING).expect("the table's heading");
    let (_, after) = rest.split_once("\n\n").expect("text after the table");
    assert_fresh(OPERATIONS, &format!("{before}{table}\n{after}"));
}

#[test]
fn documentation_shows_files_that_can_be_read() {
    let page = committed(OPERATIONS);
    let files: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!files.is_empty());
    for text in files {
        for given in from_toml(text, OPERATIONS).unwrap() {
            let setting = SETTINGS.iter().find(|setting| setting.name == given.name).unwrap();
            (setting.read)(&mut Settings::default(), &given.value).unwrap();
        }
    }
}
