//! The file `.env`: lines `NAME=value`, as shells and other programs read them, without substitutions.

/// A value, under its name, and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: String,
    /// For error messages.
    pub place: String,
}

/// Reads those assignments whose names are wanted; the others may be any program's, in any form.
pub fn parse(text: &str, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Assignment>, String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            continue;
        };
        let name = name.trim();
        if is_wanted(name) {
            let place = format!("{name} in .env, line {}", number + 1);
            let value =
                unquoted(value.trim()).ok_or_else(|| format!("{place}: the quotation mark is not closed"))?;
            found.push(Assignment { name: name.into(), value: value.into(), place });
        }
    }
    Ok(found)
}

/// The value without its quotation marks and without a comment; `None` if the second mark is missing.
fn unquoted(value: &str) -> Option<&str> {
    match value.chars().next() {
        Some(mark @ ('"' | '\'')) => value[1..].split_once(mark).map(|(value, _)| value),
        Some('#') => Some(""),
        // Without a space before it, a `#` is part of the value.
        _ => Some(value.split_once(" #").map_or(value, |(value, _)| value).trim_end()),
    }
}
