//! What a policy needs of the upstream. One that cannot be honoured is refused, never approximated.

use crate::config::{Maildrop, OnDelete, OnRetrieve};
use crate::upstream::{Access, Capabilities};

/// Why an upstream cannot honour a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsuited {
    #[error("on_delete = \"expunge\" needs UIDPLUS, which the mail server does not offer; use \"hide\"")]
    NoUidPlus,
    #[error(
        "on_delete = \"expunge\" needs to write to the mailbox, which the mail server lets us only read; use \"hide\""
    )]
    ReadOnly,
    #[error("on_delete = \"{0}\" is not served yet; use \"hide\"")]
    NotServed(&'static str),
}

/// How the mailbox is selected: to write only where something will be written.
pub fn access(settings: &Maildrop) -> Access {
    match (settings.on_retrieve, settings.on_delete) {
        (OnRetrieve::Leave, OnDelete::Hide) => Access::ReadOnly,
        (OnRetrieve::MarkSeen, _) => Access::ReadWrite,
        (OnRetrieve::Leave, OnDelete::Trash | OnDelete::Archive | OnDelete::Flag | OnDelete::Expunge) => {
            Access::ReadWrite
        }
    }
}

/// Whether the upstream can do what is configured, as it is offered after login.
pub fn check(settings: &Maildrop, capabilities: &Capabilities, read_only: bool) -> Result<(), Unsuited> {
    match settings.on_delete {
        OnDelete::Hide => Ok(()),
        // Without UIDPLUS only the plain EXPUNGE is left, which removes what others flagged.
        OnDelete::Expunge if !capabilities.has("UIDPLUS") => Err(Unsuited::NoUidPlus),
        OnDelete::Expunge if read_only => Err(Unsuited::ReadOnly),
        OnDelete::Expunge => Ok(()),
        other @ (OnDelete::Trash | OnDelete::Archive | OnDelete::Flag) => {
            Err(Unsuited::NotServed(other.name()))
        }
    }
}
