// Two people in browsers and one with the rtc-node SDK hold a consult that is recorded; an officer
// replays it in the console. Whose picture and whose tone it is, and which picture, is proven at
// random places against the files that were exported of the same recording.
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { dispose, VideoCodec } from '@livekit/rtc-node';
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from 'vitest';
import {
  FRAMES_PER_SECOND,
  loudest,
  numberedFiles,
  numbersIn,
  PEOPLE,
  SAMPLE_RATE,
  soundIn,
} from './media.mjs';
import { Officer } from './officer.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { Visitor } from './visitor.mjs';
import { until } from './wait.mjs';

const { PAGE_URL, LIVEKIT_URL, MEDIA_FOLDER, DATA, SCRATCH } = process.env;
const { OFFICER_KEY, PASSPHRASE_FILE, OFFICER_LINK, STRANGER_TOKEN, CONSILIUM } = process.env;
const PASSPHRASE = readFileSync(PASSPHRASE_FILE, 'utf8').trim();
const OFFICER_TOKEN = OFFICER_LINK.split('token=')[1];
const ROOM = 'case-1042';
const SECONDS = Number(process.env.SECONDS ?? 36);
const SEED = Number(process.env.SEED ?? 1);
const SEEKS = 10;
// A fourth is there where it is measured: the bounds of opening and seeking are said of four.
const EVERYBODY = ['li', 'wang', 'chen', ...(process.env.CONSILIUM_REPLAY_ROWS ? ['zhou'] : [])];
// What chen sends in, at first and when he has come back: three sizes in one stream.
const CODECS = ['video/VP9', 'video/AV1'];
const LAYERS = 'L3T3_KEY';
const CONSENT = { 'consilium.consent': 'granted' };
// The player keeps time by playing a little faster or slower, and a busy sender leaves holes.
const TONE_TOLERANCE = 0.03;
// Of 32768: sound that nobody could take for silence.
const LOUD = 200;
// Below this a spectrum holds noise only.
const SILENCE_DB = -70;
// WebM counts milliseconds.
const ROUNDING_S = 0.0015;
// Two clocks of one machine.
const ROUNDING_MS = 50;
// The program looks at the reports of a whole recording, the console at those that it has read: the
// clocks that they find for somebody are nearly the same.
const CLOCKS_S = 0.1;
// A picture that stands so long although it was followed by others is no longer what was there.
const LOST_S = 0.2;
// Of 255: browsers and ffmpeg disagree about what green is.
const COLOUR_TOLERANCE = 48;
// Pieces of sound that are listened to until what was recorded is heard.
const LISTENS = 12;
// From a press in a page to the recorder, on a busy machine.
const HEARD_OF_MS = 20_000;
// People who hear each other a second apart are not on one clock, however busy the machine.
const SKEW_MAX_MS = 1_000;
// Two pictures of the fake cameras.
const SKEW_GOOD_MS = 2_000 / FRAMES_PER_SECOND;
// Where new pictures of the console for the documents go.
const IMAGES = process.env.CONSILIUM_REPLAY_IMAGES;
// Where `make bench` wants the figures.
const ROWS = process.env.CONSILIUM_REPLAY_ROWS;
const WATCH_TOLERANCE_US = 400_000;

const PATIENT = { timeout: 120_000 };

const row = (what, ms, limit) =>
  `| ${what} | ${ms.toFixed(0)} ms | at most ${limit.toFixed(0)} | ${ms <= limit ? 'yes' : 'no'} |\n`;

const rowsOf = ({ opened, median, slowest, skew }) =>
  [
    '| figure | value | bound | kept |\n|---|--:|--:|---|\n',
    row(`a recording of ${EVERYBODY.length} people opens, from the reason given to the pictures`, opened, 1_000),
    row(`a seek, median of ${SEEKS}`, median, 1_000),
    row(`a seek, slowest of ${SEEKS}`, slowest, 1_000),
    row(`how far ${EVERYBODY.length} people are from each other, p95`, skew, SKEW_GOOD_MS),
  ].join('');

const run = promisify(execFile);
const random = mulberry(SEED);
const done = [];

// Does something that has to be found again, and notes between which times it must have happened.
async function act(type, who, work) {
  const from = Date.now();
  const made = await work();
  done.push({ type, who, from, until: Date.now() });
  return made;
}

