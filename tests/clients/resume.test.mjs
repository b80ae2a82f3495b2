// Two rtc-node clients in a call; the WebSocket of one of them goes through a relay that breaks it.
import { ConnectionState, RoomEvent, dispose } from '@livekit/rtc-node';
import { RoomServiceClient } from 'livekit-server-sdk';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { PEOPLE } from './media.mjs';
import { counters } from './metrics.mjs';
import { Person } from './person.mjs';
import { Relay } from './relay.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const url = process.env.LIVEKIT_URL;
const http = url.replace('ws:', 'http:');
const service = new RoomServiceClient(http, 'devkey', 'secret');
// Looking for a tone takes a while itself.
const patience = { timeout: 60_000, interval: 300 };
afterAll(() => dispose());

async function enter(who, room, at) {
  const person = await Person.join(at, await tokenFor(who, room));
  person.events = [];
  for (const event of [
    RoomEvent.Reconnecting,
    RoomEvent.Reconnected,
    RoomEvent.Disconnected,
    RoomEvent.ParticipantConnected,
    RoomEvent.ParticipantDisconnected,
    RoomEvent.TrackUnsubscribed,
  ]) {
    person.room.on(event, () => person.events.push(event));
  }
  await person.speak(PEOPLE[who].hz);
  return person;
}

const hears = (person, who) => {
  const { hz, samples } = person.hears(who);
  return samples > 20_000 && Math.abs(hz - PEOPLE[who].hz) <= 10;
};

// Sound arrives now, not only some time ago.
async function hearsFresh(person, who, time = patience) {
  person.of(who).samples = [];
  await until(`${who} is heard`, () => hears(person, who), time);
}

const words = (text) => new TextEncoder().encode(text);
const heard = (person) => person.data.map(({ payload }) => new TextDecoder().decode(payload));
const say = (person, text) =>
  person.room.localParticipant.publishData(words(text), { reliable: true });
const sum = async (name) => (await counters(http)).sum(name);
const seats = async (room) =>
  new Map((await service.listParticipants(room)).map((one) => [one.identity, one.sid]));

async function inACall(room, play) {
  const relay = await Relay.towards(url);
  const [li, wang] = await Promise.all([enter('li', room, relay.url), enter('wang', room, url)]);
  try {
    await until('both hear each other', () => hears(li, 'wang') && hears(wang, 'li'), patience);
    for (const person of [li, wang]) person.events = [];
    const resumed = await sum('resumes_total');
    return await play({ relay, li, wang, before: await seats(room), resumed }, room);
  } finally {
    relay.open();
    await Promise.all([li.leave(), wang.leave()]);
    await relay.close();
  }
}

// What must be true whatever happened to the connection.
async function isUnharmed({ li, wang, before, resumed }, room) {
  await until('li is back', () => li.events.includes(RoomEvent.Reconnected), patience);
  await Promise.all([hearsFresh(wang, 'li'), hearsFresh(li, 'wang')]);
  expect(li.room.connectionState).toBe(ConnectionState.CONN_CONNECTED);
  expect(await seats(room)).toEqual(before);
  expect(await sum('resumes_total')).toBeGreaterThan(resumed);
  await until('nobody is away', async () => (await sum('seats_detached')) === 0, patience);
  // The other one notices nothing at all, and neither loses a track.
  expect(wang.events).toEqual([]);
  expect(li.events).not.toContain(RoomEvent.TrackUnsubscribed);
  expect(li.events).not.toContain(RoomEvent.ParticipantDisconnected);
}

// rtc-node gives a resume five seconds before it begins anew; what a slow machine does not get done in
// that time is played again.
const RESUME_TIME_MS = 4_000;
const ATTEMPTS = 5;

async function cutAndReturn({ relay, li, wang, ...all }, room) {
  relay.cut();
  const began = performance.now();
  const left = () => ({ interval: 100, timeout: RESUME_TIME_MS - (performance.now() - began) });
  // What li says himself his SDK keeps until he is back.
  const answer = say(li, 'from li').catch(() => {});
  try {
    await until('the server knows', async () => (await sum('seats_detached')) > 0, left());
    // All of this while the socket is away.
    await say(wang, 'to li');
    await Promise.all([hearsFresh(wang, 'li', left()), hearsFresh(li, 'wang', left())]);
    await until('data goes on', () => heard(li).length > 0, left());
    expect(await seats(room)).toEqual(all.before);
  } catch (error) {
    if (left().timeout > 0) throw error;
  }
  if (left().timeout <= 0) return false;
  relay.open();
  await isUnharmed({ li, wang, ...all }, room);
  await answer;
  await Promise.all([say(wang, 'again'), say(li, 'again')]);
  const isWhole = () => heard(li).length >= 2 && heard(wang).length >= 2;
  await until('what is said arrives', isWhole, patience);
  await delay(500);
  expect([heard(li), heard(wang)]).toEqual([
    ['to li', 'again'],
    ['from li', 'again'],
  ]);
  return true;
}

it('keeps sound and seat while the connection is cut', async () => {
  for (let attempt = 1; !(await inACall(`cut ${attempt}`, cutAndReturn)); attempt++) {
    expect(attempt, 'every time the machine was too slow').toBeLessThan(ATTEMPTS);
  }
});

it('notices a connection that falls silent, and goes on over another', async () => {
  await inACall('silent', async ({ relay, li, wang, ...all }, room) => {
    const accepted = relay.accepted;
    relay.silence();
    await until('li tries again', () => relay.accepted > accepted, patience);
    await isUnharmed({ li, wang, ...all }, room);
    expect(li.events).toContain(RoomEvent.Reconnecting);
  });
});
