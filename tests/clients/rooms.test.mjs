// The RoomService as an application's server uses it, with rtc-node clients who feel what it does.
import { DisconnectReason, RoomEvent, dispose } from '@livekit/rtc-node';
import { DataPacket_Kind, RoomServiceClient } from 'livekit-server-sdk';
import { afterAll, expect, it } from 'vitest';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { tokenFor } from './token.mjs';
import { until } from './wait.mjs';

const url = process.env.LIVEKIT_URL;
const http = url.replace('ws:', 'http:');
const service = new RoomServiceClient(http, 'devkey', 'secret');
const people = [];

const enter = async (who, room, grants) => {
  const person = await Person.join(url, await tokenFor(who, room, grants));
  person.ends = [];
  person.room.on(RoomEvent.Disconnected, (reason) => person.ends.push(reason));
  people.push(person);
  return person;
};
afterAll(async () => {
  await Promise.all(people.map((person) => person.leave()));
  await dispose();
});

it('makes, shows and changes rooms', async () => {
  const made = await service.createRoom({
    name: 'ward',
    emptyTimeout: 60,
    maxParticipants: 1,
    metadata: 'round',
  });
  expect([made.name, made.maxParticipants, made.metadata]).toEqual(['ward', 1, 'round']);
  const again = await service.createRoom({ name: 'ward' });
  expect([again.sid, again.maxParticipants]).toEqual([made.sid, 1]);
  await service.createRoom({ name: 'other' });
  expect((await service.listRooms()).map((room) => room.name).sort()).toEqual(['other', 'ward']);
  expect((await service.listRooms(['ward'])).length).toBe(1);

  const li = await enter('li', 'ward');
  expect(li.room.metadata).toBe('round');
  await expect(enter('wang', 'ward')).rejects.toThrow();
  await service.updateRoomMetadata('ward', 'second round');
  await until('li reads it', () => li.room.metadata === 'second round');
  await service.deleteRoom('ward');
  await until('li is told', () => li.ends.includes(DisconnectReason.ROOM_DELETED));
  await until('it is gone', async () => (await service.listRooms(['ward'])).length === 0);
  await expect(service.deleteRoom('ward')).rejects.toThrow(/does not exist/);
});

it('moderates those inside', async () => {
  const room = 'mdt';
  const [li, wang] = await Promise.all([enter('li', room), enter('wang', room)]);
  const microphone = await li.speak(PEOPLE.li.hz);
  await until('wang hears li', () => wang.hears('li').samples > 10_000);

  const listed = await service.listParticipants(room);
  expect(listed.map((one) => one.identity).sort()).toEqual(['li', 'wang']);
  const got = await service.getParticipant(room, 'li');
  expect(got.tracks.map((track) => track.sid)).toEqual([microphone.sid]);
  await expect(service.getParticipant(room, 'nobody')).rejects.toThrow(/does not exist/);

  const packets = async () =>
    (await wang.inbound()).reduce((sum, one) => sum + (one.kind === 'audio' ? one.packets : 0), 0);
  const receives = async () => {
    const before = await packets();
    await new Promise((resolve) => setTimeout(resolve, 700));
    return (await packets()) > before;
  };
  await service.updateSubscriptions(room, 'wang', [microphone.sid], false);
  await until('wang does not receive li', async () => !(await receives()));
  await service.updateSubscriptions(room, 'wang', [microphone.sid], true);
  await until('wang receives li again', receives);

  // rtc-node goes on sending when it is asked to mute: the server must stop forwarding.
  const muted = await service.mutePublishedTrack(room, 'li', microphone.sid, true);
  expect(muted.muted).toBe(true);
  await until('li is silent for wang', async () => !(await receives()));
  await expect(service.mutePublishedTrack(room, 'li', microphone.sid, false)).rejects.toThrow(
    /remote unmute/,
  );

  await service.updateParticipant(room, 'wang', {
    name: 'Dr. Wang',
    metadata: 'chair',
    attributes: { ward: '7' },
  });
  await until('li reads who wang is', () => {
    const seen = li.room.remoteParticipants.get('wang');
    return seen.name === 'Dr. Wang' && seen.metadata === 'chair' && seen.attributes.ward === '7';
  });

  const words = (text) => new TextEncoder().encode(text);
  await service.sendData(room, words('to li'), DataPacket_Kind.RELIABLE, {
    destinationIdentities: ['li'],
    topic: 'ward',
  });
  await service.sendData(room, words('to all'), DataPacket_Kind.RELIABLE, { topic: 'ward' });
  const heard = (person) => person.data.map(({ payload }) => new TextDecoder().decode(payload));
  await until('both have their messages', () => heard(li).length === 2 && heard(wang).length === 1);
  expect([heard(li), heard(wang)]).toEqual([['to li', 'to all'], ['to all']]);

  await service.updateParticipant(room, 'li', {
    permission: { canPublish: false, canSubscribe: true, canPublishData: true },
  });
  await until('li publishes nothing', async () => {
    return (await service.getParticipant(room, 'li')).tracks.length === 0;
  });
});

