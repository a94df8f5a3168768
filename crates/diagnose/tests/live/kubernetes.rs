//! What is asked of a cluster, by a `kubectl` that stands in for the real one.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use seawall_diagnose::probe::kubernetes::{Pods, ask, sample};
use seawall_diagnose::probe::{Place, Why};
use tokio::time::Instant;

use super::support::Folder;

/// A killed cache, one that does not come up, and one that is well.
const CLUSTER: &str = r#"
[ "$*" = "get pods -n prod -l app=redis -o json" ] || { echo "who asks for $*?" >&2; exit 1; }
cat <<'END'
{"items":[
 {"metadata":{"name":"redis-0"},"status":{"containerStatuses":[
  {"ready":true,"restartCount":1,"state":{"running":{}},"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}},
 {"metadata":{"name":"redis-1"},"status":{"containerStatuses":[
  {"ready":false,"restartCount":12,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
   "lastState":{"terminated":{"reason":"Error","exitCode":1}}}]}},
 {"metadata":{"name":"redis-2"},"status":{"containerStatuses":[
  {"ready":true,"restartCount":0,"state":{"running":{}},"lastState":{}}]}}]}
END
"#;

fn kubectl(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.path().join("kubectl");
    std::fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn wanted() -> Pods {
    Pods {
        namespace: "prod".into(),
        selector: "app=redis".into(),
    }
}

#[tokio::test]
async fn pods_that_were_killed_and_that_do_not_come_up_are_told_apart() {
    let folder = Folder::new();
    let path = kubectl(&folder, CLUSTER);
    let pods = ask(&path, &wanted(), Instant::now() + Duration::from_secs(10))
        .await
        .unwrap();
    let told: Vec<_> = pods
        .iter()
        .map(|pod| {
            (
                &*pod.name,
                pod.ready,
                pod.restarts,
                pod.ended.as_deref(),
                pod.waits.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("redis-0", true, 1, Some("OOMKilled"), None),
            ("redis-1", false, 12, Some("Error"), Some("CrashLoopBackOff")),
            ("redis-2", true, 0, None, None),
        ]
    );
    let mut before = pods.clone();
    before[0].restarts = 0;
    let seen = sample(&before, &pods, &Place::new("pods"));
    assert_eq!(seen.points.len(), 1);
    assert!((seen.points[0].value - 1.0).abs() < 1e-9, "{seen:?}");
}

#[tokio::test]
async fn a_kubectl_that_is_not_there_or_says_no_is_one_clear_error() {
    let folder = Folder::new();
    let soon = || Instant::now() + Duration::from_secs(10);
    let missing = ask(&folder.path().join("nowhere"), &wanted(), soon())
        .await
        .unwrap_err();
    assert!(missing.text.starts_with("kubectl cannot be run: "), "{missing}");
    let path = kubectl(&folder, "echo 'error: You must be logged in' >&2; exit 1");
    let refused = ask(&path, &wanted(), soon()).await.unwrap_err();
    assert_eq!(refused.text, "kubectl: error: You must be logged in");
    let path = kubectl(&folder, "echo No resources found");
    assert_eq!(ask(&path, &wanted(), soon()).await.unwrap_err().why, Why::Garbage);
}

#[tokio::test]
async fn a_kubectl_that_hangs_or_never_ends_is_waited_for_no_longer_than_asked() {
    let folder = Folder::new();
    let pid = folder.path().join("pid");
    let hangs = format!("echo $$ > {}; exec sleep 600", pid.display());
    let path = kubectl(&folder, &hangs);
    let begun = Instant::now();
    let late = ask(&path, &wanted(), begun + Duration::from_millis(700))
        .await
        .unwrap_err();
    assert_eq!(late.why, Why::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = PathBuf::from("/proc").join(pid.trim()).join("stat");
    super::support::redis::until("it is gone", || {
        // A process that was killed may wait to be seen off.
        std::fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z "))
    });
    let path = kubectl(&folder, "exec cat /dev/zero");
    let endless = ask(&path, &wanted(), Instant::now() + Duration::from_secs(20))
        .await
        .unwrap_err();
    assert!(matches!(endless.why, Why::Garbage | Why::TimedOut), "{endless}");
}
