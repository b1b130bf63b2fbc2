//! The terminal: taken as a whole, and given back as it was, whatever happens.

use std::io::{self, IsTerminal, Stdout, stdout};
use std::sync::Once;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute, style};
use ratatui::{Frame, Terminal};

/// The whole screen; given back when dropped.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    pub fn open(colours: bool) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let former = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // The message is to be readable.
                restore();
                former(panic);
                // Without one of its threads the chat would only seem to go on. The main one leaves the room.
                if std::thread::current().name() != Some("main") {
                    std::process::exit(101);
                }
            }));
        });
        // What is logged would be written across the screen.
        if io::stderr().is_terminal() {
            log::set_max_level(log::LevelFilter::Off);
        }
        style::force_color_output(colours);
        enable_raw_mode()?;
        let opened = execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste);
        // Dropped if something fails from here on.
        let screen = opened.and_then(|()| Terminal::new(CrosstermBackend::new(stdout()))).map(Self);
        screen.inspect_err(|_| restore())
    }

    /// Shows what `draw` draws.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Does what can be done; the terminal may be gone.
fn restore() {
    let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
