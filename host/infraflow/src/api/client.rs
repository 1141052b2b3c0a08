//! Asking a host: what the commands use.

use std::time::Duration;

use infraflow_bus::{Bus, BusConfig, CallError, Credentials, RpcClient};
use infraflow_core::id::UserName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::verb;
use crate::config::{Config, NatsConfig};
use crate::credentials::NatsAccess;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure, chain};
use crate::secrets::ConfiguredSecrets;
use infraflow_core::ports::Secrets as _;

/// How long a command waits for a connection and for an answer.
const CONNECT_TIME: Duration = Duration::from_secs(3);
const ANSWER_TIME: Duration = Duration::from_secs(30);
const READ_TIME: Duration = Duration::from_secs(5);

/// A connection to the hosts, as a person.
pub(crate) struct Client {
    rpc: RpcClient,
}

impl Client {
    /// Connects as the configuration says.
    pub(crate) async fn connect(config: &Config) -> Result<Self, Failure> {
        let (access, user) = access(config)?;
        let bus = BusConfig {
            url: access.0.clone(),
            credentials: access.1,
            name: format!("infraflow cli {user}"),
            connect_timeout: CONNECT_TIME,
            inbox_prefix: None,
        };
        let rpc = RpcClient::connect(bus, user).await.map_err(|error| {
            Failure::new(
                Exit::Unreachable,
                format!(
                    "no NATS server answers at `{}` ({}): is `infraflow up` running?",
                    access.0,
                    chain(&error)
                ),
            )
        })?;
        Ok(Self { rpc })
    }

    /// The connection.
    pub(crate) fn bus(&self) -> &Bus {
        self.rpc.bus()
    }

    /// Asks for a document with a document.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        let request = serde_json::to_vec(request)
            .map_err(|error| Failure::internal("write the request", &error))?;
        self.ask_bytes(verb, request).await
    }

    /// Asks for a document with bytes.
    pub(crate) async fn ask_bytes<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: Vec<u8>,
    ) -> Result<T, Failure> {
        // What is only read can be asked for again: a request that got lost with
        // a connection is not waited for that long.
        let time = match verb {
            verb::LOGS_READ | verb::RUNS_SHOW => READ_TIME,
            _ => ANSWER_TIME,
        };
        let answer = self.rpc.call(verb, request, time).await.map_err(failure)?;
        serde_json::from_slice(&answer).map_err(|error| {
            Failure::new(
                Exit::Failure,
                format!("the host's answer is not understood ({error}): is it another version than this program?"),
            )
        })
    }
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Failed(failed) => {
            let exit = match failed.code.as_str() {
                "not_found" => Exit::NotFound,
                "invalid" => Exit::Invalid,
                "conflict" => Exit::Conflict,
                "unavailable" => Exit::Unreachable,
                _ => Exit::Failure,
            };
            Failure::new(exit, failed.message)
        }
        CallError::NoHost | CallError::NotDelivered(_) => {
            Failure::new(Exit::Unreachable, error.to_string())
        }
    }
}

/// Where NATS is and who the person is there.
fn access(config: &Config) -> Result<((String, Credentials), UserName), Failure> {
    match &config.nats {
        NatsConfig::Embedded { .. } => {
            let path = DataDir::at(config.data_dir.clone()).operator_credentials();
            let access = NatsAccess::read(&path).map_err(|reason| {
                Failure::new(
                    Exit::Unreachable,
                    format!("no host has been started here (`{path}`: {reason}): start one with `infraflow up`"),
                )
            })?;
            let user = UserName::new(&access.user)
                .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
            Ok(((access.url.clone(), access.credentials()), user))
        }
        NatsConfig::External(external) => {
            let credentials = external_credentials(config, external)?;
            Ok(((external.url.clone(), credentials), external.user.clone()))
        }
    }
}

/// The credentials for somebody else's server.
pub(crate) fn external_credentials(
    config: &Config,
    external: &crate::config::ExternalNats,
) -> Result<Credentials, Failure> {
    if let Some(path) = &external.credentials {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                Exit::Invalid,
                format!("read the NATS credentials `{path}`: {error}"),
            )
        })?;
        return Ok(Credentials::File(text));
    }
    let Some(name) = &external.password else {
        return Ok(Credentials::Anonymous);
    };
    let secret = ConfiguredSecrets::new(config.secrets.clone())
        .read(name)
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
    Ok(Credentials::Password {
        user: external.user.to_string(),
        password: secret.expose().to_owned(),
    })
}
