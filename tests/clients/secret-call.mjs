// A call of two rtc-node participants who agreed to be recorded, under names that nobody else has, and
// who write to each other all the time. Says `in` once both are, ends on `leave`.
import { createInterface } from 'node:readline';
import { dispose } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';

const { LIVEKIT_URL: url, ROOM: room, NAMES: names, CHAT: chat } = process.env;

const looks = [PEOPLE.li, PEOPLE.wang];
const people = await Promise.all(
  names.split(' ').map(async (name, at) => {
    const consent = { 'consilium.consent': 'granted' };
    const person = await Person.join(url, await tokenFor(name, room, {}, consent));
    await person.speak(looks[at].hz);
    await person.show(looks[at].rgb);
    return person;
  }),
);
console.log('in');
let n = 0;
const writing = setInterval(() => people[n++ % 2].say(`${chat} ${n}`).catch(console.error), 400);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'leave') break;
}
clearInterval(writing);
await Promise.all(people.map((person) => person.leave()));
await dispose();
process.exit(0);
