/**
 * Watches what a clinician must not overlook: a voice that does not arrive, a picture that stands
 * still, words spoken into a muted microphone. Pure: samples go in once a second, verdicts come
 * out; what is measured and what is shown about it live elsewhere.
 */

/** A remote microphone as counted at one moment. */
export interface VoiceSample {
  readonly at: number;
  /** True while the owner or the server says that it is muted. */
  readonly isMuted: boolean;
  /** RTP packets received so far; null while no track arrives at all. */
  readonly packets: number | null;
  /** Energy of the decoded sound so far. */
  readonly energy: number;
  /** What the server says, from the level that the sender wrote into its packets. */
  readonly isSpeaking: boolean;
}

/** Why somebody cannot be heard: nothing arrives, or it arrives and is silent. */
export type Unheard = 'no-packets' | 'silent';

export interface Voice {
  readonly packets: number | null;
  readonly energy: number;
  /** Since when packets or energy have not grown; null while they need not. */
  readonly stalledSince: number | null;
  readonly silentSince: number | null;
}

/** Longer than any pause between packets: Opus without speech still sends one every 400 ms. */
export const NO_PACKETS_MS = 3_000;
/** The server may say "speaking" because of noise; ten seconds of it without sound is a fault. */
export const SILENT_MS = 10_000;

/** Takes a sample into the memory of one microphone. */
export function listen(before: Voice | undefined, sample: VoiceSample): Voice {
  const hasArrived =
    sample.packets !== null && (before?.packets ?? null) !== null
      ? sample.packets !== before?.packets
      : sample.packets !== null && sample.packets > 0;
  const hasSounded = sample.energy !== (before?.energy ?? 0);
  return {
    packets: sample.packets,
    energy: sample.energy,
    stalledSince: sample.isMuted || hasArrived ? null : (before?.stalledSince ?? sample.at),
    silentSince:
      sample.isMuted || !sample.isSpeaking || hasSounded
        ? null
        : (before?.silentSince ?? sample.at),
  };
}

/** Whether the owner of this microphone cannot be heard, and why. */
export function unheard(voice: Voice, now: number): Unheard | null {
  if (voice.stalledSince !== null && now - voice.stalledSince >= NO_PACKETS_MS) return 'no-packets';
  if (voice.silentSince !== null && now - voice.silentSince >= SILENT_MS) return 'silent';
  return null;
}

/** A remote picture as counted at one moment. */
export interface PictureSample {
  readonly at: number;
  /** Frames decoded so far. */
  readonly frames: number;
  /** False while nobody sends or nobody asked: muted, hidden, or paused by the server. */
  readonly isExpected: boolean;
}

export interface Picture {
  readonly frames: number;
  readonly lastFrameAt: number;
  readonly isExpected: boolean;
}

export const FROZEN_CAMERA_MS = 2_000;
/** A screen on which nothing moves is sent about once a second, so it is given longer. */
export const FROZEN_SCREEN_MS = 4_000;

/** Takes a sample into the memory of one picture. */
export function watch(before: Picture | undefined, sample: PictureSample): Picture {
  const isFresh =
    !before ||
    !sample.isExpected ||
    !before.isExpected ||
    // A new track behind the same tile starts to count anew.
    sample.frames !== before.frames;
  return {
    frames: sample.frames,
    lastFrameAt: isFresh ? sample.at : before.lastFrameAt,
    isExpected: sample.isExpected,
  };
}

/** For how many whole seconds the picture has stood still, or null while it moves. */
export function frozenFor(picture: Picture, limitMs: number, now: number): number | null {
  const age = now - picture.lastFrameAt;
  return picture.isExpected && age > limitMs ? Math.floor(age / 1000) : null;
}

/** How one listens to one's own muted microphone. */
export interface MutedSpeech {
  readonly loudSince: number | null;
  readonly hintUntil: number;
}

export const QUIET: MutedSpeech = { loudSince: null, hintUntil: 0 };

/** About -36 dBFS on the scale of `meter.ts`: above a quiet room, below calm speech at arm's length. */
export const SPEECH_LEVEL = 0.4;
/** So long must it be loud: a word, not a cup that is put down. */
const SPEECH_MS = 500;
const HINT_MS = 5_000;

/** Takes one level of the muted microphone, measured several times a second. */
export function hearMuted(before: MutedSpeech, level: number, now: number): MutedSpeech {
  if (level < SPEECH_LEVEL) return { ...before, loudSince: null };
  const loudSince = before.loudSince ?? now;
  const isSpeech = now - loudSince >= SPEECH_MS;
  return { loudSince, hintUntil: isSpeech ? now + HINT_MS : before.hintUntil };
}

/** Whether to remind somebody that nobody hears them. */
export function shouldHint(speech: MutedSpeech, now: number): boolean {
  return now < speech.hintUntil;
}
