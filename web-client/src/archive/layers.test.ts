/**
 * Packets that Chromium sent in layers, and the frames that the program makes of them: the console
 * makes the same (`recorder/tests/media/`).
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { view } from './bytes';
import { codecOf } from './depacketize';
import type { Frame } from './depacketize/frame';
import { Order } from './order';
import { readRtp } from './rtp';

const MEDIA = fileURLToPath(new URL('../../../recorder/tests/media/', import.meta.url));

interface Sent {
  readonly at: number;
  readonly bytes: Uint8Array;
}

function packets(name: string): Sent[] {
  const bytes = new Uint8Array(readFileSync(`${MEDIA}${name}.rtp`));
  const fields = view(bytes);
  const out: Sent[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = fields.getUint16(at + 4, true);
    const packet = bytes.subarray(at + 6, at + 6 + length);
    out.push({ at: fields.getUint32(at, true), bytes: packet });
    at += 6 + length;
  }
  return out;
}

function frames(mime: string, sent: readonly Sent[]): Frame[] {
  const order = new Order();
  const depacketizer = codecOf(mime)?.depacketizer({});
  const ordered = sent.flatMap(({ at, bytes }) => {
    const packet = readRtp(bytes);
    return packet ? order.push(packet, at) : [];
  });
  return [...ordered, ...order.flush()].flatMap((one) => depacketizer?.push(one) ?? []);
}

const line = (frame: Frame) => {
  const { width, height } = (frame.isKey ? frame.size : null) ?? { width: 0, height: 0 };
  const kind = frame.isKey ? 'key' : 'delta';
  const { timestamp, bytes } = frame;
  return `${timestamp} ${kind} ${width}x${height} ${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`;
};

describe.each([
  ['video/VP9', 'camera.vp9'],
  ['video/VP9', 'camera-chained.vp9'],
  ['video/AV1', 'camera.av1'],
])('%s of Chromium, %s', (mime, name) => {
  const sent = packets(name);
  const whole = frames(mime, sent).map(line);

  it('becomes the frames that the program makes of it', () => {
    const expected = readFileSync(`${MEDIA}${name}.frames`, 'utf8').trim().split('\n');
    expect(whole).toEqual(expected);
  });

  it('is not shown after a lost packet until the next keyframe', () => {
    for (const lost of sent.keys()) {
      const found = frames(mime, [...sent.slice(0, lost), ...sent.slice(lost + 1)]).map(line);
      expect(found.length, `${lost}`).toBeLessThan(whole.length);
      const gap = whole.findIndex((one) => !found.includes(one));
      const after = found[gap];
      if (after) expect(after.split(' ')[1], `${lost}`).toBe('key');
      expect(whole).toEqual(expect.arrayContaining(found));
    }
  });

  it('is cut and turned anywhere without harm', () => {
    for (const [n, { at, bytes }] of sent.entries()) {
      const length = 12 + ((n * 7919) % (bytes.length - 12));
      const cut = { at, bytes: bytes.subarray(0, length) };
      const turned = bytes.slice();
      const place = 12 + ((n * 104_729) % 40);
      turned[place] = (turned[place] ?? 0) ^ (1 << (n & 7));
      for (const other of [cut, { at, bytes: turned }]) {
        const found = frames(mime, [...sent.slice(0, n), other, ...sent.slice(n + 1)]);
        expect(found.length).toBeLessThanOrEqual(whole.length);
      }
    }
  });
});
