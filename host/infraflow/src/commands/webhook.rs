//! `infraflow webhook`: set up a source, and try it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::event::Provider;
use infraflow_core::id::SourceName;
use infraflow_core::ports::{Secret, Secrets as _};
use infraflow_sources::sample::{Encoding, SamplePush, push_request};
use serde_json::json;

use super::{here, load_config};
use crate::api::client::Client;
use crate::api::types::Status;
use crate::api::verb;
use crate::cli::{Global, WebhookAddArgs, WebhookTestArgs};
use crate::config::{self, Config, FILE_NAME};
use crate::data_dir::random_hex;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{BOLD, Format, GREEN, RED, YELLOW, json as print_json, line, note, styled};
use crate::secrets::ConfiguredSecrets;

/// How long the host may take to answer the sample.
const TEST_TIME: Duration = Duration::from_secs(15);

// ---- add ---------------------------------------------------------------------------

/// Makes a secret, writes the configuration, and says what to click.
pub(crate) fn add(global: &Global, args: &WebhookAddArgs) -> Outcome {
    let provider = Provider::from_name(&args.provider).ok_or_else(|| {
        let names: Vec<&str> = Provider::ALL.into_iter().map(Provider::name).collect();
        Failure::new(
            Exit::Usage,
            format!(
                "provider `{}` is not supported yet: there are `{}`",
                args.provider,
                names.join("`, `")
            ),
        )
    })?;
    let source = SourceName::new(&args.source)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let config = load_config(global)?;
    if config.sources.contains_key(&source) {
        return Err(Failure::new(
            Exit::Conflict,
            format!("there is a source `{source}` already"),
        ));
    }
    let file = here()?.join(global.config.as_deref().unwrap_or(Utf8Path::new(FILE_NAME)));
    let added = Added::new(&source, provider, args.url.as_deref());
    let secret = random_hex::<32>().map_err(|error| Failure::internal("draw a secret", &error))?;
    let secret_path = write_secret(&file, &added.secret_file, &secret)?;
    let written = extend(&file, &added)?;
    let address = format!("http://{}/webhooks/{source}", config.http_listen);
    if global.output == Format::Json {
        print_json(&json!({
            "source": source.as_str(), "address": address, "secret_file": secret_path,
            "configuration": file, "written": written, "snippet": added.snippet(),
        }))?;
        return Ok(Exit::Success);
    }
    explain(&added, &file, &secret_path, &address, &secret, written)?;
    Ok(Exit::Success)
}

/// What is added to the configuration.
struct Added {
    source: SourceName,
    provider: Provider,
    secret_name: String,
    secret_file: String,
    source_line: String,
    secret_line: String,
}

impl Added {
    fn new(source: &SourceName, provider: Provider, url: Option<&str>) -> Self {
        let secret_name = format!("{source}-webhook");
        let secret_file = format!("secrets/{secret_name}");
        let url = url
            .map(|url| format!(", url: {}", json!(url)))
            .unwrap_or_default();
        Self {
            source_line: format!("  {source}: {{ type: {provider}{url}, secret: {secret_name} }}"),
            secret_line: format!("  {secret_name}: {{ file: {secret_file} }}"),
            source: source.clone(),
            provider,
            secret_name,
            secret_file,
        }
    }

    fn snippet(&self) -> String {
        format!(
            "sources:\n{}\nsecrets:\n{}\n",
            self.source_line, self.secret_line
        )
    }
}

/// The secret, in a file that only its owner reads.
fn write_secret(config: &Utf8Path, name: &str, secret: &str) -> Result<Utf8PathBuf, Failure> {
    let path = config.parent().unwrap_or(config).join(name);
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Conflict,
            format!("write the secret `{path}`: {error}"),
        )
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.write_all(format!("{secret}\n").as_bytes())
        .map_err(failed)?;
    Ok(path)
}

/// Writes the configuration with the source in it; `false` when that cannot be
/// done without changing what a person wrote.
fn extend(file: &Utf8Path, added: &Added) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failure,
            format!("write the configuration `{file}`: {error}"),
        )
    };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let extended = extended(&text, added);
    let folder = file.parent().unwrap_or(file);
    let understood = config::parse(FILE_NAME, &extended, folder);
    let keeps_the_rest = |new: &Config| match config::parse(FILE_NAME, &text, folder) {
        Ok(old) => {
            new.sources.len() == old.sources.len() + 1 && new.secrets.len() == old.secrets.len() + 1
        }
        Err(_) => false,
    };
    let is_good = understood
        .as_ref()
        .is_ok_and(|new| new.sources.contains_key(&added.source) && keeps_the_rest(new));
    if !is_good {
        return Ok(false);
    }
    let temporary = Utf8PathBuf::from(format!("{file}.new"));
    fs::write(&temporary, extended).map_err(failed)?;
    fs::rename(&temporary, file).map_err(failed)?;
    Ok(true)
}

/// The text with a line below `sources:` and one below `secrets:`, each made at
/// the end when it is not there.
fn extended(text: &str, added: &Added) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (key, new_line) in [
        ("sources:", &added.source_line),
        ("secrets:", &added.secret_line),
    ] {
        let stands = text.lines().any(|line| line.trim_end() == key);
        if stands {
            let lines = text.lines().map(|line| {
                if line.trim_end() == key {
                    format!("{line}\n{new_line}\n")
                } else {
                    format!("{line}\n")
                }
            });
            text = lines.collect();
        } else {
            text.push_str(&format!("\n{key}\n{new_line}\n"));
        }
    }
    text
}

