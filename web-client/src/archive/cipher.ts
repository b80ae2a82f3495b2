/**
 * ChaCha20-Poly1305 under one key. WebCrypto's is some twenty times as fast as JavaScript and keeps
 * the key out of reach of scripts, but not every browser has it yet: it is tried once.
 */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import type { Bytes } from './bytes';

export interface Cipher {
  /** The plaintext, or null when anything was changed. */
  readonly open: (nonce: Bytes, sealed: Bytes) => Promise<Bytes | null>;
  readonly isNative: boolean;
}

// Not yet in TypeScript's library: https://wicg.github.io/webcrypto-modern-algos/
const NAME = 'ChaCha20-Poly1305';

let isNative: Promise<boolean> | undefined;

export async function cipher(key: Bytes, force?: 'javascript'): Promise<Cipher> {
  isNative ??= detect();
  return force !== 'javascript' && (await isNative) ? native(key) : javascript(key);
}

async function native(key: Bytes): Promise<Cipher> {
  const imported = await importKey(key);
  return {
    isNative: true,
    async open(nonce, sealed) {
      try {
        const opened = await crypto.subtle.decrypt(
          { name: NAME, iv: nonce } as AesGcmParams,
          imported,
          sealed,
        );
        return new Uint8Array(opened);
      } catch {
        return null;
      }
    },
  };
}

function javascript(secret: Bytes): Cipher {
  const key = secret.slice();
  return {
    isNative: false,
    async open(nonce, sealed) {
      try {
        return chacha20poly1305(key, nonce).decrypt(sealed) as Bytes;
      } catch {
        return null;
      }
    },
  };
}

async function importKey(key: Bytes): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey('raw-secret' as 'raw', key, NAME, false, ['decrypt']);
  } catch {
    return crypto.subtle.importKey('raw', key, NAME, false, ['decrypt']);
  }
}

/** A browser that knows the name and computes something else is one that does not know it. */
async function detect(): Promise<boolean> {
  try {
    const key = new Uint8Array(32).fill(7);
    const nonce = new Uint8Array(12);
    const sealed = chacha20poly1305(key, nonce).encrypt(new Uint8Array([1, 2, 3])) as Bytes;
    const opened = await (await native(key)).open(nonce, sealed);
    return opened?.join() === '1,2,3';
  } catch {
    return false;
  }
}
