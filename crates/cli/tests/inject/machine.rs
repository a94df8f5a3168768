//! Processors and memory, by control groups.

use std::fs;
use std::time::Duration;

use seawall_drill::inject::Means;
use seawall_drill::inject::cgroup::{Cgroups, Controller};
use seawall_drill::keeper::Pid;
use tokio::time::Instant;

use super::{LONG, able, closed, keeper, probed, redis, say, undone};

#[tokio::test]
async fn a_server_gets_a_part_of_a_processor() {
    let keeper = keeper();
    if !able(&keeper, Means::Processor).await {
        return;
    }
    let (redis, _) = redis(&keeper, &[]).await;
    let group = Cgroups::of_this_machine()
        .group(&keeper, Controller::Processor, "redis")
        .await
        .expect("root");
    group.adopt(redis.pid()).expect("our own process");
    let mut fault = group.throttle(0.2, LONG).await.expect("root");
    // Five times as long as it has the processor, however busy the machine is.
    let (before, begun) = (processor_time(redis.pid()), Instant::now());
    say(
        redis.address(),
        "EVAL \"local x=0 for i=1,10000000 do x=x+i end return 1\" 0",
    );
    let (used, took) = (
        processor_time(redis.pid()).saturating_sub(before),
        begun.elapsed(),
    );
    assert!(took > used * 3, "{used:?} of {took:?}");
    probed(&mut fault).await;
    undone(fault).await;
    let path = group.path().to_owned();
    drop(group);
    closed(keeper);
    assert!(!path.exists());
}

/// How long the main thread of a process has had a processor (proc(5), `schedstat`).
fn processor_time(pid: Pid) -> Duration {
    let said = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("Linux");
    let nanos = said.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

#[tokio::test]
async fn a_server_is_held_to_its_memory() {
    let keeper = keeper();
    if !able(&keeper, Means::Memory).await {
        return;
    }
    let (redis, _) = redis(&keeper, &[]).await;
    let group = Cgroups::of_this_machine()
        .group(&keeper, Controller::Memory, "redis")
        .await
        .expect("root");
    let outside = group.limit_memory(64 << 20, redis.pid(), LONG).await;
    let outside = outside.expect_err("it is not in the group").to_string();
    assert!(outside.contains("does not limit"), "{outside}");
    group.adopt(redis.pid()).expect("our own process");
    let mut fault = group
        .limit_memory(64 << 20, redis.pid(), LONG)
        .await
        .expect("root");
    let seen = probed(&mut fault).await.seen;
    assert!(seen.contains("67108864"), "{seen}");
    undone(fault).await;
    drop(group);
    closed(keeper);
}

/// Files as version 2 has them: what is written where, and what is read. That the kernel holds to it is its own.
#[tokio::test]
async fn version_two_is_spelled_as_it_should_be() {
    let keeper = keeper();
    let root = keeper.folder().join("unified");
    fs::create_dir(&root).expect("our folder");
    fs::write(root.join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("our folder");
    fs::write(root.join("cgroup.subtree_control"), "memory\n").expect("our folder");
    let mounts = format!(
        "tmpfs /tmp tmpfs rw 0 0\ncgroup2 {} cgroup2 rw,nosuid 0 0\n",
        root.display()
    );
    let cgroups = Cgroups::read(&mounts);
    let group = cgroups
        .group(&keeper, Controller::Processor, "two")
        .await
        .expect("a folder");
    let read = |file: &str| fs::read_to_string(group.path().join(file)).expect("a file");
    let enabled = fs::read_to_string(root.join("cgroup.subtree_control")).expect("a file");
    assert_eq!(enabled, "+cpu");
    for (file, content) in [
        ("cpu.max", "max 100000\n"),
        ("cpu.stat", "usage_usec 1\nnr_throttled 7\n"),
    ] {
        fs::write(group.path().join(file), content).expect("our folder");
    }
    let mut fault = group.throttle(0.25, LONG).await.expect("a folder");
    assert_eq!(read("cpu.max"), "5000 20000");
    fs::write(group.path().join("cpu.stat"), "usage_usec 1\nnr_throttled 9\n").expect("our folder");
    let seen = probed(&mut fault).await.seen;
    assert!(seen.contains("in 2 periods"), "{seen}");
    undone(fault).await;
    assert_eq!(read("cpu.max"), "max 100000");

    let memory = cgroups
        .group(&keeper, Controller::Memory, "two-memory")
        .await
        .expect("a folder");
    let pid = Pid(1);
    for (file, content) in [("memory.max", "max\n"), ("cgroup.procs", "1\n")] {
        fs::write(memory.path().join(file), content).expect("our folder");
    }
    let mut fault = memory.limit_memory(4_096, pid, LONG).await.expect("a folder");
    probed(&mut fault).await;
    assert_eq!(
        fs::read_to_string(memory.path().join("memory.max")).expect("a file"),
        "4096"
    );
    undone(fault).await;
    // A group of the kernel's is emptied of its files when it goes; a folder is not.
    for made in [group.path(), memory.path()] {
        fs::remove_dir_all(made).expect("our folder");
    }
    drop((group, memory));
    closed(keeper);
}

#[tokio::test]
async fn a_machine_without_control_groups_says_so() {
    let keeper = keeper();
    let none = Cgroups::read("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n");
    let error = none.group(&keeper, Controller::Memory, "none").await;
    let error = error.expect_err("there are none").to_string();
    assert!(error.contains("no control groups for memory"), "{error}");
    closed(keeper);
}
