import { describe, expect, it } from 'vitest';
import { CONSENT, lostAnswer, noticeOf } from './recording';

const told = (recording: string, answer?: string) => ({
  'consilium.recording': recording,
  ...(answer === undefined ? {} : { [CONSENT]: answer }),
});

describe('what is shown about the recording', () => {
  it('is nothing while nothing is recorded', () => {
    expect(noticeOf({}, true)).toBe('none');
    expect(noticeOf({ [CONSENT]: 'granted' }, true)).toBe('none');
    expect(noticeOf(told('something later'), true)).toBe('none');
  });

  it('asks who has not answered, and only who can be recorded', () => {
    expect(noticeOf(told('held'), true)).toBe('question');
    expect(noticeOf(told('held'), false)).toBe('left-out');
  });

  it('never says recorded before the server does', () => {
    expect(noticeOf(told('held', 'granted'), true)).toBe('beginning');
    expect(noticeOf(told('on', 'granted'), true)).toBe('recorded');
  });

  it('says when one is left out, and when the recording fails', () => {
    expect(noticeOf(told('held', 'refused'), true)).toBe('left-out');
    expect(noticeOf(told('interrupted', 'granted'), true)).toBe('interrupted');
    expect(noticeOf(told('failed'), true)).toBe('not-recorded');
  });
});

describe('an answer', () => {
  it('is given again on a connection that does not know it', () => {
    expect(lostAnswer('refused', {})).toBe('refused');
    expect(lostAnswer('granted', { [CONSENT]: 'granted' })).toBeNull();
    expect(lostAnswer(null, {})).toBeNull();
  });
});
