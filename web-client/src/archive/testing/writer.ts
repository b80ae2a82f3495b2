/**
 * Writes recordings for tests and for the development server, from docs/archive-format.md alone and
 * without a line of the reader: what both get wrong alike would otherwise look right.
 */
import { createCipheriv, createPrivateKey, createPublicKey, sign as nodeSign } from 'node:crypto';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bech32 } from '@scure/base';
import { Decrypter, Encrypter, identityToRecipient } from 'age-encryption';

export type Files = Map<string, Uint8Array<ArrayBuffer>>;

export interface Entry {
  /** Microseconds since the recording's start. */
  readonly at: number;
  readonly kind: number;
  readonly flags?: number;
  readonly track?: number;
  readonly body: Uint8Array;
}

export interface Plan {
  readonly id: string;
  readonly entries: readonly Entry[];
  readonly duration: number;
  readonly tracks: ReadonlyArray<Record<string, unknown> & { readonly track: number }>;
  readonly participants: ReadonlyArray<Record<string, unknown> & { readonly participant: number }>;
  readonly gaps?: readonly unknown[];
  readonly events?: readonly unknown[];
  readonly names?: Record<string, unknown>;
  readonly officers: readonly string[];
  readonly threshold?: number;
  readonly started?: string;
  readonly segmentLength?: number;
  readonly state?: 'closed' | 'open';
  readonly class?: string;
  readonly roomSid?: string;
}

export interface Written {
  readonly files: Files;
  /** The plaintext of the release service's share. */
  readonly release: string;
  readonly identity: string;
}

const CHUNK = 65_536;
const utf8 = (words: string) => new TextEncoder().encode(words);
const hex = (bytes: Uint8Array) =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
const base64 = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes));
const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));
const little = (size: 2 | 4 | 8, value: number) =>
  Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);

export function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export async function seal(plain: Uint8Array | string, ...recipients: readonly string[]) {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  const bytes = typeof plain === 'string' ? utf8(plain) : plain;
  return (await encrypter.encrypt(bytes)) as Uint8Array<ArrayBuffer>;
}

/** The same by Node's cipher, which is some twenty times as fast as JavaScript. */
async function sealLarge(plain: Uint8Array, recipient: string, identity: string) {
  const empty = await seal('', recipient);
  const header = empty.subarray(0, -32);
  const nonce = empty.subarray(-32, -16);
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const key = hkdf(sha256, await decrypter.decryptHeader(header), nonce, utf8('payload'), 32);
  const chunks: Uint8Array[] = [];
  for (let at = 0, n = 0; at < plain.length; at += CHUNK, n++) {
    const iv = join(
      new Uint8Array(7),
      little(4, n).reverse(),
      Uint8Array.of(at + CHUNK >= plain.length ? 1 : 0),
    );
    const cipher = createCipheriv('chacha20-poly1305', key, iv, { authTagLength: 16 });
    chunks.push(cipher.update(plain.subarray(at, at + CHUNK)), cipher.final(), cipher.getAuthTag());
  }
  return join(header, nonce, ...chunks);
}

/** An Ed25519 key of Node's. */
function signingKey() {
  const pkcs8 = join(
    Uint8Array.from([48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32]),
    random(32),
  );
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return {
    public: join(spki.subarray(-32)),
    sign: (message: Uint8Array) => nodeSign(null, message, key),
  };
}

