/** Plays every remote sound; nothing to see. */
import { type Participant, Track, type TrackPublication } from 'livekit-client';
import { useEffect, useRef } from 'react';

export function Voices({ participants }: { readonly participants: readonly Participant[] }) {
  return participants
    .filter((participant) => !participant.isLocal)
    .flatMap((participant) =>
      [Track.Source.Microphone, Track.Source.ScreenShareAudio].map((source) => {
        const publication = participant.getTrackPublication(source);
        return publication?.track ? (
          <Voice
            key={`${participant.identity}/${source}`}
            identity={participant.identity}
            publication={publication}
          />
        ) : null;
      }),
    );
}

function Voice(props: { readonly identity: string; readonly publication: TrackPublication }) {
  const audio = useRef<HTMLAudioElement>(null);
  const { track, source } = props.publication;
  useEffect(() => {
    const element = audio.current;
    if (!track || !element) return;
    track.attach(element);
    return () => {
      track.detach(element);
    };
  }, [track]);
  return <audio ref={audio} data-identity={props.identity} data-source={source} />;
}
