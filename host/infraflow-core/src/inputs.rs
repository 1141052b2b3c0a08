//! A workflow's inputs: its JSON Schema, the defaults, and the check before a
//! run starts.

use std::fmt;
use std::sync::Arc;

use crate::limits::INPUTS;
use crate::nearest::nearest;
use crate::{Json, JsonMap};

/// A compiled JSON Schema (2020-12). References to other documents are refused.
#[derive(Clone)]
pub struct Schema {
    document: Arc<Json>,
    validator: Arc<jsonschema::Validator>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.document)
    }
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A text for people when it is not a JSON Schema.
    pub fn compile(document: &Json) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            // Linear time: a schema of a third party meets data of a fourth.
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(document)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            document: Arc::new(document.clone()),
            validator: Arc::new(validator),
        })
    }

    /// The schema as it was given.
    pub fn document(&self) -> &Json {
        &self.document
    }

    /// Checks a value. One line for every problem, at most 20, each with the
    /// place in the value.
    ///
    /// # Errors
    /// The problems.
    pub fn check(&self, value: &Json) -> Result<(), Vec<String>> {
        let problems: Vec<String> = self
            .validator
            .iter_errors(value)
            .take(20)
            .map(|error| {
                let place = error.instance_path().to_string();
                let text: String = error.to_string().chars().take(300).collect();
                if place.is_empty() {
                    text
                } else {
                    format!("{}: {text}", dotted(&place))
                }
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

fn dotted(pointer: &str) -> String {
    format!("`{}`", pointer.trim_start_matches('/').replace('/', "."))
}

/// The inputs that a workflow takes.
#[derive(Debug, Clone)]
pub struct InputSpec {
    schema: Schema,
    properties: JsonMap,
    takes_others: bool,
}

/// Why inputs do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the inputs do not fit the workflow: {}", problems.join("; "))]
pub struct InvalidInputs {
    /// One line for each problem.
    pub problems: Vec<String>,
}

impl InputSpec {
    /// Inputs as a JSON Schema of an object says. Inputs that it does not name
    /// are refused unless it has `additionalProperties`.
    ///
    /// # Errors
    /// A text for people when it is not a JSON Schema of an object.
    pub fn compile(document: &Json) -> Result<Self, String> {
        let Json::Object(map) = document else {
            return Err("expected a JSON Schema of an object".to_owned());
        };
        if map.get("type").is_some_and(|kind| kind != "object") {
            return Err("expected `type: object`: inputs have names".to_owned());
        }
        let properties = match map.get("properties") {
            None => JsonMap::new(),
            Some(Json::Object(properties)) => properties.clone(),
            Some(_) => return Err("expected `properties` to be a map".to_owned()),
        };
        let takes_others = map.contains_key("additionalProperties");
        Ok(Self {
            schema: Schema::compile(document)?,
            properties,
            takes_others,
        })
    }

    /// A workflow that takes no inputs.
    pub fn none() -> Self {
        Self::compile(&serde_json::json!({ "type": "object" }))
            .expect("an empty object schema is a schema")
    }

    /// The names of the inputs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.properties.keys().map(String::as_str)
    }

    /// Whether it takes inputs that it does not name.
    pub fn takes_others(&self) -> bool {
        self.takes_others
    }

    /// The schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Adds the defaults and checks.
    ///
    /// # Errors
    /// Every problem, with what was expected.
    pub fn complete(&self, given: JsonMap) -> Result<JsonMap, InvalidInputs> {
        let mut inputs = given;
        let mut problems = self.unknown_names(&inputs);
        for (name, property) in &self.properties {
            if let Some(default) = property.get("default")
                && !inputs.contains_key(name)
            {
                inputs.insert(name.clone(), default.clone());
            }
        }
        let value = Json::Object(inputs);
        if let Err(found) = self.schema.check(&value) {
            problems.extend(found);
        }
        let bytes = value.to_string().len();
        if bytes > INPUTS.to_usize() {
            problems = vec![format!(
                "they have {bytes} bytes, more than the {} allowed",
                INPUTS
            )];
        }
        match value {
            Json::Object(inputs) if problems.is_empty() => Ok(inputs),
            _ => Err(InvalidInputs { problems }),
        }
    }

    fn unknown_names(&self, inputs: &JsonMap) -> Vec<String> {
        if self.takes_others {
            return vec![];
        }
        inputs
            .keys()
            .filter(|name| !self.properties.contains_key(*name))
            .take(20)
            .map(|name| {
                let shown: String = name.chars().take(80).collect();
                let known: Vec<String> = self.names().map(|n| format!("`{n}`")).collect();
                let hint = match nearest(name, self.names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "the workflow takes no inputs".to_owned(),
                    None => format!("it takes {}", known.join(", ")),
                };
                format!("`{shown}` is not an input: {hint}")
            })
            .collect()
    }

    /// Gives texts from a command line (`-i count=3`) the type that the schema
    /// names; what does not read as that type stays a text for the check to
    /// refuse.
    pub fn typed(&self, texts: impl IntoIterator<Item = (String, String)>) -> JsonMap {
        texts
            .into_iter()
            .map(|(name, text)| {
                let kind = self
                    .properties
                    .get(&name)
                    .and_then(|property| property.get("type"));
                let value = typed_value(kind, &text);
                (name, value)
            })
            .collect()
    }
}

fn typed_value(kind: Option<&Json>, text: &str) -> Json {
    let accepts = |name: &str| match kind {
        Some(Json::String(kind)) => kind == name,
        Some(Json::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        _ => false,
    };
    if accepts("string") {
        return Json::from(text);
    }
    let parsed: Option<Json> = serde_json::from_str(text).ok();
    match parsed {
        Some(value @ Json::Number(_)) if accepts("integer") || accepts("number") => value,
        Some(value @ Json::Bool(_)) if accepts("boolean") => value,
        Some(value @ Json::Array(_)) if accepts("array") => value,
        Some(value @ Json::Object(_)) if accepts("object") => value,
        Some(Json::Null) if accepts("null") => Json::Null,
        _ => Json::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> InputSpec {
        InputSpec::compile(&json!({
            "type": "object",
            "properties": {
                "env": { "type": "string", "enum": ["stage", "prod"], "default": "stage" },
                "count": { "type": "integer", "minimum": 1 },
            },
            "required": ["count"],
        }))
        .unwrap()
    }

    fn complete(given: Json) -> Result<Json, Vec<String>> {
        let Json::Object(given) = given else {
            unreachable!()
        };
        spec()
            .complete(given)
            .map(Json::Object)
            .map_err(|error| error.problems)
    }

    #[test]
    fn defaults_are_added() {
        assert_eq!(
            complete(json!({ "count": 2 })),
            Ok(json!({ "env": "stage", "count": 2 }))
        );
    }

    #[test]
    fn every_problem_is_named() {
        assert_eq!(
            complete(json!({ "env": "dev", "conut": 1 })),
            Err(vec![
                "`conut` is not an input: did you mean `count`?".to_owned(),
                "\"count\" is a required property".to_owned(),
                "`env`: \"dev\" is not one of \"stage\" or \"prod\"".to_owned(),
            ])
        );
    }

    #[test]
    fn a_workflow_without_inputs_takes_none() {
        let given = JsonMap::from_iter([("x".to_owned(), json!(1))]);
        let error = InputSpec::none().complete(given).unwrap_err();
        assert_eq!(
            error.problems,
            ["`x` is not an input: the workflow takes no inputs"]
        );
    }

    #[test]
    fn command_line_texts_get_the_type_of_the_schema() {
        let typed = spec().typed([
            ("env".to_owned(), "1.10".to_owned()),
            ("count".to_owned(), "3".to_owned()),
            ("other".to_owned(), "true".to_owned()),
        ]);
        assert_eq!(
            Json::Object(typed),
            json!({ "env": "1.10", "count": 3, "other": "true" })
        );
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for bad in [
            json!([]),
            json!({ "type": "string" }),
            json!({ "properties": 1 }),
            json!({ "properties": { "a": { "type": "nope" } } }),
            json!({ "$ref": "https://example.com/schema.json" }),
        ] {
            assert!(InputSpec::compile(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn too_large_inputs_are_refused() {
        let given = JsonMap::from_iter([("env".to_owned(), json!("x".repeat(300_000)))]);
        let error = spec().complete(given).unwrap_err();
        assert_eq!(error.problems.len(), 1);
        assert!(error.problems[0].contains("256 KiB"), "{error}");
    }
}
