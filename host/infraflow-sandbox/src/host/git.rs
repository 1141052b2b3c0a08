//! `git`: source code into the workspace.

use infraflow_core::grant::HostCall;
use infraflow_core::id::SourceName;
use infraflow_core::tool::{self, CommitId, RefName};

use super::arguments::path;
use super::{Answer, Failure, invalid};
use crate::bindings::infraflow::step::git::{CheckoutRequest, CheckoutResult, Host, Revision};
use crate::state::State;

impl Host for State {
    async fn checkout(&mut self, request: CheckoutRequest) -> Result<CheckoutResult, Failure> {
        self.admit(HostCall::GitCheckout)?;
        let request = checkout_request(&request)?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.checkout(&attempt.scope, request).await;
        self.settle(answer)
    }
}

fn checkout_request(request: &CheckoutRequest) -> Result<tool::CheckoutRequest, Failure> {
    let source = request.source.as_deref().map(SourceName::new).transpose();
    Ok(tool::CheckoutRequest {
        source: source.map_err(|error| invalid(error.to_string()))?,
        revision: match &request.revision {
            Revision::Event => tool::Revision::Event,
            Revision::Commit(id) => tool::Revision::Commit(CommitId::new(id).map_err(invalid)?),
            Revision::Branch(name) => tool::Revision::Branch(RefName::new(name).map_err(invalid)?),
            Revision::Tag(name) => tool::Revision::Tag(RefName::new(name).map_err(invalid)?),
        },
        path: path(&request.path)?,
        depth: match request.depth {
            None => Some(1),
            Some(0) => None,
            Some(depth) => Some(depth),
        },
    })
}

impl Answer for tool::Checkout {
    type Wit = CheckoutResult;

    fn bytes(wit: &CheckoutResult) -> usize {
        wit.commit.len() + wit.subject.len() + wit.path.len()
    }

    fn into_wit(self) -> CheckoutResult {
        CheckoutResult {
            source: self.source.as_str().to_owned(),
            commit: self.commit,
            subject: self.subject,
            path: self.path.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(revision: Revision) -> CheckoutRequest {
        CheckoutRequest {
            source: None,
            revision,
            path: String::new(),
            depth: None,
        }
    }

    #[test]
    fn arguments_become_types() {
        let commit = "a1".repeat(20);
        for (revision, expected) in [
            (Revision::Event, tool::Revision::Event),
            (
                Revision::Commit(commit.clone()),
                tool::Revision::Commit(CommitId::new(&commit).unwrap()),
            ),
            (
                Revision::Branch("main".into()),
                tool::Revision::Branch(RefName::new("main").unwrap()),
            ),
            (
                Revision::Tag("v1".into()),
                tool::Revision::Tag(RefName::new("v1").unwrap()),
            ),
        ] {
            let done = checkout_request(&request(revision)).unwrap();
            assert_eq!(done.revision, expected);
        }
        for (depth, expected) in [(None, Some(1)), (Some(0), None), (Some(7), Some(7))] {
            let done = checkout_request(&CheckoutRequest {
                depth,
                ..request(Revision::Event)
            });
            assert_eq!(done.unwrap().depth, expected);
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for bad in [
            request(Revision::Commit("main".into())),
            request(Revision::Branch("--upload-pack=x".into())),
            request(Revision::Tag("a..b".into())),
            CheckoutRequest {
                source: Some("https://evil".into()),
                ..request(Revision::Event)
            },
            CheckoutRequest {
                path: "../x".into(),
                ..request(Revision::Event)
            },
        ] {
            assert!(
                matches!(checkout_request(&bad), Err(Failure::Refused(_))),
                "{bad:?}"
            );
        }
    }
}
