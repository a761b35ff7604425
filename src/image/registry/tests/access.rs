//! Who may have what: tokens, passwords, certificates, mirrors; and where credentials must not go.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::login::{self, LoginError};
use super::super::secret::Secret;
use super::*;
use crate::base::env::Env;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// `user:hush`
const BASIC: &str = "Basic dXNlcjpodXNo";

/// A server that answers as told and remembers what it was asked.
struct Fake {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// `answer` gets its own address, the request's line and headers and body, and how often it was asked before.
    fn new(answer: impl Fn(&str, &str, usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own, all) = (host.clone(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let text = request(&mut stream);
                all.lock().unwrap().push(text.clone());
                let _ = stream.write_all(answer(&own, &text, number).as_bytes());
            }
        });
        Self { host, asked }
    }
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// A request as it came.
fn request(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header_of(head, "content-length").map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn header_of(request: &str, name: &str) -> Option<String> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

/// The answer to whoever may have the manifest.
fn granted() -> String {
    reply(
        "200 OK",
        &format!("Docker-Content-Digest: {DIGEST}\r\n"),
        "",
    )
}

fn challenge(text: &str) -> String {
    reply(
        "401 Unauthorized",
        &format!("WWW-Authenticate: {text}\r\n"),
        "",
    )
}

/// A home directory of its own, removed when dropped.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hoist-access-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    fn auth(&self, host: &str, entry: &str) {
        let text = format!("{{\"auths\": {{\"{host}\": {entry}}}}}");
        self.file(".docker/config.json", &text);
    }
    fn env(&self) -> Env {
        Env {
            cwd: self.0.clone(),
            home: Some(self.0.clone()),
            vars: BTreeMap::from([("HOIST_REGISTRY_RETRIES".to_owned(), "0".to_owned())]),
            ..Env::default()
        }
    }
    fn ask(&self, image: &str) -> Result<String, String> {
        let options = PullOptions {
            env: self.env(),
            ..PullOptions::default()
        };
        let found = digests(&[Reference::parse(image).unwrap()], &options);
        match found {
            Ok(found) => Ok(found[0].to_string()),
            Err(error) => Err(error.1.to_string()),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A registry that wants tokens and gives them itself: to `user:hush` and to the identity token `idt`.
fn token_registry() -> Fake {
    Fake::new(|own, request, number| {
        let authorization = header_of(request, "authorization").unwrap_or_default();
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let token = || {
            let text = format!("{{\"token\": \"t{number}\", \"refresh_token\": \"kept\"}}");
            reply("200 OK", "", &text)
        };
        if request.starts_with("GET /token") {
            return match authorization.as_str() {
                BASIC => token(),
                _ => reply("401 Unauthorized", "", ""),
            };
        }
        if request.starts_with("POST /token") {
            return match body.contains("refresh_token=idt") {
                true => token(),
                false => reply("400 Bad Request", "", "{}"),
            };
        }
        // Each token serves once: it has ended when it is shown again.
        let fresh = authorization == format!("Bearer t{}", number.wrapping_sub(1));
        match fresh {
            true => granted(),
            false => {
                let text =
                    format!("Basic realm=\"x\", Bearer realm=\"http://{own}/token\",service=\"s\"");
                challenge(&text)
            }
        }
    })
}

#[test]
fn a_token_is_had_for_a_password_or_an_identity_token_and_renewed_when_it_has_ended() {
    let home = Home::new("token");
    let registry = token_registry();
    home.auth(&registry.host, "{\"auth\": \"dXNlcjpodXNo\"}");
    assert_eq!(
        home.ask(&format!("{}/a/b:1", registry.host)),
        Ok(DIGEST.to_owned())
    );
    let asked = registry.asked();
    let lines: Vec<&str> = asked
        .iter()
        .filter_map(|text| text.lines().next())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /v2/ HTTP/1.1",
            "GET /token?service=s&scope=repository%3Aa%2Fb%3Apull&account=user HTTP/1.1",
            "HEAD /v2/a/b/manifests/1 HTTP/1.1",
        ]
    );
    assert_eq!(header_of(&asked[0], "authorization"), None);
    assert_eq!(
        header_of(&asked[1], "authorization").as_deref(),
        Some(BASIC)
    );

    home.auth(&registry.host, "{\"identitytoken\": \"idt\"}");
    assert!(home.ask(&format!("{}/a/b:1", registry.host)).is_ok());
    let asked = registry.asked();
    assert!(asked[1].starts_with("POST /token HTTP/1.1"), "{}", asked[1]);
    let body = asked[1].split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        body,
        "grant_type=refresh_token&client_id=hoist&refresh_token=idt&service=s&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(header_of(&asked[1], "authorization"), None);

    // In the middle of a pull: the first token is refused once it was used.
    let reference = Reference::parse(&format!("{}/a/b:1", registry.host)).unwrap();
    let options = PullOptions {
        env: home.env(),
        ..PullOptions::default()
    };
    let twice = super::super::wait(&reference, &options, async {
        let registry = super::super::client::Registry::new(&reference, &options)?;
        registry.head().await?;
        registry.head().await
    });
    assert_eq!(twice.unwrap().unwrap().to_string(), DIGEST);
    assert_eq!(registry.asked().len(), 6);

    for wrong in [
        "{\"identitytoken\": \"bad-secret\"}",
        "{\"username\": \"me\", \"password\": \"bad-secret\"}",
    ] {
        home.auth(&registry.host, wrong);
        let error = home.ask(&format!("{}/a/b:1", registry.host)).unwrap_err();
        assert!(
            error.contains(".docker/config.json w")
                && error.contains("`hoist login ")
                && !error.contains("bad-secret"),
            "{error}"
        );
    }
}

