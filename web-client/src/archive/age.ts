/**
 * age v1 files read piece by piece: the header by the `age-encryption` package, the payload's STREAM
 * chunk by chunk at any place, which that package cannot. Small files are opened whole.
 */

import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bech32 } from '@scure/base';
import { Decrypter, identityToRecipient } from 'age-encryption';
import { type Bytes, text, view } from './bytes';
import { type Cipher, cipher } from './cipher';

export const CHUNK = 65_536;
export const SEALED_CHUNK = CHUNK + 16;
const NONCE = 16;

/** A whole small file; throws when none of the identities opens it. */
export async function openFile(file: Bytes, identities: readonly string[]): Promise<Bytes> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  return (await decrypter.decrypt(file)) as Bytes;
}

export async function openWithPassphrase(file: Bytes, passphrase: string): Promise<Bytes> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  return (await decrypter.decrypt(file)) as Bytes;
}

export async function recipientOf(identity: string): Promise<string> {
  return identityToRecipient(identity);
}

/** The written form of an X25519 secret. */
export function identityFrom(secret: Uint8Array): string {
  return bech32.encodeFromBytes('AGE-SECRET-KEY-', secret).toUpperCase();
}

/** The payload of one file whose header was opened. */
export class Stream {
  private constructor(private readonly cipher: Cipher) {}

  /** `head` is everything before the first chunk: the header and the nonce. */
  static async open(head: Bytes, identity: string, force?: 'javascript'): Promise<Stream> {
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const fileKey = await decrypter.decryptHeader(head.subarray(0, -NONCE));
    const key = hkdf(sha256, fileKey, head.subarray(-NONCE), text('payload'), 32) as Bytes;
    const stream = new Stream(await cipher(key, force));
    fileKey.fill(0);
    key.fill(0);
    return stream;
  }

  /** The plaintext of chunk `n`, or null when it was changed. `mayEnd`: it is the file's last one. */
  async chunk(n: number, sealed: Bytes, mayEnd: boolean): Promise<Bytes | null> {
    const opened = mayEnd ? await this.cipher.open(nonce(n, true), sealed) : null;
    return opened ?? this.cipher.open(nonce(n, false), sealed);
  }
}

/** 11 bytes of counter, big-endian, and one that marks the last chunk. */
function nonce(n: number, isLast: boolean): Bytes {
  const bytes = new Uint8Array(12);
  view(bytes).setUint32(7, n);
  bytes[11] = isLast ? 1 : 0;
  return bytes;
}
