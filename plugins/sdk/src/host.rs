//! What a plugin may ask for, as a trait, so that a plugin's logic runs natively
//! against a fake of it.

use crate::bindings::infraflow::step::types::{Error, StepError};
use crate::bindings::infraflow::step::{ansible, command, git, log, opentofu, secrets, workspace};

/// The host, as far as this SDK knows it. The texts of `wit/` say what each call
/// needs and does.
pub trait Host {
    /// `log.write`
    fn log(&self, level: log::Level, message: &str);

    /// `git.checkout`
    ///
    /// # Errors
    /// What the host answered.
    fn checkout(&self, request: &git::CheckoutRequest) -> Result<git::CheckoutResult, Error>;

    /// `ansible.run-playbook`
    ///
    /// # Errors
    /// What the host answered; failed hosts are not an error of the call.
    fn run_playbook(
        &self,
        request: &ansible::PlaybookRequest,
    ) -> Result<ansible::PlaybookResult, Error>;

    /// `ansible.install-requirements`
    ///
    /// # Errors
    /// What the host answered.
    fn install_requirements(&self, path: &str) -> Result<ansible::PlaybookResult, Error>;

    /// `ansible.ping`
    ///
    /// # Errors
    /// What the host answered; unreachable hosts are not an error of the call.
    fn ping(
        &self,
        inventory: &[String],
        limit: &[String],
        connection: &ansible::Connection,
    ) -> Result<ansible::PlaybookResult, Error>;

    /// `opentofu.init`
    ///
    /// # Errors
    /// What the host answered; so with every call of OpenTofu, whose own
    /// errors are in the result.
    fn tofu_init(&self, module: &opentofu::Module) -> Result<opentofu::Outcome, Error>;

    /// `opentofu.plan`
    ///
    /// # Errors
    /// What the host answered.
    fn tofu_plan(
        &self,
        module: &opentofu::Module,
        destroy: bool,
    ) -> Result<opentofu::PlanResult, Error>;

    /// `opentofu.apply`
    ///
    /// # Errors
    /// What the host answered.
    fn tofu_apply(
        &self,
        module: &opentofu::Module,
        plan: &str,
    ) -> Result<opentofu::ApplyResult, Error>;

    /// `opentofu.destroy`
    ///
    /// # Errors
    /// What the host answered.
    fn tofu_destroy(&self, module: &opentofu::Module) -> Result<opentofu::ApplyResult, Error>;

    /// `opentofu.output`
    ///
    /// # Errors
    /// What the host answered.
    fn tofu_output(&self, module: &opentofu::Module) -> Result<opentofu::ApplyResult, Error>;

    /// `opentofu.show`
    ///
    /// # Errors
    /// What the host answered.
    fn tofu_show(&self, module: &opentofu::Module, plan: &str) -> Result<String, Error>;

    /// `command.run`
    ///
    /// # Errors
    /// What the host answered; an exit code is not an error of the call.
    fn run_command(&self, request: &command::Request) -> Result<command::Output, Error>;

    /// `workspace.read`
    ///
    /// # Errors
    /// What the host answered.
    fn read_file(&self, path: &str) -> Result<Vec<u8>, Error>;

    /// `workspace.write`
    ///
    /// # Errors
    /// What the host answered.
    fn write_file(&self, path: &str, data: &[u8]) -> Result<(), Error>;

    /// `workspace.list`
    ///
    /// # Errors
    /// What the host answered.
    fn list_folder(&self, path: &str) -> Result<Vec<workspace::Entry>, Error>;

    /// `workspace.unpack-upload`
    ///
    /// # Errors
    /// What the host answered.
    fn unpack_upload(&self, upload: &str, path: &str) -> Result<(), Error>;

    /// `secrets.get`
    ///
    /// # Errors
    /// What the host answered.
    fn secret(&self, name: &str) -> Result<String, Error>;
}

/// The real host, over the component's imports.
#[derive(Debug, Clone, Copy)]
pub struct Wit;

impl Host for Wit {
    fn log(&self, level: log::Level, message: &str) {
        log::write(level, message);
    }

    fn checkout(&self, request: &git::CheckoutRequest) -> Result<git::CheckoutResult, Error> {
        git::checkout(request)
    }

    fn run_playbook(
        &self,
        request: &ansible::PlaybookRequest,
    ) -> Result<ansible::PlaybookResult, Error> {
        ansible::run_playbook(request)
    }

    fn install_requirements(&self, path: &str) -> Result<ansible::PlaybookResult, Error> {
        ansible::install_requirements(path)
    }

    fn ping(
        &self,
        inventory: &[String],
        limit: &[String],
        connection: &ansible::Connection,
    ) -> Result<ansible::PlaybookResult, Error> {
        ansible::ping(inventory, limit, connection)
    }

    fn tofu_init(&self, module: &opentofu::Module) -> Result<opentofu::Outcome, Error> {
        opentofu::init(module)
    }

    fn tofu_plan(
        &self,
        module: &opentofu::Module,
        destroy: bool,
    ) -> Result<opentofu::PlanResult, Error> {
        opentofu::plan(module, destroy)
    }

    fn tofu_apply(
        &self,
        module: &opentofu::Module,
        plan: &str,
    ) -> Result<opentofu::ApplyResult, Error> {
        opentofu::apply(module, plan)
    }

    fn tofu_destroy(&self, module: &opentofu::Module) -> Result<opentofu::ApplyResult, Error> {
        opentofu::destroy(module)
    }

    fn tofu_output(&self, module: &opentofu::Module) -> Result<opentofu::ApplyResult, Error> {
        opentofu::output(module)
    }

    fn tofu_show(&self, module: &opentofu::Module, plan: &str) -> Result<String, Error> {
        opentofu::show(module, plan)
    }

    fn run_command(&self, request: &command::Request) -> Result<command::Output, Error> {
        command::run(request)
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>, Error> {
        workspace::read(path)
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<(), Error> {
        workspace::write(path, data)
    }

    fn list_folder(&self, path: &str) -> Result<Vec<workspace::Entry>, Error> {
        workspace::list(path)
    }

    fn unpack_upload(&self, upload: &str, path: &str) -> Result<(), Error> {
        workspace::unpack_upload(upload, path)
    }

    fn secret(&self, name: &str) -> Result<String, Error> {
        secrets::get(name)
    }
}

impl Error {
    /// The error as a sentence for people.
    pub fn text(&self) -> String {
        match self {
            Self::NotGranted(capability) => {
                format!("`{capability}` is not granted to this plugin")
            }
            Self::NotFound(what) => format!("{what} does not exist"),
            Self::LimitExceeded(limit) => format!(
                "limit `{}` of {} {} exceeded",
                limit.name, limit.value, limit.unit
            ),
            Self::Unsupported(what) => format!("{what} is not supported by this host"),
            Self::Invalid(text) | Self::Unavailable(text) | Self::Internal(text) => text.clone(),
        }
    }

    /// Whether trying again without any change may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl StepError {
    /// A failure that trying again does not mend.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            transient: false,
            exit_code: None,
            outputs: None,
        }
    }

    /// Says whether trying again without any change may help.
    #[must_use]
    pub fn transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    /// Gives the exit code of the tool that failed.
    #[must_use]
    pub fn exit_code(mut self, exit_code: Option<i32>) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// Gives what is known in spite of the failure.
    #[must_use]
    pub fn outputs(mut self, outputs: &impl serde::Serialize) -> Self {
        self.outputs = serde_json::to_string(outputs).ok();
        self
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::new(error.text()).transient(error.is_transient())
    }
}
