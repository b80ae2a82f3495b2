/** The page's side of the worker in which keys and secrets live: questions, answers and news. */
import type { Failure, FromWorker, News, Question, Questions, ToWorker } from '../archive/protocol';
import type { Access } from '../archive/source';

export class Failed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Failed) => void;
}

export class Vault {
  private readonly worker = new Worker(new URL('../archive/worker.ts', import.meta.url), {
    type: 'module',
    name: 'archive',
  });
  private readonly waiting = new Map<number, Waiting>();
  private readonly listeners = new Set<(news: News) => void>();
  private count = 0;

  constructor(access: Access) {
    this.send({ start: access });
    this.worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) =>
      this.hear(data),
    );
    this.worker.addEventListener('error', () => this.fail('the worker has stopped'));
  }

  ask<Q extends Question>(question: Q, ask: Questions[Q]['ask']): Promise<Questions[Q]['answer']> {
    this.count += 1;
    const id = this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.send({ id, question, ask } as ToWorker);
    });
  }

  listen(listener: (news: News) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private hear(message: FromWorker): void {
    if ('news' in message) {
      for (const listener of this.listeners) listener(message);
      return;
    }
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if ('failure' in message) waiting?.reject(new Failed(message.failure));
    else waiting?.resolve(message.answer);
  }

  private fail(message: string): void {
    const failed = new Failed({ status: 0, code: 'worker', message });
    for (const { reject } of this.waiting.values()) reject(failed);
    this.waiting.clear();
  }

  private send(message: ToWorker): void {
    this.worker.postMessage(message);
  }
}
