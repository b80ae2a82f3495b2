/**
 * A recording opened for reading: its documents checked, its secret at hand, its segments found by
 * time. What is wrong is collected as faults and never hides what is right.
 */
import { identityFrom, openFile, recipientOf } from './age';
import { type Bytes, fromBase64, fromHex, hex, isEqual } from './bytes';
import { type Chain, type Fault, readChain } from './chain';
import { type Header, type Manifest, type Names, readDocument, type Writer } from './documents';
import { sha256, signer } from './hash';
import { isLogged } from './proof';
import { fileName, Segment } from './segment';
import { combine, readShare, type Share } from './shares';
import { type Source, Unreachable } from './source';

/** Keyframes are asked for at least this often while recording. */
export const KEYFRAME_DISTANCE_US = 10_000_000;

export type DocumentFault =
  | 'header-signature'
  | 'writer-signature'
  | 'manifest-signature'
  | 'manifest-differs'
  | 'not-logged'
  | 'index-differs'
  | 'shares-differ';

export interface Position {
  readonly segment: number;
  readonly chunk: number;
}

interface Place {
  readonly segment: number;
  readonly t0: number;
}

export class TooFewShares extends Error {}

/** The secret of a recording from the officers' share files and the released one. */
export async function openSecret(
  source: Source,
  recording: string,
  officers: readonly string[],
  released: Bytes,
  threshold: number,
): Promise<Bytes> {
  const release = readShare(await openFile(released, officers), recording);
  const names = [
    'share-c.age',
    ...Array.from(
      { length: threshold > 1 ? OFFICERS_MAX : 0 },
      (_, i) => `share-c-${String(i + 1).padStart(2, '0')}.age`,
    ),
  ];
  const wanted = threshold > 1 ? names.slice(1) : names.slice(0, 1);
  const shares: Share[] = [];
  for (const name of wanted) {
    if (shares.length >= threshold) break;
    const file = await source.file(name);
    if (!file) break;
    try {
      shares.push(readShare(await openFile(file, officers), recording));
    } catch {
      // Another officer's share: his key is not loaded.
    }
  }
  if (shares.length < threshold) throw new TooFewShares();
  return combine(shares, release);
}

/** As many officers as a share's index can tell apart in two digits. */
const OFFICERS_MAX = 99;

export class Recording {
  readonly faults: Fault[] = [];
  private readonly segments = new Map<number, Promise<Segment>>();
  private readonly chains = new Map<number, Promise<Chain | null>>();

  private constructor(
    readonly id: string,
    readonly header: Header,
    readonly manifest: Manifest | null,
    readonly names: Names | null,
    readonly documentFaults: readonly DocumentFault[],
    private readonly places: readonly Place[],
    private readonly headerHash: Bytes,
    private readonly writers: readonly Writer[],
    private readonly identity: string,
    private readonly source: Source,
  ) {}

  /** `files` are the names in the folder. */
  static async open(
    source: Source,
    id: string,
    files: readonly string[],
    secret: Bytes,
    officers: readonly string[],
  ): Promise<Recording> {
    const need = async (name: string): Promise<Bytes> => {
      const file = await source.file(name);
      if (!file) throw new Error(`${name} is missing`);
      return file;
    };
    const optional = (name: string) => (files.includes(name) ? source.file(name) : null);
    const writerNames = files.filter((name) => /^writer-\d{6}\.json$/.test(name)).sort();
    const indexNames = indexesOf(files);
    const [header, headerSig, manifest, manifestSig, proof, indexes, ...writers] =
      await Promise.all([
        need('header.json'),
        need('header.sig'),
        optional('manifest.json'),
        optional('manifest.sig'),
        optional('manifest.proof'),
        Promise.all(indexNames.map((name) => need(name))),
        ...writerNames.map((name) =>
          Promise.all([need(name), need(name.replace('.json', '.sig'))]),
        ),
      ]);
    const faults: DocumentFault[] = [];
    const read = readDocument<Header>(header, id);
    const node = fromBase64(read.node);
    const isByNode = async (
      kind: 'header' | 'writer' | 'manifest',
      file: Bytes,
      sig: Bytes | null,
    ) => {
      const key = sig && (await signer(kind, file, sig));
      return key !== null && isEqual(key, node);
    };
    if (!(await isByNode('header', header, headerSig))) faults.push('header-signature');
    for (const [file, sig] of writers) {
      if (!(await isByNode('writer', file, sig))) faults.push('writer-signature');
    }
    const headerHash = await sha256(header);
    if (manifest && !(await isByNode('manifest', manifest, manifestSig))) {
      faults.push('manifest-signature');
    }
    const parsed = manifest ? readDocument<Manifest>(manifest, id) : null;
    if (manifest) {
      const isInLog = proof && (await isLogged(proof, { recording: id, manifest, node }));
      if (!isInLog) faults.push('not-logged');
    }
    if (parsed && parsed.header !== hex(headerHash)) faults.push('manifest-differs');
    for (const [n, [file]] of parsed ? writers.entries() : []) {
      const entry = parsed?.writers.find((one) => one.writer === n);
      if (entry?.sha256 !== hex(await sha256(file))) faults.push('manifest-differs');
    }
    if (parsed) {
      const listed: Readonly<Record<string, string | undefined>> = {
        ...parsed.shares,
        'index.age': parsed.index,
      };
      for (const [i, file] of indexes.entries()) {
        if (listed[indexNames[i] ?? ''] !== hex(await sha256(file))) faults.push('index-differs');
      }
      for (const name of Object.keys(listed)) {
        if (!files.includes(name))
          faults.push(INDEX.test(name) ? 'index-differs' : 'shares-differ');
      }
      for (const name of files.filter((one) => SHARE.test(one))) {
        if (listed[name] !== hex(await sha256(await need(name)))) faults.push('shares-differ');
      }
    }

    const identity = identityFrom(secret);
    if ((await recipientOf(identity)) !== read.recipient)
      throw new Error('the secret of another recording');
    const recording = new Recording(
      id,
      read,
      parsed,
      await openNames(indexes, id, officers),
      [...new Set(faults)],
      [],
      headerHash,
      writers.map(([file]) => readDocument<Writer>(file, id)),
      identity,
      source,
    );
    return recording.located(files);
  }