export async function write(plan: Plan): Promise<Written> {
  const files: Files = new Map();
  const put = (name: string, bytes: Uint8Array) => files.set(name, join(bytes));
  const document = (value: unknown) => utf8(JSON.stringify(value));
  const node = signingKey();
  const nodeKey = node.public;
  const sign = (kind: string, name: string, bytes: Uint8Array) => {
    put(`${name}.json`, bytes);
    const message = join(utf8(`consilium/${kind}/1\n`), sha256(bytes));
    put(`${name}.sig`, join(nodeKey, node.sign(message)));
  };

  const secret = random(32);
  const identity = bech32.encodeFromBytes('AGE-SECRET-KEY-', secret).toUpperCase();
  const recipient = await identityToRecipient(identity);
  const releasePart = random(32);
  const officersPart = secret.map((byte, i) => byte ^ (releasePart[i] ?? 0));
  const threshold = plan.threshold ?? 1;
  const share = (part: string, index: number, value: Uint8Array) =>
    JSON.stringify({
      version: 1,
      recording: plan.id,
      part,
      index,
      threshold,
      value: base64(value),
    });
  if (threshold === 1) {
    put('share-c.age', await seal(share('compliance', 1, officersPart), ...plan.officers));
  } else {
    for (const [i, value] of split(officersPart, threshold, plan.officers.length).entries()) {
      const number = String(i + 1).padStart(2, '0');
      const sealed = await seal(share('compliance', i + 1, value), plan.officers[i] ?? '');
      put(`share-c-${number}.age`, sealed);
    }
  }
  const retention = { class: plan.class ?? 'consult-3y', until: '2029-11-22T02:00:00Z' };
  const header = document({
    version: 1,
    recording: plan.id,
    node: base64(nodeKey),
    recipient,
    room_sid: plan.roomSid ?? 'RM_test',
    owner: '0011223344556677',
    policy: 'must',
    started: plan.started ?? '2026-11-22T02:00:00.000Z',
    retention,
    compliance: { threshold, recipients: plan.officers },
    release: recipient,
    break_glass: null,
  });
  sign('header', 'header', header);
  const writer = signingKey();
  const writerFile = document({
    version: 1,
    recording: plan.id,
    writer: 0,
    key: base64(writer.public),
    first_segment: 0,
    prev: hex(sha256(header)),
    started: plan.started ?? '2026-11-22T02:00:00.000Z',
  });
  sign('writer', 'writer-000000', writerFile);
  const index = await seal(
    JSON.stringify({
      version: 1,
      recording: plan.id,
      room: '',
      participants: [],
      tracks: [],
      ...plan.names,
    }),
    ...plan.officers,
  );
  put('index.age', index);

  const length = plan.segmentLength ?? 20_000_000;
  const entries = [...plan.entries].sort((a, b) => a.at - b.at);
  const segments: unknown[] = [];
  let prev = sha256(header);
  const count = Math.max(1, Math.ceil(plan.duration / length));
  for (let n = 0; n < count; n++) {
    const opened = n * length;
    // As the server writes it: what is on its way when a segment is opened still has its time.
    const t0 = Math.max(0, opened - EARLY_US);
    const inside = entries.filter((entry) => entry.at >= opened && entry.at < opened + length);
    const isLast = n === count - 1;
    const isOpen = plan.state === 'open' && isLast;
    const alive = plan.tracks.filter(
      (track) => Number(track.from_us) <= t0 && Number(track.until_us) > t0,
    );
    const head = {
      segment: n,
      t0_us: t0,
      wall: new Date(
        Date.parse(plan.started ?? '2026-11-22T02:00:00.000Z') + t0 / 1000,
      ).toISOString(),
      ntp_synchronised: true,
      tracks: alive,
      participants: plan.participants,
    };
    const { plain, starts } = lay(head, inside, t0, isOpen);
    const sealed = await sealLarge(plain, recipient, identity);
    const chunks = Math.ceil(plain.length / CHUNK);
    const first = sealed.length - plain.length - chunks * 16;
    const age = isOpen ? sealed.slice(0, first + (chunks - 1) * (CHUNK + 16)) : sealed;
    const { chain, last } = link(plan.id, n, t0, prev, age, first, starts, writer, isOpen);
    put(`seg-${String(n).padStart(6, '0')}.age`, age);
    put(`seg-${String(n).padStart(6, '0')}.chain`, chain);
    prev = last;
    segments.push({
      segment: n,
      bytes: age.length,
      chunks,
      t0_us: t0,
      duration_us: Math.min(opened + length - (isLast ? 0 : EARLY_US), plan.duration) - t0,
      chain: hex(last),
      sealed: 'closed',
    });
  }
  if (plan.state !== 'open') {
    const manifest = document({
      version: 1,
      recording: plan.id,
      state: 'complete',
      closed: '2026-11-22T03:00:00.000Z',
      duration_us: plan.duration,
      header: hex(sha256(header)),
      index: hex(sha256(index)),
      shares: Object.fromEntries(
        [...files]
          .filter(([name]) => name.startsWith('share-c'))
          .map(([name, bytes]) => [name, hex(sha256(bytes))]),
      ),
      writers: [{ writer: 0, sha256: hex(sha256(writerFile)) }],
      segments,
      participants: plan.participants,
      tracks: plan.tracks,
      gaps: plan.gaps ?? [],
      events: plan.events ?? [],
      retention,
      break_glass: null,
      shreddable: true,
    });
    sign('manifest', 'manifest', manifest);
    put('manifest.proof', proof(plan.id, manifest, node));
  }
  return { files, release: share('release', 1, releasePart), identity };
}

/** That a log whose only entry is this manifest has it. */
function proof(recording: string, manifest: Uint8Array, node: ReturnType<typeof signingKey>) {
  const entry = utf8(
    JSON.stringify({ type: 'manifest', recording, sha256: hex(sha256(manifest)), at: '' }),
  );
  const root = sha256(join(Uint8Array.of(0), entry));
  const origin = 'consilium/test';
  const note = `${origin}\n1\n${base64(root)}\n`;
  const id = sha256(join(utf8(`${origin}\n`), Uint8Array.of(1), node.public)).subarray(0, 4);
  const signature = base64(join(id, node.sign(utf8(note))));
  return utf8(
    `c2sp.org/tlog-proof@v1\nextra ${base64(entry)}\nindex 0\n\n${note}\n\u2014 ${origin} ${signature}\n`,
  );
}

/** A segment's `t0` lies so long before the moment at which it is opened. */
const EARLY_US = 700_000;

