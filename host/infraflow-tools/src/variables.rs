//! Which environment variables a plugin may set for a tool.
//!
//! Variables that change what the loader, a shell, an interpreter or the tool
//! itself executes are the operator's, not a plugin's.

use infraflow_core::ports::{SecretError, Secrets};
use infraflow_core::tool::{CallError, SecretEnv};

/// Beginnings of names that are refused.
const PREFIXES: [&str; 20] = [
    "ANSIBLE_",
    "BASH_",
    "DYLD_",
    "GCONV_",
    "GIT_",
    "GLIBC_",
    "INFRAFLOW_",
    "JAVA_",
    "JDK_",
    "LD_",
    "LUA_",
    "MALLOC_",
    "NODE_",
    "NPM_",
    "PERL",
    "PYTHON",
    "RUBY",
    "SSH_",
    "SUDO_",
    "_JAVA_",
];

/// Names that are refused.
const NAMES: [&str; 26] = [
    "BASHOPTS",
    "CDPATH",
    "CLASSPATH",
    "EDITOR",
    "ENV",
    "GLOBIGNORE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "NLSPATH",
    "PAGER",
    "PATH",
    "PROMPT_COMMAND",
    "PS4",
    "PWD",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "SHELL",
    "SHELLOPTS",
    "TERMINFO",
    "TMPDIR",
    "USER",
    "VISUAL",
];

/// Of OpenTofu's own variables, those that only carry values.
const TOFU_VALUES: [&str; 3] = ["TF_VAR_", "TF_TOKEN_", "TF_HTTP_"];

/// Checks the name of a variable that a plugin wants to set. `allowed` are
/// names that the operator allows though they are refused otherwise.
///
/// # Errors
/// `Invalid`, with what was expected.
pub(crate) fn check_name(name: &str, allowed: &[String]) -> Result<(), CallError> {
    let shown: String = name.chars().take(80).collect();
    let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest_fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !first_fits || !rest_fits || name.len() > 256 {
        return Err(CallError::Invalid(format!(
            "environment variable `{}`: expected letters, digits and `_`, not starting with a digit",
            shown.escape_debug()
        )));
    }
    if allowed.iter().any(|allowed| allowed == name) || !is_refused(name) {
        return Ok(());
    }
    Err(CallError::Invalid(format!(
        "environment variable `{shown}` cannot be set by a plugin: it changes what is executed"
    )))
}

fn is_refused(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let starts = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
    let of_tofu = (name.starts_with("TF_") || name.starts_with("TOFU_")) && !starts(&TOFU_VALUES);
    starts(&PREFIXES) || NAMES.contains(&name.as_str()) || of_tofu
}

/// Reads the secrets that a request wants as variables.
pub(crate) fn secret_variables(
    secrets: &dyn Secrets,
    wanted: &[SecretEnv],
    allowed: &[String],
) -> Result<Vec<(String, String)>, CallError> {
    let read = |wanted: &SecretEnv| {
        check_name(&wanted.variable, allowed)?;
        let secret = secrets.read(&wanted.secret).map_err(|e| secret_error(&e))?;
        Ok((wanted.variable.clone(), secret.expose().to_owned()))
    };
    wanted.iter().map(read).collect()
}

/// What an unreadable secret means to a plugin.
pub(crate) fn secret_error(error: &SecretError) -> CallError {
    match error {
        SecretError::Unknown(name) => CallError::NotFound(format!("secret `{name}`")),
        SecretError::Unreadable { .. } => CallError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_set() {
        for name in [
            "ENVIRONMENT",
            "AWS_SECRET_ACCESS_KEY",
            "TF_VAR_region",
            "TF_TOKEN_app_terraform_io",
            "TF_HTTP_PASSWORD",
            "_x",
            "HTTP_PROXY",
        ] {
            assert_eq!(check_name(name, &[]), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_change_what_is_executed() {
        for name in [
            "LD_PRELOAD",
            "ld_preload",
            "PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "NODE_OPTIONS",
            "RUBYOPT",
            "BASH_ENV",
            "ENV",
            "IFS",
            "GIT_SSH_COMMAND",
            "HOME",
            "TF_CLI_ARGS",
            "TF_DATA_DIR",
            "TF_LOG",
            "ANSIBLE_LIBRARY",
            "SSH_ASKPASS",
        ] {
            let refused = check_name(name, &[]);
            assert!(matches!(refused, Err(CallError::Invalid(_))), "{name}");
        }
        assert_eq!(check_name("PYTHONPATH", &["PYTHONPATH".to_owned()]), Ok(()));
    }

    #[test]
    fn what_is_no_name() {
        for name in ["", "1a", "a-b", "a=b", "a b", "é", "a\0", &"a".repeat(257)] {
            assert!(check_name(name, &[]).is_err(), "{name:?}");
        }
    }
}
