/** Which codecs can be replayed, and in which container a browser takes them. */
import type { TrackEntry } from '../documents';
import { Av1Depacketizer } from './av1';
import type { Depacketizer } from './frame';
import { H264Depacketizer } from './h264';
import { OpusDepacketizer } from './opus';
import { Vp8Depacketizer } from './vp8';
import { Vp9Depacketizer } from './vp9';

export interface Codec {
  /** Matroska's name, or null where the container is MP4. */
  readonly matroska: string | null;
  /** For `MediaSource.isTypeSupported` and `addSourceBuffer`. */
  readonly type: string;
  readonly extension: 'webm' | 'mp4';
  readonly depacketizer: (track: Pick<TrackEntry, 'red_payload_type'>) => Depacketizer;
}

const webm = (kind: 'audio' | 'video', name: string) => `${kind}/webm; codecs="${name}"`;

const CODECS: Readonly<{ [mime: string]: Codec }> = {
  'audio/opus': {
    matroska: 'A_OPUS',
    type: webm('audio', 'opus'),
    extension: 'webm',
    depacketizer: (track) => new OpusDepacketizer(track.red_payload_type),
  },
  'video/vp8': {
    matroska: 'V_VP8',
    type: webm('video', 'vp8'),
    extension: 'webm',
    depacketizer: () => new Vp8Depacketizer(),
  },
  'video/vp9': {
    matroska: 'V_VP9',
    type: webm('video', 'vp9'),
    extension: 'webm',
    depacketizer: () => new Vp9Depacketizer(),
  },
  'video/av1': {
    matroska: 'V_AV1',
    type: webm('video', 'av01.0.08M.08'),
    extension: 'webm',
    depacketizer: () => new Av1Depacketizer(),
  },
  // Chromium takes H.264 in MP4 only, and VP8 not in MP4.
  'video/h264': {
    matroska: null,
    type: 'video/mp4; codecs="avc1.42e01f"',
    extension: 'mp4',
    depacketizer: () => new H264Depacketizer(),
  },
};

/** Null for what cannot be replayed. */
export function codecOf(mime: string): Codec | null {
  return CODECS[mime.toLowerCase()] ?? null;
}
