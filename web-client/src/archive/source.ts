/** Where the files of one recording come from: the compliance interface of the server. */
import type { Bytes } from './bytes';

export class Unreachable extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export interface Source {
  /** A whole file; null when there is none of that name. */
  file(name: string): Promise<Bytes | null>;
  /** Bytes `from` up to before `until`; fewer when the file ends before. */
  range(name: string, from: number, until: number): Promise<Bytes>;
}

export interface Access {
  /** Ends with `/compliance/api/v1`. */
  readonly base: string;
  readonly token: string;
}

export class ServerSource implements Source {
  constructor(
    private readonly access: Access,
    private readonly recording: string,
    private readonly replay: string | null,
  ) {}

  async file(name: string): Promise<Bytes | null> {
    const response = await this.get(name, {});
    if (response.status === 404) return null;
    return body(response);
  }

  async range(name: string, from: number, until: number): Promise<Bytes> {
    const response = await this.get(name, { Range: `bytes=${from}-${until - 1}` });
    if (response.status === 416) return new Uint8Array(0);
    const bytes = await body(response);
    // A server that does not know ranges sends all of it.
    return response.status === 206 ? bytes : bytes.slice(from, until);
  }

  /** The names of all files. */
  async list(): Promise<readonly string[]> {
    const response = await this.ask('', {});
    if (!response.ok) throw await refusal(response);
    const { files } = (await response.json()) as { files: ReadonlyArray<{ name: string }> };
    return files.map((file) => file.name);
  }

  private get(name: string, headers: Record<string, string>): Promise<Response> {
    return this.ask(`/files/${name}`, headers);
  }

  private ask(path: string, headers: Record<string, string>): Promise<Response> {
    const { base, token } = this.access;
    return fetch(`${base}/recordings/${this.recording}${path}`, {
      headers: {
        Authorization: `Bearer ${token}`,
        ...(this.replay ? { 'Consilium-Replay': this.replay } : {}),
        ...headers,
      },
      cache: 'no-store',
      credentials: 'omit',
    });
  }
}

async function body(response: Response): Promise<Bytes> {
  if (!response.ok) throw await refusal(response);
  return new Uint8Array(await response.arrayBuffer());
}

/** The server's own words for why it refused. */
export async function refusal(response: Response): Promise<Unreachable> {
  try {
    const { code, message } = await response.json();
    return new Unreachable(response.status, String(code ?? ''), String(message ?? ''));
  } catch {
    return new Unreachable(response.status, '', '');
  }
}
