//! What `explain` tells, as programs read it.

use serde::Serialize;

use super::trail;

#[derive(Debug, Serialize)]
pub struct Facts {
    pub login: String,
    pub upstream: String,
    pub username: String,
    pub settings: Settings,
    pub folders: Vec<Folder>,
    pub message: Option<Message>,
}

/// The settings that decide what is listed, and under which ids.
#[derive(Debug, Serialize)]
pub struct Settings {
    pub folders: Vec<String>,
    pub on_delete: &'static str,
    pub only_unseen: bool,
    pub newest: u32,
    pub max_age_seconds: u64,
    pub delete_grace_seconds: u64,
    pub unique_id: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Folder {
    pub folder: String,
    /// Absent: no login has opened it yet.
    pub uid_validity: Option<u32>,
    pub messages: usize,
    /// When the listing was last seen to change; absent behind `cache clear`.
    pub listing_changed_at: Option<String>,
    pub hidden: usize,
    pub waiting: usize,
    pub waiting_until: Option<String>,
    /// Absent behind `cache clear`.
    pub below_newest: Option<usize>,
    pub ids_from_earlier_uid_validity: usize,
    pub refused: Option<Refused>,
}

/// A folder made anew that logins are refused for.
#[derive(Debug, Serialize)]
pub struct Refused {
    pub uid_validity: u32,
    pub former_messages: usize,
    pub messages: usize,
    /// So many might be known messages that would look new.
    pub unrecognised: usize,
    pub refused_at: String,
    pub accepted: bool,
    /// What accepts it.
    pub command: String,
}

/// What is known of the message that was asked about.
#[derive(Debug, Serialize)]
pub struct Message {
    pub asked: String,
    pub known: bool,
    /// Where it is; several, if the mail server has it several times.
    pub places: Vec<Place>,
    /// By any login of the account, the oldest first.
    pub deletions: Vec<Deleted>,
}

#[derive(Debug, Serialize)]
pub struct Place {
    pub folder: String,
    pub uid_validity: u32,
    pub uid: u32,
    pub unique_id: String,
    pub message_id: Option<String>,
    pub unique_id_from: IdFrom,
    /// Where the unique id derives from, if it does.
    pub first_uid_validity: Option<u32>,
    pub first_uid: Option<u32>,
    pub listed: bool,
    pub why: Why,
    pub waiting_until: Option<String>,
    /// Settings that may leave it out all the same.
    pub may_be_left_out_by: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdFrom {
    Numbers,
    EarlierNumbers,
    Gmail,
    EmailId,
    /// Its own numbers were another message's before.
    Collision,
    /// From before it was restored.
    Kept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    Listed,
    Hidden,
    Waiting,
    BelowNewest,
}

#[derive(Debug, Serialize)]
pub struct Deleted {
    #[serde(flatten)]
    pub shown: trail::Shown,
    /// What takes it back, if anything does.
    pub command: Option<String>,
}
