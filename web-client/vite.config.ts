/**
 * Builds the pages of the web client into `dist/`: `index.html` is the entry `room`,
 * `compliance/index.html` the entry `console`.
 *
 * Nothing is inlined (no data: URIs, no inline scripts), so the page runs under the strict content
 * security policy of the server; `npm run preview` serves it under the same policy and passes the
 * LiveKit paths on to a server named by CONSILIUM_URL.
 */
import { lingui } from '@lingui/vite-plugin';
import react from '@vitejs/plugin-react';
import { defineConfig, loadEnv } from 'vite';

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob:",
  "font-src 'self'",
  "connect-src 'self' ws: wss:",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export default defineConfig(({ mode }) => {
  const server = loadEnv(mode, '.', 'CONSILIUM_').CONSILIUM_URL ?? 'http://127.0.0.1:7880';
  const proxy = {
    '/rtc': { target: server, ws: true },
    '/healthz': { target: server },
    '/compliance/api': { target: server },
  };
  return {
    plugins: [react(), lingui({ failOnMissing: true, failOnCompileError: true })],
    build: {
      target: 'es2022',
      assetsInlineLimit: 0,
      // The SDK alone is above the default warning; the real limit is in scripts/size.mjs.
      chunkSizeWarningLimit: 1500,
      rollupOptions: { input: ['index.html', 'compliance/index.html'] },
    },
    worker: { format: 'es' },
    server: { proxy },
    preview: { proxy, headers: { 'Content-Security-Policy': POLICY } },
    test: { include: ['src/**/*.test.ts'], environment: 'node' },
  };
});
