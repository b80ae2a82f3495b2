/** The buttons of every page: primary once a page, quiet elsewhere, danger for leaving. */
import { Button as AriaButton, type ButtonProps } from 'react-aria-components';
import styles from './Button.module.css';

interface Props extends Omit<ButtonProps, 'className' | 'style'> {
  readonly look?: 'primary' | 'plain' | 'quiet' | 'danger';
  readonly size?: 'large' | 'normal' | 'small';
}

export function Button({ look = 'plain', size = 'normal', ...rest }: Props) {
  return <AriaButton {...rest} className={`${styles.button} ${styles[look]} ${styles[size]}`} />;
}
