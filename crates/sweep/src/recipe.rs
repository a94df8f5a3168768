//! Everything that decides the bytes of a sweep's results: what a journal carries in its first line.

use seawall_report::sweep as told;
use seawall_scenario::Document;
use seawall_sim::Engine;
use serde_json::{Value, json};

use crate::axis::Axis;

/// What is swept, and how. Two sweeps with equal recipes have equal results.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The scenario's file or built-in name.
    pub file: String,
    /// What happens, in a few words.
    pub title: String,
    /// What it is about.
    pub about: String,
    /// A digest of the document's text.
    pub document: String,
    /// What is varied; the first axis moves fastest.
    pub axes: Vec<Axis>,
    /// The variants that are played at each point.
    pub variants: Vec<String>,
    /// Settings that hold at all points.
    pub settings: Vec<(String, String)>,
    /// The seed, the same at every point.
    pub seed: u64,
    /// How many runs each variant has at each point.
    pub runs: u32,
    /// The share of the full size that is played.
    pub scale: f64,
    /// The engine that was asked for.
    pub engine: Engine,
    /// The version of Seawall that plays.
    pub version: String,
}

impl Recipe {
    /// The recipe of a document that is played as it is, with nothing varied yet.
    pub fn of(document: &Document, version: &str) -> Recipe {
        Recipe {
            file: document.name().to_owned(),
            title: document.title().to_owned(),
            about: String::new(),
            document: format!("{:032x}", digest(document.text().as_bytes())),
            axes: Vec::new(),
            variants: document.variants().into_iter().map(str::to_owned).collect(),
            settings: Vec::new(),
            seed: 1,
            runs: 1,
            scale: 1.0,
            engine: Engine::Auto,
            version: version.to_owned(),
        }
    }

    /// How many points the grid has.
    pub fn points(&self) -> usize {
        self.axes.iter().map(|axis| axis.values().len()).product()
    }

    /// The settings that hold at all points.
    pub(crate) fn sets(&self) -> Vec<(&str, &str)> {
        let sets = self.settings.iter();
        sets.map(|(path, value)| (path.as_str(), value.as_str()))
            .collect()
    }

    /// The recipe on one line of JSON.
    pub(crate) fn line(&self) -> String {
        let axes = self.axes.iter();
        json!({
            "about": self.about,
            "axes": axes.map(|axis| json!([axis.path(), axis.values()])).collect::<Vec<_>>(),
            "document": self.document,
            "engine": self.engine.name(),
            "file": self.file,
            "runs": self.runs,
            // As a text, so that it comes back to the bit.
            "scale": self.scale.to_string(),
            "seed": self.seed,
            "settings": self.settings,
            "title": self.title,
            "variants": self.variants,
            "version": self.version,
        })
        .to_string()
    }

    /// The recipe from its line.
    pub(crate) fn read(line: &str) -> Option<Recipe> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let texts = |value: &Value| -> Option<Vec<String>> {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let axes = value.get("axes")?.as_array()?.iter();
        let axes = axes.map(|axis| Some(Axis::of(axis.get(0)?.as_str()?.to_owned(), texts(axis.get(1)?)?)));
        let settings = value.get("settings")?.as_array()?.iter();
        let settings = settings.map(|pair| match texts(pair)?.as_slice() {
            [path, value] => Some((path.clone(), value.clone())),
            _ => None,
        });
        let engine = text("engine")?;
        let engines = [Engine::Auto].into_iter().chain(Engine::PLAYING);
        Some(Recipe {
            file: text("file")?,
            title: text("title")?,
            about: text("about")?,
            document: text("document")?,
            axes: axes.collect::<Option<_>>()?,
            variants: texts(value.get("variants")?)?,
            settings: settings.collect::<Option<_>>()?,
            seed: value.get("seed")?.as_u64()?,
            runs: u32::try_from(value.get("runs")?.as_u64()?).ok()?,
            scale: text("scale")?.parse().ok()?,
            engine: engines.into_iter().find(|known| known.name() == engine)?,
            version: text("version")?,
        })
    }

    /// What differs from another recipe, in words; nothing when they are the same.
    pub(crate) fn differs(&self, other: &Recipe) -> Vec<&'static str> {
        let axes = |recipe: &Recipe| -> Vec<(String, Vec<String>)> {
            let axes = recipe.axes.iter();
            axes.map(|axis| (axis.path().to_owned(), axis.values().to_vec()))
                .collect()
        };
        let differences = [
            (self.document != other.document, "the text of the scenario"),
            (
                self.file != other.file || self.title != other.title,
                "the scenario's name",
            ),
            (axes(self) != axes(other), "what is swept (--over)"),
            (self.variants != other.variants, "the variants"),
            (self.settings != other.settings, "the settings (--set)"),
            (self.seed != other.seed, "the seed"),
            (self.runs != other.runs, "the number of runs"),
            (self.scale.to_bits() != other.scale.to_bits(), "the scale"),
            (self.engine != other.engine, "the engine"),
            (self.version != other.version, "the version of Seawall"),
        ];
        let differing = differences.into_iter().filter(|(differs, _)| *differs);
        differing.map(|(_, what)| what).collect()
    }

    /// What a report tells of the sweep, without its rows.
    pub fn told(&self) -> told::Sweep {
        let axis = |axis: &Axis| told::Axis {
            path: axis.path().to_owned(),
            values: axis.values().to_vec(),
            numbers: axis.numbers(),
        };
        let setting = |(path, value): &(String, String)| format!("{path} = {value}");
        told::Sweep {
            title: self.title.clone(),
            about: self.about.clone(),
            file: self.file.clone(),
            axes: self.axes.iter().map(axis).collect(),
            variants: self.variants.clone(),
            settings: self.settings.iter().map(setting).collect(),
            seed: self.seed,
            runs: self.runs,
            scale: self.scale,
            rows: Vec::new(),
        }
    }
}

/// FNV-1a with 128 bits: it tells documents apart, and guards against no one.
pub(crate) fn digest(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let step = |state: u128, byte: &u8| (state ^ u128::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(BASIS, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_published_one() {
        // From the draft of the FNV authors (draft-eastlake-fnv): the empty text, and "a".
        assert_eq!(digest(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(digest(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn a_recipe_comes_back_from_its_line() {
        let text = "title = \"t\"\n[run]\nduration = \"1m\"\n[client.web]\ncalls = \"app\"\nrate = \"1/s\"\n\
                    keys = { uniform = { count = 1 } }\n[service.app]\n";
        let document = Document::parse("t.toml", text).expect("a good document");
        let mut recipe = Recipe::of(&document, "9.9.9");
        recipe.axes = vec![Axis::parse("client.web.rate=1/s..3/s:3").expect("a range")];
        recipe.settings = vec![("run.seed".into(), "7".into())];
        recipe.scale = 1.0 / 3.0;
        recipe.seed = u64::MAX;
        let back = Recipe::read(&recipe.line()).expect("its own line");
        assert!(back.differs(&recipe).is_empty());
        let other = Recipe {
            seed: 2,
            runs: 9,
            ..recipe.clone()
        };
        assert_eq!(other.differs(&recipe), ["the seed", "the number of runs"]);
    }
}
