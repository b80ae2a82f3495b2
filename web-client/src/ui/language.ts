/**
 * The language of the page: what somebody chose, else what the browser prefers, else English.
 * Catalogues are loaded on demand, one per visit.
 */
import { i18n, type Messages } from '@lingui/core';

export type Language = 'en' | 'zh-CN';
export const LANGUAGES: ReadonlyArray<{ readonly id: Language; readonly name: string }> = [
  { id: 'zh-CN', name: '中文' },
  { id: 'en', name: 'English' },
];

const KEY = 'consilium.language';

export function preferredLanguage(stored: string | null, wanted: readonly string[]): Language {
  if (stored === 'en' || stored === 'zh-CN') return stored;
  for (const tag of wanted) {
    if (/^zh\b/i.test(tag)) return 'zh-CN';
    if (/^en\b/i.test(tag)) return 'en';
  }
  return 'en';
}

/** How a page gets its texts; every page has its own. */
export type Catalogue = (language: Language) => Promise<{ readonly messages: Messages }>;

let catalogue: Catalogue;

export async function startLanguage(ofPage: Catalogue): Promise<void> {
  catalogue = ofPage;
  await activate(preferredLanguage(stored(), navigator.languages));
}

export async function chooseLanguage(language: Language): Promise<void> {
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  await activate(language);
}

async function activate(language: Language): Promise<void> {
  const { messages } = await catalogue(language);
  i18n.loadAndActivate({ locale: language, messages });
  document.documentElement.lang = language;
}

function stored(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
