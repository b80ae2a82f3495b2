/**
 * Messages are written in English in the code and are their own ids, so a translator sees the
 * sentence and not a code. `npm run texts` brings new ones into the PO files.
 */
import type { LinguiConfig } from '@lingui/conf';
import { formatter } from '@lingui/format-po';

const config: LinguiConfig = {
  sourceLocale: 'en',
  locales: ['en', 'zh-CN'],
  // A page for each, so that nobody loads the texts of the other.
  catalogs: [
    { path: '<rootDir>/src/locales/{locale}', include: ['src/room', 'src/ui'] },
    { path: '<rootDir>/src/console/locales/console-{locale}', include: ['src/console', 'src/ui'] },
  ],
  format: formatter({ lineNumbers: false, explicitIdAsDefault: true }),
  orderBy: 'messageId',
};

export default config;
