//! The upstream layer against a real Dovecot, so that the simulator cannot lead it astray.

mod support;

use popbridge::config::Config;
use popbridge::ids::Uid;
use popbridge::secret::{Credential, Secret};
use popbridge::upstream::{
    Access, Connector, Extra, FolderName, Imap, ObjectId, Wanted, auto_expunges, fetch_headers, find_folder,
    live_uids, scan,
};
use support::dovecot::{Dovecot, Options, PASSWORD};

async fn login(dovecot: &Dovecot) -> Imap {
    let text =
        format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.dovecot]\nurl = \"{}\"\n", dovecot.url());
    let config = Config::parse(&text, "test", std::path::Path::new(".")).expect("a good configuration");
    let connector = Connector::new(config.upstreams[0].clone()).expect("a usable upstream");
    let mut imap = Imap::open(&connector).await.expect("connected");
    imap.login("alice", &Credential::Password(Secret::new(PASSWORD.as_bytes().to_vec())))
        .await
        .expect("logged in");
    imap
}

#[tokio::test]
#[ignore = "needs Dovecot; .ci/run runs it"]
async fn folders_transfers_and_headers() {
    let dovecot = Dovecot::start(&Options::default());
    for index in 0..5 {
        let message = format!("Subject: {index}\r\nX: \"\\\r\n\r\n{index}\r\n");
        dovecot.append("alice", "INBOX", message.as_bytes(), if index == 3 { "\\Seen" } else { "" });
    }
    let names = ["Entwürfe", "R&D", "Müll 🗑", "a*c", "abc"].map(FolderName::new);
    let mut other = dovecot.connect("alice");
    for name in &names {
        other.command(&format!("CREATE {}", name.quoted()));
    }

    let mut imap = login(&dovecot).await;
    for name in &names {
        let found = find_folder(&mut imap, Wanted::Named(name)).await.expect("listed");
        assert_eq!(found.as_ref(), Some(name));
        assert_eq!(imap.status(name).await.expect("a status").messages, 0);
    }
    let absent = FolderName::new("Nowhere");
    assert_eq!(find_folder(&mut imap, Wanted::Named(&absent)).await.expect("listed"), None);
    let trash = find_folder(&mut imap, Wanted::SpecialUse("\\Trash")).await.expect("listed");
    let trash = trash.expect("a trash");
    assert_eq!(trash.to_string(), "Trash");

    let extra = Extra { flags: true, internal_date: true };
    let inbox = FolderName::new("INBOX");
    let scanned = scan(&mut imap, &inbox, Access::ReadWrite, extra, None).await.expect("listed");
    let (mailbox, rows) = (scanned.mailbox, scanned.rows);
    assert_eq!((mailbox.exists, mailbox.uid_next.map(Uid::get), mailbox.keywords), (5, Some(6), true));
    assert!(rows.iter().all(|row| row.internal_date > 1_700_000_000));
    let seen: Vec<bool> = rows.iter().map(|row| row.seen).collect();
    assert_eq!(seen, [false, false, false, true, false]);
    assert!(imap.server_id().is_some_and(|id| id.contains("Dovecot")));
    assert!(!auto_expunges(imap.capabilities(), imap.server_id()));

    assert_eq!(ObjectId::of(imap.capabilities()), ObjectId::None);
    let mut subjects = Vec::new();
    fetch_headers(&mut imap, "1:5", ObjectId::None, &mut |row| subjects.push(row.header))
        .await
        .expect("headers");
    let expected: Vec<Vec<u8>> =
        (0..5).map(|index| format!("Subject: {index}\r\nX: \"\\\r\n\r\n").into_bytes()).collect();
    assert_eq!(subjects, expected);

    let copied = imap.uid_copy("1", &names[0]).await.expect("copied").expect("a code");
    let moved = imap.uid_move("2:3,5", &trash).await.expect("moved").expect("a code");
    assert_eq!(copied.pairs.len(), 1);
    let pairs: Vec<(u32, u32)> = moved.pairs.iter().map(|(from, to)| (from.get(), to.get())).collect();
    assert_eq!(pairs, [(2, 1), (3, 2), (5, 3)]);
    let status = imap.status(&trash).await.expect("a status");
    assert_eq!((status.validity, status.messages, status.uid_next.get()), (moved.validity, 3, 4));

    let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
    let left: Vec<u32> =
        live_uids(&mut imap, &uids).await.expect("a look").into_iter().map(Uid::get).collect();
    assert_eq!(left, [1, 4]);
    imap.logout().await;
}
