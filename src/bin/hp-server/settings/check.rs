//! `--check-config`.

use std::fmt::Write as _;

use super::sources::Configuration;
use super::table::{Kind, Otherwise, SETTINGS, Setting};

/// Every setting in effect and where it was given, as a file that could be given as `--config`, but for what must not be shown.
pub fn render(configuration: &Configuration) -> String {
    let mut text = String::new();
    for (setting, given) in SETTINGS.iter().zip(&configuration.given) {
        let (value, place) = match (given, &setting.default) {
            (Some(given), _) => (given.value.as_str(), given.place.as_str()),
            (None, Otherwise::Is(value)) => (*value, "default"),
            (None, Otherwise::Said(words)) => {
                let _ = writeln!(text, "# {}: {words}  # default", setting.name);
                continue;
            }
        };
        let _ = writeln!(text, "{} = {}  # {place}", setting.name, as_toml(setting, value));
    }
    text
}

/// A value as the file would have it.
pub fn as_toml(setting: &Setting, value: &str) -> String {
    match setting.kind {
        Kind::Switch => matches!(value, "yes" | "true" | "on" | "1").to_string(),
        // Leading zeros and signs, which the command line takes, are none of TOML's.
        Kind::Number => value.parse::<u64>().map_or_else(|_| value.into(), |number| number.to_string()),
        Kind::Text | Kind::Secret => quoted(&setting.shown(value)),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", character as u32);
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
