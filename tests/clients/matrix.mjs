// Every client against every other in one room, a room for each codec: each publishes pictures of a
// colour of its own and a tone of its own, and looks whether it sees and hears all others. ROWS says
// who is in which room, as in `vp8=browser-v1,python-v0 h264=...`. Prints `row` and one line of JSON
// for each codec: what each encoded or why not, and what each perceived of each other.
import { dispose } from '@livekit/rtc-node';
import { VideoCodec } from '@livekit/rtc-ffi-bindings';
import { Bare } from './bare.mjs';
import { launch } from './browser.mjs';
import { Person } from './person.mjs';
import { Pythons } from './pythons.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const { LIVEKIT_URL, ROWS } = process.env;
// What five clients encode and four others of each decode on two cores.
const PICTURE = { width: 512, height: 288, rate: 8 };
// Layers of which each subscriber may have as many as it wants; of pictures this small two are made.
const MODES = { vp9: 'L3T3_KEY', av1: 'L3T3_KEY' };
// What a client falls back on that cannot encode what it should.
const FALLBACK = 'vp8';
const FRAMES_MIN = 20;
// A picture that stands still has none; the mark of least contrast, white on cyan, makes 0.7.
const CHANGE_MIN = 0.4;
const TONE_TOLERANCE_HZ = 15;
// The machine may be slow and shared: an encoder that has said nothing until then never will.
const ENCODES = { timeout: 40_000, interval: 500 };
const PERCEIVES = { timeout: 90_000, interval: 500 };

// Colours at the corners of the cube, which no codec turns into each other, and tones of which none
// is a multiple of another.
const CLIENTS = {
  'browser-v1': { rgb: [255, 0, 0], hz: 440 },
  'browser-v0': { rgb: [0, 255, 0], hz: 700 },
  'rtc-node': { rgb: [0, 0, 255], hz: 1130 },
  'python-v1': { rgb: [255, 0, 255], hz: 1830, colour: 'magenta' },
  'python-v0': { rgb: [0, 255, 255], hz: 940, colour: 'cyan' },
};

// Each client with the same face: speak, show, hide, sends, perceives, leave.
class Browser {
  static #chromium;

