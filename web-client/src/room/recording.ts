/**
 * What is recorded of oneself, and what one has said to it. The server tells the first in an
 * attribute that nobody else can write; the second is an attribute that everybody may write for
 * himself. Pure: decides what is shown, draws nothing.
 */

/** Written by the participant: `granted` or `refused`. */
export const CONSENT = 'consilium.consent';
/** Written by the server. */
const RECORDING = 'consilium.recording';

export type Answer = 'granted' | 'refused';

export type Notice =
  /** Nothing to say. */
  | 'none'
  /** The consult is recorded, and one has not said whether oneself may be. */
  | 'question'
  /** One is recorded. */
  | 'recorded'
  /** One has agreed, and that is being written down. */
  | 'beginning'
  /** One has refused, and is not recorded. */
  | 'left-out'
  /** The recording stands still. */
  | 'interrupted'
  /** The consult should be recorded and is not. */
  | 'not-recorded';

export function noticeOf(attributes: Readonly<Record<string, string>>, publishes: boolean): Notice {
  const answer = attributes[CONSENT];
  switch (attributes[RECORDING]) {
    case 'on':
      return 'recorded';
    case 'held':
      if (answer === 'granted') return 'beginning';
      if (answer !== undefined) return 'left-out';
      // Who neither speaks nor shows anything has nothing to be asked about.
      return publishes ? 'question' : 'left-out';
    case 'interrupted':
      return 'interrupted';
    case 'failed':
      return 'not-recorded';
    default:
      return 'none';
  }
}

/** An answer that a new connection has lost and that must be given again; else `null`. */
export function lostAnswer(
  given: Answer | null,
  attributes: Readonly<Record<string, string>>,
): Answer | null {
  return given !== null && attributes[CONSENT] === undefined ? given : null;
}
