/** How long it is kept, who holds it, and its end. The server decides; here it is asked. */
import { useLingui } from '@lingui/react';
import { type FormEvent, useState } from 'react';
import { Button } from '../../ui/Button';
import type { Api, Summary } from '../api';
import { day, refusalWords } from '../words';
import styles from './Panel.module.css';

interface Props {
  readonly api: Api;
  readonly summary: Summary;
  readonly onChanged: () => void;
}

export function Keeping({ api, summary, onChanged }: Props) {
  const { i18n } = useLingui();
  const [outcome, setOutcome] = useState<{ at: string; isDone: boolean; words: string } | null>(
    null,
  );
  const [kase, setCase] = useState('');
  const [reason, setReason] = useState('');
  const [until, setUntil] = useState('');
  const [why, setWhy] = useState('');
  const [isSure, setSure] = useState(false);

  const act = async (at: string, done: string, what: () => Promise<void>) => {
    try {
      await what();
      setOutcome({ at, isDone: true, words: done });
      onChanged();
    } catch (error) {
      setOutcome({ at, isDone: false, words: refusalWords(i18n, error) });
    }
  };
  const hold = (event: FormEvent) => {
    event.preventDefault();
    void act('hold', i18n._('The hold is in force.'), async () => {
      await api.hold(summary.id, kase.trim(), reason.trim());
      setCase('');
      setReason('');
    });
  };
  const extend = (event: FormEvent) => {
    event.preventDefault();
    void act('extend', i18n._('Retention was extended.'), async () => {
      await api.extend(summary.id, `${until}T00:00:00.000Z`, why.trim());
      setWhy('');
    });
  };
  const destroy = () =>
    void act('delete', i18n._('The recording’s key was destroyed.'), async () => {
      setSure(false);
      await api.delete(summary.id);
    });

  return (
    <>
      <section className={styles.section}>
        <h2>{i18n._('Retention')}</h2>
        <dl className={styles.pair}>
          <dt>{i18n._('Class')}</dt>
          <dd>{summary.retention.class}</dd>
          <dt>{i18n._('Kept until')}</dt>
          <dd data-testid="kept-until">{day(i18n, summary.retention.until)}</dd>
          <dt>{i18n._('At the end')}</dt>
          <dd>
            {summary.shreddable
              ? i18n._('The key is destroyed: no copy can be opened any more.')
              : i18n._('A break-glass key exists: copies stay readable for its holder.')}
          </dd>
        </dl>
        <form className={styles.form} onSubmit={extend}>
          <label>
            {i18n._('Keep it longer, until')}
            <input
              type="date"
              required
              min={summary.retention.until.slice(0, 10)}
              value={until}
              onChange={(event) => setUntil(event.target.value)}
            />
          </label>
          <label>
            {i18n._('Reason')}
            <input required value={why} onChange={(event) => setWhy(event.target.value)} />
          </label>
          <Button type="submit" size="small">
            {i18n._('Extend')}
          </Button>
          {says('extend')}
        </form>
      </section>
      <section className={styles.section}>
        <h2>{i18n._('Legal holds')}</h2>
        {summary.holds.length === 0 ? (
          <p className={styles.quiet}>{i18n._('None.')}</p>
        ) : (
          <dl className={styles.pair}>
            {summary.holds.map((one) => (
              <div key={one} className={styles.held}>
                <dt>{one}</dt>
                <dd>
                  <Button
                    size="small"
                    look="quiet"
                    aria-label={i18n._('Lift the hold {name}', { name: one })}
                    onPress={() =>
                      void act('hold', i18n._('The hold was lifted.'), () =>
                        api.lift(summary.id, one),
                      )
                    }
                  >
                    {i18n._('Lift')}
                  </Button>
                </dd>
              </div>
            ))}
          </dl>
        )}
        <form className={styles.form} onSubmit={hold}>
          <label>
            {i18n._('Case')}
            <input
              required
              maxLength={100}
              value={kase}
              onChange={(event) => setCase(event.target.value)}
            />
          </label>
          <label>
            {i18n._('Reason')}
            <input required value={reason} onChange={(event) => setReason(event.target.value)} />
          </label>
          <Button type="submit" size="small">
            {i18n._('Hold for this case')}
          </Button>
          {says('hold')}
        </form>
      </section>
      <section className={styles.section}>
        <h2>{i18n._('Delete')}</h2>
        <p className={styles.quiet}>
          {i18n._('Before its date and while a hold is in force nobody can delete a recording.')}
        </p>
        {isSure ? (
          <>
            <p>{i18n._('Destroy the key of this recording for good?')}</p>
            <Button size="small" look="danger" onPress={destroy}>
              {i18n._('Destroy it')}
            </Button>
            <Button size="small" onPress={() => setSure(false)}>
              {i18n._('Keep it')}
            </Button>
          </>
        ) : (
          <Button size="small" onPress={() => setSure(true)} data-testid="delete">
            {i18n._('Delete…')}
          </Button>
        )}
        {says('delete')}
      </section>
    </>
  );

  function says(at: string) {
    if (outcome?.at !== at) return null;
    return (
      <p
        className={outcome.isDone ? styles.done : styles.problem}
        role={outcome.isDone ? 'status' : 'alert'}
      >
        {outcome.words}
      </p>
    );
  }
}
