/**
 * That the manifest stands in the transparency log: a C2SP tlog-proof with the log entry's own bytes,
 * checked against the node's key; docs/archive-format.md, section 11. Needs no log at hand.
 */
import { type Bytes, concat, fromBase64, fromText, hex, isEqual, text } from './bytes';
import { isSigned, sha256 } from './hash';

const FIRST_LINE = 'c2sp.org/tlog-proof@v1';
/** A tree of 2^64 entries has paths of 64 hashes. */
const PATH_MAX = 64;
/** What C2SP signed-note calls Ed25519. */
const ALGORITHM = 1;

export interface Proven {
  readonly recording: string;
  /** Of `manifest.json`. */
  readonly manifest: Uint8Array;
  readonly node: Bytes;
}

/** Whether a proof file shows that the log has this manifest of this recording. */
export async function isLogged(file: Uint8Array, proven: Proven): Promise<boolean> {
  try {
    const proof = read(fromText(file));
    const entry = JSON.parse(fromText(proof.entry)) as Record<string, unknown>;
    const isIt =
      entry.type === 'manifest' &&
      entry.recording === proven.recording &&
      entry.sha256 === hex(await sha256(proven.manifest));
    if (!isIt) return false;
    const checkpoint = await opened(proof.note, proven.node);
    if (!checkpoint) return false;
    const root = await rootOf(proof, checkpoint.size);
    return root !== null && isEqual(root, checkpoint.root);
  } catch {
    return false;
  }
}

interface Proof {
  readonly entry: Bytes;
  readonly index: bigint;
  readonly path: readonly Bytes[];
  readonly note: string;
}

function read(file: string): Proof {
  const at = file.indexOf('\n\n');
  const [first, extra = '', index = '', ...path] = file.slice(0, at).split('\n');
  const isProof =
    at >= 0 && first === FIRST_LINE && extra.startsWith('extra ') && index.startsWith('index ');
  if (!isProof || path.length > PATH_MAX) throw new Error('not a proof');
  return {
    entry: fromBase64(extra.slice('extra '.length)),
    index: decimal(index.slice('index '.length)),
    path: path.map(hash),
    note: file.slice(at + 2),
  };
}

/** The size and root of a checkpoint that the node has signed. */
async function opened(note: string, node: Bytes): Promise<{ size: bigint; root: Bytes } | null> {
  const at = note.lastIndexOf('\n\n');
  if (at < 0 || !note.endsWith('\n')) return null;
  const words = note.slice(0, at + 1);
  const [origin = '', size = '', root = ''] = words.split('\n');
  const id = await sha256(text(`${origin}\n`), Uint8Array.of(ALGORITHM), node);
  let isSignedByNode = false;
  for (const line of note.slice(at + 2, -1).split('\n')) {
    const [dash, name, blob = ''] = line.split(' ');
    if (dash !== '\u2014' || name !== origin) continue;
    const bytes = fromBase64(blob);
    if (!isEqual(bytes.subarray(0, 4), id.subarray(0, 4))) continue;
    // One good line does not excuse a bad one by the same key.
    if (!(await isSigned(node, bytes.subarray(4), text(words)))) return null;
    isSignedByNode = true;
  }
  return isSignedByNode ? { size: decimal(size), root: hash(root) } : null;
}

/** Where the hashes lead (RFC 9162, 2.1.3.2); null for a path that fits no tree of this size. */
async function rootOf({ entry, index, path }: Proof, size: bigint): Promise<Bytes | null> {
  if (index >= size) return null;
  let [number, last] = [index, size - 1n];
  let value = await sha256(Uint8Array.of(0), entry);
  for (const sibling of path) {
    if (last === 0n) return null;
    if (number & 1n || number === last) {
      value = await inner(sibling, value);
      while (!(number & 1n) && number !== 0n) {
        number >>= 1n;
        last >>= 1n;
      }
    } else {
      value = await inner(value, sibling);
    }
    number >>= 1n;
    last >>= 1n;
  }
  return last === 0n ? value : null;
}

function inner(left: Bytes, right: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(1), left, right));
}

/** A number without sign or leading zeros. */
function decimal(digits: string): bigint {
  if (!/^(0|[1-9]\d{0,19})$/.test(digits)) throw new Error('not a number');
  return BigInt(digits);
}

function hash(letters: string): Bytes {
  const bytes = fromBase64(letters);
  if (bytes.length !== 32) throw new Error('not a hash');
  return bytes;
}