fn explain(
    added: &Added,
    file: &Utf8Path,
    secret_path: &Utf8Path,
    address: &str,
    secret: &str,
    written: bool,
) -> Result<(), Failure> {
    if written {
        line(&format!(
            "source {} is in {file}; restart `infraflow up` to use it",
            styled(BOLD, added.source.as_str())
        ))?;
    } else {
        line(&format!(
            "{}\n\n{}",
            styled(
                YELLOW,
                &format!("add this to {file} by hand, then restart `infraflow up`:")
            ),
            added.snippet()
        ))?;
    }
    line(&format!(
        "its secret {} is in {secret_path}\n",
        styled(BOLD, &added.secret_name)
    ))?;
    let name = match added.provider {
        Provider::Forgejo => "Forgejo",
        Provider::Gitea => "Gitea",
    };
    line(&format!(
        "At {name}: repository, Settings, Webhooks, Add webhook, {name}:"
    ))?;
    for (field, value) in [
        ("Target URL", address),
        ("HTTP method", "POST"),
        ("POST content type", "application/json"),
        ("Secret", secret),
        ("Trigger on", "Push events"),
    ] {
        line(&format!("  {field:<18} {}", styled(BOLD, value)))?;
    }
    line(&format!(
        "\n{name} must reach that address: put the host's real name in it, and allow it in \
         `[webhook] ALLOWED_HOST_LIST` when it is a private one.\n\
         Then try it: {}",
        styled(BOLD, &format!("infraflow webhook test {}", added.source))
    ))
}

// ---- test --------------------------------------------------------------------------

/// Sends a signed sample push.
pub(crate) async fn test(global: &Global, args: WebhookTestArgs) -> Outcome {
    let config = load_config(global)?;
    let (name, source) = config
        .sources
        .iter()
        .find(|(name, _)| name.as_str() == args.source)
        .ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("there is no source `{}`", args.source),
            )
        })?;
    let secrets = ConfiguredSecrets::new(config.secrets.clone());
    let secret: Option<Secret> = source
        .webhook_secrets
        .first()
        .map(|secret| secrets.read(secret))
        .transpose()
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
    let client = Client::connect(&config).await?;
    let status: Status = client.ask(verb::STATUS, &()).await?;
    let mut push = SamplePush::to_main(&args.repository, &"2".repeat(40), &args.commit);
    push.git_ref = format!("refs/heads/{}", args.branch);
    push.paths = args.paths;
    let delivery = random_hex::<16>().map_err(|error| Failure::internal("draw an id", &error))?;
    let request = push_request(
        source.provider,
        &push,
        &delivery,
        secret.as_ref(),
        Encoding::Json,
    );
    let address = format!("{}/webhooks/{name}", status.http);
    let answer = post(address.clone(), request).await?;
    let stored = answer.code == 202;
    match global.output {
        Format::Json => print_json(&json!({
            "address": address, "status": answer.code, "body": answer.body, "delivery": delivery,
        }))?,
        Format::Text => {
            let shown = if stored {
                styled(GREEN, "202 stored")
            } else {
                styled(RED, &answer.code.to_string())
            };
            line(&format!("{address}: {shown}"))?;
            line(&answer.body)?;
            if stored {
                note("what it started: `infraflow runs list`");
            }
        }
    }
    Ok(if stored { Exit::Success } else { Exit::Failure })
}

struct HttpAnswer {
    code: u16,
    body: String,
}

async fn post(
    address: String,
    request: infraflow_sources::sample::SampleRequest,
) -> Result<HttpAnswer, Failure> {
    let shown = address.clone();
    let sent = tokio::task::spawn_blocking(move || -> Result<HttpAnswer, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TEST_TIME))
            .http_status_as_error(false)
            .build()
            .into();
        let mut post = agent.post(&address);
        for (name, value) in &request.headers {
            post = post.header(*name, value);
        }
        let mut answer = post.send(request.body.as_slice())?;
        let code = answer.status().as_u16();
        Ok(HttpAnswer {
            code,
            body: answer.body_mut().read_to_string()?,
        })
    });
    let sent = sent
        .await
        .map_err(|error| Failure::internal("send the sample", &error))?;
    sent.map_err(|error| {
        Failure::new(
            Exit::Unreachable,
            format!("`{shown}` does not answer: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn added() -> Added {
        let name = SourceName::new("shop").unwrap();
        Added::new(
            &name,
            Provider::Forgejo,
            Some("https://git.example/shop.git"),
        )
    }

    #[test]
    fn a_source_is_added_to_what_is_there() {
        let text = "# mine\nsources:\n  other: { type: gitea, insecure: true }\nhttp: {}";
        expect![[r#"
            # mine
            sources:
              shop: { type: forgejo, url: "https://git.example/shop.git", secret: shop-webhook }
              other: { type: gitea, insecure: true }
            http: {}

            secrets:
              shop-webhook: { file: secrets/shop-webhook }
        "#]]
        .assert_eq(&extended(text, &added()));
    }

    fn extend_text(text: &str) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = Utf8PathBuf::from_path_buf(folder.path().join(FILE_NAME)).unwrap();
        fs::write(&file, text).unwrap();
        let written = extend(&file, &added()).unwrap();
        (written, fs::read_to_string(&file).unwrap())
    }

    #[test]
    fn a_configuration_that_would_not_be_understood_is_left_alone() {
        for text in [
            "sources: {}\n",
            "sources: { a: { type: gitea, insecure: true } }\n",
            "nonsense: 1\n",
        ] {
            assert_eq!(extend_text(text), (false, text.to_owned()));
        }
        for text in ["", "sources:\n", "data_dir: x\n"] {
            assert!(extend_text(text).0, "{text:?}");
        }
    }
}
