/**
 * The reader against the vectors of the format (`recorder/vectors/`), which the Rust program writes
 * and every reader checks: what is right is read to the last byte, what is wrong is refused by name.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { openFile, openWithPassphrase, SEALED_CHUNK } from './age';
import { base64, fromText, hex } from './bytes';
import { readChain } from './chain';
import { eventsOf, readDocument } from './documents';
import { sha256 } from './hash';
import { isLogged } from './proof';
import { openNames, openSecret, Recording, TooFewShares } from './recording';
import { Kind } from './records';
import { readShare } from './shares';
import { play } from './tape';
import { MemorySource } from './testing/memory';
import { seal } from './testing/writer';

// The ciphers run in JavaScript here.
vi.setConfig({ testTimeout: 120_000 });

type Row = readonly [
  segment: number,
  kind: number,
  flags: number,
  track: number,
  at: number,
  length: number,
  sha256: string,
];

interface Vector {
  readonly name: 'complete' | 'threshold' | 'salvaged' | 'torn';
  readonly recording: string;
  readonly state: 'closed' | 'open';
  readonly threshold: number;
  readonly identity: string;
  readonly segments: number;
  readonly records: readonly Row[];
}

const root = fileURLToPath(new URL('../../../recorder/vectors', import.meta.url));
const bytes = (path: string) => new Uint8Array(readFileSync(`${root}/${path}`));
const vectors: { node: string; passphrase: string; recordings: readonly Vector[] } = JSON.parse(
  fromText(bytes('vectors.json')),
);
const named = (name: Vector['name']): Vector => {
  const found = vectors.recordings.find((one) => one.name === name);
  if (!found) throw new Error(`no vector ${name}`);
  return found;
};
const keyIn = (file: Uint8Array) => {
  const line = fromText(file)
    .split('\n')
    .find((one) => one.startsWith('AGE-SECRET-KEY-1'));
  if (!line) throw new Error('no identity');
  return line.trim();
};
const release = keyIn(bytes('keys/release.txt'));
const officers: string[] = [];
const officer = async (number: number) => {
  officers[number] ??= keyIn(
    await openWithPassphrase(bytes(`keys/officer-${number}.age`), vectors.passphrase),
  );
  return officers[number];
};

function folder({ recording }: Vector) {
  const path = `recordings/${recording}`;
  return new Map(readdirSync(`${root}/${path}`).map((name) => [name, bytes(`${path}/${name}`)]));
}

/** What the server would hand out: its half, sealed to the officer. */
async function released({ recording }: Vector) {
  const share = await openFile(bytes(`release/${recording}.age`), [release]);
  // Every officer's key opens what was sealed to the first.
  const { identityToRecipient } = await import('age-encryption');
  return seal(share, await identityToRecipient(await officer(1)));
}

async function opened(vector: Vector, files = folder(vector), keys?: readonly string[]) {
  const mine = keys ?? [await officer(1), await officer(2)];
  const source = new MemorySource(files);
  const secret = await openSecret(
    source,
    vector.recording,
    mine,
    await released(vector),
    vector.threshold,
  );
  return Recording.open(source, vector.recording, [...files.keys()], secret, mine);
}

/** Every record but padding, as the vectors list it, and every fault by its name. */
async function readAll(recording: Recording) {
  const rows: Row[] = [];
  const faults: string[] = [];
  for await (const stretch of play(recording, { segment: 0, chunk: 0 })) {
    for (const { fault } of stretch.faults) {
      faults.push(`${fault.segment}/${fault.chunk} ${fault.why}`);
    }
    for (const one of stretch.records) {
      const segment = [...recording.segmentNumbers].reverse().find((n) => {
        return recording.t0(n) === one.arrival - one.at;
      });
      const hash = hex(await sha256(one.body));
      const { kind, flags, track, arrival, body } = one;
      rows.push([segment ?? -1, kind, flags, track, arrival, body.length, hash]);
    }
  }
  return { rows, faults: [...new Set(faults)] };
}

