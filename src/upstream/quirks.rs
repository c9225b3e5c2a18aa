//! Servers' oddities that every command keeps clear of, each with its reason.

use super::items::{Items, Value};
use super::response::Capabilities;
use crate::ids::Uid;

/// A UID set's length in octets: Yahoo and UW refuse lines over 1,000, others over 8,000.
/// The least serves all, since runs of neighbours are written as ranges.
const MAX_SET: usize = 900;

/// Asked for in a partial fetch that means "the rest": several servers compute with 32 bits
/// with a sign.
pub const REST: u32 = 2_000_000_000;

/// Writes UIDs, which must ascend, as sets of at most 900 octets.
///
/// Only what was listed is named: ranges join neighbours in value, never over a gap, since
/// GNU imap4d applies a command on a missing UID to another message.
pub fn uid_sets(uids: &[Uid]) -> Vec<String> {
    let mut sets = Vec::new();
    let mut set = String::new();
    let mut index = 0;
    while index < uids.len() {
        let first = uids[index];
        let mut last = first;
        while let Some(next) = uids.get(index + 1).filter(|next| next.get() == last.get().wrapping_add(1)) {
            last = *next;
            index += 1;
        }
        index += 1;
        let range = if first == last { first.to_string() } else { format!("{first}:{last}") };
        if !set.is_empty() && set.len() + 1 + range.len() > MAX_SET {
            sets.push(std::mem::take(&mut set));
        }
        if !set.is_empty() {
            set.push(',');
        }
        set.push_str(&range);
    }
    if !set.is_empty() {
        sets.push(set);
    }
    sets
}

/// How many connections a server bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// For one account.
    pub account: usize,
    /// Of all accounts together, that wait for their next session.
    pub kept: usize,
}

/// What is known of a server's limits to connections: Gmail refuses more than 15 for an account,
/// Microsoft 365 about 20; Courier takes 20 from one address, whoever they are for (MAXPERIP), so
/// that those which only wait must leave room.
pub fn connection_limits(capabilities: &Capabilities) -> ConnectionLimits {
    let unlimited = ConnectionLimits { account: usize::MAX, kept: usize::MAX };
    if is_gmail(capabilities) {
        ConnectionLimits { account: 15, ..unlimited }
    } else if capabilities.has("CLIENTACCESSRULES") {
        ConnectionLimits { account: 20, ..unlimited }
    } else if capabilities.has("ACL2=UNION") {
        ConnectionLimits { account: 20, kept: 8 }
    } else {
        unlimited
    }
}

/// Whether setting \Deleted removes at once, with no UID EXPUNGE to wait for: Gmail by its
/// default settings, WildDuck always.
pub fn auto_expunges(capabilities: &Capabilities, server_id: Option<&str>) -> bool {
    // It calls itself "WildDuck IMAP Server" unless its administrator has it otherwise.
    let is_wildduck = || server_id.and_then(server_name).is_some_and(|name| name.starts_with(b"wildduck"));
    is_gmail(capabilities) || is_wildduck()
}

/// Whether an expunged message stays elsewhere, as in Gmail's All Mail: only a move to the trash
/// removes it.
pub fn expunge_archives(capabilities: &Capabilities) -> bool {
    is_gmail(capabilities)
}

fn is_gmail(capabilities: &Capabilities) -> bool {
    capabilities.has("X-GM-EXT-1")
}

/// The field `name` of an answer to ID, in lower case (RFC 2971 §3.3).
fn server_name(id: &str) -> Option<Vec<u8>> {
    let fields = id.trim_start().strip_prefix('(')?;
    Items::new(fields.as_bytes()).find_map(|(field, value)| match value {
        Value::Quoted(name) if field.eq_ignore_ascii_case(b"\"name\"") => Some(name.to_ascii_lowercase()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::response::Response;

    #[test]
    fn servers_are_known_by_what_they_say() {
        let capabilities = |line: &str| match Response::parse(line.as_bytes()) {
            Response::Capability(capabilities) => capabilities,
            _ => panic!("no capabilities"),
        };
        let (gmail, other) = (capabilities("* CAPABILITY X-GM-EXT-1"), capabilities("* CAPABILITY UIDPLUS"));
        assert!(auto_expunges(&gmail, None) && expunge_archives(&gmail));
        for id in [r#"("name" "WildDuck IMAP Server" "version" "1")"#, r#"("vendor" "x" "NAME" "wildduck")"#]
        {
            assert!(auto_expunges(&other, Some(id)), "{id}");
        }
        for id in ["", "NIL", "(", r#"("name" NIL)"#, r#"("vendor" "WildDuck")"#, r#"("name" "Dovecot")"#] {
            assert!(!auto_expunges(&other, Some(id)), "{id}");
        }
        assert!(!auto_expunges(&other, None) && !expunge_archives(&other));
    }

    fn uids(numbers: &[u32]) -> Vec<Uid> {
        numbers.iter().filter_map(|&number| Uid::new(number)).collect()
    }

    #[test]
    fn neighbours_become_ranges() {
        assert_eq!(uid_sets(&uids(&[1, 2, 3, 5, 9, 10])), ["1:3,5,9:10"]);
        assert_eq!(uid_sets(&uids(&[4_294_967_294, 4_294_967_295])), ["4294967294:4294967295"]);
        assert!(uid_sets(&[]).is_empty());
    }

    #[test]
    fn long_sets_are_split() {
        let odd: Vec<u32> = (0..1000).map(|index| index * 2 + 1).collect();
        let sets = uid_sets(&uids(&odd));
        assert!(sets.len() > 1 && sets.iter().all(|set| set.len() <= MAX_SET));
        let again: usize = sets.iter().map(|set| set.split(',').count()).sum();
        assert_eq!(again, 1000);
    }
}
