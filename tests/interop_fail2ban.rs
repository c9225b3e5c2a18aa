//! The filter in packaging/fail2ban, read by fail2ban itself, on logs of a bridge under attack.

mod support;

#[path = "throttle/attack.rs"]
mod attack;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use attack::{VICTIM, WRONG, attacked};
use support::process::{require, run};

/// The addresses that fail2ban would count in this log, one a failure.
fn counted(log: &Path) -> Vec<String> {
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/fail2ban/filter.d/popbridge.conf");
    let mut command = Command::new(require("fail2ban-regex", "fail2ban"));
    let output = run(command.args(["--out", "ip"]).arg(log).arg(filter), Duration::from_secs(60));
    let addresses = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{addresses}{}", String::from_utf8_lossy(&output.stderr));
    addresses.lines().map(str::to_owned).collect()
}

/// As a journal or syslog would show it.
fn forwarded(log: &Path, prefix: &str) -> String {
    let text = std::fs::read_to_string(log).expect("a log is text");
    text.lines().map(|line| format!("{prefix}{line}\n")).collect()
}

#[tokio::test]
#[ignore = "needs fail2ban; .ci/run runs it"]
async fn fail2ban_counts_who_guesses_and_nobody_else() {
    for format in ["human", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = attacked(format, folder.path()).await;
        let plain = std::fs::read_to_string(&log).expect("a log is text");
        assert!(plain.contains(VICTIM), "the attack has come to the log");
        let behind_syslog = forwarded(&log, "Nov 26 00:41:19 mail popbridge[123]: ");
        for text in [plain, behind_syslog] {
            std::fs::write(&log, &text).expect("a file is written");
            assert_eq!(counted(&log), vec!["127.0.0.1"; WRONG], "{text}");
        }
    }
}
