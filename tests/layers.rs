//! The layout is the architecture: modules import strictly downwards, and each outside crate that
//! matters stays in its room.

use std::fs;
use std::path::{Path, PathBuf};

/// Layer numbers, top down; what shares a number does not import one another.
const LAYERS: &[(&str, u8)] = &[
    ("main", 7),
    ("cli", 6),
    ("app", 5),
    ("server", 5),
    ("session", 4),
    ("maildrop", 3),
    ("discovery", 3),
    ("grants", 3),
    ("auth", 2),
    ("upstream", 2),
    ("store", 2),
    ("pop3", 1),
    ("config", 1),
    ("fingerprint", 1),
    ("http", 1),
    ("ids", 0),
    ("trust", 0),
    ("owner", 0),
    ("secret", 0),
    ("network", 0),
    ("activity", 0),
    ("failpoint", 0),
    ("shutdown", 0),
    ("telemetry", 0),
];

/// Imports beside the order, each with its reason.
const ALLOWED: &[(&str, &str)] = &[
    // The wiring sits above the servers that it starts; both are below the command line.
    ("app", "server"),
    // A mailbox is opened with what its grant gives; the grant knows nothing of mailboxes.
    ("maildrop", "grants"),
    // The key's file is its folder's owner's, as the database is.
    ("secret", "owner"),
];

/// Outside crates and the only places that may name them.
const ROOMS: &[(&str, &[&str])] = &[
    ("async_imap", &["upstream/control.rs"]),
    ("async_compression", &["upstream/compress.rs"]),
    ("reqwest", &["http.rs"]),
    ("hickory_resolver", &["discovery/dns.rs"]),
    ("quick_xml", &["discovery/description.rs"]),
    ("oauth2", &["auth/oauth/"]),
    ("sqlx", &["store/"]),
    ("rsasl", &["auth/sasl/", "upstream/scram.rs"]),
    ("clap", &["cli/"]),
    ("anyhow", &["cli/"]),
    ("rpassword", &["cli/"]),
    ("argon2", &["secret/argon2id.rs"]),
    ("ring", &["secret/"]),
    ("rustix", &["secret/dump.rs", "cli/setup/unit.rs"]),
    ("subtle", &["secret/proof.rs", "secret/scram.rs"]),
    ("stringprep", &["secret/scram.rs"]),
    ("serde_json", &["cli/", "auth/oauth/", "upstream/bearer.rs"]),
    ("sha2", &["fingerprint.rs", "maildrop/unique_id.rs"]),
    ("toml", &["config/"]),
    ("toml_edit", &["cli/setup/"]),
    ("inquire", &["cli/setup/questions.rs"]),
    ("url", &["config/", "discovery/"]),
    ("strsim", &["config/"]),
    ("rcgen", &["server/self_signed.rs", "server/tls.rs"]),
    ("sd_notify", &["cli/serve.rs"]),
    ("futures_util", &["store/listing.rs", "discovery/mod.rs", "discovery/sources.rs"]),
    ("fastrand", &["upstream/pace.rs", "secret/keyring.rs"]),
    ("hex", &["maildrop/unique_id.rs", "secret/certificate.rs"]),
    ("itoa", &["maildrop/unique_id.rs", "pop3/rows.rs"]),
    ("rustls_native_certs", &["trust.rs"]),
    ("tracing_subscriber", &["telemetry.rs"]),
    (
        "tokio_rustls",
        &[
            "trust.rs",
            "http.rs",
            "upstream/connect.rs",
            "server/tls.rs",
            "server/listener.rs",
            "session/mod.rs",
            "pop3/connection.rs",
        ],
    ),
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).expect("a source file"))
    };
    paths.into_iter().map(read).collect()
}

/// The code without comments and without its tests, which stand last in a file.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = product.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn module(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The modules that a file names by `crate::…`, also in a brace list.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let list = rest.strip_prefix('{').and_then(|list| list.split('}').next());
        let names: Vec<&str> = match list {
            Some(list) => list.split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String =
                name.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn every_module_has_a_layer() {
    for (file, _) in sources() {
        let module = module(&file);
        assert!(module == "lib" || layer(module).is_some(), "src/{file}: no layer for {module}");
    }
}

#[test]
fn imports_go_down() {
    let mut seen = 0;
    for (file, text) in sources() {
        let from = module(&file).to_owned();
        let Some(above) = layer(&from) else { continue };
        for to in imports(&code(&text)) {
            let Some(below) = layer(&to) else { continue };
            let allowed = ALLOWED.contains(&(from.as_str(), to.as_str()));
            assert!(
                from == to || below < above || allowed,
                "src/{file} imports {to}, which is not below {from}"
            );
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} imports were seen: is this test still reading them?");
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    for (name, rooms) in ROOMS {
        let mut used = false;
        for (file, text) in sources() {
            let code = code(&text);
            let names = code.split(&format!("{name}::")).collect::<Vec<_>>();
            let named = names.windows(2).any(|pair| {
                !pair[0].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':')
            });
            if named {
                used = true;
                assert!(
                    rooms.iter().any(|room| file.starts_with(room)),
                    "src/{file} names {name}: {rooms:?}"
                );
            }
        }
        assert!(used, "{name} is named nowhere: take it out of this list");
    }
}

#[test]
fn files_hold_one_idea() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 380, "src/{file} has {lines} lines: past 350 it holds two ideas");
    }
}
