// A call of two rtc-node participants who agreed to be recorded and who come back whenever the server
// has gone. Says `in` whenever both are recorded, ends on `leave`.
import { createInterface } from 'node:readline';
import { dispose, RoomEvent } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const url = process.env.LIVEKIT_URL;
let isOver = false;

async function stay(who) {
  while (!isOver) {
    try {
      const consent = { 'consilium.consent': 'granted' };
      const person = await Person.join(url, await tokenFor(who, 'killed', {}, consent));
      const gone = new Promise((resolve) => person.room.once(RoomEvent.Disconnected, resolve));
      await person.speak(PEOPLE[who].hz);
      await person.show(PEOPLE[who].rgb);
      const isOn = () =>
        person.room.localParticipant?.attributes['consilium.recording'] === 'on' || isOver;
      await until(`${who} is recorded`, isOn, { timeout: 30_000 });
      console.log(`in ${who}`);
      await Promise.race([gone, left]);
      await person.leave().catch(() => {});
    } catch (error) {
      // The server is away; it comes back.
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

let leave;
const left = new Promise((resolve) => {
  leave = resolve;
});
const calls = ['li', 'wang'].map(stay);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'leave') break;
}
isOver = true;
leave();
await Promise.all(calls);
await dispose();
process.exit(0);
