//! What Kubernetes knows of the pods: restarts, why the last one ended, readiness.
//!
//! It is asked by `kubectl`, which knows who we are there, and only with the feature `kubernetes`. Without it, and
//! where there is no `kubectl`, [`commands`] are what a person asks. A client library of its own would bring more crates
//! than all else here together, for one question.

use std::fmt;

use serde_json::Value as Json;

/// A pod as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Whether it is called ready.
    pub ready: bool,
    /// How often its containers were started again.
    pub restarts: u64,
    /// Why a container of it ended last, such as `OOMKilled`.
    pub ended: Option<String>,
    /// Why a container of it does not run now, such as `CrashLoopBackOff`.
    pub waits: Option<String>,
}

/// So many pods are looked at.
const PODS_MAX: usize = 1_000;

/// Reads what `kubectl get pods -o json` writes; nothing when it is no such text.
pub fn pods(text: &str) -> Option<Vec<Pod>> {
    let told: Json = serde_json::from_str(text).ok()?;
    let pods = told["items"].as_array()?.iter().take(PODS_MAX);
    let pod = |pod: &Json| {
        let containers = pod["status"]["containerStatuses"].as_array();
        let containers = containers.map(Vec::as_slice).unwrap_or_default();
        let ended = containers.iter().find_map(|container| {
            let states = [&container["state"], &container["lastState"]];
            states
                .iter()
                .find_map(|state| state["terminated"]["reason"].as_str())
        });
        let waits = containers
            .iter()
            .find_map(|container| container["state"]["waiting"]["reason"].as_str());
        Some(Pod {
            name: pod["metadata"]["name"].as_str()?.to_owned(),
            ready: !containers.is_empty() && containers.iter().all(|container| container["ready"] == true),
            restarts: containers
                .iter()
                .filter_map(|container| container["restartCount"].as_u64())
                .sum(),
            ended: ended.map(str::to_owned),
            waits: waits.map(str::to_owned),
        })
    };
    Some(pods.filter_map(pod).collect())
}

/// Which pods are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    /// Their namespace.
    pub namespace: String,
    /// Their labels, as `kubectl -l` takes them.
    pub selector: String,
}

impl Pods {
    #[cfg(any(test, feature = "kubernetes"))]
    fn arguments(&self) -> [&str; 8] {
        [
            "get",
            "pods",
            "-n",
            &self.namespace,
            "-l",
            &self.selector,
            "-o",
            "json",
        ]
    }
}

impl fmt::Display for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.selector, self.namespace)
    }
}

