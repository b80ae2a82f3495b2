/** One choice out of a few, with its label: devices, language. */
import { Check, ChevronDown } from 'lucide-react';
import {
  Button,
  Label,
  ListBox,
  ListBoxItem,
  Popover,
  Select,
  SelectValue,
} from 'react-aria-components';
import styles from './Choice.module.css';

interface Props<Id extends string> {
  readonly label: string;
  readonly options: ReadonlyArray<{ readonly id: Id; readonly name: string }>;
  readonly value: Id | null;
  readonly placeholder?: string;
  readonly isDisabled?: boolean;
  readonly onChoose: (id: Id) => void;
}

export function Choice<Id extends string>(props: Props<Id>) {
  return (
    <Select
      className={styles.choice}
      isDisabled={props.isDisabled || props.options.length === 0}
      value={props.value}
      onChange={(id) => id !== null && props.onChoose(id as Id)}
      placeholder={props.placeholder ?? ''}
    >
      <Label className={styles.label}>{props.label}</Label>
      <Button className={styles.button}>
        <SelectValue className={styles.value} />
        <ChevronDown size={18} aria-hidden />
      </Button>
      <Popover className={styles.popover}>
        <ListBox className={styles.list} items={props.options}>
          {(option) => (
            <ListBoxItem id={option.id} textValue={option.name} className={styles.item}>
              {({ isSelected }) => (
                <>
                  <span className={styles.name}>{option.name}</span>
                  {isSelected && <Check size={18} aria-hidden />}
                </>
              )}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </Select>
  );
}
