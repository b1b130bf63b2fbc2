//! What commands can be told by flags, by the environment and by the file `.env` of the current directory, in this order of
//! precedence and under the same names. GoChat's names are understood, too.

#[path = "../../shared/dotenv.rs"]
mod dotenv;
mod identity;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use holepunch::proto::secure::PublicKey;
use holepunch::{Client, SessionOptions};

use self::dotenv::Assignment;
pub use self::identity::to_hex;

/// One setting, under all its names.
pub struct Setting {
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// The flag's name in GoChat, which is understood but not shown.
    pub former_flag: Option<&'static str>,
    /// The variable of the environment and of `.env`.
    pub variable: &'static str,
    /// What GoChat calls it.
    pub alias: Option<&'static str>,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// What holds if it is not given.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

/// Where to meet.
pub const SERVER: Setting = Setting {
    flag: "server",
    former_flag: Some("bootnode"),
    variable: "HP_SERVER",
    alias: Some("BOOTNODE"),
    value: "HOST:PORT",
    default: "none, must be given",
    help: "The rendezvous server",
};
/// Whom to meet.
pub const ROOM: Setting = Setting {
    flag: "room",
    former_flag: None,
    variable: "HP_ROOM",
    alias: Some("ROOM"),
    value: "NAME",
    default: "none, must be given",
    help: "The room: whoever knows its name is in, so it should be hard to guess",
};
/// From where.
pub const LOCAL: Setting = Setting {
    flag: "local",
    former_flag: Some("port"),
    variable: "HP_LOCAL",
    alias: Some("LOCAL_UDP_PORT"),
    value: "[ADDR:]PORT",
    default: "any port, IPv4 and IPv6",
    help: "Own UDP port; without an address on IPv4 only",
};
/// Who we are.
pub const IDENTITY: Setting = Setting {
    flag: "identity",
    former_flag: None,
    variable: "HP_IDENTITY",
    alias: None,
    value: "FILE",
    default: "a new key each time",
    help: "File with our private key, by whose fingerprint the others know us again; made if it is not there",
};
/// Who the others may be.
pub const PIN: Setting = Setting {
    flag: "pin",
    former_flag: None,
    variable: "HP_PIN",
    alias: None,
    value: "KEY,...",
    default: "whoever knows the room",
    help: "The only public keys that the others may hold, as `/verify` and `hp pipe` show them",
};

/// Whether people without encryption are let in.
pub const PLAIN: Setting = Setting {
    flag: "plain",
    former_flag: None,
    variable: "HP_PLAIN",
    alias: None,
    value: "yes|no",
    default: "no",
    help: "Let existing plain tools in, with whom nothing is encrypted",
};

/// What GoChat can be told, and what there is instead.
const WITHOUT_EFFECT: [(&str, &str); 3] = [
    ("LISTEN", "only a server listens: see `hp-server --help`"),
    ("HEARTBEAT_INTERVAL", "the server hears from us every 10 s"),
    ("PEER_TIMEOUT", "the server forgets who was silent for 15 s"),
];

/// A command's settings.
pub trait Takes {
    /// All of them.
    const SETTINGS: &'static [&'static Setting];
}

/// The flags that a command was given, for its settings.
pub struct Flags<T>(Vec<Assignment>, PhantomData<T>);

