//! One line a failed login, in which nobody can write what they like.

use serde_json::Value;

use crate::attack::{VICTIM, WRONG, attacked};

#[tokio::test]
async fn a_name_cannot_look_like_a_line_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = attacked("human", folder.path()).await;
    let text = std::fs::read_to_string(log).expect("a log is text");
    assert!(text.contains(VICTIM), "the attack has come to the log");
    let mut wrong = 0;
    for line in text.lines() {
        let (time, rest) = line.split_once(' ').expect("a time and a line");
        assert!(time.ends_with('Z') && time.starts_with("2"), "{line}");
        assert!(!line.contains(char::is_control) && !line.contains('\u{2028}'), "{line:?}");
        let event = rest.trim_start();
        if let Some(failed) = event.strip_prefix("INFO login failed ") {
            assert!(failed.starts_with("address=127.0.0.1 wrong="), "{line}");
            wrong += usize::from(failed.starts_with("address=127.0.0.1 wrong=true login=\""));
        }
    }
    assert_eq!(wrong, WRONG, "{text}");
}

#[tokio::test]
async fn nor_like_an_object_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = attacked("json", folder.path()).await;
    let text = std::fs::read_to_string(log).expect("a log is text");
    assert!(text.contains(VICTIM), "the attack has come to the log");
    let mut wrong = 0;
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields = &entry["fields"];
        if fields["message"] == "login failed" {
            assert_eq!(fields["address"], "127.0.0.1", "{line}");
            wrong += usize::from(fields["wrong"] == true);
            let start = line.split_once("\"fields\":").map(|(_, fields)| fields);
            let expected = "{\"message\":\"login failed\",\"address\":\"127.0.0.1\",\"wrong\":";
            assert!(start.is_some_and(|start| start.starts_with(expected)), "{line}");
        }
    }
    assert_eq!(wrong, WRONG, "{text}");
}
