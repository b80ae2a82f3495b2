/** Everybody who is or was there, each in a tile; shared screens larger. */
import type { I18n } from '@lingui/core';
import { useLingui } from '@lingui/react';
import { MicOff, MonitorUp, VideoOff } from 'lucide-react';
import { useEffect, useMemo, useRef } from 'react';
import { type Lane, type Person, trackAt } from '../../archive/lanes';
import type { Missing, PlayerState } from '../../archive/player';
import { gapWords } from '../words';
import styles from './Stage.module.css';
import type { Findings, ReplaySession } from './session';
import { isWithin, muted, speaking } from './spans';
import { Watermark } from './Watermark';

interface Props {
  readonly session: ReplaySession;
  readonly findings: Findings;
  readonly state: PlayerState;
  readonly officer: string;
}

/** More tiles than that are too small to be looked at. */
const TILES_MAX = 8;

export function Stage({ session, findings, state, officer }: Props) {
  const { i18n } = useLingui();
  const { player } = session;
  const { people, lanes, gaps } = findings.recording;
  const at = state.position;
  const spoken = useMemo(
    () => new Map(people.map((one) => [one.id, speaking(findings.events, one, player.duration)])),
    [people, findings.events, player.duration],
  );

  const videos = lanes.filter((lane) => lane.kind === 'video' && player.isOn(lane));
  const screens = videos.filter((lane) => lane.medium !== 'camera' && trackAt(lane, at));
  const solo = lanes.some((lane) => lane.kind === 'video' && player.isSolo(lane.id));
  // Those who are there first, so that the eighth tile is never somebody absent.
  const shown = [...people]
    .filter(
      (one) => !solo || videos.some((lane) => lane.person === one.id && lane.medium === 'camera'),
    )
    .sort((a, b) => Number(isHere(b, at)) - Number(isHere(a, at)) || a.id - b.id)
    .slice(0, Math.max(1, TILES_MAX - screens.length))
    .sort((a, b) => a.id - b.id);
  const gap = gaps.find((one) => at >= one.from_us && at < one.until_us);
  const count = shown.length + screens.length * 3;
  // Beside a single screen people stand in one column as long as they are not too small there.
  const isOneColumn = screens.length === 1 && shown.length <= 4;
  const columns = isOneColumn ? 3 : Math.max(1, Math.ceil(Math.sqrt(count)));
  const rows = isOneColumn ? Math.max(2, shown.length) : 2;

  return (
    <div className={styles.stage} data-testid="stage">
      <div className={`${styles.grid} ${styles[`columns${Math.min(4, columns)}`]}`}>
        {screens.map((lane) => (
          <ScreenTile
            key={lane.id}
            lane={lane}
            session={session}
            person={people.find((one) => one.id === lane.person)}
            missing={state.missing.get(lane.id)}
            rows={rows}
          />
        ))}
        {shown.map((person) => (
          <PersonTile
            key={person.id}
            person={person}
            session={session}
            findings={findings}
            at={at}
            missing={state.missing}
            isSpeaking={isWithin(spoken.get(person.id) ?? [], at)}
          />
        ))}
      </div>
      <Sounds session={session} lanes={lanes} />
      <Watermark officer={officer} />
      {gap && (
        <p className={styles.gap} role="status">
          {gapWords(i18n, gap)}
        </p>
      )}
      {(state.isWaiting || !state.isSettled) && (
        <p className={styles.waiting}>{i18n._('Loading…')}</p>
      )}
    </div>
  );
}

interface PersonProps {
  readonly person: Person;
  readonly session: ReplaySession;
  readonly findings: Findings;
  readonly at: number;
  readonly missing: PlayerState['missing'];
  readonly isSpeaking: boolean;
}

/** Why a tile shows no picture. */
type Absence = 'away' | 'not-playable' | 'hidden' | 'off' | 'lost' | Missing;

