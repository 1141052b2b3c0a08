//! HMAC-SHA256 signatures in headers, checked in constant time.
//!
//! Forgejo and Gitea put the same digest into several headers. Every one that a
//! request has must be right, so that nothing in front can add a weaker one;
//! at least one must be there. A digest that is empty, in upper case, with the
//! wrong prefix or of another length is wrong: providers without a secret send
//! empty ones.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use infraflow_core::ports::Secret;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// Headers that hold a digest, and what stands before it.
const HEADERS: [(&str, &str); 3] = [
    ("x-forgejo-signature", ""),
    ("x-gitea-signature", ""),
    ("x-hub-signature-256", "sha256="),
];

/// A secret, ready to sign with.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

type Digest = [u8; 32];

impl Key {
    pub(crate) fn new(secret: &Secret) -> Self {
        let hmac = Hmac::new_from_slice(secret.expose().as_bytes());
        Self(hmac.expect("HMAC takes keys of any length"))
    }

    /// The digest of some bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Digest {
        let mut hmac = self.0.clone();
        hmac.update(bytes);
        hmac.finalize().into_bytes().into()
    }
}

/// The signatures that a request claims to have.
#[derive(Debug)]
pub(crate) struct Claimed(Vec<Option<Digest>>);

/// Reads the signatures of a request; `None` when it has none at all.
pub(crate) fn claimed(headers: &HeaderMap) -> Option<Claimed> {
    let digests: Vec<Option<Digest>> = HEADERS
        .iter()
        .flat_map(|(name, prefix)| {
            headers
                .get_all(*name)
                .iter()
                .map(|value| digest(value.as_bytes(), prefix))
        })
        .collect();
    (!digests.is_empty()).then_some(Claimed(digests))
}

impl Claimed {
    /// Whether every signature is that of these bytes by one of the keys. Takes
    /// the same time for each wrong signature of the right form.
    pub(crate) fn is_by_one_of(&self, keys: &[Key], bytes: &[u8]) -> bool {
        let mut right = Choice::from(0);
        for key in keys {
            let digest = key.sign(bytes);
            let mut all = Choice::from(1);
            for claimed in &self.0 {
                all &= match claimed {
                    Some(claimed) => claimed.ct_eq(&digest),
                    None => Choice::from(0),
                };
            }
            right |= all;
        }
        right.into()
    }
}

fn digest(value: &[u8], prefix: &str) -> Option<Digest> {
    let digits = value.strip_prefix(prefix.as_bytes())?;
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).ok()?;
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn is_right(headers: &[(&'static str, &str)]) -> Option<bool> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        // GitHub's documented example.
        let keys = ["another secret", "It's a Secret to Everybody"];
        let keys = keys.map(|secret| Key::new(&Secret::new(secret)));
        claimed(&map).map(|claimed| claimed.is_by_one_of(&keys, b"Hello, World!"))
    }

    #[test]
    fn signatures() {
        let prefixed = format!("sha256={DIGEST}");
        let upper = DIGEST.to_uppercase();
        let wrong = DIGEST.replace("17", "18");
        let sha1 = format!("sha1={}", "0".repeat(40));
        for (headers, expected) in [
            (vec![("x-forgejo-signature", DIGEST)], Some(true)),
            (vec![("X-Gitea-Signature", DIGEST)], Some(true)),
            (vec![("x-hub-signature-256", &prefixed)], Some(true)),
            (
                vec![
                    ("x-forgejo-signature", DIGEST),
                    ("x-gitea-signature", DIGEST),
                    ("x-hub-signature-256", &prefixed),
                ],
                Some(true),
            ),
            (vec![], None),
            (vec![("x-hub-signature", &*sha1)], None),
            (vec![("x-gogs-signature", DIGEST)], None),
            (vec![("x-forgejo-signature", &wrong)], Some(false)),
            (vec![("x-forgejo-signature", &upper)], Some(false)),
            (vec![("x-forgejo-signature", "")], Some(false)),
            (vec![("x-forgejo-signature", &prefixed)], Some(false)),
            (vec![("x-forgejo-signature", "zz")], Some(false)),
            (vec![("x-hub-signature-256", DIGEST)], Some(false)),
            (vec![("x-hub-signature-256", "sha256=")], Some(false)),
            (vec![("x-hub-signature-256", "SHA256=00")], Some(false)),
            // One that is wrong beside one that is right.
            (
                vec![("x-forgejo-signature", DIGEST), ("x-gitea-signature", "")],
                Some(false),
            ),
            (
                vec![
                    ("x-forgejo-signature", DIGEST),
                    ("x-forgejo-signature", &wrong),
                ],
                Some(false),
            ),
        ] {
            assert_eq!(is_right(&headers), expected, "{headers:?}");
        }
    }
}
