//! Slots of a cluster, and the names that lead to them.

/// A cluster has so many.
pub(super) const SLOTS: u16 = 16_384;

/// For each of `partitions` partitions, a tag whose slot lies in the middle of its share of all slots.
///
/// A master has a contiguous range of slots as a rule, so partitions are spread over masters as evenly as their slots.
pub(super) fn tags(partitions: u16) -> Vec<String> {
    let share = SLOTS / partitions;
    let mut tags = vec![None; usize::from(partitions)];
    let mut missing = tags.len();
    let mut number = 0_u32;
    while missing > 0 {
        let tag = number.to_string();
        number += 1;
        let (partition, within) = (of(tag.as_bytes()) / share, of(tag.as_bytes()) % share);
        if within == share / 2
            && let Some(place @ None) = tags.get_mut(usize::from(partition))
        {
            *place = Some(tag);
            missing -= 1;
        }
    }
    tags.into_iter().flatten().collect()
}

/// The slot of a tag: CRC-16/XMODEM, as the cluster specification says.
pub(super) fn of(tag: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in tag {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            };
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_the_specification_says() {
        assert_eq!(of(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12_182);
    }

    #[test]
    fn partitions_lie_evenly() {
        for partitions in [1, 64, 1_024] {
            let tags = tags(partitions);
            assert_eq!(tags.len(), usize::from(partitions));
            let share = SLOTS / partitions;
            for (partition, tag) in (0..).zip(&tags) {
                assert_eq!(of(tag.as_bytes()), partition * share + share / 2);
            }
        }
    }
}
