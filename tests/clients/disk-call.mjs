// A recorded call of two rtc-node participants who watch what they are told of the recording. Says
// `<who> <state>` whenever that changes; `judge` on standard input judges three seconds of the call,
// `another` has somebody begin another room, `leave` ends it.
import { createInterface } from 'node:readline';
import { dispose } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';

const url = process.env.LIVEKIT_URL;
const consent = { 'consilium.consent': 'granted' };
const people = new Map();
const told = new Map();

async function enter(who, room) {
  const person = await Person.join(url, await tokenFor(who, room, {}, consent));
  people.set(who, person);
  await person.speak(PEOPLE[who].hz);
  await person.show(PEOPLE[who].rgb);
}

setInterval(() => {
  for (const [who, person] of people) {
    const state = person.room.localParticipant?.attributes['consilium.recording'];
    if (state && state !== told.get(who)) {
      told.set(who, state);
      console.log(`${who} ${state}`);
    }
  }
}, 50);

// What li gets of wang within three seconds.
async function judge() {
  const li = people.get('li');
  const sum = async () => {
    const streams = await li.inbound();
    const total = (key) => streams.reduce((all, stream) => all + (stream[key] ?? 0), 0);
    return { packets: total('packets'), lost: total('lost'), freezes: total('freezes') };
  };
  const [before, frames] = [await sum(), li.sees('wang').frames];
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const after = await sum();
  console.log(
    `judged ${JSON.stringify({
      hz: li.hears('wang').hz,
      wanted: PEOPLE.wang.hz,
      frames: li.sees('wang').frames - frames,
      packets: after.packets - before.packets,
      lost: after.lost - before.lost,
      freezes: after.freezes - before.freezes,
    })}`,
  );
}

await Promise.all(['li', 'wang'].map((who) => enter(who, 'disk')));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'judge') await judge();
  if (line === 'another') await enter('chen', 'another');
  if (line === 'leave') break;
}
await Promise.all([...people.values()].map((person) => person.leave()));
await dispose();
process.exit(0);
