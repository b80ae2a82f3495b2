import { describe, expect, it } from 'vitest';
import { readFragment, readInvitation, roleOf } from './invitation';

const NOW = 1_800_000_000_000;

function tokenOf(claims: unknown): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part(claims)}.signature`;
}

const claims = {
  sub: 'dr-li',
  name: '李医生',
  exp: NOW / 1000 + 600,
  attributes: { role: 'specialist' },
  video: { room: 'mdt-17', roomJoin: true },
};

describe('a link', () => {
  it('carries the token in its fragment', () => {
    expect(readFragment('#token=a.b.c')).toEqual({ token: 'a.b.c', name: null, debug: false });
  });

  it('may carry a name and the debug flag', () => {
    expect(readFragment('#token=a.b.c&name=Dr%20Li&debug=1')).toEqual({
      token: 'a.b.c',
      name: 'Dr Li',
      debug: true,
    });
  });

  it('without a fragment is no invitation', () => {
    expect(readInvitation(readFragment('').token, null, NOW)).toEqual({ kind: 'missing' });
  });
});

describe('a token', () => {
  it('shows name, role and room, whatever the script of the name', () => {
    const reading = readInvitation(tokenOf(claims), null, NOW);
    expect(reading).toMatchObject({
      kind: 'valid',
      invitation: { identity: 'dr-li', name: '李医生', role: 'specialist', room: 'mdt-17' },
    });
  });

  it('is expired at the very moment it names', () => {
    expect(readInvitation(tokenOf(claims), null, NOW + 600_000).kind).toBe('expired');
    expect(readInvitation(tokenOf(claims), null, NOW + 599_999).kind).toBe('valid');
  });

  it('without an end is valid until the server says otherwise', () => {
    const { exp: _, ...endless } = claims;
    expect(readInvitation(tokenOf(endless), null, NOW).kind).toBe('valid');
  });

  it('without a name takes the name of the link, and the identity after that', () => {
    const { name: _, ...nameless } = claims;
    const named = readInvitation(tokenOf(nameless), 'Dr Zhang', NOW);
    expect(named).toMatchObject({ invitation: { name: 'Dr Zhang' } });
    const unnamed = readInvitation(tokenOf(nameless), null, NOW);
    expect(unnamed).toMatchObject({ invitation: { name: 'dr-li' } });
  });

  it('does not let the link replace the name that it carries', () => {
    const reading = readInvitation(tokenOf(claims), 'Somebody Else', NOW);
    expect(reading).toMatchObject({ invitation: { name: '李医生' } });
  });

  it('allows to publish everything unless it says otherwise', () => {
    const everything = ['microphone', 'camera', 'screen'];
    for (const grant of [{}, { canPublish: true }, { canPublishSources: [] }]) {
      const token = tokenOf({ ...claims, video: { ...claims.video, ...grant } });
      expect(readInvitation(token, null, NOW)).toMatchObject({
        invitation: { publishes: everything, canChat: true },
      });
    }
  });

  it('may allow only some sources, or none', () => {
    const of = (grant: object) =>
      readInvitation(tokenOf({ ...claims, video: { ...claims.video, ...grant } }), null, NOW);
    expect(of({ canPublishSources: ['camera', 'microphone'] })).toMatchObject({
      invitation: { publishes: ['microphone', 'camera'] },
    });
    expect(of({ canPublish: false, canPublishSources: ['camera'] })).toMatchObject({
      invitation: { publishes: [] },
    });
  });

  it.each([
    ['not a token', 'hello'],
    ['two dots and nothing', '..'],
    ['no JSON inside', `a.${Buffer.from('nonsense').toString('base64url')}.c`],
    ['broken UTF-8 inside', `a.${Buffer.from([0x22, 0xff, 0x22]).toString('base64url')}.c`],
    ['a list instead of claims', tokenOf([1, 2])],
    ['no room', tokenOf({ ...claims, video: { roomJoin: true } })],
    ['no identity', tokenOf({ ...claims, sub: '' })],
  ])('with %s is unreadable and nothing is thrown', (_, token) => {
    expect(readInvitation(token, null, NOW)).toEqual({ kind: 'unreadable' });
  });
});

describe('a role', () => {
  it('comes from the attribute before the metadata', () => {
    expect(roleOf({ role: 'specialist' }, '{"role":"observer"}')).toBe('specialist');
    expect(roleOf({}, '{"role":"observer"}')).toBe('observer');
  });

  it('is nothing when metadata is not JSON', () => {
    expect(roleOf({}, 'room 4')).toBe('');
    expect(roleOf(undefined, undefined)).toBe('');
  });
});
