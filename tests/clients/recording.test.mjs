// A recorded consult: who agreed is recorded, who did not is not, who takes it back is no more; asked
// for, listed and stopped with the official server SDK, whose receiver checks every webhook.
import { createServer } from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dispose, RoomEvent } from '@livekit/rtc-node';
import { EgressClient, EgressStatus, WebhookReceiver } from 'livekit-server-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const CONSENT = 'consilium.consent';
const RECORDING = 'consilium.recording';
const KEY = 'devkey';
const SECRET = 'secret';
const room = 'recorded';

const url = process.env.LIVEKIT_URL;
const egress = new EgressClient(url.replace('ws:', 'http:'), KEY, SECRET);
const hooks = [];
let isDown = false;
let receiver;

beforeAll(() => {
  const checker = new WebhookReceiver(KEY, SECRET);
  receiver = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    if (isDown) {
      response.writeHead(503).end();
      return;
    }
    try {
      expect(request.headers['content-type']).toBe('application/webhook+json');
      hooks.push(await checker.receive(body, request.headers.authorization));
      response.writeHead(200).end();
    } catch (error) {
      hooks.push({ event: `refused: ${error}` });
      response.writeHead(401).end();
    }
  });
  receiver.listen(Number(process.env.WEBHOOK_PORT), '127.0.0.1');
});

afterAll(async () => {
  receiver.close();
  await dispose();
});

const enter = async (who, answer) => {
  const attributes = answer ? { [CONSENT]: answer } : {};
  const person = await Person.join(url, await tokenFor(who, room, {}, attributes));
  await person.speak(PEOPLE[who].hz);
  return person;
};
const shown = (person) => person.room.localParticipant.attributes[RECORDING];
const answer = (person, word) => person.room.localParticipant.setAttributes({ [CONSENT]: word });
const named = (event) => hooks.filter((hook) => hook.event === event);

it('records who agreed, and nobody else', async () => {
  // A receiver that is down at first gets everything, in order.
  isDown = true;
  const [li, wang] = await Promise.all([enter('li', 'granted'), enter('wang', 'refused')]);
  expect(shown(li)).toBeUndefined();
  const isRecorded = [];
  li.room.on(RoomEvent.RoomUpdated, () => isRecorded.push(li.room.isRecording));

  const started = await egress.startRoomCompositeEgress(room, {
    file: { filepath: 'ignored.mp4' },
  });
  expect(started.status).toBe(EgressStatus.EGRESS_ACTIVE);
  expect(started.roomName).toBe(room);
  const [file] = started.fileResults;
  expect(file.filename).toBe('ignored.mp4');
  const recording = file.location.replace('recordings/', '');
  expect(recording).toMatch(/^[0-9A-Z]{26}$/);
  await until('li is recorded', () => shown(li) === 'on');
  expect(shown(wang)).toBe('held');

  // Who comes later is held out until he answers, and may answer without any right to.
  const chen = await enter('chen');
  await until('chen is held out', () => shown(chen) === 'held');
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await answer(chen, 'granted');
  await until('chen is recorded', () => shown(chen) === 'on');
  await chen.say('what is written is recorded too');
  isDown = false;

  // A second request shares the recording, and ends without ending it.
  const second = await egress.startParticipantEgress(room, 'li', {
    file: { filepath: 'ignored.mp4' },
  });
  expect(second.fileResults[0].location).toBe(file.location);
  expect((await egress.listEgress({ roomName: room, active: true })).length).toBe(2);
  expect((await egress.stopEgress(second.egressId)).status).toBe(EgressStatus.EGRESS_COMPLETE);
  expect(shown(chen)).toBe('on');

  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const before = performance.now();
  await answer(li, 'refused');
  await until('li is not recorded any more', () => shown(li) === 'held', { interval: 10 });
  expect(performance.now() - before).toBeLessThan(500);
  await new Promise((resolve) => setTimeout(resolve, 3_000));

  const stopping = await egress.stopEgress(started.egressId);
  expect(stopping.status).toBe(EgressStatus.EGRESS_ENDING);
  await until('it is closed', () =>
    named('egress_ended').some((hook) => hook.egressInfo.egressId === started.egressId),
  );
  expect(shown(chen)).toBeUndefined();
  await expect(egress.stopEgress(started.egressId)).rejects.toThrow(/over/);

  await Promise.all([li, wang, chen].map((person) => person.leave()));
  await until('all have left', () => named('participant_left').length === 3);

  // What the outside heard: every event once, checked by the official receiver, in order.
  expect(hooks.filter((hook) => hook.event.startsWith('refused'))).toEqual([]);
  expect(new Set(hooks.map((hook) => hook.id)).size).toBe(hooks.length);
  const events = hooks.map((hook) => hook.event);
  expect(events[0]).toBe('room_started');
  expect(named('participant_joined').length).toBe(3);
  expect(named('track_published').length).toBe(3);
  const of = hooks.filter((hook) => hook.egressInfo?.egressId === started.egressId);
  expect(of.map((hook) => [hook.event, hook.egressInfo.status])).toEqual([
    ['egress_started', EgressStatus.EGRESS_ACTIVE],
    ['egress_updated', EgressStatus.EGRESS_ACTIVE],
    ['egress_updated', EgressStatus.EGRESS_ENDING],
    ['egress_ended', EgressStatus.EGRESS_COMPLETE],
  ]);

  // What is on the disk: who joined in which order is his number.
  const folder = join(process.env.RECORDINGS, recording);
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  expect(manifest.state).toBe('complete');
  const consents = manifest.participants.map((one) => one.consent.map(({ state }) => state));
  const [first, other, late] = consents;
  expect([first, other].sort()).toEqual([['granted', 'withdrawn'], ['refused']].sort());
  expect(late).toEqual(['unknown', 'granted']);
  const stored = (consent) => {
    const number = manifest.participants[consents.indexOf(consent)].participant;
    return manifest.tracks.filter((track) => track.participant === number);
  };
  const refused = consents.find((consent) => consent[0] === 'refused');
  const withdrawn = consents.find((consent) => consent[1] === 'withdrawn');
  expect(stored(refused).reduce((sum, track) => sum + track.stored, 0)).toBe(0);
  expect(stored(late)[0].stored).toBeGreaterThan(100);
  const [track] = stored(withdrawn);
  expect(track.stored).toBeGreaterThan(100);
  const person = manifest.participants[consents.indexOf(withdrawn)];
  const at = person.consent.find(({ state }) => state === 'withdrawn').at_us;
  expect(track.until_us).toBeLessThan(at + 500_000);
  const lateTrack = stored(late)[0];
  const granted = manifest.participants[consents.indexOf(late)].consent[1].at_us;
  expect(lateTrack.from_us).toBeGreaterThanOrEqual(granted);
  expect(manifest.events.some(({ type }) => type === 'chat')).toBe(true);
  // No name of a person or a room stands in the clear.
  for (const file of readdirSync(folder)) {
    const bytes = readFileSync(join(folder, file));
    for (const name of ['wang', 'what is written', room]) {
      expect(bytes.includes(name), `${name} in ${file}`).toBe(false);
    }
  }
  process.stdout.write(`recording ${recording}\n`);
});
