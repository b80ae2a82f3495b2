// Three people in one room: Dr. Li and Dr. Wang in browsers of their own through the real page, Dr.
// Chen with the rtc-node SDK. Everybody has a colour, a tone and a mark that moves.
import { dispose } from '@livekit/rtc-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from 'vitest';
import { PEOPLE, files } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { Visitor } from './visitor.mjs';
import { until } from './wait.mjs';

const { PAGE_URL, LIVEKIT_URL, MEDIA_FOLDER } = process.env;
const ROOM = 'case-1042';
const FRAMES_PER_SECOND_MIN = 8;
const TONE_TOLERANCE_HZ = 10;
// Below this a spectrum holds noise only; the tones stand at -30 dB and above.
const SILENCE_DB = -70;
const GOOD_PROFILES = ['SRTP_AEAD_AES_256_GCM', 'SRTP_AEAD_AES_128_GCM'];
// Of a stream's packets: what a machine that does too much at once may drop in a socket.
const LOST_SHARE_MAX = 0.005;
// What a person calls frozen, and more than a busy machine delays a frame.
const FROZEN_MS = 1_000;

const names = ['li', 'wang', 'chen'];
const others = (who) => names.filter((name) => name !== who);

// The white mark and the frame counter lighten the colour; which channel leads stays clear.
function isColour(rgb, who) {
  const wanted = PEOPLE[who].rgb;
  const lead = wanted.indexOf(255);
  return rgb && rgb.every((value, k) => (k === lead ? value > 120 : value < rgb[lead] - 60));
}

const isTone = (heard, who) => heard && Math.abs(heard.hz - PEOPLE[who].hz) <= TONE_TOLERANCE_HZ;

