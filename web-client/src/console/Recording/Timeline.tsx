/**
 * The whole recording at a glance: who was there, who spoke, what was muted, what happened, what was
 * never recorded (hatched) and what was checked. Pressing it seeks; it can be zoomed.
 */
import { useLingui } from '@lingui/react';
import { Eye, EyeOff, Headphones, Maximize, Volume2, VolumeX } from 'lucide-react';
import { memo, type PointerEvent, useEffect, useMemo, useRef } from 'react';
import type { Lane, Person } from '../../archive/lanes';
import type { Player, PlayerState } from '../../archive/player';
import { eventWord, span } from '../words';
import { useName } from './Stage';
import type { Findings } from './session';
import { muted, type Span, speaking } from './spans';
import styles from './Timeline.module.css';

interface Props {
  readonly player: Player;
  readonly state: PlayerState;
  readonly findings: Findings;
  readonly zoom: number;
}

/** Marks on the ruler that are readable beside each other at zoom 1. */
const MARKS = 8;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export function Timeline({ player, state, findings, zoom }: Props) {
  const { i18n } = useLingui();
  const { duration } = player;
  const scroll = useRef<HTMLDivElement>(null);
  const area = useRef<HTMLDivElement>(null);
  const at = percent(state.position, duration);

  // A zoomed timeline follows the position.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the zoom changes what is visible.
  useEffect(() => {
    const [frame, inner] = [scroll.current, area.current];
    if (!frame || !inner) return;
    const head = inner.offsetLeft;
    const x = head + (inner.clientWidth * at) / 100;
    if (x < frame.scrollLeft + head || x > frame.scrollLeft + frame.clientWidth - 20) {
      frame.scrollLeft = x - head - (frame.clientWidth - head) / 2;
    }
  }, [at, zoom]);

  const seek = (event: PointerEvent<HTMLDivElement>) => {
    if (event.buttons !== 1) return;
    const box = event.currentTarget.getBoundingClientRect();
    player.seek(((event.clientX - box.left) / box.width) * duration);
  };

  return (
    <div className={styles.timeline} ref={scroll} data-testid="timeline">
      <div className={`${styles.inner} ${styles[`zoom${zoom}`]}`}>
        <div className={styles.heads}>
          <Heads player={player} findings={findings} state={state} />
        </div>
        <div
          ref={area}
          className={styles.area}
          role="slider"
          tabIndex={0}
          aria-label={i18n._('Position')}
          aria-valuemin={0}
          aria-valuemax={Math.round(duration / 1e6)}
          aria-valuenow={Math.round(state.position / 1e6)}
          aria-valuetext={i18n._('{at} of {length}', {
            at: span(state.position),
            length: span(duration),
          })}
          onPointerDown={seek}
          onPointerMove={seek}
        >
          <Rows findings={findings} duration={duration} zoom={zoom} />
          <div className={styles.playhead} style={{ left: `${at}%` }} />
        </div>
      </div>
    </div>
  );
}

function Heads({
  player,
  findings,
}: {
  readonly player: Player;
  readonly findings: Findings;
  readonly state: PlayerState;
}) {
  const { i18n } = useLingui();
  const { people, lanes } = findings.recording;
  return (
    <>
      <div className={`${styles.head} ${styles.short}`}>{i18n._('Checked')}</div>
      <div className={`${styles.head} ${styles.short}`}>{i18n._('Events')}</div>
      {people.flatMap((person) => [
        <PersonHead key={`person ${person.id}`} person={person} />,
        ...lanes
          .filter((lane) => lane.person === person.id)
          .map((lane) => <LaneHead key={`lane ${lane.id}`} lane={lane} player={player} />),
      ])}
    </>
  );
}

function PersonHead({ person }: { readonly person: Person }) {
  return <div className={`${styles.head} ${styles.person}`}>{useName(person)}</div>;
}

function LaneHead({ lane, player }: { readonly lane: Lane; readonly player: Player }) {
  const { i18n } = useLingui();
  const name = useLaneWord(lane);
  const isMuted = player.isMuted(lane.id);
  const isSolo = player.isSolo(lane.id);
  const isSound = lane.kind === 'audio';
  const Off = isSound ? (isMuted ? VolumeX : Volume2) : isMuted ? EyeOff : Eye;
  const Only = isSound ? Headphones : Maximize;
  return (
    <div className={styles.head}>
      <span className={styles.medium}>{name}</span>
      {lane.playable === 'yes' && (
        <>
          <button
            type="button"
            className={styles.switch}
            aria-pressed={isMuted}
            aria-label={isSound ? i18n._('Mute {name}', { name }) : i18n._('Hide {name}', { name })}
            onClick={() => player.toggle('muted', lane.id)}
          >
            <Off size={14} aria-hidden />
          </button>
          <button
            type="button"
            className={styles.switch}
            aria-pressed={isSolo}
            aria-label={i18n._('Only {name}', { name })}
            onClick={() => player.toggle('solo', lane.id)}
          >
            <Only size={14} aria-hidden />
          </button>
        </>
      )}
    </div>
  );
}

