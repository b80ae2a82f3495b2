/** Is it what was recorded, and is it all of it: faults by name, gaps and counts per track. */
import { useLingui } from '@lingui/react';
import { useState } from 'react';
import type { GapEntry } from '../../archive/documents';
import { Button } from '../../ui/Button';
import type { Api, Detail } from '../api';
import { documentWord, faultWord, gapWord, moment, refusalWords, span, stateWord } from '../words';
import styles from './Panel.module.css';
import type { Findings } from './session';

interface Props {
  readonly api: Api;
  readonly detail: Detail;
  readonly findings: Findings | null;
  readonly onChanged: () => void;
}

export function Integrity({ api, detail, findings, onChanged }: Props) {
  const { i18n } = useLingui();
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const { summary, manifest } = detail;
  const { verification } = summary;
  const words = (gap: GapEntry) =>
    i18n._('Gap from {from} to {until}: {reason}', {
      from: exactly(gap.from_us),
      until: exactly(gap.until_us),
      reason: gapWord(i18n, gap.reason),
    });

  const verify = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await api.verify(summary.id);
      onChanged();
    } catch (error) {
      setProblem(refusalWords(i18n, error));
    }
    setBusy(false);
  };

  return (
    <>
      <section className={styles.section}>
        <h2>{i18n._('Check by the server')}</h2>
        {verification ? (
          <p>
            <span className={verification.intact ? styles.good : styles.bad}>
              {verification.intact ? i18n._('Intact') : i18n._('Not intact')}
            </span>{' '}
            · {moment(i18n, verification.at)}
          </p>
        ) : (
          <p className={styles.quiet}>{i18n._('Not checked yet')}</p>
        )}
        {verification && verification.findings.length > 0 && (
          <ul className={styles.faults}>
            {verification.findings.map((finding) => (
              <li key={finding}>{finding}</li>
            ))}
          </ul>
        )}
        <Button size="small" isDisabled={isBusy} onPress={() => void verify()}>
          {isBusy ? i18n._('Checking…') : i18n._('Check all of it now')}
        </Button>
        {problem && (
          <p className={styles.problem} role="alert">
            {problem}
          </p>
        )}
      </section>
      {findings && (
        <section className={styles.section}>
          <h2>{i18n._('Check by this browser')}</h2>
          {findings.faults.length === 0 && findings.recording.documentFaults.length === 0 ? (
            <p className={styles.good}>{i18n._('Nothing wrong in what was read.')}</p>
          ) : (
            <ul className={styles.faults} data-testid="faults">
              {findings.recording.documentFaults.map((fault) => (
                <li key={fault}>{documentWord(i18n, fault)}</li>
              ))}
              {findings.faults.map(({ fault, at }) => (
                <li key={`${fault.segment} ${fault.chunk} ${fault.why}`}>
                  {fault.chunk === null
                    ? i18n._('{time}: segment {segment}: {why}', {
                        time: span(at),
                        segment: fault.segment,
                        why: faultWord(i18n, fault.why),
                      })
                    : i18n._('{time}: segment {segment}, chunk {chunk}: {why}', {
                        time: span(at),
                        segment: fault.segment,
                        chunk: fault.chunk,
                        why: faultWord(i18n, fault.why),
                      })}
                </li>
              ))}
            </ul>
          )}
        </section>
      )}
      <section className={styles.section}>
        <h2>{i18n._('Completeness')}</h2>
        {manifest?.tracks ? (
          <>
            {manifest.state && <p>{stateWord(i18n, manifest.state)}</p>}
            <table className={styles.table}>
              <thead>
                <tr>
                  <th scope="col">{i18n._('Track')}</th>
                  <th scope="col" className={styles.number}>
                    {i18n._('Sent')}
                  </th>
                  <th scope="col" className={styles.number}>
                    {i18n._('Stored')}
                  </th>
                  <th scope="col" className={styles.number}>
                    {i18n._('Lost')}
                  </th>
                </tr>
              </thead>
              <tbody>
                {manifest.tracks.map((track) => (
                  <tr key={track.track}>
                    <td>
                      {track.track} · {track.mime.replace(/^(audio|video)\//, '')}
                    </td>
                    <td className={styles.number}>{track.expected ?? '–'}</td>
                    <td className={styles.number}>{track.stored ?? '–'}</td>
                    <td className={styles.number}>{track.lost ?? '–'}</td>
                  </tr>
                ))}
              </tbody>
            </table>
            {manifest.gaps.length === 0 ? (
              <p>{i18n._('No gaps.')}</p>
            ) : (
              <ul className={styles.faults}>
                {[...new Set(manifest.gaps.map(words))].map((gap) => (
                  <li key={gap}>{gap}</li>
                ))}
              </ul>
            )}
          </>
        ) : (
          <p className={styles.quiet}>{i18n._('Known when the recording is closed.')}</p>
        )}
      </section>
    </>
  );
}

/** With tenths: many a gap is shorter than a second. */
function exactly(us: number): string {
  return `${span(us)}.${Math.floor(us / 1e5) % 10}`;
}