/** Records in chunks; `starts` has for each chunk the time of its first record and whether a flush stands before it. */
function lay(head: unknown, entries: readonly Entry[], t0: number, isOpen: boolean) {
  const parts: Uint8Array[] = [];
  const starts: Array<{ at: number; isFlushed: boolean }> = [];
  const keyframes: Array<[number, number, number]> = [];
  let size = 0;
  let flushed = 0;
  const add = (at: number, kind: number, flags: number, track: number, body: Uint8Array) => {
    const bytes = join(
      Uint8Array.of(kind, flags),
      little(2, track),
      little(4, at),
      little(4, body.length),
      body,
    );
    if (flags & 4) keyframes.push([track, at, Math.floor(size / CHUNK)]);
    for (let chunk = Math.ceil(size / CHUNK); chunk * CHUNK < size + bytes.length; chunk++) {
      starts[chunk] ??= { at, isFlushed: false };
    }
    parts.push(bytes);
    size += bytes.length;
  };
  const flush = () => {
    const room = (CHUNK - (size % CHUNK)) % CHUNK;
    if (room >= 12) {
      parts.push(join(new Uint8Array(8), little(4, room - 12), new Uint8Array(room - 12)));
    } else {
      parts.push(new Uint8Array(room).fill(0xff));
    }
    size += room;
    flushed = size / CHUNK;
  };
  add(0, 1, 0, 0, utf8(JSON.stringify(head)));
  let second = 0;
  for (const entry of entries) {
    const at = entry.at - t0;
    if (Math.floor(at / 1e6) > second) {
      flush();
      second = Math.floor(at / 1e6);
      starts[flushed] = { at, isFlushed: true };
    }
    add(at, entry.kind, entry.flags ?? 0, entry.track ?? 0, entry.body);
  }
  flush();
  if (!isOpen) {
    const at = starts.at(-1)?.at ?? 0;
    starts[flushed] = { at, isFlushed: true };
    add(at, 8, 0, 0, utf8(JSON.stringify({ keyframes, stored: {} })));
  } else {
    parts.push(new Uint8Array(CHUNK));
  }
  return { plain: join(...parts), starts };
}

function link(
  id: string,
  segment: number,
  t0: number,
  prev: Uint8Array,
  age: Uint8Array,
  first: number,
  starts: ReadonlyArray<{ at: number; isFlushed: boolean }>,
  key: ReturnType<typeof signingKey>,
  isOpen: boolean,
) {
  const ulid = fromUlid(id);
  const out: Uint8Array[] = [
    utf8('CCH1'),
    little(4, segment),
    little(8, t0),
    prev,
    little(4, first),
  ];
  let value = sha256(
    join(
      utf8('consilium/segment/1\n'),
      ulid,
      little(4, segment),
      little(8, t0),
      prev,
      age.subarray(0, first),
    ),
  );
  const sign = (entry: string, chunks: number) => {
    const message = join(
      utf8('consilium/chain/1\n'),
      utf8(entry),
      ulid,
      little(4, segment),
      little(4, chunks),
      value,
    );
    out.push(utf8(entry), key.sign(message));
  };
  const chunks = Math.ceil((age.length - first) / (CHUNK + 16));
  for (let n = 0; n < chunks; n++) {
    const start = starts[n] ?? { at: 0, isFlushed: false };
    if (start.isFlushed) sign('S', n);
    const hash = sha256(age.subarray(first + n * (CHUNK + 16), first + (n + 1) * (CHUNK + 16)));
    out.push(utf8('C'), little(4, n), little(4, start.at), hash);
    value = sha256(join(value, little(4, n), little(4, start.at), hash));
  }
  sign(isOpen ? 'S' : 'E', chunks);
  return { chain: join(...out), last: value };
}

function fromUlid(id: string): Uint8Array {
  const letters = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  let value = 0n;
  for (const letter of id) value = (value << 5n) | BigInt(letters.indexOf(letter));
  return Uint8Array.from({ length: 16 }, (_, i) => Number((value >> BigInt(8 * (15 - i))) & 255n));
}

/** Shamir's shares over GF(2^8) with logarithms, unlike the reader, which multiplies by shifting. */
export function split(secret: Uint8Array, threshold: number, count: number): Uint8Array[] {
  const exp: number[] = [];
  const log: number[] = [];
  for (let i = 0, x = 1; i < 255; i++) {
    exp[i] = x;
    log[x] = i;
    x ^= (x << 1) ^ (x & 0x80 ? 0x11b : 0);
  }
  const times = (a: number, b: number) =>
    a && b ? (exp[((log[a] ?? 0) + (log[b] ?? 0)) % 255] ?? 0) : 0;
  const coefficients = Array.from(secret, (byte) => [byte, ...random(threshold - 1)]);
  return Array.from({ length: count }, (_, i) =>
    Uint8Array.from(coefficients, (ofByte) =>
      ofByte.reduceRight((sum, coefficient) => times(sum, i + 1) ^ coefficient, 0),
    ),
  );
}
