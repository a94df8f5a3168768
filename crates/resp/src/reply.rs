//! Replies: everything a server says.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{LINE_MAX, Limits, Malformed, integer, line_length};

/// A reply. Written again, it is the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+`: a short word.
    Simple(Bytes),
    /// `-`: an error, its code first.
    Error(Bytes),
    /// `:`
    Integer(i64),
    /// `$`: any bytes.
    Bulk(Bytes),
    /// `$-1`: nothing, in version 2.
    NullBulk,
    /// `*-1`: no array, in version 2.
    NullArray,
    /// `_`: nothing, in version 3.
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`: keys and values in turn.
    Map(Vec<Value>),
    /// `~`
    Set(Vec<Value>),
    /// `>`: what nobody asked for, such as a message of a channel.
    Push(Vec<Value>),
    /// `,`: a number as it is spelled.
    Double(Bytes),
    /// `#`
    Boolean(bool),
    /// `(`: a number as it is spelled.
    Big(Bytes),
    /// `!`: an error of any bytes.
    BulkError(Bytes),
    /// `=`: a text, its kind first (`txt:…`).
    Verbatim(Bytes),
}

impl Value {
    /// Whether it says that there is nothing.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::NullBulk | Value::NullArray | Value::Null)
    }

    /// What an error says.
    pub fn error(&self) -> Option<&[u8]> {
        match self {
            Value::Error(text) | Value::BulkError(text) => Some(text),
            _ => None,
        }
    }

    /// Writes it as it came.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Value::Simple(text) => line(out, b'+', text),
            Value::Error(text) => line(out, b'-', text),
            Value::Integer(number) => line(out, b':', number.to_string().as_bytes()),
            Value::Bulk(bytes) => sized(out, b'$', bytes),
            Value::NullBulk => out.put_slice(b"$-1\r\n"),
            Value::NullArray => out.put_slice(b"*-1\r\n"),
            Value::Null => out.put_slice(b"_\r\n"),
            Value::Array(items) => aggregate(out, b'*', items.len(), items),
            Value::Map(items) => aggregate(out, b'%', items.len() / 2, items),
            Value::Set(items) => aggregate(out, b'~', items.len(), items),
            Value::Push(items) => aggregate(out, b'>', items.len(), items),
            Value::Double(text) => line(out, b',', text),
            Value::Boolean(yes) => line(out, b'#', if *yes { b"t" } else { b"f" }),
            Value::Big(text) => line(out, b'(', text),
            Value::BulkError(text) => sized(out, b'!', text),
            Value::Verbatim(text) => sized(out, b'=', text),
        }
    }
}

