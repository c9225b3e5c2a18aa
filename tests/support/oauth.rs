//! An OAuth 2 provider over real HTTP: authorisation, tokens, devices, introspection; with moods.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use popbridge::secret::{Secret, SecretSource};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;
use url::form_urlencoded;

pub const CLIENT: &str = "popbridge-client";
pub const CLIENT_SECRET: &str = "cl1ent-s3cret/of+the=tests";

/// How it answers at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// HTTP 503.
    Down,
    /// HTTP 429, to be asked again after so many seconds.
    Hasty(u64),
    /// 200, but no JSON.
    Garbage,
    /// An error code of RFC 6749 §5.2.
    Refusing(&'static str),
    /// The same, with all that the client sent in its words.
    Echoing(&'static str),
    /// It reads the request and hangs up.
    Deaf,
}

pub struct OauthServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    mood: Mood,
    delay: Duration,
    /// How long its access tokens are good, in seconds.
    life: u64,
    /// Who sits at the browser, and whether they say yes.
    person: String,
    agrees: bool,
    /// Polls of a device code that are answered "not yet", before it was typed.
    pending: Vec<&'static str>,
    next: u64,
    codes: HashMap<String, Code>,
    devices: Vec<String>,
    refresh: HashMap<String, String>,
    /// Good until the one that replaced them is used: an answer may have been lost.
    replaced: HashMap<String, String>,
    access: HashMap<String, (String, Instant)>,
    issued: Vec<String>,
    requests: Vec<String>,
    /// Told of each access token, and whose it is, before anybody else is.
    witness: Option<Witness>,
}

type Witness = Box<dyn Fn(&str, &str) + Send>;

struct Code {
    challenge: String,
    redirect: String,
    person: String,
}

struct Asked {
    method: String,
    url: Url,
    authorization: Option<String>,
    form: HashMap<String, String>,
}

impl Asked {
    /// An error that holds what was sent, decoded and not.
    fn echo(&self, code: &str) -> Answer {
        let mut words: Vec<_> = self.form.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if let Some(basic) = self.authorization.as_ref().and_then(|value| value.strip_prefix("Basic ")) {
            let pair = String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text");
            words.push(format!("authorization {basic} {}", pair.replace(':', " ")));
        }
        words.sort_unstable();
        words.push(CLIENT_SECRET.to_owned());
        json(400, &json!({ "error": code, "error_description": words.join(" ") }))
    }
}

type Answer = (u16, Vec<(&'static str, String)>, String);

impl OauthServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Good,
            delay: Duration::ZERO,
            life: 3600,
            person: "alice".to_owned(),
            agrees: true,
            pending: Vec::new(),
            next: 0,
            codes: HashMap::new(),
            devices: Vec::new(),
            refresh: HashMap::new(),
            replaced: HashMap::new(),
            access: HashMap::new(),
            issued: Vec::new(),
            requests: Vec::new(),
            witness: None,
        }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), address));
            }
        });
        Self { address, state, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Lines of `[oauth.NAME]` for this provider and a flow.
    pub fn lines(&self, flow: &str) -> String {
        format!(
            "provider = \"custom\"\nclient_id = \"{CLIENT}\"\nflow = \"{flow}\"\nscopes = [\"mail\", \"offline\"]\n\
             authorization_url = \"{}\"\ntoken_url = \"{}\"\ndevice_authorization_url = \"{}\"\n",
            self.url("authorize?audience=mail"),
            self.url("token"),
            self.url("device"),
        )
    }

    pub fn mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// So long it thinks about each token.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    pub fn life(&self, seconds: u64) {
        self.state().life = seconds;
    }

    pub fn person(&self, name: &str, agrees: bool) {
        let mut state = self.state();
        (state.person, state.agrees) = (name.to_owned(), agrees);
    }

    /// Tells a mail server of each access token: the owner, the token.
    pub fn witness(&self, tell: impl Fn(&str, &str) + Send + 'static) {
        self.state().witness = Some(Box::new(tell));
    }

    /// What polls of a device code are told first.
    pub fn pending(&self, errors: &[&'static str]) {
        self.state().pending = errors.to_vec();
    }

    /// Consent is taken back: neither kind of token counts any more.
    pub fn revoke_all(&self) {
        let mut state = self.state();
        state.refresh.clear();
        state.replaced.clear();
        state.access.clear();
    }

    /// Access tokens end before their time; what renews them does not.
    pub fn end_access(&self) {
        self.state().access.clear();
    }

    /// Whether an access token is good, and whose it is.
    pub fn owner(&self, token: &Secret) -> Option<String> {
        self.state().owner(std::str::from_utf8(token.expose()).ok()?)
    }

    /// So many requests of this grant type, or to this path, have come.
    pub fn count(&self, what: &str) -> usize {
        self.state().requests.iter().filter(|request| *request == what).count()
    }

    /// All that it has given out so far, and what clients prove themselves with.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.state().issued.clone();
        secrets.push(CLIENT_SECRET.to_owned());
        secrets
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OauthServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A GET, as a browser does it; the status and where it leads, or the page.
pub async fn browse(address: &str) -> (u16, Option<String>, String) {
    let url = Url::parse(address).expect("an address");
    let host = url.host_str().expect("a host").to_owned();
    let port = url.port_or_known_default().expect("a port");
    let mut stream = TcpStream::connect((host.as_str(), port)).await.expect("it listens");
    let target = url[url::Position::BeforePath..].to_owned();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).map(str::to_owned);
    (status, location, body.to_owned())
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, address: SocketAddr) -> io::Result<()> {
    let Some(asked) = read(&mut stream, address).await? else { return Ok(()) };
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let path = asked.url.path().trim_start_matches('/').to_owned();
    if path == "token" {
        let delay = lock().delay;
        tokio::time::sleep(delay).await;
        if lock().mood == Mood::Deaf {
            lock().requests.push("deaf".to_owned());
            return Ok(());
        }
    }
    let (status, headers, body) = match path.as_str() {
        "authorize" => lock().authorize(&asked),
        "token" => lock().token(&asked),
        "device" => lock().device(&asked, address),
        "introspect" => lock().introspect(&asked),
        _ => (404, Vec::new(), String::new()),
    };
    let mut answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str("Connection: close\r\n\r\n");
    answer.push_str(&body);
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream, address: SocketAddr) -> io::Result<Option<Asked>> {
    let mut text = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut text).await? == 0 {
            return Ok(None);
        }
        let Some(end) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).into_owned();
        let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        if text.len() >= end + 4 + length {
            break (head, length);
        }
    };
    let body = &text[text.len() - length..];
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let url = Url::parse(&format!("http://{address}{target}")).expect("a request's target");
    let form = form_urlencoded::parse(body).into_owned().collect();
    Ok(Some(Asked { method, url, authorization: header(&head, "authorization"), form }))
}

