/**
 * The worker of the console: fetches, proves, opens and remuxes, off the page's thread. The officers'
 * identities and the recording's secret live here only and end with it.
 */
import { openFile, openWithPassphrase, recipientOf } from './age';
import { type Bytes, fromText } from './bytes';
import { Clocks } from './clock';
import { Delivery } from './delivery';
import { eventsOf, type ParticipantEntry, type TrackEntry } from './documents';
import { exportTracks } from './export';
import { type Lane, lanes, type Person, people } from './lanes';
import type {
  Failure,
  FromWorker,
  Named,
  NamesOf,
  Opened,
  OpenRequest,
  Question,
  Questions,
  ToWorker,
  Unlocked,
} from './protocol';
import { indexesOf, openNames, openSecret, Recording, TooFewShares } from './recording';
import { type Access, ServerSource, Unreachable } from './source';
import { survey } from './survey';

/** How far the first delivery reads before the player says more. */
const FIRST_AHEAD_US = 4_000_000;
/** Lists are long and every recording's names are a request. */
const NAMES_AT_ONCE = 6;

interface Session {
  readonly recording: Recording;
  readonly clocks: Clocks;
  participants: ParticipantEntry[];
  tracks: TrackEntry[];
  people: Person[];
  lanes: Lane[];
  readonly duration: number;
}

let access: Access = { base: '', token: '' };
const officers: string[] = [];
let session: Session | null = null;
let delivery: Delivery | null = null;

const answers: { [Q in Question]: (ask: Questions[Q]['ask']) => Promise<Questions[Q]['answer']> } =
  {
    async unlock({ file, passphrase }) {
      return unlock(file, passphrase);
    },

    async forget() {
      officers.length = 0;
      return null;
    },

    async names({ recordings }) {
      const found: NamesOf[] = [];
      const left = [...recordings];
      const work = async () => {
        for (let one = left.shift(); one; one = left.shift()) {
          const names = await namesOf(one);
          if (names) found.push(names);
        }
      };
      await Promise.all(Array.from({ length: NAMES_AT_ONCE }, work));
      return found;
    },

    async open(request) {
      return open(request);
    },

    async play({ from, delivery: number }) {
      delivery?.cancel();
      const now = session;
      if (!now) return null;
      const mine = deliver(now, from, number);
      delivery = mine;
      mine.run().catch((error) => {
        if (delivery === mine)
          tell({ news: 'failed', delivery: number, failure: failureOf(error) });
      });
      return null;
    },

    async ahead({ until }) {
      delivery?.extend(until);
      return null;
    },

    async export({ tracks }) {
      if (!session) return { files: [] };
      const wanted = session.tracks.filter((track) => tracks.includes(track.track));
      const { recording, clocks, duration } = session;
      return exportTracks(recording, clocks, session.tracks, wanted, duration, {
        progress: (share) => tell({ news: 'progress', share }),
        fault: (fault, at) => tell({ news: 'fault', fault, at }),
        covered: (stretches) => tell({ news: 'covered', stretches }),
        events: (events) => tell({ news: 'events', events }),
      });
    },

    async close() {
      delivery?.cancel();
      delivery = null;
      session = null;
      return null;
    },
  };

async function unlock(file: Bytes, passphrase: string): Promise<Unlocked> {
  let plain: string;
  try {
    plain = fromText(passphrase ? await openWithPassphrase(file, passphrase) : file);
  } catch {
    return { kind: 'wrong-passphrase' };
  }
  const identity = plain
    .split('\n')
    .find((line) => line.startsWith('AGE-SECRET-KEY-1'))
    ?.trim();
  if (!identity) return { kind: 'no-identity' };
  try {
    const recipient = await recipientOf(identity);
    if (!officers.includes(identity)) officers.push(identity);
    return { kind: 'unlocked', recipient };
  } catch {
    return { kind: 'no-identity' };
  }
}

async function namesOf({ recording, isResumable }: Named): Promise<NamesOf | null> {
  try {
    const source = new ServerSource(access, recording, null);
    const listed = isResumable ? await source.list() : ['index.age'];
    const files = await Promise.all(indexesOf(listed).map((name) => source.file(name)));
    const names = await openNames(
      files.filter((file) => file !== null),
      recording,
      officers,
    );
    if (!names) return null;
    const people = names.participants.map((one) => one.name || one.identity);
    return { recording, room: names.room, people: [...new Set(people)] };
  } catch {
    // A list without one name is better than no list.
    return null;
  }
}

