//! The settings in force: the document, what variables and operators lay over it, and how it is changed while running.
//!
//! A change, wherever it comes from, is the whole document read anew; one that is not in order changes nothing and is
//! told. The file is looked at once a second by its content, so it does not matter how it was replaced: written
//! over, renamed into place, or by the swap of a symbolic link as Kubernetes does it for a `ConfigMap`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use seawall_scenario::deployment::Override;
use seawall_scenario::{BYTES_MAX, Deployment, Mistakes};
use serde_json::{Value as Json, json};

use crate::gateway::{Inside, StartError};
use crate::{tls, variables};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// So many settings may be changed by operators.
const OVERRIDES_MAX: usize = 1_000;

/// What a gateway is started with.
///
/// ```
/// use seawall_gateway::Config;
/// let text = "[upstream.api]\naddresses = [\"127.0.0.1:8000\"]\n";
/// let config = Config::of_text("seawall.toml", text)
///     .environment(vec![("SEAWALL_REQUEST_QUEUE_SIZE".into(), "500".into())]);
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone)]
pub struct Config {
    name: String,
    path: Option<PathBuf>,
    text: String,
    variables: Vec<Override>,
    token: Option<String>,
    redis: Option<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The document in a file, which is watched from then on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Config, StartError> {
        let name = path.display().to_string();
        let text = read(path).map_err(|error| StartError::Read(name.clone(), error))?;
        Ok(Config {
            path: Some(path.to_owned()),
            ..Config::of_text(name, text)
        })
    }

    /// A document that is no file.
    pub fn of_text(name: impl Into<String>, text: impl Into<String>) -> Config {
        Config {
            name: name.into(),
            path: None,
            text: text.into(),
            variables: Vec::new(),
            token: None,
            redis: None,
        }
    }

    /// Environment variables, which win over the document; also the admin API's token and where Redis is, which are
    /// shown nowhere.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what was collected for it is of no use afterwards"
    )]
    pub fn environment(mut self, environment: Vec<(String, String)>) -> Config {
        let (overrides, unknown) = variables::read(&environment);
        for name in unknown {
            tracing::warn!("{name} is not read: {}", variables::remark(&name));
        }
        self.variables = overrides;
        let secret = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        self.token = secret("SEAWALL_ADMIN_TOKEN");
        self.redis = secret("SEAWALL_REDIS_URL").filter(|url| !url.is_empty());
        self
    }

    /// Whether it is in order.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<Deployment, Mistakes> {
        Deployment::parse(&self.name, &self.text, &self.variables)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    // One byte more than there may be, so that a document that is too long is told so.
    let file = std::fs::File::open(path)?;
    file.take(BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Where settings are changed.
pub(crate) struct Desk {
    config: Config,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    text: String,
    /// What operators changed, by path.
    overrides: BTreeMap<String, Override>,
    /// A text that was refused, and why.
    refused: Option<(String, Vec<String>)>,
    reloads: u64,
    failures: u64,
}

impl Desk {
    /// Reads the document for the first time.
    pub(crate) fn open(config: Config) -> Result<(Desk, Deployment), Mistakes> {
        let deployment = config.check()?;
        let state = State {
            text: config.text.clone(),
            ..State::default()
        };
        let state = Mutex::new(state);
        Ok((Desk { config, state }, deployment))
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.config.token.as_deref()
    }

    pub(crate) fn redis(&self) -> Option<&str> {
        self.config.redis.as_deref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parse(&self, text: &str, overrides: &BTreeMap<String, Override>) -> Result<Deployment, Vec<String>> {
        let all: Vec<Override> = self
            .config
            .variables
            .iter()
            .chain(overrides.values())
            .cloned()
            .collect();
        let deployment =
            Deployment::parse(&self.config.name, text, &all).map_err(|mistakes| tell(&mistakes))?;
        tls::check(&deployment).map_err(|error| vec![error.to_string()])?;
        Ok(deployment)
    }

    /// Takes the file's new content over, if it is in order.
    fn reload(&self, inside: &Inside, text: String) {
        let mut state = self.state();
        let refused = state.refused.as_ref();
        if text == state.text || refused.is_some_and(|(refused, _)| *refused == text) {
            if text == state.text {
                state.refused = None;
            }
            return;
        }
        match self.parse(&text, &state.overrides) {
            Ok(deployment) => {
                inside.apply(&deployment);
                let before = digest(&state.text);
                inside.audit.note("the file", "document", before, digest(&text));
                tracing::info!("{} was read anew", self.config.name);
                (state.text, state.refused) = (text, None);
                state.reloads += 1;
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{} stays as it was: {mistake}", self.config.name);
                }
                state.refused = Some((text, mistakes));
                state.failures += 1;
            }
        }
    }

    /// Changes settings until they are taken back. `None` takes back what operators changed.
    pub(crate) fn change(
        &self,
        inside: &Inside,
        who: &str,
        changes: &[(String, Option<String>)],
    ) -> Result<(), Vec<String>> {
        let mut state = self.state();
        let mut overrides = state.overrides.clone();
        for (path, value) in changes {
            if let Some(value) = value {
                overrides.insert(path.clone(), Override::new("the admin API", path, value));
            } else {
                let below = format!("{path}.");
                overrides.retain(|known, _| known != path && !known.starts_with(&below));
            }
        }
        if overrides.len() > OVERRIDES_MAX {
            return Err(vec![format!("at most {OVERRIDES_MAX} settings can be changed")]);
        }
        let deployment = self.parse(&state.text, &overrides)?;
        inside.apply(&deployment);
        for (path, value) in changes {
            let from = state.overrides.get(path).map(|over| over.value.clone());
            inside.audit.note(who, path, json!(from), json!(value));
        }
        state.overrides = overrides;
        Ok(())
    }

    /// What operators changed, and how the file is.
    pub(crate) fn report(&self) -> Json {
        let state = self.state();
        let overrides = state.overrides.iter();
        let variables = self.config.variables.iter();
        json!({
            "file": self.config.path.as_ref().map(|path| path.display().to_string()),
            "reloads": state.reloads,
            "reload_failures": state.failures,
            "refused": state.refused.as_ref().map(|(_, mistakes)| mistakes),
            "variables": variables.map(|over| json!({ "name": over.from, "setting": over.path, "value": over.value }))
                .collect::<Vec<_>>(),
            "overrides": overrides.map(|(path, over)| (path.clone(), json!(over.value)))
                .collect::<serde_json::Map<_, _>>(),
        })
    }

    /// How often the file was taken over, how often it was refused, and whether it is refused now.
    pub(crate) fn reloads(&self) -> (u64, u64, bool) {
        let state = self.state();
        (state.reloads, state.failures, state.refused.is_some())
    }

    /// Watches the file.
    pub(crate) async fn watch(inside: Weak<Inside>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(inside) = inside.upgrade() else { return };
            let path = inside.desk.config.path.clone();
            let certificate = inside.certificate.clone();
            let look = move || {
                if let Some(certificate) = certificate {
                    certificate.renew();
                }
                path.map(|path| read(&path))
            };
            let text = tokio::task::spawn_blocking(look).await;
            match text {
                Ok(Some(Ok(text))) => inside.desk.reload(&inside, text),
                Ok(Some(Err(error))) => tracing::debug!("the document cannot be read: {error}"),
                Ok(None) | Err(_) => {}
            }
        }
    }
}

