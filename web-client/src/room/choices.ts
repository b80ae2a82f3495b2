/** What somebody chose on this machine and would not like to choose again: kept in the browser. */

const KEY = 'consilium.choices';

export interface Choices {
  readonly microphone?: string;
  readonly camera?: string;
  readonly speaker?: string;
  readonly layout?: 'speaker' | 'grid';
  /** Single letters as shortcuts; some speech and switch input needs them off. */
  readonly shortcuts?: boolean;
}

export function readChoices(): Choices {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Choices) : {};
  } catch {
    return {};
  }
}

export function keepChoices(choices: Choices): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...readChoices(), ...choices }));
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
