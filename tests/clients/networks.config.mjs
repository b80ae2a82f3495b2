// The proofs on networks that let little through; PAGE_URL and MEDIA_FOLDER say where.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['networks.test.mjs'],
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});
