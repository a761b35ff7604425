//! One place where an image is kept: its connections, the way it wants to be asked, credentials and tokens.
//!
//! In: a [`Place`] and the environment. Out: answers, or [`Fault`]s that know nothing of images. Credentials go to the
//! place itself and to the token server it names, over TLS unless the place is insecure; never to where a redirect or
//! an upload's address leads. Imports: `challenge`, `config`, `credentials`, `proxy`, `trust`.
//! Rules: OCI distribution spec 1.1; distribution `docs/spec/auth/{token,oauth}.md`; RFC 9110, 15.4 (redirects).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::{Mutex, OnceCell};

use super::challenge::{Token, Way, way};
use super::config::{Place, Security, host_of};
use super::credentials::{self, Found, Login, advice, is_hub};
use super::proxy::Proxies;
use super::secret::Secret;
use super::trust;
use super::wire::retry_after;
use super::words::{causes, words};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::image::reference::Reference;

/// Longest time to make a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time for a token server's whole answer.
const TOKEN: Duration = Duration::from_secs(60);
/// Redirects that are followed. Source: Go `net/http`, `defaultCheckRedirect`.
const REDIRECTS: usize = 10;
/// Most bytes of an error's text or a token that are read.
const LONGEST_WORDS: usize = 1 << 20;
/// Where Docker Hub is.
const HUB: &str = "registry-1.docker.io";
const USER_AGENT: &str = concat!("hoist/", env!("CARGO_PKG_VERSION"));
/// Who asks a token server.
const CLIENT_ID: &str = "hoist";

/// What all places of one image share.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) env: Env,
    pub(super) cancel: Cancel,
    /// Helpers of registries.conf.
    pub(super) helpers: Vec<String>,
    /// Longest silence within an answer; without one, the caller watches: an answer comes only after the whole request.
    silence: Option<Duration>,
    authorities: OnceLock<Vec<Certificate>>,
}

impl Means {
    pub(super) fn new(
        env: &Env,
        cancel: &Cancel,
        helpers: Vec<String>,
        silence: Option<Duration>,
    ) -> Self {
        Self {
            env: env.clone(),
            cancel: cancel.clone(),
            helpers,
            silence,
            authorities: OnceLock::new(),
        }
    }
    fn authorities(&self) -> &[Certificate] {
        self.authorities.get_or_init(|| {
            let all = trust::authorities(&self.env);
            let all = all.iter().filter_map(|der| Certificate::from_der(der).ok());
            all.collect()
        })
    }
}

/// What went wrong at one place, and whether another try may end better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) again: Again,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    NotFound,
    /// What is said about credentials.
    Unauthorized(String),
    /// How long it asks to wait, if it says so.
    Busy(Option<Duration>),
    Unreachable(String),
    /// Another answer, in words.
    Answer(String),
}

impl Kind {
    /// In a few words, for a list of places that were tried.
    pub(super) fn short(&self) -> String {
        match self {
            Self::NotFound => "not there".to_owned(),
            Self::Unauthorized(_) => "refused".to_owned(),
            Self::Busy(_) => "too many requests".to_owned(),
            Self::Unreachable(cause) | Self::Answer(cause) => cause.clone(),
        }
    }
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It would end the same.
    No,
    /// Once, soon: there was no connection at all.
    Once,
    /// After waits: it was busy, or the connection broke.
    Later,
    /// Not before this time has passed: the registry says so.
    After(Duration),
}

impl Fault {
    pub(super) fn of(kind: Kind, again: Again) -> Self {
        Self { kind, again }
    }
    fn answer(text: impl Into<String>) -> Self {
        Self::of(Kind::Answer(text.into()), Again::No)
    }
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) at: At<'a>,
    /// `pull`, `pull,push`.
    pub(super) actions: &'a str,
    /// Another repository that is read besides.
    pub(super) from: Option<&'a str>,
}

