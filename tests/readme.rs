//! What the documents show is true: their TOML is a configuration, their command lines are taken
//! by the program, their links lead somewhere, the RFC table knows every transcript.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use popbridge::config::Config;

/// The program's exit code for a wrong command line, for no password, for a wrong configuration.
const USAGE: i32 = 64;
const NO_PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

const SUBCOMMANDS: [&[&str]; 10] = [
    &["setup"],
    &["serve"],
    &["check"],
    &["deletions", "list"],
    &["deletions", "restore"],
    &["explain"],
    &["accept"],
    &["cache", "clear"],
    &["hash-password"],
    &["authorize"],
];

struct Document {
    name: String,
    text: String,
}

/// A fenced block: the word behind the fence, the line it begins at, its text.
struct Block<'a> {
    language: &'a str,
    line: usize,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    for folder in ["", "docs", "certs"] {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder of documents");
        let found = entries.map(|entry| entry.expect("an entry").path());
        paths.extend(found.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    let read = |path: PathBuf| Document {
        name: path.strip_prefix(root()).unwrap_or(&path).display().to_string(),
        text: std::fs::read_to_string(&path).expect("a document"),
    };
    let documents: Vec<Document> = paths.into_iter().map(read).collect();
    assert!(documents.iter().any(|document| document.name == "README.md"));
    assert!(documents.len() >= 10, "documents are missing");
    documents
}

impl Document {
    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks: Vec<Block<'_>> = Vec::new();
        let mut open = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            match (open, line.trim_start().strip_prefix("```")) {
                (true, Some(_)) => open = false,
                (false, Some(language)) => {
                    blocks.push(Block { language, line: number, text: String::new() });
                    open = true;
                }
                (true, None) => {
                    let block = blocks.last_mut().expect("a block is open");
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (false, None) => {}
            }
        }
        assert!(!open, "{}: a block is not closed", self.name);
        blocks
    }

    /// The commands for popbridge in shell blocks and unit files, as words, with their place.
    fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for block in self.blocks() {
            for line in block.text.lines().map(str::trim) {
                let arguments = match block.language {
                    "sh" => line
                        .strip_prefix("popbridge ")
                        .or_else(|| line.strip_prefix("cargo run --release -- ")),
                    "ini" => line
                        .strip_prefix("ExecStart=")
                        .map(|command| command.split_once("/popbridge ").expect("popbridge is started").1),
                    _ => None,
                };
                if let Some(arguments) = arguments {
                    let words = arguments.split_whitespace().map(str::to_owned).collect();
                    found.push((format!("{}, block at {}: {line}", self.name, block.line), words));
                }
            }
        }
        found
    }

    /// `code` in running text.
    fn code_spans(&self) -> Vec<&str> {
        let lines = self.text.lines().filter(|line| !line.contains("```"));
        lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
    }
}

fn popbridge(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_popbridge"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn every_toml_block_is_a_configuration() {
    let mut seen = 0;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for document in documents() {
        for block in document.blocks().into_iter().filter(|block| block.language == "toml") {
            // Secrets have to be there, and closed.
            for name in block.text.split('"').filter(|word| word.starts_with("secrets/")) {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().expect("secrets/")).expect("a folder");
                std::fs::write(&path, "s3cret").expect("a file");
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our file");
            }
            // A block that shows something else may leave out what every configuration needs.
            let upstream = "[upstream.home]\nurl = \"imaps://imap.example.org\"\n";
            let text = match block.text.contains("[upstream.") {
                true => block.text,
                false => format!("{}\n{upstream}", block.text),
            };
            let origin = format!("{}, block at {}", document.name, block.line);
            if let Err(error) = Config::parse(&text, &origin, folder.path()) {
                panic!("{error}\n{text}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} blocks were seen");
}

/// The program runs each command line as it is shown, but with a URL or a file that it cannot
/// use: so it gets past its arguments and ends there.
#[test]
fn every_command_line_is_taken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut seen = 0;
    for document in documents() {
        for (place, mut words) in document.command_lines() {
            if words == ["--version"] {
                assert_eq!(popbridge(&["--version"], folder.path()).0, Some(0), "{place}");
                continue;
            }
            if words[0] == "hash-password" {
                // It needs no configuration, and finds no password here.
                let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
                assert_eq!(popbridge(&arguments, folder.path()).0, Some(NO_PERMISSION), "{place}");
                continue;
            }
            if words == ["setup"] {
                // It has nobody to ask here.
                let (code, said) = popbridge(&["setup"], folder.path());
                assert!(code == Some(USAGE) && said.contains("there is no terminal"), "{place}\n{said}");
                continue;
            }
            for index in 1..words.len() {
                match words[index - 1].as_str() {
                    "--imap" => words[index] = "no-url".to_owned(),
                    "--config" => words[index] = "no-such-file.toml".to_owned(),
                    _ => {}
                }
            }
            let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            let (code, said) = popbridge(&arguments, folder.path());
            assert_ne!(code, Some(USAGE), "{place}\n{said}");
            assert_eq!(code, Some(CONFIG), "{place}\n{said}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} command lines were seen");
    // A look at the method itself.
    assert_eq!(popbridge(&["serve", "--imap", "no-url", "--daemon"], folder.path()).0, Some(USAGE));
}

#[test]
fn what_running_text_names_exists() {
    let help = |words: &&[&str]| popbridge(&[*words, &["--help"]].concat(), root()).1;
    let help: String = SUBCOMMANDS.iter().map(help).collect();
    for document in documents() {
        for span in document.code_spans() {
            let mut words = span.split_whitespace();
            if words.clone().next() == Some("popbridge") {
                let word = words.nth(1).unwrap_or("--version");
                let known = SUBCOMMANDS.iter().any(|words| words[0] == word) || word == "--version";
                assert!(known, "{}: `{span}`", document.name);
            }
            if let Some(flag) = span.strip_prefix("--").filter(|_| !OTHERS_FLAGS.contains(&span)) {
                let flag = flag.split_whitespace().next().unwrap_or(flag);
                assert!(help.contains(&format!("--{flag}")), "{}: `{span}`", document.name);
            }
        }
    }
}

/// Flags of other programs that the documents name.
const OTHERS_FLAGS: [&str; 1] = ["--ssl-reqd"];

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for document in documents() {
        let folder = Path::new(&document.name).parent().expect("a folder");
        for link in document.text.split("](").skip(1) {
            let (target, _) = link.split_once(')').expect("a link ends");
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, at)| (file, Some(at)));
            let own = root().join(&document.name);
            let path = if file.is_empty() { own } else { root().join(folder).join(file) };
            assert!(path.exists(), "{}: {target} is missing", document.name);
            if let Some(heading) = heading {
                let text = std::fs::read_to_string(&path).expect("a document");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let is_it = |line: &str| {
                    line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-") == heading
                };
                assert!(headings.any(is_it), "{}: no heading {target}", document.name);
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} links were seen");
}

#[test]
fn the_rfc_table_knows_every_test() {
    let table = std::fs::read_to_string(root().join("docs/rfc-status.md")).expect("docs/rfc-status.md");
    for entry in std::fs::read_dir(root().join("tests/transcripts")).expect("transcripts") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        assert!(table.contains(&format!("`{name}`")), "docs/rfc-status.md does not name {name}");
    }
    for name in table.split('`').skip(1).step_by(2) {
        let path = match () {
            () if name.ends_with(".txt") => root().join("tests/transcripts").join(name),
            () if name.ends_with(".rs") => root().join(name),
            () => continue,
        };
        assert!(path.exists(), "docs/rfc-status.md names {name}, which is missing");
    }
}
