//! Decoder configuration records, which containers hold beside the frames: `avcC` of H.264 and `hvcC` of H.265 (ISO/IEC
//! 14496-15, 5.3.3.1 and 8.3.3.1). Pure.

/// In how many bytes the length of a unit is told.
pub(in crate::decode) fn avc_length_size(record: &[u8]) -> usize {
    record.get(4).map_or(4, |byte| usize::from(byte & 3) + 1)
}

pub(in crate::decode) fn hevc_length_size(record: &[u8]) -> usize {
    record.get(21).map_or(4, |byte| usize::from(byte & 3) + 1)
}

/// The parameter sets; what is cut short ends with the record.
pub(in crate::decode) fn avc_sets(record: &[u8]) -> Vec<&[u8]> {
    let (mut sets, mut rest) = (Vec::new(), record.get(5..).unwrap_or_default());
    for mask in [0x1f, 0xff] {
        let Some((count, sized)) = rest.split_first() else { break };
        rest = take_sets(usize::from(count & mask), sized, &mut sets);
    }
    sets
}

pub(in crate::decode) fn hevc_sets(record: &[u8]) -> Vec<&[u8]> {
    let mut sets = Vec::new();
    let Some((arrays, mut rest)) = record.get(22..).and_then(<[u8]>::split_first) else { return sets };
    for _ in 0..*arrays {
        let Some((head, sized)) = rest.split_first_chunk::<3>() else { break };
        rest = take_sets(usize::from(u16::from_be_bytes([head[1], head[2]])), sized, &mut sets);
    }
    sets
}

/// So many sets behind their lengths; what follows on them.
fn take_sets<'a>(count: usize, mut rest: &'a [u8], sets: &mut Vec<&'a [u8]>) -> &'a [u8] {
    for _ in 0..count {
        let Some((length, tail)) = rest.split_first_chunk::<2>() else { return &[] };
        let (set, behind) = tail.split_at(usize::from(u16::from_be_bytes(*length)).min(tail.len()));
        sets.push(set);
        rest = behind;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_are_taken_as_far_as_they_go() {
        let avc = [1, 100, 0, 31, 0xfd, 0xe1, 0, 2, 0x67, 7, 1, 0, 1, 0x68];
        let hevc = [&[0; 21][..], &[3, 2, 0x20, 0, 1, 0, 2, 0x40, 1, 0x21, 0, 2, 0, 1, 0x42, 0, 1, 0x44]].concat();
        assert_eq!((avc_length_size(&avc), hevc_length_size(&hevc)), (2, 4));
        assert_eq!(avc_sets(&avc), [&[0x67, 7][..], &[0x68]]);
        assert_eq!(hevc_sets(&hevc), [&[0x40, 1][..], &[0x42], &[0x44]]);
        for end in 0..hevc.len() {
            hevc_sets(&hevc[..end]);
            avc_sets(&hevc[..end]);
        }
    }
}
