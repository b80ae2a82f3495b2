// A participant in Chromium by the unmodified livekit-client alone, without our page: for options of
// the SDK that the page does not use.
import { fileURLToPath } from 'node:url';
import { launch } from './browser.mjs';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const SDK = file('./node_modules/livekit-client/dist/livekit-client.umd.js');
const PROOF = file('./proof.js');

export class Bare {
  console = [];

  // Joins with a fake camera and microphone of one's own and publishes both.
  static async join(identity, url, token, media, options = {}) {
    const bare = new Bare();
    bare.identity = identity;
    bare.browser = await launch(media);
    const context = await bare.browser.newContext({ permissions: ['camera', 'microphone'] });
    bare.page = await context.newPage();
    bare.page.on('console', (line) => bare.console.push(`${line.type()}: ${line.text()}`));
    await bare.page.addInitScript({ path: PROOF });
    // A page of nothing that comes from loopback, which may speak with others there.
    await bare.page.goto(`${url.replace('ws:', 'http:')}/healthz`);
    await bare.page.addScriptTag({ path: SDK });
    await bare.page.evaluate(enter, { url, token, options });
    return bare;
  }

  // The picture of somebody as it is shown: colour, change, size; null when there is none.
  async sees(identity) {
    return this.page.evaluate(
      (which) => window.proof.picture(document.querySelector(which)),
      `video[data-identity="${identity}"]`,
    );
  }

  // The sound of somebody as it is played.
  async hears(identity) {
    return this.page.evaluate(
      (which) => window.proof.tone(document.querySelector(which)?.srcObject),
      `audio[data-identity="${identity}"]`,
    );
  }

  async say(text) {
    await this.page.evaluate((words) => {
      const payload = new TextEncoder().encode(words);
      return window.room.localParticipant.publishData(payload, { reliable: true });
    }, text);
  }

  // What others have said, as [identity, text].
  async heard() {
    return this.page.evaluate(() => window.heard);
  }

  // What has happened to the room, by the SDK's names.
  async events() {
    return this.page.evaluate(() => window.events);
  }

  // How many connections there are, and how many sections each has.
  async sections() {
    return this.page.evaluate(() => window.proof.sections());
  }

  async dump() {
    const stats = await this.page.evaluate(() => window.proof.dump()).catch((e) => [String(e)]);
    return [`== ${this.identity}`, ...this.console, ...stats].join('\n');
  }

  async leave() {
    await this.page.evaluate(() => window.room.disconnect());
    await this.browser.close();
  }
}

// Runs in the page.
async function enter({ url, token, options }) {
  const { Room, RoomEvent } = window.LivekitClient;
  // Chromium takes a tone for noise.
  const audioCaptureDefaults = {
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: false,
  };
  const room = new Room({ audioCaptureDefaults, ...options });
  Object.assign(window, { room, heard: [], events: [] });
  const shown = new Map();
  room.on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
    const element = track.attach();
    element.dataset.identity = participant.identity;
    document.body.append(element);
    shown.set(track, element);
  });
  room.on(RoomEvent.TrackUnsubscribed, (track) => {
    // The SDK has detached it already.
    shown.get(track)?.remove();
    shown.delete(track);
  });
  room.on(RoomEvent.DataReceived, (payload, participant) => {
    window.heard.push([participant?.identity, new TextDecoder().decode(payload)]);
  });
  for (const event of ['Reconnecting', 'SignalReconnecting', 'Reconnected', 'Disconnected']) {
    room.on(RoomEvent[event], () => window.events.push(event));
  }
  await room.connect(url, token);
  await room.localParticipant.enableCameraAndMicrophone();
}
