/** The consult: top bar, warnings, stage with its drawer, and the controls, always in view. */
import { useLingui } from '@lingui/react';
import { RoomContext, useChat, useParticipants } from '@livekit/components-react';
import { RoomEvent } from 'livekit-client';
import { useEffect, useRef, useState } from 'react';
import { Announcer, useAnnounce } from '../ui/Announcer';
import { Controls } from './Bar/Controls';
import { Recording } from './Bar/Recording';
import { TopBar } from './Bar/TopBar';
import { Warnings } from './Bar/Warnings';
import { Chat } from './Chat/Chat';
import { keepChoices, readChoices } from './choices';
import type { Consult } from './consult';
import type { Invitation } from './invitation';
import { People } from './People/People';
import { personOf, seatsOf } from './people';
import styles from './Room.module.css';
import { Stage } from './Stage/Stage';
import { Voices } from './Stage/Voices';
import type { Layout } from './stage';
import { useConsult } from './useConsult';
import { useShortcuts } from './useShortcuts';

export type Drawer = 'people' | 'chat' | null;

interface Props {
  readonly consult: Consult;
  readonly invitation: Invitation;
}

export function Room(props: Props) {
  return (
    <RoomContext.Provider value={props.consult.room}>
      <Announcer>
        <Inside {...props} />
      </Announcer>
    </RoomContext.Provider>
  );
}

/** What changes how a person is shown. */
const EVENTS = [
  RoomEvent.ActiveSpeakersChanged,
  RoomEvent.ConnectionQualityChanged,
  RoomEvent.ParticipantAttributesChanged,
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantMetadataChanged,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.ParticipantPermissionsChanged,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackStreamStateChanged,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
];

function Inside({ consult, invitation }: Props) {
  const { publishes } = invitation;
  const state = useConsult(consult);
  const participants = useParticipants({ room: consult.room, updateOnlyOn: EVENTS });
  // Without options on purpose: a new options object sets the whole chat up anew.
  const chat = useChat();
  const [layout, setLayout] = useState<Layout>(() => readChoices().layout ?? 'speaker');
  const [drawer, setDrawer] = useState<Drawer>(null);
  const [shortcuts, setShortcuts] = useState(() => readChoices().shortcuts ?? true);
  const buttons = useRef<HTMLElement>(null);

  const people = participants.map(personOf);
  const seats = participants.flatMap((participant) =>
    seatsOf(participant, state.spokeAt.get(participant.identity) ?? 0),
  );
  const unread = useUnread(chat.chatMessages.length, drawer === 'chat');
  const toggleDrawer = (which: Drawer) => setDrawer((open) => (open === which ? null : which));

  useAnnouncedPeople(people);
  useAnnouncedMessages(chat.chatMessages, drawer === 'chat');
  useShortcuts(shortcuts, {
    m: publishes.includes('microphone') ? () => void consult.toggleMicrophone() : undefined,
    v: publishes.includes('camera') ? () => void consult.toggleCamera() : undefined,
    s: publishes.includes('screen') ? () => void consult.toggleScreen() : undefined,
    p: () => toggleDrawer('people'),
    c: () => toggleDrawer('chat'),
  });

  /** A drawer that closes gives the focus back to the button that opened it. */
  function closeDrawer() {
    buttons.current?.querySelector<HTMLElement>(`[data-testid="${drawer}-button"]`)?.focus();
    setDrawer(null);
  }

  return (
    <div className={styles.room} data-testid="room" data-phase={state.phase.kind}>
      <TopBar
        consult={consult}
        room={invitation.room}
        joinedAt={state.joinedAt}
        link={people.find((person) => person.isLocal)?.link ?? 'unknown'}
        layout={layout}
        onLayout={(chosen) => {
          setLayout(chosen);
          keepChoices({ layout: chosen });
        }}
        shortcuts={shortcuts}
        onShortcuts={(wanted) => {
          setShortcuts(wanted);
          keepChoices({ shortcuts: wanted });
        }}
        publishes={publishes}
      />
      <Warnings consult={consult} />
      <Recording consult={consult} publishes={publishes.length > 0} />
      <main className={styles.main}>
        <Stage seats={seats} layout={layout} frozen={state.frozen} starting={state.starting} />
        {drawer === 'people' && <People people={people} onClose={closeDrawer} />}
        {drawer === 'chat' && (
          <Chat chat={chat} canSend={invitation.canChat} onClose={closeDrawer} />
        )}
      </main>
      <Controls
        ref={buttons}
        consult={consult}
        self={people.find((person) => person.isLocal)}
        publishes={publishes}
        isSpeakingMuted={state.isSpeakingMuted}
        starting={state.starting}
        headcount={people.length}
        unread={unread}
        drawer={drawer}
        onDrawer={toggleDrawer}
        shortcuts={shortcuts}
      />
      <Voices participants={participants} />
    </div>
  );
}

/** Messages that came while nobody looked. */
function useUnread(count: number, isOpen: boolean): number {
  const [seen, setSeen] = useState(count);
  useEffect(() => {
    if (isOpen) setSeen(count);
  }, [count, isOpen]);
  return isOpen ? 0 : Math.max(0, count - seen);
}

function useAnnouncedPeople(people: ReadonlyArray<{ identity: string; name: string }>) {
  const { i18n } = useLingui();
  const announce = useAnnounce();
  const known = useRef<Map<string, string> | null>(null);
  useEffect(() => {
    const here = new Map(people.map((person) => [person.identity, person.name]));
    const before = known.current;
    known.current = here;
    if (!before) return;
    for (const [identity, name] of here) {
      if (!before.has(identity)) announce(i18n._('{name} has joined.', { name }));
    }
    for (const [identity, name] of before) {
      if (!here.has(identity)) announce(i18n._('{name} has left.', { name }));
    }
  });
}

function useAnnouncedMessages(
  messages: ReadonlyArray<{ from?: { name?: string | undefined; isLocal: boolean } | undefined }>,
  isOpen: boolean,
) {
  const { i18n } = useLingui();
  const announce = useAnnounce();
  const count = useRef(messages.length);
  useEffect(() => {
    const latest = messages.at(-1);
    const isNew = messages.length > count.current;
    count.current = messages.length;
    // An open chat is a live log and reads its messages itself.
    if (!isNew || isOpen || !latest || latest.from?.isLocal) return;
    announce(i18n._('New message from {name}.', { name: latest.from?.name ?? '' }));
  }, [messages, isOpen, announce, i18n]);
}
