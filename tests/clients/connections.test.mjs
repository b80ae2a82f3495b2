// Two people in one room: Dr. Li in Chromium with two connections, as phones have, and Dr. Chen with
// rtc-node, which has one. Li's WebSocket goes through a relay that can break it.
import { TrackSource, dispose } from '@livekit/rtc-node';
import { RoomServiceClient } from 'livekit-server-sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from 'vitest';
import { Bare } from './bare.mjs';
import { PEOPLE, files } from './media.mjs';
import { counters } from './metrics.mjs';
import { Person } from './person.mjs';
import { Relay } from './relay.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const { LIVEKIT_URL, MEDIA_FOLDER } = process.env;
const HTTP = LIVEKIT_URL.replace('ws:', 'http:');
const ROOM = 'case-1044';
const TONE_TOLERANCE_HZ = 10;
const patience = { timeout: 90_000, interval: 300 };

const service = new RoomServiceClient(HTTP, 'devkey', 'secret');
const sum = async (name) => (await counters(HTTP)).sum(name);
const seats = async (room = ROOM) =>
  new Map((await service.listParticipants(room)).map((one) => [one.identity, one.sid]));

// The white mark lightens the colour; which channel leads stays clear.
const leads = (rgb, wanted) =>
  rgb.every((value, k) => (wanted[k] === 255 ? value > 120 : value < rgb[wanted.indexOf(255)] - 60));
const isTone = (hz, who) => Math.abs(hz - PEOPLE[who].hz) <= TONE_TOLERANCE_HZ;

describe('two connections and one', () => {
  let relay;
  let li;
  let chen;

  beforeAll(async () => {
    relay = await Relay.towards(LIVEKIT_URL);
    chen = await Person.join(LIVEKIT_URL, await tokenFor('chen', ROOM));
    await chen.speak(PEOPLE.chen.hz);
    await chen.show(PEOPLE.chen.rgb);
    const media = files('li', MEDIA_FOLDER);
    const options = { singlePeerConnection: false };
    li = await Bare.join('li', relay.url, await tokenFor('li', ROOM), media, options);
  });

  beforeEach(() => {
    onTestFailed(async () => {
      if (li) console.error(await li.dump());
      if (chen) console.error(JSON.stringify(await chen.inbound()));
    });
  });

  afterAll(async () => {
    await Promise.allSettled([chen?.leave(), li?.leave()]);
    await relay?.close();
    await dispose();
  });

  // What arrives now, not only some time ago.
  async function meet(rgb = PEOPLE.chen.rgb) {
    await until('li sees chen', async () => {
      const seen = await li.sees('chen');
      return seen && leads(seen.rgb, rgb) && seen.change > 2;
    }, patience);
    await until('li hears chen', async () => isTone((await li.hears('chen'))?.hz, 'chen'), patience);
    const of = chen.of('li');
    const frames = of.frames;
    await until('chen sees li', () => {
      const { rgb: colour, change } = chen.sees('li');
      return of.frames > frames + 20 && leads(colour, PEOPLE.li.rgb) && change > 2;
    }, patience);
    of.samples = [];
    await until('chen hears li', () => {
      const { hz, samples } = chen.hears('li');
      return samples > 20_000 && isTone(hz, 'li');
    }, patience);
  }

  async function speak(words) {
    const payload = new TextEncoder().encode(`${words} of chen`);
    await chen.room.localParticipant.publishData(payload, { reliable: true });
    await li.say(`${words} of li`);
    const isNew = ([, text]) => text.startsWith(words);
    const toLi = async () => (await li.heard()).filter(isNew);
    const read = ({ from, payload }) => [from, new TextDecoder().decode(payload)];
    const toChen = () => chen.data.map(read).filter(isNew);
    await until('both have heard', async () => (await toLi()).length && toChen().length, patience);
    expect(await toLi()).toEqual([['chen', `${words} of chen`]]);
    expect(toChen()).toEqual([['li', `${words} of li`]]);
  }

  it('see and hear each other', async () => {
    await meet();
    const sections = await li.sections();
    console.log(`connections of li: ${JSON.stringify(sections)}`);
    expect(sections.length).toBe(2);
  });

  it('send each other messages', () => speak('a word'));

  it('go on with another picture in the place of the first', async () => {
    const before = await li.sections();
    const published = [...chen.room.localParticipant.trackPublications.values()];
    const camera = published.find(({ source }) => source === TrackSource.SOURCE_CAMERA);
    await chen.room.localParticipant.unpublishTrack(camera.sid);
    await until('the picture is gone', async () => !(await li.sees('chen')), patience);
    await chen.show(PEOPLE.wang.rgb);
    await meet(PEOPLE.wang.rgb);
    expect(await li.sections(), 'the section is used again').toEqual(before);
  });

  it('are moved to another room as they are', async () => {
    const other = `${ROOM}-consult`;
    const [known, sections, before] = [await li.events(), await li.sections(), await seats()];
    await service.moveParticipant(ROOM, 'li', other);
    // A browser that is starved takes the server for dead and comes back: that is no news of the move.
    const starved = () => li.console.filter((line) => line.includes('ping timeout triggered')).length;
    const alarms = starved();
    const news = async () => {
      const told = (await li.events()).slice(known.length);
      const isIts = (event) => !['SignalReconnecting', 'Reconnected'].includes(event);
      return starved() > alarms ? told.filter(isIts) : told;
    };
    await until('li is told', async () => (await news()).length > 0, patience);
    await until('li sees nobody', async () => !(await li.sees('chen')), patience);
    await until('chen sees nobody', () => chen.room.remoteParticipants.size === 0, patience);
    await service.moveParticipant(ROOM, 'chen', other);
    await meet(PEOPLE.wang.rgb);
    await speak('a third word');
    expect(await news(), 'nothing else has happened').toEqual(['Moved']);
    expect(await li.sections(), 'the sections are used again').toEqual(sections);
    expect(await seats(other)).toEqual(before);
    expect(await seats()).toEqual(new Map());
    for (const who of ['li', 'chen']) await service.moveParticipant(other, who, ROOM);
    await meet(PEOPLE.wang.rgb);
    expect(await news()).toEqual(['Moved', 'Moved']);
  });

  it('notice nothing of a WebSocket that breaks but that it is back', async () => {
    const before = await seats();
    const resumed = await sum('resumes_total');
    relay.cut();
    await until('the server knows', async () => (await sum('seats_detached')) > 0, patience);
    const frames = chen.of('li').frames;
    await until('li moves on', () => chen.of('li').frames > frames + 20, patience);
    await until('chen moves on', async () => (await li.sees('chen'))?.change > 2, patience);
    relay.open();
    await until('li is back', async () => (await li.events()).includes('Reconnected'), patience);
    expect(await sum('resumes_total')).toBeGreaterThan(resumed);
    expect(await seats()).toEqual(before);
    await meet(PEOPLE.wang.rgb);
    await speak('another word');
    expect(await li.events()).not.toContain('Disconnected');
  });
});
