/**
 * The compliance console. The link is read and removed, the language loaded, and `Page` shows what
 * the address asks for: the list, or one recording.
 *
 * With `&debug=1` in the link's fragment `window.consilium.player()` is the player of the open
 * replay, for measuring from the developer tools or a test. It changes nothing else.
 */
import { i18n } from '@lingui/core';
import { I18nProvider } from '@lingui/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import '../ui/tokens.css';
import '../ui/base.css';
import './light.css';
import { startLanguage } from '../ui/language';
import { Api } from './api';
import { Page } from './Page';
import { currentPlayer } from './Recording/session';
import { Vault } from './vault';
import { takeVisit } from './visit';

const isDebugged = /[#&]debug=1\b/.test(location.hash);
const visit = takeVisit();
if (isDebugged) Object.assign(window, { consilium: { player: currentPlayer } });
const base = new URL('/compliance/api/v1', location.href).href;
const access = { base, token: visit?.token ?? '' };

// A new link in the same tab is a new visit.
addEventListener('hashchange', () => {
  if (location.hash.includes('token=')) location.reload();
});

await startLanguage((language) =>
  language === 'zh-CN' ? import('./locales/console-zh-CN.po') : import('./locales/console-en.po'),
);
const page = document.getElementById('page');
if (page) {
  createRoot(page).render(
    <StrictMode>
      <I18nProvider i18n={i18n}>
        <Page api={new Api(access)} vault={new Vault(access)} visit={visit} />
      </I18nProvider>
    </StrictMode>,
  );
}
