import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, it, vi } from 'vitest';
import { openFile } from './age';
import type { Fault } from './chain';
import { Clocks } from './clock';
import { Delivery } from './delivery';
import { lanes, people } from './lanes';
import type { Covered, Told } from './protocol';
import { openSecret, Recording, TooFewShares } from './recording';
import type { Piece } from './remux';
import { consult, ID, numberIn, type Wishes } from './testing/consult';
import { MemorySource } from './testing/memory';
import { blocks } from './testing/webm';
import { type Entry, join, seal, type Written, write } from './testing/writer';

// The ciphers run in JavaScript here, on machines that do other things at the same time.
vi.setConfig({ testTimeout: 60_000 });

async function officer() {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

async function written(wishes: Omit<Wishes, 'officers'> = {}) {
  const { identity, recipient } = await officer();
  const out = await write(consult({ ...wishes, officers: [recipient] }));
  return { ...out, officer: identity, recipient };
}

async function opened(from: Written & { officer: string; recipient: string }) {
  const source = new MemorySource(from.files);
  const share = await seal(from.release, from.recipient);
  const secret = await openSecret(source, ID, [from.officer], share, 1);
  const recording = await Recording.open(source, ID, [...from.files.keys()], secret, [
    from.officer,
  ]);
  return { recording, source };
}

interface Got {
  readonly pieces: Map<number, Piece[]>;
  readonly faults: Array<{ fault: Fault; at: number }>;
  readonly covered: Covered[];
  readonly events: Told[];
}

/** Everything of one delivery, by track. */
async function delivered(
  recording: Recording,
  from = 0,
  until = Number.POSITIVE_INFINITY,
  clocks = new Clocks(),
) {
  const { manifest, names } = recording;
  if (!manifest) throw new Error('the recording is closed');
  const who = people(manifest.participants, names, manifest.duration_us);
  const got: Got = { pieces: new Map(), faults: [], covered: [], events: [] };
  let isDone: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    isDone = resolve;
  });
  const delivery = new Delivery(recording, clocks, lanes(manifest.tracks, who), from, until, {
    media: (_, piece) =>
      got.pieces.set(piece.track, [...(got.pieces.get(piece.track) ?? []), piece]),
    delivered: (to, isAll) => (isAll || to >= until) && isDone(),
    covered: (stretches) => got.covered.push(...stretches),
    fault: (fault, at) => got.faults.push({ fault, at }),
    events: (events) => got.events.push(...events),
    track: () => null,
  });
  await Promise.race([delivery.run(), done]);
  delivery.cancel();
  return got;
}

const samples = (got: Got, track: number) =>
  (got.pieces.get(track) ?? []).flatMap((piece) => blocks(piece.body));

/** When picture `n` of a participant was taken, as the writer of the recording knows. */
const taken = (participant: number, n: number) => (participant === 1 ? 0 : 5_000) + n * 40 + 20;

