/** After the consult: why it ended here, and the way back. */
import { useLingui } from '@lingui/react';
import { DoorOpen, RotateCcw, WifiOff } from 'lucide-react';
import { Button } from '../../ui/Button';
import type { Farewell as Reason } from '../consult';
import { Panel } from './Panel';

interface Props {
  readonly farewell: Reason;
  readonly onReturn: () => void;
}

export function Farewell({ farewell, onReturn }: Props) {
  const { i18n } = useLingui();
  const [title, words] = ((): [string, string] => {
    switch (farewell) {
      case 'left':
        return [
          i18n._('You have left the consult'),
          i18n._('Your camera and microphone are off. You may close this page.'),
        ];
      case 'ended':
        return [
          i18n._('The consult has ended'),
          i18n._('Your camera and microphone are off. You may close this page.'),
        ];
      case 'removed':
        return [
          i18n._('You were taken out of the consult'),
          i18n._('If you think that this was a mistake, ask the colleague who invited you.'),
        ];
      case 'elsewhere':
        return [
          i18n._('You joined from another place'),
          i18n._(
            'The consult goes on in your other tab or device. Camera and microphone are off here.',
          ),
        ];
      default:
        return [
          i18n._('The connection was lost'),
          i18n._('Check your network, then join again. The others see that you are gone.'),
        ];
    }
  })();
  const Icon = farewell === 'lost' ? WifiOff : DoorOpen;
  return (
    <Panel
      testId="farewell"
      icon={<Icon size={40} aria-hidden />}
      title={title}
      actions={
        <Button look={farewell === 'lost' ? 'primary' : 'plain'} onPress={onReturn}>
          <RotateCcw size={18} aria-hidden />
          {i18n._('Join again')}
        </Button>
      }
    >
      <p>{words}</p>
    </Panel>
  );
}
