//! A configured webhook source: its name, its provider, and how it knows that
//! the provider sends.

use std::fmt;

use infraflow_core::event::Provider;
use infraflow_core::id::SourceName;
use infraflow_core::limits;
use infraflow_core::ports::Secret;

use crate::signature::Key;

/// A source of webhooks. Having one means that its requests are checked, or
/// that the operator asked for the opposite by name.
pub struct WebhookSource {
    name: SourceName,
    provider: Provider,
    keys: Vec<Key>,
}

/// What the configuration says about a source.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The source's name: the last part of its address, and `source` of its
    /// triggers.
    pub name: SourceName,
    /// Who sends. Requests of another provider are refused.
    pub provider: Provider,
    /// The secrets of which each request must be signed with one. More than one
    /// only while a secret is changed.
    pub secrets: Vec<Secret>,
    /// `insecure: true`: takes requests from anybody who reaches the address.
    pub insecure: bool,
}

/// Why a source cannot be made of its settings. The operator mends the
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing would be checked.
    #[error(
        "source `{name}` has no secret, so anybody could start its workflows: set `secret` here and in the webhook at the provider, or say `insecure: true`"
    )]
    NoSecret {
        /// The source.
        name: SourceName,
    },
    /// Two answers to one question.
    #[error("source `{name}` has a secret and says `insecure: true`: leave one of them out")]
    SecretAndInsecure {
        /// The source.
        name: SourceName,
    },
    /// A secret that can be guessed.
    #[error(
        "the secret of source `{name}` has {bytes} bytes: use at least {least}, for example what `openssl rand -hex 32` prints",
        least = limits::SECRET_MIN
    )]
    SecretTooShort {
        /// The source.
        name: SourceName,
        /// The secret's length.
        bytes: usize,
    },
}

impl WebhookSource {
    /// Makes a source.
    ///
    /// # Errors
    /// When it would check nothing and does not say so, says both, or has a
    /// secret below [`limits::SECRET_MIN`].
    pub fn new(settings: WebhookSettings) -> Result<Self, SourceError> {
        let WebhookSettings {
            name,
            provider,
            secrets,
            insecure,
        } = settings;
        match (secrets.is_empty(), insecure) {
            (true, false) => return Err(SourceError::NoSecret { name }),
            (false, true) => return Err(SourceError::SecretAndInsecure { name }),
            (true, true) | (false, false) => {}
        }
        let least = limits::SECRET_MIN.to_usize();
        if let Some(short) = secrets.iter().find(|secret| secret.expose().len() < least) {
            let bytes = short.expose().len();
            return Err(SourceError::SecretTooShort { name, bytes });
        }
        Ok(Self {
            name,
            provider,
            keys: secrets.iter().map(Key::new).collect(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &SourceName {
        &self.name
    }

    /// Who sends.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Whether it takes requests that are not signed.
    pub fn is_insecure(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys of which one must have signed. Empty: none has to.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

impl fmt::Debug for WebhookSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSource")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .field("is_insecure", &self.is_insecure())
            .finish_non_exhaustive()
    }
}
