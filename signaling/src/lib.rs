//! Rooms, participants and the LiveKit protocol: the single front door.
