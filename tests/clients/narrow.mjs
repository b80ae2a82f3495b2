// A narrow place on the way of media over UDP: datagrams towards the client leave it one after the
// other at a rate that can be changed, wait in a queue, and are dropped where it is full.
import dgram from 'node:dgram';

const QUEUE_MS = 800;
// Of IP and UDP.
const HEADERS = 28;

export class Narrow {
  #front = dgram.createSocket('udp4');
  #back = new Map();
  #server;
  #freeAt = 0;
  #rate = Number.POSITIVE_INFINITY;
  #timers = new Set();
  #isClosed = false;
  carried = 0;
  dropped = 0;

  static async open() {
    const narrow = new Narrow();
    narrow.#front.on('message', (bytes, from) => narrow.#up(bytes, from));
    await new Promise((resolve) => narrow.#front.bind(0, '127.0.0.1', resolve));
    return narrow;
  }

  // The media port of a server on loopback; until it is known nothing passes.
  lead(port) {
    this.#server ??= port;
  }

  get port() {
    return this.#front.address().port;
  }

  // Bits per second towards the client.
  limit(rate) {
    this.#rate = rate;
    this.#freeAt = 0;
  }

  #up(bytes, from) {
    if (!this.#server) return;
    const key = `${from.address}:${from.port}`;
    let back = this.#back.get(key);
    if (!back) {
      back = dgram.createSocket('udp4');
      back.on('message', (answer) => this.#down(answer, from));
      back.on('error', () => {});
      this.#back.set(key, back);
    }
    back.send(bytes, this.#server, '127.0.0.1');
  }

  #down(bytes, to) {
    const now = performance.now();
    this.#freeAt = Math.max(now, this.#freeAt);
    if (this.#freeAt - now > QUEUE_MS) {
      this.dropped += 1;
      return;
    }
    this.carried += 1;
    this.#freeAt += ((bytes.length + HEADERS) * 8000) / this.#rate;
    const wait = this.#freeAt - now;
    const send = () => this.#isClosed || this.#front.send(bytes, to.port, to.address);
    if (wait < 1) {
      send();
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      send();
    }, wait);
    this.#timers.add(timer);
  }

  close() {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const socket of [this.#front, ...this.#back.values()]) socket.close();
  }
}
