/**
 * A consult with real coded media, for the development server and for tests in a real browser:
 * people come and go, mute, share a screen, and something is not recorded.
 */
import { entry, report } from './consult';
import { tone, type VideoCodec, type VideoFrame, video } from './media';
import { av1, h264, type Sent, vp8, vp9 } from './packets';
import type { Entry, Plan } from './writer';

export interface Role {
  readonly identity: string;
  readonly name: string;
  readonly colour: string;
  readonly hz: number;
  readonly codec: VideoCodec;
  /** Seconds. */
  readonly stays: ReadonlyArray<readonly [number, number]>;
  readonly muted?: readonly [number, number];
  readonly screen?: readonly [number, number];
}

export interface Scene {
  readonly id: string;
  readonly room: string;
  readonly seconds: number;
  readonly roles: readonly Role[];
  readonly gap?: readonly [number, number];
  readonly started: string;
  readonly officers: readonly string[];
  readonly threshold?: number;
  readonly state?: 'closed' | 'open';
}

export const RATE = 20;
/** From taking a picture to the server. */
const WAY_US = 30_000;
const MIMES: Record<VideoCodec, string> = {
  vp8: 'video/VP8',
  vp9: 'video/VP9',
  h264: 'video/H264',
  av1: 'video/AV1',
};
const utf8 = (words: string) => new TextEncoder().encode(words);

