//! What happened to a segment's chunks: altered, dropped, swapped, replayed or cut off.
//!
//! A pure comparison of the digests that the chain names with those of the chunks that are there.
//! It finds the plainest story that explains both lists, so that one dropped chunk is one finding
//! and not a thousand altered ones behind it.

use std::collections::HashMap;
use std::ops::Range;

use crate::digest::Digest;

/// One difference. Chunks are counted as the chain counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// The chunks in this range hold something else.
    Altered(Range<u32>),
    /// The chunks in this range are not there, and what follows moved up.
    Dropped(Range<u32>),
    /// The two chunks changed places.
    Swapped(u32, u32),
    /// Before chunk `at` stands chunk `of` once more.
    Inserted {
        /// Before which chunk.
        at: u32,
        /// Which chunk it is a copy of; `None` for bytes that no chunk has.
        of: Option<u32>,
    },
    /// Instead of chunk `at` stands chunk `of` once more.
    Replaced {
        /// Which chunk is gone.
        at: u32,
        /// Which stands in its place.
        of: u32,
    },
    /// From this chunk on nothing is there.
    Missing(Range<u32>),
    /// So many chunks stand behind the last one.
    Surplus(u32),
}

/// Compares what the chain says with what is there.
pub(super) fn compare(recorded: &[Digest], actual: &[Digest]) -> Vec<Difference> {
    let places: HashMap<&Digest, usize> = recorded
        .iter()
        .enumerate()
        .rev()
        .map(|(place, digest)| (digest, place))
        .collect();
    let mut found = Found(Vec::new());
    let swaps = swaps(recorded, actual, &places);
    for &(low, high) in swaps.iter().filter(|(low, high)| low < high) {
        found.0.push(Difference::Swapped(number(low), number(high)));
    }
    let swapped: HashMap<usize, usize> = swaps.into_iter().collect();
    let (mut said, mut is) = (0, 0);
    while said < recorded.len() && is < actual.len() {
        let is_swapped = said == is && swapped.contains_key(&is);
        if is_swapped || recorded[said] == actual[is] {
            (said, is) = (said + 1, is + 1);
            continue;
        }
        let goes_on = |said: usize, is: usize| match (recorded.get(said), actual.get(is)) {
            (Some(recorded), Some(actual)) => recorded == actual,
            (None, None) => true,
            _ => false,
        };
        match places.get(&actual[is]).copied() {
            // What stands here belongs further back, and so does what follows.
            Some(place) if place > said && goes_on(place + 1, is + 1) => {
                found
                    .0
                    .push(Difference::Dropped(number(said)..number(place)));
                said = place;
            }
            of if goes_on(said, is + 1) && actual.len() > recorded.len() => {
                found.0.push(Difference::Inserted {
                    at: number(said),
                    of: of.map(number),
                });
                is += 1;
            }
            Some(of) => {
                found.0.push(Difference::Replaced {
                    at: number(said),
                    of: number(of),
                });
                (said, is) = (said + 1, is + 1);
            }
            None => {
                found.altered(said);
                (said, is) = (said + 1, is + 1);
            }
        }
    }
    if said < recorded.len() {
        found
            .0
            .push(Difference::Missing(number(said)..number(recorded.len())));
    } else if is < actual.len() {
        found.0.push(Difference::Surplus(number(actual.len() - is)));
    }
    found.0
}

/// Pairs of places whose chunks stand in each other's place, both ways round.
fn swaps(
    recorded: &[Digest],
    actual: &[Digest],
    places: &HashMap<&Digest, usize>,
) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    if recorded.len() != actual.len() {
        return pairs;
    }
    for (place, digest) in actual.iter().enumerate() {
        let Some(&other) = places.get(digest).filter(|&&other| other != place) else {
            continue;
        };
        if recorded[place] != *digest && recorded[place] == actual[other] {
            pairs.push((place, other));
        }
    }
    pairs
}

struct Found(Vec<Difference>);

impl Found {
    /// Chunks side by side are one difference.
    fn altered(&mut self, place: usize) {
        let place = number(place);
        match self.0.last_mut() {
            Some(Difference::Altered(range)) if range.end == place => range.end += 1,
            _ => self.0.push(Difference::Altered(place..place + 1)),
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("a segment has far fewer than 2^32 chunks")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(text: &str) -> Vec<Digest> {
        text.bytes().map(|byte| Digest::of(&[byte])).collect()
    }

    fn story(actual: &str) -> Vec<Difference> {
        compare(&digests("abcdefgh"), &digests(actual))
    }

    #[test]
    fn nothing_happened() {
        assert_eq!(story("abcdefgh"), []);
        assert_eq!(compare(&[], &[]), []);
    }

    #[test]
    fn one_edit_is_one_finding() {
        use Difference::*;
        for (actual, difference) in [
            ("abXdefgh", Altered(2..3)),
            ("abXYefgh", Altered(2..4)),
            ("Xbcdefgh", Altered(0..1)),
            ("abcdefgX", Altered(7..8)),
            ("abdefgh", Dropped(2..3)),
            ("bcdefgh", Dropped(0..1)),
            ("adefgh", Dropped(1..3)),
            ("abcdefg", Missing(7..8)),
            ("ab", Missing(2..8)),
            ("", Missing(0..8)),
            ("acbdefgh", Swapped(1, 2)),
            ("hbcdefga", Swapped(0, 7)),
            ("abbcdefgh", Inserted { at: 2, of: Some(1) }),
            ("aabcdefgh", Inserted { at: 1, of: Some(0) }),
            ("abXcdefgh", Inserted { at: 2, of: None }),
            ("abcfdefgh", Inserted { at: 3, of: Some(5) }),
            ("abbdefgh", Replaced { at: 2, of: 1 }),
            ("abfdefgh", Replaced { at: 2, of: 5 }),
            ("abcdefghh", Surplus(1)),
            ("abcdefghXY", Surplus(2)),
        ] {
            assert_eq!(story(actual), [difference], "{actual}");
        }
    }

    #[test]
    fn several_edits_are_several_findings() {
        use Difference::*;
        assert_eq!(story("aXcdegh"), [Altered(1..2), Dropped(5..6)]);
        assert_eq!(
            story("badXefgh"),
            [Swapped(0, 1), Replaced { at: 2, of: 3 }, Altered(3..4)]
        );
    }

    /// A dropped byte shifts everything: the rest of the segment is one finding.
    #[test]
    fn what_is_nowhere_known_is_one_range() {
        assert_eq!(story("abSTUVWZ"), [Difference::Altered(2..8)]);
    }

    /// Chunks of nothing but padding are alike; the first of them stands for all.
    #[test]
    fn equal_chunks_are_told_apart_by_their_place() {
        let recorded = digests("aaab");
        assert_eq!(compare(&recorded, &digests("aaab")), []);
        assert_eq!(
            compare(&recorded, &digests("aab")),
            [Difference::Dropped(2..3)]
        );
    }
}
