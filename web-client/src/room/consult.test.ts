import { RoomEvent } from 'livekit-client';
import { expect, it, vi } from 'vitest';
import { Consult } from './consult';
import { CONSENT } from './recording';

function answered() {
  const consult = new Consult();
  const { room } = consult;
  // The server keeps nothing of it over a new connection, nor in another room.
  const said = vi.spyOn(room.localParticipant, 'setAttributes').mockResolvedValue();
  return { consult, room, said };
}

it('gives an answer again to a connection that knows of none', async () => {
  const { consult, room, said } = answered();
  await consult.answerRecording('granted');
  room.emit(RoomEvent.Reconnected);
  expect(said.mock.calls).toEqual([[{ [CONSENT]: 'granted' }], [{ [CONSENT]: 'granted' }]]);
});

it('gives no answer for another room than the one it was asked for', async () => {
  const { consult, room, said } = answered();
  await consult.answerRecording('granted');
  room.emit(RoomEvent.Moved, 'consult');
  room.emit(RoomEvent.Reconnected);
  expect(said).toHaveBeenCalledTimes(1);
});
