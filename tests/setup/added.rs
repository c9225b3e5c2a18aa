//! What setup adds to a configuration that is there, and what it must not do to it.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::bridge::Bridge;
use super::support::dovecot::PASSWORD;
use super::support::terminal::Terminal;
use super::{BEFORE, DEVICE, Run, Setting, USAGE, folder, run};

impl Setting {
    fn write(&self, text: &str) {
        std::fs::write(self.configuration(), text).expect("written");
    }

    /// Writes the unit into a folder of its own: what setup said, and its drop-in.
    async fn service(&self, others: &[&str]) -> (Run, String) {
        let units = folder();
        let mut flags = self.flags();
        flags.retain(|flag| flag != "--no-systemd");
        let units_flag = units.path().display().to_string();
        let more = ["--yes", "--systemd", "--unit-directory", &units_flag];
        flags.extend(more.iter().chain(others).map(|&flag| flag.to_owned()));
        let run = run(flags).await;
        let drop_in = units.path().join("popbridge.service.d/setup.conf");
        (run, std::fs::read_to_string(drop_in).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_do_not_get_in_each_others_way() {
    let setting = Setting::new().await;
    setting.write(BEFORE);
    let network = ["--network", "192.168.1.0/24"];
    let clash = ["--listen", "0.0.0.0:1110", "--tls", "none"];
    let refused = setting.run(&[&clash[..], &network].concat()).await;
    refused.expect(USAGE, &["0.0.0.0:1110 cannot be had beside the listener 127.0.0.1:1110", "another port"]);
    assert_eq!(setting.text(), BEFORE);

    // Both usual ports are taken by what the device cannot do.
    let taken = "[tls]\nself_signed = true\n[[listener]]\naddress = \"0.0.0.0:110\"\ntls = \"starttls\"\n\
                 [[listener]]\naddress = \"0.0.0.0:1110\"\ntls = \"starttls\"\n";
    setting.write(&format!("{BEFORE}{taken}"));
    // What protects it says that it is in the network.
    setting.run(&[&["--tls", "none"][..], &network].concat()).await.expect(0, &["port            2110"]);
    assert!(setting.text().contains("address = \"0.0.0.0:2110\"\ntls = \"none\"\n"), "{}", setting.text());
    // The next one finds it.
    let phone = ["--login", "phone", "--tls", "none", "--network", "10.0.0.7"];
    setting.run(&phone).await.expect(0, &["port            2110"]);
    let text = setting.text();
    let networks = "[\"127.0.0.0/8\", \"::1/128\", \"192.168.1.0/24\", \"10.0.0.7/32\"]";
    assert!(text.contains(&format!("allow = {networks}\n")), "{text}");
    assert!(text.contains(&format!("plaintext_login = {networks}\n")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_not_forgotten() {
    let setting = Setting::new().await;
    setting.write(BEFORE);
    for listen in ["127.0.0.1:1110", "127.0.0.1:2110"] {
        let refused = setting.run(&["--listen", listen, "--network", "192.168.1.0/24"]).await;
        refused.expect(USAGE, &["nobody in 192.168.1.0/24 can connect", "--listen 0.0.0.0:PORT"]);
    }
    assert_eq!(setting.text(), BEFORE);
    setting.run(&["--network", "192.168.1.0/24"]).await.expect(0, &["encryption      SSL/TLS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_for_tokens_is_not_used_for_a_password() {
    let setting = Setting::new().await;
    let ca = setting.given("ca.pem").canonicalize().expect("there");
    let before = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.tokens]\nurl = \"{}\"\nca_certificate = {ca:?}\nauthentication = \"oauth2\"\n",
        setting.url()
    );
    setting.write(&before);
    setting.run(&["--listen", "127.0.0.1:0"]).await.expect(0, &["INBOX has 1 message"]);
    let text = setting.text();
    assert!(text.contains("[upstream.example]") && text.contains("upstream = \"example\""), "{text}");
    setting.fetch("scanner", DEVICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_and_commands_have_one_state() {
    let setting = Setting::new().await;
    let stateless = BEFORE.replace("[state]\nurl = \"sqlite:state.db\"\n", "");
    for (before, name) in [(BEFORE, "state.db"), (&stateless, "popbridge.db")] {
        setting.write(before);
        // What root's commands have made is in the way.
        std::fs::write(setting.folder.path().join(name), "").expect("written");
        let (run, _) = setting.service(&[]).await;
        run.expect(USAGE, &["a service keeps its state in /var/lib/popbridge", "mv ", name, "--no-systemd"]);
        assert_eq!(setting.text(), before);
        std::fs::remove_file(setting.folder.path().join(name)).expect("removed");
        setting.service(&[]).await.0.expect(0, &[]);
        let text = setting.text();
        assert!(text.contains(&format!("url = \"sqlite:/var/lib/popbridge/{name}\"\n")), "{text}");
        assert_eq!(text.matches("sqlite:").count(), 1, "{text}");
    }
}

/// A secret's file, as its place wants it.
fn private(path: &Path) {
    std::fs::write(path, "word\n").expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_beside_the_configuration_comes_along() {
    let setting = Setting::new().await;
    let real = folder();
    let before = format!(
        "{BEFORE}key_file = \"own.key\"\n[oauth.google]\nprovider = \"google\"\nclient_id = \"id\"\n\
         client_secret_file = \"keys/client\"\n[tls]\nself_signed = true\nclient_ca = \"clients.pem\"\n"
    );
    // Relative paths start at the link.
    let target = real.path().join("real.toml");
    std::fs::write(&target, before).expect("written");
    std::os::unix::fs::symlink(&target, setting.configuration()).expect("a link");
    std::fs::write(setting.folder.path().join("clients.pem"), "").expect("written");
    std::fs::create_dir(setting.folder.path().join("keys")).expect("a folder");
    private(&setting.folder.path().join("keys/client"));
    let (run, drop_in) = setting.service(&[]).await;
    run.expect(
        0,
        &[
            "own.key is not there yet",
            "keys/client does not come along",
            "ca.pem: put it beside the configuration",
        ],
    );
    let folder = setting.folder.path().canonicalize().expect("there").display().to_string();
    let brought: Vec<&str> =
        drop_in.lines().filter_map(|line| line.strip_prefix("LoadCredential=")).collect();
    let expected =
        ["popbridge.toml", "clients.pem", "scanner.password"].map(|name| format!("{name}:{folder}/{name}"));
    assert_eq!(brought, expected);

    private(&setting.folder.path().join("own.key"));
    let (_, drop_in) = setting.service(&["--replace", "--login", "scanner"]).await;
    assert!(drop_in.contains(&format!("LoadCredential=own.key:{folder}/own.key\n")), "{drop_in}");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_when_it_serves() {
    let setting = Setting::new().await;
    setting.run(&["--listen", "127.0.0.1:0"]).await.expect(0, &[]);
    let place = folder();
    let path = place.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let path = path.display().to_string();
    let bridge = Bridge::start_in(setting.folder, 1, &[("NOTIFY_SOCKET", &path)]);
    let mut word = [0; 64];
    let count = socket.recv(&mut word).expect("it tells");
    assert_eq!(&word[..count], b"READY=1\n");
    drop(bridge);
}

/// A client of one's own at Google, which is not asked for anything before somebody agrees.
fn google(setting: &Setting, secret: &str) -> Vec<String> {
    std::fs::write(setting.given("secret"), format!("{secret}\n")).expect("written");
    let text = |path: &Path| path.display().to_string();
    let flags = [
        ("--config", text(&setting.configuration())),
        ("--address", "alice@gmail.com".to_owned()),
        ("--imap", "imaps://imap.gmail.com".to_owned()),
        ("--username", "alice@gmail.com".to_owned()),
        ("--oauth-client-id", "id".to_owned()),
        ("--oauth-client-secret-file", text(&setting.given("secret"))),
        ("--device-password-file", text(&setting.given("device"))),
        ("--on-delete", "hide".to_owned()),
        ("--on-retrieve", "leave".to_owned()),
        ("--newest", "9".to_owned()),
        ("--listen", "127.0.0.1:1110".to_owned()),
    ];
    let flags = flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    ["setup".to_owned(), "--no-systemd".to_owned()].into_iter().chain(flags).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_is_kept_once_and_a_new_one_counts() {
    let setting = Setting::new().await;
    for (login, secret) in [("one", "first"), ("two", "first"), ("three", "second")] {
        let more = ["--yes", "--login", login].map(str::to_owned);
        run([google(&setting, secret), more.to_vec()].concat()).await.expect(0, &["popbridge authorize"]);
    }
    let text = setting.text();
    assert!(text.contains("client_secret_file = \"google-2.client-secret\"\n"), "{text}");
    assert_eq!(text.matches("[oauth.").count(), 1, "{text}");
    let secrets: Vec<_> =
        setting.files().into_iter().filter(|(name, ..)| name.ends_with(".client-secret")).collect();
    let octets: Vec<&[u8]> = secrets.iter().map(|(_, _, octets)| octets.as_slice()).collect();
    assert_eq!(octets, [&b"second\n"[..], b"first\n"], "the backup's is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_holds_no_questions() {
    let setting = Setting::new().await;
    let flags = [google(&setting, "secret"), ["--login", "scanner"].map(str::to_owned).to_vec()].concat();
    let note = setting.given("note");
    let (path, screen) = (
        note.clone(),
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new("sh");
            command.args(["-c", "exec \"$0\" \"$@\" >\"$NOTE\"", env!("CARGO_BIN_EXE_popbridge")]);
            let mut terminal = Terminal::start(command.args(flags).env("NOTE", note).env("TERM", "xterm"));
            terminal.answer("Write the configuration?", "");
            terminal.expect("https://accounts.google.com/");
            terminal.expect("paste it here and press Enter");
            terminal.screen()
        }),
    );
    let screen = screen.await.expect("it does not panic");
    let mut text = String::new();
    std::fs::File::open(path).expect("a note").read_to_string(&mut text).expect("text");
    assert!(text.contains("Enter this in") && !text.contains("https://"), "{text}");
    assert!(!screen.contains("Enter this in") && !screen.contains(PASSWORD), "{screen}");
}