/// Where is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    /// Below the repository: `manifests/latest`.
    Path(&'a str),
    /// An address that the registry gave, maybe elsewhere.
    Url(&'a Url),
}

/// A place and what is known of it by now.
#[derive(Debug)]
pub(super) struct Source {
    /// The image's name there.
    pub(super) reference: Reference,
    security: Security,
    means: Arc<Means>,
    http: OnceCell<Client>,
    /// Asks token servers.
    tokens_from: OnceCell<Client>,
    base: OnceCell<Url>,
    session: Mutex<Session>,
}

#[derive(Debug, Default)]
struct Session {
    way: Option<Way>,
    tokens: BTreeMap<Vec<String>, Token>,
    found: Option<Found>,
}

impl Source {
    pub(super) fn new(place: Place, means: Arc<Means>) -> Self {
        Self {
            reference: place.reference,
            security: place.security,
            means,
            http: OnceCell::new(),
            tokens_from: OnceCell::new(),
            base: OnceCell::new(),
            session: Mutex::default(),
        }
    }
    /// As users name it.
    pub(super) fn host(&self) -> &str {
        &self.reference.registry
    }
    /// With credentials that are not looked for.
    pub(super) async fn with_login(self, login: Login, remark: String) -> Self {
        self.session.lock().await.found = Some(Found {
            login: Some(login),
            remark,
        });
        self
    }

    /// Asks; again with credentials if they are asked for. `shape` adds headers and a body, maybe twice.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        shape: &dyn Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Fault> {
        let base = self.base().await?;
        let url = match ask.at {
            At::Path(path) => self.address(base, path)?,
            At::Url(url) => url.clone(),
        };
        let own = same_origin(&url, base);
        let scopes = self.scopes(ask);
        let client = self.http().await?;
        for again in [true, false] {
            let header = match own {
                true => self.authorization(&scopes).await?,
                false => None,
            };
            let mut request = client.request(ask.method.clone(), url.clone());
            if let Some(header) = header.clone() {
                request = request.header(AUTHORIZATION, header);
            }
            let sent = shape(request).send().await;
            let response = sent.map_err(|error| self.lost(&error))?;
            let challenged = response.status() == StatusCode::UNAUTHORIZED
                && own
                && same_origin(response.url(), base);
            if challenged
                && again
                && self
                    .challenged(&response, &scopes, header.is_some())
                    .await?
            {
                continue;
            }
            return self.checked(response).await;
        }
        Err(Fault::answer("it asks for credentials without end"))
    }

    fn address(&self, base: &Url, path: &str) -> Result<Url, Fault> {
        let name = &self.reference.repository;
        let joined = base.join(&format!("/v2/{name}/{path}"));
        joined.map_err(|_| Fault::answer("it has no address for this name"))
    }

    fn scopes(&self, ask: &Ask<'_>) -> Vec<String> {
        let name = &self.reference.repository;
        if name.is_empty() {
            return Vec::new();
        }
        let mut scopes = vec![format!("repository:{name}:{}", ask.actions)];
        scopes.extend(ask.from.map(|from| format!("repository:{from}:pull")));
        scopes
    }

    /// The place's address, once it has answered there; the way it wants to be asked is known then.
    pub(super) async fn base(&self) -> Result<&Url, Fault> {
        self.base.get_or_try_init(|| self.probe()).await
    }

    /// Looks how the place is spoken to, without credentials.
    async fn probe(&self) -> Result<Url, Fault> {
        let host = match is_hub(self.host()) {
            true => HUB,
            false => self.host(),
        };
        let schemes: &[&str] = match self.security {
            Security::Tls => &["https"],
            Security::Loopback => &["http", "https"],
            Security::Insecure => &["https", "http"],
            Security::Plain => &["http"],
        };
        let mut last = None;
        for (at, scheme) in schemes.iter().enumerate() {
            let url = Url::parse(&format!("{scheme}://{host}/v2/"))
                .map_err(|_| Fault::answer(format!("`{host}` is no address")))?;
            let answer = self.http().await?.get(url.clone()).send().await;
            let final_one = at + 1 == schemes.len();
            match answer {
                // A server of TLS says so to whom asks in plain words.
                Ok(response) if response.status() == StatusCode::BAD_REQUEST && !final_one => {}
                Ok(response) => {
                    self.met(response).await?;
                    return Ok(url);
                }
                Err(error) => {
                    let refused = error.is_connect() && self.security == Security::Loopback;
                    let fault = self.lost(&error);
                    // What was said first is about the way that was wanted most.
                    last = Some(match last {
                        Some(first) if self.security == Security::Insecure => both(first, fault),
                        Some(first) => first,
                        None => fault,
                    });
                    if refused {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Fault::answer("it answers neither with nor without TLS")))
    }

    /// Learns from the first answer.
    async fn met(&self, response: Response) -> Result<(), Fault> {
        let status = response.status();
        let way = match status {
            StatusCode::UNAUTHORIZED => {
                way(response.headers()).map_err(|what| Fault::answer(format!("it {what}")))?
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return self.checked(response).await.map(drop);
            }
            // Some don't serve this address, and yet all others.
            _ => Way::Open,
        };
        self.session.lock().await.way = Some(way);
        Ok(())
    }

    /// What stands in the header, if anything.
    async fn authorization(&self, scopes: &[String]) -> Result<Option<HeaderValue>, Fault> {
        let mut session = self.session.lock().await;
        match session.way.clone() {
            None | Some(Way::Open) => Ok(None),
            Some(Way::Basic) => {
                let found = self.found(&mut session).await;
                match &found.login {
                    Some(Login::Password(user, password)) => basic(user, password).map(Some),
                    Some(Login::Bearer(token)) => bearer(token).map(Some),
                    Some(Login::Identity(_)) => Err(Fault::of(
                        Kind::Unauthorized(format!(
                            "an identity token is of no use where a password is asked for: {}",
                            found.remark
                        )),
                        Again::No,
                    )),
                    None => Ok(None),
                }
            }
            Some(Way::Bearer { realm, service, .. }) => {
                let known = session.tokens.get(scopes);
                if let Some(token) = known.filter(|token| token.is_good(Instant::now())) {
                    return bearer(&token.value).map(Some);
                }
                let found = self.found(&mut session).await.clone();
                if let Some(Login::Bearer(token)) = &found.login {
                    return bearer(token).map(Some);
                }
                let token = self
                    .token(&realm, service.as_deref(), scopes, &found, false)
                    .await?;
                let header = bearer(&token.value);
                session.tokens.insert(scopes.to_vec(), token);
                header.map(Some)
            }
        }
    }

    /// Takes note of a refusal; whether asking again may end better.
    async fn challenged(
        &self,
        response: &Response,
        scopes: &[String],
        asked_with: bool,
    ) -> Result<bool, Fault> {
        let Ok(way) = way(response.headers()) else {
            return Ok(false);
        };
        let mut session = self.session.lock().await;
        let same = session.way.as_ref() == Some(&way);
        let again = match &way {
            Way::Open => false,
            Way::Basic => {
                let known = self.found(&mut session).await.login.is_some();
                known && !(asked_with && same)
            }
            // The token has ended, or another scope is needed than was thought.
            Way::Bearer {
                realm,
                service,
                scope,
            } => {
                let mut wanted = scopes.to_vec();
                let more = scope.iter().flat_map(|scope| scope.split(' '));
                for scope in more.filter(|scope| !scope.is_empty()) {
                    if !wanted.iter().any(|one| one == scope) {
                        wanted.push(scope.to_owned());
                    }
                }
                session.tokens.remove(scopes);
                let found = self.found(&mut session).await.clone();
                if matches!(found.login, Some(Login::Bearer(_))) {
                    !asked_with
                } else {
                    let token = self
                        .token(realm, service.as_deref(), &wanted, &found, false)
                        .await?;
                    session.tokens.insert(scopes.to_vec(), token);
                    true
                }
            }
        };
        session.way = Some(way);
        Ok(again)
    }

    /// The credentials, looked up when they are first asked for: most registries want none.
    async fn found<'a>(&self, session: &'a mut Session) -> &'a Found {
        if session.found.is_none() {
            let means = Arc::clone(&self.means);
            let (registry, repository) =
                (self.host().to_owned(), self.reference.repository.clone());
            let host = registry.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let (env, cancel) = (&means.env, &means.cancel);
                credentials::find(&registry, &repository, &means.helpers, env, cancel)
            });
            session.found = looked.await.ok();
            if session.found.is_none() {
                session.found = Some(Found {
                    login: None,
                    remark: advice(&host),
                });
            }
        }
        session.found.get_or_insert_with(|| Found {
            login: None,
            remark: String::new(),
        })
    }

    /// Asks a token server.
    async fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        found: &Found,
        keep: bool,
    ) -> Result<Token, Fault> {
        let local = is_loopback(realm.host_str().unwrap_or_default());
        let insecure = matches!(self.security, Security::Insecure | Security::Plain);
        if !(realm.scheme() == "https" || (realm.scheme() == "http" && (local || insecure))) {
            return Err(Fault::answer(format!(
                "its token server {} is not spoken to over TLS, and would get the credentials in plain words",
                origin(realm)
            )));
        }
        let client = self
            .tokens_from
            .get_or_try_init(|| async { self.client(local || insecure, Policy::custom(at_home)) })
            .await?;
        let request = match &found.login {
            Some(Login::Identity(token)) => {
                let mut form = vec![
                    ("grant_type", "refresh_token".to_owned()),
                    ("client_id", CLIENT_ID.to_owned()),
                    ("refresh_token", token.expose().to_owned()),
                ];
                form.extend(service.map(|service| ("service", service.to_owned())));
                if !scopes.is_empty() {
                    form.push(("scope", scopes.join(" ")));
                }
                client.post(realm.clone()).form(&form)
            }
            login => {
                let mut url = realm.clone();
                {
                    let mut query = url.query_pairs_mut();
                    if let Some(service) = service {
                        query.append_pair("service", service);
                    }
                    for scope in scopes {
                        query.append_pair("scope", scope);
                    }
                    if let Some(Login::Password(user, _)) = login {
                        query.append_pair("account", user);
                    }
                    if keep {
                        query.append_pair("client_id", CLIENT_ID);
                        query.append_pair("offline_token", "true");
                    }
                }
                match login {
                    Some(Login::Password(user, password)) => client
                        .get(url)
                        .header(AUTHORIZATION, basic(user, password)?),
                    _ => client.get(url),
                }
            }
        };
        let sent = request.timeout(TOKEN).send().await;
        let response = sent.map_err(|error| {
            let mut fault = lost(&error, &authority(realm), &self.means.env);
            if let Kind::Unreachable(cause) = &mut fault.kind {
                *cause = format!("its token server {}: {cause}", origin(realm));
            }
            fault
        })?;
        if response.status().is_redirection() {
            return Err(Fault::answer(format!(
                "its token server {} sends us elsewhere, where credentials must not go",
                origin(realm)
            )));
        }
        let status = response.status();
        // As OAuth 2 says it of a token that is no longer good.
        if status == StatusCode::BAD_REQUEST && matches!(found.login, Some(Login::Identity(_))) {
            return Err(Fault::of(
                Kind::Unauthorized(found.remark.clone()),
                Again::No,
            ));
        }
        let response = checked(response, || found.remark.clone()).await?;
        let body = read(response).await;
        Token::parse(&body, Instant::now()).ok_or_else(|| {
            Fault::answer(format!("its token server {} gives no token", origin(realm)))
        })
    }

    /// Proves credentials to the place; gives what is to be kept instead of the password, if it gives that.
    pub(super) async fn verify(&self) -> Result<Option<Secret>, Fault> {
        let base = self.base().await?.clone();
        let way = self.session.lock().await.way.clone();
        let mut identity = None;
        if let Some(Way::Bearer { realm, service, .. }) = way {
            let found = self.session.lock().await.found.clone();
            let found = found.unwrap_or_else(|| Found {
                login: None,
                remark: String::new(),
            });
            let token = self
                .token(&realm, service.as_deref(), &[], &found, true)
                .await?;
            identity = token.identity.clone();
            self.session.lock().await.tokens.insert(Vec::new(), token);
        }
        let ask = Ask {
            method: Method::GET,
            at: At::Url(&base),
            actions: "",
            from: None,
        };
        match self.send(&ask, &|request| request).await {
            Ok(_) => Ok(identity),
            // Some don't serve this address, and yet all others.
            Err(fault) if fault.kind == Kind::NotFound => Ok(identity),
            Err(fault) => Err(fault),
        }
    }

    async fn http(&self) -> Result<&Client, Fault> {
        let make = || async {
            let lax = self.security != Security::Tls;
            self.client(
                lax,
                Policy::custom(if lax { anywhere } else { never_plain }),
            )
        };
        self.http.get_or_try_init(make).await
    }

    /// A client; `lax` takes any certificate, unless the user has given the authority's.
    fn client(&self, lax: bool, redirects: Policy) -> Result<Client, Fault> {
        let unusable =
            |text: String| Fault::answer(format!("cannot set up its connections: {text}"));
        super::web::install_provider();
        let own = trust::own(self.host(), &self.means.env).map_err(unusable)?;
        let lax = lax && own.authorities.is_empty();
        let all = self.means.authorities().iter().cloned();
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .referer(false)
            .redirect(redirects)
            .tls_danger_accept_invalid_certs(lax)
            .tls_certs_only(all.chain(own.authorities));
        if let Some(silence) = self.means.silence {
            builder = builder.read_timeout(silence);
        }
        if let Some(identity) = own.identity {
            builder = builder.identity(identity);
        }
        let proxies = Proxies::read(&self.means.env).map_err(unusable)?;
        let built = proxies.set(builder).build();
        built.map_err(|error| unusable(causes(&error)))
    }

    fn lost(&self, error: &reqwest::Error) -> Fault {
        lost(error, self.host(), &self.means.env)
    }

    async fn checked(&self, response: Response) -> Result<Response, Fault> {
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        let remark = {
            let session = self.session.lock().await;
            match &session.found {
                Some(found) => found.remark.clone(),
                None => advice(self.host()),
            }
        };
        checked(response, || remark).await
    }
}

