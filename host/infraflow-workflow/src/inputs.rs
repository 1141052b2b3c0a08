//! A workflow's `inputs`: its JSON Schema, with the places of what is wrong.
//!
//! A schema takes any key and any type name, and silently means nothing by a
//! misspelt one; here those are refused.

use infraflow_core::inputs::{InputSpec, Schema};
use infraflow_core::nearest::nearest;

use crate::diagnostic::{ProblemKind, shown};
use crate::names::InputNames;
use crate::read::{Read, Value, all};

/// Words of JSON Schema 2020-12.
const KEYWORDS: [&str; 58] = [
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    "$defs",
    "type",
    "properties",
    "required",
    "default",
    "enum",
    "const",
    "title",
    "description",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "definitions",
];

const TYPES: [(&str, ()); 7] = [
    ("string", ()),
    ("integer", ()),
    ("number", ()),
    ("boolean", ()),
    ("array", ()),
    ("object", ()),
    ("null", ()),
];

/// Reads `inputs`. The names are there when they can be known, also when the
/// schema is refused.
pub(crate) fn inputs(value: Option<Value<'_>>) -> (Read<InputSpec>, Option<InputNames<'_>>) {
    match value {
        None => (Ok(InputSpec::none()), Some(InputNames::default())),
        Some(value) => (spec(value), names(value)),
    }
}

fn spec(value: Value<'_>) -> Read<InputSpec> {
    if value.node().as_map().is_none() {
        return Err(value.wrong_type("a JSON Schema of an object"));
    }
    let kind = match value.get("type") {
        Some(kind) if kind.node().as_text() != Some("object") => {
            Err(kind.mismatched("`object`: inputs have names"))
        }
        _ => Ok(()),
    };
    schema(value, 0)?;
    kind?;
    let compiled = InputSpec::compile(&value.json());
    value.accept(compiled.map_err(|reason| format!("this is not a JSON Schema: {reason}")))
}

/// Checks what a schema at this depth says.
fn schema(value: Value<'_>, depth: usize) -> Read<()> {
    if value.node().as_map().is_none() {
        // `true` and `false` are schemas; the rest is for the compiler.
        return Ok(());
    }
    let keywords = value.entries(|key, value| match key.node().as_text() {
        Some("type") => value.one_or_each(|name| name.choice(&TYPES)).map(drop),
        Some("required") => value.each(Value::text).map(drop),
        Some("properties") => properties(value, depth),
        Some("items" | "additionalProperties") => schema(value, depth + 1),
        Some("$ref")
            if value
                .node()
                .as_text()
                .is_some_and(|at| !at.starts_with('#')) =>
        {
            Err(value.mismatched("a place in this document, such as `#/$defs/name`"))
        }
        Some(word) if KEYWORDS.contains(&word) || word.starts_with("x-") => Ok(()),
        _ => Err(refuse_keyword(key, depth)),
    });
    keywords.map(drop)
}

fn refuse_keyword(key: Value<'_>, depth: usize) -> crate::read::Refused {
    let word = key.node().as_text().unwrap_or_default();
    let near = nearest(word, KEYWORDS).map(|near| format!("did you mean `{near}`?"));
    let hint = match near {
        None if depth == 0 => Some("inputs stand under `properties`".to_owned()),
        near => near,
    };
    let message = format!("`{}` is not a JSON Schema keyword", shown(word));
    key.report(
        key.problem(ProblemKind::UnknownKey, message)
            .maybe_hint(hint),
    )
}

fn properties(value: Value<'_>, depth: usize) -> Read<()> {
    let entries = value.entries(|_, property| Ok(property))?;
    all(entries.into_iter().map(|property| {
        schema(property, depth + 1)?;
        default_fits(property)
    }))
    .map(drop)
}

/// Checks a property's `default` by its schema. A schema that does not stand
/// alone (`$ref`) is left to the check of the inputs.
fn default_fits(property: Value<'_>) -> Read<()> {
    let Some(default) = property.get("default") else {
        return Ok(());
    };
    let Ok(schema) = Schema::compile(&property.json()) else {
        return Ok(());
    };
    schema.check(&default.json()).map_err(|problems| {
        let message = format!("the default does not fit: {}", problems.join("; "));
        default.refuse(message)
    })
}

/// The names that a schema gives, as far as it can be understood.
fn names(value: Value<'_>) -> Option<InputNames<'_>> {
    let entries = match value.get("properties") {
        None => &[],
        Some(properties) => properties.node().as_map()?,
    };
    let has_default = |name: &str| {
        let property = entries.iter().find(|entry| entry.key() == name);
        property.is_some_and(|entry| entry.value().get("default").is_some())
    };
    let required = value.get("required").and_then(|list| list.node().as_list());
    Some(InputNames {
        names: entries.iter().map(|entry| entry.key()).collect(),
        required: required
            .unwrap_or_default()
            .iter()
            .filter_map(|name| name.as_text())
            .filter(|name| !has_default(name))
            .map(str::to_owned)
            .collect(),
        takes_others: value.get("additionalProperties").is_some(),
    })
}
