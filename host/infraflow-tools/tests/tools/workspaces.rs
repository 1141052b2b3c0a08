//! Workspaces that go from one host to another.

use infraflow_core::id::Digest;
use infraflow_core::ports::{BlobError, Blobs as _, WorkspaceStore as _, WorkspaceStoreError};
use infraflow_core::tool::CallError;

use crate::git::{Repo, checkout, commit, request};
use crate::support::run_of;
use crate::world::{World, soon};

/// Takes a run's workspace from one host to another, as the store of both
/// would.
async fn carry(from: &World, to: &World, run: &str) -> Digest {
    let digest = soon("storing", from.door.store(run_of(run))).await.unwrap();
    let bytes = from.blobs.get(digest, u64::MAX).await.unwrap();
    assert_eq!(to.blobs.put(bytes).await, Ok(digest));
    let restored = to.door.restore(run_of(run), digest);
    soon("restoring", restored).await.unwrap();
    digest
}

#[tokio::test]
async fn a_workspace_goes_on_at_another_host() {
    let repo = Repo::new();
    let (first, second) = (
        World::with(&[], |config| repo.add(config)).await,
        World::with(&[], |config| repo.add(config)).await,
    );
    let attempt = first.attempt("move");
    let done = checkout(&first, &attempt, request(commit(&repo.second))).await;
    done.unwrap();
    let script = "printf '#!/bin/sh\necho ran\n' > tool; chmod 750 tool; ln -s tool link; \
                  mkdir empty; echo changed >> file";
    first.sh(&attempt, script).await.unwrap();
    assert!(!second.door.is_here(run_of("move")).await);
    let digest = carry(&first, &second, "move").await;
    assert!(second.door.is_here(run_of("move")).await);

    // Its tools own it, git works in it, and it can be checked out again.
    let there = second.attempt("move");
    let script = "./link; git status --short; git log -1 --format=%H; \
                  stat -c '%U %a' . tool empty link .git/HEAD; touch new .git/new; git stash -q";
    let output = second.sh(&there, script).await.unwrap();
    let owned = "infraflow 755\ninfraflow 750\ninfraflow 755\ninfraflow 777\ninfraflow 644\n";
    let status = " M file\n?? link\n?? tool\n";
    assert_eq!(
        output.stdout,
        format!("ran\n{status}{}\n{owned}", repo.second)
    );
    let again = checkout(&second, &there, request(commit(&repo.second))).await;
    again.unwrap();

    // Back again, over what is there.
    let back = carry(&second, &first, "move").await;
    assert_ne!(back, digest);
    let output = first.sh(&attempt, "ls -A").await.unwrap();
    assert_eq!(output.stdout, ".git\nfile\n");
}

#[tokio::test]
async fn a_resumed_run_has_its_own_copy() {
    let world = World::new().await;
    world.write("old", "a/file", "one").await;
    let copied = world.door.copy(run_of("old"), run_of("new"));
    soon("the copy", copied).await.unwrap();
    let (old, new) = (world.attempt("old"), world.attempt("new"));
    let output = world.sh(&new, "echo two > a/file; cat a/file").await;
    assert_eq!(output.unwrap().stdout, "two\n");
    let output = world.sh(&old, "cat a/file").await;
    assert_eq!(output.unwrap().stdout, "one");
}

#[tokio::test]
async fn what_strangers_left_stays_in_the_jail_everywhere() {
    let repo = Repo::new();
    let first = World::with(&[], |config| repo.add(config)).await;
    let attempt = first.attempt("stranger");
    let done = checkout(&first, &attempt, request(commit(&repo.second))).await;
    done.unwrap();
    let second = World::with(&[], |config| {
        config.jail.bubblewrap = Some("/nonexistent/bwrap".into());
    })
    .await;
    let mut trusted = second.attempt("stranger");
    trusted.scope.trust = infraflow_core::ports::Trust::Trusted;
    let before = second.sh(&trusted, "echo free").await;
    assert_eq!(before.unwrap().stdout, "free\n", "nothing is there yet");
    carry(&first, &second, "stranger").await;
    let after = second.sh(&trusted, "echo free").await;
    assert!(matches!(after, Err(CallError::Unavailable(_))), "{after:?}");
}

#[tokio::test]
async fn what_is_not_there_or_not_fit_is_said_and_changes_nothing() {
    let world = World::new().await;
    let run = run_of("here");
    assert_eq!(
        world.door.store(run).await,
        Err(WorkspaceStoreError::NotFound(run))
    );
    world.write("here", "file", "mine").await;
    let missing = Digest::of(b"nothing");
    assert_eq!(
        world.door.restore(run, missing).await,
        Err(BlobError::NotFound(missing.to_string()).into())
    );
    let other = world.blobs.put(b"no workspace".to_vec()).await.unwrap();
    let told = world.door.restore(run, other).await;
    assert!(
        matches!(told, Err(WorkspaceStoreError::Unfit(_))),
        "{told:?}"
    );
    let attempt = world.attempt("here");
    let output = world.sh(&attempt, "cat file; mkfifo pipe").await.unwrap();
    assert_eq!(output.stdout, "mine");
    let told = world.door.store(run).await.unwrap_err().to_string();
    let expected =
        "the workspace holds `pipe`: it is neither a file, nor a folder, nor a symbolic link";
    assert_eq!(told, expected);
    // More than fits, although it compresses badly only in the end.
    let script = "rm pipe; head -c 70000000 /dev/urandom > noise";
    world.sh(&attempt, script).await.unwrap();
    assert_eq!(
        world.door.store(run).await,
        Err(WorkspaceStoreError::TooLarge {
            what: "packed bytes",
            allowed: 64 << 20
        })
    );
}