async function open(request: OpenRequest): Promise<Opened> {
  delivery?.cancel();
  session = null;
  const source = new ServerSource(access, request.recording, request.replay);
  try {
    await openFile(request.share, officers);
  } catch {
    return { kind: 'wrong-key' };
  }
  try {
    const { share, threshold, recording: id, files } = request;
    const secret = await openSecret(source, id, officers, share, threshold);
    const recording = await Recording.open(source, id, files, secret, officers);
    secret.fill(0);
    session = await sessionOf(recording, request.clear);
  } catch (error) {
    if (error instanceof TooFewShares) return { kind: 'too-few-shares' };
    if (error instanceof Unreachable || error instanceof TypeError) throw error;
    return { kind: 'unreadable', why: error instanceof Error ? error.message : String(error) };
  }
  const { recording, duration } = session;
  const { manifest } = recording;
  return {
    kind: 'open',
    recording: {
      recording: recording.id,
      started: recording.header.started,
      room: recording.names?.room ?? null,
      duration,
      people: session.people,
      lanes: session.lanes,
      gaps: (manifest ?? request.clear)?.gaps ?? [],
      events: eventsOf(manifest ?? request.clear),
      documentFaults: recording.documentFaults,
      hasManifest: manifest !== null,
      state: manifest?.state ?? 'open',
      shreddable: manifest?.shreddable ?? recording.header.break_glass === null,
    },
  };
}

async function sessionOf(recording: Recording, clear: OpenRequest['clear']): Promise<Session> {
  const duration = await recording.duration();
  const { manifest, names } = recording;
  const { participants, tracks } = clear ?? {};
  const found =
    manifest ??
    (participants && tracks ? { participants, tracks } : await survey(recording, duration));
  // What still goes on has no end yet; whatever a document says, nothing lasts longer than the whole.
  const running = found.tracks.map((track) => ({
    ...track,
    until_us: Math.min(track.until_us || duration, duration),
  }));
  const who = people(found.participants, names, duration);
  return {
    recording,
    clocks: new Clocks(),
    participants: [...found.participants],
    tracks: running,
    people: who,
    lanes: lanes(running, who),
    duration,
  };
}

function deliver(now: Session, from: number, number: number): Delivery {
  return new Delivery(now.recording, now.clocks, now.lanes, from, from + FIRST_AHEAD_US, {
    media: (lane, piece) => tell({ news: 'media', delivery: number, lane, piece }),
    delivered: (until, isAll) => tell({ news: 'delivered', delivery: number, until, isAll }),
    covered: (stretches) => tell({ news: 'covered', stretches }),
    fault: (fault, at) => tell({ news: 'fault', fault, at }),
    events: (events) => tell({ news: 'events', events }),
    track: (found) => {
      const track = { ...found, until_us: now.duration };
      now.tracks.push(track);
      if (!now.participants.some((one) => one.participant === track.participant)) {
        const { participant, from_us } = track;
        now.participants.push({ participant, joined_us: from_us, left_us: null });
      }
      now.people = people(now.participants, now.recording.names, now.duration);
      now.lanes = lanes(now.tracks, now.people);
      tell({ news: 'lanes', people: now.people, lanes: now.lanes });
      return now.lanes.find((lane) => lane.tracks.includes(track)) ?? null;
    },
  });
}

function failureOf(error: unknown): Failure {
  if (error instanceof Unreachable) {
    return { status: error.status, code: error.code, message: error.message };
  }
  return { status: 0, code: '', message: error instanceof Error ? error.message : String(error) };
}

function tell(message: FromWorker): void {
  postMessage(message);
}

addEventListener('message', async ({ data }: MessageEvent<ToWorker>) => {
  if ('start' in data) {
    access = data.start;
    return;
  }
  try {
    const answer = await (answers[data.question] as (ask: unknown) => Promise<unknown>)(data.ask);
    tell({ id: data.id, answer });
  } catch (error) {
    tell({ id: data.id, failure: failureOf(error) });
  }
});
