//! Whether somebody may be recorded, as he has said himself.
//!
//! A person answers by the participant attribute [`ATTRIBUTE`], in the token or later through the
//! client, at any time and as often as he likes. Only the word `granted` opens anything; silence,
//! other words and taking the attribute away do not. Here is the state alone; what follows from it
//! is in [`room::recording`](crate::room::recording).

use serde::{Deserialize, Serialize};

/// The attribute in which a person answers: `granted` or `refused`.
pub const ATTRIBUTE: &str = "consilium.consent";
/// The attribute in which a person is told what is recorded of him; set by the server only.
pub const RECORDING_ATTRIBUTE: &str = "consilium.recording";
/// The tag of a token's `roomConfig` that chooses a room's policy where the server leaves a choice.
pub const POLICY_TAG: &str = "consilium.recording";

/// What the rooms of a server are recorded by. In none of them a packet of somebody who has not
/// granted it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Every room, from its first publisher to its end; nobody can stop it.
    Must,
    /// A room for which it is asked, for as long as it is asked.
    #[default]
    WithConsent,
    /// No room.
    Never,
}

impl Policy {
    /// The policy of one room: its token may choose where the server leaves a choice. What must be
    /// recorded and what must never be is the operator's word.
    pub fn for_room(self, wish: Option<&str>) -> Self {
        match (self, wish) {
            (Self::WithConsent, Some("must")) => Self::Must,
            (Self::WithConsent, Some("never")) => Self::Never,
            _ => self,
        }
    }
}

/// What a person has said about being recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Yes.
    Granted,
    /// No.
    Refused,
    /// Yes first, and then no.
    Withdrawn,
}

impl Consent {
    /// The state after the attribute has become this.
    pub fn after(self, answer: Option<&str>) -> Self {
        match (self, answer) {
            (_, Some("granted")) => Self::Granted,
            (Self::Granted | Self::Withdrawn, _) => Self::Withdrawn,
            (_, Some(_)) => Self::Refused,
            (before, None) => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_word_grants_and_anything_else_takes_back() {
        use Consent::{Granted, Refused, Unknown, Withdrawn};
        let table = [
            (Unknown, None, Unknown),
            (Unknown, Some("granted"), Granted),
            (Unknown, Some("refused"), Refused),
            (Unknown, Some("Granted"), Refused),
            (Unknown, Some(""), Refused),
            (Refused, None, Refused),
            (Refused, Some("granted"), Granted),
            (Granted, Some("granted"), Granted),
            (Granted, Some("refused"), Withdrawn),
            (Granted, Some("yes"), Withdrawn),
            (Granted, None, Withdrawn),
            (Withdrawn, None, Withdrawn),
            (Withdrawn, Some("refused"), Withdrawn),
            (Withdrawn, Some("granted"), Granted),
        ];
        for (before, answer, after) in table {
            assert_eq!(before.after(answer), after, "{before:?} {answer:?}");
        }
    }

    #[test]
    fn a_room_chooses_only_where_the_operator_left_a_choice() {
        use Policy::{Must, Never, WithConsent};
        for wish in [None, Some("must"), Some("with-consent"), Some("never")] {
            assert_eq!(Must.for_room(wish), Must);
            assert_eq!(Never.for_room(wish), Never);
        }
        assert_eq!(WithConsent.for_room(Some("must")), Must);
        assert_eq!(WithConsent.for_room(Some("never")), Never);
        assert_eq!(WithConsent.for_room(Some("sometimes")), WithConsent);
        assert_eq!(WithConsent.for_room(None), WithConsent);
    }
}
