//! Questions. A flag has answered, or `--yes` takes the default, or the terminal is asked.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use inquire::{Confirm, InquireError, Password, PasswordDisplayMode, Select, Text};

use crate::cli::exit::{self, Failure};
use crate::cli::login::read_password;
use crate::secret::Secret;

/// Who answers.
pub struct Questions {
    terminal: bool,
    yes: bool,
}

/// A question, and the flag that answers it as well.
pub struct Question<'a> {
    pub flag: &'a str,
    pub text: &'a str,
    /// A line below it; may be empty.
    pub help: &'a str,
}

/// One of several answers.
pub struct Choice<T> {
    pub value: T,
    pub label: String,
}

impl<T> Choice<T> {
    pub fn new(value: T, label: impl Into<String>) -> Self {
        Self { value, label: label.into() }
    }
}

impl<T> fmt::Display for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Questions {
    /// `yes`: what has a default is not asked.
    pub fn new(yes: bool) -> Self {
        // Questions go to standard error, so that standard output can be kept as a note.
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self { terminal, yes }
    }

    /// Whether a person can be asked again.
    pub fn can_ask(&self) -> bool {
        self.terminal && !self.yes
    }

    /// A line of text, asked for until `parse` takes it.
    pub fn text<T>(
        &self,
        question: &Question<'_>,
        given: Option<T>,
        default: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        if let Some(given) = given {
            return Ok(given);
        }
        if let (true, Some(default)) = (self.yes, default) {
            return parse(default).map_err(|reason| usage(format!("{}: {reason}", question.flag)));
        }
        self.wanted(question)?;
        loop {
            let mut prompt = Text::new(question.text);
            prompt.default = default;
            prompt.help_message = Some(question.help).filter(|help| !help.is_empty());
            match parse(prompt.prompt().map_err(given_up)?.trim()) {
                Ok(answer) => return Ok(answer),
                Err(reason) => tell(&format!("  {reason}")),
            }
        }
    }

    /// One of several; `default` is the place of the safe one.
    pub fn choose<T>(
        &self,
        question: &Question<'_>,
        given: Option<T>,
        mut choices: Vec<Choice<T>>,
        default: usize,
    ) -> Result<T, Failure> {
        if let Some(given) = given {
            return Ok(given);
        }
        if self.yes && default < choices.len() {
            return Ok(choices.swap_remove(default).value);
        }
        self.wanted(question)?;
        let keys = "arrow keys and Enter";
        let help = match question.help {
            "" => keys.to_owned(),
            help => format!("{keys}; {help}"),
        };
        let prompt = Select::new(question.text, choices).without_filtering().with_starting_cursor(default);
        Ok(prompt.with_help_message(&help).prompt().map_err(given_up)?.value)
    }

    /// Yes or no.
    pub fn confirm(
        &self,
        question: &Question<'_>,
        given: Option<bool>,
        default: bool,
    ) -> Result<bool, Failure> {
        if let Some(given) = given {
            return Ok(given);
        }
        if self.yes {
            return Ok(default);
        }
        self.wanted(question)?;
        let mut prompt = Confirm::new(question.text).with_default(default);
        prompt.help_message = Some(question.help).filter(|help| !help.is_empty());
        prompt.prompt().map_err(given_up)
    }

    /// A password, from a file's first line or without echo; a new one is asked for twice.
    pub fn secret(
        &self,
        question: &Question<'_>,
        file: Option<&Path>,
        is_new: bool,
    ) -> Result<Secret, Failure> {
        if let Some(file) = file {
            return read_password(Some(file));
        }
        self.wanted(question)?;
        loop {
            let mut prompt = Password::new(question.text).with_display_mode(PasswordDisplayMode::Hidden);
            prompt.enable_confirmation = is_new;
            prompt.custom_confirmation_message = Some("Once more:");
            prompt.custom_confirmation_error_message = Some("The two are not the same.");
            prompt.help_message = Some(question.help).filter(|help| !help.is_empty());
            let password = Secret::new(prompt.prompt().map_err(given_up)?.into_bytes());
            if !password.expose().is_empty() {
                return Ok(password);
            }
            tell("  A password has at least one character.");
        }
    }

    /// Nobody to ask: the flag is missing.
    fn wanted(&self, question: &Question<'_>) -> Result<(), Failure> {
        if self.terminal {
            return Ok(());
        }
        let question = (question.flag, question.text.trim_end_matches([':', '?']));
        Err(usage(format!(
            "there is no terminal to ask \"{}\" on: give {} (--yes takes every default there is)",
            question.1, question.0
        )))
    }
}

/// A line for the person who is asked; nowhere to write it is no reason to stop.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(text));
}

/// What servers have said must not steer the terminal.
pub fn harmless(text: &str) -> String {
    let letter = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(letter).collect()
}

/// The command line lacks something, or does not fit.
pub fn usage(text: impl fmt::Display) -> Failure {
    Failure::new(exit::USAGE, anyhow::anyhow!("{text}"))
}

fn given_up(error: InquireError) -> Failure {
    match error {
        // Nothing is written before the last answer.
        InquireError::OperationInterrupted | InquireError::OperationCanceled => {
            Failure::new(exit::INTERRUPTED, anyhow::anyhow!("setup was given up: nothing has been changed"))
        }
        error => Failure::new(exit::UNAVAILABLE, anyhow::anyhow!("the terminal cannot be used: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_do_not_steer_the_terminal() {
        assert_eq!(harmless("NO \u{1b}[2J\u{9b}1m\rWröng\n"), "NO \u{fffd}[2J\u{fffd}1m\u{fffd}Wröng\n");
    }
}
