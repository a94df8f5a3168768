//! What runs inside the server: writes that look before they write.

use std::sync::LazyLock;

use ::redis::{Cmd, cmd};

/// A script, and the hash by which a server that has seen it knows it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    const fn new(text: &'static str, hash: fn() -> String) -> Script {
        Script {
            text,
            hash: LazyLock::new(hash),
        }
    }

    /// What is run.
    pub(super) fn text(&self) -> &'static str {
        self.text
    }

    /// The call by hash. It fails where the server has not seen the script since it began.
    pub(super) fn by_hash(&self, key: &str, args: &[&[u8]]) -> Cmd {
        call("EVALSHA", &self.hash, key, args)
    }

    /// The call by text, from which the server learns the hash.
    pub(super) fn by_text(&self, key: &str, args: &[&[u8]]) -> Cmd {
        call("EVAL", self.text, key, args)
    }
}

fn call(name: &str, script: &str, key: &str, args: &[&[u8]]) -> Cmd {
    let mut call = cmd(name);
    call.arg(script).arg(1).arg(key);
    for arg in args {
        call.arg(*arg);
    }
    call
}

macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $text:expr) => {
        $(#[$doc])*
        pub(super) static $name: Script =
            Script::new($text, || ::redis::Script::new($text).get_hash().to_owned());
    };
}

// Lua compares strings as the server's locale orders them, and its numbers have 53 bits. So versions are compared byte
// by byte. What is no envelope (another type, too) has no version, and that of another key's says nothing about this one.
macro_rules! versioned {
    ($rest:literal) => {
        concat!(
            r"
local function version()
  local head = redis.pcall('GETRANGE', KEYS[1], 0, 71)
  if type(head) == 'string' and #head == 72 and string.sub(head, 1, 4) == 'SWL\1' then
    return string.sub(head, 9, 16), string.sub(head, 57, 72)
  end
end
local function compare(a, b)
  for i = 1, 8 do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y and -1 or 1 end
  end
  return 0
end
",
            $rest
        )
    };
}

script!(
    /// Puts `ARGV[1]` for `ARGV[3]` ms (for ever when 0), unless a version above `ARGV[2]` of the same key is there.
    PUT,
    versioned!(
        r"
local there, key = version()
if there and key == string.sub(ARGV[1], 57, 72) and compare(there, ARGV[2]) > 0 then return 0 end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
end
return 1
"
    )
);

script!(
    /// Takes out what is there, unless it is of version `ARGV[1]` or a higher one.
    DELETE,
    versioned!(
        r"
local there = version()
if there and compare(there, ARGV[1]) >= 0 then return 0 end
return redis.call('DEL', KEYS[1])
"
    )
);

script!(
    /// Ends a lease that is still held with the token `ARGV[1]`.
    GIVE_BACK,
    r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{DIGEST_AT, Envelope, VERSION_AT};

    #[test]
    fn scripts_look_where_the_version_lies() {
        let sealed = Envelope::default().seal(b"");
        assert_eq!(
            (VERSION_AT, DIGEST_AT),
            (8..16, 56..72),
            "as in the scripts, where bytes count from 1"
        );
        assert_eq!(&sealed[..4], b"SWL\x01");
    }

    #[test]
    fn a_hash_is_of_its_text() {
        assert_ne!(*PUT.hash, *DELETE.hash);
        assert_eq!(PUT.hash.len(), 40);
    }
}
