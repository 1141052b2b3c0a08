//! The files of runs, through the door.

use infraflow_core::id::Digest;
use infraflow_core::ports::{Blobs as _, Tools as _};
use infraflow_core::tool::{CallError, EntryKind, GuestPath};
use infraflow_tools::workspace::upload;

use crate::world::{World, guest};

#[tokio::test]
async fn an_upload_arrives_and_belongs_to_the_tools() {
    let world = World::new().await;
    let from = world.outside.join("upload");
    std::fs::create_dir_all(from.join("roles/x")).unwrap();
    std::fs::write(from.join("site.yml"), "- hosts: all\n").unwrap();
    let bytes = upload::pack(&from, &[], 1 << 20).unwrap();
    let digest = world.blobs.put(bytes).await.unwrap();
    world.write("up", "old", "x").await;
    let attempt = world.attempt("up");
    let unpacked = world
        .door
        .unpack_upload(&attempt.scope, digest, GuestPath::root());
    unpacked.await.unwrap();
    let list = world.door.list_folder(&attempt.scope, GuestPath::root());
    let list: Vec<_> = list
        .await
        .unwrap()
        .into_iter()
        .map(|e| (e.name, e.kind))
        .collect();
    let expected = [
        ("roles", EntryKind::Directory),
        ("site.yml", EntryKind::File),
    ];
    assert_eq!(list, expected.map(|(name, kind)| (name.to_owned(), kind)));
    let output = world.sh(
        &attempt,
        "echo more >> site.yml; touch roles/x/y; stat -c %U site.yml",
    );
    assert_eq!(output.await.unwrap().stdout, "infraflow\n");
}

#[tokio::test]
async fn an_upload_that_is_not_there_or_no_upload_is_said() {
    let world = World::new().await;
    let attempt = world.attempt("up");
    let missing = Digest::of(b"nothing");
    let unpacked = world
        .door
        .unpack_upload(&attempt.scope, missing, guest("x"));
    assert_eq!(
        unpacked.await,
        Err(CallError::NotFound(format!("upload {missing}")))
    );
    let damaged = world.blobs.put(b"no archive".to_vec()).await.unwrap();
    let unpacked = world
        .door
        .unpack_upload(&attempt.scope, damaged, guest("x"));
    assert!(matches!(unpacked.await, Err(CallError::Invalid(_))));
}

#[tokio::test]
async fn what_hostile_code_left_is_read_safely_and_removed() {
    let world = World::new().await;
    let attempt = world.attempt("hostile");
    let script = "ln -s /etc/passwd out; ln -s /proc/self/root root; mkfifo pipe; mkdir d; \
                  i=0; while [ $i -lt 300 ]; do mkdir $i; cd $i; i=$((i+1)); done; chmod 0 .";
    world.sh(&attempt, script).await.unwrap();
    for path in ["out", "root/etc/passwd", "pipe", "d"] {
        let read = world.door.read_file(&attempt.scope, guest(path)).await;
        assert!(
            matches!(read, Err(CallError::Invalid(_))),
            "{path}: {read:?}"
        );
    }
    let list = world
        .door
        .list_folder(&attempt.scope, GuestPath::root())
        .await
        .unwrap();
    let kinds: Vec<_> = list.iter().map(|e| (e.name.as_str(), e.kind)).collect();
    assert!(
        kinds.contains(&("pipe", EntryKind::Other)) && kinds.contains(&("out", EntryKind::Symlink))
    );
    let run = attempt.scope.run;
    world.door.workspaces().remove(run).await.unwrap();
    assert!(!world.workspace("hostile").exists());
    assert_eq!(world.door.workspaces().list().await.unwrap(), []);
}
