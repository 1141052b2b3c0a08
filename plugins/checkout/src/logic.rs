//! What `checkout` does: decides what to check out, asks the host for it, and
//! says what is there now. It never sees the repository's address.

use infraflow_step::git::{CheckoutRequest, Revision};
use infraflow_step::{Context, Description, Host, Plugin, StepError};
use serde::{Deserialize, Serialize};

/// The plugin.
#[derive(Debug)]
pub struct Checkout;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    source: Option<String>,
    commit: Option<String>,
    branch: Option<String>,
    tag: Option<String>,
    path: Option<String>,
    depth: Option<u32>,
    upload: Option<String>,
}

/// The step's outputs. Of an upload only `path` and `upload` are known.
#[derive(Debug, Serialize)]
pub struct Output {
    source: Option<String>,
    commit: Option<String>,
    subject: Option<String>,
    path: String,
    upload: Option<String>,
}

impl Plugin for Checkout {
    type Input = Input;
    type Output = Output;
    const DESCRIPTION: Description = Description {
        name: "checkout",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Puts the files of a commit into the run's workspace",
        input_schema: include_str!("input.schema.json"),
        output_schema: include_str!("output.schema.json"),
        capabilities: &[
            ("git", "to fetch commits of the configured sources"),
            ("workspace:rw", "to put the files there"),
            ("network", "to reach sources with an https or ssh address"),
        ],
        idempotent: true,
        writes_workspace: true,
    };

    fn run(host: &dyn Host, _: &Context, input: Input) -> Result<Output, StepError> {
        match plan(input)? {
            Plan::Git(request) => {
                let done = host.checkout(&request)?;
                Ok(Output {
                    source: Some(done.source),
                    commit: Some(done.commit),
                    subject: Some(done.subject),
                    path: done.path,
                    upload: None,
                })
            }
            Plan::Upload { digest, path } => {
                host.unpack_upload(&digest, &path)?;
                Ok(Output {
                    source: None,
                    commit: None,
                    subject: None,
                    path,
                    upload: Some(digest),
                })
            }
        }
    }
}

enum Plan {
    Git(CheckoutRequest),
    Upload { digest: String, path: String },
}

