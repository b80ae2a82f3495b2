/**
 * The frames of all layers of a VP9 picture as one (bitstream specification, Annex B). Calls show the
 * frame of every layer, and whoever receives them takes the last; players show what is shown. So all
 * but the last are marked as not shown, which changes nothing else of what is decoded.
 */
import { concat } from '../bytes';
import type { Slots, Vp9Header } from './vp9-header';

const FRAMES_MAX = 8;
/** `show_frame`, in the first byte of a frame of profiles 0 to 2. */
const SHOWN = 0x02;

/** `frames`, smallest first; null when there are too many. */
export function superframe(frames: readonly Uint8Array[], slots: Slots): Uint8Array | null {
  if (frames.length > FRAMES_MAX) return null;
  const last = frames.length - 1;
  const all = frames.map((frame, i) => {
    const header = slots.next(frame);
    return i < last && header ? hidden(frame, header) : frame;
  });
  return last > 0 ? concat(...all, index(all)) : concat(...all);
}

function index(frames: readonly Uint8Array[]): Uint8Array {
  const longest = Math.max(...frames.map((frame) => frame.length));
  let width = 1;
  while (longest >= 256 ** width) width += 1;
  const marker = 0xc0 | ((width - 1) << 3) | (frames.length - 1);
  const sizes = frames.flatMap(({ length }) =>
    Array.from({ length: width }, (_, place) => Math.floor(length / 256 ** place) % 256),
  );
  return Uint8Array.of(marker, ...sizes, marker);
}

/** The frame, not to be shown. One that later frames look back on stays as it is: calls have none. */
function hidden(frame: Uint8Array, header: Vp9Header): Uint8Array {
  if (!header.isShown || !header.isResilient || header.profile === 3) return frame;
  const first = (frame[0] ?? 0) & ~SHOWN;
  if (header.isKey) return concat(Uint8Array.of(first), frame.subarray(1));
  // Behind the first byte it says whether it is intra_only: it is not. The header moves on by that bit.
  const before = Math.ceil(header.length / 8);
  const after = Math.ceil((header.length + 1) / 8);
  const head = new Uint8Array(after);
  head.set(frame.subarray(0, before));
  for (let at = after - 1; at > 0; at--) {
    const carry = at > 1 ? (head[at - 1] ?? 0) << 7 : 0;
    head[at] = carry | ((head[at] ?? 0) >> 1);
  }
  head[0] = first;
  return concat(head, frame.subarray(before));
}
