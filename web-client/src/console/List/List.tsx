/** The officer's recordings, newest first. Names appear as soon as his key opens their index. */
import { useLingui } from '@lingui/react';
import { CircleAlert, CircleCheck, CircleDashed, Lock, RefreshCw } from 'lucide-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import type { NamesOf } from '../../archive/protocol';
import { Button } from '../../ui/Button';
import type { Api, LifeState, Summary } from '../api';
import type { Vault } from '../vault';
import { day, moment, refusalWords, size, span, stateWord } from '../words';
import { classes, EVERYTHING, type Filter, filtered } from './filter';
import styles from './List.module.css';

interface Props {
  readonly api: Api;
  readonly vault: Vault;
  readonly officers: readonly string[];
}

/** Rows drawn at first, and more with every press. */
const PAGE = 200;
/** Names are asked for in lumps, so that the first appear at once. */
const NAMES = 40;
const STATES: readonly LifeState[] = ['open', 'closed', 'incomplete', 'expired'];

export function List({ api, vault, officers }: Props) {
  const { i18n } = useLingui();
  const [recordings, setRecordings] = useState<readonly Summary[] | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [filter, setFilter] = useState<Filter>(EVERYTHING);
  const [shown, setShown] = useState(PAGE);
  const [tries, setTries] = useState(0);
  const names = useNames(vault, recordings, officers);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `tries` asks again.
  useEffect(() => {
    let isGone = false;
    api.list().then(
      (list) => {
        if (isGone) return;
        setRecordings(list);
        setProblem(null);
      },
      (error) => !isGone && setProblem(error),
    );
    return () => {
      isGone = true;
    };
  }, [api, tries]);

  const found = useMemo(
    () => filtered(recordings ?? [], names, filter),
    [recordings, names, filter],
  );
  const set = (change: Partial<Filter>) => {
    setFilter({ ...filter, ...change });
    setShown(PAGE);
  };

  return (
    <div className={styles.page} data-testid="list">
      <div className={styles.head}>
        <h1>{i18n._('Recordings')}</h1>
        <Button size="small" look="quiet" onPress={() => setTries(tries + 1)}>
          <RefreshCw size={16} aria-hidden />
          {i18n._('Refresh')}
        </Button>
      </div>
      <search className={styles.filters} aria-label={i18n._('Filter')}>
        <label className={styles.words}>
          {i18n._('Search')}
          <input
            type="search"
            value={filter.words}
            placeholder={
              officers.length > 0
                ? i18n._('Name, room, case or number')
                : i18n._('Number or case; load your key to search names')
            }
            onChange={(event) => set({ words: event.target.value })}
          />
        </label>
        <label>
          {i18n._('State')}
          <select
            value={filter.state}
            onChange={(event) => set({ state: event.target.value as Filter['state'] })}
          >
            <option value="">{i18n._('All')}</option>
            {STATES.map((state) => (
              <option key={state} value={state}>
                {stateWord(i18n, state)}
              </option>
            ))}
          </select>
        </label>
        <label>
          {i18n._('Retention class')}
          <select value={filter.class} onChange={(event) => set({ class: event.target.value })}>
            <option value="">{i18n._('All')}</option>
            {classes(recordings ?? []).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label>
          {i18n._('From')}
          <input
            type="date"
            value={filter.from}
            onChange={(event) => set({ from: event.target.value })}
          />
        </label>
        <label>
          {i18n._('To')}
          <input
            type="date"
            value={filter.until}
            onChange={(event) => set({ until: event.target.value })}
          />
        </label>
      </search>
      {problem !== null && (
        <p className={styles.problem} role="alert">
          {refusalWords(i18n, problem)}
        </p>
      )}
      {recordings && table()}
      {found.length > shown && (
        <Button onPress={() => setShown(shown + PAGE)}>{i18n._('Show more')}</Button>
      )}
    </div>
  );

  function table() {
    return (
      <>
        <p className={styles.count} role="status">
          {i18n._('{count, plural, one {# recording} other {# recordings}}', {
            count: found.length,
          })}
        </p>
        <div className={styles.frame}>
          <table className={styles.table}>
            <thead>
              <tr>
                <th scope="col">{i18n._('Started')}</th>
                <th scope="col">{i18n._('Room and participants')}</th>
                <th scope="col">{i18n._('State')}</th>
                <th scope="col" className={styles.number}>
                  {i18n._('Length')}
                </th>
                <th scope="col" className={styles.number}>
                  {i18n._('People')}
                </th>
                <th scope="col">{i18n._('Verification')}</th>
                <th scope="col">{i18n._('Kept until')}</th>
                <th scope="col">{i18n._('Legal holds')}</th>
              </tr>
            </thead>
            <tbody>
              {found.slice(0, shown).map((one) => (
                <Row key={one.id} summary={one} names={names.get(one.id)} />
              ))}
            </tbody>
          </table>
        </div>
      </>
    );
  }
}

function Row({
  summary,
  names,
}: {
  readonly summary: Summary;
  readonly names: NamesOf | undefined;
}) {
  const { i18n } = useLingui();
  const { state } = summary;
  return (
    <tr data-testid="row" data-recording={summary.id}>
      <td className={styles.time}>
        <a href={`#recording=${summary.id}`}>{moment(i18n, summary.started)}</a>
      </td>
      <td className={styles.who}>
        {names ? (
          <>
            <strong>{names.room}</strong>
            <span>{names.people.join(i18n._(', '))}</span>
          </>
        ) : (
          <code>{summary.room_sid}</code>
        )}
      </td>
      <td>
        <span className={`${styles.state} ${styles[state]}`}>{stateWord(i18n, state)}</span>
      </td>
      <td className={styles.number}>
        {span(summary.duration_us)}
        <small>{size(summary.bytes)}</small>
      </td>
      <td className={styles.number}>{summary.participants}</td>
      <td>
        <Verified summary={summary} />
      </td>
      <td>
        {day(i18n, summary.retention.until)}
        <small>{summary.retention.class}</small>
      </td>
      <td className={styles.holds}>
        {summary.holds.length > 0 && (
          <>
            <Lock size={14} aria-hidden /> {summary.holds.join(', ')}
          </>
        )}
      </td>
    </tr>
  );
}

export function Verified({ summary }: { readonly summary: Summary }) {
  const { i18n } = useLingui();
  const { verification } = summary;
  if (!verification) {
    return (
      <span className={styles.unchecked}>
        <CircleDashed size={16} aria-hidden /> {i18n._('Not checked yet')}
      </span>
    );
  }
  return (
    <span className={verification.intact ? styles.good : styles.bad}>
      {verification.intact ? (
        <CircleCheck size={16} aria-hidden />
      ) : (
        <CircleAlert size={16} aria-hidden />
      )}{' '}
      {verification.intact ? i18n._('Intact') : i18n._('Not intact')}
      <small>{day(i18n, verification.at)}</small>
    </span>
  );
}

function useNames(
  vault: Vault,
  recordings: readonly Summary[] | null,
  officers: readonly string[],
): ReadonlyMap<string, NamesOf> {
  const [names, setNames] = useState<ReadonlyMap<string, NamesOf>>(new Map());
  const turn = useRef(0);
  useEffect(() => {
    turn.current += 1;
    const mine = turn.current;
    if (officers.length === 0) {
      setNames(new Map());
      return;
    }
    const wanted = (recordings ?? [])
      .filter((one) => one.state !== 'expired')
      .map((one) => ({ recording: one.id, isResumable: one.state !== 'closed' }));
    const read = async () => {
      for (let at = 0; at < wanted.length && mine === turn.current; at += NAMES) {
        const found = await vault.ask('names', { recordings: wanted.slice(at, at + NAMES) });
        if (mine !== turn.current) return;
        setNames(
          (before) => new Map([...before, ...found.map((one) => [one.recording, one] as const)]),
        );
      }
    };
    // Without names the list still works.
    read().catch(() => {});
  }, [vault, recordings, officers]);
  return names;
}
