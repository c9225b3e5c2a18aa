//! Every transcript on the simulator, as each of the servers that it can be.
//! `interop_dovecot.rs` plays the same files on Dovecot. Those whose RFC822.SIZE is wrong have
//! tests of their own: `sizes.rs`.

mod support;

use imapsim::{Persona, Server};
use support::dovecot::PASSWORD;
use support::transcript;

/// Plays all but those whose names are in `except`, each with its reason at the call.
async fn play_all(persona: Persona, except: &[&str]) {
    for transcript in transcript::all() {
        if except.contains(&transcript.name.as_str()) {
            continue;
        }
        let sim = Server::builder().persona(persona).user("alice", PASSWORD).start().await;
        let sim = sim.expect("the simulator starts");
        for (folder, message) in &transcript.mail {
            sim.append("alice", folder, message, &[]);
        }
        transcript.play(&format!("imap://{}", sim.address()), "alice").await;
    }
}

macro_rules! personas {
    ($($test:ident: $persona:ident except $except:expr;)*) => {$(
        #[tokio::test]
        async fn $test() {
            play_all(Persona::$persona, &$except).await;
        }
    )*};
}

/// Without UIDPLUS, and on Gmail, where it only archives, the policy is refused: `tests/policies.rs`.
const EXPUNGE: &str = "rfc1939-6-quit-expunge";
/// So is this one where no folder bears \Trash, or with neither MOVE nor UIDPLUS.
const TRASH: &str = "rfc1939-6-quit-trash";

personas! {
    dovecot: Dovecot except [];
    gmail: Gmail except [EXPUNGE];
    microsoft365: Microsoft365 except [TRASH];
    yahoo: Yahoo except [];
    icloud: Icloud except [];
    cyrus: Cyrus except [];
    courier: Courier except [EXPUNGE, TRASH];
    imap4d: Imap4d except [EXPUNGE, TRASH];
    pymap: Pymap except [];
    minimal: Minimal except [EXPUNGE, TRASH];
}
