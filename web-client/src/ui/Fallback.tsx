/** Shown when drawing the page failed: one plain way back instead of an empty screen. */
import { Component, type ReactNode } from 'react';
import { Button } from './Button';
import styles from './Fallback.module.css';

interface Props {
  readonly title: string;
  readonly action: string;
  readonly children: ReactNode;
}

export class Fallback extends Component<Props, { readonly hasFailed: boolean }> {
  override state = { hasFailed: false };

  static getDerivedStateFromError() {
    return { hasFailed: true };
  }

  override render() {
    if (!this.state.hasFailed) return this.props.children;
    return (
      <main className={styles.page} role="alert">
        <h1>{this.props.title}</h1>
        <Button look="primary" onPress={() => location.reload()}>
          {this.props.action}
        </Button>
      </main>
    );
  }
}