  static async join(who, token) {
    Browser.#chromium ??= launch();
    const options = { singlePeerConnection: who === 'browser-v1' };
    const browser = new Browser();
    browser.bare = await Bare.enter(await Browser.#chromium, who, LIVEKIT_URL, token, options);
    return browser;
  }

  speak = ({ hz }) => this.bare.speak(hz);

  show({ rgb }, codec, mode) {
    const options = { videoCodec: codec, scalabilityMode: mode, backupCodec: false, simulcast: !mode };
    return this.bare.show(rgb, PICTURE, options);
  }

  hide = () => this.bare.hide();
  sends = () => this.bare.sends();

  async perceives(other) {
    const [seen, heard, inbound] = await Promise.all([
      this.bare.sees(other),
      this.bare.hears(other),
      this.bare.inbound(other),
    ]);
    return { ...inbound, ...seen, hz: heard?.hz };
  }

  wantLittle = (other) => this.bare.want(other, 'LOW');
  dump = () => this.bare.dump();
  leave = () => this.bare.close();

  static async end() {
    await (await Browser.#chromium)?.close();
  }
}

class Node {
  static async join(_, token) {
    const node = new Node();
    node.person = await Person.join(LIVEKIT_URL, token);
    return node;
  }

  speak = ({ hz }) => this.person.speak(hz);

  show({ rgb }, codec, mode) {
    const videoCodec = VideoCodec[codec.toUpperCase()];
    return this.person.show(rgb, { ...PICTURE, videoCodec, scalabilityMode: mode, simulcast: !mode });
  }

  // It has no word for how much it wants: it gets all that there is.
  hide = () => this.person.hide();
  sends = () => this.person.sends();

  async perceives(other) {
    const { hz } = this.person.hears(other);
    return { ...this.person.sees(other), hz, codec: await this.#codec(other) };
  }

  // This SDK does not say which stream is whose. What a publication claims is believed if as many
  // streams of that codec are decoded as publications claim it.
  async #codec(other) {
    const camera = (participant) =>
      [...(participant?.trackPublications.values() ?? [])].find((one) => one.mimeType.startsWith('video/'));
    const others = this.person.room.remoteParticipants;
    const codec = camera(others.get(other))?.mimeType;
    const claimed = [...others.values()].filter((one) => camera(one)?.mimeType === codec);
    const streams = await this.person.inbound();
    const decoded = streams.filter((one) => one.codec === codec && one.frames > 0);
    return decoded.length >= claimed.length ? codec : null;
  }

  async dump() {
    const others = [...this.person.room.remoteParticipants.values()];
    const published = others.flatMap((one) =>
      [...one.trackPublications.values()].map(({ sid, mimeType, subscribed, track }) =>
        [one.identity, sid, mimeType, subscribed, Boolean(track)].join(' '),
      ),
    );
    const streams = (await this.person.inbound()).map((one) => JSON.stringify(one));
    return [...published, ...streams].join('\n');
  }

  leave = () => this.person.leave();
}

class Python {
  static #process;

  static async join(who, token) {
    Python.#process ??= Pythons.start();
    const python = new Python();
    python.who = who;
    await python.#ask('join', { url: LIVEKIT_URL, token, single: who === 'python-v1' });
    return python;
  }

  #ask = (what, more) => Python.#process.ask(this.who, what, more);
  speak = ({ colour }) => this.#ask('speak', { colour });

  show({ colour }, codec, mode = null) {
    return this.#ask('show', { colour, codec, mode, ...PICTURE, simulcast: !mode });
  }

  hide = () => this.#ask('hide');
  sends = () => this.#ask('sends');
  perceives = (who) => this.#ask('perceives', { who });
  wantLittle = (who) => this.#ask('want_little', { who });
  dump = async () => Python.#process.said.slice(-5_000);
  leave = () => this.#ask('leave');

  static end() {
    Python.#process?.end();
  }
}

const KINDS = { browser: Browser, rtc: Node, python: Python };

async function enter(who, room) {
  // Nothing here is recorded, so nobody has to agree.
  const client = await KINDS[who.split('-')[0]].join(who, await tokenFor(who, room));
  return [who, client];
}

// Has a client publish in `codec`; where it cannot, it publishes what it can. Says which, and why.
async function publish([who, client], codec) {
  await client.speak(CLIENTS[who]);
  try {
    await client.show(CLIENTS[who], codec, MODES[codec]);
    const sent = await encodes(who, client);
    if (sent.codec === mime(codec)) return sent;
    return { ...sent, cannot: `it sends ${sent.codec} instead` };
  } catch (error) {
    const cannot = String(error.message).split('\n')[0];
    console.log(`${who} cannot encode ${codec}: ${cannot}\n${await client.dump()}`);
    await client.hide();
    await client.show(CLIENTS[who], FALLBACK);
    return { ...(await encodes(who, client)), cannot };
  }
}

const mime = (codec) => `video/${codec.toUpperCase()}`;

function encodes(who, client) {
  const isMoving = async () => {
    const sent = await client.sends();
    return sent?.frames >= 5 && sent.codec && sent;
  };
  return until(`${who} encodes`, isMoving, ENCODES);
}

// The corner of the cube that a colour is at, or null if it is none's.
function corner(rgb) {
  const isClear = rgb?.every((value) => value < 110 || value > 145);
  return isClear ? rgb.map((value) => (value > 145 ? 255 : 0)).join() : null;
}

function isRight(seen, other, sent) {
  const { rgb, hz } = CLIENTS[other];
  return (
    seen?.frames >= FRAMES_MIN &&
    seen.change > CHANGE_MIN &&
    corner(seen.rgb) === rgb.join() &&
    Math.abs(seen.hz - hz) <= TONE_TOLERANCE_HZ &&
    seen.codec === sent.codec
  );
}

async function row(codec, names, number) {
  const began = performance.now();
  const room = `matrix-${codec}-${number}`;
  const clients = await Promise.all(names.map((who) => enter(who, room)));
  const sent = {};
  await Promise.all(
    clients.map(async (one) => {
      sent[one[0]] = await publish(one, codec);
    }),
  );
  const looks = async ([who, client]) => {
    const cells = [];
    for (const other of names.filter((name) => name !== who)) {
      const seen = await until(`${who} sees and hears ${other} in ${codec}`, async () => {
        const now = await client.perceives(other);
        if (!isRight(now, other, sent[other])) throw new Error(JSON.stringify([now, sent[other]]));
        return now;
      }, PERCEIVES);
      cells.push({ who, other, ...seen, small: await small(client, other) });
    }
    return cells;
  };
  // In layers: whoever wants little gets less of the same stream, while others have it all.
  const small = async (client, other) => {
    if (!MODES[codec] || sent[other].cannot || !client.wantLittle) return null;
    await client.wantLittle(other);
    const isSmall = async () => {
      const now = await client.perceives(other);
      if (!isRight(now, other, sent[other]) || now.size[0] > PICTURE.width / 2) throw new Error(JSON.stringify(now));
      return now.size;
    };
    return until(`less of ${other} is sent in ${codec}`, isSmall, PERCEIVES);
  };
  let cells;
  try {
    cells = (await Promise.all(clients.map(looks))).flat();
  } catch (error) {
    for (const [who, client] of clients) {
      console.log(`== ${who}\n${await client.dump()}`);
      for (const other of names) {
        if (other !== who) console.log(who, other, JSON.stringify(await client.perceives(other)));
      }
    }
    throw error;
  }
  await Promise.all(clients.map(([, client]) => client.leave()));
  const seconds = Math.round((performance.now() - began) / 1_000);
  console.log(`row ${JSON.stringify({ codec, seconds, sent, cells })}`);
}

let code = 0;
try {
  for (const [number, wanted] of ROWS.split(' ').entries()) {
    const [codec, names] = wanted.split('=');
    await row(codec, names.split(','), number);
  }
} catch (error) {
  console.log(`failed ${error.stack}`);
  code = 1;
}
await Browser.end();
Python.end();
await dispose();
process.exit(code);
