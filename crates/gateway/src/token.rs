//! The admin API's bearer token: from the environment or a file, compared in constant time, never shown.

use crate::gateway::StartError;

/// Fewer characters are no token.
const LENGTH_MIN: usize = 16;

/// A token.
pub(crate) struct Token(Box<[u8]>);

impl Token {
    /// The token that was given, or else the one in the file.
    pub(crate) fn find(given: Option<&str>, file: Option<&str>) -> Result<Option<Token>, StartError> {
        let read;
        let token = match (given, file) {
            (Some(given), _) => given,
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file);
                read = text.map_err(|error| StartError::Read(file.to_owned(), error))?;
                &read
            }
            (None, None) => return Ok(None),
        };
        let token = token.trim();
        if token.len() < LENGTH_MIN {
            return Err(StartError::ShortToken);
        }
        Ok(Some(Token(token.as_bytes().into())))
    }

    /// Whether an `Authorization` field carries it. It takes as long whatever is wrong with it.
    pub(crate) fn is_in(&self, field: Option<&http::HeaderValue>) -> bool {
        let field = field.map_or(&b""[..], |field| field.as_bytes());
        let (scheme, given) = field.split_at(field.len().min(7));
        let mut differs = u8::from(!scheme.eq_ignore_ascii_case(b"bearer "));
        differs |= u8::from(given.len() != self.0.len());
        for (place, byte) in self.0.iter().enumerate() {
            differs |= byte ^ given.get(place).copied().unwrap_or(0);
        }
        std::hint::black_box(differs) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_will_do() {
        let token = Token::find(Some(" 0123456789abcdef\n"), None)
            .unwrap()
            .expect("there is one");
        let fits = |field: &str| token.is_in(Some(&field.parse().unwrap()));
        assert!(fits("Bearer 0123456789abcdef") && fits("bearer 0123456789abcdef"));
        for wrong in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeff",
            "Bearer 0123456789abcdeF",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "",
        ] {
            assert!(!fits(wrong), "{wrong}");
        }
        assert!(!token.is_in(None));
        assert!(matches!(
            Token::find(Some("short"), None),
            Err(StartError::ShortToken)
        ));
        assert!(matches!(
            Token::find(None, Some("/nowhere/at/all")),
            Err(StartError::Read(..))
        ));
    }
}
