// Data of somebody who may not send any goes nowhere.
import { dispose } from '@livekit/rtc-node';
import { afterAll, expect, it } from 'vitest';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

afterAll(dispose);

it('data without the grant reaches nobody, and everybody else is heard', async () => {
  const room = 'grants';
  const join = async (who, grants) =>
    Person.join(process.env.LIVEKIT_URL, await tokenFor(who, room, grants));
  const [li, wang] = await Promise.all([join('li'), join('wang')]);
  const observer = await join('observer', { canPublishData: false });
  const heard = () => wang.chats.map(({ from, text }) => `${from}: ${text}`);

  // Several rounds, because nothing orders the words of two people.
  const said = [];
  for (const round of ['one', 'two', 'three']) {
    // An SDK may refuse by itself; the server must refuse in any case.
    await observer.say(`let me speak: ${round}`).catch(() => {});
    await observer.room.localParticipant
      .publishData(new TextEncoder().encode(round), { reliable: true })
      .catch(() => {});
    await li.say(round);
    said.push(`li: ${round}`);
    await until(`wang reads li: ${round}`, () => heard().includes(`li: ${round}`));
  }
  expect(heard()).toEqual(said);
  expect(wang.data.filter(({ from }) => from === 'observer')).toEqual([]);
  await Promise.all([li, wang, observer].map((person) => person.leave()));
});
