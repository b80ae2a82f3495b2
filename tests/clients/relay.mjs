// A TCP relay whose connections can be broken in the two ways in which they break: reset, or silent.
import net from 'node:net';

export class Relay {
  #server;
  #pairs = new Set();
  #isOpen = true;
  // Connections that wait for `open`.
  #held = new Set();
  #target;
  accepted = 0;

  static async towards(url) {
    const { hostname, port } = new URL(url);
    const relay = new Relay();
    relay.#target = [port, hostname];
    relay.#server = net.createServer((client) => relay.#accept(client));
    await new Promise((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}`;
  }

  #accept(client) {
    this.accepted += 1;
    if (!this.#isOpen) {
      client.on('error', () => {});
      this.#held.add(client);
      return;
    }
    this.#serve(client);
  }

  #serve(client) {
    const server = net.connect(...this.#target);
    const pair = { client, server };
    this.#pairs.add(pair);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ]) {
      from.on('data', (bytes) => pair.isSilent || to.write(bytes));
      from.on('error', () => {});
      from.on('close', () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
    }
  }

  // Resets all connections; new ones are taken and get no answer until `open`. Were they refused,
  // the SDK would not wait for a resume but begin anew at once.
  cut() {
    this.#isOpen = false;
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  // The connections that there are carry nothing any more but their end. New ones are served.
  silence() {
    for (const pair of this.#pairs) pair.isSilent = true;
  }

  open() {
    this.#isOpen = true;
    for (const client of this.#held) if (!client.destroyed) this.#serve(client);
    this.#held.clear();
  }

  async close() {
    this.cut();
    for (const client of this.#held) client.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
