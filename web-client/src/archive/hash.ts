/** SHA-256 and Ed25519: by WebCrypto where it has them, else in JavaScript. */
import { ed25519 } from '@noble/curves/ed25519.js';
import { type Bytes, concat, isEqual, text } from './bytes';

export async function sha256(...parts: readonly Uint8Array[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts)));
}

/** Whether `signature` is that of `key` over `message`; nonsense of any length is simply false. */
export async function isSigned(
  key: Uint8Array,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  if (key.length !== 32 || signature.length !== 64) return false;
  const imported = await imports(key);
  if (imported) {
    return crypto.subtle.verify('Ed25519', imported, copy(signature), copy(message));
  }
  try {
    return ed25519.verify(signature, message, key, { zip215: false });
  } catch {
    return false;
  }
}

export type Kind = 'header' | 'writer' | 'manifest' | 'audit';

/** The key that a `.sig` file holds, if its signature over `file` is right. */
export async function signer(kind: Kind, file: Uint8Array, sig: Uint8Array): Promise<Bytes | null> {
  if (sig.length !== 96) return null;
  const key = copy(sig.subarray(0, 32));
  const message = concat(text(`consilium/${kind}/1\n`), await sha256(file));
  return (await isSigned(key, sig.subarray(32), message)) ? key : null;
}

let isNative: boolean | undefined;
const KEYS_KEPT = 16;
const keys: Array<{ readonly bytes: Bytes; readonly key: CryptoKey }> = [];

/** Writers sign once a second with the same key: importing it each time would cost more than the check. */
async function imports(bytes: Uint8Array): Promise<CryptoKey | null> {
  if (isNative === false) return null;
  const known = keys.find((one) => isEqual(one.bytes, bytes));
  if (known) return known.key;
  try {
    const own = copy(bytes);
    const key = await crypto.subtle.importKey('raw', own, 'Ed25519', false, ['verify']);
    isNative = true;
    keys.unshift({ bytes: own, key });
    keys.length = Math.min(keys.length, KEYS_KEPT);
    return key;
  } catch {
    isNative ??= false;
    return null;
  }
}

function copy(bytes: Uint8Array): Bytes {
  return new Uint8Array(bytes);
}