describe('a sealed recording', () => {
  it('gives every picture of everybody at the time at which it was taken', async () => {
    const { recording } = await opened(await written({ seconds: 22 }));
    expect(recording.documentFaults).toEqual([]);
    const got = await delivered(recording);
    expect(got.faults).toEqual([]);
    expect(got.covered.every((stretch) => stretch.isGood)).toBe(true);
    for (const participant of [1, 2]) {
      const pictures = samples(got, participant * 2);
      expect(pictures.map((one) => numberIn(one.bytes))).toEqual(pictures.map((_, n) => n));
      expect(pictures.length).toBe(participant === 1 ? 545 : 420);
      for (const one of pictures) {
        expect(Math.abs(one.at - taken(participant, numberIn(one.bytes)))).toBeLessThanOrEqual(1);
      }
    }
    expect(got.events).toEqual([
      { type: 'chat', participant: 1, text: 'hello', at: '', at_us: 8e6 },
    ]);
  });

  it('leaves no hole in the sound of somebody who was muted', async () => {
    const { recording } = await opened(await written({ seconds: 22 }));
    const sounds = samples(await delivered(recording), 1);
    for (const [i, one] of sounds.entries()) {
      if (i > 0) expect(one.at - (sounds[i - 1]?.at ?? 0)).toBeLessThanOrEqual(21);
    }
    const silent = sounds.filter((one) => one.at >= 12_100 && one.at < 14_900);
    expect(silent.every((one) => one.bytes.length === 3)).toBe(true);
  });

  it('begins at the keyframe before any time, with the same times as from the start', async () => {
    const { recording, source } = await opened(await written({ seconds: 22 }));
    const clocks = new Clocks();
    await delivered(recording, 0, Number.POSITIVE_INFINITY, clocks);
    for (const from of [1_230_000, 7_777_000, 19_999_000, 20_500_000]) {
      source.read = 0;
      const got = await delivered(recording, from, from + 1e6, clocks);
      const [first] = samples(got, 2);
      const number = first ? numberIn(first.bytes) : -1;
      expect(number % 100).toBe(0);
      expect(number).toBe(Math.floor((from / 1000 - 20) / 4_000) * 100);
      for (const one of samples(got, 2)) {
        expect(Math.abs(one.at - taken(1, numberIn(one.bytes)))).toBeLessThanOrEqual(1);
      }
    }
  });

  it('finds the keyframe that stands in the segment before', async () => {
    // The second segment says that it begins at 19.8 s and holds what came from 20.5 s on.
    const { recording } = await opened(await written({ seconds: 30, segmentLength: 20_500_000 }));
    expect(recording.t0(1)).toBe(19_800_000);
    for (const from of [20_100_000, 20_600_000, 22_000_000]) {
      const got = await delivered(recording, from, from + 1e6);
      const [first] = samples(got, 2);
      expect(first && numberIn(first.bytes), `from ${from}`).toBe(500);
      const sounds = samples(got, 1).filter(({ at }) => at >= from / 1e3 && at < from / 1e3 + 500);
      expect(sounds.length).toBe(25);
      expect(sounds.filter((one) => one.bytes.length === 3)).toEqual([]);
    }
  });

  it('says that media is there only when it is', async () => {
    // Reports give the media of a new minute its times, and the next one is four seconds away.
    const isFar = ({ at, kind }: Entry) => kind === 3 && at > 40e6 && at < 64.5e6;
    const out = await written({
      seconds: 72,
      edit: (entries) => entries.filter((one) => !isFar(one)),
    });
    const { recording } = await opened(out);
    const from = 61_500_000;
    const got = await delivered(recording, from, from + 1e6);
    const isHeard = (at: number) => at >= from / 1e3 && at < 71e3;
    const sounds = samples(got, 1).filter((one) => isHeard(one.at));
    expect(sounds.length).toBeGreaterThan(45);
    expect(sounds.filter((one) => one.bytes.length === 3)).toEqual([]);
    for (const track of [1, 2, 3, 4]) {
      const until = (got.pieces.get(track) ?? []).at(-1)?.until ?? 0;
      expect(until, `track ${track}`).toBeGreaterThanOrEqual(from + 1e6);
    }
  });

  it('puts packets that came late back into their place', async () => {
    const late = await written({
      seconds: 12,
      delay: (at) => (at % 1_000_000 === 0 ? 300_000 : 0),
    });
    const { recording } = await opened(late);
    const pictures = samples(await delivered(recording), 2);
    expect(pictures.map((one) => numberIn(one.bytes))).toEqual(pictures.map((_, n) => n));
    expect(pictures.length).toBe(295);
  });

  it('keeps every picture at its time when another layer begins', async () => {
    // Layers have sources of their own, whose numbers and timestamps have nothing in common.
    const layered = await written({
      seconds: 22,
      edit: (entries) =>
        entries.map((one) => {
          if (one.track !== 2 || one.at < 8e6 || (one.kind !== 2 && one.kind !== 3)) return one;
          const body = new Uint8Array(one.body);
          const fields = new DataView(body.buffer);
          if (one.kind === 3) {
            fields.setUint32(8, fields.getUint32(8, true) + 0x4000_0000, true);
          } else {
            fields.setUint16(2, fields.getUint16(2) + 12_345);
            fields.setUint32(4, fields.getUint32(4) + 0x4000_0000);
            fields.setUint32(8, 77);
          }
          return { ...one, body };
        }),
    });
    const { recording } = await opened(layered);
    const pictures = samples(await delivered(recording), 2);
    expect(pictures.map((one) => numberIn(one.bytes))).toEqual(pictures.map((_, n) => n));
    expect(pictures.length).toBe(545);
    for (const one of pictures) {
      expect(Math.abs(one.at - taken(1, numberIn(one.bytes)))).toBeLessThanOrEqual(1);
    }
  });

  it('takes the sound out of packets that repeat the one before', async () => {
    const bare = samples(await delivered((await opened(await written())).recording), 1);
    let before = new Uint8Array(0);
    const red = await written({
      red: 63,
      edit: (entries) =>
        entries.map((one, n) => {
          if (one.track !== 1 || one.kind !== 2) return one;
          const [head, payload] = [one.body.slice(0, 12), one.body.slice(12)];
          const again = before;
          before = payload;
          // Some come bare, as the very first of a sender.
          if (n % 7 === 0) return one;
          head[1] = 63;
          const old = Uint8Array.of(0x80 | 111, 960 >> 6, (960 & 0x3f) << 2, again.length);
          return { ...one, body: join(head, old, Uint8Array.of(111), again, payload) };
        }),
    });
    const got = samples(await delivered((await opened(red)).recording), 1);
    expect(got.length).toBe(bare.length);
    for (const [n, one] of got.entries()) {
      expect(one.at).toBe(bare[n]?.at);
      expect(Array.from(one.bytes)).toEqual(Array.from(bare[n]?.bytes ?? []));
    }
  });

  it('shows nothing between a lost packet and the next keyframe', async () => {
    const lossy = await written({
      seconds: 12,
      edit: (entries) => {
        const ofVideo = entries.filter((one) => one.track === 2 && one.kind === 2);
        return entries.filter((one) => one !== ofVideo[150]);
      },
    });
    const { recording } = await opened(lossy);
    const got = await delivered(recording);
    const numbers = samples(got, 2).map((one) => numberIn(one.bytes));
    const lost = (got.pieces.get(2) ?? []).flatMap((piece) => piece.lost);
    expect(lost.map((one) => Math.round(one.until / 1_000))).toEqual([taken(1, 200)]);
    expect(numbers).toContain(149);
    expect(numbers.filter((n) => n >= 150 && n < 200)).toEqual([]);
    expect(numbers).toContain(200);
  });

  it('names a flipped byte by segment and chunk and plays the rest', async () => {
    const out = await written({ seconds: 42 });
    const age = out.files.get('seg-000001.age');
    if (!age) throw new Error('there are two segments and more');
    const first = age.length % 65_552;
    age[first + 65_552 * 5 + 100] = (age[first + 65_552 * 5 + 100] ?? 0) ^ 1;
    const { recording } = await opened(out);
    const got = await delivered(recording);
    const [{ fault, at } = { fault: null, at: 0 }, ...others] = got.faults;
    expect(others).toEqual([]);
    expect(fault).toMatchObject({ segment: 1, why: 'chunk-changed' });
    expect(at).toBeGreaterThan(20e6);
    const bad = got.covered.filter((stretch) => !stretch.isGood);
    expect(bad.length).toBe(1);
    expect(bad[0]?.from).toBe(at);
    const numbers = samples(got, 2).map((one) => numberIn(one.bytes));
    expect(numbers).toContain(499);
    expect(numbers.at(-1)).toBe(1_044);
  });

  it('calls everything after a forged signature unproven', async () => {
    const out = await written({ seconds: 22 });
    const chain = out.files.get('seg-000000.chain');
    if (!chain) throw new Error('there is a chain');
    let at = 52;
    for (let signatures = 0; ; at += chain[at] === 67 ? 41 : 65) {
      if (chain[at] === 83 && ++signatures === 4) break;
    }
    chain[at + 10] = (chain[at + 10] ?? 0) ^ 0x40;
    const { recording } = await opened(out);
    const got = await delivered(recording);
    expect(got.faults[0]?.fault).toMatchObject({ segment: 0, why: 'signature' });
    const good = got.covered.filter((stretch) => stretch.isGood);
    expect(Math.max(...good.filter((one) => one.from < 19e6).map((one) => one.until))).toBeLessThan(
      5e6,
    );
    expect(samples(got, 2).length).toBe(545);
  });

  it('notices a segment that was taken away and plays the others', async () => {
    const out = await written({ seconds: 62 });
    out.files.delete('seg-000001.age');
    out.files.delete('seg-000001.chain');
    const { recording } = await opened(out);
    expect(recording.faults).toEqual([{ segment: 1, chunk: null, why: 'segment-missing' }]);
    const numbers = samples(await delivered(recording), 2).map((one) => numberIn(one.bytes));
    expect(numbers).toContain(490);
    expect(numbers).not.toContain(700);
    expect(numbers).toContain(1_100);
  });

  it('notices every document that was rewritten', async () => {
    const wanted = {
      'header.sig': 'header-signature',
      'manifest.sig': 'manifest-signature',
      'writer-000000.sig': 'writer-signature',
    };
    for (const [name, fault] of Object.entries(wanted)) {
      const out = await written({ seconds: 2 });
      const sig = out.files.get(name);
      if (sig) sig[50] = (sig[50] ?? 0) ^ 1;
      expect((await opened(out)).recording.documentFaults).toEqual([fault]);
    }
  });

  it('opens only with enough shares of different officers', async () => {
    const officers = await Promise.all([officer(), officer(), officer()]);
    const recipients = officers.map((one) => one.recipient);
    const out = await write(consult({ seconds: 2, officers: recipients, threshold: 2 }));
    const source = new MemorySource(out.files);
    const share = await seal(out.release, recipients[2] ?? '');
    const keys = officers.map((one) => one.identity);
    const both = await openSecret(source, ID, [keys[2] ?? '', keys[0] ?? ''], share, 2);
    const again = await openSecret(source, ID, [keys[1] ?? '', keys[2] ?? ''], share, 2);
    expect(both).toEqual(again);
    const recording = await Recording.open(source, ID, [...out.files.keys()], both, keys);
    expect(recording.names?.room).toBe('case-1042');
    await expect(openSecret(source, ID, [keys[2] ?? ''], share, 2)).rejects.toThrow(TooFewShares);
    await expect(openFile(share, [keys[0] ?? ''])).rejects.toThrow();
  });

  it('plays one that is still open up to what is durable', async () => {
    const out = await written({ seconds: 22, state: 'open' });
    const { recording } = await opened(out);
    expect(recording.manifest).toBeNull();
    expect(recording.faults).toEqual([]);
    expect(recording.segmentNumbers).toEqual([0, 1]);
    expect(await recording.duration()).toBeGreaterThanOrEqual(21e6);
  });
});
