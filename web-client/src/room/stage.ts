/**
 * Decides what is large, what is small and in which order: a pure function from who is here to an
 * arrangement. Knows neither the SDK nor the DOM.
 *
 * Video quality follows from it without a word to the server here: adaptive stream asks for the
 * layer that fits the size at which a tile is drawn.
 */

export type Source = 'camera' | 'screen';
export type Layout = 'speaker' | 'grid';

/** One possible tile: a participant's camera (with or without a picture) or shared screen. */
export interface Seat {
  /** Stable for as long as the tile should stay the same element. */
  readonly key: string;
  readonly source: Source;
  readonly isLocal: boolean;
  readonly isSpeaking: boolean;
  /** When the participant began to speak, or last began; 0 before that. */
  readonly spokeAt: number;
  /** When the participant joined or the share began: the order of tiles. */
  readonly since: number;
}

export interface Arrangement<S extends Seat> {
  readonly layout: Layout;
  readonly large: S | null;
  /** Beside or below the large tile; in the grid all tiles. */
  readonly small: readonly S[];
}

/** A cough does not take the stage: somebody else must have spoken for so long. */
export const TAKEOVER_MS = 1_200;

/**
 * Arranges the stage. A shared screen is always large, whichever layout was chosen: what is shown
 * is what the consult is about. `pinned` is the viewer's own choice and goes before everything.
 */
export function arrange<S extends Seat>(
  seats: readonly S[],
  layout: Layout,
  previousLarge: string | null,
  pinned: string | null,
  now: number,
): Arrangement<S> {
  const ordered = [...seats].sort(inOrder);
  const large =
    ordered.find((seat) => seat.key === pinned) ??
    newest(ordered.filter((seat) => seat.source === 'screen' && !seat.isLocal)) ??
    newest(ordered.filter((seat) => seat.source === 'screen')) ??
    (layout === 'speaker' ? speakerOf(ordered, previousLarge, now) : null);
  if (!large) return { layout: 'grid', large: null, small: ordered };
  return { layout: 'speaker', large, small: ordered.filter((seat) => seat !== large) };
}

/** Oneself last, the others in the order in which they came, shares before cameras. */
function inOrder(one: Seat, other: Seat): number {
  if (one.isLocal !== other.isLocal) return one.isLocal ? 1 : -1;
  if (one.source !== other.source) return one.source === 'screen' ? -1 : 1;
  return one.since - other.since || (one.key < other.key ? -1 : 1);
}

function newest<S extends Seat>(seats: readonly S[]): S | undefined {
  return seats.reduce<S | undefined>(
    (latest, seat) => (!latest || seat.since > latest.since ? seat : latest),
    undefined,
  );
}

function speakerOf<S extends Seat>(
  seats: readonly S[],
  previousLarge: string | null,
  now: number,
): S | null {
  const others = seats.filter((seat) => !seat.isLocal && seat.source === 'camera');
  const previous = others.find((seat) => seat.key === previousLarge);
  if (previous?.isSpeaking) return previous;
  const speaking = others
    .filter((seat) => seat.isSpeaking && now - seat.spokeAt >= TAKEOVER_MS)
    .sort((one, other) => one.spokeAt - other.spokeAt);
  return speaking[0] ?? previous ?? others[0] ?? seats[0] ?? null;
}

export interface Grid {
  readonly columns: number;
  readonly rows: number;
  /** Size of one tile in CSS pixels. */
  readonly width: number;
  readonly height: number;
  /** False when even the best grid has tiles too small to read a face: then the grid scrolls. */
  readonly fits: boolean;
}

/** Narrower than this a tile shows no face that one could read. */
const TILE_WIDTH_MIN = 150;
const TILE_ASPECT = 16 / 9;
/** Tiles may grow taller than the picture to use the room: so little is cropped then (see below). */
const TILE_ASPECT_MIN = 4 / 3;
const GAP = 8;

/** The grid in which `count` tiles become largest in `width` × `height`. */
export function gridFor(count: number, width: number, height: number): Grid {
  const tilesIn = (columns: number): Grid => {
    const rows = Math.max(1, Math.ceil(count / columns));
    const across = (width - GAP * (columns - 1)) / columns;
    const down = (height - GAP * (rows - 1)) / rows;
    const wide = Math.max(0, Math.min(across, down * TILE_ASPECT));
    const high = Math.max(0, Math.min(down, wide / TILE_ASPECT_MIN));
    return { columns, rows, width: wide, height: high, fits: wide >= TILE_WIDTH_MIN };
  };
  let best = tilesIn(1);
  for (let columns = 2; columns <= count; columns += 1) {
    const grid = tilesIn(columns);
    if (grid.width > best.width + 0.5) best = grid;
  }
  if (best.fits || count <= 1) return { ...best, fits: true };
  const columns = Math.max(1, Math.floor((width + GAP) / (TILE_WIDTH_MIN + GAP)));
  const wide = Math.max(0, (width - GAP * (columns - 1)) / columns);
  const rows = Math.ceil(count / columns);
  return { columns, rows, width: wide, height: wide / TILE_ASPECT, fits: false };
}

/** How much of a picture may be cut away at its edges before it is shown whole instead. */
const CROP_MAX = 0.3;

/** Shared screens are never cropped; a camera only a little, so that no hand leaves the picture. */
export function fitFor(source: Source, picture: number, tile: number): 'cover' | 'contain' {
  if (source === 'screen' || !(picture > 0) || !(tile > 0)) return 'contain';
  const kept = Math.min(picture, tile) / Math.max(picture, tile);
  return 1 - kept <= CROP_MAX ? 'cover' : 'contain';
}
