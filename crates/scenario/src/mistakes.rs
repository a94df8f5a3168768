//! What is wrong with a document: all of it at once, each mistake at its exact place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// The most mistakes of one document that are kept.
pub const MISTAKES_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// A word or two for the place that is underlined.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Where it is, in bytes of the source; always within it.
    pub span: Range<usize>,
    /// The text it is in: the document, or a setting from the command line.
    pub source: Arc<NamedSource<String>>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        // A text without a place in it (empty, too long, not text at all) is not quoted.
        (!self.source.inner().is_empty()).then_some(&*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.source.inner().is_empty() {
            return None;
        }
        let span = (self.span.start, self.span.len());
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            Some(self.label.clone()),
            span,
        ))))
    }
}

/// Everything that is wrong with a document, in the order of the text; never empty.
///
/// As a [`Diagnostic`] it is one report with each mistake related to it; to print each on its own, go through
/// [`Mistakes::list`].
#[derive(Clone, Debug)]
pub struct Mistakes {
    name: String,
    list: Vec<Mistake>,
    more: usize,
}

impl Mistakes {
    pub(crate) fn new(name: &str, mut list: Vec<Mistake>) -> Mistakes {
        let more = list.len().saturating_sub(MISTAKES_MAX);
        list.truncate(MISTAKES_MAX);
        Mistakes {
            name: name.to_owned(),
            list,
            more,
        }
    }

    /// The mistakes, in the order of the text.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// How many further mistakes there are that were not kept.
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.len() + self.more {
            1 => write!(f, "there is a mistake in {}", self.name),
            count => write!(f, "there are {count} mistakes in {}", self.name),
        }
    }
}

impl std::error::Error for Mistakes {}

impl Diagnostic for Mistakes {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.list.iter().map(|mistake| mistake as &dyn Diagnostic),
        ))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (self.more > 0).then(|| {
            let more = format!("{} more are not shown; mend these first", self.more);
            Box::new(more) as Box<dyn fmt::Display>
        })
    }
}
