// A participant made of the unmodified rtc-node SDK: sends a colour and a tone, and knows what it
// sees and hears of everybody else.
import {
  AudioFrame,
  AudioSource,
  AudioStream,
  LocalAudioTrack,
  LocalVideoTrack,
  Room,
  RoomEvent,
  TrackKind,
  TrackPublishOptions,
  TrackSource,
  VideoBufferType,
  VideoFrame,
  VideoSource,
  VideoStream,
} from '@livekit/rtc-node';
import {
  FRAMES_PER_SECOND,
  HEIGHT,
  loudest,
  NUMBER_BITS,
  number,
  picture,
  SAMPLE_RATE,
  tone,
  WIDTH,
} from './media.mjs';

// What is judged is the last second.
const WINDOW = SAMPLE_RATE;

export class Person {
  room = new Room();
  chats = [];
  data = [];
  reconnects = 0;
  // Pictures that were given to the engine, and the longest time without one.
  shown = { pictures: 0, longestGap: 0, at: undefined };
  // By identity: { samples: [Int16Array], frames, rgb, change, firstAudioAt, firstVideoAt }
  others = new Map();
  #running = true;
  #feeds = [];

  static async join(url, token, options = {}) {
    const person = new Person();
    person.#listen();
    await person.room.connect(url, token, { autoSubscribe: true, dynacast: true, ...options });
    return person;
  }

