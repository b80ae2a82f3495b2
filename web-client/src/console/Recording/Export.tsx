/** Takes tracks and events out as files, made in the browser; the server logs it first. */
import { useLingui } from '@lingui/react';
import { useEffect, useState } from 'react';
import { codecOf } from '../../archive/depacketize';
import { Button } from '../../ui/Button';
import type { Detail } from '../api';
import { refusalWords, size } from '../words';
import styles from './Panel.module.css';
import type { Findings, ReplaySession } from './session';

interface Props {
  readonly detail: Detail;
  readonly session: ReplaySession | null;
  readonly findings: Findings | null;
}

interface Ready {
  readonly name: string;
  readonly url: string;
  readonly bytes: number;
}

export function Export({ detail, session, findings }: Props) {
  const { i18n } = useLingui();
  const [left, setLeft] = useState<ReadonlySet<number>>(new Set());
  const [files, setFiles] = useState<readonly Ready[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => () => files.forEach((file) => void URL.revokeObjectURL(file.url)), [files]);

  if (!session || !findings) {
    return <p className={styles.quiet}>{i18n._('Open the recording first.')}</p>;
  }
  const { recording, progress } = findings;
  const tracks = recording.lanes.flatMap((lane) => lane.tracks);
  const playable = tracks.filter((track) => codecOf(track.mime) && !track.encrypted);
  const chosen = playable.filter((track) => !left.has(track.track));

  const run = async () => {
    setProblem(null);
    try {
      const made = await session.export(chosen.map((track) => track.track));
      const events = new Blob([JSON.stringify(statement(session.current(), detail), null, 2)], {
        type: 'application/json',
      });
      setFiles(
        [...made, { name: `${recording.recording}-events.json`, blob: events }].map(
          ({ name, blob }) => ({ name, url: URL.createObjectURL(blob), bytes: blob.size }),
        ),
      );
    } catch (error) {
      setProblem(refusalWords(i18n, error));
    }
  };

  return (
    <>
      <p className={styles.quiet}>
        {i18n._(
          'Exported files are no longer sealed. Your name, the time and what you took are in the audit log before you can save them.',
        )}
      </p>
      <fieldset className={styles.checks}>
        <legend>{i18n._('Tracks')}</legend>
        {tracks.map((track) => {
          const person = recording.people.find((one) =>
            one.participants.includes(track.participant),
          );
          const isPlayable = playable.includes(track);
          return (
            <label key={track.track}>
              <input
                type="checkbox"
                disabled={!isPlayable}
                checked={isPlayable && !left.has(track.track)}
                onChange={(event) => {
                  const next = new Set(left);
                  if (event.target.checked) next.delete(track.track);
                  else next.add(track.track);
                  setLeft(next);
                }}
              />
              {track.track} ·{' '}
              {person?.name ?? i18n._('Participant {number}', { number: track.participant })} ·{' '}
              {track.mime.replace(/^(audio|video)\//, '')}
              {!isPlayable && ` · ${i18n._('not playable')}`}
            </label>
          );
        })}
      </fieldset>
      <Button
        look="primary"
        isDisabled={progress !== null}
        onPress={() => void run()}
        data-testid="export"
      >
        {progress === null ? i18n._('Make the files') : i18n._('Making the files…')}
      </Button>
      {progress !== null && (
        <progress
          className={styles.progress}
          max={1}
          value={progress}
          aria-label={i18n._('Progress')}
        />
      )}
      {problem && (
        <p className={styles.problem} role="alert">
          {problem}
        </p>
      )}
      {files.length > 0 && (
        <ul className={styles.files} data-testid="exported">
          {files.map((file) => (
            <li key={file.name}>
              <a href={file.url} download={file.name}>
                {file.name}
              </a>{' '}
              <span className={styles.quiet}>{size(file.bytes)}</span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** What happened and how far it is proven, beside the media. */
function statement(findings: Findings, detail: Detail) {
  const { recording, events, faults, covered } = findings;
  return {
    version: 1,
    recording: recording.recording,
    room: recording.room,
    started: recording.started,
    duration_us: recording.duration,
    participants: recording.people,
    tracks: recording.lanes.flatMap((lane) => lane.tracks),
    gaps: recording.gaps,
    events,
    verification: { documents: recording.documentFaults, faults, covered },
    retention: detail.summary.retention,
  };
}
