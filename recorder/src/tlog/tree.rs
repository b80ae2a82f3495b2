//! The Merkle tree of RFC 6962: roots, inclusion and consistency, over whatever holds the hashes.
//!
//! Nodes are named by height and index: node `(h, i)` is the root over the entries from `i * 2^h`
//! up to `(i + 1) * 2^h`, and is only ever asked for when all of them exist. The functions that
//! make proofs take a closure that fetches such a node; those that check proofs take nothing else.

use crate::digest::Digest;

/// The hash of an entry (RFC 6962 section 2.1: a leaf is told apart from a node by its first byte).
#[must_use]
pub fn leaf(entry: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], entry])
}

/// The hash over two nodes.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], &left.0, &right.0])
}

/// The root over the entries from `from` up to `until`; nothing at all hashes to SHA-256 of nothing.
pub fn root<E>(
    from: u64,
    until: u64,
    fetch: &mut impl FnMut(u32, u64) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let count = until - from;
    if count == 0 {
        return Ok(Digest::of(&[]));
    }
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return fetch(height, from >> height);
    }
    let split = from + largest_power_below(count);
    Ok(node(
        &root(from, split, fetch)?,
        &root(split, until, fetch)?,
    ))
}

/// The hashes that lead from the entry `index` to the root of the first `size` entries.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    fetch: &mut impl FnMut(u32, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    assert!(index < size, "the entry is in the tree");
    let mut path = Vec::new();
    let (mut from, mut until) = (0, size);
    while until - from > 1 {
        let split = from + largest_power_below(until - from);
        if index < split {
            path.push(root(split, until, fetch)?);
            until = split;
        } else {
            path.push(root(from, split, fetch)?);
            from = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show that the first `old` of `new` entries are what they were.
pub fn consistency<E>(
    old: u64,
    new: u64,
    fetch: &mut impl FnMut(u32, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    assert!(old <= new, "a log only grows");
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Ok(path);
    }
    let (mut from, mut until) = (0, new);
    // RFC 6962 section 2.1.2: while the old tree is a whole left part, its root needs no telling.
    let mut whole = true;
    while old != until {
        let split = from + largest_power_below(until - from);
        if old <= split {
            path.push(root(split, until, fetch)?);
            until = split;
        } else {
            path.push(root(from, split, fetch)?);
            from = split;
            whole = false;
        }
    }
    if !whole {
        path.push(root(from, until, fetch)?);
    }
    path.reverse();
    Ok(path)
}

/// The root that `path` leads to from a leaf, if it has the right length (RFC 9162 section 2.1.3.2).
#[must_use]
pub fn root_of_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut number, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if number & 1 == 1 || number == last {
            hash = node(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Whether `path` leads from the old root to the new one (RFC 9162 section 2.1.4.2).
#[must_use]
pub fn is_consistent(old: (u64, &Digest), new: (u64, &Digest), path: &[Digest]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size >= new_size {
        let same = old_size == 0 || (old_size == new_size && old_root == new_root);
        return same && path.is_empty();
    }
    let mut path = path.iter();
    let first = if old_size.is_power_of_two() {
        Some(old_root)
    } else {
        path.next()
    };
    let Some(first) = first else { return false };
    let shift = (old_size - 1).trailing_ones();
    let (mut number, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            old_hash = node(sibling, &old_hash);
            new_hash = node(sibling, &new_hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(&new_hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The largest power of two that is smaller than `count`, which is at least 2.
fn largest_power_below(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A tree computed the slow way, straight from the definition.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(&[]),
            [only] => *only,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(
                    &by_definition(&leaves[..split]),
                    &by_definition(&leaves[split..]),
                )
            }
        }
    }

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|index| leaf(&index.to_be_bytes())).collect()
    }

    fn fetcher(leaves: &[Digest]) -> impl FnMut(u32, u64) -> Result<Digest, Infallible> + '_ {
        |height, index| {
            let (from, until) = ((index << height) as usize, ((index + 1) << height) as usize);
            Ok(by_definition(&leaves[from..until]))
        }
    }

    /// RFC 6962's own first values: the empty tree, and a leaf of nothing.
    #[test]
    fn the_hashes_are_those_of_the_rfc() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let Ok(root) = root(0, 0, &mut fetcher(&[]));
        assert_eq!(root.to_string(), empty);
        let of_nothing = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(leaf(&[]).to_string(), of_nothing);
    }

    #[test]
    fn every_entry_of_every_small_tree_is_proven_and_no_other() {
        for size in 1..40 {
            let leaves = leaves(size);
            let Ok(head) = root(0, size, &mut fetcher(&leaves));
            assert_eq!(head, by_definition(&leaves));
            for index in 0..size {
                let Ok(path) = inclusion(index, size, &mut fetcher(&leaves));
                for claimed in 0..size {
                    let proven = root_of_inclusion(&leaves[index as usize], claimed, size, &path);
                    assert_eq!(
                        proven == Some(head),
                        claimed == index,
                        "{claimed} of {size}"
                    );
                }
                assert_ne!(
                    root_of_inclusion(&leaf(b"other"), index, size, &path),
                    Some(head)
                );
                if let Some(shorter) = path.len().checked_sub(1) {
                    let cut =
                        root_of_inclusion(&leaves[index as usize], index, size, &path[..shorter]);
                    assert_ne!(cut, Some(head));
                }
            }
        }
    }

    #[test]
    fn every_small_log_is_consistent_with_its_past_and_with_no_other() {
        for new in 1..34 {
            let leaves = leaves(new);
            let Ok(head) = root(0, new, &mut fetcher(&leaves));
            for old in 0..=new {
                let Ok(past) = root(0, old, &mut fetcher(&leaves));
                let Ok(path) = consistency(old, new, &mut fetcher(&leaves));
                assert!(
                    is_consistent((old, &past), (new, &head), &path),
                    "{old} of {new}"
                );
                if old > 0 {
                    assert!(!is_consistent((old, &leaf(b"")), (new, &head), &path));
                    assert!(!is_consistent((old, &past), (new, &leaf(b"")), &path));
                }
                let mut longer = path.clone();
                longer.push(head);
                assert!(!is_consistent((old, &past), (new, &head), &longer));
            }
        }
    }
}
