/**
 * The page of a consult. The link is read, the language loaded, and `Page` shows what the state
 * asks for; there is no router.
 *
 * With `&debug=1` in the link's fragment `window.consilium.room` is the LiveKit room of this tab,
 * for measuring a running consult from the developer tools or a test. It changes nothing else.
 */
import { i18n } from '@lingui/core';
import { I18nProvider } from '@lingui/react';
import { setLogLevel } from 'livekit-client';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import '../ui/tokens.css';
import '../ui/base.css';
import { startLanguage } from '../ui/language';
import { Consult } from './consult';
import { Page } from './Page';
import { takePlace } from './place';

// The SDK's chatter would name participants in the console of a shared computer.
setLogLevel('warn');

const place = takePlace();
const consult = new Consult();
if (place.debug) Object.assign(window, { consilium: { room: consult.room } });

// Opening another link in the same tab only changes the fragment: that is a new visit.
addEventListener('hashchange', () => location.reload());

await startLanguage((language) =>
  language === 'zh-CN' ? import('../locales/zh-CN.po') : import('../locales/en.po'),
);
const page = document.getElementById('page');
if (page) {
  createRoot(page).render(
    <StrictMode>
      <I18nProvider i18n={i18n}>
        <Page consult={consult} place={place} />
      </I18nProvider>
    </StrictMode>,
  );
}