it('moves somebody to another room', async () => {
  const [room, other] = ['waiting', 'consult'];
  const [li, wang, zhao] = await Promise.all([
    enter('li', room),
    enter('wang', room),
    enter('zhao', other),
  ]);
  await service.updateParticipant(room, 'li', { attributes: { ward: '7' } });
  const microphone = await li.speak(PEOPLE.li.hz);
  await until('wang hears li', () => wang.hears('li').samples > 10_000);
  const identities = async (name) =>
    (await service.listParticipants(name)).map(({ identity }) => identity).sort();
  const code = (status) => expect.objectContaining({ status });
  await expect(service.moveParticipant(room, 'nobody', other)).rejects.toEqual(code(404));
  await expect(service.moveParticipant(room, 'li', room)).rejects.toEqual(code(400));
  await expect(service.moveParticipant(room, 'li', '')).rejects.toEqual(code(400));
  const namesake = await enter('li', other);
  await expect(service.moveParticipant(room, 'li', other)).rejects.toEqual(code(409));
  await namesake.leave();
  await until('that li has gone', async () => (await identities(other)).length === 1);
  await service.createRoom({ name: 'narrow', maxParticipants: 1 });
  await enter('sun', 'narrow');
  await expect(service.moveParticipant(room, 'li', 'narrow')).rejects.toEqual(code(429));

  await service.moveParticipant(room, 'li', other);
  expect([await identities(room), await identities(other)]).toEqual([['wang'], ['li', 'zhao']]);
  const there = await service.getParticipant(other, 'li');
  expect(there.tracks.map(({ sid }) => sid)).toEqual([microphone.sid]);
  expect(there.attributes.ward).toBe('7');
  await until('zhao hears li', () => zhao.hears('li').samples > 10_000);
  await until('wang sees him go', () => wang.room.remoteParticipants.size === 0);
  expect(li.ends).toEqual([]);
  // A room that is not there is made.
  await service.moveParticipant(other, 'li', 'afterwards');
  expect(await identities('afterwards')).toEqual(['li']);
});

it('forwards somebody to another room', async () => {
  const [room, other] = ['operation', 'lecture'];
  const [li, wang, zhao] = await Promise.all([
    enter('li', room),
    enter('wang', room),
    enter('zhao', other),
  ]);
  const microphone = await li.speak(PEOPLE.li.hz);
  await li.show(PEOPLE.li.colour);
  await until('wang hears li', () => wang.hears('li').samples > 10_000);
  const identities = async (name) =>
    (await service.listParticipants(name)).map(({ identity }) => identity).sort();
  const code = (status) => expect.objectContaining({ status });
  await expect(service.forwardParticipant(room, 'nobody', other)).rejects.toEqual(code(404));
  await expect(service.forwardParticipant(room, 'li', room)).rejects.toEqual(code(400));
  await expect(service.forwardParticipant(room, 'li', '')).rejects.toEqual(code(400));
  await service.createRoom({ name: 'cramped', maxParticipants: 1 });
  await enter('sun', 'cramped');
  await expect(service.forwardParticipant(room, 'li', 'cramped')).rejects.toEqual(code(429));

  await service.forwardParticipant(room, 'li', other);
  expect([await identities(room), await identities(other)]).toEqual([
    ['li', 'wang'],
    ['li', 'zhao'],
  ]);
  await until('zhao hears li', () => zhao.hears('li').samples > 10_000);
  await until('zhao sees li', () => zhao.sees('li').frames > 20);
  await expect(service.forwardParticipant(room, 'li', other)).rejects.toEqual(code(409));
  const muting = service.mutePublishedTrack(other, 'li', microphone.sid, true);
  await expect(muting).rejects.toEqual(code(412));
  // Four rooms are enough.
  for (const one of ['second', 'third', 'fourth']) {
    await service.forwardParticipant(room, 'li', one);
    expect(await identities(one)).toEqual(['li']);
  }
  await expect(service.forwardParticipant(room, 'li', 'fifth')).rejects.toEqual(code(429));

  await service.removeParticipant(other, 'li');
  await until('zhao sees him go', () => zhao.room.remoteParticipants.size === 0);
  expect([await identities(room), li.ends]).toEqual([['li', 'wang'], []]);
  await li.leave();
  await until('he is nowhere', async () => (await identities('second')).length === 0);
});

