import { useSyncExternalStore } from 'react';
import type { Consult, ConsultState } from './consult';

/** The state of the consult, redrawn whenever it changes. */
export function useConsult(consult: Consult): ConsultState {
  return useSyncExternalStore(consult.subscribe, () => consult.state);
}
