//! How much memory a key takes in Redis 7 with jemalloc, estimated: what a drill sees of `maxmemory` should be what it
//! would see of the real server.

use super::keyspace::Value;

/// What a server that holds nothing takes, about.
pub(crate) const BASE: usize = 980_000;

/// A key, its value and its places in the tables.
pub(crate) fn entry(key: &[u8], value: &Value, expires: bool) -> usize {
    // An entry of a table, and its share of the buckets: there are up to two for each key.
    let table = allocated(TABLE_ENTRY) + 12;
    string(key.len()) + held(value) + table + if expires { table } else { 0 }
}

/// What `MEMORY USAGE` says of a key: without what an entry is rounded up by, the buckets, and the expiry.
pub(crate) fn usage(key: &[u8], value: &Value) -> usize {
    string(key.len()) + held(value) + TABLE_ENTRY
}

const TABLE_ENTRY: usize = 24;

fn held(value: &Value) -> usize {
    match value {
        Value::Text(bytes) => text(bytes),
        Value::List(items) => {
            let items = items.iter().map(|item| item.len() + 11);
            allocated(16) + allocated(40) + items.sum::<usize>()
        }
    }
}

fn text(bytes: &[u8]) -> usize {
    if super::super::resp::integer(bytes).is_some() {
        allocated(16)
    } else if bytes.len() <= 44 {
        // The object and its string in one piece.
        allocated(16 + 3 + bytes.len() + 1)
    } else {
        allocated(16) + string(bytes.len())
    }
}

/// A string with its header and final zero.
fn string(length: usize) -> usize {
    let header = match length {
        0..32 => 1,
        32..256 => 3,
        256..65_536 => 5,
        65_536..4_294_967_296 => 9,
        _ => 17,
    };
    allocated(header + length + 1)
}

/// The size class of an allocation: four to each power of two, from 16 bytes up.
fn allocated(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size <= 128 {
        return size.next_multiple_of(16);
    }
    let step = (size - 1).ilog2() - 2;
    size.next_multiple_of(1 << step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_allocator() {
        for (size, class) in [
            (1, 8),
            (9, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (257, 320),
            (1_025, 1_280),
            (5_000, 5_120),
        ] {
            assert_eq!(allocated(size), class, "{size}");
        }
    }
}
