//! `secrets`: values of the configuration, for a guest that is trusted with
//! them.

use infraflow_core::grant::HostCall;
use infraflow_core::ports::SecretError;
use infraflow_core::tool::CallError;

use super::Failure;
use super::arguments::secret_name;
use crate::bindings::infraflow::step::secrets::Host;
use crate::state::State;

impl Host for State {
    async fn get(&mut self, name: String) -> Result<String, Failure> {
        // The name is part of the capability, so it is read first.
        let name = secret_name(&name)?;
        self.admit(HostCall::SecretsGet { name: &name })?;
        let answer = self.attempt()?.secrets.read(&name);
        let secret = answer.map_err(|error| match error {
            SecretError::Unknown(name) => CallError::NotFound(format!("secret `{name}`")),
            unreadable @ SecretError::Unreadable { .. } => {
                CallError::Unavailable(unreadable.to_string())
            }
        });
        if let (Ok(secret), Some(attempt)) = (&secret, &mut self.attempt) {
            // A value that was rotated after the attempt began is masked too,
            // before the guest has it.
            let value = secret.expose();
            if !attempt.scope.mask.occurs_in(value) {
                attempt.scope.mask = attempt.scope.mask.with([value]);
            }
        }
        self.settle(secret.map(|secret| secret.expose().to_owned()))
    }
}