fn header(head: &str, wanted: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
    })
}

fn json(status: u16, value: &Value) -> Answer {
    (status, vec![("Content-Type", "application/json;charset=UTF-8".to_owned())], value.to_string())
}

fn error(code: &str) -> Answer {
    let status = if code == "invalid_client" { 401 } else { 400 };
    json(status, &json!({ "error": code, "error_description": "The tests wanted it so." }))
}

impl State {
    fn new_secret(&mut self, kind: &str) -> String {
        self.next += 1;
        let digest = Sha256::digest(format!("{kind} {} {}", self.next, std::process::id()));
        // No longer than a word, so that nobody takes it for a token by its length.
        let secret = format!("{kind}-{}", URL_SAFE_NO_PAD.encode(&digest[..6]));
        self.issued.push(secret.clone());
        secret
    }

    fn owner(&self, token: &str) -> Option<String> {
        let (owner, until) = self.access.get(token)?;
        (*until > Instant::now()).then(|| owner.clone())
    }

    fn authorize(&mut self, asked: &Asked) -> Answer {
        let query: HashMap<String, String> = asked.url.query_pairs().into_owned().collect();
        let given = |name: &str| query.get(name).cloned().unwrap_or_default();
        assert_eq!(asked.method, "GET");
        assert_eq!((given("client_id").as_str(), given("response_type").as_str()), (CLIENT, "code"));
        assert_eq!((given("scope").as_str(), given("audience").as_str()), ("mail offline", "mail"));
        assert_eq!(given("code_challenge_method"), "S256", "PKCE (RFC 7636)");
        assert!(given("state").len() >= 16 && !given("code_challenge").is_empty());
        let mut back = Url::parse(&given("redirect_uri")).expect("a redirect");
        let mut pairs = vec![("state", given("state"))];
        if self.agrees {
            let code = self.new_secret("code");
            let (challenge, person) = (given("code_challenge"), self.person.clone());
            self.codes.insert(code.clone(), Code { challenge, redirect: given("redirect_uri"), person });
            pairs.push(("code", code));
        } else {
            pairs.push(("error", "access_denied".to_owned()));
            pairs.push(("error_description", "The person said no.".to_owned()));
        }
        back.query_pairs_mut().extend_pairs(pairs);
        (302, vec![("Location", back.to_string())], String::new())
    }

    /// RFC 6749 §2.3.1, both ways; a public client has no secret.
    fn knows(asked: &Asked) -> bool {
        let basic = asked.authorization.as_ref().and_then(|value| {
            let text = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
            let text = String::from_utf8(text).ok()?;
            let (id, secret) = text.split_once(':')?;
            let decoded = |text: &str| {
                form_urlencoded::parse(format!("v={text}").as_bytes())
                    .next()
                    .map(|(_, value)| value.into_owned())
            };
            Some((decoded(id)?, decoded(secret)?))
        });
        match basic {
            Some((id, secret)) => id == CLIENT && secret == CLIENT_SECRET,
            None => {
                asked.form.get("client_id").is_some_and(|id| id == CLIENT)
                    && asked.form.get("client_secret").is_none_or(|secret| secret == CLIENT_SECRET)
            }
        }
    }