export function stage(scene: Scene): Plan {
  const entries: Entry[] = [];
  const tracks: Array<Plan['tracks'][number]> = [];
  const participants: Array<Plan['participants'][number]> = [];
  const names: Array<Record<string, unknown>> = [];
  const events: Array<Record<string, unknown>> = [];
  const tell = (at: number, event: Record<string, unknown>, more: Record<string, unknown> = {}) => {
    events.push({ ...event, at_us: at });
    entries.push({ at, kind: 6, body: utf8(JSON.stringify({ ...event, ...more, at: '' })) });
  };
  tell(0, { type: 'recording_started' });
  let lastTrack = 0;
  for (const role of scene.roles) {
    for (const [from, until] of role.stays) {
      const participant = participants.length + 1;
      const [start, end] = [from * 1e6, Math.min(until, scene.seconds) * 1e6];
      participants.push({
        participant,
        joined_us: start,
        left_us: end,
        consent: [{ state: 'granted', at_us: start }],
      });
      names.push({ participant, identity: role.identity, name: role.name });
      tell(start, { type: 'participant_joined', participant });
      tell(start + 400_000, { type: 'consent', participant, state: 'granted' });
      if (end < scene.seconds * 1e6) tell(end, { type: 'participant_left', participant });
      const add = (kind: 'audio' | 'video', source: string, mime: string, a: number, b: number) => {
        lastTrack += 1;
        tracks.push({
          track: lastTrack,
          participant,
          kind,
          source,
          mime,
          clock_rate: kind === 'video' ? 90_000 : 48_000,
          from_us: a,
          until_us: b,
          expected: 0,
          stored: 0,
          lost: 0,
        });
        entries.push({ at: a, kind: 4, body: utf8(JSON.stringify(tracks.at(-1))) });
        return lastTrack;
      };
      const offset = participant * 1_234_567_890;
      const length = (end - start) / 1e6;
      const sound = add('audio', 'microphone', 'audio/opus', start, end);
      const silent = role.muted ?? [-1, -1];
      const isMuted = (at: number) => at >= silent[0] * 1e6 && at < silent[1] * 1e6;
      for (const [n, payload] of tone(role.hz, length).entries()) {
        const at = start + n * 20_000;
        if (at >= end - 100_000 || isMuted(at)) continue;
        const sent = {
          sequence: n + 60_000,
          timestamp: n * 960,
          isMarked: false,
          isKeyframe: false,
          payload,
        };
        entries.push(entry(sent, sound, 111, arrival(at, n)));
        if (n % 200 === 0) entries.push(report(sound, at, arrival(at, 0), offset, n * 960));
      }
      if (role.muted && silent[0] * 1e6 >= start && silent[1] * 1e6 <= end) {
        tell(silent[0] * 1e6, { type: 'muted', participant, track: sound });
        tell(silent[1] * 1e6, { type: 'unmuted', participant, track: sound });
      }
      for (let at = start + participant * 2.5e6; at + 3e6 < end; at += 9e6) {
        if (isMuted(at) || isMuted(at + 3e6)) continue;
        tell(at, { type: 'speaking', participant, active: true });
        tell(at + 3e6, { type: 'speaking', participant, active: false });
      }
      const film = (
        frames: readonly VideoFrame[],
        codec: VideoCodec,
        number: number,
        a: number,
        rate: number,
        b: number,
      ) => {
        let sequence = 65_000;
        for (const [n, frame] of frames.entries()) {
          const at = a + (n * 1e6) / rate;
          if (at >= b - 100_000) break;
          const timestamp = (n * (90_000 / rate) + 0xfff0_0000) >>> 0;
          const sent = packets(codec, frame, n, timestamp, sequence);
          sequence += sent.length;
          entries.push(...sent.map((one, i) => entry(one, number, 96, arrival(at, n) + i * 300)));
          if (n % rate === 0) entries.push(report(number, at, arrival(at, 0), offset, timestamp));
        }
      };
      const picture = { words: role.identity, width: 320, height: 180, colour: role.colour };
      const camera = add('video', 'camera', MIMES[role.codec], start, end);
      film(
        video({ ...picture, codec: role.codec, seconds: length, rate: RATE, distance: 120 }),
        role.codec,
        camera,
        start,
        RATE,
        end,
      );
      const [shares, ends] = role.screen ?? [0, 0];
      if (role.screen && shares >= from && ends <= until) {
        const [a, b] = [shares * 1e6, ends * 1e6];
        const number = add('video', 'screen_share', 'video/VP8', a, b);
        const wish = {
          codec: 'vp8',
          colour: '0x203050',
          words: 'CT',
          width: 1280,
          height: 720,
        } as const;
        film(
          video({ ...wish, seconds: ends - shares, rate: 5, distance: 40 }),
          'vp8',
          number,
          a,
          5,
          b,
        );
      }
    }
  }
  tell(
    Math.min(6e6, scene.seconds * 4e5),
    { type: 'chat', participant: 1 },
    { text: '请看左上叶的结节 / please look at the left upper lobe' },
  );
  const gaps = scene.gap
    ? [
        {
          from_us: scene.gap[0] * 1e6,
          until_us: scene.gap[1] * 1e6,
          reason: 'stalled',
          packets: {},
        },
      ]
    : [];
  const isInGap = ({ at, kind }: Entry) =>
    (kind === 2 || kind === 3) && gaps.some((gap) => at >= gap.from_us && at < gap.until_us);
  return {
    id: scene.id,
    duration: scene.seconds * 1e6,
    entries: entries.filter((one) => !isInGap(one)),
    tracks: tracks.map((track) => counted(track, entries)),
    participants,
    gaps,
    events: events.sort((a, b) => Number(a.at_us) - Number(b.at_us)),
    names: { room: scene.room, participants: names },
    officers: scene.officers,
    started: scene.started,
    ...(scene.threshold ? { threshold: scene.threshold } : {}),
    ...(scene.state ? { state: scene.state } : {}),
  };
}

/** A way with some jitter. */
function arrival(at: number, n: number): number {
  return at + WAY_US + ((n * 7919) % 13) * 1_000;
}

function packets(
  codec: VideoCodec,
  frame: VideoFrame,
  n: number,
  timestamp: number,
  sequence: number,
): Sent[] {
  const whole = frame.units[0] ?? new Uint8Array(0);
  switch (codec) {
    case 'vp8':
      return vp8(whole, n, timestamp, sequence);
    case 'vp9':
      return vp9(whole, frame.isKey, n, timestamp, sequence);
    case 'h264':
      return h264(frame.units, timestamp, sequence);
    case 'av1':
      return av1(frame.units, timestamp, sequence);
  }
}

function counted(track: Plan['tracks'][number], entries: readonly Entry[]) {
  const stored = entries.filter((one) => one.kind === 2 && one.track === track.track).length;
  return { ...track, expected: stored + 2, stored, lost: 2 };
}
