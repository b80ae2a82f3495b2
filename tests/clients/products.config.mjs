// What products with a server in another language ask for; LIVEKIT_URL is a server as most run it,
// CLOSED_URL one whose rooms are made by the application only; both send webhooks to WEBHOOK_PORT.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['products.test.mjs'], testTimeout: 120_000, hookTimeout: 60_000 },
});
