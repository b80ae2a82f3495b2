/**
 * What the page and the worker say to each other. The worker holds the officers' keys and the
 * recording's secret; neither ever crosses this border, only media, names and findings do.
 */
import type { Fault } from './chain';
import type { EventEntry, GapEntry, Manifest } from './documents';
import type { Lane, Person } from './lanes';
import type { DocumentFault } from './recording';
import type { Piece } from './remux';
import type { Access } from './source';

export interface Questions {
  /** Opens an officer's identity file; the answer is his recipient. */
  unlock: { ask: { file: Uint8Array<ArrayBuffer>; passphrase: string }; answer: Unlocked };
  forget: { ask: Record<string, never>; answer: null };
  /** The names in the index of each recording that the keys open. */
  names: { ask: { recordings: readonly Named[] }; answer: readonly NamesOf[] };
  open: { ask: OpenRequest; answer: Opened };
  /** Starts to deliver media from a time on, ending an earlier delivery. */
  play: { ask: { from: number; delivery: number }; answer: null };
  /** How far to read ahead. */
  ahead: { ask: { until: number }; answer: null };
  export: { ask: ExportRequest; answer: Exported };
  close: { ask: Record<string, never>; answer: null };
}

export type Question = keyof Questions;

export type Unlocked =
  | { readonly kind: 'unlocked'; readonly recipient: string }
  | { readonly kind: 'wrong-passphrase' }
  | { readonly kind: 'no-identity' };

/** A recording whose names are wanted. */
export interface Named {
  readonly recording: string;
  /** Later writers may have added lists of names of their own. */
  readonly isResumable: boolean;
}

export interface NamesOf {
  readonly recording: string;
  readonly room: string;
  readonly people: readonly string[];
}

export interface OpenRequest {
  readonly recording: string;
  readonly replay: string;
  readonly share: Uint8Array<ArrayBuffer>;
  readonly files: readonly string[];
  readonly threshold: number;
  /** Its manifest, or while it is open the summary beside the journal, as the server shows it. */
  readonly clear: Partial<Manifest> | null;
}

export type Opened =
  | { readonly kind: 'open'; readonly recording: OpenRecording }
  | { readonly kind: 'too-few-shares' }
  | { readonly kind: 'wrong-key' }
  | { readonly kind: 'unreadable'; readonly why: string };

export interface OpenRecording {
  readonly recording: string;
  readonly started: string;
  readonly room: string | null;
  readonly duration: number;
  readonly people: readonly Person[];
  readonly lanes: readonly Lane[];
  readonly gaps: readonly GapEntry[];
  readonly events: readonly EventEntry[];
  readonly documentFaults: readonly DocumentFault[];
  readonly hasManifest: boolean;
  readonly state: 'complete' | 'incomplete' | 'open';
  readonly shreddable: boolean;
}

export interface ExportRequest {
  readonly tracks: readonly number[];
}

export interface ExportedFile {
  readonly name: string;
  readonly blob: Blob;
}

export interface Exported {
  readonly files: readonly ExportedFile[];
}

/** Why the worker could not answer: the server's refusal, or something else. */
export interface Failure {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** A stretch that was read and checked. */
export interface Covered {
  readonly from: number;
  readonly until: number;
  readonly isGood: boolean;
}

/** An event as it is told to the officer, from the sealed journal or the clear manifest. */
export interface Told extends EventEntry {
  readonly text?: string;
}

export type News =
  | {
      readonly news: 'media';
      readonly delivery: number;
      readonly lane: number;
      readonly piece: Piece;
    }
  /** Everything up to here was delivered. */
  | {
      readonly news: 'delivered';
      readonly delivery: number;
      readonly until: number;
      readonly isAll: boolean;
    }
  | { readonly news: 'covered'; readonly stretches: readonly Covered[] }
  | { readonly news: 'fault'; readonly fault: Fault; readonly at: number }
  | { readonly news: 'events'; readonly events: readonly Told[] }
  | { readonly news: 'lanes'; readonly people: readonly Person[]; readonly lanes: readonly Lane[] }
  | { readonly news: 'progress'; readonly share: number }
  | { readonly news: 'failed'; readonly delivery: number; readonly failure: Failure };

export type ToWorker =
  | { readonly start: Access }
  | {
      [Q in Question]: {
        readonly id: number;
        readonly question: Q;
        readonly ask: Questions[Q]['ask'];
      };
    }[Question];

export type FromWorker =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly failure: Failure }
  | News;
