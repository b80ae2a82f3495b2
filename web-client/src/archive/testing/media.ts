/** Coded test media from ffmpeg: a colour and a tone for everybody, the frame's number as a bar code. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

export type VideoCodec = 'vp8' | 'vp9' | 'h264' | 'av1';

export interface VideoFrame {
  readonly isKey: boolean;
  /** One element, or the NAL units or OBUs of the picture. */
  readonly units: readonly Uint8Array[];
}

export interface VideoWish {
  readonly codec: VideoCodec;
  readonly colour: string;
  readonly words: string;
  readonly seconds: number;
  readonly rate: number;
  readonly width: number;
  readonly height: number;
  /** Frames between keyframes. */
  readonly distance: number;
}

/** Bits of the frame number, the lowest first, in squares along the upper edge. */
export const BITS = 12;

const CODERS: Record<VideoCodec, readonly string[]> = {
  vp8: ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '700k', '-f', 'ivf'],
  vp9: [
    '-c:v',
    'libvpx-vp9',
    '-deadline',
    'realtime',
    '-cpu-used',
    '8',
    '-lag-in-frames',
    '0',
    '-b:v',
    '500k',
    '-f',
    'ivf',
  ],
  av1: [
    '-c:v',
    'libaom-av1',
    '-usage',
    'realtime',
    '-cpu-used',
    '8',
    '-lag-in-frames',
    '0',
    '-b:v',
    '400k',
    '-f',
    'ivf',
  ],
  h264: [
    '-c:v',
    'libx264',
    '-profile:v',
    'baseline',
    '-preset',
    'ultrafast',
    '-tune',
    'zerolatency',
    '-b:v',
    '600k',
    '-f',
    'h264',
  ],
};

export function video(wish: VideoWish): VideoFrame[] {
  const { codec, colour, words, seconds, rate, width, height, distance } = wish;
  const side = Math.floor(width / BITS);
  const bits = Array.from(
    { length: BITS },
    (_, bit) =>
      `drawbox=x=${bit * side}:y=0:w=${side}:h=${side}:t=fill:color=white:enable='gte(mod(floor(n/${2 ** bit})\\,2)\\,1)'`,
  );
  const filters = [
    `drawbox=x=0:y=0:w=${side * BITS}:h=${side}:t=fill:color=black`,
    ...bits,
    `drawtext=text='${words} %{n}':fontsize=${Math.round(height / 7)}:fontcolor=white:box=1:boxcolor=black@0.6:x=(w-tw)/2:y=(h-th)/2`,
  ];
  const bytes = ffmpeg([
    ...['-f', 'lavfi', '-i', `color=${colour}:s=${width}x${height}:r=${rate}:d=${seconds}`],
    ...['-vf', filters.join(','), '-pix_fmt', 'yuv420p', '-g', String(distance)],
    ...['-keyint_min', String(distance), ...CODERS[codec]],
  ]);
  if (codec === 'h264') return pictures(bytes);
  return ivf(bytes).map((frame) => {
    switch (codec) {
      case 'vp8':
        return { isKey: ((frame[0] ?? 1) & 1) === 0, units: [frame] };
      case 'vp9':
        return { isKey: ((frame[0] ?? 0) & 0x04) === 0, units: [frame] };
      default: {
        const units = obus(frame);
        return { isKey: units.some((obu) => (((obu[0] ?? 0) >> 3) & 15) === 1), units };
      }
    }
  });
}

/** Opus packets of 20 ms. */
export function tone(hz: number, seconds: number): Uint8Array[] {
  const bytes = ffmpeg([
    ...['-f', 'lavfi', '-i', `sine=frequency=${hz}:sample_rate=48000:duration=${seconds}`],
    ...['-ac', '1', '-c:a', 'libopus', '-b:a', '32k', '-frame_duration', '20', '-f', 'ogg'],
  ]);
  // The first two packets are the head and the comments.
  return ogg(bytes).slice(2);
}