fn line(out: &mut BytesMut, mark: u8, text: &[u8]) {
    out.put_u8(mark);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn sized(out: &mut BytesMut, mark: u8, bytes: &[u8]) {
    line(out, mark, bytes.len().to_string().as_bytes());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

fn aggregate(out: &mut BytesMut, mark: u8, count: usize, items: &[Value]) {
    line(out, mark, count.to_string().as_bytes());
    for item in items {
        item.write(out);
    }
}

/// Reads replies, as a client does.
#[derive(Debug)]
pub struct Replies {
    limits: Limits,
    /// Aggregates that have begun, the outermost first.
    open: Vec<Open>,
    /// The string under way: its mark and length.
    bulk: Option<(u8, usize)>,
    elements: usize,
    held: usize,
    scanned: usize,
}

#[derive(Debug)]
struct Open {
    mark: u8,
    missing: usize,
    items: Vec<Value>,
}

impl Open {
    fn close(self) -> Value {
        match self.mark {
            b'%' => Value::Map(self.items),
            b'~' => Value::Set(self.items),
            b'>' => Value::Push(self.items),
            _ => Value::Array(self.items),
        }
    }
}

/// What a line announces.
enum Begun {
    Whole(Value),
    Bulk(u8, usize),
    Aggregate(u8, usize),
}

impl Replies {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Limits) -> Replies {
        Replies {
            limits,
            open: Vec::new(),
            bulk: None,
            elements: 0,
            held: 0,
            scanned: 0,
        }
    }

    /// Takes the next reply out of what has arrived, or what there is of it.
    ///
    /// # Errors
    /// When it is no reply, or too large a one. The connection is of no use then.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Value>, Malformed> {
        loop {
            let Some(value) = self.element(buffer)? else {
                return Ok(None);
            };
            if let Some(whole) = self.place(value) {
                (self.elements, self.held) = (0, 0);
                return Ok(Some(whole));
            }
        }
    }

    /// Puts a value where it belongs. Something comes back when the outermost is whole.
    fn place(&mut self, mut value: Value) -> Option<Value> {
        while let Some(mut open) = self.open.pop() {
            open.items.push(value);
            open.missing -= 1;
            if open.missing > 0 {
                self.open.push(open);
                return None;
            }
            value = open.close();
        }
        Some(value)
    }

    /// The next value that is no aggregate, or one that is empty.
    fn element(&mut self, buffer: &mut BytesMut) -> Result<Option<Value>, Malformed> {
        loop {
            if let Some((mark, length)) = self.bulk {
                return self.string(buffer, mark, length);
            }
            let Some(length) = line_length(buffer, &mut self.scanned) else {
                if buffer.len() > LINE_MAX {
                    return Err(Malformed::new("too long a line"));
                }
                return Ok(None);
            };
            if !(2..=LINE_MAX).contains(&length) || buffer[length - 1] != b'\r' {
                return Err(Malformed::new("a line that does not end as lines do"));
            }
            let mut text = buffer.split_to(length + 1).freeze();
            text.truncate(length - 1);
            self.elements += 1;
            if self.elements > self.limits.elements_max {
                return Err(Malformed::new("too many elements"));
            }
            match self.begin(&text)? {
                Begun::Whole(value) => return Ok(Some(value)),
                Begun::Bulk(mark, length) => self.bulk = Some((mark, length)),
                Begun::Aggregate(mark, missing) => {
                    if self.open.len() >= self.limits.depth_max {
                        return Err(Malformed::new("too deeply nested"));
                    }
                    // No more room than what has come can fill.
                    let items = Vec::with_capacity(missing.min(64));
                    let open = Open { mark, missing, items };
                    if missing == 0 {
                        return Ok(Some(open.close()));
                    }
                    self.open.push(open);
                }
            }
        }
    }

    fn string(&mut self, buffer: &mut BytesMut, mark: u8, length: usize) -> Result<Option<Value>, Malformed> {
        if buffer.len() < length + 2 {
            return Ok(None);
        }
        if buffer[length..length + 2] != *b"\r\n" {
            return Err(Malformed::new("a string that is not as long as it says"));
        }
        let bytes = buffer.split_to(length).freeze();
        buffer.advance(2);
        self.bulk = None;
        Ok(Some(match mark {
            b'!' => Value::BulkError(bytes),
            b'=' => Value::Verbatim(bytes),
            _ => Value::Bulk(bytes),
        }))
    }

    fn begin(&mut self, text: &Bytes) -> Result<Begun, Malformed> {
        let rest = text.slice(1..);
        let number = || integer(&rest).ok_or_else(|| Malformed::new("a number that is none"));
        let value = match text[0] {
            b'+' => Value::Simple(rest),
            b'-' => Value::Error(rest),
            b':' => Value::Integer(number()?),
            b'_' if rest.is_empty() => Value::Null,
            b',' => Value::Double(rest),
            b'(' => Value::Big(rest),
            b'#' if *rest == *b"t" || *rest == *b"f" => Value::Boolean(*rest == *b"t"),
            mark @ (b'$' | b'!' | b'=') => match number()? {
                -1 if mark == b'$' => Value::NullBulk,
                length => return self.announce(mark, length),
            },
            mark @ (b'*' | b'%' | b'~' | b'>') => match number()? {
                -1 if mark == b'*' => Value::NullArray,
                count => {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    let count = count.saturating_mul(if mark == b'%' { 2 } else { 1 });
                    if count > self.limits.elements_max {
                        return Err(Malformed::new("too many elements"));
                    }
                    return Ok(Begun::Aggregate(mark, count));
                }
            },
            _ => return Err(Malformed::new("a mark that is none")),
        };
        Ok(Begun::Whole(value))
    }

    fn announce(&mut self, mark: u8, length: i64) -> Result<Begun, Malformed> {
        let length = usize::try_from(length).ok();
        let length = length.filter(|length| *length <= self.limits.bulk_max);
        let length = length.ok_or_else(|| Malformed::new("invalid bulk length"))?;
        self.held += length;
        if self.held > self.limits.bytes_max {
            return Err(Malformed::new("too big reply"));
        }
        Ok(Begun::Bulk(mark, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn word() -> impl Strategy<Value = Bytes> {
        "[ -~]{0,20}".prop_map(Bytes::from)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            word().prop_map(Value::Simple),
            word().prop_map(Value::Error),
            any::<i64>().prop_map(Value::Integer),
            bytes().prop_map(Value::Bulk),
            bytes().prop_map(Value::BulkError),
            bytes().prop_map(Value::Verbatim),
            word().prop_map(Value::Double),
            word().prop_map(Value::Big),
            any::<bool>().prop_map(Value::Boolean),
            Just(Value::NullBulk),
            Just(Value::NullArray),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let items = prop::collection::vec(inner.clone(), 0..5);
            let pairs = prop::collection::vec((inner.clone(), inner), 0..3);
            prop_oneof![
                items.clone().prop_map(Value::Array),
                items.clone().prop_map(Value::Set),
                items.prop_map(Value::Push),
                pairs.prop_map(|pairs| Value::Map(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect())),
            ]
        })
    }

    fn read(limits: Limits, bytes: &[u8]) -> Result<Vec<Value>, Malformed> {
        let mut reader = Replies::new(limits);
        let mut buffer = BytesMut::from(bytes);
        let mut values = Vec::new();
        while let Some(value) = reader.next(&mut buffer)? {
            values.push(value);
        }
        Ok(values)
    }

    proptest! {
        #[test]
        fn replies_survive_being_chopped(
            values in prop::collection::vec(value(), 1..5),
            cuts in prop::collection::vec(1_usize..9, 1..20),
        ) {
            let mut wire = BytesMut::new();
            for value in &values {
                value.write(&mut wire);
            }
            let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
            let mut reader = Replies::new(Limits::default());
            let mut cuts = cuts.iter().cycle();
            while !wire.is_empty() {
                let cut = (*cuts.next().expect("it goes round")).min(wire.len());
                buffer.extend_from_slice(&wire.split_to(cut));
                while let Some(value) = reader.next(&mut buffer)? {
                    read.push(value);
                }
            }
            prop_assert_eq!(read, values);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(
            prop::sample::select(b"*$+-:%~>_,#(!=123490tf\r\n\r\n\xff".to_vec()), 0..200)) {
            let _ = read(Limits::default(), &bytes);
        }
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_comes() {
        let limits = Limits {
            bulk_max: 10,
            bytes_max: 15,
            elements_max: 4,
            depth_max: 3,
        };
        for wrong in [
            &b"$11\r\n"[..],
            b"*2\r\n$10\r\n0123456789\r\n$6\r\n",
            b"*5\r\n",
            b"%3\r\n",
            b"*2\r\n*2\r\n:1\r\n:1\r\n:1\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n",
            b"*-2\r\n",
            b"$-2\r\n",
            b"!-1\r\n",
            b"$1\r\nabc",
            b"?\r\n",
            b"#x\r\n",
            b"+x\n",
            b"\n",
        ] {
            assert!(read(limits, wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        assert_eq!(
            read(limits, b"*3\r\n:1\r\n:2\r\n:3\r\n").map(|read| read.len()),
            Ok(1)
        );
    }
}