#[test]
fn credentials_go_to_their_own_origin_only() {
    let home = Home::new("origin");
    let other = Fake::new(|_, _, _| granted());
    let there = other.host.clone();
    let registry =
        Fake::new(
            move |_, request, _| match header_of(request, "authorization").as_deref() {
                None => challenge("Basic realm=\"x\""),
                Some(BASIC) if request.starts_with("HEAD") => reply(
                    "307 Temporary Redirect",
                    &format!("Location: http://{there}/blob\r\n"),
                    "",
                ),
                Some(_) => granted(),
            },
        );
    home.auth(&registry.host, "{\"auth\": \"dXNlcjpodXNo\"}");
    assert!(home.ask(&format!("{}/x", registry.host)).is_ok());
    let asked = other.asked();
    assert!(asked[0].starts_with("HEAD /blob "), "{}", asked[0]);
    assert!(
        !asked[0].to_ascii_lowercase().contains("authorization"),
        "{}",
        asked[0]
    );

    // A token server that is not on this machine and not spoken to over TLS gets nothing.
    let registry = Fake::new(|_, _, _| challenge("Bearer realm=\"http://192.0.2.1/token\""));
    home.auth(&registry.host, "{\"auth\": \"dXNlcjpodXNo\"}");
    let error = home.ask(&format!("{}/x", registry.host)).unwrap_err();
    assert!(
        error.ends_with(
            "its token server http://192.0.2.1 is not spoken to over TLS, and would get the credentials in plain words"
        ),
        "{error}"
    );
    // One that sends us elsewhere does not get them there either.
    let elsewhere = other.host.clone();
    let registry = Fake::new(move |own, request, _| match request.contains(" /token") {
        true => reply(
            "307 Temporary Redirect",
            &format!("Location: http://{elsewhere}/token\r\n"),
            "",
        ),
        false => challenge(&format!("Bearer realm=\"http://{own}/token\"")),
    });
    home.auth(&registry.host, "{\"identitytoken\": \"idt\"}");
    let error = home.ask(&format!("{}/x", registry.host)).unwrap_err();
    assert!(error.contains("sends us elsewhere"), "{error}");
    assert_eq!(other.asked(), [""; 0]);
}

#[test]
fn mirrors_are_asked_in_order_and_an_error_names_them_all() {
    let home = Home::new("mirrors");
    let gone = format!("127.0.0.1:{}", free_port());
    let empty = Fake::new(|_, request, _| match request.starts_with("GET /v2/ ") {
        true => reply("200 OK", "", ""),
        false => reply("404 Not Found", "", ""),
    });
    let full = Fake::new(|_, _, _| granted());
    let conf = |location: &str| {
        format!(
            "[[registry]]\nprefix = 'r.example/ns'\nlocation = '{location}'\n[[registry.mirror]]\nlocation = '{gone}/m'\n\
             [[registry.mirror]]\nlocation = '{}/other/path'\n",
            empty.host
        )
    };
    home.file(".config/containers/registries.conf", &conf(&full.host));
    assert_eq!(home.ask("r.example/ns/x:1"), Ok(DIGEST.to_owned()));
    assert!(empty.asked()[1].starts_with("HEAD /v2/other/path/x/manifests/1 "));
    assert!(full.asked()[1].starts_with("HEAD /v2/x/manifests/1 "));
    home.file(".config/containers/registries.conf", &conf(&empty.host));
    let error = home.ask("r.example/ns/x:1").unwrap_err();
    assert!(
        error.starts_with(&format!(
            "cannot pull `r.example/ns/x:1` from registry {}: ",
            empty.host
        )) && error.contains(&format!("mirrors asked before: {gone} ("))
            && error.ends_with(&format!(", {} (not there)", empty.host)),
        "{error}"
    );
    home.file(
        ".config/containers/registries.conf",
        "[[registry]]\nlocation = 7\n",
    );
    let error = home.ask("r.example/ns/x:1").unwrap_err();
    assert!(error.contains("registries.conf:2:12: "), "{error}");
}

