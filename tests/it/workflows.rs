//! Workflows that the tests use.

/// A workflow that is started by hand, with these steps.
pub(crate) fn manual(name: &str, steps: &[String]) -> String {
    let mut text = format!(
        "infraflow: v1\nname: {name}\non: manual\ninputs: {{ additionalProperties: true }}\nstages:\n  - name: main\n    steps:\n"
    );
    for step in steps {
        for (index, line) in step.trim_end().lines().enumerate() {
            let lead = if index == 0 { "      - " } else { "        " };
            text.push_str(&format!("{lead}{line}\n"));
        }
    }
    text
}

/// A step that runs a script.
pub(crate) fn sh(id: &str, script: &str, more: &str) -> String {
    let script = serde_json::Value::from(script);
    let mut text =
        format!("id: {id}\nuses: command@1\nwith: {{ run: sh, args: [\"-c\", {script}] }}\n");
    text.push_str(more);
    text
}

/// A step that calls an address: an effect that is counted outside.
pub(crate) fn call(id: &str, url: &str, more: &str) -> String {
    let mut text =
        format!("id: {id}\nuses: command@1\nwith: {{ run: curl, args: [\"-sS\", \"{url}\"] }}\n");
    text.push_str(more);
    text
}

/// A step that logs.
pub(crate) fn log(id: &str, message: &str, more: &str) -> String {
    let message = serde_json::Value::from(message);
    let mut text = format!("id: {id}\nuses: log@1\nwith: {{ message: {message} }}\n");
    text.push_str(more);
    text
}
