/** The compliance interface of the server, as far as the page itself asks: everything but media. */
import type { Header, Manifest } from '../archive/documents';
import type { Access } from '../archive/source';
import { refusal } from '../archive/source';

export type LifeState = 'open' | 'closed' | 'incomplete' | 'expired';

export interface Verification {
  readonly at: string;
  readonly intact: boolean;
  readonly findings: readonly string[];
}

export interface Summary {
  readonly id: string;
  readonly room_sid: string;
  readonly state: LifeState;
  readonly started: string;
  readonly duration_us: number;
  readonly participants: number;
  readonly tracks: number;
  readonly bytes: number;
  readonly retention: { readonly class: string; readonly until: string };
  readonly holds: readonly string[];
  readonly verification: Verification | null;
  readonly shreddable: boolean;
  readonly live: boolean;
}

export interface Detail {
  readonly summary: Summary;
  readonly header: Header | null;
  readonly manifest: Manifest | null;
  readonly files: ReadonlyArray<{ readonly name: string; readonly bytes: number }>;
}

export interface AuditEntry {
  readonly seq: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly outcome: 'done' | 'refused';
  readonly reason?: string | null;
  readonly detail?: Readonly<Record<string, unknown>> | null;
}

/** A refusal in the server's words; `until` is the date that keeps a recording. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly until: string | null,
  ) {
    super(message);
  }
}

export class Api {
  constructor(readonly access: Access) {}

  async list(): Promise<readonly Summary[]> {
    const { recordings } = (await this.get('/recordings')) as { recordings: Summary[] };
    return recordings;
  }

  async detail(id: string): Promise<Detail> {
    return (await this.get(`/recordings/${id}`)) as Detail;
  }

  async release(
    id: string,
    reason: string,
    officer: string,
  ): Promise<{ replay: string; share: string }> {
    const answer = await this.send('POST', `/recordings/${id}/release`, { reason, officer });
    return answer as { replay: string; share: string };
  }

  async watched(replay: string, ranges: ReadonlyArray<readonly [number, number]>): Promise<void> {
    await this.send('POST', `/replays/${replay}/watched`, { ranges }, true);
  }

  async exported(replay: string, what: string): Promise<void> {
    await this.send('POST', `/replays/${replay}/exported`, { what });
  }

  async end(replay: string): Promise<void> {
    await this.send('POST', `/replays/${replay}/end`, {}, true);
  }

  async verify(id: string): Promise<Verification> {
    return (await this.send('POST', `/recordings/${id}/verify`, {})) as Verification;
  }

  async hold(id: string, kase: string, reason: string): Promise<void> {
    await this.send('POST', `/recordings/${id}/holds`, { case: kase, reason });
  }

  async lift(id: string, kase: string): Promise<void> {
    await this.send('DELETE', `/recordings/${id}/holds/${encodeURIComponent(kase)}`);
  }

  async extend(id: string, until: string, reason: string): Promise<void> {
    await this.send('POST', `/recordings/${id}/extend`, { until, reason });
  }

  async delete(id: string): Promise<void> {
    await this.send('DELETE', `/recordings/${id}`);
  }

  async audit(id: string): Promise<readonly AuditEntry[]> {
    const { entries } = (await this.get(`/recordings/${id}/audit`)) as { entries: AuditEntry[] };
    return entries;
  }

  private get(path: string): Promise<unknown> {
    return this.send('GET', path);
  }

  /** `keepalive`: it has to arrive though the page is being closed. */
  private async send(
    method: string,
    path: string,
    body?: unknown,
    keepalive = false,
  ): Promise<unknown> {
    const response = await fetch(this.access.base + path, {
      method,
      headers: {
        Authorization: `Bearer ${this.access.token}`,
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      keepalive,
      cache: 'no-store',
      credentials: 'omit',
    });
    if (!response.ok) {
      const copy = response.clone();
      const { status, code, message } = await refusal(response);
      const until = await copy.json().then(
        (json) => (typeof json?.until === 'string' ? json.until : null),
        () => null,
      );
      throw new Refused(status, code, message, until);
    }
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  }
}
