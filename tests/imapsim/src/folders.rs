//! Commands about mailboxes as such: LIST, STATUS, CREATE …, and APPEND.

use std::io;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::mailbox::Mailbox;
use crate::section::parse_date;
use crate::state::canonical;
use crate::store::flag_name;
use crate::token::{Args, Token};

impl Connection {
    pub(crate) fn list(&mut self, command: &Command) -> io::Result<Reply> {
        let Some(query) = Query::parse(command) else {
            return bad(format!("Error in IMAP command {}: Invalid arguments.", command.name));
        };
        if query.extended && !self.traits.has("LIST-EXTENDED") && !self.traits.has("SPECIAL-USE") {
            return bad("Error in IMAP command LIST: Invalid arguments.");
        }
        let (name, delimiter) = (&command.name, self.traits.delimiter);
        let done = format!("{}{} completed.", &name[..1], name[1..].to_ascii_lowercase());
        if query.pattern.is_empty() {
            self.wire.push_line(format!("* {name} (\\Noselect) \"{delimiter}\" \"\""));
            return ok(done);
        }
        let user = self.user.clone().unwrap_or_default();
        let special = self.traits.has("SPECIAL-USE");
        let mut lines = String::new();
        {
            let state = self.shared.lock();
            let mailboxes = state.users.get(&user).map(|account| &account.mailboxes);
            for (mailbox_name, mailbox) in mailboxes.into_iter().flatten() {
                let shown = if mailbox_name == "INBOX" { self.traits.inbox } else { mailbox_name };
                let left_out = (name == "LSUB" && !mailbox.subscribed)
                    || (query.special_only && mailbox.special_use.is_none())
                    || !matches(&query.pattern, shown, delimiter);
                if left_out {
                    continue;
                }
                let below = format!("{mailbox_name}{delimiter}");
                let parent = mailboxes.is_some_and(|all| all.keys().any(|other| other.starts_with(&below)));
                let mut attributes = vec![if parent { "\\HasChildren" } else { "\\HasNoChildren" }];
                let shows = |use_: &&str| special || *use_ == "\\Noselect";
                attributes.extend(mailbox.special_use.as_deref().filter(shows));
                let attributes = attributes.join(" ");
                let shown = match self.traits.list_literals {
                    true => format!("{{{}}}\r\n{shown}", shown.len()),
                    false => quote(shown),
                };
                lines.push_str(&format!("* {name} ({attributes}) \"{delimiter}\" {shown}\r\n"));
            }
        }
        self.wire.push(lines);
        ok(done)
    }

    pub(crate) fn namespace(&mut self) -> io::Result<Reply> {
        let prefix = if self.traits.folders.iter().any(|(name, _)| name.starts_with("INBOX.")) {
            "INBOX."
        } else {
            ""
        };
        self.wire.push_line(format!("* NAMESPACE ((\"{prefix}\" \"{}\")) NIL NIL", self.traits.delimiter));
        ok("Namespace completed.")
    }

    pub(crate) fn status(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let (Some(name), Some(items)) = (args.text(), args.atoms()) else {
            return bad("Error in IMAP command STATUS: Invalid arguments.");
        };
        let Some(user) = self.user.clone() else {
            return bad("Not logged in.");
        };
        if !self.is_selectable(&user, &name) {
            return no(format!("[NONEXISTENT] Mailbox doesn't exist: {name}."));
        }
        let values = self.shared.with_mailbox(&user, &name, |mailbox| {
            let value = |item: &&str| status_item(mailbox, item).ok_or_else(|| item.to_ascii_uppercase());
            items.iter().map(value).collect::<Result<Vec<String>, String>>()
        });
        match values {
            Some(Ok(values)) => {
                let line = format!("* STATUS {} ({})", quote(&name), values.join(" "));
                self.wire.push_line(line);
                ok("Status completed.")
            }
            Some(Err(item)) => bad(format!("Error in IMAP command STATUS: Invalid status item {item}.")),
            None => no(format!("Mailbox doesn't exist: {name}.")),
        }
    }

    /// CREATE, DELETE, SUBSCRIBE and UNSUBSCRIBE.
    pub(crate) fn folder(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let Some(name) = args.text().filter(|name| !name.is_empty()) else {
            return bad(format!("Error in IMAP command {}: Invalid arguments.", command.name));
        };
        let name = canonical(name.strip_suffix(self.traits.delimiter).unwrap_or(&name));
        let Some(user) = self.user.clone() else {
            return bad("Not logged in.");
        };
        let exists = self.shared.with_mailbox(&user, &name, |_| ()).is_some();
        match (command.name.as_str(), exists) {
            ("CREATE", true) => no("[ALREADYEXISTS] Mailbox already exists."),
            ("CREATE", false) => {
                self.shared.lock().mailbox(&user, &name);
                ok("Create completed.")
            }
            ("DELETE", _) if name == "INBOX" => no("INBOX can't be deleted."),
            ("DELETE", true) => {
                self.shared.lock().account(&user).mailboxes.remove(&name);
                self.shared.wake();
                ok("Delete completed.")
            }
            (subscribe, true) => {
                let subscribed = subscribe == "SUBSCRIBE";
                self.shared.with_mailbox(&user, &name, |mailbox| mailbox.subscribed = subscribed);
                ok("Completed.")
            }
            (_, false) => no(format!("[NONEXISTENT] Mailbox doesn't exist: {name}.")),
        }
    }

