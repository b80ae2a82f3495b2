import { describe, expect, it } from 'vitest';
import { preferredLanguage } from './language';

describe('the language of the page', () => {
  it('is the one that was chosen before, whatever the browser prefers', () => {
    expect(preferredLanguage('en', ['zh-CN'])).toBe('en');
  });

  it('is Chinese for every Chinese browser', () => {
    for (const tag of ['zh-CN', 'zh', 'zh-Hans-CN', 'ZH-tw']) {
      expect(preferredLanguage(null, [tag, 'en'])).toBe('zh-CN');
    }
  });

  it('is the first of the browser’s languages that we speak', () => {
    expect(preferredLanguage(null, ['fr-FR', 'en-GB', 'zh-CN'])).toBe('en');
  });

  it('is English when we speak none of them or storage holds nonsense', () => {
    expect(preferredLanguage(null, ['fr', 'de'])).toBe('en');
    expect(preferredLanguage('klingon', [])).toBe('en');
  });
});
