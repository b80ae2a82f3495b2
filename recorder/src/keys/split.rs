//! The start of a recording as far as keys go: an identity is drawn, split, sealed and forgotten.
//!
//! When [`draw`] returns, the secret and its shares exist in sealed form only. [`reunite`] is the
//! way back, on the officers' side.

use crate::age::{self, AgeError, Identity, Recipient};
use crate::folder::Part;
use crate::header::Compliance;
use crate::id::RecordingId;
use crate::keys::Random;
use crate::keys::secret::{Secret, scrub_stack};
use crate::keys::share::{Half, Share, ShareError, combine, divide, halve, join};

/// What is left of a recording's secret at its start.
#[derive(Debug)]
pub struct Drawn {
    /// To whom the segments are sealed.
    pub recipient: Recipient,
    /// The sealed files for the recording's folder: the officers' shares, the break-glass copy.
    pub folder: Vec<(Part, Vec<u8>)>,
    /// The sealed file for the release store, and nowhere else.
    pub release: Vec<u8>,
}

/// Draws the identity of `recording` and seals its shares.
pub fn draw(
    recording: RecordingId,
    compliance: &Compliance,
    release: &Recipient,
    break_glass: Option<&Recipient>,
    random: &mut Random<'_>,
) -> Result<Drawn, AgeError> {
    let drawn = draw_in_frame(recording, compliance, release, break_glass, random);
    scrub_stack();
    drawn
}

/// In a frame of its own, which is overwritten when it is gone.
#[inline(never)]
fn draw_in_frame(
    recording: RecordingId,
    compliance: &Compliance,
    release: &Recipient,
    break_glass: Option<&Recipient>,
    random: &mut Random<'_>,
) -> Result<Drawn, AgeError> {
    let identity = Identity::generate(random);
    let (officers, ours) = halve(identity.secret(), random);
    let mut folder = officers_shares(recording, compliance, officers, random)?;
    if let Some(recipient) = break_glass {
        let file = age::seal(identity.to_text().as_bytes(), &[*recipient], random)?;
        folder.push((Part::BreakGlass, file));
    }
    let share = Share {
        recording,
        half: Half::Release,
        index: 1,
        threshold: 1,
        value: ours,
    };
    Ok(Drawn {
        recipient: identity.recipient(),
        folder,
        release: age::seal(&share.to_json(), &[*release], random)?,
    })
}

fn officers_shares(
    recording: RecordingId,
    compliance: &Compliance,
    half: Secret,
    random: &mut Random<'_>,
) -> Result<Vec<(Part, Vec<u8>)>, AgeError> {
    let Compliance {
        threshold,
        recipients,
    } = compliance;
    let share = |index, value| Share {
        recording,
        half: Half::Compliance,
        index,
        threshold: *threshold,
        value,
    };
    if *threshold == 1 {
        let file = age::seal(&share(1, half).to_json(), recipients, random)?;
        return Ok(vec![(Part::Share, file)]);
    }
    let officers = u8::try_from(recipients.len()).expect("officers are bounded by OFFICERS_MAX");
    let parts = divide(&half, *threshold, officers, random);
    (1..)
        .zip(parts)
        .zip(recipients)
        .map(|((index, part), recipient)| {
            let file = age::seal(&share(index, part).to_json(), &[*recipient], random)?;
            Ok((Part::ShareOf(index), file))
        })
        .collect()
}

/// Opens the officer's share in one of the folder's share files.
pub fn open_officers_share(
    recording: RecordingId,
    sealed: &[u8],
    officer: &Identity,
) -> Result<Share, ShareError> {
    let json = age::open(sealed, officer).map_err(|_| ShareError::Sealed)?;
    Share::from_json(&json, recording, Half::Compliance)
}

/// The recording's identity out of enough officers' shares and the released one.
pub fn reunite(officers: &[Share], released: &Share) -> Result<Identity, ShareError> {
    let half = combine(officers)?;
    let belongs = officers
        .iter()
        .all(|share| share.recording == released.recording && share.half == Half::Compliance);
    if !belongs || released.half != Half::Release {
        return Err(ShareError::Mixed);
    }
    Ok(Identity::new(join(&half, &released.value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::system_random;
    use crate::wall::Wall;

    #[test]
    fn the_officers_and_the_release_service_open_together_and_nobody_alone() {
        let recording = RecordingId::new(Wall::from_millis(1), [1; 10]);
        let officers: Vec<Identity> = (0..3)
            .map(|_| Identity::generate(&mut system_random))
            .collect();
        let service = Identity::generate(&mut system_random);
        let glass = Identity::generate(&mut system_random);
        for threshold in [1, 2] {
            let compliance = Compliance {
                threshold,
                recipients: officers.iter().map(Identity::recipient).collect(),
            };
            let drawn = draw(
                recording,
                &compliance,
                &service.recipient(),
                Some(&glass.recipient()),
                &mut system_random,
            )
            .expect("all are points");
            let file = |part| {
                let mut files = drawn.folder.iter();
                &files.find(|(name, _)| *name == part).expect("is there").1
            };
            let part = |officer: u8| match threshold {
                1 => file(Part::Share),
                _ => file(Part::ShareOf(officer + 1)),
            };
            let share = |officer: u8| {
                let key = &officers[usize::from(officer)];
                open_officers_share(recording, part(officer), key).expect("is his")
            };
            let json = age::open(&drawn.release, &service).expect("is the service's");
            let released = Share::from_json(&json, recording, Half::Release).expect("is ours");
            let shares: Vec<Share> = (3 - threshold..3).map(share).collect();
            let identity = reunite(&shares, &released).expect("are enough");
            assert_eq!(identity.recipient(), drawn.recipient);
            let alone = open_officers_share(recording, part(0), &officers[1]);
            assert_eq!(
                alone.is_ok(),
                threshold == 1,
                "files are personal with M of N"
            );
            assert!(open_officers_share(recording, part(0), &service).is_err());
            assert!(age::open(&drawn.release, &officers[0]).is_err());
            let text = age::open(file(Part::BreakGlass), &glass).expect("is his");
            let text = std::str::from_utf8(&text).expect("is text");
            let broken = Identity::from_text(text).expect("is an identity");
            assert_eq!(broken.recipient(), drawn.recipient);
        }
    }
}
