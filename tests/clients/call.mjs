// A call between two rtc-node participants, audio and video both ways, and as many more as VOICES
// names, who speak and listen. It tells on demand what was sent and received. Driven over standard
// input and output: says `ready` once all see and hear whom they should, answers `stats` with one
// line of JSON, ends on `leave`.
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

const names = (process.env.VOICES ?? '').split(',').filter(Boolean);
const voices = await Promise.all(
  names.map(async (who) => {
    const person = await Person.join(url, await tokenFor(who, room), { autoSubscribe: false });
    await person.onlyListen();
    await person.speak(PEOPLE[who].hz);
    return [who, person];
  }),
);

const everybody = [['li', li], ['wang', wang], ...voices];
// Who has not been heard yet, and by whom. To look for a tone costs more than all the rest of the
// call, which stands still meanwhile: one at a time.
const unheard = everybody.flatMap(([me, person]) =>
  everybody.filter(([who]) => who !== me).map(([who]) => ({ me, person, who })),
);
const isHeard = ({ person, who }) => Math.abs(person.hears(who).hz - PEOPLE[who].hz) <= 10;
await until('all see and hear whom they should', () => {
  if (li.sees('wang').frames <= 30 || wang.sees('li').frames <= 30) return false;
  if (isHeard(unheard[0])) unheard.shift();
  return unheard.length === 0;
}, { timeout: 180_000, interval: 250 }).catch((error) => {
  const [seen, missing] = [[li.sees('wang'), wang.sees('li')], unheard.map(({ me, who }) => [me, who])];
  console.log(`failed ${error.message} ${JSON.stringify({ seen, missing })}`);
  process.exit(1);
});
console.log('ready');

const told = async (person, more) => {
  const [inbound, sounds] = await Promise.all([person.inbound(), person.soundsSent()]);
  return { inbound, sounds, reconnects: person.reconnects, ...more };
};
const watched = (person, other) => ({
  sees: person.sees(other),
  gap: person.takeLongestGap(other),
  shown: person.shown.pictures,
  shownGap: person.takeLongestGapShown(),
});
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'stats') {
    // All at once: what one has sent is compared with what another has received.
    const seers = { li: watched(li, 'wang'), wang: watched(wang, 'li') };
    const all = everybody.map(async ([who, one]) => [who, await told(one, seers[who])]);
    const stats = Object.fromEntries(await Promise.all(all));
    console.log(`stats ${JSON.stringify(stats)}`);
  }
  if (line === 'leave') break;
}
await Promise.all(everybody.map(([, person]) => person.leave()));
await dispose();
process.exit(0);
