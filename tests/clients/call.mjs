// A call between two rtc-node participants, audio and video both ways, that tells on demand what it
// received. Driven over standard input and output: says `ready` once both see and hear each other,
// answers `stats` with one line of JSON, ends on `leave`.
import { createInterface } from 'node:readline';
import { dispose } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const url = process.env.LIVEKIT_URL;
const room = process.env.ROOM ?? 'call';
const [li, wang] = await Promise.all(
  ['li', 'wang'].map(async (who) => {
    const person = await Person.join(url, await tokenFor(who, room));
    await person.speak(PEOPLE[who].hz);
    await person.show(PEOPLE[who].rgb);
    return person;
  }),
);

const perceived = () => ({
  li: { sees: li.sees('wang'), hears: li.hears('wang') },
  wang: { sees: wang.sees('li'), hears: wang.hears('li') },
});
await until('both see and hear each other', () => {
  const now = perceived();
  const alive = (p, hz) => p.sees.frames > 30 && Math.abs(p.hears.hz - hz) <= 10;
  return alive(now.li, PEOPLE.wang.hz) && alive(now.wang, PEOPLE.li.hz) ? now : null;
}).catch((error) => {
  console.log(`failed ${error.message} ${JSON.stringify(perceived())}`);
  process.exit(1);
});
console.log('ready');

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'stats') {
    const stats = {
      li: { inbound: await li.inbound(), ...perceived().li },
      wang: { inbound: await wang.inbound(), ...perceived().wang },
    };
    console.log(`stats ${JSON.stringify(stats)}`);
  }
  if (line === 'leave') break;
}
await Promise.all([li.leave(), wang.leave()]);
await dispose();
process.exit(0);
