// Two connections and one in a room; LIVEKIT_URL and MEDIA_FOLDER say where.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['connections.test.mjs'],
    // One story, told in order.
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});
