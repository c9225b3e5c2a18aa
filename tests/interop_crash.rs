//! The program dies by SIGKILL at each step of the update, in front of a real Dovecot: the same
//! table as on the simulator.

mod support;

#[path = "crash/story.rs"]
mod story;

use story::{Held, Policy, Upstream};
use support::dovecot::{Dovecot, Options};

/// Dovecot's own, without MOVE.
const WITHOUT_MOVE: &str =
    "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE UNSELECT NAMESPACE UIDPLUS LIST-EXTENDED SPECIAL-USE";

impl Upstream for Dovecot {
    fn url(&self) -> String {
        Dovecot::url(self)
    }

    fn folder(&self, name: &str) -> Vec<Held> {
        let messages = self.messages("alice", name).into_iter();
        messages.map(|message| Held { deleted: message.has("\\Deleted"), body: message.body }).collect()
    }
}

fn dovecot(policy: Policy) -> Dovecot {
    let capability = (policy == Policy::TrashByCopy).then_some(WITHOUT_MOVE);
    Dovecot::start(&Options { capability, ..Options::default() })
}

/// The mailbox as a story begins with it, whatever the story before has left.
fn fill(dovecot: &Dovecot) {
    let mut imap = dovecot.connect("alice");
    // Refused where it is there already, or where there is nothing to remove.
    let _ = imap.attempt("CREATE Archive");
    for folder in ["INBOX", "Trash", "Archive"] {
        imap.command(&format!("SELECT {folder}"));
        let _ = imap.attempt("STORE 1:* +FLAGS.SILENT (\\Deleted)");
        imap.command("EXPUNGE");
    }
    imap.command("LOGOUT");
    for (index, message) in story::mail().iter().enumerate() {
        let flags = if index == story::FLAGGED { "\\Deleted" } else { "" };
        dovecot.append("alice", "INBOX", message, flags);
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_death_at_each_step_of_the_update_is_made_up_for() {
    for policy in Policy::ALL {
        let dovecot = dovecot(policy);
        for (place, confirmed) in policy.places() {
            fill(&dovecot);
            story::dies(&dovecot, policy, place, confirmed, None).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn a_kill_at_any_moment_behind_quit_is_made_up_for() {
    for policy in Policy::ALL {
        let dovecot = dovecot(policy);
        for pause in [0, 7, 19] {
            fill(&dovecot);
            story::killed(&dovecot, policy, std::time::Duration::from_millis(pause)).await;
        }
    }
}
