//! From what was typed (a built-in name or a file) to a document.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use seawall_scenario::{BYTES_MAX, Document};

use crate::builtin;
use crate::stop::Stop;

/// Reads and checks the document. A name without a slash and without an extension is a built-in scenario if there is one.
pub(crate) fn document(what: &str) -> Result<Document, Stop> {
    let has_extension = Path::new(what).extension().is_some();
    let is_path = what.contains(['/', '\\']) || has_extension;
    if !is_path && let Some(text) = builtin::text_of(what) {
        return Ok(Document::parse(what, text)?);
    }
    let path = Path::new(what);
    if !is_path && !path.exists() {
        let names: Vec<&str> = builtin::SCENARIOS.iter().map(|(name, _)| *name).collect();
        return Err(unknown(
            "scenario",
            what,
            &names,
            "`seawall scenarios` lists what is built in; a file ends in .toml",
        ));
    }
    let bytes = read(path).map_err(|error| {
        let help = "check the path; `seawall scenarios` lists what is built in";
        Stop::Input(format!("failed to read {what}: {error}"), help.to_owned())
    })?;
    Ok(Document::read(what, &bytes)?)
}

/// At most one byte more than a document may have: enough to see that it is too long.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A name that nothing bears, with the nearest that something does.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str], otherwise: &str) -> Stop {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, known)| *distance <= 1 + known.chars().count() / 3)
        .min();
    let help = match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`? {otherwise}"),
        None => otherwise.to_owned(),
    };
    Stop::Input(format!("there is no {kind} `{name}`"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_proposed() {
        let Stop::Input(what, help) = unknown("variant", "braker", &["breaker", "seawall"], "choose one")
        else {
            panic!("it is wrong input");
        };
        assert_eq!(what, "there is no variant `braker`");
        assert_eq!(help, "did you mean `breaker`? choose one");
    }

    #[test]
    fn a_file_that_is_not_there_is_wrong_input() {
        assert!(matches!(
            document("nowhere/to-be-found.toml"),
            Err(Stop::Input(..))
        ));
    }
}