  #listen() {
    this.room.on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
      const other = this.of(participant.identity);
      const watch = track.kind === TrackKind.KIND_AUDIO ? this.#hear : this.#see;
      watch.call(this, track, other).catch((error) => {
        if (this.#running) throw error;
      });
    });
    this.room.on(RoomEvent.Reconnecting, () => {
      this.reconnects += 1;
    });
    this.room.on(RoomEvent.ChatMessage, (message, participant) => {
      this.chats.push({ from: participant?.identity, text: message.message });
    });
    this.room.on(RoomEvent.DataReceived, (payload, participant) => {
      this.data.push({ from: participant?.identity, payload });
    });
    this.room.registerTextStreamHandler('lk.chat', async (reader, { identity }) => {
      this.chats.push({ from: identity, text: await reader.readAll() });
    });
  }

  // What this person perceives of `identity`.
  of(identity) {
    if (!this.others.has(identity)) {
      this.others.set(identity, { samples: [], frames: 0, rgb: [0, 0, 0], change: 0 });
    }
    return this.others.get(identity);
  }

  async #hear(track, other) {
    for await (const frame of new AudioStream(track, SAMPLE_RATE, 1)) {
      other.firstAudioAt ??= frame.data.some((s) => Math.abs(s) > 500) ? performance.now() : undefined;
      other.samples.push(frame.data.slice());
      let kept = other.samples.reduce((sum, s) => sum + s.length, 0);
      while (kept - other.samples[0].length >= WINDOW) kept -= other.samples.shift().length;
    }
  }

  async #see(track, other) {
    let before;
    for await (const { frame } of new VideoStream(track)) {
      other.firstVideoAt ??= performance.now();
      other.frames += 1;
      widenGap(other);
      other.size = [frame.width, frame.height];
      // Looking at every pixel of every frame would cost more than decoding them.
      if (other.frames % 7 !== 1) continue;
      const { grid, mean } = sample(frame);
      if (before) {
        const change = grid.reduce((sum, v, i) => sum + Math.abs(v - before[i]), 0) / grid.length;
        other.change = change;
      }
      before = grid;
      other.rgb = mean;
    }
  }

  hears(identity) {
    const { samples } = this.of(identity);
    const all = new Float64Array(samples.reduce((sum, s) => sum + s.length, 0));
    let at = 0;
    for (const part of samples) {
      all.set(part, at);
      at += part.length;
    }
    return { ...loudest(all), samples: all.length };
  }

  sees(identity) {
    const { frames, rgb, change, size } = this.of(identity);
    return { frames, rgb, change, size };
  }

  // The longest time in milliseconds without a picture of `identity` since this was last asked.
  takeLongestGap(identity) {
    return takeGap(this.of(identity));
  }

  // The same of the pictures that this person shows: where the machine stands still, these do too.
  takeLongestGapShown() {
    return takeGap(this.shown);
  }

  // From now on of all that is published only what is heard comes.
  async onlyListen() {
    const take = (publication) => {
      if (publication.kind === TrackKind.KIND_AUDIO) publication.setSubscribed(true);
    };
    this.room.on(RoomEvent.TrackPublished, take);
    for (const other of this.room.remoteParticipants.values()) {
      for (const publication of other.trackPublications.values()) take(publication);
    }
  }

  async speak(hz) {
    const source = new AudioSource(SAMPLE_RATE, 1);
    const track = LocalAudioTrack.createAudioTrack('microphone', source);
    this.#feeds.push(this.#feedTone(source, hz));
    return this.#publish(track, TrackSource.SOURCE_MICROPHONE);
  }

  async #feedTone(source, hz) {
    // captureFrame waits until the engine has played the frame: this keeps its own time.
    for (let at = 0; this.#running; at += SAMPLE_RATE / 100) {
      const samples = tone(hz, at);
      await source.captureFrame(new AudioFrame(samples, SAMPLE_RATE, 1, samples.length));
    }
  }

  async show(
    rgb,
    { width = WIDTH, height = HEIGHT, rate = FRAMES_PER_SECOND, isNumbered = false, ...more } = {},
  ) {
    const source = new VideoSource(width, height);
    const track = LocalVideoTrack.createVideoTrack('camera', source);
    let n = 0;
    const capture = () => {
      const frame = picture(rgb, n, width, height);
      if (isNumbered) number(frame, n, width, height);
      n = (n + 1) % 2 ** NUMBER_BITS;
      this.shown.pictures += 1;
      widenGap(this.shown);
      source.captureFrame(new VideoFrame(frame, width, height, VideoBufferType.I420));
    };
    // Until it is given a first picture the SDK sends black ones.
    capture();
    const timer = setInterval(capture, 1_000 / rate);
    this.#feeds.push({ stop: () => clearInterval(timer) });
    return this.#publish(track, TrackSource.SOURCE_CAMERA, { simulcast: true, ...more });
  }

  // Takes the pictures back.
  async hide() {
    const published = [...this.room.localParticipant.trackPublications.values()];
    const camera = published.find(({ source }) => source === TrackSource.SOURCE_CAMERA);
    if (camera) await this.room.localParticipant.unpublishTrack(camera.sid);
  }

  async #publish(track, source, more = {}) {
    const options = Object.assign(new TrackPublishOptions(), { source, ...more });
    return this.room.localParticipant.publishTrack(track, options);
  }

  async say(text) {
    await this.room.localParticipant.sendText(text, { topic: 'lk.chat' });
  }

  // What the engine counts, of one kind of report, and its codecs by name.
  async #counted(kind) {
    const { publisherStats, subscriberStats } = await this.room.getRtcStats();
    const all = [...publisherStats, ...subscriberStats].map(({ stats }) => stats);
    const of = (which) => all.filter((one) => one.case === which).map((one) => one.value);
    const codecs = new Map(of('codec').map(({ rtc, codec }) => [rtc.id, codec.mimeType]));
    // With one connection both lists are the same.
    const found = new Map(of(kind).map((one) => [one.rtc.id, one]));
    return [...found.values()].map((one) => ({ ...one, codec: codecs.get(one.stream.codecId) }));
  }

  // The pictures that are encoded here, of all sizes of them together.
  async sends() {
    const sent = (await this.#counted('outboundRtp')).filter((one) => one.stream.kind === 'video');
    const used = sent.find(({ outbound }) => outbound.framesEncoded > 0);
    if (!used) return null;
    return {
      codec: used.codec,
      frames: sent.reduce((sum, { outbound }) => sum + outbound.framesEncoded, 0),
      encoder: used.outbound.encoderImplementation,
      mode: used.outbound.scalabilityMode,
      sizes: sent.map(({ outbound }) => outbound.frameWidth),
    };
  }

  // The packets of sound that left, as the engine counts them.
  async soundsSent() {
    const sent = (await this.#counted('outboundRtp')).filter((one) => one.stream.kind === 'audio');
    return sent.reduce((sum, one) => sum + Number(one.sent.packetsSent), 0);
  }

  // The inbound streams as the engine counts them.
  async inbound() {
    const received = await this.#counted('inboundRtp');
    return received.map(({ stream, received, inbound, codec }) => ({
      kind: stream.kind,
      track: inbound.trackIdentifier,
      codec,
      ssrc: stream.ssrc,
      packets: Number(received.packetsReceived),
      lost: Number(received.packetsLost),
      frames: inbound.framesDecoded,
      concealed: Number(inbound.concealedSamples),
      samples: Number(inbound.totalSamplesReceived),
      freezes: inbound.freezeCount,
    }));
  }

  async leave() {
    this.#running = false;
    for (const feed of this.#feeds) feed.stop?.();
    await this.room.disconnect();
  }
}

// `seen.longestGap` is the longest time between two calls, whoever sees or shows.
function widenGap(seen) {
  const now = performance.now();
  seen.longestGap = Math.max(seen.longestGap ?? 0, now - (seen.at ?? now));
  seen.at = now;
}

// That, or the time since the last call if it is longer; begins anew.
function takeGap(seen) {
  const since = performance.now() - (seen.at ?? performance.now());
  const gap = Math.max(seen.longestGap ?? 0, since);
  seen.longestGap = 0;
  return Math.round(gap);
}

// The mean colour and a coarse grid of brightness of an I420 frame.
function sample(frame) {
  const { width, height, data } = frame;
  const [cw, ch] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const [u, v] = [width * height, width * height + cw * ch];
  const grid = [];
  const sum = [0, 0, 0];
  for (let row = 0; row < 18; row++) {
    for (let column = 0; column < 32; column++) {
      const x = Math.floor(((column + 0.5) * width) / 32);
      const y = Math.floor(((row + 0.5) * height) / 18);
      const chroma = (y >> 1) * cw + (x >> 1);
      const [luma, cb, cr] = [data[y * width + x] - 16, data[u + chroma] - 128, data[v + chroma] - 128];
      grid.push(luma);
      sum[0] += 1.164 * luma + 1.596 * cr;
      sum[1] += 1.164 * luma - 0.392 * cb - 0.813 * cr;
      sum[2] += 1.164 * luma + 2.017 * cb;
    }
  }
  return { grid, mean: sum.map((s) => Math.round(Math.min(255, Math.max(0, s / grid.length)))) };
}