    fn token(&mut self, asked: &Asked) -> Answer {
        let given = |name: &str| asked.form.get(name).cloned().unwrap_or_default();
        let grant = given("grant_type");
        self.requests.push(grant.rsplit(':').next().unwrap_or_default().to_owned());
        match self.mood {
            Mood::Good | Mood::Deaf => {}
            Mood::Down => return (503, Vec::new(), "<h1>Sorry</h1>".to_owned()),
            Mood::Hasty(seconds) => {
                return (429, vec![("Retry-After", seconds.to_string())], String::new());
            }
            Mood::Garbage => return (200, Vec::new(), "<h1>Welcome to the hotel</h1>".to_owned()),
            Mood::Refusing(code) => return error(code),
            Mood::Echoing(code) => return asked.echo(code),
        }
        let assertion = grant.ends_with("jwt-bearer");
        if !assertion && !Self::knows(asked) {
            return error("invalid_client");
        }
        let owner = match grant.rsplit(':').next().unwrap_or_default() {
            "authorization_code" => {
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(given("code_verifier")));
                self.codes
                    .remove(&given("code"))
                    .filter(|code| code.challenge == challenge && code.redirect == given("redirect_uri"))
                    .map(|code| code.person)
            }
            "refresh_token" => {
                let token = given("refresh_token");
                if let Some(owner) = self.refresh.get(&token).cloned() {
                    // The answer that this one came with was not lost.
                    self.replaced.retain(|_, by| *by != owner);
                    self.refresh.remove(&token);
                    self.replaced.insert(token, owner.clone());
                    Some(owner)
                } else {
                    self.replaced.get(&token).cloned()
                }
            }
            "client_credentials" if asked.authorization.is_some() => Some("alice".to_owned()),
            "device_code" => {
                if !self.devices.contains(&given("device_code")) {
                    return error("expired_token");
                }
                if !self.pending.is_empty() {
                    return error(self.pending.remove(0));
                }
                if !self.agrees {
                    return error("access_denied");
                }
                Some(self.person.clone())
            }
            "jwt-bearer" => return self.assertion(&given("assertion")),
            _ => return error("unsupported_grant_type"),
        };
        match owner {
            Some(owner) => self.grant(&owner, grant != "client_credentials"),
            None => error("invalid_grant"),
        }
    }

    fn grant(&mut self, owner: &str, renewable: bool) -> Answer {
        let access = self.new_secret("access");
        let until = Instant::now() + Duration::from_secs(self.life);
        self.access.insert(access.clone(), (owner.to_owned(), until));
        if let Some(tell) = &self.witness {
            tell(owner, &access);
        }
        let mut answer = json!({ "access_token": access, "token_type": "Bearer", "expires_in": self.life });
        if renewable {
            let refresh = self.new_secret("refresh");
            self.refresh.insert(refresh.clone(), owner.to_owned());
            answer["refresh_token"] = json!(refresh);
        }
        json(200, &answer)
    }

    /// What is claimed is looked at; the signature is left to a test with the key.
    fn assertion(&mut self, assertion: &str) -> Answer {
        let claims = assertion.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Value = claims.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        self.issued.push(assertion.to_owned());
        match (claims["sub"].as_str(), claims["iss"].as_str()) {
            (Some(owner), Some("popbridge@tests.example")) => {
                let owner = owner.to_owned();
                self.grant(&owner, false)
            }
            _ => error("invalid_grant"),
        }
    }

    fn device(&mut self, asked: &Asked, address: SocketAddr) -> Answer {
        self.requests.push("device".to_owned());
        if !Self::knows(asked) {
            return error("invalid_client");
        }
        let code = self.new_secret("device");
        self.devices.push(code.clone());
        json(
            200,
            &json!({
                "device_code": code, "user_code": "WDJB-MJHT",
                "verification_uri": format!("http://{address}/type"), "expires_in": 900, "interval": 0,
            }),
        )
    }

    /// RFC 7662 §2.2.
    fn introspect(&mut self, asked: &Asked) -> Answer {
        let query: HashMap<String, String> = asked.url.query_pairs().into_owned().collect();
        let token = asked.form.get("token").or_else(|| query.get("token")).cloned().unwrap_or_default();
        self.requests.push("introspect".to_owned());
        match self.owner(&token) {
            Some(owner) => json(200, &json!({ "active": true, "username": owner, "scope": "mail" })),
            None => json(200, &json!({ "active": false })),
        }
    }
}

/// The client's secret, from a file of its own in `folder`.
pub fn secret_line(folder: &std::path::Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("client-secret");
    std::fs::write(&path, format!("{CLIENT_SECRET}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our file");
    SecretSource::File(path.clone()).check().expect("closed");
    format!("client_secret_file = {path:?}\n")
}
