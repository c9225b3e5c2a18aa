//! What the device may do with the mail, in plain words.

use super::Arguments;
use super::plan::Maildrop;
use super::questions::{Choice, Question, Questions, tell};
use crate::cli::check::LoginReport;
use crate::cli::exit::{self, Failure};
use crate::config::{OnDelete, OnRetrieve};

/// `report`: what the mail server lets each policy do; unknown before a sign-in.
pub fn ask(
    questions: &Questions,
    arguments: &Arguments,
    report: Option<&LoginReport>,
) -> Result<Maildrop, Failure> {
    let on_delete = on_delete(questions, arguments, report)?;
    let question = Question { flag: "--on-retrieve WORD", text: "When it fetches a message:", help: "" };
    let choices = vec![
        Choice::new(OnRetrieve::Leave, "leave it unread for your other devices"),
        Choice::new(OnRetrieve::MarkSeen, "mark it as read"),
    ];
    let on_retrieve = questions.choose(&question, arguments.on_retrieve, choices, 0)?;
    let (newest, max_age) = more(questions, arguments)?;
    Ok(Maildrop { on_delete, on_retrieve, newest, max_age })
}

fn on_delete(
    questions: &Questions,
    arguments: &Arguments,
    report: Option<&LoginReport>,
) -> Result<OnDelete, Failure> {
    let refused = |on_delete: OnDelete| {
        let policies = report.into_iter().flat_map(|report| &report.policies);
        policies.into_iter().find(|policy| policy.on_delete == on_delete.name())?.refused.clone()
    };
    let choices = || {
        let offered = OnDelete::ALL.into_iter().filter(|on_delete| refused(*on_delete).is_none());
        offered.map(|on_delete| Choice::new(on_delete, words(on_delete))).collect()
    };
    let question = Question {
        flag: "--on-delete WORD",
        text: "When it deletes a message:",
        help: "old programs delete all that they have fetched",
    };
    let mut given = arguments.on_delete;
    loop {
        let on_delete = questions.choose(&question, given.take(), choices(), 0)?;
        let Some(reason) = refused(on_delete) else { return Ok(on_delete) };
        let text = format!("on_delete = \"{}\" does not work there: {reason}", on_delete.name());
        if !questions.can_ask() {
            return Err(Failure::new(exit::UNAVAILABLE, anyhow::anyhow!(text)));
        }
        tell(&format!("  {text}"));
    }
}

fn words(on_delete: OnDelete) -> &'static str {
    match on_delete {
        OnDelete::Hide => "hide it from this device only; it stays in the mailbox",
        OnDelete::Trash => "move it to the trash, for all your devices",
        OnDelete::Archive => "move it to the archive, for all your devices",
        OnDelete::Flag => "mark it as deleted, for another program to remove",
        OnDelete::Expunge => "remove it for good, for all your devices",
    }
}

/// What most do not need.
fn more(questions: &Questions, arguments: &Arguments) -> Result<(Option<u32>, Option<String>), Failure> {
    let given = (arguments.newest, arguments.max_age.clone());
    if given.0.is_some() || given.1.is_some() || !questions.can_ask() {
        return Ok(given);
    }
    let question = Question {
        flag: "--newest N",
        text: "Shall it see the whole inbox?",
        help: "some devices choke on thousands of messages",
    };
    if questions.confirm(&question, None, true)? {
        return Ok((None, None));
    }
    let question =
        Question { flag: "--newest N", text: "Only so many of the newest messages:", help: "0: all" };
    let number = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no number like 200"));
    let newest: u32 = questions.text(&question, None, Some("200"), number)?;
    let question =
        Question { flag: "--max-age TIME", text: "Only what came in the last:", help: "30d; 0d: all" };
    let age = questions.text(&question, None, Some("0d"), max_age)?;
    let all = humantime::parse_duration(&age).is_ok_and(|age| age.is_zero());
    Ok((Some(newest).filter(|newest| *newest > 0), Some(age).filter(|_| !all)))
}

/// A duration with its unit.
pub fn max_age(text: &str) -> Result<String, String> {
    match humantime::parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write it as 12h, 30d")),
    }
}