/// Makes a connection's failure a fault.
fn lost(error: &reqwest::Error, host: &str, env: &Env) -> Fault {
    let mut cause = causes(error);
    if cause.contains("UnknownIssuer") {
        cause = format!(
            "its certificate is signed by an authority that is not known here: {}",
            trust::advice(host, env)
        );
    } else if cause.contains("InvalidContentType") {
        cause = format!(
            "it does not speak TLS; to use plain HTTP, set `insecure = true` for `{host}` in registries.conf"
        );
    } else if cause.contains("proxy authorization required") {
        cause =
            "the proxy wants credentials: write them into its address, http://USER:PASSWORD@HOST"
                .to_owned();
    }
    let again = match error.is_connect() {
        true => Again::Once,
        false if error.is_redirect() => Again::No,
        false => Again::Later,
    };
    Fault::of(Kind::Unreachable(cause), again)
}

/// Two ways were tried, and both failed.
fn both(first: Fault, second: Fault) -> Fault {
    match (&first.kind, &second.kind) {
        (Kind::Unreachable(one), Kind::Unreachable(two)) if one != two => Fault::of(
            Kind::Unreachable(format!("with TLS: {one}; without: {two}")),
            second.again,
        ),
        _ => second,
    }
}

/// An answer that is none of the refusals; `remark` says what is to be said of credentials.
async fn checked(response: Response, remark: impl FnOnce() -> String) -> Result<Response, Fault> {
    let status = response.status();
    if status.as_u16() < 400 {
        return Ok(response);
    }
    let wait = retry_after(response.headers());
    let later = wait.map_or(Again::Later, Again::After);
    let body = read(response).await;
    let said = words(&body);
    let code = said.code.as_deref().unwrap_or_default();
    let (kind, again) = match status {
        _ if code == "TOOMANYREQUESTS" => (Kind::Busy(wait), later),
        StatusCode::TOO_MANY_REQUESTS => (Kind::Busy(wait), later),
        StatusCode::NOT_FOUND => (Kind::NotFound, Again::No),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Kind::Unauthorized(remark()), Again::No)
        }
        _ if matches!(code, "UNAUTHORIZED" | "DENIED") => (Kind::Unauthorized(remark()), Again::No),
        status => {
            let text = format!("it answers with status {}{}", status.as_u16(), said.shown());
            let again = match status.as_u16() {
                408 | 500 | 502..=504 => later,
                _ => Again::No,
            };
            (Kind::Answer(text), again)
        }
    };
    Err(Fault::of(kind, again))
}

