/**
 * Takes an officer's identity file and its passphrase to the worker, which opens it there. For
 * recordings that several officers open together, each brings his own, one after the other.
 */
import { useLingui } from '@lingui/react';
import { type FormEvent, useEffect, useId, useRef, useState } from 'react';
import { Button } from '../../ui/Button';
import type { Vault } from '../vault';
import { refusalWords } from '../words';
import styles from './KeyLoader.module.css';

interface Props {
  readonly vault: Vault;
  readonly officers: readonly string[];
  readonly onUnlocked: (recipient: string) => void;
  readonly onForget: () => void;
  readonly onClose: () => void;
}

/** An identity file has some hundred bytes. */
const FILE_BYTES_MAX = 64 << 10;

export function KeyLoader({ vault, officers, onUnlocked, onForget, onClose }: Props) {
  const { i18n } = useLingui();
  const [file, setFile] = useState<File | null>(null);
  const [passphrase, setPassphrase] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const input = useRef<HTMLInputElement>(null);
  const ids = { file: useId(), passphrase: useId() };
  useEffect(() => input.current?.focus(), []);

  const load = async (event: FormEvent) => {
    event.preventDefault();
    if (!file || isBusy) return;
    setBusy(true);
    setProblem(null);
    try {
      if (file.size > FILE_BYTES_MAX) throw new RangeError();
      const bytes = new Uint8Array(await file.arrayBuffer());
      const opened = await vault.ask('unlock', { file: bytes, passphrase });
      if (opened.kind === 'unlocked') {
        setPassphrase('');
        onUnlocked(opened.recipient);
        return;
      }
      setProblem(
        opened.kind === 'wrong-passphrase'
          ? i18n._('The passphrase does not open this file.')
          : i18n._('This file is not an officer’s key.'),
      );
    } catch (error) {
      setProblem(
        error instanceof RangeError
          ? i18n._('This file is not an officer’s key.')
          : refusalWords(i18n, error),
      );
    } finally {
      setBusy(false);
    }
  };

  return (
    <section
      className={styles.loader}
      aria-label={i18n._('Officer’s key')}
      data-testid="key-loader"
    >
      <form className={styles.form} onSubmit={(event) => void load(event)}>
        <div className={styles.field}>
          <label htmlFor={ids.file}>{i18n._('Key file')}</label>
          <input
            ref={input}
            id={ids.file}
            className={styles.file}
            type="file"
            onChange={(event) => setFile(event.target.files?.[0] ?? null)}
          />
        </div>
        <div className={styles.field}>
          <label htmlFor={ids.passphrase}>{i18n._('Passphrase')}</label>
          <input
            id={ids.passphrase}
            type="password"
            autoComplete="off"
            value={passphrase}
            onChange={(event) => setPassphrase(event.target.value)}
          />
        </div>
        <Button type="submit" look="primary" isDisabled={!file || isBusy} data-testid="key-open">
          {isBusy ? i18n._('Opening…') : i18n._('Open key')}
        </Button>
        {officers.length > 0 && <Button onPress={onForget}>{i18n._('Forget all keys')}</Button>}
        <Button look="quiet" onPress={onClose}>
          {i18n._('Close')}
        </Button>
      </form>
      <p className={styles.note}>
        {i18n._(
          'The key stays in this browser tab. It is never sent to the server and is gone when the tab is closed.',
        )}
      </p>
      {officers.length > 0 && (
        <ul className={styles.keys}>
          {officers.map((recipient) => (
            <li key={recipient}>
              <code>{recipient}</code>
            </li>
          ))}
        </ul>
      )}
      {problem && (
        <p className={styles.problem} role="alert">
          {problem}
        </p>
      )}
    </section>
  );
}
