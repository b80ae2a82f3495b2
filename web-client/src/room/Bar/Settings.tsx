/** Devices, language and shortcuts, in a dialog: rarely needed, so not in the way. */
import { useLingui } from '@lingui/react';
import { useMediaDeviceSelect } from '@livekit/components-react';
import { Settings2, X } from 'lucide-react';
import {
  Checkbox,
  Dialog,
  DialogTrigger,
  Heading,
  Modal,
  ModalOverlay,
} from 'react-aria-components';
import { Button } from '../../ui/Button';
import { Choice } from '../../ui/Choice';
import { chooseLanguage, LANGUAGES, type Language } from '../../ui/language';
import { keepChoices } from '../choices';
import type { Consult } from '../consult';
import type { Device } from '../invitation';
import styles from './Settings.module.css';

interface Props {
  readonly consult: Consult;
  readonly shortcuts: boolean;
  readonly onShortcuts: (wanted: boolean) => void;
  readonly publishes: readonly Device[];
}

export function Settings({ consult, shortcuts, onShortcuts, publishes }: Props) {
  const { i18n } = useLingui();
  return (
    <DialogTrigger>
      <Button look="quiet" size="small" data-testid="settings-button">
        <Settings2 size={18} aria-hidden />
        <span className={styles.word}>{i18n._('Settings')}</span>
      </Button>
      <ModalOverlay className={styles.overlay} isDismissable>
        <Modal className={styles.modal}>
          <Dialog className={styles.dialog}>
            {({ close }) => (
              <>
                <div className={styles.head}>
                  <Heading slot="title" className={styles.title}>
                    {i18n._('Settings')}
                  </Heading>
                  <Button look="quiet" onPress={close} aria-label={i18n._('Close')}>
                    <X aria-hidden />
                  </Button>
                </div>
                {publishes.includes('microphone') && (
                  <DeviceChoice consult={consult} kind="audioinput" label={i18n._('Microphone')} />
                )}
                {publishes.includes('camera') && (
                  <DeviceChoice consult={consult} kind="videoinput" label={i18n._('Camera')} />
                )}
                <DeviceChoice consult={consult} kind="audiooutput" label={i18n._('Speaker')} />
                <Choice
                  label={i18n._('Language')}
                  options={LANGUAGES}
                  value={i18n.locale as Language}
                  onChoose={(language) => void chooseLanguage(language)}
                />
                <Checkbox className={styles.check} isSelected={shortcuts} onChange={onShortcuts}>
                  <span className={styles.box} aria-hidden />
                  <span>
                    {i18n._('Single keys: M microphone, V camera, S screen, P people, C chat')}
                  </span>
                </Checkbox>
              </>
            )}
          </Dialog>
        </Modal>
      </ModalOverlay>
    </DialogTrigger>
  );
}

const KEPT = { audioinput: 'microphone', videoinput: 'camera', audiooutput: 'speaker' } as const;

function DeviceChoice(props: { consult: Consult; kind: MediaDeviceKind; label: string }) {
  const { i18n } = useLingui();
  const { devices, activeDeviceId, setActiveMediaDevice } = useMediaDeviceSelect({
    kind: props.kind,
    room: props.consult.room,
  });
  const options = devices.map((device, place) => ({
    id: device.deviceId,
    name: device.label || i18n._('Device {place}', { place: place + 1 }),
  }));
  const active = options.find((option) => option.id === activeDeviceId) ?? options[0];
  return (
    <Choice
      label={props.label}
      options={options}
      value={active?.id ?? null}
      placeholder={i18n._('No other device')}
      onChoose={(id) => {
        keepChoices({ [KEPT[props.kind]]: id });
        void setActiveMediaDevice(id);
      }}
    />
  );
}
