/** Who did what to this recording, refused attempts included. */
import { useLingui } from '@lingui/react';
import { useEffect, useState } from 'react';
import { Button } from '../../ui/Button';
import type { Api, AuditEntry } from '../api';
import { moment, refusalWords, span } from '../words';
import styles from './Panel.module.css';

interface Props {
  readonly api: Api;
  readonly id: string;
}

export function Audit({ api, id }: Props) {
  const { i18n } = useLingui();
  const [entries, setEntries] = useState<readonly AuditEntry[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [tries, setTries] = useState(0);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `tries` asks again.
  useEffect(() => {
    let isGone = false;
    api.audit(id).then(
      (found) => !isGone && setEntries([...found].reverse()),
      (error) => !isGone && setProblem(refusalWords(i18n, error)),
    );
    return () => {
      isGone = true;
    };
  }, [api, id, tries]);

  return (
    <>
      <Button size="small" onPress={() => setTries(tries + 1)}>
        {i18n._('Refresh')}
      </Button>
      {problem && (
        <p className={styles.problem} role="alert">
          {problem}
        </p>
      )}
      <ol className={styles.audit} data-testid="audit">
        {(entries ?? []).map((entry) => (
          <li key={entry.seq}>
            <time>{moment(i18n, entry.at)}</time>
            <span>
              <strong>{entry.actor}</strong> {actionWord(entry.action)}
              {entry.outcome === 'refused' && (
                <span className={styles.bad}> · {i18n._('refused')}</span>
              )}
            </span>
            {entry.reason && <span className={styles.quiet}>{entry.reason}</span>}
            {details(entry) && <span className={styles.quiet}>{details(entry)}</span>}
          </li>
        ))}
      </ol>
    </>
  );

  function details({ detail }: AuditEntry): string {
    if (!detail) return '';
    const ranges = detail.ranges ?? detail.watched;
    if (Array.isArray(ranges)) {
      return ranges
        .filter((range): range is [number, number] => Array.isArray(range) && range.length === 2)
        .map(([from, until]) => `${span(from)}–${span(until)}`)
        .join(', ');
    }
    return Object.entries(detail)
      .map(
        ([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : value}`,
      )
      .join(', ');
  }

  function actionWord(action: string): string {
    switch (action) {
      case 'release':
        return i18n._('opened it');
      case 'serve':
      case 'served':
        return i18n._('was sent sealed media');
      case 'watched':
        return i18n._('watched');
      case 'exported':
        return i18n._('exported');
      case 'end':
      case 'end_replay':
        return i18n._('closed the replay');
      case 'verify':
        return i18n._('checked it');
      case 'hold':
        return i18n._('put a legal hold on it');
      case 'lift_hold':
      case 'release_hold':
        return i18n._('lifted a legal hold');
      case 'extend':
        return i18n._('extended its retention');
      case 'delete':
        return i18n._('asked for its deletion');
      case 'expire':
        return i18n._('let it expire');
      case 'show':
        return i18n._('looked at it in the list');
      case 'audit':
      case 'audit_of':
        return i18n._('read this audit');
      default:
        return action.replaceAll('_', ' ');
    }
  }
}
