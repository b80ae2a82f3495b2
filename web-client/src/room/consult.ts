/**
 * One consult from joining to leaving. Owns the LiveKit room, says what is going on, and samples
 * once a second what `safety.ts` judges. Knows no DOM and draws nothing: pages read `state` through
 * `subscribe`, and take tracks from `room`.
 */
import {
  type AudioPreset,
  ConnectionError,
  ConnectionErrorReason,
  DisconnectReason,
  type LocalAudioTrack,
  type LocalVideoTrack,
  type Participant,
  type RemoteParticipant,
  Room,
  RoomEvent,
  ScreenSharePresets,
  Track,
  VideoPresets,
} from 'livekit-client';
import type { Device } from './invitation';
import { LevelMeter } from './meter';
import { type Answer, CONSENT, lostAnswer } from './recording';
import {
  FROZEN_CAMERA_MS,
  FROZEN_SCREEN_MS,
  frozenFor,
  hearMuted,
  listen,
  type MutedSpeech,
  type Picture,
  QUIET,
  shouldHint,
  type Unheard,
  unheard,
  type Voice,
  watch,
} from './safety';

export type Farewell = 'left' | 'ended' | 'removed' | 'elsewhere' | 'lost';

export type Phase =
  | { readonly kind: 'outside' }
  | { readonly kind: 'joining' }
  | { readonly kind: 'inside' }
  | { readonly kind: 'reconnecting'; readonly since: number }
  | { readonly kind: 'gone'; readonly farewell: Farewell };

/** Why joining failed, in the words a page needs to say what to do. */
export type JoinFailure = 'refused' | 'no-room' | 'unreachable' | 'timeout' | 'failed';

/** `insecure`: browsers give no devices to a page that did not come over HTTPS. */
export type DeviceTrouble = 'denied' | 'missing' | 'busy' | 'insecure' | 'failed';

export interface Missed {
  readonly identity: string;
  readonly name: string;
  readonly why: Unheard;
}

export interface ConsultState {
  readonly phase: Phase;
  readonly joinedAt: number;
  readonly missed: readonly Missed[];
  /** Whole seconds for which a picture has stood still, by track sid. */
  readonly frozen: ReadonlyMap<string, number>;
  /** The browser waits for a click before it plays sound. */
  readonly isAudioBlocked: boolean;
  readonly isSpeakingMuted: boolean;
  /** Devices that are being switched on: neither on nor off yet. */
  readonly starting: ReadonlySet<Device>;
  readonly trouble: { readonly device: Device; readonly why: DeviceTrouble } | null;
  /** When each participant began to speak last, by identity. */
  readonly spokeAt: ReadonlyMap<string, number>;
}

export interface JoinMedia {
  readonly microphone: LocalAudioTrack | null;
  readonly camera: LocalVideoTrack | null;
}

/** Speech is clear at 32 kbit/s; RED repeats it, so a rural uplink pays twice of that. */
const SPEECH: AudioPreset = { maxBitrate: 32_000, priority: 'high' };
const SAMPLE_MS = 1_000;

const OUTSIDE: ConsultState = {
  phase: { kind: 'outside' },
  joinedAt: 0,
  missed: [],
  frozen: new Map(),
  isAudioBlocked: false,
  isSpeakingMuted: false,
  starting: new Set(),
  trouble: null,
  spokeAt: new Map(),
};

export class Consult {
  readonly room = new Room({
    adaptiveStream: true,
    dynacast: true,
    videoCaptureDefaults: { resolution: VideoPresets.h720.resolution },
    publishDefaults: {
      videoCodec: 'vp8',
      simulcast: true,
      videoSimulcastLayers: [VideoPresets.h180, VideoPresets.h360],
      videoEncoding: VideoPresets.h720.encoding,
      screenShareEncoding: ScreenSharePresets.h1080fps15.encoding,
      audioPreset: SPEECH,
      red: true,
      dtx: true,
    },
  });

