/** One recording: what is known in the clear at once, and its replay after a reason was given. */
import { useLingui } from '@lingui/react';
import { ArrowLeft } from 'lucide-react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { fromBase64 } from '../../archive/bytes';
import type { Api, Detail } from '../api';
import type { Vault } from '../vault';
import { moment, refusalWords, size, span, stateWord } from '../words';
import { Badge } from './Badge';
import { Reason } from './Reason';
import styles from './Recording.module.css';
import { Replay } from './Replay';
import { Side } from './Side';
import { ReplaySession } from './session';

interface Props {
  readonly id: string;
  /** Seconds to begin at. */
  readonly at: number | null;
  readonly api: Api;
  readonly vault: Vault;
  readonly officer: string;
  readonly officers: readonly string[];
  readonly onNeedKey: () => void;
}

export function Recording({ id, at, api, vault, officer, officers, onNeedKey }: Props) {
  const { i18n } = useLingui();
  const [detail, setDetail] = useState<Detail | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [session, setSession] = useState<ReplaySession | null>(null);
  const [name, setName] = useState<string | null>(null);

  const reload = useCallback(
    () =>
      api.detail(id).then(
        (found) => setDetail(found),
        (error) => setProblem(error),
      ),
    [api, id],
  );
  useEffect(() => {
    void reload();
  }, [reload]);

  // Closed when the page of the recording is left, not when it is drawn again.
  const open = useRef<ReplaySession | null>(null);
  useEffect(
    () => () => {
      open.current?.close();
      open.current = null;
    },
    [],
  );

  const start = async (reason: string): Promise<string | null> => {
    if (!detail) return null;
    const recipients = detail.header?.compliance.recipients ?? [];
    const mine = officers.find((one) => recipients.includes(one)) ?? officers[0];
    if (!mine) return i18n._('Load your key first.');
    try {
      const { replay, share } = await api.release(id, reason, mine);
      const opened = await vault.ask('open', {
        recording: id,
        replay,
        share: fromBase64(share),
        files: detail.files.map((file) => file.name),
        threshold: detail.header?.compliance.threshold ?? 1,
        clear: detail.manifest,
      });
      if (opened.kind !== 'open') {
        await api.end(replay).catch(() => {});
        return openWords(opened.kind === 'unreadable' ? opened.why : opened.kind);
      }
      const next = new ReplaySession(api, vault, replay, opened.recording, (at ?? 0) * 1e6);
      open.current?.close();
      open.current = next;
      setName(opened.recording.room);
      setSession(next);
      return null;
    } catch (error) {
      return refusalWords(i18n, error);
    }
  };

  if (problem !== null) {
    return (
      <div className={styles.lost}>
        <p role="alert">{refusalWords(i18n, problem)}</p>
        <a href="#list">{i18n._('Back to the list')}</a>
      </div>
    );
  }
  if (!detail) return <p className={styles.lost}>{i18n._('Loading…')}</p>;

  const { summary } = detail;
  return (
    <div className={styles.page} data-testid="recording" data-recording={id}>
      <div className={styles.head}>
        <a href="#list" className={styles.back}>
          <ArrowLeft size={18} aria-hidden />
          {i18n._('Recordings')}
        </a>
        <h1>{name || summary.room_sid}</h1>
        <span className={styles.quiet}>
          {moment(i18n, summary.started)} · {span(summary.duration_us)} · {size(summary.bytes)} ·{' '}
          {stateWord(i18n, summary.state)}
        </span>
        <span className={styles.space} />
        <Badge session={session} summary={summary} />
      </div>
      <div className={styles.body}>
        <div className={styles.left}>
          {session ? (
            <Replay session={session} officer={officer} />
          ) : (
            <Reason
              summary={summary}
              hasKey={officers.length > 0}
              threshold={detail.header?.compliance.threshold ?? 1}
              keys={officers.length}
              onNeedKey={onNeedKey}
              onStart={start}
            />
          )}
        </div>
        <Side api={api} detail={detail} session={session} onChanged={() => void reload()} />
      </div>
    </div>
  );

  function openWords(why: string): string {
    switch (why) {
      case 'too-few-shares':
        return i18n._('More officers are needed: let them load their keys here, too.');
      case 'wrong-key':
        return i18n._('Your key does not open what the server released.');
      default:
        return i18n._('The recording cannot be opened: {why}', { why });
    }
  }
}