describe('the page', () => {
  let li;
  let wang;
  let chen;
  const people = () => ({ li, wang, chen });

  beforeAll(async () => {
    const enter = async (who) => {
      const media = files(who, MEDIA_FOLDER);
      const visitor = await Visitor.open(who, PAGE_URL, await tokenFor(who, ROOM), media);
      await visitor.join();
      return visitor;
    };
    [li, wang] = await Promise.all([enter('li'), enter('wang')]);
    chen = await Person.join(LIVEKIT_URL, await tokenFor('chen', ROOM));
    await chen.speak(PEOPLE.chen.hz);
    await chen.show(PEOPLE.chen.rgb);
  });

  beforeEach(() => {
    onTestFailed(async () => {
      for (const visitor of [li, wang]) if (visitor) console.error(await visitor.dump());
      if (chen) console.error(JSON.stringify(await chen.inbound()));
    });
  });

  afterAll(async () => {
    await chen?.leave();
    await Promise.allSettled([li, wang].map((visitor) => visitor?.browser.close()));
    await dispose();
  });

  it('shows everybody the colour and the moving picture of everybody else', async () => {
    for (const who of names) {
      for (const other of others(who)) {
        await until(`${who} sees ${other}`, async () => {
          const seen = await people()[who].sees(other);
          const picture = seen && { rgb: seen.rgb, change: seen.change };
          return isColour(picture?.rgb, other) && picture.change > 2;
        });
      }
    }
  });

  it('decodes at least eight pictures a second of everybody', async () => {
    for (const who of ['li', 'wang']) {
      for (const other of others(who)) {
        await until(`${who} decodes ${other}`, async () => {
          const before = await people()[who].inbound(other);
          await until('two seconds of statistics', async () => {
            const now = await people()[who].inbound(other);
            return now.at - before.at > 2_000;
          });
          const after = await people()[who].inbound(other);
          const rate = (after.frames - before.frames) / ((after.at - before.at) / 1_000);
          return rate >= FRAMES_PER_SECOND_MIN;
        });
      }
    }
    for (const other of others('chen')) {
      await until(`chen decodes ${other}`, async () => {
        const [frames, began] = [chen.sees(other).frames, performance.now()];
        await until('two seconds', () => performance.now() - began > 2_000);
        const rate = (chen.sees(other).frames - frames) / ((performance.now() - began) / 1_000);
        return rate >= FRAMES_PER_SECOND_MIN;
      });
    }
  });

  it('plays everybody the tone of everybody else', async () => {
    for (const who of names) {
      for (const other of others(who)) {
        await until(`${who} hears ${other}`, async () => isTone(await people()[who].hears(other), other));
      }
    }
  });

  it('protects its media with an AEAD profile', async () => {
    for (const visitor of [li, wang]) {
      const transports = await visitor.transports();
      expect(transports.length).toBeGreaterThan(0);
      for (const { srtpCipher, dtlsState } of transports) {
        expect(dtlsState).toBe('connected');
        expect(GOOD_PROFILES).toContain(srtpCipher);
      }
      console.log(`${visitor.identity}: ${JSON.stringify(transports)}`);
    }
  });

  it('carries chat both ways between browsers and the SDK', async () => {
    await li.say('the MRI is ready 片子好了');
    await chen.say('seen by radiology');
    for (const text of ['the MRI is ready 片子好了', 'seen by radiology']) {
      for (const visitor of [li, wang]) {
        await until(`${visitor.identity} reads "${text}"`, async () =>
          (await visitor.reads()).some((message) => message.includes(text)),
        );
      }
    }
    await until('chen reads what li wrote', () =>
      chen.chats.some(({ from, text }) => from === 'li' && text === 'the MRI is ready 片子好了'),
    );
  });

  it('shows a shared screen and takes it away again', async () => {
    await li.control('share-button').click();
    await until('wang sees the screen move through the room', async () => {
      const seen = await wang.sees('li', 'screen');
      const stream = await wang.inbound('li', 'screen');
      return seen?.size[0] > 0 && stream?.frames > 0;
    });
    await li.control('share-button').click();
    await until('the screen is gone', async () => (await wang.tile('li', 'screen').count()) === 0);
    await until('li is still seen', async () => isColour((await wang.sees('li'))?.rgb, 'li'));
  });

  it('shows and keeps a mute, and ends it', async () => {
    await li.control('microphone-button').click();
    await until('wang sees the mute', async () =>
      (await wang.tile('li').getAttribute('data-muted')) === 'true',
    );
    await until('wang hears nothing', async () => !((await wang.hears('li'))?.db > SILENCE_DB));
    await until('chen hears nothing', () => chen.hears('li').level < 10);
    await li.control('microphone-button').click();
    await until('wang sees the end of the mute', async () =>
      (await wang.tile('li').getAttribute('data-muted')) === 'false',
    );
    await until('wang hears li again', async () => isTone(await wang.hears('li'), 'li'));
    await until('chen hears li again', () => isTone(chen.hears('li'), 'li'));
  });

  it('switches layers with the size of the picture, without a frozen or garbled frame', async () => {
    const keepLarge = (who) => wang.tile(who).getByRole('button').click();
    const becomes = (what, test) =>
      until(what, async () => test((await wang.inbound('li'))?.width), { timeout: 90_000 });

    await keepLarge('chen');
    await becomes('li arrives small', (width) => width <= 320);
    await wang.watch('li');
    await keepLarge('li');
    await becomes('li arrives large', (width) => width >= 640);
    await keepLarge('chen');
    await becomes('li arrives small again', (width) => width <= 320);
    const { rgb, longestGap, frames } = await wang.unwatch();
    console.log(`layer switches: longest time without a new frame ${Math.round(longestGap)} ms`);
    expect(frames).toBeGreaterThan(0);
    expect(longestGap).toBeLessThan(FROZEN_MS);
    expect(rgb.length).toBeGreaterThan(10);
    expect(rgb.filter((colour) => !isColour(colour, 'li'))).toEqual([]);
  });

  it('shows a late joiner everybody at once', async () => {
    const grants = { canPublish: false };
    const token = await tokenFor('observer', ROOM, grants);
    const observer = await Visitor.beside(wang, 'observer', PAGE_URL, token);
    onTestFailed(async () => console.error(await observer.dump()));
    await observer.control('join-button').waitFor();
    // Measured in the page itself: from entering the room to the first picture of each.
    await observer.page.evaluate((wanted) => {
      const seen = {};
      let inside;
      const look = () => {
        inside ??= document.querySelector('[data-testid="room"][data-phase="inside"]')
          ? performance.now()
          : undefined;
        for (const who of wanted) {
          const video = document.querySelector(
            `[data-testid="tile"][data-identity="${who}"][data-source="camera"] video`,
          );
          if (!seen[who] && video?.videoWidth) seen[who] = performance.now() - inside;
        }
        if (Object.keys(seen).length < wanted.length) requestAnimationFrame(look);
        else window.firstPictures = seen;
      };
      look();
    }, names);
    await observer.join();
    const first = await until('the observer sees everybody', () =>
      observer.page.evaluate(() => window.firstPictures),
    );
    console.log(`late joiner: first pictures after ${JSON.stringify(first)} ms`);
    for (const who of names) {
      await until(`the observer sees ${who}`, async () => isColour((await observer.sees(who))?.rgb, who));
    }
    await observer.close();
    await until('the observer is gone from the stage', async () =>
      (await wang.tile('observer').count()) === 0,
    );
  });

  it('loses no packet', async () => {
    for (const who of ['li', 'wang']) {
      for (const other of others(who)) {
        for (const source of ['camera', 'microphone']) {
          const { packets, lost } = await people()[who].inbound(other, source);
          const told = `${who} received ${packets} packets of ${other}'s ${source}, lost ${lost}`;
          console.log(told);
          // Chromium takes a steady tone for noise at times and then sends 2.5 packets a second.
          expect(packets, told).toBeGreaterThan(source === 'camera' ? 100 : 20);
          expect(lost, told).toBeLessThanOrEqual(packets * LOST_SHARE_MAX);
        }
      }
    }
  });

  it('tells the others when somebody leaves', async () => {
    await li.leave();
    await until('wang sees li leave', async () => (await wang.tile('li').count()) === 0);
    await until('chen sees li leave', () => !chen.room.remoteParticipants.has('li'));
  });

  it('logs no error', () => {
    const errors = [li, wang].flatMap((visitor) =>
      visitor.console.filter((line) => line.startsWith('error')),
    );
    expect(errors).toEqual([]);
  });
});
