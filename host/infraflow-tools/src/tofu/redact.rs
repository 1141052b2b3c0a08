//! Taking the sensitive values out of a plan's JSON document.
//!
//! The document marks them beside the values (`after_sensitive` and so on). They
//! are replaced where they are marked, and wherever else the same text stands.

use infraflow_core::mask::{MASK, MaskSet};
use infraflow_core::{Json, JsonMap};

/// Takes every marked value out of a plan.
pub(super) fn redact(mut plan: Json) -> String {
    let mut found = Found::default();
    if let Json::Object(plan) = &mut plan {
        let sensitive = sensitive_variables(plan);
        redact_variables(plan, &sensitive, &mut found);
        for key in ["resource_changes", "resource_drift"] {
            for change in list(plan.get_mut(key)) {
                redact_change(change.get_mut("change"), &mut found);
            }
        }
        for change in values(plan.get_mut("output_changes")) {
            redact_change(Some(change), &mut found);
        }
        redact_state(plan.get_mut("planned_values"), &mut found);
        let prior = plan.get_mut("prior_state");
        redact_state(prior.and_then(|prior| prior.get_mut("values")), &mut found);
        // Defaults of sensitive variables stand in the configuration.
        let root = plan.get_mut("configuration");
        redact_module(
            root.and_then(|root| root.get_mut("root_module")),
            &mut found,
        );
    }
    let mask = MaskSet::new(found.texts.iter().map(String::as_str));
    mask.mask(&plan.to_string())
}

/// Values that were taken out.
#[derive(Default)]
struct Found {
    texts: Vec<String>,
}

impl Found {
    /// Replaces a value, and remembers the texts in it.
    fn take(&mut self, value: &mut Json) {
        self.remember(value);
        *value = Json::from(MASK);
    }

