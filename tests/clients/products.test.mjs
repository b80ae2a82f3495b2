// What products ask of LiveKit, call for call in their order and with their fields. Read in their
// public sources, of the commit that each part names; no line is theirs.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { ParticipantInfo_Kind } from '@livekit/protocol';
import { DisconnectReason, ParticipantKind, RoomEvent, dispose } from '@livekit/rtc-node';
import {
  AccessToken,
  DataPacket_Kind,
  DirectFileOutput,
  EgressClient,
  EgressStatus,
  EncodedFileOutput,
  EncodedFileType,
  LiveKitAPI,
  RoomServiceClient,
  SipClient,
  TrackSource,
  trackSourceToString,
} from 'livekit-server-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Hooks } from './hooks.mjs';
import { PEOPLE } from './media.mjs';
import { Person } from './person.mjs';
import { until } from './wait.mjs';

const KEY = 'devkey';
const SECRET = 'secret';
const url = process.env.LIVEKIT_URL;
const http = url.replace('ws:', 'http:');
const people = [];
let hooks;

beforeAll(() => {
  hooks = Hooks.listen(Number(process.env.WEBHOOK_PORT));
});
afterAll(async () => {
  await Promise.all(people.map((person) => person.leave()));
  hooks.close();
  await dispose();
});

