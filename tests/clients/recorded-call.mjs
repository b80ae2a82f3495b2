// A call of two rtc-node participants who agreed to be recorded and who come back whenever the server
// has gone, by the SDK's own means or, where it gives up, by joining again. Ends on `leave`.
import { createInterface } from 'node:readline';
import { dispose, RoomEvent } from '@livekit/rtc-node';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';

const url = process.env.LIVEKIT_URL;
let isOver = false;
let leave;
const left = new Promise((resolve) => {
  leave = resolve;
});

async function stay(who) {
  while (!isOver) {
    try {
      const consent = { 'consilium.consent': 'granted' };
      const person = await Person.join(url, await tokenFor(who, 'killed', {}, consent));
      const gone = new Promise((resolve) => person.room.once(RoomEvent.Disconnected, resolve));
      person.room.on(RoomEvent.Reconnected, () => console.log(`back ${who}`));
      await person.speak(PEOPLE[who].hz);
      await person.show(PEOPLE[who].rgb);
      console.log(`in ${who}`);
      await Promise.race([gone, left]);
      // A room that has gone cannot be left.
      await person.leave().catch(() => {});
    } catch (error) {
      // The server is away; it comes back.
      console.log(`${who}: ${error}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

const calls = ['li', 'wang'].map(stay);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'leave') break;
}
isOver = true;
leave();
await Promise.all(calls);
await dispose();
process.exit(0);
