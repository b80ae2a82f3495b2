/** A small made-up consult: two people, sound and pictures whose bytes say which they are. */
import { rtp, type Sent, vp8 } from './packets';
import { type Entry, join, type Plan } from './writer';

export const ID = '01JD8Z3V9Q4X7M2K5N6P8R9S0T';
const utf8 = (words: string) => new TextEncoder().encode(words);

/** Bytes that pass for a VP8 frame: the head is right, the rest says its number. */
export function picture(number: number, isKey: boolean, size = 400): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes[0] = isKey ? 0x10 : 0x11;
  if (isKey) bytes.set([0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01], 3);
  new DataView(bytes.buffer).setUint32(12, number);
  return bytes;
}

export function numberIn(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(12);
}

export interface Wishes {
  readonly seconds?: number;
  readonly delay?: (at: number) => number;
  readonly edit?: (entries: Entry[]) => Entry[];
  readonly officers: readonly string[];
  readonly threshold?: number;
  readonly state?: 'closed' | 'open';
  /** Microseconds until the next segment is opened. */
  readonly segmentLength?: number;
  /** The payload type of redundant sound. */
  readonly red?: number;
}

/** How far the clocks of the two people are from the server's, in microseconds. */
export const CLOCK_OFFSETS: readonly number[] = [3_000_000_000, -7_000_000];
/** The least way from a sender to the server. */
export const WAY_US = 20_000;

export function consult(wishes: Wishes): Plan {
  const duration = (wishes.seconds ?? 30) * 1e6;
  const entries: Entry[] = [];
  const tracks: Array<Plan['tracks'][number]> = [];
  for (const participant of [1, 2]) {
    const joined = participant === 1 ? 0 : 5e6;
    const video = participant * 2;
    const audio = participant * 2 - 1;
    tracks.push(
      {
        ...track(audio, participant, 'audio', joined, duration),
        ...(wishes.red ? { red_payload_type: wishes.red } : {}),
      },
      track(video, participant, 'video', joined, duration),
    );
    const offset = CLOCK_OFFSETS[participant - 1] ?? 0;
    let sequence = 65_500;
    for (let n = 0; joined + n * 40_000 < duration - 200_000; n++) {
      const at = joined + n * 40_000;
      const arrival = at + WAY_US + (wishes.delay?.(at) ?? 0);
      const sent = vp8(picture(n, n % 100 === 0), n, (n * 3_600 + 0xffff_f000) >>> 0, sequence);
      sequence += sent.length;
      entries.push(...sent.map((one) => entry(one, video, 96, arrival)));
      if (n % 25 === 0) entries.push(report(video, at, arrival, offset, n * 3_600 + 0xffff_f000));
    }
    for (let n = 0; joined + n * 20_000 < duration - 200_000; n++) {
      const at = joined + n * 20_000;
      // Muted for three seconds.
      if (at >= 12e6 && at < 15e6) continue;
      const arrival = at + WAY_US + (wishes.delay?.(at) ?? 0);
      const payload = join(Uint8Array.of(0x78), utf8(`sound ${n}`));
      const sent = { sequence: n, timestamp: n * 960, isMarked: false, isKeyframe: false, payload };
      entries.push(entry(sent, audio, 111, arrival));
      if (n % 250 === 0) entries.push(report(audio, at, arrival, offset, n * 960));
    }
  }
  const said = { type: 'chat', participant: 1, text: 'hello', at: '' };
  entries.push({ at: 8e6, kind: 6, body: utf8(JSON.stringify(said)) });
  return {
    id: ID,
    duration,
    tracks,
    participants: [
      { participant: 1, joined_us: 0, left_us: duration, consent: [] },
      { participant: 2, joined_us: 5e6, left_us: duration, consent: [] },
    ],
    names: {
      room: 'case-1042',
      participants: [
        { participant: 1, identity: 'li', name: 'Dr. Li' },
        { participant: 2, identity: 'wang', name: '王医生' },
      ],
    },
    entries: wishes.edit ? wishes.edit(entries) : entries,
    officers: wishes.officers,
    ...(wishes.threshold ? { threshold: wishes.threshold } : {}),
    ...(wishes.state ? { state: wishes.state } : {}),
    ...(wishes.segmentLength ? { segmentLength: wishes.segmentLength } : {}),
  };
}

export function track(
  number: number,
  participant: number,
  kind: 'audio' | 'video',
  from: number,
  until: number,
): Plan['tracks'][number] {
  const isVideo = kind === 'video';
  return {
    track: number,
    participant,
    kind,
    source: isVideo ? 'camera' : 'microphone',
    mime: isVideo ? 'video/VP8' : 'audio/opus',
    clock_rate: isVideo ? 90_000 : 48_000,
    from_us: from,
    until_us: until,
    expected: 0,
    stored: 0,
    lost: 0,
  };
}

export function entry(sent: Sent, track: number, payloadType: number, arrival: number): Entry {
  return {
    at: Math.round(arrival),
    kind: 2,
    flags: sent.isKeyframe ? 4 : 0,
    track,
    body: rtp(sent, payloadType, track),
  };
}

/** A sender report as the sender's own clock saw that moment. */
export function report(
  track: number,
  at: number,
  arrival: number,
  offset: number,
  rtp: number,
): Entry {
  const ntp = at + offset + 3_900_000_000_000_000;
  const body = new Uint8Array(12);
  const fields = new DataView(body.buffer);
  const seconds = Math.floor(ntp / 1e6);
  fields.setUint32(4, seconds, true);
  fields.setUint32(0, Math.round(((ntp - seconds * 1e6) / 1e6) * 2 ** 32), true);
  fields.setUint32(8, rtp >>> 0, true);
  return { at: Math.round(arrival), kind: 3, track, body };
}