#[test]
fn a_login_is_proved_before_it_is_kept() {
    let home = Home::new("login");
    let (env, cancel) = (home.env(), Cancel::default());
    let path = home.0.join(".docker/config.json");
    let basic = Fake::new(
        |_, request, _| match header_of(request, "authorization").as_deref() {
            Some(BASIC) => reply("200 OK", "", ""),
            _ => challenge("Basic realm=\"x\""),
        },
    );
    let to = |host: &str, password: &str| {
        login::login(host, "user", Secret::new(password), &env, &cancel)
    };
    let refused = to(&basic.host, "bad-secret").unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "registry {} refuses the login of `user`: incorrect username or password",
            basic.host
        )
    );
    assert!(!format!("{refused:?}").contains("bad-secret") && !path.exists());
    assert_eq!(to(&basic.host, "hush").unwrap().open_in, Some(path.clone()));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"auth\": \"dXNlcjpodXNo\""), "{text}");
    assert_eq!(
        login::again(&basic.host, &env, &cancel).unwrap(),
        Some(Some("user".to_owned()))
    );

    // A token server's token is kept, the password is not.
    let tokens = token_registry();
    assert!(matches!(
        to(&tokens.host, "no"),
        Err(LoginError::Refused { .. })
    ));
    to(&tokens.host, "hush").unwrap();
    let asked = tokens.asked();
    let wanted = "GET /token?service=s&account=user&client_id=hoist&offline_token=true ";
    assert!(
        asked.iter().any(|text| text.starts_with(wanted)),
        "{asked:?}"
    );
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"identitytoken\": \"kept\""), "{text}");
    assert!(login::logout(&tokens.host, &env, &cancel).unwrap());
    assert!(!std::fs::read_to_string(&path).unwrap().contains("kept"));
    let gone = format!("127.0.0.1:{}", free_port());
    assert!(matches!(
        to(&gone, "hush"),
        Err(LoginError::Unreachable { .. })
    ));
}

/// Runs openssl in a directory.
fn openssl(dir: &std::path::Path, line: &str) {
    let done = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "openssl {line}: {said}");
}

/// A registry that wants TLS with a client certificate; ends when dropped.
struct Secured(Child);

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_registry_with_an_own_authority_is_trusted_and_told_who_asks_by_files_in_certs_d() {
    let program = "/usr/bin/docker-registry";
    if !std::path::Path::new(program).exists() || !std::path::Path::new("/usr/bin/openssl").exists()
    {
        eprintln!("skipped: needs {program} and openssl");
        return;
    }
    let home = Home::new("tls");
    let dir = &home.0;
    home.file("server.ext", "subjectAltName=IP:127.0.0.1\n");
    home.file("client.ext", "extendedKeyUsage=clientAuth\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for (name, subject) in [("ca", "/CN=own"), ("other", "/CN=other")] {
        openssl(
            dir,
            &format!("req -x509 {key} -keyout {name}.key -out {name}.crt -subj {subject} -days 2"),
        );
    }
    for name in ["server", "client"] {
        openssl(
            dir,
            &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
        );
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile {name}.ext -out {name}.crt -days 2"
        );
        openssl(dir, &sign);
    }
    let host = format!("127.0.0.1:{}", free_port());
    home.file(
        "registry.yml",
        &format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{inmemory: {{}}}}\nhttp: {{addr: '{host}', tls: {{certificate: server.crt, \
             key: server.key, clientcas: [ca.crt]}}}}\n"
        ),
    );
    let mut command = Command::new(program);
    command.args(["serve", "registry.yml"]).current_dir(dir);
    let streams = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Secured(streams.spawn().unwrap());
    let begun = Instant::now();
    while TcpStream::connect(&host).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    let image = format!("{host}/x:1");
    let certs = format!(".config/containers/certs.d/{host}");
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(dir.join(&certs)).unwrap();
        std::fs::copy(dir.join(from), dir.join(&certs).join(to)).unwrap();
    };
    // On this machine any certificate is taken, but the registry wants one as well.
    let error = home.ask(&image).unwrap_err();
    assert!(
        error.contains("CertificateRequired") || error.contains("ertificate"),
        "{error}"
    );
    copy("other.crt", "ca.crt");
    let error = home.ask(&image).unwrap_err();
    assert!(
        error.contains(
            "signed by an authority that is not known here: put the authority's certificate into "
        ) && error.contains(&format!("/certs.d/{host}/ca.crt")),
        "{error}"
    );
    copy("ca.crt", "ca.crt");
    copy("client.crt", "client.cert");
    copy("client.key", "client.key");
    assert_eq!(
        home.ask(&image).unwrap_err(),
        format!("no image `{image}` in its registry")
    );
}