    pub(crate) fn append(&mut self, command: &Command) -> io::Result<Reply> {
        let Some((name, flags, date, body)) = append_arguments(&mut command.args()) else {
            return bad("Error in IMAP command APPEND: Invalid arguments.");
        };
        let Some(user) = self.user.clone() else {
            return bad("Not logged in.");
        };
        if !self.is_selectable(&user, &name) {
            return no(format!("[TRYCREATE] Mailbox doesn't exist: {name}."));
        }
        if body.is_empty() {
            return no("Can't save a zero byte message.");
        }
        let (validity, uid) = {
            let mut state = self.shared.lock();
            let flags: Vec<&str> = flags
                .iter()
                .map(String::as_str)
                .filter(|flag| self.traits.keeps_keywords || flag.starts_with('\\'))
                .collect();
            let incoming = state.incoming(&body, &flags, date);
            let mailbox = state.mailbox(&user, &name);
            (mailbox.validity, mailbox.add(incoming))
        };
        self.shared.wake();
        let code =
            if self.traits.has("UIDPLUS") { format!("[APPENDUID {validity} {uid}] ") } else { String::new() };
        ok(format!("{code}Append completed."))
    }
}

struct Query {
    pattern: String,
    special_only: bool,
    extended: bool,
}

impl Query {
    /// `[(selection)] reference pattern [RETURN (options)]`, RFC 5258 with one pattern.
    fn parse(command: &Command) -> Option<Self> {
        let mut args = command.args();
        let mut special_only = false;
        let mut extended = false;
        if args.peek() == Some(&Token::Open) {
            extended = true;
            special_only = args.atoms()?.iter().any(|name| name.eq_ignore_ascii_case("SPECIAL-USE"));
        }
        let reference = args.text()?;
        let pattern = args.text()?;
        if args.take("RETURN") {
            extended = true;
            args.atoms()?;
        }
        let pattern = if pattern.is_empty() { pattern } else { format!("{reference}{pattern}") };
        args.is_empty().then_some(Self { pattern, special_only, extended })
    }
}

/// `*` is anything, `%` anything within one level; without recursion, by trying the last `*` again.
fn matches(pattern: &str, name: &str, delimiter: char) -> bool {
    let inbox = |text: &str| text.eq_ignore_ascii_case("INBOX");
    if inbox(pattern) && inbox(name) {
        return true;
    }
    // reachable[i]: the pattern so far matches the first i letters of the name.
    let letters: Vec<char> = name.chars().collect();
    let mut reachable = vec![false; letters.len() + 1];
    reachable[0] = true;
    for wanted in pattern.chars().take(1000) {
        let mut next = vec![false; letters.len() + 1];
        match wanted {
            '*' | '%' => {
                let mut open = false;
                for at in 0..=letters.len() {
                    let crossed = at > 0 && wanted == '%' && letters[at - 1] == delimiter;
                    open = (open && !crossed) || reachable[at];
                    next[at] = open;
                }
            }
            _ => {
                for at in 1..=letters.len() {
                    next[at] = reachable[at - 1] && letters[at - 1] == wanted;
                }
            }
        }
        reachable = next;
    }
    reachable[letters.len()]
}

fn status_item(mailbox: &Mailbox, item: &str) -> Option<String> {
    let item = item.to_ascii_uppercase();
    let value = match item.as_str() {
        "MESSAGES" => mailbox.messages.len(),
        "RECENT" => mailbox.messages.iter().filter(|message| message.uid >= mailbox.recent_from).count(),
        "UIDNEXT" => return Some(format!("{item} {}", mailbox.next_uid)),
        "UIDVALIDITY" => return Some(format!("{item} {}", mailbox.validity)),
        "UNSEEN" => mailbox.messages.iter().filter(|message| !message.flags.contains("\\Seen")).count(),
        _ => return None,
    };
    Some(format!("{item} {value}"))
}

type Appended = (String, Vec<String>, Option<i64>, Vec<u8>);

fn append_arguments(args: &mut Args<'_>) -> Option<Appended> {
    let name = canonical(&args.text()?);
    let mut flags = Vec::new();
    if args.peek() == Some(&Token::Open) {
        for flag in args.atoms()? {
            flags.push(flag_name(flag)?);
        }
    }
    let first = match args.next()? {
        Token::Text(text) => text,
        _ => return None,
    };
    match args.next() {
        None => Some((name, flags, None, first.clone())),
        Some(Token::Text(body)) if args.is_empty() => {
            let date = parse_date(std::str::from_utf8(first).ok()?)?;
            Some((name, flags, Some(date), body.clone()))
        }
        Some(_) => None,
    }
}

/// The name as an atom where that is enough, else quoted.
fn quote(name: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_./&,+".contains(&octet);
    if !name.is_empty() && name.bytes().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_levels() {
        assert!(matches("*", "a.b", '.') && matches("a.%", "a.b", '.') && matches("%", "a", '.'));
        assert!(!matches("%", "a.b", '.') && !matches("a.%", "a.b.c", '.') && matches("a*c", "a.b.c", '.'));
        assert!(matches("inbox", "INBOX", '.') && !matches("arc", "Archive", '.'));
    }
}
