// What tokens do not grant, asked by an SDK; LIVEKIT_URL says where.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['grants.test.mjs'], testTimeout: 60_000 } });