/// What a person asks in place of us, line by line, to be copied.
///
/// ```
/// use seawall_diagnose::probe::kubernetes::{Pods, commands};
/// let pods = Pods { namespace: "prod".into(), selector: "app=redis".into() };
/// assert!(commands(&pods)[0].starts_with("kubectl get pods -n 'prod' -l 'app=redis'"));
/// ```
pub fn commands(pods: &Pods) -> Vec<String> {
    let of = format!("-n {} -l {}", quoted(&pods.namespace), quoted(&pods.selector));
    vec![
        format!("kubectl get pods {of} -o wide"),
        format!("kubectl describe pods {of} | grep -E 'Reason|Exit Code|Restart Count|Ready'"),
        format!("kubectl logs {of} --tail=100 --prefix | grep -iE 'redis|cache'"),
        format!("kubectl top pods {of}"),
    ]
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// No answer is longer, in bytes.
#[cfg(feature = "kubernetes")]
const ANSWER_MAX: u64 = 32 << 20;

/// Asks `kubectl`, by its name or by the path of the file.
///
/// # Errors
/// When there is none, it does not answer in time, or says something else.
#[cfg(feature = "kubernetes")]
pub async fn ask(
    kubectl: &std::path::Path,
    wanted: &Pods,
    deadline: tokio::time::Instant,
) -> Result<Vec<Pod>, super::Fault> {
    use super::{Fault, Why};

    // Whoever waits no longer leaves no process behind.
    let child = tokio::process::Command::new(kubectl)
        .args(wanted.arguments())
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let child = child.map_err(|error| Fault::new(Why::Error, format!("kubectl cannot be run: {error}")))?;
    let answer = tokio::time::timeout_at(deadline, heard(child)).await;
    let answer = answer.map_err(|_| Fault::late("answer of kubectl"))?;
    let (well, said, complaint) =
        answer.map_err(|error| Fault::new(Why::Error, format!("kubectl cannot be heard: {error}")))?;
    if said.len() as u64 > ANSWER_MAX {
        let text = format!("the answer of kubectl is longer than {ANSWER_MAX} bytes");
        return Err(Fault::new(Why::Garbage, text));
    }
    if !well {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint: String = complaint.trim().chars().take(200).map(plain).collect();
        return Err(Fault::new(Why::Error, format!("kubectl: {complaint}")));
    }
    pods(&String::from_utf8_lossy(&said))
        .ok_or_else(|| Fault::new(Why::Garbage, "what kubectl writes is no list of pods"))
}

/// Whether it ended well, what it says, a byte more than is allowed at most, and what it complains of.
#[cfg(feature = "kubernetes")]
async fn heard(mut child: tokio::process::Child) -> std::io::Result<(bool, Vec<u8>, Vec<u8>)> {
    use tokio::io::{AsyncRead, AsyncReadExt};

    async fn all(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
        let mut read = Vec::new();
        if let Some(from) = from {
            from.take(most).read_to_end(&mut read).await?;
        }
        Ok(read)
    }
    let (out, complaints) = (child.stdout.take(), child.stderr.take());
    let (said, complaint) = tokio::try_join!(all(out, ANSWER_MAX + 1), all(complaints, 4_096))?;
    if said.len() as u64 > ANSWER_MAX {
        return Ok((false, said, complaint));
    }
    Ok((child.wait().await?.success(), said, complaint))
}

/// What pods tell that they did not tell `before`, as lines of a log would: one for each time that one of them was killed for
/// want of memory.
pub fn sample(before: &[Pod], now: &[Pod], place: &super::Place) -> super::Sample {
    let killed = now.iter().filter(|pod| pod.ended.as_deref() == Some("OOMKilled"));
    let times = killed.filter_map(|pod| {
        let then = before.iter().find(|then| then.name == pod.name)?;
        Some(pod.restarts.saturating_sub(then.restarts) as f64)
    });
    let point = place.labelled(seawall_core::record::Metric::LogLines, "killed", times.sum());
    super::Sample {
        points: vec![point],
        ..super::Sample::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_pod_is_told_of() {
        let text = r#"{"items":[
            {"metadata":{"name":"redis-0"},"status":{"containerStatuses":[
                {"ready":true,"restartCount":3,"state":{"running":{}},"lastState":{"terminated":{"reason":"OOMKilled"}}}]}},
            {"metadata":{"name":"redis-1"},"status":{}},
            {"metadata":{"name":"redis-2"},"status":{"containerStatuses":[
                {"ready":false,"restartCount":9,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
                 "lastState":{"terminated":{"reason":"Error"}}}]}}]}"#;
        let found = pods(text).expect("it is a list");
        assert_eq!(found[0].ended.as_deref(), Some("OOMKilled"));
        assert_eq!(
            (found[0].restarts, found[0].ready, found[1].ready),
            (3, true, false)
        );
        assert_eq!(found[2].waits.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(found[2].ended.as_deref(), Some("Error"));
        let mut before = found.clone();
        before[0].restarts = 1;
        before[2].restarts = 0;
        let lines =
            |before: &[Pod]| sample(before, &found, &super::super::Place::new("pods")).points[0].value;
        assert!((lines(&before) - 2.0).abs() < 1e-9);
        assert!(lines(&found).abs() < 1e-9 && lines(&[]).abs() < 1e-9);
        assert_eq!(pods("not json"), None);
        assert_eq!(pods("{}"), None);
    }

    #[test]
    fn what_is_copied_cannot_run_anything_else() {
        let pods = Pods {
            namespace: "a; rm -rf /".into(),
            selector: "x='y".into(),
        };
        assert!(commands(&pods)[0].contains("-n 'a; rm -rf /' -l 'x='\\''y'"));
        assert_eq!(pods.arguments()[3], "a; rm -rf /");
    }
}