    fn remember(&mut self, value: &Json) {
        match value {
            Json::String(text) => self.texts.push(text.clone()),
            Json::Array(list) => list.iter().for_each(|value| self.remember(value)),
            Json::Object(map) => map.values().for_each(|value| self.remember(value)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

/// Replaces the parts of a value that its marks call sensitive.
fn redact_marked(value: &mut Json, marks: &Json, found: &mut Found) {
    match (value, marks) {
        (Json::Null, _) => {}
        (value, Json::Bool(true)) => found.take(value),
        (Json::Object(map), Json::Object(marks)) => {
            for (key, marks) in marks {
                if let Some(value) = map.get_mut(key) {
                    redact_marked(value, marks, found);
                }
            }
        }
        (Json::Array(list), Json::Array(marks)) => {
            for (value, marks) in list.iter_mut().zip(marks) {
                redact_marked(value, marks, found);
            }
        }
        _ => {}
    }
}

fn redact_change(change: Option<&mut Json>, found: &mut Found) {
    let Some(change) = change else { return };
    for (value, marks) in [
        ("before", "before_sensitive"),
        ("after", "after_sensitive"),
        ("importing", "importing_sensitive"),
    ] {
        let marks = change.get(marks).cloned().unwrap_or_default();
        if let Some(value) = change.get_mut(value) {
            redact_marked(value, &marks, found);
        }
    }
}

/// `planned_values` and the values of `prior_state`.
fn redact_state(state: Option<&mut Json>, found: &mut Found) {
    let Some(state) = state else { return };
    for output in values(state.get_mut("outputs")) {
        let is_open = output.get("sensitive").and_then(Json::as_bool) == Some(false);
        if let Some(value) = output.get_mut("value").filter(|_| !is_open) {
            found.take(value);
        }
    }
    // Nested modules, without recursion: the document is not ours.
    let mut open: Vec<&mut Json> = state.get_mut("root_module").into_iter().collect();
    while let Some(module) = open.pop() {
        let Json::Object(module) = module else {
            continue;
        };
        for (key, part) in module {
            match key.as_str() {
                "resources" => {
                    list(Some(part)).for_each(|resource| redact_resource(resource, found));
                }
                "child_modules" => open.extend(list(Some(part))),
                _ => {}
            }
        }
    }
}

fn redact_resource(resource: &mut Json, found: &mut Found) {
    let marks = resource
        .get("sensitive_values")
        .cloned()
        .unwrap_or_default();
    if let Some(values) = resource.get_mut("values") {
        redact_marked(values, &marks, found);
    }
}

/// Names of the root module's sensitive variables; `None` when the document
/// does not say.
fn sensitive_variables(plan: &JsonMap) -> Option<Vec<String>> {
    let configuration = plan.get("configuration")?;
    let variables = configuration.pointer("/root_module/variables");
    let variables = variables.and_then(Json::as_object);
    let is_sensitive =
        |variable: &Json| variable.get("sensitive").and_then(Json::as_bool) == Some(true);
    let names = variables.into_iter().flatten();
    let names = names.filter(|(_, variable)| is_sensitive(variable));
    Some(names.map(|(name, _)| name.clone()).collect())
}

fn redact_variables(plan: &mut JsonMap, sensitive: &Option<Vec<String>>, found: &mut Found) {
    let Some(Json::Object(variables)) = plan.get_mut("variables") else {
        return;
    };
    for (name, variable) in variables {
        let open = sensitive
            .as_ref()
            .is_some_and(|names| !names.contains(name));
        if let Some(value) = variable.get_mut("value").filter(|_| !open) {
            found.take(value);
        }
    }
}

fn redact_module(module: Option<&mut Json>, found: &mut Found) {
    let mut open: Vec<&mut Json> = module.into_iter().collect();
    while let Some(module) = open.pop() {
        let Json::Object(module) = module else {
            continue;
        };
        for (key, part) in module {
            match key.as_str() {
                "variables" => {
                    for variable in values(Some(part)) {
                        let open = variable.get("sensitive").and_then(Json::as_bool) != Some(true);
                        if let Some(value) = variable.get_mut("default").filter(|_| !open) {
                            found.take(value);
                        }
                    }
                }
                "module_calls" => {
                    open.extend(values(Some(part)).filter_map(|call| call.get_mut("module")));
                }
                _ => {}
            }
        }
    }
}

fn list(value: Option<&mut Json>) -> impl Iterator<Item = &mut Json> {
    value.and_then(Json::as_array_mut).into_iter().flatten()
}

fn values(value: Option<&mut Json>) -> impl Iterator<Item = &mut Json> {
    let map = value.and_then(Json::as_object_mut);
    map.into_iter().flat_map(|map| map.values_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "hunter2hunter2";

    fn plan() -> Json {
        serde_json::json!({
            "format_version": "1.2",
            "variables": {"s": {"value": SECRET}, "open": {"value": "eu"}},
            "planned_values": {
                "outputs": {"sec": {"sensitive": true, "value": SECRET}, "o": {"sensitive": false, "value": "shown"}},
                "root_module": {
                    "resources": [{"values": {"input": SECRET, "x": "y"}, "sensitive_values": {"input": true}}],
                    "child_modules": [{"resources": [{"values": {"a": [SECRET, "b"]}, "sensitive_values": {"a": [true, false]}}]}]
                }
            },
            "resource_changes": [{"change": {"before": null, "after": {"input": SECRET, "deep": {"k": SECRET}},
                "before_sensitive": false, "after_sensitive": {"input": true, "deep": {"k": true}}}}],
            "output_changes": {"sec": {"before": null, "after": SECRET, "after_sensitive": true}},
            "prior_state": {"values": {"outputs": {"sec": {"sensitive": true, "value": SECRET}}, "root_module": {}}},
            "configuration": {"root_module": {
                "variables": {"s": {"default": SECRET, "sensitive": true}, "open": {"default": "eu"}},
                "module_calls": {"m": {"module": {"variables": {"p": {"default": SECRET, "sensitive": true}}}}},
                "resources": [{"expressions": {"note": {"constant_value": format!("the value {SECRET} again")}}}]
            }}
        })
    }

    #[test]
    fn no_sensitive_value_is_left_and_everything_else_is() {
        let text = redact(plan());
        assert!(!text.contains(SECRET), "{text}");
        let plan: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(plan["variables"]["open"]["value"], "eu");
        assert_eq!(plan["planned_values"]["outputs"]["o"]["value"], "shown");
        let resource = &plan["planned_values"]["root_module"]["resources"][0]["values"];
        assert_eq!(
            (&resource["input"], &resource["x"]),
            (&MASK.into(), &"y".into())
        );
        let nested = &plan["planned_values"]["root_module"]["child_modules"][0]["resources"][0];
        assert_eq!(nested["values"]["a"], serde_json::json!([MASK, "b"]));
    }

    #[test]
    fn without_a_configuration_every_variable_is_taken_out() {
        let mut plan = plan();
        plan.as_object_mut().unwrap().remove("configuration");
        let plan: Json = serde_json::from_str(&redact(plan)).unwrap();
        assert_eq!(plan["variables"]["open"]["value"], MASK);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\{\"(planned_values|resource_changes|variables|output_changes|configuration)\":(1|\\[1\\]|\\{\"(root_module|outputs|a)\":(1|\\[\\]|\\{\"resources\":\\[1\\]\\})\\})\\}") {
            let plan: Json = serde_json::from_str(&text).unwrap();
            let _ = redact(plan);
        }
    }
}
