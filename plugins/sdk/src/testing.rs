//! A fake host: it writes down what a plugin asks for and answers from a
//! script. For native tests only.

use std::any::{Any, type_name};
use std::cell::RefCell;
use std::collections::VecDeque;

use crate::bindings::infraflow::step::types::{Context, Error, StepError};
use crate::{Host, Plugin, ansible, command, git, log, opentofu, workspace};

/// A call that a plugin made.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "each is the call of its name, with its arguments"
)]
pub enum Call {
    Log(log::Level, String),
    Checkout(git::CheckoutRequest),
    RunPlaybook(ansible::PlaybookRequest),
    InstallRequirements(String),
    Ping(Vec<String>, Vec<String>, ansible::Connection),
    TofuInit(opentofu::Module),
    TofuPlan(opentofu::Module, bool),
    TofuApply(opentofu::Module, String),
    TofuDestroy(opentofu::Module),
    TofuOutput(opentofu::Module),
    TofuShow(opentofu::Module, String),
    RunCommand(command::Request),
    ReadFile(String),
    WriteFile(String, Vec<u8>),
    ListFolder(String),
    UnpackUpload(String, String),
    Secret(String),
}

enum Answer {
    Value(Box<dyn Any>),
    Error(Error),
}

/// A host that answers from a script, in order.
#[derive(Default)]
pub struct FakeHost {
    script: RefCell<VecDeque<Answer>>,
    calls: RefCell<Vec<Call>>,
}

impl FakeHost {
    /// A host without any answer: every call but `log` fails the test.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers the next call with this value.
    #[must_use]
    pub fn answers<T: Any>(self, value: T) -> Self {
        self.script
            .borrow_mut()
            .push_back(Answer::Value(Box::new(value)));
        self
    }

    /// Answers the next call, whatever it is, with this error.
    #[must_use]
    pub fn refuses(self, error: Error) -> Self {
        self.script.borrow_mut().push_back(Answer::Error(error));
        self
    }

    /// The calls so far, without those of `log`.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.borrow();
        calls
            .iter()
            .filter(|call| !matches!(call, Call::Log(..)))
            .cloned()
            .collect()
    }

    /// The calls so far, in order.
    pub fn all_calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// The messages that were logged.
    pub fn logged(&self) -> Vec<String> {
        let calls = self.calls.borrow();
        calls
            .iter()
            .filter_map(|call| match call {
                Call::Log(_, message) => Some(message.clone()),
                _ => None,
            })
            .collect()
    }

    #[expect(clippy::panic, reason = "a call that a test did not script fails it")]
    fn answer<T: Any>(&self, call: Call) -> Result<T, Error> {
        let shown = format!("{call:?}");
        self.calls.borrow_mut().push(call);
        match self.script.borrow_mut().pop_front() {
            Some(Answer::Error(error)) => Err(error),
            Some(Answer::Value(value)) => match value.downcast::<T>() {
                Ok(value) => Ok(*value),
                Err(_) => panic!("the script has no {} for {shown}", type_name::<T>()),
            },
            None => panic!("the script has no answer for {shown}"),
        }
    }
}

/// A context as a run has it.
pub fn context() -> Context {
    Context {
        run: "0pqs06t6xcxc4bxacpd1xwvht7".into(),
        workflow: "deploy".into(),
        step: "step".into(),
        attempt: 1,
        project: "default".into(),
        environment: "default".into(),
        event: r#"{"id":"1","source":"test","type":"infraflow.trigger","data":{}}"#.into(),
    }
}

/// Runs a plugin as the host does: from JSON to JSON.
///
/// # Errors
/// What the plugin fails with.
#[expect(clippy::panic, reason = "outputs that are no JSON fail the test")]
pub fn run<P: Plugin>(
    host: &FakeHost,
    with: &serde_json::Value,
) -> Result<serde_json::Value, StepError> {
    let text = crate::plugin::run_json::<P>(host, &context(), &with.to_string())?;
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) => panic!("the outputs are no JSON: {error}"),
    }
}

/// Fails the test unless a plugin refuses this input with such a message, and
/// without asking the host for anything, a log line included.
#[expect(clippy::panic, reason = "a test's assertion")]
pub fn check_refused<P: Plugin>(with: &serde_json::Value, expected: &str) {
    let host = FakeHost::new();
    match run::<P>(&host, with) {
        Ok(outputs) => panic!("{with}: it was taken: {outputs}"),
        Err(error) => assert!(
            error.message.contains(expected),
            "{with}: {}",
            error.message
        ),
    }
    assert!(host.all_calls().is_empty(), "{with}");
}