  #state: ConsultState = OUTSIDE;
  readonly #listeners = new Set<() => void>();
  #sampling: ReturnType<typeof setInterval> | null = null;
  readonly #voices = new Map<string, Voice>();
  readonly #pictures = new Map<string, Picture>();
  #ownMeter: LevelMeter | null = null;
  #mutedSpeech: MutedSpeech = QUIET;
  #answer: Answer | null = null;

  constructor() {
    const { room } = this;
    room
      .on(RoomEvent.Reconnecting, () => this.#onReconnecting())
      .on(RoomEvent.SignalReconnecting, () => this.#onReconnecting())
      .on(RoomEvent.Reconnected, () => this.#onReconnected())
      .on(RoomEvent.Moved, () => this.#onMoved())
      .on(RoomEvent.Disconnected, (reason) => this.#onDisconnected(reason))
      .on(RoomEvent.AudioPlaybackStatusChanged, () =>
        this.#change({ isAudioBlocked: !room.canPlaybackAudio }),
      )
      .on(RoomEvent.ActiveSpeakersChanged, (speakers) => this.#onSpeakers(speakers))
      .on(RoomEvent.MediaDevicesError, (error, kind) =>
        this.#change({
          trouble: {
            device: kind === 'videoinput' ? 'camera' : 'microphone',
            why: deviceTroubleOf(error),
          },
        }),
      )
      .on(RoomEvent.TrackMuted, (_, owner) => owner.isLocal && this.#watchOwnMicrophone())
      .on(RoomEvent.TrackUnmuted, (_, owner) => owner.isLocal && this.#watchOwnMicrophone())
      .on(RoomEvent.LocalTrackPublished, () => this.#watchOwnMicrophone())
      .on(RoomEvent.LocalTrackUnpublished, () => this.#watchOwnMicrophone());
  }

  get state(): ConsultState {
    return this.#state;
  }

  /** Calls back after every change of `state`; returns how to stop. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Joins and publishes what the join page has opened. Throws a `JoinFailure` word as `cause`. */
  async join(server: string, token: string, media: JoinMedia): Promise<void> {
    this.#change({ ...OUTSIDE, phase: { kind: 'joining' } });
    try {
      await this.room.connect(server, token);
    } catch (error) {
      this.#change({ phase: { kind: 'outside' } });
      throw new Error('joining failed', { cause: joinFailureOf(error) });
    }
    this.#change({ phase: { kind: 'inside' }, joinedAt: Date.now() });
    this.#sampling = setInterval(() => void this.#sample(), SAMPLE_MS);
    const { microphone, camera } = media;
    const { localParticipant } = this.room;
    // Sound first: on a thin line it must not wait behind the negotiation of the picture.
    await Promise.all([
      microphone && this.#guard('microphone', () => localParticipant.publishTrack(microphone)),
      camera && this.#guard('camera', () => localParticipant.publishTrack(camera)),
    ]);
  }

  async leave(): Promise<void> {
    await this.room.disconnect();
  }

  async toggleMicrophone(): Promise<void> {
    const { localParticipant } = this.room;
    await this.#guard('microphone', () =>
      localParticipant.setMicrophoneEnabled(!localParticipant.isMicrophoneEnabled),
    );
  }

  async toggleCamera(): Promise<void> {
    const { localParticipant } = this.room;
    await this.#guard('camera', () =>
      localParticipant.setCameraEnabled(!localParticipant.isCameraEnabled),
    );
  }

  async toggleScreen(): Promise<void> {
    const { localParticipant } = this.room;
    await this.#guard('screen', () =>
      localParticipant.setScreenShareEnabled(!localParticipant.isScreenShareEnabled, {
        audio: true,
        contentHint: 'detail',
        selfBrowserSurface: 'exclude',
        surfaceSwitching: 'include',
      }),
    );
  }

  /** Plays sound after a browser has blocked it; call it from a click. */
  async startAudio(): Promise<void> {
    await this.room.startAudio();
  }

  /** Asks for the sound of a participant anew. */
  reconnectAudio(identity: string): void {
    const owner = this.room.remoteParticipants.get(identity);
    const microphone = owner?.getTrackPublication(Track.Source.Microphone);
    if (!owner || !microphone) return;
    this.#voices.delete(microphone.trackSid);
    microphone.setSubscribed(false);
    setTimeout(() => microphone.setSubscribed(true), 300);
    this.#change({ missed: this.#state.missed.filter((one) => one.identity !== identity) });
  }

  /** Says whether oneself may be recorded; may be said again at any time. */
  async answerRecording(answer: Answer): Promise<void> {
    this.#answer = answer;
    await this.room.localParticipant.setAttributes({ [CONSENT]: answer });
  }

  dismissTrouble(): void {
    this.#change({ trouble: null });
  }

  #change(part: Partial<ConsultState>): void {
    this.#state = { ...this.#state, ...part };
    for (const listener of this.#listeners) listener();
  }

  /** Runs a device's action; what goes wrong is shown, not thrown. */
  async #guard(device: Device, action: () => Promise<unknown>): Promise<void> {
    if (this.#state.starting.has(device)) return;
    this.#change({ starting: new Set(this.#state.starting).add(device) });
    try {
      await action();
      if (this.#state.trouble?.device === device) this.#change({ trouble: null });
    } catch (error) {
      const why = deviceTroubleOf(error);
      // Closing the browser's chooser is a decision and no fault.
      if (device === 'screen' && why === 'denied') return;
      this.#change({ trouble: { device, why } });
    } finally {
      const starting = new Set(this.#state.starting);
      starting.delete(device);
      this.#change({ starting });
    }
  }

  #onReconnecting(): void {
    if (this.#state.phase.kind !== 'inside') return;
    this.#change({ phase: { kind: 'reconnecting', since: Date.now() }, missed: [] });
  }

  #onReconnected(): void {
    this.#voices.clear();
    this.#pictures.clear();
    this.#change({ phase: { kind: 'inside' }, frozen: new Map() });
    // A connection that was made anew knows of no answer: whoever has given one is not asked twice.
    const lost = lostAnswer(this.#answer, this.room.localParticipant.attributes);
    if (lost) void this.answerRecording(lost);
  }

  /** One has been taken over into another room. What one has answered was about the other. */
  #onMoved(): void {
    this.#answer = null;
    this.#voices.clear();
    this.#pictures.clear();
    this.#change({ missed: [], frozen: new Map() });
  }

  #onDisconnected(reason: DisconnectReason | undefined): void {
    // A refused join also ends in this event; `join` reports that itself.
    if (this.#state.phase.kind === 'outside' || this.#state.phase.kind === 'joining') return;
    if (this.#sampling !== null) clearInterval(this.#sampling);
    this.#sampling = null;
    this.#ownMeter?.close();
    this.#ownMeter = null;
    this.#voices.clear();
    this.#pictures.clear();
    this.#change({ ...OUTSIDE, phase: { kind: 'gone', farewell: farewellOf(reason) } });
  }

  #onSpeakers(speakers: readonly Participant[]): void {
    const spokeAt = new Map(this.#state.spokeAt);
    for (const speaker of speakers) {
      spokeAt.set(speaker.identity, speaker.lastSpokeAt?.getTime() ?? Date.now());
    }
    this.#change({ spokeAt });
  }

  #watchOwnMicrophone(): void {
    const microphone = this.room.localParticipant.getTrackPublication(Track.Source.Microphone);
    const track = microphone?.isMuted ? microphone.track?.mediaStreamTrack : undefined;
    this.#ownMeter?.close();
    this.#ownMeter = null;
    this.#mutedSpeech = QUIET;
    if (this.#state.isSpeakingMuted) this.#change({ isSpeakingMuted: false });
    if (track?.readyState !== 'live') return;
    this.#ownMeter = new LevelMeter(track, (level) => {
      const now = Date.now();
      this.#mutedSpeech = hearMuted(this.#mutedSpeech, level, now);
      const isSpeakingMuted = shouldHint(this.#mutedSpeech, now);
      if (isSpeakingMuted !== this.#state.isSpeakingMuted) this.#change({ isSpeakingMuted });
    });
  }

  async #sample(): Promise<void> {
    const people = [...this.room.remoteParticipants.values()];
    const missed = (await Promise.all(people.map((person) => this.#sampleVoice(person)))).filter(
      (one) => one !== null,
    );
    const still = (await Promise.all(people.map((person) => this.#samplePictures(person)))).flat();
    const { kind } = this.#state.phase;
    // While reconnecting nobody is heard and a bar says so; a stale picture must still be marked.
    if (kind === 'inside') this.#change({ missed, frozen: new Map(still) });
    if (kind === 'reconnecting') this.#change({ frozen: new Map(still) });
  }

  async #sampleVoice(person: RemoteParticipant): Promise<Missed | null> {
    const microphone = person.getTrackPublication(Track.Source.Microphone);
    if (!microphone) return null;
    const inbound = await inboundOf(microphone.track);
    const now = Date.now();
    const voice = listen(this.#voices.get(microphone.trackSid), {
      at: now,
      isMuted: microphone.isMuted,
      packets: inbound ? (inbound.packetsReceived ?? 0) : null,
      energy: inbound?.totalAudioEnergy ?? 0,
      isSpeaking: person.isSpeaking,
    });
    this.#voices.set(microphone.trackSid, voice);
    const why = unheard(voice, now);
    return why && { identity: person.identity, name: person.name || person.identity, why };
  }

  async #samplePictures(person: RemoteParticipant): Promise<Array<[string, number]>> {
    const still: Array<[string, number]> = [];
    for (const publication of person.videoTrackPublications.values()) {
      const { track } = publication;
      const inbound = await inboundOf(track);
      const now = Date.now();
      const picture = watch(this.#pictures.get(publication.trackSid), {
        at: now,
        frames: inbound?.framesDecoded ?? 0,
        // Before the first frame a tile says that the picture is coming; it cannot be stale.
        isExpected:
          !publication.isMuted &&
          publication.isEnabled &&
          track?.streamState === Track.StreamState.Active &&
          (inbound?.framesDecoded ?? 0) > 0,
      });
      this.#pictures.set(publication.trackSid, picture);
      const limit =
        publication.source === Track.Source.ScreenShare ? FROZEN_SCREEN_MS : FROZEN_CAMERA_MS;
      const seconds = frozenFor(picture, limit, now);
      if (seconds !== null) still.push([publication.trackSid, seconds]);
    }
    return still;
  }
}

async function inboundOf(track: Track | undefined): Promise<RTCInboundRtpStreamStats | null> {
  const report = await track?.getRTCStatsReport();
  if (!report) return null;
  for (const entry of report.values() as Iterable<RTCInboundRtpStreamStats>) {
    if (entry.type === 'inbound-rtp') return entry;
  }
  return null;
}

/** The kind of trouble behind an error of `getUserMedia` or its relatives. */
export function deviceTroubleOf(error: unknown): DeviceTrouble {
  if (!globalThis.isSecureContext) return 'insecure';
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'denied';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'missing';
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy';
  return 'failed';
}

function joinFailureOf(error: unknown): JoinFailure {
  if (!(error instanceof ConnectionError)) return 'failed';
  switch (error.reason) {
    case ConnectionErrorReason.NotAllowed:
      return error.status === 404 ? 'no-room' : 'refused';
    case ConnectionErrorReason.ServiceNotFound:
      return 'no-room';
    case ConnectionErrorReason.Timeout:
      return 'timeout';
    case ConnectionErrorReason.ServerUnreachable:
    case ConnectionErrorReason.WebSocket:
      return 'unreachable';
    default:
      return 'failed';
  }
}

function farewellOf(reason: DisconnectReason | undefined): Farewell {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return 'left';
    case DisconnectReason.DUPLICATE_IDENTITY:
      return 'elsewhere';
    case DisconnectReason.PARTICIPANT_REMOVED:
      return 'removed';
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return 'ended';
    default:
      return 'lost';
  }
}
