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
        Some(Pod {
            name: pod["metadata"]["name"].as_str()?.to_owned(),
            ready: !containers.is_empty() && containers.iter().all(|container| container["ready"] == true),
            restarts: containers
                .iter()
                .filter_map(|container| container["restartCount"].as_u64())
                .sum(),
            ended: ended.map(str::to_owned),
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

/// Asks `kubectl`.
///
/// # Errors
/// When there is none, it does not answer in time, or says something else.
#[cfg(feature = "kubernetes")]
pub async fn ask(wanted: &Pods, deadline: tokio::time::Instant) -> Result<Vec<Pod>, super::Fault> {
    use super::{Fault, Why};

    let mut command = tokio::process::Command::new("kubectl");
    command
        .args(wanted.arguments())
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    let answer = tokio::time::timeout_at(deadline, command.output()).await;
    let answer = answer.map_err(|_| Fault::late("answer of kubectl"))?;
    let answer = answer.map_err(|error| Fault::new(Why::Error, format!("kubectl cannot be run: {error}")))?;
    if !answer.status.success() {
        let said: String = String::from_utf8_lossy(&answer.stderr)
            .chars()
            .take(200)
            .collect();
        return Err(Fault::new(Why::Error, format!("kubectl: {}", said.trim())));
    }
    pods(&String::from_utf8_lossy(&answer.stdout))
        .ok_or_else(|| Fault::new(Why::Garbage, "what kubectl writes is no list of pods"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_pod_is_told_of() {
        let text = r#"{"items":[
            {"metadata":{"name":"redis-0"},"status":{"containerStatuses":[
                {"ready":true,"restartCount":3,"state":{"running":{}},"lastState":{"terminated":{"reason":"OOMKilled"}}}]}},
            {"metadata":{"name":"redis-1"},"status":{}}]}"#;
        let found = pods(text).expect("it is a list");
        assert_eq!(found[0].ended.as_deref(), Some("OOMKilled"));
        assert_eq!(
            (found[0].restarts, found[0].ready, found[1].ready),
            (3, true, false)
        );
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
