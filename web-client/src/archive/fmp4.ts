/**
 * Fragmented MP4 for H.264 (ISO/IEC 14496-12): a head with one track, then fragments. Times are in
 * microseconds, as everywhere here.
 */
import { concat, text } from './bytes';
import type { Sample } from './webm';

const TIMESCALE = 1_000_000;
const TRACK = 1;

export interface Mp4Track {
  readonly width: number;
  readonly height: number;
  /** An AVCDecoderConfigurationRecord. */
  readonly setup: Uint8Array;
}

export function mp4Head(track: Mp4Track): Uint8Array {
  const entry = box(
    'avc1',
    zeros(6),
    u16(1),
    zeros(16),
    u16(track.width),
    u16(track.height),
    u32(0x00480000),
    u32(0x00480000),
    zeros(4),
    u16(1),
    zeros(32),
    u16(0x18),
    u16(0xffff),
    box('avcC', track.setup),
  );
  const table = box(
    'stbl',
    full('stsd', 0, u32(1), entry),
    full('stts', 0, u32(0)),
    full('stsc', 0, u32(0)),
    full('stsz', 0, u32(0), u32(0)),
    full('stco', 0, u32(0)),
  );
  const media = box(
    'mdia',
    full('mdhd', 0, zeros(8), u32(TIMESCALE), u32(0), u16(0x55c4), u16(0)),
    full('hdlr', 0, zeros(4), text('vide'), zeros(12), text('Consilium\0')),
    box(
      'minf',
      full('vmhd', 1, zeros(8)),
      box('dinf', full('dref', 0, u32(1), full('url ', 1))),
      table,
    ),
  );
  const header = full(
    'tkhd',
    3,
    zeros(8),
    u32(TRACK),
    zeros(8),
    zeros(16),
    matrix(),
    u32(track.width << 16),
    u32(track.height << 16),
  );
  return concat(
    box('ftyp', text('iso5'), u32(512), text('iso5iso6avc1mp41')),
    box(
      'moov',
      full(
        'mvhd',
        0,
        zeros(8),
        u32(TIMESCALE),
        u32(0),
        u32(0x00010000),
        u16(0x0100),
        zeros(10),
        matrix(),
        zeros(24),
        u32(TRACK + 1),
      ),
      box('trak', header, media),
      box('mvex', full('trex', 0, u32(TRACK), u32(1), zeros(12))),
    ),
  );
}

/** One fragment; the samples are in decoding order, which is that of their times. */
export function mp4Fragment(sequence: number, samples: readonly Sample[]): Uint8Array {
  const first = samples[0];
  if (!first) return new Uint8Array(0);
  const rows = samples.flatMap((sample) => [
    u32(Math.round(sample.duration)),
    u32(sample.bytes.length),
    // Depends on no other; or depends on others and is no sync sample.
    u32(sample.isKey ? 0x02000000 : 0x01010000),
  ]);
  const fragment = (offset: number) =>
    box(
      'moof',
      full('mfhd', 0, u32(sequence)),
      box(
        'traf',
        full('tfhd', 0x020000, u32(TRACK)),
        full('tfdt', 1 << 24, u64(Math.round(first.at))),
        full('trun', 0x000701, u32(samples.length), u32(offset), ...rows),
      ),
    );
  const size = fragment(0).length;
  return concat(fragment(size + 8), box('mdat', ...samples.map((sample) => sample.bytes)));
}

function box(name: string, ...content: readonly Uint8Array[]): Uint8Array {
  const size = content.reduce((sum, part) => sum + part.length, 8);
  return concat(u32(size), text(name), ...content);
}

/** `flags`: version in the highest byte, flags in the rest. */
function full(name: string, flags: number, ...content: readonly Uint8Array[]): Uint8Array {
  return box(name, u32(flags), ...content);
}

function matrix(): Uint8Array {
  return concat(u32(0x00010000), zeros(12), u32(0x00010000), zeros(12), u32(0x40000000));
}

function zeros(length: number): Uint8Array {
  return new Uint8Array(length);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of((value >> 8) & 0xff, value & 0xff);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}
