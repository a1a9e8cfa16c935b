//! Where the dashboard is shown: redrawn in place on a terminal, and as plain lines elsewhere.

use std::io::{IsTerminal, Write};

/// Standard output.
pub(super) struct Screen {
    /// It can be drawn on.
    terminal: bool,
    color: bool,
    /// The live view covers it now.
    covered: bool,
}

/// To the other screen of the terminal; the cursor hidden; lines cut at the edge, not wrapped.
const COVER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const UNCOVER: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

impl Screen {
    /// Finds out what standard output is.
    pub fn open() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        Self { terminal, color: terminal && std::env::var_os("NO_COLOR").is_none(), covered: false }
    }

    /// Whether a live view can be drawn.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colors are wanted.
    pub fn color(&self) -> bool {
        self.color
    }

    /// A line that stays.
    pub fn say(&self, line: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// Draws the live view over the one before. Each line is put at its own row, so that those beyond the terminal's
    /// height do no harm.
    pub fn draw(&mut self, lines: &[String]) -> anyhow::Result<()> {
        let mut text = String::new();
        if !self.covered {
            text.push_str(COVER);
            self.covered = true;
        }
        for (row, line) in (1..).zip(lines) {
            text.push_str(&format!("\u{1b}[{row};1H{line}\u{1b}[K"));
        }
        text.push_str("\u{1b}[J");
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.covered {
            let mut out = std::io::stdout().lock();
            // There is nobody left to tell.
            let _ = out.write_all(UNCOVER.as_bytes()).and_then(|()| out.flush());
        }
    }
}
