//! Where settings are given, and which of them holds.

use std::ffi::OsString;
use std::fmt;
use std::io;

use toml::de::{DeTable, DeValue};

use super::Settings;
use super::command::Arguments;
use super::dotenv::{self, Assignment};
use super::table::{ADDRESS, Kind, LOG, SETTINGS, Setting};

const PREFIX: &str = "HP_SERVER_";
/// Names the file with settings, as the flag does.
pub const CONFIG_VARIABLE: &str = "HP_SERVER_CONFIG";
/// What many programs take their log's filter from.
const COMMON_LOG_VARIABLE: &str = "RUST_LOG";

/// What is wrong with what was given.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// A flag's value cannot be read.
    Flag(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Flag(message) | Self::Other(message)) = self;
        f.write_str(message)
    }
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

/// All settings, and where each was given.
pub struct Configuration {
    /// What holds.
    pub settings: Settings,
    /// Who said so, in the order of [`SETTINGS`]; nobody where the default holds.
    pub given: Vec<Option<Assignment>>,
    /// What was given and means nothing.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Configuration {
    /// Without what was given as it was given, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Configuration {
    /// Looks into the environment, into `.env` if there is such a file here, and into the file that one of them or a flag names.
    pub fn collect(arguments: &Arguments) -> Result<Self, Problem> {
        let dotenv = match std::fs::read_to_string(".env") {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Problem::Other(format!(".env cannot be read: {error}"))),
        };
        Self::from_sources(arguments, std::env::vars_os(), &dotenv)
    }

    /// The same of any environment.
    pub fn from_sources(
        arguments: &Arguments,
        environment: impl Iterator<Item = (OsString, OsString)>,
        dotenv: &str,
    ) -> Result<Self, Problem> {
        let mut warnings = Vec::new();
        let (mut variables, mut config) = from_environment(environment, &mut warnings)?;
        let (dotenv, config_of_dotenv) = from_dotenv(dotenv)?;
        config = arguments.config.clone().or(config).or(config_of_dotenv);
        let file = match &config {
            Some(path) => from_file(path)?,
            None => Vec::new(),
        };
        // The common variable counts for nothing beside our own.
        if variables.iter().any(|given| given.place.starts_with(PREFIX) && given.name == LOG) {
            variables.retain(|given| given.name != LOG || given.place.starts_with(PREFIX));
        }
        let mut configuration =
            Self { settings: Settings::default(), given: vec![None; SETTINGS.len()], warnings };
        // From the least to the most important: the last word holds, and an error is one even where another word holds.
        let flags = arguments.given.clone();
        for source in [file, dotenv, variables, flags] {
            for given in source {
                configuration.take(given)?;
            }
        }
        let together = configuration.settings.server().checked();
        together.map_err(|error| Problem::Other(format!("these settings do not go together: {error}")))?;
        Ok(configuration)
    }

    fn take(&mut self, given: Assignment) -> Result<(), Problem> {
        let Some((number, setting)) = numbered(&given.name) else {
            return Err(Problem::Other(format!("{}: there is no such setting", given.place)));
        };
        let wrong = |why: String| format!("{}: `{}`: {why}", given.place, setting.shown(&given.value));
        // By itself first, so that the error names the one that is wrong.
        let mut alone = Settings { with_relay: true, with_tcp: true, ..Settings::default() };
        let read = (setting.read)(&mut alone, &given.value).map_err(wrong);
        read.map_err(if given.place == setting.flag() { Problem::Flag } else { Problem::Other })?;
        alone.server().checked().map_err(|error| wrong(error.to_string()))?;
        (setting.read)(&mut self.settings, &given.value).map_err(wrong)?;
        self.given[number] = Some(given);
        Ok(())
    }

    /// Whether anyone has said where to listen.
    pub fn gives_address(&self) -> bool {
        numbered(ADDRESS).is_some_and(|(number, _)| self.given[number].is_some())
    }

    /// What holds for a setting, as text.
    pub fn value(&self, number: usize) -> &str {
        let given = self.given[number].as_ref();
        given.map_or_else(|| SETTINGS[number].default.text(), |given| given.value.as_str())
    }
}

