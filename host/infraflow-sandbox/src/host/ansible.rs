//! `ansible`: playbooks in the jail.

use infraflow_core::grant::HostCall;
use infraflow_core::id::SecretName;
use infraflow_core::tool::{self, Become, Diff, PingRequest, PlaybookEnding, PlaybookMode};

use super::arguments::{path, paths, secret_name, variables, word, words};
use super::{Answer, Failure, invalid};
use crate::bindings::infraflow::step::ansible::{
    Connection, Ending, Host, HostStats, PlaybookRequest, PlaybookResult,
};
use crate::limits::{FORKS, VERBOSITY};
use crate::state::State;

impl Host for State {
    async fn run_playbook(&mut self, request: PlaybookRequest) -> Result<PlaybookResult, Failure> {
        self.admit(HostCall::AnsibleRunPlaybook { secrets: &[] })?;
        let request = playbook_request(request)?;
        let secrets = secrets_of(&request.connection);
        self.check(HostCall::AnsibleRunPlaybook { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.run_playbook(&attempt.scope, request).await;
        self.settle(answer)
    }

    async fn install_requirements(&mut self, file: String) -> Result<PlaybookResult, Failure> {
        self.admit(HostCall::AnsibleInstallRequirements)?;
        let file = path(&file)?;
        let attempt = self.attempt()?;
        let answer = attempt
            .tools
            .install_requirements(&attempt.scope, file)
            .await;
        self.settle(answer)
    }

    async fn ping(
        &mut self,
        inventory: Vec<String>,
        limit: Vec<String>,
        connection: Connection,
    ) -> Result<PlaybookResult, Failure> {
        self.admit(HostCall::AnsiblePing { secrets: &[] })?;
        let request = PingRequest {
            inventory: paths("inventory", &inventory)?,
            limit: words("limit", limit)?,
            connection: how_to_connect(connection)?,
        };
        let secrets = secrets_of(&request.connection);
        self.check(HostCall::AnsiblePing { secrets: &secrets })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.ping(&attempt.scope, request).await;
        self.settle(answer)
    }
}

fn playbook_request(request: PlaybookRequest) -> Result<tool::PlaybookRequest, Failure> {
    if request.playbook.is_empty() {
        return Err(invalid("`playbook` is empty: expected a file"));
    }
    if request.verbosity > VERBOSITY {
        return Err(invalid(format!(
            "`verbosity` is {}: expected 0 to {VERBOSITY}",
            request.verbosity
        )));
    }
    Ok(tool::PlaybookRequest {
        playbook: path(&request.playbook)?,
        inventory: paths("inventory", &request.inventory)?,
        limit: words("limit", request.limit)?,
        tags: words("tags", request.tags)?,
        skip_tags: words("skip-tags", request.skip_tags)?,
        extra_vars: variables("extra-vars", &request.extra_vars)?,
        mode: if request.check {
            PlaybookMode::Check
        } else {
            PlaybookMode::Apply
        },
        diff: if request.diff { Diff::Show } else { Diff::Hide },
        forks: request.forks.map(forks).transpose()?,
        verbosity: request.verbosity,
        connection: how_to_connect(request.connection)?,
    })
}

fn forks(count: u32) -> Result<u16, Failure> {
    u16::try_from(count)
        .ok()
        .filter(|_| (1..=FORKS).contains(&count))
        .ok_or_else(|| invalid(format!("`forks` is {count}: expected 1 to {FORKS}")))
}

fn how_to_connect(connection: Connection) -> Result<tool::Connection, Failure> {
    let name = |text: Option<String>| text.as_deref().map(secret_name).transpose();
    if let Some(user) = &connection.user {
        word("user", user)?;
    }
    let become_user = match (connection.become_, connection.become_user) {
        (Some(false), Some(_)) => {
            return Err(invalid("`become-user` is set and `become` is false"));
        }
        (None | Some(false), None) => Become::AsPlaybook,
        (Some(true), None) => Become::Root,
        (None | Some(true), Some(user)) => {
            word("become-user", &user)?;
            Become::User(user)
        }
    };
    Ok(tool::Connection {
        user: connection.user,
        private_key: name(connection.private_key)?,
        known_hosts: name(connection.known_hosts)?,
        vault_password: name(connection.vault_password)?,
        become_user,
    })
}

fn secrets_of(connection: &tool::Connection) -> Vec<SecretName> {
    let names = [
        &connection.private_key,
        &connection.known_hosts,
        &connection.vault_password,
    ];
    names.into_iter().flatten().cloned().collect()
}

impl Answer for tool::PlaybookResult {
    type Wit = PlaybookResult;

    fn signal(&self) -> Option<i32> {
        self.end.signal()
    }

    fn bytes(wit: &PlaybookResult) -> usize {
        let hosts: usize = wit
            .hosts
            .iter()
            .map(|host| host.host.len() + size_of::<HostStats>())
            .sum();
        hosts + wit.custom_stats.len() + wit.message.len()
    }

    fn into_wit(self) -> PlaybookResult {
        PlaybookResult {
            exit_code: self.end.exit_code(),
            ending: match self.ending {
                PlaybookEnding::Succeeded => Ending::Succeeded,
                PlaybookEnding::HostsFailed => Ending::HostsFailed,
                PlaybookEnding::HostsUnreachable => Ending::HostsUnreachable,
                PlaybookEnding::NotRun => Ending::NotRun,
                PlaybookEnding::Signalled => Ending::Signalled,
            },
            hosts: self.hosts.into_iter().map(host_stats).collect(),
            custom_stats: infraflow_core::Json::Object(self.custom_stats).to_string(),
            message: self.message,
        }
    }
}

fn host_stats(host: tool::HostStats) -> HostStats {
    HostStats {
        host: host.host,
        ok: host.ok,
        changed: host.changed,
        failures: host.failures,
        unreachable: host.unreachable,
        skipped: host.skipped,
        rescued: host.rescued,
        ignored: host.ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            user: None,
            private_key: None,
            known_hosts: None,
            vault_password: None,
            become_: None,
            become_user: None,
        }
    }

    fn request() -> PlaybookRequest {
        PlaybookRequest {
            playbook: "site.yml".into(),
            inventory: vec![],
            limit: vec![],
            tags: vec![],
            skip_tags: vec![],
            extra_vars: String::new(),
            check: false,
            diff: false,
            forks: None,
            verbosity: 0,
            connection: connection(),
        }
    }

    #[test]
    fn arguments_become_types() {
        let done = playbook_request(PlaybookRequest {
            check: true,
            diff: true,
            forks: Some(500),
            verbosity: 4,
            extra_vars: r#"{"a": 1}"#.into(),
            ..request()
        })
        .unwrap();
        assert_eq!((done.mode, done.diff), (PlaybookMode::Check, Diff::Show));
        assert_eq!((done.forks, done.verbosity), (Some(500), 4));
        assert_eq!(done.extra_vars.len(), 1);
    }

    #[test]
    fn becoming() {
        let user = || Some("www".to_owned());
        for (become_, become_user, expected) in [
            (None, None, Become::AsPlaybook),
            (Some(false), None, Become::AsPlaybook),
            (Some(true), None, Become::Root),
            (None, user(), Become::User("www".into())),
            (Some(true), user(), Become::User("www".into())),
        ] {
            let done = how_to_connect(Connection {
                become_,
                become_user,
                ..connection()
            });
            assert_eq!(done.unwrap().become_user, expected);
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let with = |connection| PlaybookRequest {
            connection,
            ..request()
        };
        for bad in [
            PlaybookRequest {
                playbook: String::new(),
                ..request()
            },
            PlaybookRequest {
                playbook: "/etc/passwd".into(),
                ..request()
            },
            PlaybookRequest {
                inventory: vec!["../x".into()],
                ..request()
            },
            PlaybookRequest {
                inventory: vec!["x".into(); 17],
                ..request()
            },
            PlaybookRequest {
                limit: vec![String::new()],
                ..request()
            },
            PlaybookRequest {
                tags: vec!["a\nb".into()],
                ..request()
            },
            PlaybookRequest {
                skip_tags: vec!["-x".into()],
                ..request()
            },
            PlaybookRequest {
                extra_vars: "a=b".into(),
                ..request()
            },
            PlaybookRequest {
                forks: Some(0),
                ..request()
            },
            PlaybookRequest {
                forks: Some(501),
                ..request()
            },
            PlaybookRequest {
                forks: Some(70_000),
                ..request()
            },
            PlaybookRequest {
                verbosity: 5,
                ..request()
            },
            with(Connection {
                user: Some("-oProxyCommand=x".into()),
                ..connection()
            }),
            with(Connection {
                private_key: Some("a b".into()),
                ..connection()
            }),
            with(Connection {
                become_user: Some(String::new()),
                ..connection()
            }),
            with(Connection {
                become_: Some(false),
                become_user: Some("www".into()),
                ..connection()
            }),
        ] {
            let shown = format!("{bad:?}");
            assert!(
                matches!(playbook_request(bad), Err(Failure::Refused(_))),
                "{shown}"
            );
        }
    }
}
