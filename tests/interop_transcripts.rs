//! The same transcripts as on the simulator, on Dovecot: so the simulator cannot drift.

mod support;

use support::dovecot::{Dovecot, Options};
use support::transcript;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn every_transcript_on_dovecot() {
    let dovecot = Dovecot::start(&Options::default());
    for (index, transcript) in transcript::all().iter().enumerate() {
        let user = format!("user{index}");
        for (folder, message) in &transcript.mail {
            dovecot.create(&user, folder);
            dovecot.append(&user, folder, message, "");
        }
        transcript.play(&dovecot.url(), &user).await;
    }
}