impl<T: Takes> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        T::SETTINGS.iter().fold(command, |command, setting| {
            let alias = setting.alias.map(|alias| format!(" or {alias}")).unwrap_or_default();
            let Setting { help, variable, default, .. } = setting;
            let help = format!("{help} [env: {variable}{alias}] [default: {default}]");
            let arg = Arg::new(setting.flag).long(setting.flag).value_name(setting.value).help(help);
            command.arg(arg.aliases(setting.former_flag))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Takes> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &&Setting| {
            let value = matches.get_one::<String>(setting.flag)?.clone();
            Some(Assignment { name: setting.variable.into(), value, place: format!("--{}", setting.flag) })
        };
        Ok(Self(T::SETTINGS.iter().filter_map(given).collect(), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// All that was given, the most important first.
pub struct Settings([Vec<Assignment>; 3]);

impl Settings {
    /// Looks into the environment, and into `.env` if there is such a file here.
    pub fn collect<T: Takes>(flags: &Flags<T>) -> Result<Self, String> {
        let file = match std::fs::read_to_string(".env") {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!(".env cannot be read: {error}")),
        };
        Self::from_sources(flags, std::env::vars_os(), &file)
    }

    fn from_sources<T: Takes>(
        flags: &Flags<T>,
        environment: impl Iterator<Item = (OsString, OsString)>,
        file: &str,
    ) -> Result<Self, String> {
        let names =
            || T::SETTINGS.iter().flat_map(|setting| [Some(setting.variable), setting.alias]).flatten();
        let is_known =
            |name: &str| names().chain(WITHOUT_EFFECT.map(|(name, _)| name)).any(|known| known == name);
        let variables = environment.filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| is_known(name))?;
            let place = format!("{name} in the environment");
            let value = value.into_string().map_err(|_| format!("{place} is not UTF-8"));
            Some(value.map(|value| Assignment { name, value, place }))
        });
        let variables = variables.collect::<Result<_, _>>()?;
        Ok(Self([flags.0.clone(), variables, dotenv::parse(file, is_known)?]))
    }

    /// What was given under a name; nothing is as good as not given.
    fn find(&self, setting: &Setting) -> Option<&Assignment> {
        let names = [Some(setting.variable), setting.alias];
        self.0.iter().find_map(|source| names.iter().flatten().find_map(|name| given(source, name)))
    }

    /// The setting as `read` understands it, if it was given. An error says where.
    pub fn get<T>(
        &self,
        setting: &Setting,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let read =
            |found: &Assignment| read(&found.value).map_err(|error| format!("{}: {error}", found.place));
        self.find(setting).map(read).transpose()
    }

    /// The same for a setting that must be given.
    pub fn require<T>(
        &self,
        setting: &Setting,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let Setting { flag, variable, value, .. } = setting;
        self.get(setting, read)?
            .ok_or_else(|| format!("--{flag} {value} is missing (or {variable} in the environment or .env)"))
    }

    /// What was given and means nothing here.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |(name, instead): (&str, &str)| {
            let place = &self.0.iter().find_map(|source| given(source, name))?.place;
            Some(format!("{place} has no effect: {instead}"))
        };
        WITHOUT_EFFECT.into_iter().filter_map(warning).collect()
    }

    /// A client of [`SERVER`] at [`LOCAL`].
    pub fn client(&self) -> Result<Client, String> {
        let mut client =
            self.require(&SERVER, |server| Client::new(server).map_err(|error| error.to_string()))?;
        client.set_local_address(self.get(&LOCAL, local_address)?);
        Ok(client)
    }

    /// The [`ROOM`].
    pub fn room(&self) -> Result<String, String> {
        self.require(&ROOM, |room| match room.len() {
            0..=1000 => Ok(room.into()),
            len => Err(format!("a room's name has at most 1000 bytes, this one {len}")),
        })
    }

    /// [`IDENTITY`], [`PIN`] and [`PLAIN`].
    pub fn room_options(&self) -> Result<SessionOptions, String> {
        let mut options = SessionOptions::default();
        options.identity = self.get(&IDENTITY, |file| identity::load_or_create(Path::new(file)))?;
        options.pinned = self.get(&PIN, public_keys)?.unwrap_or_default();
        options.plain_peers =
            self.get(&PLAIN, |word| one_of(&[("yes", true), ("no", false)], word))?.unwrap_or_default();
        Ok(options)
    }
}

/// The setting's row in the table of docs/chat.md.
#[cfg(test)]
pub fn documentation(setting: &Setting) -> String {
    let Setting { flag, variable, value, default, help, .. } = setting;
    let alias = setting.alias.map(|alias| format!("`{alias}`")).unwrap_or_default();
    let value = value.replace('|', "\\|");
    format!("| `--{flag} {value}` | `{variable}` | {alias} | {default} | {help} |")
}

/// What a word stands for.
pub fn one_of<T: Copy>(words: &[(&str, T)], word: &str) -> Result<T, String> {
    let found = words.iter().find(|(known, _)| *known == word);
    let known = || words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("`{word}` is none of {}", known()))
}

fn given<'a>(source: &'a [Assignment], name: &str) -> Option<&'a Assignment> {
    source.iter().rfind(|given| given.name == name && !given.value.is_empty())
}

fn local_address(text: &str) -> Result<SocketAddr, String> {
    let port =
        text.strip_prefix(':').unwrap_or(text).parse().map(|port| (Ipv4Addr::UNSPECIFIED, port).into());
    port.or_else(|_| text.parse()).map_err(|_| format!("`{text}` is neither a port nor ADDRESS:PORT"))
}

fn public_keys(text: &str) -> Result<Vec<PublicKey>, String> {
    let key = |word: &str| {
        let bytes = identity::from_hex(word.trim());
        bytes.map(PublicKey).ok_or_else(|| format!("`{word}` is not a public key of 64 hexadecimal digits"))
    };
    text.split(',').map(key).collect()
}