/** Coded once and kept beside the packages: coding takes longer than everything that uses it. */
function ffmpeg(options: readonly string[]): Uint8Array {
  const kept = 'node_modules/.test-media';
  const name = createHash('sha256').update(options.join('\n')).digest('hex').slice(0, 32);
  const file = `${kept}/${name}`;
  if (!existsSync(file)) {
    mkdirSync(kept, { recursive: true });
    const draft = `${file}.${process.pid}`;
    const limits = { maxBuffer: 1 << 28 };
    writeFileSync(draft, execFileSync('ffmpeg', ['-loglevel', 'error', ...options, '-'], limits));
    renameSync(draft, file);
  }
  return new Uint8Array(readFileSync(file));
}

function ivf(bytes: Uint8Array): Uint8Array[] {
  const fields = new DataView(bytes.buffer, bytes.byteOffset);
  const frames: Uint8Array[] = [];
  for (let at = fields.getUint16(6, true); at + 12 <= bytes.length; ) {
    const size = fields.getUint32(at, true);
    frames.push(bytes.subarray(at + 12, at + 12 + size));
    at += 12 + size;
  }
  return frames;
}

/** An Annex B stream in pictures, which baseline H.264 makes of one slice group each. */
function pictures(bytes: Uint8Array): VideoFrame[] {
  const starts: number[] = [];
  for (let at = 0; at + 3 < bytes.length; at++) {
    if (bytes[at] === 0 && bytes[at + 1] === 0 && bytes[at + 2] === 1) starts.push(at + 3);
  }
  const frames: VideoFrame[] = [];
  let units: Uint8Array[] = [];
  for (const [i, from] of starts.entries()) {
    const next = starts[i + 1];
    let until = next === undefined ? bytes.length : next - 3;
    while (until > from && bytes[until - 1] === 0) until -= 1;
    const unit = bytes.subarray(from, until);
    const type = (unit[0] ?? 0) & 31;
    // The first macroblock's number is 0 where a picture begins: one bit that is set.
    const begins = (type === 1 || type === 5) && ((unit[1] ?? 0) & 0x80) !== 0;
    const hasPicture = units.some((one) => [1, 5].includes((one[0] ?? 0) & 31));
    if (hasPicture && (begins || type === 7 || type === 9)) {
      frames.push(frame(units));
      units = [];
    }
    units.push(unit);
  }
  if (units.length > 0) frames.push(frame(units));
  return frames;
}

function frame(units: readonly Uint8Array[]): VideoFrame {
  return { isKey: units.some((unit) => ((unit[0] ?? 0) & 31) === 5), units };
}

/** The OBUs of a temporal unit without their sizes, as RTP carries them. */
function obus(bytes: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const head = bytes[at] ?? 0;
    const headLength = head & 4 ? 2 : 1;
    let [size, shift, next] = [0, 0, at + headLength];
    for (let byte = 0x80; byte & 0x80; next++, shift += 7) {
      byte = bytes[next] ?? 0;
      size |= (byte & 0x7f) << shift;
    }
    const body = bytes.subarray(next, next + size);
    const obu = new Uint8Array(headLength + size);
    obu.set(bytes.subarray(at, at + headLength));
    obu[0] = head & ~2;
    obu.set(body, headLength);
    if (((head >> 3) & 15) !== 2) out.push(obu);
    at = next + size;
  }
  return out;
}

function ogg(bytes: Uint8Array): Uint8Array[] {
  const packets: Uint8Array[] = [];
  let open: number[] = [];
  for (let at = 0; at + 27 <= bytes.length; ) {
    const count = bytes[at + 26] ?? 0;
    let body = at + 27 + count;
    for (let i = 0; i < count; i++) {
      const lace = bytes[at + 27 + i] ?? 0;
      open.push(...bytes.subarray(body, body + lace));
      body += lace;
      if (lace < 255) {
        packets.push(Uint8Array.from(open));
        open = [];
      }
    }
    at = body;
  }
  return packets;
}