it('removes somebody, and his tokens with him', async () => {
  const room = 'removal';
  const token = await tokenFor('zhou', room);
  const zhou = await Person.join(url, token);
  zhou.ends = [];
  zhou.room.on(RoomEvent.Disconnected, (reason) => zhou.ends.push(reason));
  people.push(zhou);
  await service.removeParticipant(room, 'zhou');
  await until('zhou is told', () => zhou.ends.includes(DisconnectReason.PARTICIPANT_REMOVED));
  const asked = await fetch(`${http}/rtc/v1/validate?access_token=${token}`);
  expect([asked.status, await asked.text()]).toEqual([401, expect.stringContaining('removed')]);
  // Whoever is invited again gets in.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await enter('zhou', room);
});

it('calls a participant', async () => {
  const room = 'calls';
  const li = await enter('li', room);
  li.room.localParticipant.registerRpcMethod('lookAt', async ({ callerIdentity, payload }) => {
    return `${callerIdentity} shows ${payload}`;
  });
  const token = await tokenFor('app', room, { roomJoin: false, roomAdmin: true, room });
  const call = async (method, to = 'li') => {
    const asked = { room, destinationIdentity: to, method, payload: 'slide 3' };
    const response = await fetch(`${http}/twirp/livekit.RoomService/PerformRpc`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(asked),
    });
    const { payload, code, msg } = await response.json();
    return [response.status, payload ?? code, msg];
  };
  expect(await call('lookAt')).toEqual([200, 'consilium.server shows slide 3', undefined]);
  const absent = [412, 'failed_precondition', expect.stringContaining('1400')];
  expect(await call('noSuchMethod')).toEqual(absent);
  expect((await call('lookAt', 'nobody')).slice(0, 2)).toEqual([404, 'not_found']);
});

it('does nothing for those who may not', async () => {
  const asWith = async (grants) => {
    const token = await tokenFor('app', grants.room ?? '', { roomJoin: false, ...grants });
    return async (method, body) => {
      const response = await fetch(`${http}/twirp/livekit.RoomService/${method}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return [response.status, (await response.json()).code];
    };
  };
  const nobody = await asWith({});
  const denied = [403, 'permission_denied'];
  expect(await nobody('CreateRoom', { name: 'x' })).toEqual(denied);
  expect(await nobody('ListRooms', {})).toEqual(denied);
  expect(await nobody('DeleteRoom', { room: 'mdt' })).toEqual(denied);
  const moderator = await asWith({ roomAdmin: true, room: 'elsewhere' });
  // Whether the room is there is not said.
  for (const room of ['mdt', 'no such room']) {
    for (const method of ['ListParticipants', 'RemoveParticipant', 'SendData']) {
      expect(await moderator(method, { room, identity: 'li' })).toEqual(denied);
    }
  }
  const forward = { room: 'elsewhere', identity: 'li', destinationRoom: 'mdt' };
  // Who may moderate a room may not send its people into any other, nor what they show.
  expect(await moderator('MoveParticipant', forward)).toEqual(denied);
  expect(await moderator('ForwardParticipant', forward)).toEqual(denied);
  const porter = await asWith({ roomAdmin: true, room: 'elsewhere', destinationRoom: 'ward' });
  for (const method of ['MoveParticipant', 'ForwardParticipant']) {
    expect(await porter(method, forward)).toEqual(denied);
    expect(await porter(method, { ...forward, room: 'mdt' })).toEqual(denied);
  }
  expect((await moderator('Nonsense', {}))[0]).toBe(404);
});
