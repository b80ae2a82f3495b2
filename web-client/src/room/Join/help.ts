/** What went wrong before or at joining, and the one thing to do about it. */
import type { I18n } from '@lingui/core';
import type { DeviceTrouble, JoinFailure } from '../consult';
import type { Device } from '../invitation';

export function joinFailureWords(i18n: I18n, failure: JoinFailure): string {
  switch (failure) {
    case 'refused':
      return i18n._('The server did not accept this link. Ask for a new invitation.');
    case 'no-room':
      return i18n._('This consult is not open. Ask the colleague who invited you.');
    case 'unreachable':
      return i18n._('The server cannot be reached. Check your network, then try again.');
    case 'timeout':
      return i18n._('The server did not answer in time. Try again.');
    default:
      return i18n._('Joining did not work. Try again.');
  }
}

/** One sentence that says what is wrong with a device. */
export function troubleWords(i18n: I18n, device: Device, why: DeviceTrouble): string {
  if (device === 'screen') return i18n._('The screen could not be shared.');
  const isCamera = device === 'camera';
  switch (why) {
    case 'denied':
      return isCamera
        ? i18n._('The browser may not use the camera.')
        : i18n._('The browser may not use the microphone.');
    case 'missing':
      return isCamera ? i18n._('No camera was found.') : i18n._('No microphone was found.');
    case 'busy':
      return isCamera
        ? i18n._('Another program is using the camera.')
        : i18n._('Another program is using the microphone.');
    case 'insecure':
      return i18n._('Camera and microphone work only over HTTPS.');
    default:
      return isCamera
        ? i18n._('The camera could not be started.')
        : i18n._('The microphone could not be started.');
  }
}

/** The next step, in one sentence. */
export function adviceWords(i18n: I18n, why: DeviceTrouble): string {
  switch (why) {
    case 'denied':
      return i18n._(
        'Press the lock or camera sign beside the address, choose Allow, then check again.',
      );
    case 'missing':
      return i18n._('Plug it in or switch it on, then check again.');
    case 'busy':
      return i18n._('Close other video programs, then check again.');
    case 'insecure':
      return i18n._('Open the link exactly as you received it, or ask for a new one.');
    default:
      return i18n._('Unplug it, plug it in again, then check again.');
  }
}