function PersonTile({ person, session, findings, at, missing, isSpeaking }: PersonProps) {
  const { i18n } = useLingui();
  const { recording, events } = findings;
  const mine = recording.lanes.filter((lane) => lane.person === person.id);
  const camera = mine.find((lane) => lane.medium === 'camera');
  const microphone = mine.find((lane) => lane.medium === 'microphone');
  const name = useName(person);
  const isHereNow = isHere(person, at);
  const track = camera ? trackAt(camera, at) : null;
  const duration = recording.duration;
  const isOff = !track || (camera ? isWithin(muted(events, camera, duration), at) : true);
  const isSilent =
    !microphone || !trackAt(microphone, at) || isWithin(muted(events, microphone, duration), at);
  const isHidden = camera !== undefined && !session.player.isOn(camera);
  const absence = absenceNow();
  return (
    <figure
      className={`${styles.tile} ${isSpeaking && isHereNow ? styles.speaking : ''}`}
      data-testid="tile"
      data-person={person.id}
      data-identity={person.identity ?? ''}
      data-speaking={isSpeaking && isHereNow}
      data-picture={absence ?? 'shown'}
    >
      {camera && camera.playable === 'yes' && (
        <Media session={session} lane={camera.id} absence={absence} />
      )}
      {absence !== null && (
        <div className={`${styles.cover} ${absence === 'late' ? styles.late : ''}`}>
          {isHereNow && <VideoOff size={28} aria-hidden />}
          <span>{words(absence)}</span>
        </div>
      )}
      <figcaption className={styles.name}>
        {isSilent && isHereNow && <MicOff size={14} aria-label={i18n._('Muted')} />}
        <span>{name}</span>
      </figcaption>
    </figure>
  );

  function absenceNow(): Absence | null {
    if (!isHereNow) return 'away';
    if (camera && camera.playable !== 'yes') return 'not-playable';
    if (isHidden) return 'hidden';
    if (isOff || !camera) return 'off';
    if (session.player.lanes.get(camera.id)?.isLost(at)) return 'lost';
    return missing.get(camera.id) ?? null;
  }

  function words(why: Absence): string {
    switch (why) {
      case 'away':
        return i18n._('Not present');
      case 'not-playable':
        return camera ? playableWords(i18n, camera) : '';
      case 'hidden':
        return i18n._('Hidden by you');
      case 'off':
        return i18n._('Camera off');
      case 'lost':
        return i18n._('Picture lost here');
      default:
        return missingWords(i18n, why);
    }
  }
}

function playableWords(i18n: I18n, lane: Lane): string {
  return lane.playable === 'encrypted'
    ? i18n._('End-to-end encrypted: not playable here')
    : i18n._('This codec is not playable here: {mime}', { mime: lane.tracks[0]?.mime ?? '' });
}

function missingWords(i18n: I18n, why: Missing): string {
  return why === 'nothing' ? i18n._('No picture recorded here') : i18n._('The picture is late');
}

interface ScreenProps {
  readonly lane: Lane;
  readonly session: ReplaySession;
  readonly person: Person | undefined;
  readonly missing: Missing | undefined;
  readonly rows: number;
}

function ScreenTile({ lane, session, person, missing, rows }: ScreenProps) {
  const { i18n } = useLingui();
  const name = useName(person);
  const absence = lane.playable === 'yes' ? (missing ?? null) : 'not-playable';
  return (
    <figure
      className={`${styles.tile} ${styles.screen} ${styles[`rows${rows}`]}`}
      data-testid="screen"
      data-person={lane.person}
      data-picture={absence ?? 'shown'}
    >
      {lane.playable === 'yes' && <Media session={session} lane={lane.id} absence={absence} />}
      {absence !== null && (
        <div className={`${styles.cover} ${absence === 'late' ? styles.late : ''}`}>
          {absence === 'not-playable' ? playableWords(i18n, lane) : missingWords(i18n, absence)}
        </div>
      )}
      <figcaption className={styles.name}>
        <MonitorUp size={14} aria-hidden />
        <span>{i18n._('Screen of {name}', { name })}</span>
      </figcaption>
    </figure>
  );
}

/**
 * The element belongs to the player; here it only finds its place. A picture that is late stays
 * below its cover: what is hidden is never presented, and would be late for ever.
 */
function Media({
  session,
  lane,
  absence,
}: {
  readonly session: ReplaySession;
  readonly lane: number;
  readonly absence: Absence | null;
}) {
  const isCovered = absence !== null && absence !== 'late';
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = session.player.lanes.get(lane)?.element;
    if (element) place.current?.append(element);
    return () => element?.remove();
  }, [session, lane]);
  return <div ref={place} className={`${styles.media} ${isCovered ? styles.covered : ''}`} />;
}

/** Sound needs no tile, but its elements stand in the document, where tests find them. */
function Sounds({
  session,
  lanes,
}: {
  readonly session: ReplaySession;
  readonly lanes: readonly Lane[];
}) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    for (const lane of lanes) {
      const element = session.player.lanes.get(lane.id)?.element;
      if (lane.kind === 'audio' && element) place.current?.append(element);
    }
  }, [session, lanes]);
  return <div ref={place} hidden />;
}

export function useName(person: Person | undefined): string {
  const { i18n } = useLingui();
  return person?.name ?? i18n._('Participant {number}', { number: person?.id ?? 0 });
}

function isHere(person: Person, at: number): boolean {
  return person.presence.some((span) => at >= span.from && at < span.until);
}