const enter = async (token, at = url, options = {}) => {
  const person = await Person.join(at, token, options);
  person.ends = [];
  person.room.on(RoomEvent.Disconnected, (reason) => person.ends.push(reason));
  person.topics = [];
  person.room.on(RoomEvent.DataReceived, (payload, from, _kind, topic) => {
    person.topics.push({ topic, from: from?.identity, said: new TextDecoder().decode(payload) });
  });
  people.push(person);
  return person;
};
const signed = (identity, grant, { kind, ...options } = {}) => {
  const token = new AccessToken(KEY, SECRET, { identity, ...options });
  token.addGrant(grant);
  if (kind) token.kind = kind;
  return token.toJwt();
};
// The error of a question that is refused.
const refusal = async (question) => {
  try {
    await question;
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
};
const words = (what) => new TextEncoder().encode(JSON.stringify(what));
const names = (room) => hooks.of(room).map(({ event }) => event);

// OpenVidu Meet CE (github.com/OpenVidu/openvidu-meet, d2b2537, of 2026-08-20; livekit-server-sdk
// 2.17.0): a room has the description of the meeting as its metadata, a member what he may do; what
// changes is told by data on topics.
const openvidu = {
  lk: new LiveKitAPI({ host: http, apiKey: KEY, secret: SECRET }),

  async room(id) {
    const found = await this.lk.room.listRooms([id]);
    if (found.length > 0) return found[0];
    return this.lk.room.createRoom({
      name: id,
      metadata: JSON.stringify({ createdBy: 'openviduMeet', roomOptions: { roomName: 'Round' } }),
      emptyTimeout: 20,
      departureTimeout: 20,
    });
  },

  token(room, identity, name, may) {
    const sources = [TrackSource.MICROPHONE, TrackSource.CAMERA];
    const metadata = { roomId: room, userId: identity, permissions: may, badge: 'other' };
    const grant = {
      room,
      roomJoin: true,
      canPublish: true,
      canPublishSources: sources,
      canSubscribe: true,
      canPublishData: may.chatWrite,
      canUpdateOwnMetadata: true,
    };
    return signed(identity, grant, { name, ttl: '2h', metadata: JSON.stringify(metadata) });
  },

  async signal(room, topic, to = {}) {
    if ((await this.lk.room.listRooms([room])).length === 0) return;
    const said = words({ roomId: room, timestamp: 1 });
    await this.lk.room.sendData(room, said, DataPacket_Kind.RELIABLE, { topic, ...to });
  },

  // What it makes of an egress: the number of the recording is read out of the name of its file.
  recording({ egressId, roomName, status, fileResults, streamResults = [], startedAt, request }) {
    if (fileResults.length === 0 || streamResults.length > 0) return undefined;
    const [{ filename, duration }] = fileResults;
    const name = filename.split('/').pop();
    const uid = name.split('--')[1].split('.')[0];
    const layout = request.case === 'roomComposite' ? request.value.layout : undefined;
    return {
      recordingId: `${roomName}--${egressId}--${uid}`,
      status,
      layout,
      startDate: Number(startedAt) / 1e6,
      duration: Number(duration) / 1e9,
    };
  },

  // Makes a member a moderator: his metadata, his right to chat, and a word that he asks anew.
  async promote(room, identity) {
    const { metadata, permission } = await this.lk.room.getParticipant(room, identity);
    const known = JSON.parse(metadata);
    const permissions = { ...known.permissions, chatWrite: true };
    const before = { originalPermissions: known.permissions };
    const changed = { ...known, ...before, badge: 'moderator', permissions };
    await this.lk.room.updateParticipant(room, identity, {
      metadata: JSON.stringify(changed),
      permission: { ...permission, canPublishData: true },
    });
    await this.signal(room, 'meet_participant_role_updated', { destinationIdentities: [identity] });
  },
};

it('OpenVidu Meet holds a meeting', async () => {
  const { lk } = openvidu;
  const room = `round-${randomBytes(8).toString('hex')}`;
  const made = await openvidu.room(room);
  expect([made.emptyTimeout, made.departureTimeout]).toEqual([20, 20]);
  expect((await openvidu.room(room)).sid).toBe(made.sid);

  const li = `dr_li-${randomBytes(8).toString('hex').slice(0, 15)}`;
  const wang = `wang-${randomBytes(8).toString('hex').slice(0, 15)}`;
  const doctor = await enter(await openvidu.token(room, li, 'Dr. Li', { chatWrite: true }));
  const patient = await enter(await openvidu.token(room, wang, 'Wang', { chatWrite: false }));
  await patient.speak(PEOPLE.wang.hz);
  await patient.show(PEOPLE.wang.rgb);
  await until('the doctor hears the patient', () => doctor.hears(wang).samples > 10_000);
  await until('the doctor sees the patient', () => doctor.sees(wang).frames > 10);

  // Whose room it is, and who has come, it reads out of webhooks.
  await until('both are told', () => hooks.of(room, 'participant_joined').length === 2);
  const [started] = hooks.of(room, 'room_started');
  expect(JSON.parse(started.room.metadata).createdBy).toBe('openviduMeet');
  const isWang = ({ participant }) => participant.identity === wang;
  const joined = hooks.of(room, 'participant_joined').find(isWang);
  expect(joined.participant.kind).toBe(ParticipantInfo_Kind.STANDARD);
  expect(JSON.parse(joined.participant.metadata).userId).toBe(wang);
  await openvidu.signal(room, 'meet_recording_updated', {
    destinationSids: [joined.participant.sid],
  });
  await until('the patient has it', () => patient.topics.length === 1);

  // Chat goes over a topic, and only from those who may.
  const chat = (person, said) =>
    person.room.localParticipant.publishData(words({ message: said }), {
      topic: 'chat',
      reliable: true,
    });
  await chat(patient, 'not yet').catch(() => {});
  await openvidu.promote(room, wang);
  await until('he is told', () => patient.topics.length === 2);
  await until('the doctor sees it', () => {
    const seen = doctor.room.remoteParticipants.get(wang);
    return JSON.parse(seen.metadata).badge === 'moderator';
  });
  await chat(patient, 'now');
  await until('the doctor reads it', () => doctor.topics.length > 0);
  expect(doctor.topics).toEqual([{ topic: 'chat', from: wang, said: '{"message":"now"}' }]);
  expect(patient.topics.map(({ topic, from }) => [topic, from])).toEqual([
    ['meet_recording_updated', undefined],
    ['meet_participant_role_updated', undefined],
  ]);
  // What was granted before is still granted.
  const { permission, tracks } = await lk.room.getParticipant(room, wang);
  expect([...permission.canPublishSources].sort()).toEqual([
    TrackSource.CAMERA,
    TrackSource.MICROPHONE,
  ]);
  expect([permission.canPublishData, permission.canUpdateMetadata]).toEqual([true, true]);
  expect(tracks.length).toBe(2);

  // He is shown out, as anybody is whom the list has.
  const listed = (await lk.room.listParticipants(room)).map(({ identity }) => identity);
  expect(listed.sort()).toEqual([li, wang].sort());
  await lk.room.removeParticipant(room, wang);
  await until('he is told', () => patient.ends.includes(DisconnectReason.PARTICIPANT_REMOVED));
  await until('his name is free again', () => hooks.of(room, 'participant_left').length === 1);
  expect(hooks.of(room, 'participant_left')[0].participant.name).toBe('Wang');

  await lk.room.deleteRoom(room);
  await until('the doctor is told', () => doctor.ends.includes(DisconnectReason.ROOM_DELETED));
  await until('the meeting is over', () => hooks.of(room, 'room_finished').length === 1);
  expect(names(room).at(-1)).toBe('room_finished');
  const again = await refusal(lk.room.deleteRoom(room));
  expect([again.status, again.code]).toEqual([404, 'not_found']);
  expect(await lk.room.listRooms([room, 'another'])).toEqual([]);
  await openvidu.signal(room, 'meet_room_config_updated');
});

it('OpenVidu Meet records a meeting', async () => {
  const { egress } = openvidu.lk;
  const room = `round-${randomBytes(8).toString('hex')}`;
  await openvidu.room(room);
  const li = await enter(await openvidu.token(room, 'li', 'Dr. Li', { chatWrite: true }));
  await li.speak(PEOPLE.li.hz);
  expect((await egress.listEgress({ roomName: room, active: true })).length).toBe(0);

  const uid = randomBytes(5).toString('hex');
  const output = new EncodedFileOutput({
    fileType: EncodedFileType.DEFAULT_FILETYPE,
    filepath: `openvidu-meet/recordings/${room}/${room}--${uid}`,
    disableManifest: true,
  });
  const began = Date.now();
  const started = await egress.startRoomCompositeEgress(room, output, { layout: 'grid' });
  const known = openvidu.recording(started);
  expect(known.recordingId).toBe(`${room}--${started.egressId}--${uid}`);
  expect([known.status, known.layout]).toEqual([EgressStatus.EGRESS_ACTIVE, 'grid']);
  expect(Math.abs(known.startDate - began)).toBeLessThan(60_000);
  const active = await egress.listEgress({ roomName: room, active: true });
  expect(active.map(({ egressId, status }) => [egressId, status])).toEqual([
    [started.egressId, EgressStatus.EGRESS_ACTIVE],
  ]);

  // To stop it, it takes its number apart, asks how it is, and stops what is active.
  const [roomId, egressId] = known.recordingId.split('--');
  const [found] = await egress.listEgress({ roomName: roomId, egressId });
  expect(found.status).toBe(EgressStatus.EGRESS_ACTIVE);
  const stopped = openvidu.recording(await egress.stopEgress(egressId));
  expect([stopped.recordingId, stopped.status]).toEqual([
    known.recordingId,
    EgressStatus.EGRESS_ENDING,
  ]);
  await until('it is over', () => hooks.of(room, 'egress_ended').length === 1);

  // It writes down a recording that has started, and replaces it by what it hears later; members
  // are told by `egress_updated` only.
  const told = hooks.of(room).filter(({ egressInfo }) => egressInfo);
  expect(told.map(({ event, egressInfo }) => [event, egressInfo.status])).toEqual([
    ['egress_started', EgressStatus.EGRESS_ACTIVE],
    ['egress_updated', EgressStatus.EGRESS_ACTIVE],
    ['egress_updated', EgressStatus.EGRESS_ENDING],
    ['egress_ended', EgressStatus.EGRESS_COMPLETE],
  ]);
  const ids = told.map(({ egressInfo }) => openvidu.recording(egressInfo).recordingId);
  expect(new Set(ids)).toEqual(new Set([known.recordingId]));
  const ended = told.at(-1).egressInfo;
  expect(openvidu.recording(ended).duration).toBeGreaterThan(0);
  expect(Number(ended.endedAt)).toBeGreaterThan(Number(ended.startedAt));
  const left = await egress.listEgress({ roomName: room });
  expect(left.map(({ status }) => status)).toEqual([EgressStatus.EGRESS_COMPLETE]);
  expect(await egress.listEgress({ roomName: 'another' })).toEqual([]);
});

it('OpenVidu Meet does without captions by an agent', async () => {
  // Any refusal is an error of its captions only; what it lists is asked of rooms that are there.
  const room = `captions-${randomUUID()}`;
  await openvidu.room(room);
  const { agentDispatch } = openvidu.lk;
  for (const question of [
    () => agentDispatch.createDispatch(room, 'speech-processing'),
    () => agentDispatch.listDispatch(room),
    () => agentDispatch.deleteDispatch('AD_1', room),
  ]) {
    const { status, code } = await refusal(question());
    expect([status, code]).toEqual([501, 'unimplemented']);
  }
});

// Element Call with lk-jwt-service (github.com/element-hq/lk-jwt-service, a375b13, of 2026-07-23;
// server-sdk-go 2.16): rooms are made by the service only, for those of its own homeserver; names
// are hashes in base64 with `+` and `/`. What its pages do with keys is in tests/python.
const element = {
  url: process.env.CLOSED_URL,
  service: new RoomServiceClient(process.env.CLOSED_URL.replace('ws:', 'http:'), KEY, SECRET),

  hash(...parts) {
    return createHash('sha256').update(JSON.stringify(parts)).digest('base64').replaceAll('=', '');
  },

  // A hash that has both of what a URL or a path could lose.
  awkward(...parts) {
    for (let n = 0; ; n++) {
      const name = this.hash(...parts, String(n));
      if (name.includes('+') && name.includes('/')) return name;
    }
  },

  token(room, identity) {
    const grant = {
      roomJoin: true,
      roomCreate: false,
      canPublish: true,
      canSubscribe: true,
      canUpdateOwnMetadata: true,
      room,
    };
    return signed(identity, grant, { ttl: '1h' });
  },

  create(room) {
    return this.service.createRoom({
      name: room,
      emptyTimeout: 300,
      departureTimeout: 20,
      maxParticipants: 0,
    });
  },
};

it('Element Call lets its service make the rooms', async () => {
  const { service } = element;
  const room = element.awkward('!ward:example.org', 'm.call#ROOM');
  const li = element.awkward('@li:example.org', 'DEVICE', 'member');
  const foreign = '@wang:elsewhere.example:OTHERDEVICE';
  // Somebody of another homeserver may join, not begin: his page reads the 404.
  const token = await element.token(room, foreign);
  await expect(enter(token, element.url)).rejects.toThrow();
  const asked = await fetch(
    `${element.url.replace('ws:', 'http:')}/rtc/validate?access_token=${token}`,
  );
  expect(asked.status).toBe(404);

  const before = Math.floor(Date.now() / 1_000);
  const made = await element.create(room);
  expect(Number(made.creationTime)).toBeGreaterThanOrEqual(before);
  expect([made.name, made.emptyTimeout, made.departureTimeout]).toEqual([room, 300, 20]);
  // It looks for the participant until it finds him, and takes only `not_found` for an answer.
  expect((await refusal(service.getParticipant(room, li))).code).toBe('not_found');
  const first = await enter(await element.token(room, li), element.url);
  expect((await service.getParticipant(room, li)).identity).toBe(li);
  const again = await element.create(room);
  expect([again.sid, again.creationTime]).toEqual([made.sid, made.creationTime]);
  const second = await enter(token, element.url);
  expect([...first.room.remoteParticipants.keys()]).toEqual([foreign]);
  await until('both are told', () => hooks.of(room, 'participant_joined').length === 2);

  // A delayed event of Matrix says that a member has left; whether he meant to, the reason.
  await second.leave();
  await service.removeParticipant(room, li);
  await until('both are told', () => hooks.of(room, 'participant_left').length === 2);
  const reasons = hooks.of(room, 'participant_left').map(({ participant }) => [
    participant.identity,
    participant.disconnectReason,
  ]);
  expect(reasons).toEqual([
    [foreign, DisconnectReason.CLIENT_INITIATED],
    [li, DisconnectReason.PARTICIPANT_REMOVED],
  ]);
});

// BigBlueButton 3.x: bbb-webrtc-sfu (lib/livekit, 04d3e17 and 74fd0b4), whose process is known as
// bbb-livekit, and bbb-webrtc-recorder (3d581ad, of 2025-12-17). Its own livekit.yaml lets
// moderators take a mute back.
const bbb = {
  service: new RoomServiceClient(http, KEY, SECRET),

  // Tokens of its pages say everything, also what is not granted.
  grant(room, more = {}) {
    return {
      agent: false,
      canPublish: true,
      canPublishData: false,
      canPublishSources: [],
      canSubscribe: true,
      canUpdateOwnMetadata: false,
      hidden: false,
      ingressAdmin: false,
      recorder: false,
      room,
      roomAdmin: false,
      roomCreate: false,
      roomJoin: true,
      roomList: false,
      roomRecord: false,
      ...more,
    };
  },

  user(room, identity, name, more) {
    const numbers = { voiceConf: '71234', bbb_voiceConf: '71234' };
    const metadata = JSON.stringify({ meetingId: room, ...numbers });
    return signed(identity, this.grant(room, more), { name, ttl: 3_600, metadata });
  },

  system(room, identity, grant, kind) {
    const metadata = JSON.stringify({ bbb_system: true });
    return signed(identity, { ...grant, room, roomJoin: true }, { kind, metadata, ttl: 86_400 });
  },

  // It mutes what is a microphone, and is not as it is wished to be.
  async mute(room, identity, wished) {
    const { tracks } = await this.service.getParticipant(room, identity);
    const meant = tracks.filter(
      ({ source, muted }) => trackSourceToString(source) === 'microphone' && muted !== wished,
    );
    await Promise.all(
      meant.map(({ sid }) => this.service.mutePublishedTrack(room, identity, sid, wished)),
    );
    return meant.length;
  },
};

it('BigBlueButton holds a meeting', async () => {
  const { service } = bbb;
  await service.listRooms();
  const room = `${randomBytes(20).toString('hex')}-1787000000000`;
  const made = await service.createRoom({
    name: room,
    metadata: JSON.stringify({
      bbb_meetingId: room,
      bbb_voiceConf: '71234',
      bbb_audioBridge: 'livekit',
    }),
  });
  expect(JSON.parse(made.metadata).bbb_voiceConf).toBe('71234');

  // It listens to rooms whose metadata say that they are its own, hidden, and takes nothing.
  await until('the room is told', () => hooks.of(room, 'room_started').length === 1);
  const [{ room: begun }] = hooks.of(room, 'room_started');
  expect(JSON.parse(begun.metadata || '{}').bbb_meetingId).toBe(room);
  const hidden = { canPublish: false, canPublishData: false, canSubscribe: true, hidden: true };
  const listener = await enter(
    await bbb.system(room, `sfu-agent-${room}`, {
      ...hidden,
      agent: false,
      canPublishSources: [],
      canUpdateOwnMetadata: true,
      roomList: true,
    }),
    url,
    { autoSubscribe: false, dynacast: false },
  );
  const told = [];
  listener.room.on(RoomEvent.ParticipantConnected, ({ identity, kind, metadata }) =>
    told.push(['joined', identity, kind, JSON.parse(metadata || '{}').voiceConf]),
  );
  listener.room.on(RoomEvent.TrackPublished, ({ source }, { identity }) =>
    told.push(['published', identity, trackSourceToString(source)]),
  );

  // Its pages subscribe by themselves.
  const chooses = { autoSubscribe: false };
  const li = await enter(await bbb.user(room, 'w_li', 'Dr. Li'), url, chooses);
  const wang = await enter(await bbb.user(room, 'w_wang', 'Wang'), url, chooses);
  await wang.speak(PEOPLE.wang.hz);
  await wang.show(PEOPLE.wang.rgb);
  const published = () => [...li.room.remoteParticipants.get('w_wang').trackPublications.values()];
  await until('li knows of both tracks', () => published().length === 2);
  expect(li.hears('w_wang').samples).toBe(0);
  for (const publication of published()) publication.setSubscribed(true);
  await until('li hears wang', () => li.hears('w_wang').samples > 10_000);
  await until('li sees wang', () => li.sees('w_wang').frames > 10);
  expect([...li.room.remoteParticipants.keys()]).toEqual(['w_wang']);
  await until('the listener has it all', () => told.length === 4);
  expect(told).toEqual([
    ['joined', 'w_li', ParticipantKind.STANDARD, '71234'],
    ['joined', 'w_wang', ParticipantKind.STANDARD, '71234'],
    ['published', 'w_wang', 'microphone'],
    ['published', 'w_wang', 'camera'],
  ]);

  // Webhooks tell of the listener too, and that he is hidden.
  await until('all are told', () => hooks.of(room, 'track_published').length === 2);
  const joined = hooks.of(room, 'participant_joined').map(({ participant }) => [
    participant.identity,
    participant.permission.hidden,
  ]);
  expect(joined).toEqual([
    [`sfu-agent-${room}`, true],
    ['w_li', false],
    ['w_wang', false],
  ]);
  const camera = hooks.of(room, 'track_published')[1];
  expect([trackSourceToString(camera.track.source), camera.participant.identity]).toEqual([
    'camera',
    'w_wang',
  ]);

  // A moderator mutes a microphone and, as its installation allows, takes it back.
  expect(await bbb.mute(room, 'w_wang', true)).toBe(1);
  const isSound = ({ source }) => trackSourceToString(source) === 'microphone';
  const isMuted = () => published().find(isSound).muted;
  await until('li is told', isMuted);
  expect(await bbb.mute(room, 'w_wang', true)).toBe(0);
  expect(await bbb.mute(room, 'w_wang', false)).toBe(1);
  await until('li is told', () => !isMuted());

  // Cameras of viewers are locked: the same grant, with fewer sources.
  const { canPublish, canSubscribe, canPublishData } = bbb.grant(room);
  await service.updateParticipant(room, 'w_wang', {
    permission: {
      canPublish,
      canSubscribe,
      canPublishData,
      canPublishSources: [TrackSource.MICROPHONE],
    },
  });
  await until('the camera is gone', () => hooks.of(room, 'track_unpublished').length === 1);
  expect(trackSourceToString(hooks.of(room, 'track_unpublished')[0].track.source)).toBe('camera');
  await until('one track is left', () => published().length === 1);

  // Somebody comes from elsewhere; the meeting is written into his metadata.
  const phone = await enter(
    await signed('caller', { room, roomJoin: true, canPublish: true, canSubscribe: true }),
  );
  await service.updateParticipant(room, 'caller', JSON.stringify({ bbb_voiceConf: '71234' }));
  await until('li knows', () => {
    return li.room.remoteParticipants.get('caller').metadata === '{"bbb_voiceConf":"71234"}';
  });
  await service.removeParticipant(room, 'caller');
  await until('he is out', () => phone.ends.length === 1);
  expect((await refusal(service.removeParticipant(room, 'caller'))).code).toBe('not_found');
  expect((await refusal(service.getParticipant(room, 'caller'))).code).toBe('not_found');

  await service.deleteRoom(room);
  for (const person of [listener, li, wang]) {
    await until('he is told', () => person.ends.includes(DisconnectReason.ROOM_DELETED));
  }
  await until('the room is over', () => names(room).at(-1) === 'room_finished');
});

it('BigBlueButton records with a participant that nobody sees', async () => {
  const nothing = { canPublish: false, canPublishData: false, hidden: true };
  // Its recorder looks first whether it can connect at all, in a room that nobody has made.
  const health = await enter(
    await bbb.system(
      `health-check-${randomUUID()}`,
      `health-check-identity-${randomUUID()}`,
      { ...nothing, canSubscribe: false, recorder: false },
      'egress',
    ),
    url,
    { autoSubscribe: false },
  );
  await health.leave();

  const room = `${randomBytes(20).toString('hex')}-1787000000001`;
  await bbb.service.createRoom({ name: room });
  const wang = await enter(await bbb.user(room, 'w_wang', 'Wang'));
  const li = await enter(await bbb.user(room, 'w_li', 'Dr. Li'));
  const microphone = await wang.speak(PEOPLE.wang.hz);
  await wang.show(PEOPLE.wang.rgb);
  await until('li sees wang', () => li.sees('w_wang').frames > 10);
  expect(wang.room.isRecording).toBe(false);

  const identity = `bbb-webrtc-recorder-${randomUUID()}`;
  const recorder = await enter(
    await bbb.system(
      room,
      identity,
      { ...nothing, canSubscribe: true, recorder: true },
      'egress',
    ),
    url,
    { autoSubscribe: false },
  );
  await until('the room says that it is recorded', () => wang.room.isRecording);
  const publications = recorder.room.remoteParticipants.get('w_wang').trackPublications;
  publications.get(microphone.sid).setSubscribed(true);
  await until('it hears wang', () => recorder.hears('w_wang').samples > 10_000);
  expect(recorder.sees('w_wang').frames).toBe(0);
  expect([...wang.room.remoteParticipants.keys()]).toEqual(['w_li']);
  await until('it is told', () => hooks.of(room, 'participant_joined').length === 3);
  const told = hooks.of(room, 'participant_joined')[2].participant;
  expect([told.identity, told.kind]).toEqual([identity, ParticipantInfo_Kind.EGRESS]);
  expect([told.permission.hidden, told.permission.recorder]).toEqual([true, true]);
  await recorder.leave();
  await until('the room is not recorded any more', () => !wang.room.isRecording);
});

it('BigBlueButton lets tracks be recorded as they are published', async () => {
  // Instead of its own recorder, where an operator has chosen so: an egress for each track.
  const egress = new EgressClient(http, KEY, SECRET);
  const room = `${randomBytes(20).toString('hex')}-1787000000002`;
  await bbb.service.createRoom({ name: room });
  await egress.listEgress();
  const wang = await enter(await bbb.user(room, 'w_wang', 'Wang'));
  await wang.speak(PEOPLE.wang.hz);
  await until('it is told', () => hooks.of(room, 'track_published').length === 1);
  const [{ track, participant }] = hooks.of(room, 'track_published');
  const filepath = `/var/lib/audio/${room}/microphone-${participant.identity}-${track.sid}.ogg`;
  const output = new DirectFileOutput({ filepath });
  const { egressId } = await egress.startTrackEgress(room, output, track.sid);
  expect(egressId).toBeTruthy();
  const isMeant = (status) => ({ egressInfo }) =>
    egressInfo.egressId === egressId && egressInfo.status === status;
  const of = (event, status) => hooks.of(room, event).find(isMeant(status));
  // Name and time of its file go into the events of the meeting.
  await until('it records', () => of('egress_updated', EgressStatus.EGRESS_ACTIVE));
  const [file] = of('egress_updated', EgressStatus.EGRESS_ACTIVE).egressInfo.fileResults;
  expect(file.filename).toBe(filepath);
  expect(Number(file.startedAt)).toBeGreaterThan(0);
  await bbb.service.deleteRoom(room);
  await until('it is over', () => of('egress_ended', EgressStatus.EGRESS_COMPLETE));
  const { fileResults, endedAt } = of('egress_ended', EgressStatus.EGRESS_COMPLETE).egressInfo;
  expect(fileResults[0].filename).toBe(filepath);
  expect(Number(endedAt)).toBeGreaterThanOrEqual(Number(file.startedAt));
});

it('BigBlueButton does without dial-in', async () => {
  // It says so in its log, and the meeting is held.
  const sip = new SipClient(http, KEY, SECRET);
  const rule = { type: 'direct', roomName: 'meeting', pin: '71234' };
  for (const question of [
    () => sip.listSipInboundTrunk(),
    () => sip.createSipInboundTrunk('bbb', ['+41220000000']),
    () => sip.createSipDispatchRule(rule, { name: 'meeting' }),
  ]) {
    const { status, code } = await refusal(question());
    expect([status, code]).toEqual([501, 'unimplemented']);
  }
});
