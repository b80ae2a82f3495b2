/** A folder in memory as a source of files, with what a test wants to know about the reading. */
import type { Bytes } from '../bytes';
import type { Source } from '../source';
import type { Files } from './writer';

export class MemorySource implements Source {
  read = 0;

  constructor(readonly files: Files) {}

  async file(name: string): Promise<Bytes | null> {
    return this.files.get(name)?.slice() ?? null;
  }

  async range(name: string, from: number, until: number): Promise<Bytes> {
    const bytes = this.files.get(name)?.slice(from, until) ?? new Uint8Array(0);
    this.read += bytes.length;
    return bytes;
  }
}
