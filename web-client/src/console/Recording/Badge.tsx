/**
 * Whether what was seen is what was recorded. Says nothing about what was not read yet; turns red
 * with the first bad chunk and stays so.
 */
import { useLingui } from '@lingui/react';
import { ShieldAlert, ShieldCheck, ShieldQuestion } from 'lucide-react';
import { useSyncExternalStore } from 'react';
import type { Summary } from '../api';
import { span } from '../words';
import styles from './Badge.module.css';
import { share } from './coverage';
import type { Findings, ReplaySession } from './session';

interface Props {
  readonly session: ReplaySession | null;
  readonly summary: Summary;
}

const NOTHING = () => () => {};

export function Badge({ session, summary }: Props) {
  const { i18n } = useLingui();
  const findings = useSyncExternalStore(
    session?.subscribe ?? NOTHING,
    () => session?.current() ?? null,
  );
  const trust = findings ? trustOf(findings) : beforehand(summary);
  return (
    <span
      className={`${styles.badge} ${styles[trust.kind]}`}
      role="status"
      data-testid="badge"
      data-trust={trust.kind}
    >
      {trust.kind === 'good' ? (
        <ShieldCheck size={18} aria-hidden />
      ) : trust.kind === 'bad' ? (
        <ShieldAlert size={18} aria-hidden />
      ) : (
        <ShieldQuestion size={18} aria-hidden />
      )}
      {words()}
    </span>
  );

  function words(): string {
    switch (trust.kind) {
      case 'good':
        return trust.percent >= 100
          ? i18n._('Intact, all of it checked')
          : i18n._('Intact so far, {percent} % checked', { percent: trust.percent });
      case 'bad':
        return trust.from === null
          ? i18n._('Not intact')
          : i18n._('Not intact from {time} on', { time: span(trust.from) });
      default:
        return i18n._('Not checked yet');
    }
  }
}

type Trust =
  | { readonly kind: 'unchecked' }
  | { readonly kind: 'good'; readonly percent: number }
  | { readonly kind: 'bad'; readonly from: number | null };

function trustOf({ recording, covered, faults }: Findings): Trust {
  if (recording.documentFaults.length > 0) return { kind: 'bad', from: 0 };
  const first = faults[0];
  if (first) return { kind: 'bad', from: first.at };
  if (covered.length === 0) return { kind: 'unchecked' };
  return { kind: 'good', percent: Math.floor(share(covered, recording.duration) * 100) };
}

function beforehand({ verification }: Summary): Trust {
  if (!verification) return { kind: 'unchecked' };
  return verification.intact ? { kind: 'good', percent: 100 } : { kind: 'bad', from: null };
}