fn plan(input: Input) -> Result<Plan, StepError> {
    let path = input.path.unwrap_or_default();
    let revisions = [
        ("commit", input.commit.map(Revision::Commit)),
        ("branch", input.branch.map(Revision::Branch)),
        ("tag", input.tag.map(Revision::Tag)),
    ];
    let mut given = revisions
        .into_iter()
        .filter_map(|(name, revision)| revision.map(|revision| (name, revision)));
    let revision = given.next();
    if let (Some((first, _)), Some((second, _))) = (&revision, given.next()) {
        return Err(StepError::new(format!(
            "`with` has both `{first}` and `{second}`: give one of `commit`, `branch` and `tag`, \
             or none for the commit of the run's event"
        )));
    }
    let Some(digest) = input.upload else {
        return Ok(Plan::Git(CheckoutRequest {
            source: input.source,
            revision: revision.map_or(Revision::Event, |(_, revision)| revision),
            path,
            depth: input.depth,
        }));
    };
    let other = match (&input.source, &revision, input.depth) {
        (Some(_), _, _) => Some("source"),
        (_, Some((name, _)), _) => Some(*name),
        (_, _, Some(_)) => Some("depth"),
        (None, None, None) => None,
    };
    match other {
        Some(name) => Err(StepError::new(format!(
            "`with` has both `upload` and `{name}`: an upload is not a commit, take one of them out"
        ))),
        None => Ok(Plan::Upload { digest, path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_step::git::CheckoutResult;
    use infraflow_step::testing::{Call, FakeHost, run};
    use infraflow_step::{Error, Limit};
    use serde_json::json;

    fn answer() -> CheckoutResult {
        CheckoutResult {
            source: "shop-repo".into(),
            commit: "2".repeat(40),
            subject: "change the web server".into(),
            path: "src".into(),
        }
    }

    fn request(revision: Revision) -> CheckoutRequest {
        CheckoutRequest {
            source: None,
            revision,
            path: String::new(),
            depth: None,
        }
    }

    #[test]
    fn good_inputs_become_requests() {
        for (with, expected) in [
            (json!({}), request(Revision::Event)),
            (
                json!({ "commit": "ab" }),
                request(Revision::Commit("ab".into())),
            ),
            (
                json!({ "branch": "main" }),
                request(Revision::Branch("main".into())),
            ),
            (
                json!({ "tag": "v1", "source": "other", "path": "src", "depth": 0 }),
                CheckoutRequest {
                    source: Some("other".into()),
                    path: "src".into(),
                    depth: Some(0),
                    ..request(Revision::Tag("v1".into()))
                },
            ),
            (
                json!({ "branch": null, "depth": 5 }),
                CheckoutRequest {
                    depth: Some(5),
                    ..request(Revision::Event)
                },
            ),
        ] {
            let host = FakeHost::new().answers(answer());
            let outputs = run::<Checkout>(&host, &with).unwrap();
            assert_eq!(host.calls(), [Call::Checkout(expected)], "{with}");
            assert_eq!(
                outputs,
                json!({
                    "source": "shop-repo",
                    "commit": "2".repeat(40),
                    "subject": "change the web server",
                    "path": "src",
                    "upload": null,
                })
            );
        }
    }

    #[test]
    fn an_upload_is_unpacked() {
        let host = FakeHost::new().answers(());
        let outputs = run::<Checkout>(&host, &json!({ "upload": "sha256:ab", "path": "x" }));
        assert_eq!(
            host.calls(),
            [Call::UnpackUpload("sha256:ab".into(), "x".into())]
        );
        assert_eq!(
            outputs.unwrap(),
            json!({ "source": null, "commit": null, "subject": null, "path": "x", "upload": "sha256:ab" })
        );
    }

    #[test]
    fn bad_inputs_ask_the_host_for_nothing() {
        for (with, expected) in [
            (
                json!({ "commit": "ab", "tag": "v1" }),
                "`with` has both `commit` and `tag`",
            ),
            (
                json!({ "branch": "b", "tag": "v1" }),
                "`with` has both `branch` and `tag`",
            ),
            (
                json!({ "upload": "sha256:ab", "source": "s" }),
                "`with` has both `upload` and `source`",
            ),
            (
                json!({ "upload": "sha256:ab", "branch": "b" }),
                "`with` has both `upload` and `branch`",
            ),
            (
                json!({ "upload": "sha256:ab", "depth": 1 }),
                "`with` has both `upload` and `depth`",
            ),
            (json!({ "url": "https://x" }), "unknown field `url`"),
            (
                json!({ "depth": -1 }),
                "`with.depth`: invalid value: integer `-1`",
            ),
            (
                json!({ "depth": "1" }),
                "`with.depth`: invalid type: string",
            ),
            (
                json!({ "source": 1 }),
                "`with.source`: invalid type: integer",
            ),
            (json!("main"), "`with`: expected a map"),
        ] {
            let host = FakeHost::new();
            let error = run::<Checkout>(&host, &with).unwrap_err();
            assert!(
                error.message.contains(expected),
                "{with}: {}",
                error.message
            );
            assert!(!error.transient && host.calls().is_empty());
        }
    }

    #[test]
    fn host_errors_are_passed_on() {
        let limit = Limit {
            name: "upload".into(),
            value: 64,
            unit: "bytes".into(),
        };
        for (error, message, transient) in [
            (
                Error::NotGranted("git".into()),
                "`git` is not granted to this plugin",
                false,
            ),
            (
                Error::NotFound("source `x`".into()),
                "source `x` does not exist",
                false,
            ),
            (Error::Invalid("no commit".into()), "no commit", false),
            (
                Error::LimitExceeded(limit),
                "limit `upload` of 64 bytes exceeded",
                false,
            ),
            (
                Error::Unavailable("git is not installed".into()),
                "git is not installed",
                true,
            ),
            (
                Error::Unsupported("git.checkout".into()),
                "git.checkout is not supported by this host",
                false,
            ),
            (Error::Internal("disk".into()), "disk", false),
        ] {
            for with in [json!({}), json!({ "upload": "sha256:ab" })] {
                let host = FakeHost::new().refuses(error.clone());
                let failed = run::<Checkout>(&host, &with).unwrap_err();
                assert_eq!(failed.message, message);
                assert_eq!(failed.transient, transient);
            }
        }
    }

    #[test]
    fn the_schemas_name_every_field() {
        infraflow_step::testing::check_schemas::<Checkout>();
    }
}
