//! About how many bytes a value takes in memory.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

/// The size of a value: with what it points to for text and bytes, and without it for every other type, whose cache is
/// told by [`CacheBuilder::weigh`](crate::CacheBuilder::weigh).
pub(crate) fn of<V: 'static>(value: &V) -> usize {
    let any: &dyn Any = value;
    let text = || any.downcast_ref::<String>().map(String::capacity);
    let bytes = || any.downcast_ref::<Vec<u8>>().map(Vec::capacity);
    let shared_bytes = || any.downcast_ref::<Bytes>().map(Bytes::len);
    let shared_text = || any.downcast_ref::<Arc<str>>().map(|text| text.len());
    let shared_slice = || any.downcast_ref::<Arc<[u8]>>().map(|bytes| bytes.len());
    let beyond = text()
        .or_else(bytes)
        .or_else(shared_bytes)
        .or_else(shared_text)
        .or_else(shared_slice);
    size_of::<V>() + beyond.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_count_with_what_they_hold() {
        assert_eq!(of(&"x".repeat(1_000)), size_of::<String>() + 1_000);
        assert_eq!(of(&Arc::<str>::from("four")), size_of::<Arc<str>>() + 4);
        assert_eq!(of(&Bytes::from_static(b"four")), size_of::<Bytes>() + 4);
        assert_eq!(of(&7_u64), 8);
    }
}
