//! How a plan is stored: one line of JSON about it, then the tool's file.

use infraflow_core::id::{Digest, RunId};
use infraflow_core::tool::GuestPath;
use serde::{Deserialize, Serialize};

/// A plan as it is stored. Its digest is that of the whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredPlan {
    /// The folder of the module that it was made for.
    pub(super) dir: String,
    /// The tool's own file.
    pub(super) file: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    infraflow_plan: u32,
    dir: String,
}

/// The name that binds a plan to its run.
pub(super) fn pointer(run: RunId, plan: Digest) -> String {
    format!("tofu-plan.{run}.{}", plan.to_hex())
}

pub(super) fn encode(dir: &GuestPath, file: &[u8]) -> Vec<u8> {
    let head = Head {
        infraflow_plan: 1,
        dir: dir.as_str().to_owned(),
    };
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(file);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<StoredPlan> {
    let end = bytes.iter().position(|&b| b == b'\n')?;
    let (head, file) = bytes.split_at_checked(end)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    if head.infraflow_plan != 1 {
        return None;
    }
    Some(StoredPlan {
        dir: head.dir,
        file: file.get(1..)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plans_round_trip(file in prop::collection::vec(any::<u8>(), 0..50), dir in "[a-z/\"]{0,9}") {
            let path = GuestPath::new(dir.trim_start_matches('/')).unwrap();
            let plan = decode(&encode(&path, &file)).unwrap();
            prop_assert_eq!(plan, StoredPlan { dir: path.as_str().to_owned(), file });
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }
}
