// A signalling connection cut in mid-call; LIVEKIT_URL names the server.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['resume.test.mjs'], testTimeout: 150_000, hookTimeout: 60_000 },
});
