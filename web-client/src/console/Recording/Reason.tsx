/** Asked before anything is shown: why. The answer is in the audit log before the key leaves. */
import { useLingui } from '@lingui/react';
import { LockKeyhole } from 'lucide-react';
import { type FormEvent, useId, useState } from 'react';
import { Button } from '../../ui/Button';
import type { Summary } from '../api';
import styles from './Reason.module.css';

interface Props {
  readonly summary: Summary;
  readonly hasKey: boolean;
  readonly threshold: number;
  readonly keys: number;
  readonly onNeedKey: () => void;
  /** Answers with what went wrong. */
  readonly onStart: (reason: string) => Promise<string | null>;
}

export function Reason({ summary, hasKey, threshold, keys, onNeedKey, onStart }: Props) {
  const { i18n } = useLingui();
  const [reason, setReason] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const id = useId();

  const start = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy || !reason.trim()) return;
    setBusy(true);
    setProblem(null);
    const wrong = await onStart(reason.trim());
    setBusy(false);
    setProblem(wrong);
  };

  if (summary.state === 'expired') {
    return (
      <section className={styles.panel}>
        <LockKeyhole size={32} aria-hidden />
        <h2>{i18n._('This recording has expired')}</h2>
        <p>{i18n._('Its key was destroyed, and no copy of it can be opened any more.')}</p>
      </section>
    );
  }
  return (
    <section className={styles.panel}>
      <LockKeyhole size={32} aria-hidden />
      <h2>{i18n._('This recording is sealed')}</h2>
      <p>
        {i18n._(
          'Say why you open it. The reason, your name, every second that you watch and every export are kept in the audit log for good.',
        )}
      </p>
      {threshold > 1 && (
        <p>
          {i18n._('It takes the keys of {threshold} officers; {keys} loaded.', { threshold, keys })}
        </p>
      )}
      <form className={styles.form} onSubmit={(event) => void start(event)}>
        <label htmlFor={id}>{i18n._('Reason')}</label>
        <textarea
          id={id}
          rows={3}
          maxLength={500}
          value={reason}
          onChange={(event) => setReason(event.target.value)}
          data-testid="reason"
        />
        {hasKey ? (
          <Button
            type="submit"
            look="primary"
            isDisabled={isBusy || !reason.trim()}
            data-testid="release"
          >
            {isBusy ? i18n._('Opening…') : i18n._('Open the recording')}
          </Button>
        ) : (
          <Button look="primary" onPress={onNeedKey}>
            {i18n._('Load your key first')}
          </Button>
        )}
        {problem && (
          <p className={styles.problem} role="alert">
            {problem}
          </p>
        )}
      </form>
    </section>
  );
}
