// Two people in one room on a clinic's network: through the real page over TLS, with a certificate of an
// authority that the browser knows. What the network lets through is decided in firewall.mjs.
import { afterEach, beforeEach, describe, expect, it, onTestFailed } from 'vitest';
import { allowUdp, barUdp } from './firewall.mjs';
import { files } from './media.mjs';
import { tokenFor } from './token.mjs';
import { Visitor } from './visitor.mjs';
import { until } from './wait.mjs';

const { PAGE_URL, PAGE_WITHOUT_TURN_URL, MEDIA_FOLDER } = process.env;
const COLOURS = {
  li: ([r, g, b]) => r > 120 && g < r - 60 && b < r - 60,
  wang: ([r, g, b]) => g > 120 && r < g - 60 && b < g - 60,
};
const HZ = { li: 440, wang: 700 };

describe('Chromium', () => {
  let visitors = [];

  beforeEach(() => {
    onTestFailed(async () => {
      for (const visitor of visitors) console.error(await visitor.dump());
    });
  });

  afterEach(async () => {
    await Promise.allSettled(visitors.map((visitor) => visitor.browser.close()));
    visitors = [];
    allowUdp();
  });

  // Lets both in and says how long the path of each took from the press of the button.
  async function enter(room, { icePolicy, page = PAGE_URL } = {}) {
    for (const who of ['li', 'wang']) {
      const media = files(who, MEDIA_FOLDER);
      const token = await tokenFor(who, room);
      visitors.push(await Visitor.open(who, page, token, media, icePolicy));
    }
    for (const visitor of visitors) {
      const began = performance.now();
      await visitor.join();
      const path = await until(`${visitor.identity} has a path`, () => visitor.path());
      const took = Math.round(performance.now() - began);
      console.log(`${visitor.identity} is in after ${took} ms: ${JSON.stringify(path)}`);
    }
    return visitors;
  }

  async function seeAndHearEachOther([li, wang]) {
    for (const [who, other] of [
      [li, 'wang'],
      [wang, 'li'],
    ]) {
      await until(`${who.identity} sees ${other}`, async () => {
        const seen = await who.sees(other);
        return seen && COLOURS[other](seen.rgb) && seen.change > 2;
      });
      await until(`${who.identity} hears ${other}`, async () => {
        const heard = await who.hears(other);
        return heard && Math.abs(heard.hz - HZ[other]) < 15;
      });
    }
  }

  it('joins over the one TCP port where UDP is barred, and sees and hears', async () => {
    barUdp();
    const both = await enter('tcp only', { page: PAGE_WITHOUT_TURN_URL });
    const port = Number(new URL(PAGE_WITHOUT_TURN_URL).port);
    await seeAndHearEachOther(both);
    for (const visitor of both) {
      expect(await visitor.path()).toMatchObject({ protocol: 'tcp', remote: 'host', port });
    }
  });

  it('joins by TURN over TLS on the same port, and sees and hears', async () => {
    barUdp();
    const both = await enter('relay only', { icePolicy: 'relay' });
    await seeAndHearEachOther(both);
    for (const visitor of both) {
      expect(await visitor.path()).toMatchObject({ kind: 'relay', relayProtocol: 'tls' });
    }
  });

  it('falls over to TCP when UDP is barred in mid-call', async () => {
    const [li, wang] = await enter('fall over');
    await seeAndHearEachOther([li, wang]);
    for (const visitor of [li, wang]) {
      expect(await visitor.path()).toMatchObject({ protocol: 'udp', remote: 'host' });
    }
    const sound = (who, other) => who.inbound(other, 'microphone');
    barUdp();
    const began = performance.now();
    const took = (visitor, other) =>
      (async () => {
        await until(`${visitor.identity} comes by TCP`, async () => {
          const path = await visitor.path();
          return path?.protocol === 'tcp' || path?.kind === 'relay';
        });
        const path = Math.round(performance.now() - began);
        const before = await sound(visitor, other);
        await until(`${visitor.identity} is sent sound again`, async () => {
          const now = await sound(visitor, other);
          return now && before && now.packets > before.packets + 5;
        });
        const whole = Math.round(performance.now() - began);
        console.log(`${visitor.identity} has another path after ${path} ms, sound after ${whole} ms`);
      })();
    await Promise.all([took(li, 'wang'), took(wang, 'li')]);
    await seeAndHearEachOther([li, wang]);
  });
});
