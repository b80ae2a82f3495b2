/** Words that several parts of a page need alike. */
import type { I18n } from '@lingui/core';

/** The word for a role; a role we do not know is shown as it is written. */
export function roleWord(i18n: I18n, role: string): string {
  switch (role) {
    case 'specialist':
      return i18n._('Specialist');
    case 'presenter':
      return i18n._('Presenting doctor');
    case 'clinic-doctor':
    case 'clinic_doctor':
      return i18n._('Clinic doctor');
    case 'patient':
      return i18n._('Patient');
    case 'nurse':
      return i18n._('Nurse');
    case 'interpreter':
      return i18n._('Interpreter');
    case 'observer':
      return i18n._('Observer');
    case 'compliance':
      return i18n._('Compliance');
    default:
      return role;
  }
}

/** `1:02:03` or `02:03`. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}