/// A short answer's bytes, as far as they come.
async fn read(response: Response) -> zeroize::Zeroizing<Vec<u8>> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let mut stream = response.bytes_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_WORDS {
            break;
        }
    }
    bytes
}

fn header(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Fault::answer("its credentials have characters that can't be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(user: &str, password: &Secret) -> Result<HeaderValue, Fault> {
    use base64::Engine as _;
    let pair = Secret::new(format!("{user}:{}", password.expose()));
    let text = base64::engine::general_purpose::STANDARD.encode(pair.expose());
    header(Secret::new(format!("Basic {text}")).expose())
}

fn bearer(token: &Secret) -> Result<HeaderValue, Fault> {
    header(Secret::new(format!("Bearer {}", token.expose())).expose())
}

/// Whether credentials for one address may go to the other.
fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

fn is_loopback(host: &str) -> bool {
    let host = host_of(host);
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `host:port`, as directories of certificates are named.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// An address without what may be secret in it.
fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}

/// Follows redirects. The library takes credentials out where they lead to another origin.
fn anywhere(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("it redirects without end");
    }
    attempt.follow()
}

/// As [`anywhere`], but never from TLS to plain HTTP.
fn never_plain(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.url().scheme() != "https" {
        return attempt.error("it redirects from TLS to plain HTTP, which is not followed");
    }
    anywhere(attempt)
}

/// Redirects within one origin only: a request for a token has credentials in its body.
fn at_home(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let home = attempt
        .previous()
        .first()
        .is_some_and(|first| same_origin(first, attempt.url()));
    match home {
        true => anywhere(attempt),
        false => attempt.stop(),
    }
}
