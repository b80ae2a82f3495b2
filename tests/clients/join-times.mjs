// How long a person waits: from the wish to join to the first sound and the first picture that are
// decoded, over JOINS joins, one after the other, into a room where somebody speaks. Prints JSON.
import { dispose } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const url = process.env.LIVEKIT_URL;
const joins = Number(process.env.JOINS ?? 50);
const room = 'join-times';

const speaker = await Person.join(url, await tokenFor('li', room));
await speaker.speak(PEOPLE.li.hz);
await speaker.show(PEOPLE.li.rgb);

const times = { connected: [], audio: [], video: [] };
for (let n = 0; n < joins; n++) {
  const token = await tokenFor(`listener-${n}`, room);
  const began = performance.now();
  const listener = await Person.join(url, token);
  times.connected.push(performance.now() - began);
  const heard = listener.of('li');
  await until(`join ${n} brings sound and picture`, () => heard.firstAudioAt && heard.firstVideoAt, {
    interval: 5,
  });
  times.audio.push(heard.firstAudioAt - began);
  times.video.push(heard.firstVideoAt - began);
  await listener.leave();
}
await speaker.leave();
await dispose();
console.log(`times ${JSON.stringify(times)}`);
process.exit(0);
