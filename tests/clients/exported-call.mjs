// A consult of two rtc-node participants who agreed to be recorded, of whom one leaves and returns.
// Says `over` when it is; what was said and shown is in media.mjs.
import { dispose } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const url = process.env.LIVEKIT_URL;
const wait = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

async function enter(who) {
  const consent = { 'consilium.consent': 'granted' };
  const person = await Person.join(url, await tokenFor(who, 'exported', {}, consent));
  await person.speak(PEOPLE[who].hz);
  await person.show(PEOPLE[who].rgb);
  const isOn = () => person.room.localParticipant.attributes['consilium.recording'] === 'on';
  await until(`${who} is recorded`, isOn, { timeout: 30_000 });
  return person;
}

const [li, wang] = await Promise.all(['li', 'wang'].map(enter));
await wang.say('what is written is exported too');
await wait(5_000);
await li.leave();
await wait(2_000);
const again = await enter('li');
await wait(5_000);
await Promise.all([again.leave(), wang.leave()]);
console.log('over');
await dispose();
process.exit(0);
