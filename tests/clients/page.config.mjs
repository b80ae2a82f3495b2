// The proofs through the real page; PAGE_URL, LIVEKIT_URL and MEDIA_FOLDER say where.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['page.test.mjs'],
    // One story, told in order: a failed part does not stop the ones after it.
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});