/// So much of a document is in the audit: that it changed, not what it holds.
fn digest(text: &str) -> Json {
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    json!(format!("{} bytes, {sum:016x}", text.len()))
}

/// Mistakes, each on one line.
pub(crate) fn tell(mistakes: &Mistakes) -> Vec<String> {
    let line = |mistake: &seawall_scenario::Mistake| {
        let text = mistake.source.inner();
        let before = text.get(..mistake.span.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let help = mistake
            .help
            .as_ref()
            .map_or_else(String::new, |help| format!(" ({help})"));
        let quoted = text
            .get(mistake.span.clone())
            .unwrap_or("")
            .lines()
            .next()
            .unwrap_or("");
        format!(
            "{}:{line}: {} at `{quoted}`{help}",
            mistake.source.name(),
            mistake.message
        )
    };
    mistakes.list().iter().map(line).collect()
}

/// What a JSON object changes: paths and values, spelled as in the document.
pub(crate) fn changes(
    path: &str,
    value: &Json,
    into: &mut Vec<(String, Option<String>)>,
) -> Result<(), String> {
    let spelled = match value {
        Json::Object(fields) => {
            for (key, value) in fields {
                let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                if key.is_empty() || !key.bytes().all(fits) {
                    return Err(format!("`{key}` is no setting"));
                }
                changes(&format!("{path}.{key}"), value, into)?;
            }
            return Ok(());
        }
        Json::Null => "\"none\"".to_owned(),
        // JSON's texts, numbers and lists of them are TOML's too.
        value => value.to_string(),
    };
    if into.len() >= OVERRIDES_MAX {
        return Err("these are too many settings".to_owned());
    }
    into.push((path.to_owned(), Some(spelled)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_settings() {
        let mut into = Vec::new();
        let value = json!({ "on": true, "window": "5s", "adaptive": { "min": null } });
        changes("protect.rate", &value, &mut into).unwrap();
        into.sort();
        let into: Vec<(&str, &str)> = into
            .iter()
            .map(|(path, value)| (&**path, value.as_deref().unwrap_or("")))
            .collect();
        assert_eq!(
            into,
            [
                ("protect.rate.adaptive.min", "\"none\""),
                ("protect.rate.on", "true"),
                ("protect.rate.window", "\"5s\""),
            ]
        );
        assert!(changes("protect", &json!({ "a.b": 1 }), &mut Vec::new()).is_err());
        assert!(changes("protect", &json!({ "a=b": 1 }), &mut Vec::new()).is_err());
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_how_to_mend_them() {
        let text = "[upstream.api]\naddresses = [\"127.0.0.1:1\"]\npol = 3\n";
        let mistakes = Config::of_text("seawall.toml", text).check().unwrap_err();
        assert_eq!(
            tell(&mistakes),
            ["seawall.toml:3: an upstream has no key `pol` at `pol` (did you mean `pool`?)"]
        );
    }
}
