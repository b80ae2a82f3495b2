// Takes webhooks as an application's server does: verified by the official receiver, in their order.
import { createServer } from 'node:http';
import { WebhookReceiver } from 'livekit-server-sdk';

export class Hooks {
  events = [];
  refused = [];
  #server;

  static listen(port, key = 'devkey', secret = 'secret') {
    const hooks = new Hooks();
    const checker = new WebhookReceiver(key, secret);
    hooks.#server = createServer(async (request, response) => {
      let body = '';
      for await (const piece of request) body += piece;
      try {
        const event = await checker.receive(body, request.headers.authorization);
        // What comes again has the same id.
        if (!hooks.events.some(({ id }) => id === event.id)) hooks.events.push(event);
        response.writeHead(200).end();
      } catch (error) {
        hooks.refused.push(error);
        response.writeHead(401).end();
      }
    });
    hooks.#server.listen(port, '127.0.0.1');
    return hooks;
  }

  // Of one room, and of one kind.
  of(room, kind) {
    const isMeant = (event) => (event.room?.name ?? event.egressInfo?.roomName) === room;
    return this.events.filter((event) => isMeant(event) && (!kind || event.event === kind));
  }

  close() {
    this.#server.close();
  }
}
