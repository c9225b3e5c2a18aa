//! The policies of the matrix, and the mailbox that each meets.

use imapsim::{Message, Server};

use super::support::bridge::Settings;
use super::support::dovecot::PASSWORD;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Hide,
    /// By MOVE.
    Trash,
    /// On a server without MOVE.
    TrashByCopy,
    Archive,
    Flag,
    Expunge,
    /// To the trash by MOVE, a second after QUIT.
    Grace,
}

/// Which messages the client deletes, counted from 0. The last two are twins.
pub const DELETED: [usize; 3] = [1, 3, 4];
/// What another client flagged \Deleted. Behind it comes a third twin, which stays.
pub const FLAGGED: usize = 6;

pub fn mail() -> Vec<Vec<u8>> {
    let long = "0123456789abcdef\r\n".repeat(4000);
    let twin = b"Subject: twin\r\nMessage-ID: <twin@example.org>\r\n\r\ntwin\r\n".to_vec();
    vec![
        b"Subject: one\r\n\r\n.\r\nbody\r\n".to_vec(),
        b"Subject: two\r\n\r\nno end".to_vec(),
        [b"Subject: three\r\n\r\n", long.as_bytes()].concat(),
        twin.clone(),
        twin.clone(),
        b"Subject: four\r\n\r\nfour\r\n".to_vec(),
        b"Subject: flagged\r\n\r\nby another client\r\n".to_vec(),
        twin,
    ]
}

impl Policy {
    pub const ALL: [Self; 7] =
        [Self::Hide, Self::Trash, Self::TrashByCopy, Self::Archive, Self::Flag, Self::Expunge, Self::Grace];

    /// A server of its kind with the mail in it, always with the same UIDs.
    pub async fn server(self) -> Server {
        let sim = Server::builder().user("alice", PASSWORD).start().await.expect("the simulator starts");
        if self == Self::TrashByCopy {
            sim.set_capability("MOVE", false);
        }
        sim.create("alice", "Archive", Some("\\Archive"));
        for (index, message) in mail().iter().enumerate() {
            let flags: &[&str] = if index == FLAGGED { &["\\Deleted"] } else { &[] };
            sim.append("alice", "INBOX", message, flags);
        }
        sim
    }

    pub fn settings(self, sim: &Server, patience: &str) -> Settings {
        // Where nothing is marked \Seen, the update's own STORE is the first.
        let lines = match self {
            Self::Hide => "on_delete = \"hide\"",
            Self::Trash => "on_delete = \"trash\"",
            Self::TrashByCopy => "on_delete = \"trash\"\non_retrieve = \"leave\"",
            Self::Archive => "on_delete = \"archive\"\non_retrieve = \"leave\"",
            Self::Flag => "on_delete = \"flag\"\non_retrieve = \"leave\"",
            Self::Expunge => "on_delete = \"expunge\"\non_retrieve = \"leave\"",
            Self::Grace => "on_delete = \"trash\"\ndelete_grace = \"1s\"",
        };
        Settings::new(format!("imap://{}", sim.address()))
            .with("upstream.home", &format!("timeout = \"{patience}\"\nrecovery = \"{patience}\""))
            .with("maildrop", lines)
    }

    /// Where deleted messages go.
    pub fn target(self) -> Option<&'static str> {
        match self {
            Self::Trash | Self::TrashByCopy | Self::Grace => Some("Trash"),
            Self::Archive => Some("Archive"),
            Self::Hide | Self::Flag | Self::Expunge => None,
        }
    }

    /// Whether deleted messages leave INBOX.
    pub fn leaves_inbox(self) -> bool {
        self.target().is_some() || self == Self::Expunge
    }
}

/// What the account holds.
pub struct Account {
    pub inbox: Vec<Message>,
    pub target: Vec<Message>,
    all: Vec<Vec<Message>>,
    pub renumbered: bool,
}

impl Account {
    pub fn of(sim: &Server, policy: Policy, validity: u32) -> Self {
        let folder = |name: &str| sim.messages("alice", name);
        Self {
            inbox: folder("INBOX"),
            target: policy.target().map(folder).unwrap_or_default(),
            all: ["INBOX", "Trash", "Archive"].map(folder).to_vec(),
            renumbered: sim.uid_validity("alice", "INBOX") != validity,
        }
    }

    /// How often these octets are anywhere in it.
    pub fn anywhere(&self, octets: &[u8]) -> usize {
        self.all.iter().map(|folder| count(folder, octets)).sum()
    }
}

pub fn count(folder: &[Message], octets: &[u8]) -> usize {
    folder.iter().filter(|message| *message.body == *octets).count()
}

/// How many of them have this flag.
pub fn flagged(folder: &[Message], octets: &[u8]) -> usize {
    let flagged = folder.iter().filter(|message| message.flags.contains("\\Deleted"));
    flagged.filter(|message| *message.body == *octets).count()
}
