//! `workspace`: the files of the run, through the tool door, which resolves
//! paths beneath the workspace.

use infraflow_core::grant::HostCall;
use infraflow_core::tool::{self, EntryKind};

use super::arguments::{bytes_at_most, digest, path};
use super::{Answer, Failure};
use crate::bindings::infraflow::step::workspace::{Entry, Host, Kind};
use crate::limits::FILE;
use crate::state::State;

impl Host for State {
    async fn read(&mut self, file: String) -> Result<Vec<u8>, Failure> {
        self.admit(HostCall::WorkspaceRead)?;
        let file = path(&file)?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.read_file(&attempt.scope, file).await;
        self.settle(answer)
    }

    async fn write(&mut self, file: String, data: Vec<u8>) -> Result<(), Failure> {
        self.admit(HostCall::WorkspaceWrite)?;
        bytes_at_most("data", data.len(), FILE)?;
        let file = path(&file)?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.write_file(&attempt.scope, file, data).await;
        self.settle(answer)
    }

    async fn list(&mut self, folder: String) -> Result<Vec<Entry>, Failure> {
        self.admit(HostCall::WorkspaceList)?;
        let folder = path(&folder)?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.list_folder(&attempt.scope, folder).await;
        self.settle(answer)
    }

    async fn unpack_upload(&mut self, upload: String, folder: String) -> Result<(), Failure> {
        self.admit(HostCall::WorkspaceUnpackUpload)?;
        let upload = digest(&upload)?;
        let folder = path(&folder)?;
        let attempt = self.attempt()?;
        let answer = attempt
            .tools
            .unpack_upload(&attempt.scope, upload, folder)
            .await;
        self.settle(answer)
    }
}

impl Answer for Vec<tool::Entry> {
    type Wit = Vec<Entry>;

    fn bytes(wit: &Vec<Entry>) -> usize {
        wit.iter()
            .map(|entry| entry.name.len() + size_of::<Entry>())
            .sum()
    }

    fn into_wit(self) -> Vec<Entry> {
        self.into_iter().map(entry).collect()
    }
}

fn entry(entry: tool::Entry) -> Entry {
    Entry {
        name: entry.name,
        kind: match entry.kind {
            EntryKind::File => Kind::File,
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink => Kind::Symlink,
            EntryKind::Other => Kind::Other,
        },
        size: entry.size,
    }
}
