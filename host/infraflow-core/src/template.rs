//! `{{ }}`: expressions of workflows (minijinja), strict and bounded.
//!
//! - A text that is exactly one `{{ expression }}` keeps the expression's type:
//!   `"{{ inputs.count }}"` may be a number. Any other text with `{{ }}` is a
//!   text.
//! - A name that does not exist is an error that says which name and what names
//!   there are, also where Jinja would quietly compare it, unless the
//!   expression itself asks (`is defined`, `default(...)`).
//! - An expression has no side effect, takes at most
//!   [`limits::TEMPLATE_FUEL`] instructions and gives at most
//!   [`limits::TEMPLATE_OUTPUT`] bytes.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior};

use crate::limits;
use crate::nearest::nearest;
use crate::{Json, JsonMap};

/// Names that an expression may start with.
pub const ROOTS: [&str; 9] = [
    "event",
    "inputs",
    "vars",
    "steps",
    "item",
    "run",
    "workflow",
    "project",
    "environment",
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(limits::TEMPLATE_FUEL));
    environment.set_recursion_limit(64);
    // Nothing here makes HTML.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.remove_global("debug");
    environment
});

/// Why a template cannot be compiled or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}`: {reason}")]
pub struct TemplateError {
    /// The template, cut to 120 characters.
    pub template: String,
    /// What is wrong, and what names there are.
    pub reason: String,
}

fn error(template: &str, reason: impl Into<String>) -> TemplateError {
    TemplateError {
        template: template.chars().take(120).collect(),
        reason: reason.into(),
    }
}

/// What an expression sees.
#[derive(Debug, Default)]
pub struct Scope {
    roots: JsonMap,
    value: OnceLock<Value>,
}

impl Scope {
    /// A scope of these roots.
    pub fn new(roots: JsonMap) -> Self {
        Self {
            roots,
            value: OnceLock::new(),
        }
    }

    fn value(&self) -> Value {
        self.value
            .get_or_init(|| Value::from(minijinja::value::Serde(&self.roots)))
            .clone()
    }

    /// The names of the object at `path`, for an error text.
    fn names_at(&self, path: &[&str]) -> Option<Vec<&str>> {
        let mut map = &self.roots;
        for name in path {
            map = map.get(*name)?.as_object()?;
        }
        Some(map.keys().map(String::as_str).collect())
    }
}

/// A compiled expression, as in `when`.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    compiled: Arc<Expression<'static, 'static>>,
    paths: Arc<[String]>,
    tolerates_missing: bool,
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source)
    }
}

impl Expr {
    /// Compiles an expression, with or without `{{ }}` around it.
    ///
    /// # Errors
    /// When it is not a Jinja expression.
    pub fn compile(text: &str) -> Result<Self, TemplateError> {
        let source = unwrapped(text).unwrap_or(text).trim();
        let compiled = ENVIRONMENT
            .compile_expression_owned(source.to_owned())
            .map_err(|cause| error(text, describe(&cause)))?;
        let mut paths: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
        paths.retain(|path| !is_function(path));
        paths.sort();
        let tolerates_missing = asks_for_missing(source);
        Ok(Self {
            source: source.into(),
            compiled: Arc::new(compiled),
            paths: paths.into(),
            tolerates_missing,
        })
    }

    /// The expression as text, without `{{ }}`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The dotted names that it uses, for example `steps.plan.outputs.changes`,
    /// sorted.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Whether it asks for missing names itself.
    pub fn tolerates_missing(&self) -> bool {
        self.tolerates_missing
    }

    /// Computes its value.
    ///
    /// # Errors
    /// When a name does not exist, an operation does not fit, or a bound is hit.
    pub fn eval(&self, scope: &Scope) -> Result<Json, TemplateError> {
        let value = self.eval_value(scope)?;
        if value.is_undefined() {
            return Err(error(&self.source, "has no value"));
        }
        let json = serde_json::to_value(&value)
            .map_err(|cause| error(&self.source, format!("is not a JSON value: {cause}")))?;
        check_size(&self.source, json_bytes(&json))?;
        Ok(json)
    }

