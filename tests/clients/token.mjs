// Tokens of the development server, signed by the official server SDK.
import { AccessToken } from 'livekit-server-sdk';

export async function tokenFor(identity, room, grants = {}, attributes = {}) {
  const token = new AccessToken(
    process.env.LIVEKIT_API_KEY ?? 'devkey',
    process.env.LIVEKIT_API_SECRET ?? 'secret',
    { identity, name: identity, attributes },
  );
  token.addGrant({ roomJoin: true, room, ...grants });
  return token.toJwt();
}
