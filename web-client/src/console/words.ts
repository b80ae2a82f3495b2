/** How the console says things that several of its parts say. */
import type { I18n } from '@lingui/core';
import type { FaultKind } from '../archive/chain';
import type { GapEntry } from '../archive/documents';
import type { DocumentFault } from '../archive/recording';
import { clock } from '../ui/words';
import { Refused } from './api';
import { Failed } from './vault';

export function span(us: number): string {
  return clock(us / 1000);
}

export function day(i18n: I18n, iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? iso : i18n.date(date, { dateStyle: 'medium' });
}

export function moment(i18n: I18n, iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return i18n.date(date, { dateStyle: 'medium', timeStyle: 'medium' });
}

export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function stateWord(i18n: I18n, state: string): string {
  switch (state) {
    case 'open':
      return i18n._('Recording now');
    case 'closed':
    case 'complete':
      return i18n._('Complete');
    case 'incomplete':
      return i18n._('Incomplete');
    case 'expired':
      return i18n._('Expired');
    default:
      return state;
  }
}

/** Why the server or the worker did not do what was asked, in plain words. */
export function refusalWords(i18n: I18n, error: unknown): string {
  const { status, code, message, until } =
    error instanceof Refused
      ? error
      : error instanceof Failed
        ? { ...error.failure, until: null }
        : { status: 0, code: '', message: String(error), until: null };
  switch (code) {
    case 'retained':
      return until
        ? i18n._('It must be kept until {date}. Nobody can delete it before that day.', {
            date: day(i18n, until),
          })
        : i18n._('It must still be kept. Nobody can delete it yet.');
    case 'held':
      return i18n._('A legal hold keeps it. It can be deleted only after every hold is lifted.');
    case 'only_extended':
      return i18n._('Retention can only be made longer, never shorter.');
    case 'no_reason':
      return i18n._('The server asks for a reason.');
    case 'unknown_officer':
      return i18n._('This key is not one of the officers’ keys of this recording.');
    case 'revoked_officer':
      return i18n._('This officer’s key has been revoked.');
    case 'officers_missing':
      return i18n._('More officers are needed to open this recording.');
    case 'expired':
      return i18n._('The recording has expired. Its key was destroyed, and no copy can be opened.');
    case 'open':
      return i18n._('It is still being recorded.');
    case 'already_held':
      return i18n._('This case holds the recording already.');
    case 'not_a_case':
      return i18n._('This is not a usable case number.');
    case 'audit_unwritable':
      return i18n._('The audit log cannot be written now, so nothing may be replayed.');
    case 'share_unreadable':
      return i18n._('The server cannot read its half of the key.');
    case 'storage':
      return i18n._('The storage does not answer now.');
    case 'no_replay':
      return i18n._('The server has ended this replay. Open the recording again.');
    case 'not_found':
      return i18n._('There is no such recording for you.');
  }
  if (status === 401) return i18n._('Your link has expired. Ask for a new one.');
  if (status === 403) return i18n._('Your link does not allow this.');
  if (status === 0) return i18n._('The server cannot be reached.');
  return message || i18n._('The server answered with error {status}.', { status });
}

export function faultWord(i18n: I18n, why: FaultKind): string {
  switch (why) {
    case 'chunk-changed':
      return i18n._('changed after it was recorded');
    case 'chunk-unreadable':
      return i18n._('cannot be opened');
    case 'chunk-missing':
      return i18n._('missing');
    case 'chunk-numbers':
      return i18n._('out of order');
    case 'signature':
      return i18n._('signature is wrong');
    case 'unsigned':
      return i18n._('end is not signed');
    case 'torn':
      return i18n._('cut off');
    case 'not-linked':
      return i18n._('does not follow the segment before');
    case 'wrong-segment':
      return i18n._('is another segment');
    case 'segment-missing':
      return i18n._('segment is missing');
    case 'manifest-differs':
      return i18n._('differs from the manifest');
    case 'chain-unreadable':
      return i18n._('chain cannot be read');
    case 'too-long':
      return i18n._('longer than its chain');
  }
}

export function documentWord(i18n: I18n, fault: DocumentFault): string {
  switch (fault) {
    case 'header-signature':
      return i18n._('The header’s signature is wrong.');
    case 'writer-signature':
      return i18n._('A writer’s signature is wrong.');
    case 'manifest-signature':
      return i18n._('The manifest’s signature is wrong.');
    case 'manifest-differs':
      return i18n._('The manifest does not fit the other files.');
    case 'not-logged':
      return i18n._('Nothing proves that the manifest is in the transparency log.');
    case 'shares-differ':
      return i18n._('An officer’s share of the key was changed after the recording was closed.');
    case 'index-differs':
      return i18n._('The list of names was changed after the recording was closed.');
  }
}

/** What happened, for the list of events and the timeline. */
export function eventWord(i18n: I18n, type: string): string {
  switch (type) {
    case 'recording_started':
      return i18n._('Recording started');
    case 'recording_resumed':
      return i18n._('Recording resumed');
    case 'recording_stopped':
      return i18n._('Recording stopped');
    case 'participant_joined':
      return i18n._('joined');
    case 'participant_left':
      return i18n._('left');
    case 'muted':
      return i18n._('muted');
    case 'unmuted':
      return i18n._('unmuted');
    case 'layer':
      return i18n._('picture quality changed');
    case 'consent':
      return i18n._('consent');
    case 'chat':
      return i18n._('wrote');
    case 'data':
      return i18n._('sent data');
    case 'clock_step':
      return i18n._('Server clock was set');
    case 'recipient_key':
      return i18n._('gave a key');
    case 'track':
    case 'track_published':
      return i18n._('started to send');
    case 'track_end':
    case 'track_unpublished':
      return i18n._('stopped sending');
    default:
      return type.replaceAll('_', ' ');
  }
}

export function consentWord(i18n: I18n, state: string): string {
  switch (state) {
    case 'granted':
      return i18n._('granted');
    case 'refused':
      return i18n._('refused');
    case 'withdrawn':
      return i18n._('withdrawn');
    default:
      return i18n._('unknown');
  }
}

/** What a gap means for what is seen at its time. */
export function gapWords(i18n: I18n, gap: GapEntry): string {
  const reason = gapWord(i18n, gap.reason);
  if (Object.keys(gap.packets ?? {}).length === 0) {
    return i18n._('Nothing was recorded here: {reason}', { reason });
  }
  return gap.reason === 'consent'
    ? i18n._('Somebody is not recorded here: no consent')
    : i18n._('Not everything was recorded here: {reason}', { reason });
}

export function gapWord(i18n: I18n, reason: string): string {
  switch (reason) {
    case 'overflow':
    case 'stalled':
      return i18n._('the disk was too slow');
    case 'disk':
      return i18n._('the disk failed or was full');
    case 'consent':
      return i18n._('no consent');
    default:
      return reason.replaceAll('_', ' ');
  }
}