    /// Computes its truth, by Jinja's rules.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn is_true(&self, scope: &Scope) -> Result<bool, TemplateError> {
        self.eval_value(scope).map(|value| value.is_true())
    }

    fn eval_value(&self, scope: &Scope) -> Result<Value, TemplateError> {
        if !self.tolerates_missing {
            check_names(&self.source, &self.paths, scope)?;
        }
        self.compiled
            .eval(scope.value())
            .map_err(|cause| error(&self.source, describe(&cause)))
    }
}

/// A compiled text with `{{ }}` in it.
#[derive(Debug, Clone)]
pub struct Text {
    source: Arc<str>,
    paths: Arc<[String]>,
    tolerates_missing: bool,
}

impl Text {
    fn compile(text: &str) -> Result<Self, TemplateError> {
        let template = ENVIRONMENT
            .template_from_named_str("template", text)
            .map_err(|cause| error(text, describe(&cause)))?;
        let mut paths: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        paths.retain(|path| !is_function(path));
        paths.sort();
        Ok(Self {
            source: text.into(),
            paths: paths.into(),
            tolerates_missing: asks_for_missing(text),
        })
    }

    fn render(&self, scope: &Scope) -> Result<String, TemplateError> {
        if !self.tolerates_missing {
            check_names(&self.source, &self.paths, scope)?;
        }
        let text = ENVIRONMENT
            .render_str(&self.source, scope.value())
            .map_err(|cause| error(&self.source, describe(&cause)))?;
        check_size(&self.source, text.len())?;
        Ok(text)
    }
}

/// A document whose texts may hold templates: `with`, `vars`, `inputs`.
#[derive(Debug, Clone)]
pub enum Template {
    /// A value without templates.
    Literal(Json),
    /// A text that is one expression; keeps its type.
    Expr(Expr),
    /// A text with expressions in it.
    Text(Text),
    /// A list with templates in it.
    List(Vec<Template>),
    /// An object with templates in it.
    Map(Vec<(String, Template)>),
}

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    /// When an expression in it is not Jinja.
    pub fn compile_text(text: &str) -> Result<Self, TemplateError> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self::Literal(Json::from(text)));
        }
        if unwrapped(text).is_some()
            && let Ok(expr) = Expr::compile(text)
        {
            return Ok(Self::Expr(expr));
        }
        Text::compile(text).map(Self::Text)
    }

    /// Compiles a document, texts of any depth. Keys are taken as they are.
    ///
    /// # Errors
    /// The first text that is not a template.
    pub fn compile(document: &Json) -> Result<Self, TemplateError> {
        Ok(match document {
            Json::String(text) => Self::compile_text(text)?,
            Json::Array(items) => {
                let items = items
                    .iter()
                    .map(Self::compile)
                    .collect::<Result<Vec<_>, _>>()?;
                if items.iter().all(Self::is_literal) {
                    Self::Literal(document.clone())
                } else {
                    Self::List(items)
                }
            }
            Json::Object(map) => {
                let entries = map
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Self::compile(value)?)))
                    .collect::<Result<Vec<_>, TemplateError>>()?;
                if entries.iter().all(|(_, value)| value.is_literal()) {
                    Self::Literal(document.clone())
                } else {
                    Self::Map(entries)
                }
            }
            plain => Self::Literal(plain.clone()),
        })
    }

    /// Whether nothing in it is a template.
    pub fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    /// The text, when it is one without templates.
    pub fn literal_text(&self) -> Option<&str> {
        match self {
            Self::Literal(value) => value.as_str(),
            _ => None,
        }
    }

    /// Renders it.
    ///
    /// # Errors
    /// The first expression that has no value in this scope.
    pub fn render(&self, scope: &Scope) -> Result<Json, TemplateError> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Expr(expr) => expr.eval(scope)?,
            Self::Text(text) => Json::from(text.render(scope)?),
            Self::List(items) => Json::Array(
                items
                    .iter()
                    .map(|item| item.render(scope))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.render(scope)?)))
                    .collect::<Result<_, TemplateError>>()?,
            ),
        })
    }

    /// Calls `visit` with each expression's text, its dotted names and whether
    /// it asks for missing names itself.
    pub fn visit_paths(&self, visit: &mut impl FnMut(&str, &[String], bool)) {
        match self {
            Self::Literal(_) => {}
            Self::Expr(expr) => visit(&expr.source, &expr.paths, expr.tolerates_missing),
            Self::Text(text) => visit(&text.source, &text.paths, text.tolerates_missing),
            Self::List(items) => items.iter().for_each(|item| item.visit_paths(visit)),
            Self::Map(entries) => {
                entries
                    .iter()
                    .for_each(|(_, value)| value.visit_paths(visit));
            }
        }
    }
}

