//! What a policy needs of the upstream. One that cannot be honoured is refused, never approximated.

use super::error::Error;
use crate::config::{self, OnDelete, OnRetrieve, UniqueIdScheme};
use crate::store::Action;
use crate::upstream::{
    Access, Capabilities, FolderName, Imap, Wanted, auto_expunges, expunge_archives, find_folder,
};

/// Why an upstream cannot honour a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuited {
    #[error("on_delete = \"{0}\" needs UIDPLUS, which the mail server does not offer; use \"hide\"")]
    NoUidPlus(&'static str),
    #[error("on_delete = \"{0}\" needs MOVE or UIDPLUS, which the mail server does not offer; use \"hide\"")]
    NoMove(&'static str),
    #[error("deleting needs to write to the mailbox, which the mail server lets us only read; use \"hide\"")]
    ReadOnly,
    #[error("the mail server names no trash; set trash_folder to the folder that is one, or use \"hide\"")]
    NoTrash,
    #[error(
        "the mail server names no archive and has no folder Archive; set archive_folder, or use \"hide\""
    )]
    NoArchive,
    #[error("the mail server has no folder \"{folder}\", which {key} names; make it there, or use \"hide\"")]
    NoTarget { key: &'static str, folder: FolderName },
    #[error(
        "on_delete = \"{0}\" would move messages to the folder that they are in; use \"expunge\" or \"hide\" there"
    )]
    OntoItself(Action),
    #[error("on this mail server \"expunge\" only archives, so nothing would be removed; use \"trash\"")]
    ExpungeArchives,
    #[error("this mail server removes at once what is flagged \\Deleted; use \"trash\" or \"hide\"")]
    AutoExpunge,
    #[error("unique_id = \"{0}\" needs {1}, which the mail server does not offer")]
    NoIds(&'static str, &'static str),
}

/// What deleting comes to on this upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub action: Action,
    /// Where `Trash` and `Archive` move to.
    pub target: Option<FolderName>,
}

/// How the mailbox is selected: to write only where something will be written.
pub fn access(settings: &config::Maildrop) -> Access {
    match (settings.on_retrieve, settings.on_delete) {
        (OnRetrieve::Leave, OnDelete::Hide) => Access::ReadOnly,
        (OnRetrieve::MarkSeen, _)
        | (_, OnDelete::Trash | OnDelete::Archive | OnDelete::Flag | OnDelete::Expunge) => Access::ReadWrite,
    }
}

/// Whether deleted messages go to another folder.
pub fn has_target(settings: &config::Maildrop) -> bool {
    matches!(settings.on_delete, OnDelete::Trash | OnDelete::Archive)
}

/// Where deleted messages go, by the server's list of its folders; `None` if they go nowhere.
pub async fn target(settings: &config::Maildrop, imap: &mut Imap) -> Result<Option<FolderName>, Error> {
    Ok(match settings.on_delete {
        OnDelete::Hide | OnDelete::Flag | OnDelete::Expunge => None,
        OnDelete::Trash => Some(trash(settings, imap).await?),
        OnDelete::Archive => Some(archive(settings, imap).await?),
    })
}

/// How what is configured is done, with this [`target`]; or why it cannot be, as far as the
/// upstream tells after login.
pub fn plan(
    settings: &config::Maildrop,
    capabilities: &Capabilities,
    target: Option<FolderName>,
) -> Result<Plan, Unsuited> {
    let offers = |name: &str| capabilities.has(name);
    match settings.unique_id {
        UniqueIdScheme::Gmail if !offers("X-GM-EXT-1") => {
            return Err(Unsuited::NoIds("gmail", "X-GM-EXT-1"));
        }
        UniqueIdScheme::EmailId if !offers("OBJECTID") => {
            return Err(Unsuited::NoIds("emailid", "OBJECTID"));
        }
        _ => {}
    }
    let word = settings.on_delete.name();
    let action = match settings.on_delete {
        OnDelete::Hide => Action::Hide,
        OnDelete::Trash => Action::Trash,
        OnDelete::Archive => Action::Archive,
        OnDelete::Flag => Action::Flag,
        OnDelete::Expunge => Action::Expunge,
    };
    match action {
        // Without UIDPLUS only the plain EXPUNGE is left, which removes what others flagged.
        Action::Expunge if !offers("UIDPLUS") => return Err(Unsuited::NoUidPlus(word)),
        Action::Expunge if expunge_archives(capabilities) => return Err(Unsuited::ExpungeArchives),
        Action::Trash | Action::Archive if !offers("MOVE") && !offers("UIDPLUS") => {
            return Err(Unsuited::NoMove(word));
        }
        _ => {}
    }
    Ok(Plan { action, target })
}

impl Plan {
    /// Whether it can be carried out in a selected folder.
    pub fn suits(
        &self,
        folder: &FolderName,
        read_only: bool,
        capabilities: &Capabilities,
        server_id: Option<&str>,
    ) -> Result<(), Unsuited> {
        match self.action {
            Action::Hide => Ok(()),
            _ if read_only => Err(Unsuited::ReadOnly),
            // There the flag is the removal.
            Action::Flag if auto_expunges(capabilities, server_id) => Err(Unsuited::AutoExpunge),
            _ if self.target.as_ref() == Some(folder) => Err(Unsuited::OntoItself(self.action)),
            Action::Trash | Action::Archive | Action::Flag | Action::Expunge => Ok(()),
        }
    }
}

async fn trash(settings: &config::Maildrop, imap: &mut Imap) -> Result<FolderName, Error> {
    match &settings.trash_folder {
        Some(name) => named(imap, "trash_folder", name).await,
        None => Ok(find_folder(imap, Wanted::SpecialUse("\\Trash")).await?.ok_or(Unsuited::NoTrash)?),
    }
}

async fn archive(settings: &config::Maildrop, imap: &mut Imap) -> Result<FolderName, Error> {
    if let Some(name) = &settings.archive_folder {
        return named(imap, "archive_folder", name).await;
    }
    if let Some(found) = find_folder(imap, Wanted::SpecialUse("\\Archive")).await? {
        return Ok(found);
    }
    let usual = FolderName::new("Archive");
    Ok(find_folder(imap, Wanted::Named(&usual)).await?.ok_or(Unsuited::NoArchive)?)
}

async fn named(imap: &mut Imap, key: &'static str, name: &str) -> Result<FolderName, Error> {
    let folder = FolderName::new(name);
    match find_folder(imap, Wanted::Named(&folder)).await? {
        Some(found) => Ok(found),
        None => Err(Unsuited::NoTarget { key, folder }.into()),
    }
}
