/**
 * The camera and microphone before joining: asks for both with one prompt, opens what it gets, and
 * says what is wrong with the rest. Owns the tracks until `lend` hands them to the consult.
 */
import {
  createLocalAudioTrack,
  createLocalTracks,
  createLocalVideoTrack,
  type LocalAudioTrack,
  LocalVideoTrack,
  TrackEvent,
  VideoPresets,
} from 'livekit-client';
import { keepChoices, readChoices } from './choices';
import { type DeviceTrouble, deviceTroubleOf, type JoinMedia } from './consult';

export type DeviceState<Track> =
  | { readonly kind: 'asking' }
  | { readonly kind: 'open'; readonly track: Track }
  /** Closed by choice: its light is off. */
  | { readonly kind: 'closed' }
  | { readonly kind: 'trouble'; readonly why: DeviceTrouble };

export interface DevicesState {
  readonly microphone: DeviceState<LocalAudioTrack>;
  readonly camera: DeviceState<LocalVideoTrack>;
}

const ASKING = { kind: 'asking' } as const;
const CLOSED = { kind: 'closed' } as const;

export class Devices {
  #state: DevicesState = { microphone: ASKING, camera: ASKING };
  readonly #listeners = new Set<() => void>();
  #isOver = false;
  #isLent = false;

  get state(): DevicesState {
    return this.#state;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Asks for both at once; when that fails, for each alone, to learn which one is in trouble. */
  async open(): Promise<void> {
    this.#change({ microphone: ASKING, camera: ASKING });
    try {
      const tracks = await createLocalTracks({ audio: audioOptions(), video: videoOptions() });
      for (const track of tracks) {
        if (track instanceof LocalVideoTrack) this.#holdCamera(track);
        else this.#holdMicrophone(track as LocalAudioTrack);
      }
    } catch {
      await this.#openMicrophone();
      await this.#openCamera();
    }
  }

  async toggleMicrophone(): Promise<void> {
    const { microphone } = this.#state;
    if (microphone.kind !== 'open') return this.#openMicrophone();
    this.#change({ microphone: CLOSED });
    microphone.track.stop();
  }

  async toggleCamera(): Promise<void> {
    const { camera } = this.#state;
    if (camera.kind !== 'open') return this.#openCamera();
    this.#change({ camera: CLOSED });
    camera.track.stop();
  }

  /** Changes to another device; it is remembered for the next visit. */
  async choose(kind: 'microphone' | 'camera', deviceId: string): Promise<void> {
    keepChoices({ [kind]: deviceId });
    const device = this.#state[kind];
    if (device.kind === 'closed') return;
    if (device.kind === 'open') device.track.stop();
    await (kind === 'camera' ? this.#openCamera() : this.#openMicrophone());
  }

  /** Hands the open tracks to the consult, which owns them unless `takeBack` is called. */
  lend(): JoinMedia {
    this.#isLent = true;
    return this.#tracks();
  }

  /** The consult was not joined: the tracks are ours again. */
  takeBack(): void {
    this.#isLent = false;
    if (this.#isOver) this.close();
  }

  /** Lets go of the devices, so that their lights go out, unless the consult has them. */
  close(): void {
    this.#isOver = true;
    if (this.#isLent) return;
    const { microphone, camera } = this.#tracks();
    microphone?.stop();
    camera?.stop();
  }

  #tracks(): JoinMedia {
    const { microphone, camera } = this.#state;
    return {
      microphone: microphone.kind === 'open' ? microphone.track : null,
      camera: camera.kind === 'open' ? camera.track : null,
    };
  }

  async #openMicrophone(): Promise<void> {
    this.#change({ microphone: ASKING });
    try {
      this.#holdMicrophone(await createLocalAudioTrack(audioOptions()));
    } catch (error) {
      this.#change({ microphone: { kind: 'trouble', why: deviceTroubleOf(error) } });
    }
  }

  async #openCamera(): Promise<void> {
    this.#change({ camera: ASKING });
    try {
      this.#holdCamera(await createLocalVideoTrack(videoOptions()));
    } catch (error) {
      this.#change({ camera: { kind: 'trouble', why: deviceTroubleOf(error) } });
    }
  }

  #holdMicrophone(track: LocalAudioTrack): void {
    if (this.#isOver) {
      track.stop();
      return;
    }
    track.once(TrackEvent.Ended, () => {
      const { microphone } = this.#state;
      if (microphone.kind === 'open' && microphone.track === track) {
        this.#change({ microphone: { kind: 'trouble', why: 'missing' } });
      }
    });
    this.#change({ microphone: { kind: 'open', track } });
  }

  #holdCamera(track: LocalVideoTrack): void {
    if (this.#isOver) {
      track.stop();
      return;
    }
    track.once(TrackEvent.Ended, () => {
      const { camera } = this.#state;
      if (camera.kind === 'open' && camera.track === track) {
        this.#change({ camera: { kind: 'trouble', why: 'missing' } });
      }
    });
    this.#change({ camera: { kind: 'open', track } });
  }

  #change(part: Partial<DevicesState>): void {
    this.#state = { ...this.#state, ...part };
    for (const listener of this.#listeners) listener();
  }
}

/** A remembered device is a wish only: another one is better than none when it is unplugged. */
function audioOptions() {
  const { microphone } = readChoices();
  return microphone ? { deviceId: { ideal: microphone } } : {};
}

function videoOptions() {
  const { camera } = readChoices();
  const { resolution } = VideoPresets.h720;
  return camera ? { resolution, deviceId: { ideal: camera } } : { resolution };
}