/// The inside of a text that starts with `{{` and ends with `}}`.
fn unwrapped(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    Some(
        inner
            .strip_prefix('-')
            .unwrap_or(inner)
            .strip_suffix('-')
            .unwrap_or(inner),
    )
}

fn is_function(path: &str) -> bool {
    matches!(path, "range" | "dict" | "namespace" | "loop")
}

fn asks_for_missing(source: &str) -> bool {
    ["defined", "default", "|d(", "| d("]
        .iter()
        .any(|word| source.contains(word))
}

/// Checks that every name exists. Jinja itself lets a missing name be compared.
fn check_names(source: &str, paths: &[String], scope: &Scope) -> Result<(), TemplateError> {
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        for (depth, name) in parts.iter().enumerate() {
            let (above, _) = parts.split_at(depth);
            // Not an object: the expression itself says what it thinks of that.
            let Some(names) = scope.names_at(above) else {
                break;
            };
            if !names.contains(name) {
                return Err(error(source, missing_name(above, name, &names)));
            }
        }
    }
    Ok(())
}

/// The text for a name that does not exist.
pub fn missing_name(above: &[&str], name: &str, names: &[&str]) -> String {
    let whole = if above.is_empty() {
        name.to_owned()
    } else {
        format!("{}.{name}", above.join("."))
    };
    let place = if above.is_empty() {
        "there are".to_owned()
    } else {
        format!("`{}` has", above.join("."))
    };
    let hint = nearest(name, names.iter().copied())
        .map(|near| format!(" (did you mean `{near}`?)"))
        .unwrap_or_default();
    if names.is_empty() {
        return format!("`{whole}` does not exist: `{}` is empty", above.join("."));
    }
    let mut listed: Vec<String> = names.iter().take(20).map(|n| format!("`{n}`")).collect();
    if names.len() > listed.len() {
        listed.push("...".to_owned());
    }
    format!(
        "`{whole}` does not exist: {place} {}{hint}",
        listed.join(", ")
    )
}

