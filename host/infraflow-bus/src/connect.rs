//! The connection: how to get one, and what state it is in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use tokio::sync::watch;
use tokio::time::timeout;

/// Where NATS is and who we are there.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// Addresses, `nats://host:port` or `tls://host:port`; several with commas
    /// between them.
    pub url: String,
    /// Who we are.
    pub credentials: Credentials,
    /// The name of the connection in the server's lists.
    pub name: String,
    /// The longest wait for the first connection.
    pub connect_timeout: Duration,
    /// The prefix of inboxes. Unset: the client's own.
    pub inbox_prefix: Option<String>,
}

/// Who we are for the server.
#[derive(Clone)]
pub enum Credentials {
    /// Nobody: a server without authorization.
    Anonymous,
    /// A user and its password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// The text of a credentials file (a JWT and its seed).
    File(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user}, <redacted>)"),
            Self::File(_) => f.write_str("File(<redacted>)"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials are not any.
    #[error("read the NATS credentials")]
    Credentials(#[source] std::io::Error),
    /// The server does not answer, or refuses us.
    #[error("connect to NATS at `{url}`")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: async_nats::ConnectError,
    },
}

/// Requests that wait in memory for the connection. More make their senders
/// wait.
const QUEUED_COMMANDS: usize = 8_192;

/// Deliveries of one subscription that wait in memory.
const QUEUED_DELIVERIES: usize = 65_536;

/// How long a request may take before its outcome counts as unknown.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause between two tries to connect again.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A connection to NATS. Cloning is cheap; all clones share it. It connects
/// again by itself for as long as it takes.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    connected: watch::Receiver<bool>,
    closing: Arc<AtomicBool>,
}

impl Bus {
    /// Connects.
    ///
    /// # Errors
    /// When the credentials are not any, or there is no connection within
    /// `connect_timeout`.
    pub async fn connect(config: BusConfig) -> Result<Self, ConnectError> {
        let (sender, connected) = watch::channel(true);
        let mut options = match config.credentials {
            Credentials::Anonymous => async_nats::ConnectOptions::new(),
            Credentials::Password { user, password } => {
                async_nats::ConnectOptions::with_user_and_password(user, password)
            }
            Credentials::File(text) => async_nats::ConnectOptions::with_credentials(&text)
                .map_err(ConnectError::Credentials)?,
        };
        if let Some(prefix) = config.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        let options = options
            .name(config.name)
            .connection_timeout(config.connect_timeout)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .client_capacity(QUEUED_COMMANDS)
            .subscription_capacity(QUEUED_DELIVERIES)
            .ping_interval(Duration::from_secs(10))
            .max_reconnects(None)
            // The client waits before the first try, too, which is number 1.
            .reconnect_delay_callback(|tries| {
                let millis = u64::try_from(tries.saturating_sub(1))
                    .unwrap_or(u64::MAX)
                    .saturating_mul(50);
                Duration::from_millis(millis).min(RECONNECT_DELAY)
            })
            .event_callback(move |event| {
                let sender = sender.clone();
                async move { note(&event, &sender) }
            });
        let addresses: Vec<String> = config
            .url
            .split(',')
            .map(|url| url.trim().to_owned())
            .collect();
        let client = options
            .connect(addresses)
            .await
            .map_err(|source| ConnectError::Connect {
                url: config.url,
                source,
            })?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(REQUEST_TIMEOUT);
        Ok(Self {
            client,
            jetstream,
            connected,
            closing: Arc::default(),
        })
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Waits until the connection stands. Cancel-safe.
    pub async fn connected(&self) {
        let mut connected = self.connected.clone();
        // The sender lives as long as the client, which lives as long as we do.
        if connected.wait_for(|connected| *connected).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Changes of the state of the connection from now on: each means that what
    /// was asked of the server may have to be asked again.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        let mut changes = self.connected.clone();
        changes.borrow_and_update();
        changes
    }

    /// Whether JetStream answers.
    pub async fn has_jetstream(&self) -> bool {
        self.jetstream.query_account().await.is_ok()
    }

    /// The server's version.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Waits until everything that was published has been handed to the server.
    /// A bounded time; what is not handed over by then is on its way still.
    pub async fn flush(&self) {
        match timeout(REQUEST_TIMEOUT, self.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "NATS connection not flushed"),
            Err(_) => tracing::warn!("NATS connection not flushed: no answer"),
        }
    }

    /// Whether the connection ends because it was asked to.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Hands over what was published, as [`Bus::flush`], and ends the connection.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let mut connected = self.connected.clone();
        if !*connected.borrow() {
            return;
        }
        self.flush().await;
        let closed = async {
            // Errors mean that the connection has ended already.
            drop(self.client.drain().await);
            drop(connected.wait_for(|connected| !connected).await);
        };
        if timeout(REQUEST_TIMEOUT, closed).await.is_err() {
            tracing::warn!("NATS connection not closed in order");
        }
    }
}

fn note(event: &async_nats::Event, sender: &watch::Sender<bool>) {
    match event {
        async_nats::Event::Connected => {
            sender.send_replace(true);
            tracing::info!("connected to NATS");
        }
        async_nats::Event::Disconnected => {
            sender.send_replace(false);
            tracing::warn!("connection to NATS lost, connecting again");
        }
        async_nats::Event::Closed => {
            sender.send_replace(false);
        }
        async_nats::Event::SlowConsumer(subscription) => {
            tracing::warn!(
                subscription,
                "NATS deliveries dropped: this host is too slow for them"
            );
        }
        async_nats::Event::ServerError(error) => tracing::error!(%error, "NATS server error"),
        async_nats::Event::ClientError(error) => tracing::warn!(%error, "NATS client error"),
        other => tracing::debug!(event = %other, "NATS connection"),
    }
}
