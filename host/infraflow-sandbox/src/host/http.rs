//! `http`: requests to granted hosts. The grant check stands; behind it there is
//! nothing yet, and no such capability can be granted yet either.

use infraflow_core::grant::HostCall;
use infraflow_core::tool::CallError;
use wasmtime::component::Resource;

use super::arguments::secret_name;
use super::{Failure, invalid};
use crate::bindings::infraflow::step::http::{Header, Host, HostResponse, Request};
use crate::state::State;

/// An answer whose body is read piece by piece. There is none yet.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum Response {}

impl Host for State {
    async fn send(&mut self, request: Request) -> Result<Resource<Response>, Failure> {
        // The address is part of the capability, so it is read first.
        let Some((host, port)) = host_and_port(&request.url) else {
            return Err(invalid(
                "`url` is not the address of a host: expected `http://` or `https://`, a name and no user",
            ));
        };
        self.admit(HostCall::HttpSend {
            host,
            port,
            secrets: &[],
        })?;
        let secrets: Vec<_> = request
            .secret_headers
            .iter()
            .map(|(_, secret)| secret_name(secret))
            .collect::<Result<_, _>>()?;
        self.check(HostCall::HttpSend {
            host,
            port,
            secrets: &secrets,
        })?;
        Err(CallError::Unsupported("http.send".to_owned()).into())
    }
}

impl HostResponse for State {
    async fn status(&mut self, _: Resource<Response>) -> wasmtime::Result<u16> {
        Err(no_response())
    }

    async fn headers(&mut self, _: Resource<Response>) -> wasmtime::Result<Vec<Header>> {
        Err(no_response())
    }

    async fn read(&mut self, _: Resource<Response>, _: u32) -> Result<Vec<u8>, Failure> {
        Err(CallError::Unsupported("http.response.read".to_owned()).into())
    }

    async fn drop(&mut self, _: Resource<Response>) -> wasmtime::Result<()> {
        Err(no_response())
    }
}

/// A guest has no handle that nobody gave it; wasmtime sees to that.
fn no_response() -> wasmtime::Error {
    wasmtime::Error::msg("there is no such response")
}

/// The host and the port of an address.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (rest, default_port) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, 443),
        (None, Some(rest)) => (rest, 80),
        (None, None) => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default_port),
    };
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b));
    named.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, expected) in [
            ("https://api.example/x?y#z", Some(("api.example", 443))),
            ("http://api.example", Some(("api.example", 80))),
            ("http://api.example:8080/", Some(("api.example", 8080))),
            ("https://[::1]:8443/x", Some(("[::1]", 8443))),
            ("https://[::1]", Some(("[::1]", 443))),
            ("https://user@api.example", None),
            ("https://user:pw@api.example", None),
            ("https://api.example:99999", None),
            ("https://", None),
            ("https:///x", None),
            ("ftp://api.example", None),
            ("api.example", None),
            ("https://a b", None),
            ("https://a\\b", None),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }
}