  /** The recording with the times of its segments: from the manifest, else from every chain. */
  private async located(files: readonly string[]): Promise<Recording> {
    const inFolder = files
      .map((name) => /^seg-(\d{6})\.chain$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
    const listed = this.manifest?.segments;
    const places: Place[] = [];
    const documentFaults = [...this.documentFaults];
    if (listed) {
      for (const { segment, t0_us } of listed) {
        places.push({ segment, t0: t0_us });
        if (!inFolder.includes(segment)) {
          this.faults.push({ segment, chunk: null, why: 'segment-missing' });
        }
      }
      const isListed = (segment: number) => listed.some((one) => one.segment === segment);
      if (!inFolder.every(isListed)) documentFaults.push('manifest-differs');
    } else {
      for (const segment of inFolder) {
        const chain = await this.chain(segment);
        if (chain) places.push({ segment, t0: chain.t0 });
        else this.faults.push({ segment, chunk: null, why: 'chain-unreadable' });
      }
    }
    return Object.assign(this, { places, documentFaults: [...new Set(documentFaults)] });
  }

  get segmentNumbers(): readonly number[] {
    return this.places.map((place) => place.segment);
  }

  t0(segment: number): number {
    return this.places.find((place) => place.segment === segment)?.t0 ?? 0;
  }

  /** How long the recording is: from the manifest, else from its last chunk. */
  async duration(): Promise<number> {
    if (this.manifest) return this.manifest.duration_us;
    const last = this.places.at(-1);
    const chain = last && (await this.chain(last.segment));
    return last ? last.t0 + (chain?.chunks.at(-1)?.at ?? 0) : 0;
  }

  /** Opens a segment once; null when it cannot be read at all, which is then among the faults. */
  async segment(number: number): Promise<Segment | null> {
    const known = this.segments.get(number);
    const opening = known ?? this.openSegment(number);
    this.segments.set(number, opening);
    try {
      return await opening;
    } catch (error) {
      // A server that does not answer, or refuses, says nothing about the file.
      const isMissing = error instanceof Unreachable && error.status === 404;
      if (error instanceof TypeError || (error instanceof Unreachable && !isMissing)) {
        this.segments.delete(number);
        throw error;
      }
      if (!this.faults.some((fault) => fault.segment === number)) {
        this.faults.push({ segment: number, chunk: null, why: 'chain-unreadable' });
      }
      return null;
    }
  }

  /**
   * Where to begin to read so that every one of these video tracks has a keyframe at or before a
   * time. Segments that were closed say where their keyframes are; for others the keyframe distance
   * is enough.
   */
  async start(at: number, videos: readonly number[]): Promise<Position | null> {
    const index = this.indexAt(at);
    const place = this.places[index];
    if (!place) return null;
    const least = Math.max(0, at - KEYFRAME_DISTANCE_US * 1.5);
    const starts = [await this.position(at - SLACK_US)];
    const missing = new Set(videos);
    for (let i = index; i >= 0 && missing.size > 0; i--) {
      const one = this.places[i];
      if (!one || (i < index && (this.places[i + 1]?.t0 ?? 0) <= least)) break;
      const segment = await this.segment(one.segment);
      const keyframes = segment ? await segment.keyframes() : [];
      for (const track of [...missing]) {
        const last = keyframes
          .filter((keyframe) => keyframe.track === track && one.t0 + keyframe.at <= at)
          .at(-1);
        if (!segment || !last) continue;
        missing.delete(track);
        const isTooFar = one.t0 + last.at < least;
        starts.push(
          isTooFar
            ? await this.position(least - SLACK_US)
            : // Where it stands, not when it came: the times of segments overlap.
              { segment: one.segment, chunk: segment.aligned(last.chunk) },
        );
      }
    }
    if (missing.size > 0) {
      starts.push(await this.position(Math.max(at - KEYFRAME_DISTANCE_US, least) - SLACK_US));
    }
    return starts.reduce((first, one) => (one && (!first || isBefore(one, first)) ? one : first));
  }

  /** The aligned chunk to read from for what arrived at a time. */
  async position(at: number): Promise<Position | null> {
    const index = this.indexAt(at);
    // Shortly after the next one has begun, what arrived may still stand in the segment before.
    const isInBoth = index > 0 && at < (this.places[index]?.t0 ?? 0) + T0_SLACK_US;
    const place = this.places[isInBoth ? index - 1 : index];
    if (!place) return null;
    const segment = await this.segment(place.segment);
    const chunk = segment ? segment.aligned(segment.chunkAt(at - place.t0)) : 0;
    return { segment: place.segment, chunk };
  }

  private indexAt(at: number): number {
    let index = 0;
    for (const [i, place] of this.places.entries()) if (place.t0 <= at) index = i;
    return index;
  }

  private async openSegment(number: number): Promise<Segment> {
    const writer = [...this.writers].reverse().find((one) => one.first_segment <= number);
    if (!writer) throw new Error('nobody may sign this segment');
    const isLast = this.places.at(-1)?.segment === number;
    const segment = await Segment.open(this.source, this.identity, {
      recording: this.id,
      segment: number,
      prev: await this.lastBefore(number),
      writer: fromBase64(writer.key),
      node: fromBase64(this.header.node),
      isOpen: !this.manifest && isLast,
    });
    this.faults.push(...segment.faults);
    const listed = this.manifest?.segments.find((one) => one.segment === number);
    if (listed && listed.chain !== hex(segment.last)) {
      this.faults.push({ segment: number, chunk: null, why: 'manifest-differs' });
    }
    return segment;
  }

  /** The last chain value before a segment: the manifest knows, else the segment itself. */
  private async lastBefore(number: number): Promise<Bytes> {
    if (number === 0) return this.headerHash;
    const listed = this.manifest?.segments.find((one) => one.segment === number - 1);
    if (listed) return fromHex(listed.chain);
    return (await this.segment(number - 1))?.last ?? new Uint8Array(32);
  }

  private chain(number: number): Promise<Chain | null> {
    const known = this.chains.get(number);
    if (known) return known;
    const reading = this.source
      .file(`${fileName(number)}.chain`)
      .then((file) => (file ? readChain(file) : null))
      .catch(() => null);
    this.chains.set(number, reading);
    return reading;
  }
}

/** A segment's `t0` lies up to this long before the moment at which it was opened. */
const T0_SLACK_US = 1_000_000;

function isBefore(one: Position, other: Position): boolean {
  return one.segment < other.segment || (one.segment === other.segment && one.chunk < other.chunk);
}

/** A packet may be journalled a little after the keyframe's own time was noted. */
const SLACK_US = 100_000;

/** The list of names, and those that later writers have added to it. */
const INDEX = /^index(-\d{6})?\.age$/;
const SHARE = /^(share-c.*|break-glass)\.age$/;

/** The names of the indexes among these files, the first writer's first. */
export function indexesOf(files: readonly string[]): readonly string[] {
  return files
    .filter((name) => INDEX.test(name))
    .sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
}

/** The names of all indexes together, or null when the officers' keys open none. */
export async function openNames(
  files: readonly Bytes[],
  recording: string,
  officers: readonly string[],
): Promise<Names | null> {
  const found: Names[] = [];
  for (const file of files) {
    try {
      found.push(readDocument<Names>(await openFile(file, officers), recording));
    } catch {
      // It is for others, or changed; what can be read of the names is shown all the same.
    }
  }
  const [first] = found;
  if (!first) return null;
  return {
    ...first,
    participants: found.flatMap((names) => names.participants),
    tracks: found.flatMap((names) => names.tracks ?? []),
  };
}
