// Encoders that publish over WHIP; PAGE_URL, LIVEKIT_URL and MEDIA_FOLDER say where.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['whip.test.mjs'], testTimeout: 180_000, hookTimeout: 120_000 },
});
