//! The device's own login and password.

use super::Arguments;
use super::questions::{Choice, Question, Questions, tell, usage};
use super::write::Existing;
use crate::cli::exit::{self, Failure};
use crate::secret::{PasswordHash, Secret};

/// A login that is good for one device.
pub struct Device {
    pub login: String,
    pub hash: PasswordHash,
    /// To be shown once; `None`: the person knows it.
    pub made: Option<Secret>,
}

pub fn ask(questions: &Questions, arguments: &Arguments, existing: &Existing) -> Result<Device, Failure> {
    let login = login(questions, arguments, existing)?;
    let (password, is_made) = password(questions, arguments)?;
    let hash = PasswordHash::of(&password).map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    Ok(Device { login, hash, made: is_made.then_some(password) })
}

fn login(questions: &Questions, arguments: &Arguments, existing: &Existing) -> Result<String, Failure> {
    let free = (1..).map(|number: u32| match number {
        1 => "scanner".to_owned(),
        _ => format!("scanner{number}"),
    });
    let free = free.into_iter().find(|name| !existing.has(name)).unwrap_or_default();
    let question = Question {
        flag: "--login NAME",
        text: "A name for the device or program:",
        help: "its user name towards popbridge",
    };
    let mut given = arguments.login.clone();
    loop {
        let login = questions.text(&question, given.take(), Some(&free), good_login)?;
        if !existing.has(&login) || arguments.replace {
            return Ok(login);
        }
        let text = format!("{} has a login \"{login}\" already. Set it up anew?", existing.path.display());
        if !questions.can_ask() {
            return Err(usage(format!("{text} Then say so: --replace; or give another --login")));
        }
        let question =
            Question { flag: "--replace", text: &text, help: "with yes, its old password no longer works" };
        if questions.confirm(&question, None, false)? {
            return Ok(login);
        }
    }
}

/// What POP3's USER can carry and a device can be made to send.
pub fn good_login(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 100 || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("a login has 1 to 100 characters, and no blanks among them".to_owned());
    }
    Ok(text.to_owned())
}

/// The password, and whether it was made here.
fn password(questions: &Questions, arguments: &Arguments) -> Result<(Secret, bool), Failure> {
    let made = || Secret::typeable().map_err(|error| Failure::new(exit::UNAVAILABLE, error));
    let file = arguments.device_password_file.as_deref();
    let given = match (arguments.generate_password, file) {
        (true, _) => Some(true),
        (false, Some(_)) => Some(false),
        (false, None) => None,
    };
    let question = Question {
        flag: "--generate-password or --device-password-file FILE",
        text: "A password for the device:",
        help: "it is good for popbridge only; the device never learns the mailbox's",
    };
    let choices =
        vec![Choice::new(true, "make a strong one that is easy to type"), Choice::new(false, "my own")];
    if questions.choose(&question, given, choices, 0)? {
        return Ok((made()?, true));
    }
    loop {
        let question =
            Question { flag: "--device-password-file FILE", text: "The device's password:", help: "" };
        let password = questions.secret(&question, file, true)?;
        match good_password(&password) {
            Ok(()) => return Ok((password, false)),
            Err(reason) if file.is_some() => {
                return Err(Failure::new(exit::NO_PERMISSION, anyhow::anyhow!("{reason}")));
            }
            Err(reason) => tell(&format!("  {reason}")),
        }
    }
}

/// A program has to be able to send it, and nobody to guess it.
fn good_password(password: &Secret) -> Result<(), &'static str> {
    if password.expose().iter().any(u8::is_ascii_control) {
        return Err("no mail program can send a password with control characters");
    }
    if password.expose().len() < 8 {
        return Err("the device's password has less than 8 characters: too easy to guess");
    }
    Ok(())
}