fn describe(cause: &minijinja::Error) -> String {
    match (cause.kind(), cause.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            format!(
                "takes more than the {} instructions allowed",
                limits::TEMPLATE_FUEL
            )
        }
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

fn check_size(source: &str, bytes: usize) -> Result<(), TemplateError> {
    if bytes > limits::TEMPLATE_OUTPUT.to_usize() {
        return Err(error(
            source,
            format!(
                "gives {bytes} bytes, more than the {} allowed",
                limits::TEMPLATE_OUTPUT
            ),
        ));
    }
    Ok(())
}

/// A lower bound of a document's size, without writing it.
fn json_bytes(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(json_bytes).sum(),
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() + json_bytes(value))
            .sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn scope() -> Scope {
        let Json::Object(roots) = json!({
            "event": { "data": { "branch": "main", "commits": [{ "id": "abc" }] } },
            "inputs": { "env": "prod", "count": 3 },
            "vars": {},
            "steps": { "plan": { "outputs": { "changes": 2 }, "outcome": "succeeded" } },
        }) else {
            unreachable!()
        };
        Scope::new(roots)
    }

    fn render(document: &Json) -> Result<Json, String> {
        Template::compile(document)
            .and_then(|template| template.render(&scope()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn rendering() {
        for (template, expected) in [
            (json!("plain"), json!("plain")),
            (json!(5), json!(5)),
            (json!("{{ inputs.count }}"), json!(3)),
            (json!("{{ inputs.count + 1 }}"), json!(4)),
            (
                json!(" {{ inputs }} "),
                json!({ "env": "prod", "count": 3 }),
            ),
            (json!("n={{ inputs.count }}"), json!("n=3")),
            (
                json!("{{ inputs.env }}-{{ event.data.branch }}"),
                json!("prod-main"),
            ),
            (json!("{{ '}} {{' }}"), json!("}} {{")),
            (
                json!("{{ 'prod' if event.data.branch == 'main' else 'stage' }}"),
                json!("prod"),
            ),
            (json!("{{ event.data.commits[0].id }}"), json!("abc")),
            (json!("{{ inputs.nope | default('x') }}"), json!("x")),
            (
                json!("{% for c in event.data.commits %}{{ c.id }};{% endfor %}"),
                json!("abc;"),
            ),
            (
                json!({ "a": ["{{ inputs.env }}", 1] }),
                json!({ "a": ["prod", 1] }),
            ),
            (json!("a < b & c"), json!("a < b & c")),
            (json!("{{ '<&>' }}!"), json!("<&>!")),
        ] {
            assert_eq!(render(&template), Ok(expected), "{template}");
        }
    }

    #[test]
    fn a_missing_name_is_named_with_what_there_is() {
        for (template, expected) in [
            (
                "{{ inputs.evn }}",
                "`inputs.evn`: `inputs.evn` does not exist: `inputs` has `count`, `env` (did you mean `env`?)",
            ),
            (
                "{{ inputs.typo == 'prod' }}",
                "`inputs.typo == 'prod'`: `inputs.typo` does not exist: `inputs` has `count`, `env`",
            ),
            (
                "{{ vars.x }}",
                "`vars.x`: `vars.x` does not exist: `vars` is empty",
            ),
            (
                "x {{ input.env }}",
                "`x {{ input.env }}`: `input` does not exist: there are `event`, `inputs`, `steps`, `vars` (did you mean `inputs`?)",
            ),
            (
                "{{ steps.apply.outputs.x }}",
                "`steps.apply.outputs.x`: `steps.apply` does not exist: `steps` has `plan`",
            ),
        ] {
            assert_eq!(render(&json!(template)), Err(expected.to_owned()));
        }
    }

    #[test]
    fn bad_templates_are_refused() {
        for template in [
            "{{ 1 + }}",
            "{{ inputs.env",
            "{% if %}",
            "{{ nope() }}",
            "{{ 'a' | nofilter }}",
        ] {
            assert!(render(&json!(template)).is_err(), "{template}");
        }
    }

    #[test]
    fn cost_and_size_are_bounded() {
        let loops =
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
        let error = render(&json!(loops)).unwrap_err();
        assert!(
            error.ends_with("takes more than the 1000000 instructions allowed"),
            "{error}"
        );
        for big in ["{{ 'x' * 300000 }}", "a{{ 'x' * 300000 }}"] {
            let error = render(&json!(big)).unwrap_err();
            assert!(error.contains("more than the 256 KiB allowed"), "{error}");
        }
    }

    #[test]
    fn truth() {
        for (expression, expected) in [
            (
                "steps.plan.outputs.changes > 0 and inputs.env == 'prod'",
                true,
            ),
            ("{{ inputs.count == 4 }}", false),
            ("inputs.nope is defined", false),
            ("event.data.branch in ['main', 'release']", true),
        ] {
            assert_eq!(
                Expr::compile(expression).unwrap().is_true(&scope()),
                Ok(expected)
            );
        }
    }

    #[test]
    fn paths_are_known_before_anything_runs() {
        let expr =
            Expr::compile("steps.plan.outputs.changes > 0 and inputs.env in range(3)").unwrap();
        assert_eq!(expr.paths(), ["inputs.env", "steps.plan.outputs.changes"]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z{}%#'.|()\\[\\] 0-9+*-]{0,40}") {
            let _ = render(&json!(text));
        }
    }
}