function useLaneWord(lane: Lane): string {
  const { i18n } = useLingui();
  switch (lane.medium) {
    case 'camera':
      return i18n._('Camera');
    case 'microphone':
      return i18n._('Microphone');
    case 'screen':
      return i18n._('Screen');
    case 'screen-sound':
      return i18n._('Screen sound');
    default:
      return lane.kind === 'audio' ? i18n._('Sound') : i18n._('Picture');
  }
}

interface RowsProps {
  readonly findings: Findings;
  readonly duration: number;
  readonly zoom: number;
}

/** Drawn anew when something was found, not with every tick of the clock. */
const Rows = memo(function Rows({ findings, duration, zoom }: RowsProps) {
  const { i18n } = useLingui();
  const { recording, covered, events } = findings;
  const { people, lanes, gaps } = recording;
  const marks = useMemo(() => ruler(duration, zoom), [duration, zoom]);
  const isShown = (type: string) => type !== 'speaking' && type !== 'layer';
  return (
    <>
      {marks.map((mark) => (
        <span key={mark} className={styles.mark} style={{ left: `${percent(mark, duration)}%` }}>
          {span(mark)}
        </span>
      ))}
      <div className={`${styles.row} ${styles.short}`}>
        {covered.map((one) => (
          <Stretch
            key={`${one.from} ${one.isGood}`}
            span={one}
            duration={duration}
            look={one.isGood ? styles.checked : styles.broken}
          />
        ))}
      </div>
      <div className={`${styles.row} ${styles.short}`}>
        {events
          .filter((event) => isShown(event.type))
          .map((event) => (
            <span
              key={`${event.type} ${event.at_us} ${event.participant} ${event.track}`}
              className={styles.event}
              style={{ left: `${percent(event.at_us, duration)}%` }}
              title={`${span(event.at_us)} ${eventWord(i18n, event.type)}`}
              data-event={event.type}
              data-at={event.at_us}
            />
          ))}
      </div>
      {people.flatMap((person) => [
        <div
          key={`person ${person.id}`}
          className={`${styles.row} ${styles.personRow}`}
          data-row="person"
          data-person={person.id}
        >
          {person.presence.map((one) => (
            <Stretch key={one.from} span={one} duration={duration} look={styles.present} />
          ))}
          {speaking(events, person, duration).map((one) => (
            <Stretch key={one.from} span={one} duration={duration} look={styles.speaking} />
          ))}
        </div>,
        ...lanes
          .filter((lane) => lane.person === person.id)
          .map((lane) => (
            <div key={`lane ${lane.id}`} className={styles.row} data-row="lane" data-lane={lane.id}>
              {lane.tracks.map((track) => (
                <Stretch
                  key={track.track}
                  span={{ from: track.from_us, until: Math.min(track.until_us, duration) }}
                  duration={duration}
                  look={lane.kind === 'audio' ? styles.sound : styles.picture}
                />
              ))}
              {muted(events, lane, duration).map((one) => (
                <Stretch key={one.from} span={one} duration={duration} look={styles.muted} />
              ))}
              {gaps
                .filter((gap) => isOf(gap.packets, lane))
                .map((gap) => (
                  <Stretch
                    key={gap.from_us}
                    span={{ from: gap.from_us, until: gap.until_us }}
                    duration={duration}
                    look={styles.gap}
                  />
                ))}
            </div>
          )),
      ])}
    </>
  );
});

function Stretch({
  span: { from, until },
  duration,
  look,
}: {
  readonly span: Span;
  readonly duration: number;
  readonly look: string | undefined;
}) {
  const width = Math.max(0.05, percent(until, duration) - percent(from, duration));
  return (
    <span
      className={`${styles.stretch} ${look ?? ''}`}
      style={{ left: `${percent(from, duration)}%`, width: `${width}%` }}
    />
  );
}

/** A gap that names no tracks is one of all of them. */
function isOf(packets: { readonly [track: string]: number } | undefined, lane: Lane): boolean {
  if (!packets || Object.keys(packets).length === 0) return true;
  return lane.tracks.some((track) => packets[String(track.track)] !== undefined);
}

function ruler(duration: number, zoom: number): number[] {
  const wanted = duration / 1e6 / (MARKS * zoom);
  const step = STEPS_S.find((one) => one >= wanted) ?? Math.ceil(wanted / 3600) * 3600;
  const count = Math.floor(duration / 1e6 / step);
  return Array.from({ length: count + 1 }, (_, n) => n * step * 1e6);
}

function percent(at: number, duration: number): number {
  return duration > 0 ? Math.max(0, Math.min(100, (at / duration) * 100)) : 0;
}
