// How the tests start the system's Chromium: with a fake camera and microphone of the participant's
// own, on loopback, and without anything that slows a tab which nobody looks at.
export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  // Where lo is the only interface, Chromium gathers no candidate without it.
  '--allow-loopback-in-peer-connection',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--auto-select-desktop-capture-source=Entire screen',
];

// One browser process for each participant: the fake camera is chosen for the whole process.
export async function launch({ video, audio } = {}) {
  const { chromium } = await import('playwright');
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      ...FLAGS,
      ...(video ? [`--use-file-for-fake-video-capture=${video}`] : []),
      ...(audio ? [`--use-file-for-fake-audio-capture=${audio}`] : []),
    ],
  });
}