/// Fails the test unless a plugin's input schema names exactly the fields that
/// the plugin reads, and both schemas refuse others.
#[expect(clippy::panic, reason = "a test's assertion")]
pub fn check_schemas<P: Plugin>() {
    let own = P::DESCRIPTION;
    let known = match crate::input::parse::<P::Input>(r#"{ "no_such_field": 1 }"#) {
        Ok(_) => panic!("the input takes unknown fields: use `deny_unknown_fields`"),
        Err(error) => error.message,
    };
    let (_, known) = known.split_once("expected").unwrap_or_default();
    let mut read: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    read.sort_unstable();
    let input = schema(own.input_schema);
    let named: Vec<&str> = match input
        .get("properties")
        .and_then(|properties| properties.as_object())
    {
        Some(properties) => properties.keys().map(String::as_str).collect(),
        None => Vec::new(),
    };
    assert_eq!(named, read, "properties of the schema, and fields");
    for schema in [input, schema(own.output_schema)] {
        assert_eq!(schema.get("type"), Some(&"object".into()));
        assert_eq!(schema.get("additionalProperties"), Some(&false.into()));
    }
}

#[expect(clippy::panic, reason = "a test's assertion")]
fn schema(text: &str) -> serde_json::Value {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("a schema is no JSON: {error}"),
    }
}

impl Host for FakeHost {
    fn log(&self, level: log::Level, message: &str) {
        let call = Call::Log(level, message.to_owned());
        self.calls.borrow_mut().push(call);
    }

    fn checkout(&self, request: &git::CheckoutRequest) -> Result<git::CheckoutResult, Error> {
        self.answer(Call::Checkout(request.clone()))
    }

    fn run_playbook(
        &self,
        request: &ansible::PlaybookRequest,
    ) -> Result<ansible::PlaybookResult, Error> {
        self.answer(Call::RunPlaybook(request.clone()))
    }

    fn install_requirements(&self, path: &str) -> Result<ansible::PlaybookResult, Error> {
        self.answer(Call::InstallRequirements(path.to_owned()))
    }

    fn ping(
        &self,
        inventory: &[String],
        limit: &[String],
        connection: &ansible::Connection,
    ) -> Result<ansible::PlaybookResult, Error> {
        let call = Call::Ping(inventory.to_vec(), limit.to_vec(), connection.clone());
        self.answer(call)
    }

    fn tofu_init(&self, module: &opentofu::Module) -> Result<opentofu::Outcome, Error> {
        self.answer(Call::TofuInit(module.clone()))
    }

    fn tofu_plan(
        &self,
        module: &opentofu::Module,
        destroy: bool,
    ) -> Result<opentofu::PlanResult, Error> {
        self.answer(Call::TofuPlan(module.clone(), destroy))
    }

    fn tofu_apply(
        &self,
        module: &opentofu::Module,
        plan: &str,
    ) -> Result<opentofu::ApplyResult, Error> {
        self.answer(Call::TofuApply(module.clone(), plan.to_owned()))
    }

    fn tofu_destroy(&self, module: &opentofu::Module) -> Result<opentofu::ApplyResult, Error> {
        self.answer(Call::TofuDestroy(module.clone()))
    }

    fn tofu_output(&self, module: &opentofu::Module) -> Result<opentofu::ApplyResult, Error> {
        self.answer(Call::TofuOutput(module.clone()))
    }

    fn tofu_show(&self, module: &opentofu::Module, plan: &str) -> Result<String, Error> {
        self.answer(Call::TofuShow(module.clone(), plan.to_owned()))
    }

    fn run_command(&self, request: &command::Request) -> Result<command::Output, Error> {
        self.answer(Call::RunCommand(request.clone()))
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.answer(Call::ReadFile(path.to_owned()))
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<(), Error> {
        self.answer(Call::WriteFile(path.to_owned(), data.to_vec()))
    }

    fn list_folder(&self, path: &str) -> Result<Vec<workspace::Entry>, Error> {
        self.answer(Call::ListFolder(path.to_owned()))
    }

    fn unpack_upload(&self, upload: &str, path: &str) -> Result<(), Error> {
        self.answer(Call::UnpackUpload(upload.to_owned(), path.to_owned()))
    }

    fn secret(&self, name: &str) -> Result<String, Error> {
        self.answer(Call::Secret(name.to_owned()))
    }
}