fn numbered(name: &str) -> Option<(usize, &'static Setting)> {
    SETTINGS.iter().enumerate().find(|(_, setting)| setting.name == name)
}

fn with_variable(variable: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variable() == variable)
}

/// Nothing is as good as not given. Names that mean nothing are no error: there are systems that set some for every service.
fn from_environment(
    environment: impl Iterator<Item = (OsString, OsString)>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Assignment>, Option<String>), String> {
    let (mut found, mut config) = (Vec::new(), None);
    for (variable, value) in environment {
        let Some(variable) =
            variable.to_str().filter(|it| it.starts_with(PREFIX) || *it == COMMON_LOG_VARIABLE)
        else {
            continue;
        };
        let name = match with_variable(variable) {
            Some(setting) => setting.name,
            None if variable == COMMON_LOG_VARIABLE => LOG,
            None if variable == CONFIG_VARIABLE => "",
            None => {
                warnings.push(format!("{variable} in the environment means nothing here"));
                continue;
            }
        };
        let place = format!("{variable} in the environment");
        let value = value.into_string().map_err(|_| format!("{place} is not UTF-8"))?;
        if value.is_empty() {
            continue;
        }
        match name {
            "" => config = Some(value),
            _ => found.push(Assignment { name: name.into(), value, place }),
        }
    }
    Ok((found, config))
}

/// What stands there was written for us: a name that means nothing is misspelt.
fn from_dotenv(text: &str) -> Result<(Vec<Assignment>, Option<String>), String> {
    let (mut found, mut config) = (Vec::new(), None);
    for given in dotenv::parse(text, |name| name.starts_with(PREFIX))? {
        match with_variable(&given.name) {
            _ if given.value.is_empty() => {}
            Some(setting) => found.push(Assignment { name: setting.name.into(), ..given }),
            None if given.name == CONFIG_VARIABLE => config = Some(given.value),
            None => return Err(format!("{}: there is no such setting", given.place)),
        }
    }
    Ok((found, config))
}

fn from_file(path: &str) -> Result<Vec<Assignment>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    from_toml(&text, path)
}

/// Reads the file's text. No line of it is shown: it may hold a password.
pub fn from_toml(text: &str, path: &str) -> Result<Vec<Assignment>, String> {
    let at = |offset: usize| {
        let lines = text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
        format!("{path}:{lines}")
    };
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(path.to_string(), |span| at(span.start));
        format!("{place}: {}", error.message())
    })?;
    let mut found = Vec::new();
    for (key, value) in table.into_inner() {
        let place = at(key.span().start);
        let name = key.into_inner();
        let Some((_, setting)) = numbered(&name) else {
            return Err(format!("{place}: there is no setting `{name}`"));
        };
        let place = format!("{place}, {name}");
        let value = from_value(setting.kind, value.get_ref()).ok_or_else(|| {
            let wanted = match setting.kind {
                Kind::Switch => "true or false",
                Kind::Number => "a whole number",
                Kind::Text | Kind::Secret => "a string in quotation marks",
            };
            format!("{place}: expected {wanted}, not {}", described(setting, value.get_ref()))
        })?;
        found.push(Assignment { name: name.into_owned(), value, place });
    }
    Ok(found)
}

fn from_value(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match kind {
        Kind::Switch => value.as_bool().map(|yes| if yes { "yes" } else { "no" }.into()),
        Kind::Number => {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        Kind::Text | Kind::Secret => value.as_str().map(String::from),
    }
}

fn described(setting: &Setting, value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    match value {
        DeValue::String(text) => format!("the {kind} `{}`", setting.shown(text)),
        DeValue::Integer(number) => format!("the {kind} `{number}`"),
        DeValue::Float(number) => format!("the {kind} `{number}`"),
        DeValue::Boolean(value) => format!("the {kind} `{value}`"),
        _ => format!("a value of the kind {kind}"),
    }
}