function flipped(file: Uint8Array, at: number, bits = 0x10) {
  const out = new Uint8Array(file);
  out[at] = (out[at] ?? 0) ^ bits;
  return out;
}

async function faultsOf(vector: Vector, files: Map<string, Uint8Array<ArrayBuffer>>) {
  const recording = await opened(vector, files);
  const { faults } = await readAll(recording);
  return { documents: recording.documentFaults, faults };
}

describe('the vectors of the format', () => {
  it('are read to the last record', async () => {
    for (const vector of vectors.recordings) {
      const recording = await opened(vector);
      expect(recording.documentFaults, vector.name).toEqual([]);
      expect(recording.header.node).toBe(vectors.node);
      expect(recording.segmentNumbers.length, vector.name).toBe(vector.segments);
      const { rows, faults } = await readAll(recording);
      expect(faults, vector.name).toEqual([]);
      expect(rows, vector.name).toEqual(vector.records);
      expect(recording.manifest === null, vector.name).toBe(vector.state === 'open');
    }
  });

  it('show the names of all writers', async () => {
    expect((await opened(named('complete'))).names?.room).toBe('ward 7');
    const salvaged = (await opened(named('salvaged'))).names;
    expect(salvaged?.participants.map((one) => one.participant)).toEqual([1, 2]);
    expect(await openNames([], 'none', [])).toBeNull();
  });

  it('tell who agreed, in the clear as under the seal', async () => {
    const states = eventsOf((await opened(named('salvaged'))).manifest)
      .filter((event) => event.type === 'consent')
      .map((event) => [event.participant, event.state]);
    expect(states).toEqual([
      [1, 'granted'],
      [2, 'granted'],
    ]);
  });

  it('open with any two of three officers, and not with one', async () => {
    const vector = named('threshold');
    for (const pair of [
      [1, 2],
      [1, 3],
    ]) {
      const keys = await Promise.all(pair.map(officer));
      expect((await opened(vector, folder(vector), keys)).documentFaults).toEqual([]);
    }
    await expect(opened(vector, folder(vector), [await officer(1)])).rejects.toThrow(TooFewShares);
  });

  it('stay closed to other keys, other shares and other passphrases', async () => {
    const [vector, other] = [named('complete'), named('salvaged')];
    const files = folder(vector);
    await expect(openWithPassphrase(bytes('keys/officer-1.age'), 'wrong')).rejects.toThrow();
    await expect(opened(vector, files, [named('torn').identity])).rejects.toThrow();
    // Another recording's half: of the server, of the officers.
    const source = new MemorySource(files);
    await expect(
      openSecret(source, vector.recording, [await officer(1)], await released(other), 1),
    ).rejects.toThrow('another recording');
    files.set('share-c.age', folder(other).get('share-c.age') ?? new Uint8Array(0));
    await expect(opened(vector, files)).rejects.toThrow(TooFewShares);
    const share = await openFile(bytes(`release/${vector.recording}.age`), [release]);
    expect(() => readShare(share, other.recording)).toThrow('another recording');
    const later = fromText(share).replace('"version":1', '"version":2');
    expect(later).not.toBe(fromText(share));
    expect(() => readShare(new TextEncoder().encode(later), vector.recording)).toThrow('version');
  });

  it('refuse documents of later versions and of other recordings', () => {
    for (const vector of vectors.recordings) {
      const header = folder(vector).get('header.json') ?? new Uint8Array(0);
      expect(() => readDocument(header, vector.recording)).not.toThrow();
      expect(() => readDocument(header, ulidAfter(vector.recording))).toThrow('another recording');
      const later = fromText(header).replace('"version": 1', '"version": 2');
      expect(later).not.toBe(fromText(header));
      expect(() => readDocument(new TextEncoder().encode(later), vector.recording)).toThrow(
        'version',
      );
    }
  });

  it('name the document in which a byte was changed', async () => {
    const expected: ReadonlyArray<readonly [string, RegExp, string]> = [
      ['header.sig', /./s, 'header-signature'],
      ['writer-000000.sig', /./s, 'writer-signature'],
      ['writer-000000.json', /"started": "2/, 'writer-signature'],
      ['header.json', /"policy": "m/, 'header-signature'],
      ['manifest.sig', /./s, 'manifest-signature'],
      ['manifest.json', /"reason": "r/, 'manifest-signature'],
      ['manifest.proof', /index 0/, 'not-logged'],
      ['index.age', /$/, 'index-differs'],
    ];
    for (const [name, place, fault] of expected) {
      const vector = named('complete');
      const files = folder(vector);
      const file = files.get(name) ?? new Uint8Array(0);
      const match = place.exec(Array.from(file, (code) => String.fromCharCode(code)).join(''));
      const at = Math.min(file.length - 1, (match?.index ?? 0) + (match?.[0].length ?? 1) - 1);
      // Of JSON a letter or digit, so that it stays JSON.
      files.set(name, flipped(file, at, 0x01));
      const { documents } = await faultsOf(vector, files);
      expect(documents, name).toContain(fault);
    }
    const vector = named('threshold');
    const files = folder(vector);
    files.set('share-c-03.age', flipped(files.get('share-c-03.age') ?? new Uint8Array(1), 250));
    expect((await faultsOf(vector, files)).documents).toContain('shares-differ');
  });

  it('name every chunk in which a byte was changed', async () => {
    const vector = named('complete');
    for (const segment of [0, 1]) {
      const [age, chainFile] = [`seg-00000${segment}.age`, `seg-00000${segment}.chain`];
      const chain = readChain(folder(vector).get(chainFile) ?? new Uint8Array(0));
      for (const { chunk } of chain.chunks) {
        const files = folder(vector);
        const at = chain.first + chunk * SEALED_CHUNK + 77;
        const file = files.get(age) ?? new Uint8Array(0);
        files.set(age, flipped(file, Math.min(at, file.length - 1)));
        const { faults } = await faultsOf(vector, files);
        expect(faults).toEqual([`${segment}/${chunk} chunk-changed`]);
      }
    }
  });

  it('name what was dropped, swapped, cut off or played again', async () => {
    const vector = named('complete');
    const edit = async (change: (files: Map<string, Uint8Array<ArrayBuffer>>) => void) => {
      const files = folder(vector);
      change(files);
      return faultsOf(vector, files);
    };
    const take = (files: Map<string, Uint8Array<ArrayBuffer>>, name: string) => {
      const file = files.get(name);
      if (!file) throw new Error(name);
      return file;
    };
    const first = readChain(take(folder(vector), 'seg-000000.chain')).first;
    const chunk = (file: Uint8Array, n: number) =>
      file.slice(first + n * SEALED_CHUNK, first + (n + 1) * SEALED_CHUNK);

    const dropped = await edit((files) => {
      files.delete('seg-000001.age');
      files.delete('seg-000001.chain');
    });
    expect(dropped.faults).toEqual(['1/null segment-missing']);

    const added = await edit((files) => {
      files.set('seg-000002.age', take(files, 'seg-000001.age'));
      files.set('seg-000002.chain', take(files, 'seg-000001.chain'));
    });
    expect(added.documents).toEqual(['manifest-differs']);

    const swapped = await edit((files) => {
      const age = new Uint8Array(take(files, 'seg-000000.age'));
      const [one, two] = [chunk(age, 1), chunk(age, 2)];
      age.set(two, first + SEALED_CHUNK);
      age.set(one, first + 2 * SEALED_CHUNK);
      files.set('seg-000000.age', age);
    });
    expect(swapped.faults).toEqual(['0/1 chunk-changed', '0/2 chunk-changed']);

    const replayed = await edit((files) => {
      const age = new Uint8Array(take(files, 'seg-000000.age'));
      age.set(chunk(age, 1), first + 2 * SEALED_CHUNK);
      files.set('seg-000000.age', age);
    });
    expect(replayed.faults).toEqual(['0/2 chunk-changed']);

    const cut = await edit((files) => {
      files.set('seg-000000.age', take(files, 'seg-000000.age').slice(0, first + SEALED_CHUNK));
    });
    expect(cut.faults).toContain('0/1 chunk-missing');

    const exchanged = await edit((files) => {
      for (const kind of ['age', 'chain']) {
        const [one, two] = [take(files, `seg-000000.${kind}`), take(files, `seg-000001.${kind}`)];
        files.set(`seg-000000.${kind}`, two);
        files.set(`seg-000001.${kind}`, one);
      }
    });
    expect(exchanged.faults).toContain('0/null wrong-segment');
    expect(exchanged.faults).toContain('1/null not-linked');

    const other = folder(named('salvaged'));
    const foreign = await edit((files) => {
      files.set('seg-000000.age', take(other, 'seg-000000.age'));
      files.set('seg-000000.chain', take(other, 'seg-000000.chain'));
    });
    expect(foreign.faults).toContain('0/null chain-unreadable');
  });

  it('name every changed or missing entry of a chain', async () => {
    const vector = named('complete');
    const whole = folder(vector).get('seg-000000.chain') ?? new Uint8Array(0);
    for (let at = 0; at < whole.length; at += 29) {
      const files = folder(vector);
      files.set('seg-000000.chain', flipped(whole, at));
      const { faults } = await faultsOf(vector, files);
      expect(faults.length, `byte ${at}`).toBeGreaterThan(0);
    }
    for (const cut of [65, 66, 200]) {
      const files = folder(vector);
      files.set('seg-000000.chain', whole.slice(0, -cut));
      const { faults } = await faultsOf(vector, files);
      expect(faults.join(), `${cut} bytes less`).toMatch(/unsigned|manifest-differs/);
    }
  });

  it('are read up to the tear', async () => {
    const vector = named('torn');
    const recording = await opened(vector);
    const { rows, faults } = await readAll(recording);
    expect(faults).toEqual([]);
    expect(rows.at(-1)?.[1]).not.toBe(Kind.SegmentEnd);
    expect(rows).toEqual(vector.records);
  });

  it('have manifests in the log, each under its own proof only', async () => {
    const closed = vectors.recordings.filter((one) => one.state === 'closed');
    for (const vector of closed) {
      for (const of of closed) {
        const [files, proofs] = [folder(vector), folder(of)];
        const isIt = await isLogged(proofs.get('manifest.proof') ?? new Uint8Array(0), {
          recording: vector.recording,
          manifest: files.get('manifest.json') ?? new Uint8Array(0),
          node: Uint8Array.from(atob(vectors.node), (letter) => letter.charCodeAt(0)),
        });
        expect(isIt).toBe(of === vector);
      }
    }
  });

  it('have proofs in which every changed byte counts', async () => {
    const vector = named('salvaged');
    const files = folder(vector);
    const proof = files.get('manifest.proof') ?? new Uint8Array(0);
    const manifest = files.get('manifest.json') ?? new Uint8Array(0);
    const node = Uint8Array.from(atob(vectors.node), (letter) => letter.charCodeAt(0));
    const proven = { recording: vector.recording, manifest, node };
    expect(await isLogged(proof, proven)).toBe(true);
    const changed: number[] = [];
    for (let at = 0; at < proof.length; at++) {
      if (await isLogged(flipped(proof, at), proven)) changed.push(at);
    }
    // Base64 leaves the low bits of a last letter unused; nothing else may be changed.
    expect(changed.length, JSON.stringify(changed)).toBe(0);
    expect(await isLogged(proof, { ...proven, node: new Uint8Array(32) })).toBe(false);
    expect(base64(node)).toBe(vectors.node);
  });
});

function ulidAfter(id: string): string {
  return id.slice(0, -1) + (id.endsWith('0') ? '1' : '0');
}
