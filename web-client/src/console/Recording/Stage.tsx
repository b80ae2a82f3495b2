/** Everybody who is or was there, each in a tile; shared screens larger. */
import { useLingui } from '@lingui/react';
import { MicOff, MonitorUp, VideoOff } from 'lucide-react';
import { useEffect, useMemo, useRef } from 'react';
import { type Lane, type Person, trackAt } from '../../archive/lanes';
import type { PlayerState } from '../../archive/player';
import { gapWord } from '../words';
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
  const columns = Math.max(1, Math.ceil(Math.sqrt(count)));

  return (
    <div className={styles.stage} data-testid="stage">
      <div className={`${styles.grid} ${styles[`columns${Math.min(4, columns)}`]}`}>
        {screens.map((lane) => (
          <ScreenTile
            key={lane.id}
            lane={lane}
            session={session}
            person={people.find((one) => one.id === lane.person)}
          />
        ))}
        {shown.map((person) => (
          <PersonTile
            key={person.id}
            person={person}
            session={session}
            findings={findings}
            at={at}
            isSpeaking={isWithin(spoken.get(person.id) ?? [], at)}
          />
        ))}
      </div>
      <Sounds session={session} lanes={lanes} />
      <Watermark officer={officer} />
      {gap && (
        <p className={styles.gap} role="status">
          {i18n._('Nothing was recorded here: {reason}', { reason: gapWord(i18n, gap.reason) })}
        </p>
      )}
      {state.isWaiting && <p className={styles.waiting}>{i18n._('Loading…')}</p>}
    </div>
  );
}

interface PersonProps {
  readonly person: Person;
  readonly session: ReplaySession;
  readonly findings: Findings;
  readonly at: number;
  readonly isSpeaking: boolean;
}

function PersonTile({ person, session, findings, at, isSpeaking }: PersonProps) {
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
  const words = stateWords();
  return (
    <figure
      className={`${styles.tile} ${isSpeaking && isHereNow ? styles.speaking : ''}`}
      data-testid="tile"
      data-person={person.id}
      data-identity={person.identity ?? ''}
      data-speaking={isSpeaking && isHereNow}
    >
      {camera && camera.playable === 'yes' && (
        <Media session={session} lane={camera.id} isCovered={words !== null} />
      )}
      {words !== null && (
        <div className={styles.cover}>
          {isHereNow && <VideoOff size={28} aria-hidden />}
          <span>{words}</span>
        </div>
      )}
      <figcaption className={styles.name}>
        {isSilent && isHereNow && <MicOff size={14} aria-label={i18n._('Muted')} />}
        <span>{name}</span>
      </figcaption>
    </figure>
  );

  function stateWords(): string | null {
    if (!isHereNow) return i18n._('Not present');
    if (camera && camera.playable !== 'yes') return playableWords(camera);
    if (isHidden) return i18n._('Hidden by you');
    if (isOff) return i18n._('Camera off');
    const isLost = camera && session.player.lanes.get(camera.id)?.isLost(at);
    return isLost ? i18n._('Picture lost here') : null;
  }

  function playableWords(lane: Lane): string {
    return lane.playable === 'encrypted'
      ? i18n._('End-to-end encrypted: not playable here')
      : i18n._('This codec is not playable here: {mime}', { mime: lane.tracks[0]?.mime ?? '' });
  }
}

interface ScreenProps {
  readonly lane: Lane;
  readonly session: ReplaySession;
  readonly person: Person | undefined;
}

function ScreenTile({ lane, session, person }: ScreenProps) {
  const { i18n } = useLingui();
  const name = useName(person);
  return (
    <figure
      className={`${styles.tile} ${styles.screen}`}
      data-testid="screen"
      data-person={lane.person}
    >
      {lane.playable === 'yes' ? (
        <Media session={session} lane={lane.id} isCovered={false} />
      ) : (
        <div className={styles.cover}>
          {i18n._('This codec is not playable here: {mime}', { mime: lane.tracks[0]?.mime ?? '' })}
        </div>
      )}
      <figcaption className={styles.name}>
        <MonitorUp size={14} aria-hidden />
        <span>{i18n._('Screen of {name}', { name })}</span>
      </figcaption>
    </figure>
  );
}

/** The element belongs to the player; here it only finds its place. */
function Media({
  session,
  lane,
  isCovered,
}: {
  readonly session: ReplaySession;
  readonly lane: number;
  readonly isCovered: boolean;
}) {
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
