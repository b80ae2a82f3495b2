// What the network of a test lets through. Everything on it goes out of this host and in again.
import { execFileSync } from 'node:child_process';

const nft = (rules) => execFileSync('nft', ['-f', '-'], { input: rules });

export const allowUdp = () => nft('flush ruleset');

export const barUdp = () =>
  nft(`flush ruleset
table inet clinic {
  chain out { type filter hook output priority 0; meta l4proto udp drop; }
}`);
