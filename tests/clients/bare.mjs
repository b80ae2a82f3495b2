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
    const bare = await Bare.enter(await launch(media), identity, url, token, options);
    await bare.page.evaluate(() => window.room.localParticipant.enableCameraAndMicrophone());
    return bare;
  }

  // Joins in a window of its own of a browser and publishes nothing.
  static async enter(browser, identity, url, token, options = {}) {
    const bare = await Bare.open(browser, identity, url);
    await bare.page.evaluate(enter, { url, token, options });
    return bare;
  }

  // Opens a window with the SDK in it and joins nothing.
  static async open(browser, identity, url) {
    const bare = new Bare();
    Object.assign(bare, { identity, browser });
    const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
    bare.page = await context.newPage();
    bare.page.on('console', (line) => bare.console.push(`${line.type()}: ${line.text()}`));
    await bare.page.addInitScript({ path: PROOF });
    // A page of nothing that comes from loopback, which may speak with others there.
    await bare.page.goto(`${url.replace(/^ws/, 'http')}/healthz`);
    await bare.page.addScriptTag({ path: SDK });
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

  // The inbound stream of somebody's pictures.
  async inbound(identity) {
    return this.page.evaluate(
      (which) => window.proof.inbound(document.querySelector(which)?.srcObject?.getTracks()[0]),
      `video[data-identity="${identity}"]`,
    );
  }

  // Publishes pictures that the page draws itself, with the SDK's options.
  async show(rgb, picture, options) {
    await this.page.evaluate(paint, [rgb, picture, options]);
  }

  // Publishes a tone that the page makes itself.
  async speak(hz) {
    await this.page.evaluate(hum, hz);
  }

  // Says which quality of somebody's pictures is wanted, by the SDK's name for it.
  async want(identity, quality) {
    await this.page.evaluate(
      ([who, name]) => {
        const camera = window.room.remoteParticipants.get(who).getTrackPublication('camera');
        camera.setVideoQuality(window.LivekitClient.VideoQuality[name]);
      },
      [identity, quality],
    );
  }

  // Takes the pictures back.
  async hide() {
    await this.page.evaluate(async () => {
      const { localParticipant } = window.room;
      const { track } = localParticipant.getTrackPublication('camera') ?? {};
      if (track) await localParticipant.unpublishTrack(track);
    });
  }

  // The pictures that are encoded: of what codec, how many, and how.
  async sends() {
    return this.page.evaluate(() => window.proof.outbound());
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

  // Leaves the room and its window; the browser stays.
  async close() {
    await this.page.evaluate(() => window.room.disconnect());
    await this.page.context().close();
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
  const told = ['Reconnecting', 'SignalReconnecting', 'Reconnected', 'Moved', 'Disconnected'];
  for (const event of told) {
    room.on(RoomEvent[event], () => window.events.push(event));
  }
  await room.connect(url, token);
}

// Runs in the page: a wall of one colour with a white mark that moves.
async function paint([[r, g, b], { width, height, rate }, publishing]) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  let n = 0;
  const draw = () => {
    const side = width / 8;
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(0, 0, width, height);
    context.fillStyle = 'white';
    context.fillRect((n++ * 16) % (width - side), height / 2, side, side);
  };
  draw();
  setInterval(draw, 1_000 / rate);
  const [camera] = canvas.captureStream(rate).getVideoTracks();
  const { Track } = window.LivekitClient;
  await window.room.localParticipant.publishTrack(camera, {
    ...publishing,
    source: Track.Source.Camera,
  });
}

// Runs in the page. Without pauses: a tone that never changes is noise for an encoder that may pause.
async function hum(hz) {
  const context = new AudioContext();
  await context.resume();
  const [oscillator, gain] = [context.createOscillator(), context.createGain()];
  const end = context.createMediaStreamDestination();
  oscillator.frequency.value = hz;
  gain.gain.value = 0.25;
  oscillator.connect(gain).connect(end);
  oscillator.start();
  const { Track } = window.LivekitClient;
  const [microphone] = end.stream.getAudioTracks();
  await window.room.localParticipant.publishTrack(microphone, {
    source: Track.Source.Microphone,
    dtx: false,
  });
}