function isColour(rgb, who) {
  const wanted = PEOPLE[who].rgb;
  const lead = wanted.indexOf(255);
  return rgb.every((value, k) => (k === lead ? value > 120 : value < rgb[lead] - 60));
}

const isAlike = (one, other) =>
  one.every((value, k) => Math.abs(value - other[k]) <= COLOUR_TOLERANCE);

const folderOf = (id) => join(DATA, 'recordings', id);
const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

function audit() {
  const folder = join(DATA, 'audit');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').trim().split('\n'))
    .map((line) => JSON.parse(line));
}

async function ask(path, { token, method = 'GET', body, headers = {} } = {}) {
  const response = await fetch(`${PAGE_URL}/compliance/api/v1${path}`, {
    method,
    headers: {
      Authorization: `Bearer ${token ?? OFFICER_TOKEN}`,
      ...(body ? { 'Content-Type': 'application/json' } : {}),
      ...headers,
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // Bytes of a file.
  }
  return { status: response.status, code: answer?.code, answer };
}

// The consult: everybody agrees in another way, and does something that has to be found again.
async function consult() {
  // Made before anybody is there: it stops everything else in this process.
  const media = new Map(['li', 'wang'].map((who) => [who, numberedFiles(who, MEDIA_FOLDER)]));
  const enter = async (who, attributes) => {
    const token = await tokenFor(who, ROOM, {}, attributes);
    const visitor = await Visitor.open(who, PAGE_URL, token, media.get(who));
    visitor.page.setDefaultTimeout(PATIENT.timeout);
    await act('participant_joined', who, () => visitor.join());
    return visitor;
  };
  const callIn = async (who, codec) => {
    const token = await tokenFor(who, ROOM, {}, CONSENT);
    // Whoever decodes three pictures in this process has no time left to send any.
    const join = () => Person.join(LIVEKIT_URL, token, { autoSubscribe: false });
    const person = await act('participant_joined', who, join);
    await person.speak(PEOPLE[who].hz);
    const layered = { videoCodec: VideoCodec[codec], scalabilityMode: LAYERS, simulcast: false };
    await person.show(PEOPLE[who].rgb, { isNumbered: true, ...(codec ? layered : {}) });
    return person;
  };
  const isSeen = (by) =>
    until(`${by.identity} sees chen`, async () => {
      const seen = await by.sees('chen');
      return seen && isColour(seen.rgb, 'chen');
    }, PATIENT);
  const part = SECONDS / 6;
  let chen = await callIn('chen', 'VP9');
  const zhou = EVERYBODY.includes('zhou') ? await callIn('zhou') : null;
  const [li, wang] = await Promise.all([enter('li', {}), enter('wang', CONSENT)]);
  try {
    await act('consent', 'li', () => li.press('recording-grant'));
    await until('everybody is recorded', () => {
      const others = EVERYBODY.filter((who) => who !== 'chen');
      const remote = others.map((who) => chen.room.remoteParticipants.get(who));
      const all = [chen.room.localParticipant, ...remote];
      return all.every((one) => one?.attributes['consilium.recording'] === 'on');
    }, PATIENT);
    await isSeen(li);
    await delay(part * 1_000);
    await act('chat', 'li', () => li.say('the MRI is ready 片子好了'));
    await li.press('share-button');
    const isShared = async () => (await wang.tile('li', 'screen').count()) > 0;
    await until('the screen is seen', isShared, PATIENT);
    await delay(part * 1_000);
    await act('muted', 'wang', () => wang.press('microphone-button'));
    await delay(part * 1_000);
    await act('unmuted', 'wang', () => wang.press('microphone-button'));
    await li.press('share-button');
    await act('participant_left', 'chen', () => chen.leave());
    await delay(part * 1_000);
    chen = await callIn('chen', 'AV1');
    await isSeen(li);
    await delay(part * 2_000);
  } catch (error) {
    throw new Error(`${error.stack}\n${await li.dump()}\n${await wang.dump()}`);
  } finally {
    await Promise.allSettled([chen, zhou].map((person) => person?.leave()));
    await Promise.allSettled([li, wang].map((visitor) => visitor.browser.close()));
  }
}

// Where the layer changes, both layers may hold the same picture, and either reader may show both.
const onceEach = (all) => all.filter((one, n) => one.number !== all[n - 1]?.number);

describe('a recorded consult', () => {
  let id;
  let manifest;
  // What `make bench` puts into the page of measured numbers, in milliseconds.
  const figures = {};
  let officer;
  // By identity: every picture of the file that the program exported.
  const exported = new Map();
  // By track number: every picture of the file that the console exported.
  const pictures = new Map();
  // By track number: every sample of the exported file.
  const sounds = new Map();
  // Tracks by identity and source.
  const names = new Map();
  const trackOf = (who, source, at) =>
    manifest.tracks.find(
      (track) =>
        names.get(track.participant) === who &&
        track.source === source &&
        track.from_us <= at &&
        at < track.until_us,
    );

  beforeAll(async () => {
    console.log(`seed ${SEED}, ${SECONDS} s`);
    mkdirSync(SCRATCH, { recursive: true });
    await consult();
    await until('the recording is closed', () => {
      [id] = readdirSync(join(DATA, 'recordings'));
      manifest = json(join(folderOf(id), 'manifest.json'));
      return true;
    }, PATIENT);
    await dispose();
  });

  afterAll(async () => {
    await officer?.close();
    if (ROWS) writeFileSync(ROWS, rowsOf(figures));
  });

  it('is exported by the program over the network', async () => {
    expect(manifest.state).toBe('complete');
    const out = join(SCRATCH, 'by-program');
    const address = `${PAGE_URL}/compliance/api/v1/recordings/${id}`;
    const officers = ['--officer', OFFICER_KEY, '--passphrase-file', PASSPHRASE_FILE];
    const why = ['--token', OFFICER_TOKEN, '--reason', 'copy for the patient', '--out', out];
    await run(CONSILIUM, ['export', address, ...officers, ...why]);
    const { people, tracks } = json(join(out, 'events.json'));
    for (const { identity, files, stays } of people) {
      expect(files.length, identity).toBe(1);
      const numbers = stays.map(({ participant }) => participant);
      const cameras = tracks.filter(
        ({ source, participant }) => source === 'camera' && numbers.includes(participant),
      );
      // In each format a stream of its own; pictures come before sounds, and faces first.
      const streams = new Set(cameras.flatMap((track) => track.files.map(({ stream }) => stream)));
      expect(streams.size, identity).toBe(identity === 'chen' ? CODECS.length : 1);
      if (identity === 'chen') expect(cameras.map(({ mime }) => mime)).toEqual(CODECS);
      exported.set(identity, [...streams].flatMap((one) => numbersIn(join(out, files[0]), one)));
    }
    expect([...exported.keys()].sort()).toEqual([...EVERYBODY].sort());
  });

  it('is opened by an officer with his key and a reason', async () => {
    officer = await Officer.enter(OFFICER_LINK);
    onTestFailed(async () => console.error(await officer.dump()));
    const row = officer.page.locator(`[data-testid=row][data-recording="${id}"]`);
    await row.waitFor();
    expect(officer.page.url()).not.toContain('token');
    expect(await row.innerText()).not.toContain(ROOM);
    await officer.loadKey(OFFICER_KEY, PASSPHRASE);
    await until('the names are shown', async () => (await row.innerText()).includes(ROOM), PATIENT);
    for (const who of EVERYBODY) expect(await row.innerText()).toContain(who);
    await officer.goTo(id);
    figures.opened = await officer.open('quality review of case 1042');
    expect((await officer.state()).length).toBe(manifest.duration_us);
    await until('it is intact', async () => (await officer.trust()).kind === 'good', PATIENT);
  });

  it('is exported as files that ffmpeg takes without an error', async () => {
    onTestFailed(async () => console.error(await officer.dump()));
    const files = await officer.export(SCRATCH);
    const events = json(Object.values(files).find((path) => path.endsWith('events.json')));
    for (const person of events.participants) {
      for (const number of person.participants) names.set(number, person.identity);
    }
    expect([...names.values()].sort()).toEqual(['chen', ...EVERYBODY].sort());
    const recorded = manifest.tracks.filter((track) => track.stored > 0);
    expect(recorded.length).toBeGreaterThanOrEqual(2 * EVERYBODY.length + 3);
    for (const track of recorded) {
      const path = Object.values(files).find((one) => one.includes(`-track-${track.track}-`));
      // Busy cameras keep no even rate: times are counted as the file has them.
      const decode = ['-v', 'error', '-i', path, '-enc_time_base', '-1', '-f', 'null', '-'];
      const said = execFileSync('ffmpeg', decode, { encoding: 'utf8', stdio: 'pipe' });
      expect(said, path).toBe('');
      if (track.source === 'microphone') sounds.set(track.track, soundIn(path));
      if (track.source !== 'camera') continue;
      const found = numbersIn(path);
      pictures.set(track.track, found);
      const unread = found.filter(({ number }) => number === null).length;
      const who = names.get(track.participant);
      expect(found.filter(({ rgb }) => !isColour(rgb, who))).toEqual([]);
      const seconds = (track.until_us - track.from_us) / 1e6;
      console.log(
        `${who}: ${found.length} pictures in ${seconds.toFixed(1)} s, ${unread} not readable`,
      );
      // A busy machine takes fewer than the fifteen a second that it should.
      expect(found.length).toBeGreaterThan(5);
      expect(unread).toBeLessThan(found.length / 50);
    }
    expect(pictures.size).toBe(EVERYBODY.length + 1);
    // The console and the program read the same recording each in their own way.
    let skew = 0;
    for (const [who, theirs] of exported) {
      const tracks = manifest.tracks.filter((track) => names.get(track.participant) === who);
      const ours = onceEach(tracks.flatMap((track) => pictures.get(track.track) ?? []));
      const others = onceEach(theirs);
      expect(ours.map((one) => one.number), who).toEqual(others.map((one) => one.number));
      for (const [n, one] of ours.entries()) skew = Math.max(skew, Math.abs(one.at - others[n].at));
    }
    console.log(`console and program differ by ${(skew * 1_000).toFixed(0)} ms at most`);
    expect(skew).toBeLessThan(CLOCKS_S);
  });

  it('shows everybody as they were and lets them be heard, at ten random places', async () => {
    onTestFailed(async () => console.error(await officer.dump()));
    const waits = [];
    const checked = { pictures: 0, tones: 0, silences: 0 };
    for (let n = 0; n < SEEKS; n++) {
      const at = Math.round(1.5e6 + random() * (manifest.duration_us - 5e6));
      waits.push(Math.round(await officer.seek(at)));
      const shown = await officer.pictures();
      for (const who of EVERYBODY) {
        const where = `${who} at ${at} us shows ${JSON.stringify(shown[who])}`;
        if (!isThere(who, at)) expect(shown[who].picture, where).toBe('away');
        const track = trackOf(who, 'camera', at);
        if (!track) continue;
        const wanted = picturesAt(pictures.get(track.track), at / 1e6, ROUNDING_S);
        if (wanted.length === 0) {
          expect(['nothing', 'off'], where).toContain(shown[who].picture);
          continue;
        }
        // A picture of which not even the file says the number proves nothing.
        if (wanted.some((one) => one.number === null)) continue;
        if (shown[who].picture === 'lost') {
          expect(isLong(pictures.get(track.track), at / 1e6), where).toBe(true);
          continue;
        }
        expect(shown[who].picture, where).toBe('shown');
        const numbers = wanted.map((one) => one.number);
        expect(numbers, where).toContain(shown[who].number);
        expect(wanted.some((one) => isAlike(one.rgb, shown[who].rgb)), where).toBe(true);
        const theirs = picturesAt(exported.get(who), at / 1e6, CLOCKS_S);
        expect(theirs.map((one) => one.number), where).toContain(shown[who].number);
        checked.pictures += 1;
      }
      const sharing = manifest.tracks.find(
        (track) => track.source === 'screen_share' && track.from_us <= at && at < track.until_us,
      );
      expect((await officer.screens()).length, `screens at ${at}`).toBe(sharing ? 1 : 0);
      const { tones, silences } = await officer.whilePlaying(listen);
      checked.tones += tones;
      checked.silences += silences;
    }
    waits.sort((a, b) => a - b);
    console.log(
      `checked ${JSON.stringify(checked)}; seeks took ${waits.join(', ')} ms, median ${waits[SEEKS >> 1]}`,
    );
    [figures.median, figures.slowest] = [waits[SEEKS >> 1], waits[SEEKS - 1]];
    expect(checked.pictures).toBeGreaterThan(SEEKS * 1.5);
    expect(checked.tones).toBeGreaterThan(SEEKS);
  });

  it('plays everybody on one clock', async () => {
    onTestFailed(async () => console.error(await officer.dump()));
    // From where all of them are there.
    const back = manifest.tracks.filter((track) => names.get(track.participant) === 'chen');
    await officer.seek(Math.max(...back.map((track) => track.from_us)) + 1_000_000);
    const skews = await officer.whilePlaying(() => officer.skews(SECONDS / 6));
    skews.sort((a, b) => a - b);
    figures.skew = skews[Math.floor(skews.length * 0.95)] * 1_000;
    console.log(`skew p95 ${figures.skew.toFixed(0)} ms, most ${(skews.at(-1) * 1_000).toFixed(0)} ms`);
    // Elements that never are a little apart are not playing.
    expect(figures.skew).toBeGreaterThan(0);
    expect(figures.skew).toBeLessThan(SKEW_MAX_MS);
  });

  it('has everything that happened on the timeline', async () => {
    const shown = await officer.timeline();
    const started = Date.parse(json(join(folderOf(id), 'header.json')).started);
    for (const { type, who, from, until: to } of done) {
      const isThen = ({ at }) =>
        at / 1_000 >= from - started - ROUNDING_MS && at / 1_000 <= to - started + HEARD_OF_MS;
      const found = shown.filter((one) => one.type === type && isThen(one));
      const when = `${type} of ${who} from ${from - started} to ${to - started} ms`;
      expect(found.length, `${when} in ${JSON.stringify(shown)}`).toBeGreaterThan(0);
    }
    for (const { type, at_us: at } of manifest.events) {
      const found = shown.filter((one) => one.type === type && Math.abs(one.at - at) < 2_000);
      expect(found.length, `${type} at ${at}`).toBeGreaterThan(0);
    }
    const count = (type) => shown.filter((one) => one.type === type).length;
    expect(['participant_joined', 'muted', 'unmuted', 'chat'].map(count)).toEqual([
      EVERYBODY.length + 1,
      1,
      1,
      1,
    ]);
    // A press on an event goes there.
    const muted = shown.find((one) => one.type === 'muted');
    await officer.page.locator(`[data-testid=events] [data-event=muted]`).click();
    await until('it is there', async () => Math.abs((await officer.state()).at - muted.at) < 2, PATIENT);
  });

  it('leaves an account of every second watched and every byte served', async () => {
    const { replay } = audit().findLast((line) => line.action === 'release').detail;
    const mine = () =>
      audit().filter((line) => line.detail.replay === replay && line.outcome === 'done');
    await officer.page.goto(`${officer.page.url().split('#')[0]}#list`);
    await until('the replay has ended', () => mine().some((line) => line.action === 'end'), PATIENT);
    const lines = mine();
    const watched = lines.filter((line) => line.action === 'watch');
    const spans = watched.flatMap((line) => line.detail.watched_us);
    const length = (all) => all.reduce((sum, [from, to]) => sum + to - from, 0);
    for (const [from, to] of officer.played) {
      const seen = spans.map(([a, b]) => [Math.max(a, from), Math.min(b, to)]);
      const covered = length(seen.filter(([a, b]) => b > a));
      expect(to - from - covered, `${from} to ${to}`).toBeLessThan(WATCH_TOLERANCE_US);
    }
    expect(Math.abs(length(spans) - length(officer.played))).toBeLessThan(SEEKS * WATCH_TOLERANCE_US);
    const served = lines.filter((line) => line.action === 'serve');
    const told = served.map((line) => `${line.detail.name} ${line.detail.bytes}`);
    const got = officer.served.map(({ name, bytes }) => `${name} ${bytes}`);
    expect(got.length).toBeGreaterThan(SEEKS);
    // Everything that arrived, and of what else was served, that it was asked for.
    const surplus = [...told];
    for (const range of got) {
      expect(surplus, 'what was served').toContain(range);
      surplus.splice(surplus.indexOf(range), 1);
    }
    for (const range of surplus) expect(officer.asked).toContain(range.split(',')[0]);
    expect(surplus.length).toBeLessThan(SEEKS);
    expect(lines.some((line) => line.action === 'export')).toBe(true);
    const release = lines.find((line) => line.action === 'release');
    expect(release.reason).toBe('quality review of case 1042');
    expect(release.seq).toBeLessThan(Math.min(...served.map((line) => line.seq)));
    console.log(`${served.length} ranges served, ${(length(spans) / 1e6).toFixed(1)} s watched`);
  });

  it('is refused without a reason, without a replay, and to whom it does not belong', async () => {
    const officers = json(join(folderOf(id), 'header.json')).compliance.recipients;
    const body = { officer: officers[0], reason: ' ' };
    const post = { method: 'POST', body };
    const before = audit().length;
    const release = `/recordings/${id}/release`;
    const reason = { ...body, reason: 'curiosity' };
    const stranger = { token: STRANGER_TOKEN };
    const nobody = 'age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj';
    const segment = `/recordings/${id}/files/seg-000000.age`;
    const range = { Range: 'bytes=0-99' };
    const attempts = [
      [release, post, 400, 'no_reason', 'release'],
      [release, { ...post, body: { ...reason, officer: nobody } }, 403, 'unknown_officer', 'release'],
      [release, { ...post, ...stranger, body: reason }, 404, 'not_found', 'release'],
      [`/recordings/${id}`, stranger, 404, 'not_found', 'show'],
      [segment, { headers: range }, 403, 'no_replay', 'serve'],
      [segment, { headers: { ...range, 'Consilium-Replay': 'f'.repeat(32) } }, 403, 'no_replay', 'serve'],
      [segment, { ...stranger, headers: range }, 404, 'not_found', 'read'],
    ];
    for (const [path, options, status, code] of attempts) {
      const { answer, ...got } = await ask(path, options);
      expect({ path, status: got.status, code: got.code }, JSON.stringify(answer)).toEqual({
        path,
        status,
        code,
      });
    }
    const list = await ask('/recordings', stranger);
    expect(list.answer.recordings).toEqual([]);
    const lines = audit().slice(before);
    expect(lines.map((line) => [line.action, line.outcome])).toEqual(
      attempts.map(([, , , , action]) => [action, 'refused']),
    );
    // Without a good token nobody is heard at all.
    const forged = `${STRANGER_TOKEN.slice(0, -4)}AAAA`;
    expect((await ask(`/recordings/${id}`, { token: forged })).status).toBe(401);
    const joiner = await tokenFor('li', ROOM);
    expect((await ask(`/recordings/${id}`, { token: joiner })).status).toBe(403);
  });

  it('shows from where on a changed byte makes it not intact', async () => {
    onTestFailed(async () => console.error(await officer.dump()));
    const screen = manifest.tracks.find((track) => track.source === 'screen_share');
    await photograph('replay', (screen.from_us + screen.until_us) / 2);
    const { segment, chunk, at } = await flipped(folderOf(id), manifest);
    await officer.reopen(id, 'after a byte was changed');
    await officer.seek(at - 500_000);
    await until('the badge is red', async () => (await officer.trust()).kind === 'bad', PATIENT);
    const { words } = await officer.trust();
    const clock = `${Math.floor(at / 6e7)}:${String(Math.floor(at / 1e6) % 60).padStart(2, '0')}`;
    expect(words).toContain(clock);
    await officer.page.getByRole('tab').nth(1).click();
    const fault = await officer.hook('faults').innerText();
    expect(fault).toContain(`segment ${segment}, chunk ${chunk}`);
    // What is before it is as it was, on the timeline and on the screen.
    const [before] = manifest.tracks.filter((track) => track.source === 'camera');
    const early = before.from_us + 4_000_000;
    expect(early).toBeLessThan(at);
    await officer.seek(early);
    const shown = await officer.pictures();
    const who = names.get(before.participant);
    expect(shown[who].picture, JSON.stringify(shown)).toBe('shown');
    expect(isColour(shown[who].rgb, who), JSON.stringify(shown)).toBe(true);
    await photograph('broken', at - 500_000);
    console.log(`changed a byte of segment ${segment}, chunk ${chunk}; the badge says "${words}"`);
  });

  it('logs no error', () => {
    expect(officer.errors()).toEqual([]);
  });

  // The console at a time in microseconds, in both languages, where the documents want it.
  async function photograph(name, at) {
    for (const locale of IMAGES ? ['en-GB', 'zh-CN'] : []) {
      const visitor = await Officer.enter(OFFICER_LINK, { locale });
      await visitor.loadKey(OFFICER_KEY, PASSPHRASE);
      await visitor.goTo(id);
      await visitor.open('pictures for the documents');
      await visitor.seek(Math.round(at));
      const path = join(IMAGES, `console-${name}-${locale.slice(0, 2)}.png`);
      await visitor.page.screenshot({ path });
      await visitor.close();
    }
  }

  // While it plays: everybody is heard as he was recorded. What a busy machine makes stutter is
  // listened to again, further on.
  async function listen() {
    const right = new Map();
    const wrong = new Map();
    for (let n = 0; n < LISTENS && (n === 0 || wrong.size > 0); n++) {
      const before = await officer.state();
      const heard = await officer.tones(800);
      const after = await officer.state();
      if (!after.isPlaying) break;
      if (before.isWaiting || after.isWaiting) continue;
      for (const who of EVERYBODY) {
        const kind = soundOf(who, [before.at, after.at]);
        if (!kind || right.has(who)) continue;
        const { hz = 0, db = Number.NEGATIVE_INFINITY } = heard[who] ?? {};
        const isTone = db > SILENCE_DB && Math.abs(hz / PEOPLE[who].hz - 1) < TONE_TOLERANCE;
        const isRight = kind === 'tone' ? isTone : db < SILENCE_DB;
        if (isRight) right.set(who, kind);
        const told = JSON.stringify({ who, kind, heard: heard[who], from: before.at, to: after.at });
        if (!isRight) wrong.set(who, told);
        else wrong.delete(who);
      }
    }
    expect([...wrong.values()]).toEqual([]);
    const count = (kind) => [...right.values()].filter((one) => one === kind).length;
    return { tones: count('tone'), silences: count('silence') };
  }

  // Whether somebody is in the room then, as the manifest says.
  function isThere(who, at) {
    return manifest.participants.some(
      (one) =>
        names.get(one.participant) === who &&
        one.joined_us <= at &&
        at < (one.left_us ?? manifest.duration_us),
    );
  }

  // What has to be heard of somebody over a whole span; null where it changes within. A machine that
  // does too much at once makes senders silent for a while: what was recorded counts.
  function soundOf(who, [from, to]) {
    const track = trackOf(who, 'microphone', from);
    if (!track || track.until_us < to) return null;
    const samples = sounds.get(track.track);
    const levels = [];
    for (let at = from - 300_000; at < to + 300_000; at += 100_000) {
      const first = Math.round((Math.max(0, at) / 1e6) * SAMPLE_RATE);
      levels.push(loudest(samples.subarray(first, first + SAMPLE_RATE / 4)));
    }
    if (levels.every(({ level }) => level < 1)) return 'silence';
    const isTone = ({ hz, level }) =>
      level > LOUD && Math.abs(hz / PEOPLE[who].hz - 1) < TONE_TOLERANCE;
    return levels.every(isTone) ? 'tone' : null;
  }
});

// Whether the picture of a time stands longer than it would if nothing after it had been lost.
function isLong(list, at) {
  const n = list.findLastIndex((one) => one.at <= at);
  return at - list[n].at > LOST_S;
}

// Which of these pictures may be seen at a time, where times are only so exact.
function picturesAt(list, at, tolerance) {
  return list.filter(
    (one, n) => one.at <= at + tolerance && (list[n + 1]?.at ?? at) >= at - tolerance,
  );
}

// Changes one byte of a chunk in the second half of the recording.
async function flipped(folder, manifest) {
  const { segment, t0_us: t0 } = manifest.segments[manifest.segments.length >> 1];
  const name = join(folder, `seg-${String(segment).padStart(6, '0')}`);
  const chain = readFileSync(`${name}.chain`);
  const first = chain.readUInt32LE(48);
  const chunks = [];
  const sizes = { C: 41, S: 65, E: 65, R: 97 };
  for (let at = 52; at < chain.length; at += sizes[String.fromCharCode(chain[at])]) {
    if (chain[at] === 67) chunks.push(chain.readUInt32LE(at + 5));
  }
  const chunk = chunks.length >> 1;
  const age = readFileSync(`${name}.age`);
  age[first + chunk * 65_552 + 4_242] ^= 0x40;
  writeFileSync(`${name}.age`, age);
  return { segment, chunk, at: t0 + chunks[chunk] };
}

// Numbers from 0 to 1 that a seed makes again.
function mulberry(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
