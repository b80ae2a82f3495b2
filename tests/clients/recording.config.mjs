// A recorded consult, asked for with the official server SDK; LIVEKIT_URL says where.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['recording.test.mjs'], testTimeout: 120_000 } });
